package floatingip

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/state"
)

// target is the port that a floating IP is wanted for, and which of its addresses; the zero Addr: its only one.
type target struct {
	portID string
	ip     netip.Addr
}

// associate makes the floating IP, which has no port, stand for an address of the port that is wanted, if any is.
func associate(tx *state.Tx, c *auth.Caller, f *model.FloatingIP, wanted target) error {
	if wanted.portID == "" {
		if wanted.ip.IsValid() {
			return errNoPort
		}
		return nil
	}
	p, err := internalPort(tx, c, f, wanted.portID)
	if err != nil {
		return err
	}
	fixed, err := internalAddress(p, wanted.ip)
	if err != nil {
		return err
	}
	through, err := translator(tx, f, p, fixed.SubnetID)
	if err != nil {
		return err
	}
	if through.Distributed && state.PortForwardingsByPort.Has(tx, p.ID) {
		return fault.New(fault.Invalid, "PortHasPortForwarding", "Cannot associate floating IP to port %s because it already "+
			"has a Port Forwarding binding.", p.ID)
	}
	for o := range state.FloatingIPsByPort.List(tx, p.ID) {
		if o.ID != f.ID && o.NetworkID == f.NetworkID && o.FixedIP == fixed.IP {
			return alreadyAssociated(f, p.ID, fixed.IP)
		}
	}
	f.PortID, f.FixedIP, f.RouterID = p.ID, fixed.IP, through.ID
	return nil
}

// release makes the floating IP one that stands for nothing.
func release(f *model.FloatingIP) {
	f.PortID, f.FixedIP, f.RouterID = "", netip.Addr{}, ""
}

func alreadyAssociated(f *model.FloatingIP, portID string, ip netip.Addr) error {
	return fault.New(fault.Conflict, "FloatingIPPortAlreadyAssociated", "Cannot associate floating IP %s (%s) with port %s "+
		"using fixed IP %s, as that fixed IP already has a floating IP on external network %s.",
		f.Address, f.ID, portID, ip, f.NetworkID)
}

// internalPort returns a port that the floating IP may be given to by the caller.
func internalPort(r state.Reader, c *auth.Caller, f *model.FloatingIP, id string) (*model.Port, error) {
	p, ok := state.Ports.Get(r, id)
	if !ok || !router.PortVisible(r, c, p) {
		return nil, fault.Missing("Port", id)
	}
	if p.ProjectID != f.ProjectID && !c.Admin() {
		return nil, bad("Cannot process floating IP association with Port %s, since that port is owned by a different project",
			p.ID)
	}
	if p.DeviceOwner == model.DeviceOwnerDHCP {
		return nil, bad("Port %s is unable to be assigned a floating IP", p.ID)
	}
	return p, nil
}

// internalAddress returns the address of the port that is wanted, or its only one of IPv4.
func internalAddress(p *model.Port, wanted netip.Addr) (model.FixedIP, error) {
	if wanted.IsValid() {
		if !wanted.Is4() {
			return model.FixedIP{}, bad("Cannot process floating IP association with %s, since that is not an IPv4 address", wanted)
		}
		at := slices.IndexFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP == wanted })
		if at < 0 {
			return model.FixedIP{}, bad("Port %s does not have fixed ip %s", p.ID, wanted)
		}
		return p.FixedIPs[at], nil
	}
	ipv4 := ipv4(p)
	switch len(ipv4) {
	case 0:
		return model.FixedIP{}, bad("Cannot add floating IP to port %s that has no fixed IPv4 addresses", p.ID)
	case 1:
		return ipv4[0], nil
	}
	return model.FixedIP{}, bad("Port %s has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when "+
		"assigning a floating IP", p.ID)
}

func ipv4(p *model.Port) []model.FixedIP {
	return slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f model.FixedIP) bool { return !f.IP.Is4() })
}

// translator finds the router between the subnet of the port and the external network. Of several it takes the one that
// is the subnet's gateway, if any is. The fault is ExternalGatewayForFloatingIPNotFound (404).
func translator(r state.Reader, f *model.FloatingIP, p *model.Port, subnetID string) (*model.Router, error) {
	fits := func(i *model.Port) (*model.Router, bool) {
		through, ok := state.Routers.Get(r, i.DeviceID)
		return through, ok && slices.Contains(through.InterfaceIDs, i.ID) &&
			through.Gateway != nil && through.Gateway.NetworkID == f.NetworkID
	}
	s, ok := state.Subnets.Get(r, subnetID)
	if ok && s.GatewayIP.IsValid() {
		if i, ok := state.PortsByIP.First(r, state.IPKey(s.ID, s.GatewayIP)); ok {
			if through, ok := fits(i); ok {
				return through, nil
			}
		}
	}
	for i := range state.RouterInterfacesBySubnet.List(r, subnetID) {
		if through, ok := fits(i); ok {
			return through, nil
		}
	}
	return nil, fault.New(fault.NotFound, "ExternalGatewayForFloatingIPNotFound", "External network %s is not reachable from "+
		"subnet %s.  Therefore, cannot associate Port %s with a Floating IP.", f.NetworkID, subnetID, p.ID)
}
