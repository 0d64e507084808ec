// Package subnet holds the rules of subnets: which blocks of addresses there may be on a network, their gateway, pools
// and IPv6 modes, and what happens to the ports' addresses when a subnet comes or goes.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - subnet.go: create, update, delete, as the API asks for them; validate.go: the checks that need no state.
//   - block.go: where the block of a new subnet comes from, and which subnets may be neighbours on a network.
//   - segment.go: the subnets of routed networks, which have several segments, and the routes between them.
package subnet

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are the rules of subnets. The zero value is ready.
type Rules struct{}

// Create completes the subnet (gateway, pools), stores it, enters it in its network, and gives the network's ports
// their addresses where these follow from the MAC.
func (Rules) Create(tx *state.Tx, c *auth.Caller, s *model.Subnet, given schema.Given) error {
	n, err := network.Find(tx, c, s.NetworkID)
	if err != nil {
		return err
	}
	if err := takeBlock(tx, c, s, given); err != nil {
		return err
	}
	if err := checkBlock(s); err != nil {
		return err
	}
	if !given.Has("gateway_ip") {
		s.GatewayIP = ipam.DefaultGateway(s.CIDR)
	}
	if err := checkValues(s); err != nil {
		return err
	}
	if err := network.MTUCarries(n, s.IPVersion); err != nil {
		return err
	}
	if err := checkOverlap(tx, s); err != nil {
		return err
	}
	if err := checkSegment(tx, n, nil, s); err != nil {
		return err
	}
	if s.AllocationPools == nil {
		s.AllocationPools = ipam.DefaultPools(s.CIDR, s.GatewayIP)
	} else if err := checkPools(s); err != nil {
		return err
	}
	s.HostRoutes = peerRoutes(tx, s, netip.Addr{}, netip.Prefix{})
	state.Subnets.Put(tx, s)
	n = n.Clone()
	n.SubnetIDs = append(n.SubnetIDs, s.ID)
	state.Networks.Put(tx, n)
	routePeers(tx, s, netip.Prefix{})
	return addressPorts(tx, s)
}

// Update checks the changes and stores the subnet.
func (Rules) Update(tx *state.Tx, _ *auth.Caller, old, s *model.Subnet, given schema.Given) error {
	if s.EnableDHCP && !old.EnableDHCP {
		if err := checkDHCPFits(s); err != nil {
			return err
		}
	}
	if given.Has("enable_dhcp") && !s.EnableDHCP && (s.IPv6RAMode != "" || s.IPv6AddressMode != "") {
		return fault.Operation("Cannot disable enable_dhcp with ipv6 attributes set")
	}
	if err := checkValues(s); err != nil {
		return err
	}
	if s.AllocationPools == nil {
		s.AllocationPools = slices.Clone(old.AllocationPools)
	}
	if given.Has("allocation_pools") || s.GatewayIP != old.GatewayIP {
		if err := checkPools(s); err != nil {
			return err
		}
	}
	if s.GatewayIP != old.GatewayIP {
		if err := gatewayUnused(tx, old); err != nil {
			return err
		}
	}
	if s.SegmentID != old.SegmentID {
		n, ok := state.Networks.Get(tx, s.NetworkID)
		if !ok {
			return fault.Missing("Network", s.NetworkID)
		}
		if err := checkSegment(tx, n, old, s); err != nil {
			return err
		}
	}
	s.HostRoutes = peerRoutes(tx, s, old.GatewayIP, netip.Prefix{})
	state.Subnets.Put(tx, s)
	return nil
}

// Delete deletes the subnet if no port needs it: the fault is SubnetInUse (409). Addresses of DHCP servers, and those
// that follow from the MAC, are taken from their ports; addresses of routers always forbid it, and so do on a routed
// network ports that would be left without any.
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, s *model.Subnet) error {
	var ports []*model.Port
	for _, p := range ipam.Taken(tx, s.ID, lowest(s)) {
		if needs(p, s) {
			return fault.New(fault.Conflict, "SubnetInUse", "Unable to complete operation on subnet %s: "+
				"One or more ports have an IP allocation from this subnet.", s.ID)
		}
		if len(ports) == 0 || ports[len(ports)-1] != p {
			ports = append(ports, p)
		}
	}
	for _, p := range ports {
		// Read again: a port with several addresses here may be among them twice.
		p, ok := state.Ports.Get(tx, p.ID)
		if !ok {
			continue
		}
		p = p.Clone()
		p.FixedIPs = slices.DeleteFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID })
		state.Ports.Put(tx, p)
	}
	state.Subnets.Delete(tx, s.ID)
	if n, ok := state.Networks.Get(tx, s.NetworkID); ok {
		n = n.Clone()
		n.SubnetIDs = slices.DeleteFunc(n.SubnetIDs, func(id string) bool { return id == s.ID })
		state.Networks.Put(tx, n)
	}
	routePeers(tx, s, s.CIDR)
	return nil
}

// needs says whether the port forbids that the subnet is deleted.
func needs(p *model.Port, s *model.Subnet) bool {
	switch {
	case p.DeviceOwner == model.DeviceOwnerDHCP:
		return false
	case !ipam.Automatic(s) || ipam.RouterOwned(p.DeviceOwner):
		return true
	}
	return s.SegmentID != "" && !slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID != s.ID })
}

// lowest is the address from which on all addresses of the subnet are.
func lowest(s *model.Subnet) netip.Addr { return s.CIDR.Masked().Addr() }

// checkOverlap refuses a block that overlaps with that of another subnet of the network.
func checkOverlap(r state.Reader, s *model.Subnet) error {
	for other := range state.SubnetsByNetwork.List(r, s.NetworkID) {
		if other.ID != s.ID && other.CIDR.Overlaps(s.CIDR) {
			// Which one is not said: it may belong to another project.
			return fault.Operation("Requested subnet with cidr: %s for network: %s overlaps with another subnet",
				s.CIDR, s.NetworkID)
		}
	}
	return nil
}

// gatewayUnused refuses to change a gateway address that a router has.
func gatewayUnused(r state.Reader, old *model.Subnet) error {
	if !old.GatewayIP.IsValid() {
		return nil
	}
	for p := range state.PortsByIP.List(r, state.IPKey(old.ID, old.GatewayIP)) {
		if ipam.RouterOwned(p.DeviceOwner) {
			return fault.New(fault.Conflict, "GatewayIpInUse",
				"Current gateway ip %s already in use by port %s. Unable to update.", old.GatewayIP, p.ID)
		}
	}
	return nil
}

// addressPorts gives the ports that are there already their addresses in a new subnet of automatic addresses.
func addressPorts(tx *state.Tx, s *model.Subnet) error {
	if !ipam.Automatic(s) {
		return nil
	}
	var ports []*model.Port
	for p := range state.PortsByNetwork.List(tx, s.NetworkID) {
		if !ipam.RouterOwned(p.DeviceOwner) && ipam.Serves(s, p.DeviceOwner) {
			ports = append(ports, p)
		}
	}
	for _, p := range ports {
		ip, err := ipam.EUI64(s.CIDR, p.MAC)
		if err != nil {
			return fault.Operation("port %s: %s", p.ID, err)
		}
		p = p.Clone()
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: s.ID, IP: ip})
		state.Ports.Put(tx, p)
	}
	return nil
}
