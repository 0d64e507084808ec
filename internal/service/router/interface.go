package router

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Interface is what the API answers when an interface comes or goes.
type Interface struct {
	ID        string   `json:"id"` // of the router
	ProjectID string   `json:"project_id"`
	TenantID  string   `json:"tenant_id"`
	PortID    string   `json:"port_id"`
	NetworkID string   `json:"network_id"`
	SubnetID  string   `json:"subnet_id"`
	SubnetIDs []string `json:"subnet_ids"`
	Tags      []string `json:"tags"`
}

func describe(r *model.Router, p *model.Port, subnetID string, subnets []*model.Subnet) *Interface {
	i := &Interface{
		ID: r.ID, ProjectID: p.ProjectID, TenantID: p.ProjectID, PortID: p.ID, NetworkID: p.NetworkID,
		SubnetID: subnetID, SubnetIDs: []string{}, Tags: append([]string{}, p.Tags...),
	}
	for _, s := range subnets {
		i.SubnetIDs = append(i.SubnetIDs, s.ID)
	}
	return i
}

// names reads which subnet or port a request is about; either may be missing, but not both.
func names(body map[string]any) (subnetID, portID string, err error) {
	for _, n := range []struct {
		name string
		into *string
	}{{"port_id", &portID}, {"subnet_id", &subnetID}} {
		raw, ok := body[n.name]
		if !ok {
			continue
		}
		if *n.into, err = schema.ParseID(raw); err != nil {
			return "", "", bad("%s", err)
		}
	}
	if subnetID == "" && portID == "" {
		return "", "", bad("Either subnet_id or port_id must be specified")
	}
	return subnetID, portID, nil
}

// AddInterface attaches the router to the subnet or the port that the body names, by subnet_id or port_id.
func (s *Rules) AddInterface(tx *state.Tx, c *auth.Caller, r *model.Router, body map[string]any) (*Interface, error) {
	subnetID, portID, err := names(body)
	switch {
	case err != nil:
		return nil, err
	case subnetID != "" && portID != "":
		return nil, bad("Cannot specify both subnet-id and port-id")
	case portID != "":
		return s.addPort(tx, c, r, portID)
	}
	return s.addSubnet(tx, c, r, subnetID)
}

// addSubnet attaches the router to a subnet, as its gateway: by a new port, or by the port that has the other IPv6
// subnets of the network.
func (s *Rules) addSubnet(tx *state.Tx, c *auth.Caller, r *model.Router, id string) (*Interface, error) {
	sub, err := findSubnet(tx, c, id)
	if err != nil {
		return nil, err
	}
	if !sub.GatewayIP.IsValid() {
		return nil, bad("Subnet for router interface must have a gateway IP")
	}
	if err := mayAttach(tx, c, sub); err != nil {
		return nil, err
	}
	if err := checkAdvertised(sub); err != nil {
		return nil, err
	}
	subnets := []*model.Subnet{sub}
	if err := checkOverlap(tx, r, subnets, ""); err != nil {
		return nil, err
	}
	address := model.FixedIP{SubnetID: sub.ID, IP: sub.GatewayIP}
	if sub.IPVersion == 6 {
		if old := interfaceIPv6(tx, r, sub.NetworkID); old != nil {
			p := old.Clone()
			p.FixedIPs = append(p.FixedIPs, address)
			if err := s.opts.Ports.Update(tx, auth.System, old, p, schema.Given{"fixed_ips": true}); err != nil {
				return nil, err
			}
			return describe(r, p, sub.ID, subnets), s.besides(tx, r.ID)
		}
	}
	p := Port(tx, r.ProjectID, sub.NetworkID, r.ID, r.InterfaceOwner())
	p.Binding.Host, p.Binding.GatewayGroup = r.InterfaceServing()
	p.FixedIPs = []model.FixedIP{address}
	given := schema.Given{"fixed_ips": true, "port_security_enabled": true}
	if err := s.opts.Ports.Create(tx, auth.System, p, given); err != nil {
		return nil, err
	}
	attach(tx, r, p.ID)
	return describe(r, p, sub.ID, subnets), s.besides(tx, r.ID)
}

// addPort makes an interface of a port that is there.
func (s *Rules) addPort(tx *state.Tx, c *auth.Caller, r *model.Router, id string) (*Interface, error) {
	old, ok := state.Ports.Get(tx, id)
	if !ok || !PortVisible(tx, c, old) {
		return nil, fault.Missing("Port", id)
	}
	if old.DeviceID != "" {
		return nil, fault.New(fault.Conflict, "PortInUse", "Unable to complete operation on port %s for network %s. "+
			"Port already has an attached device %s.", old.ID, old.NetworkID, old.DeviceID)
	}
	subnets := subnetsOf(tx, old)
	if len(subnets) == 0 {
		return nil, bad("Router port must have at least one fixed IP")
	}
	if err := checkPortSubnets(tx, c, r, old, subnets); err != nil {
		return nil, err
	}
	p := old.Clone()
	p.DeviceID, p.DeviceOwner = r.ID, r.InterfaceOwner()
	given := schema.Given{"device_id": true, "device_owner": true}
	if r.Distributed {
		p.Binding.Host, given = "", schema.Given{"device_id": true, "device_owner": true, "binding:host_id": true}
	}
	if r.ProjectID != p.ProjectID && !c.Admin() {
		return nil, fault.New(fault.Conflict, "DeviceIDNotOwnedByTenant",
			"The following device_id %s is not owned by your tenant or matches another tenants router.", r.ID)
	}
	if err := s.opts.Ports.Update(tx, auth.System, old, p, given); err != nil {
		return nil, err
	}
	attach(tx, r, p.ID)
	return describe(r, p, subnets[len(subnets)-1].ID, subnets), s.besides(tx, r.ID)
}

// checkPortSubnets says whether a port with addresses of the subnets can be an interface of the router.
func checkPortSubnets(r state.Reader, c *auth.Caller, router *model.Router, p *model.Port, subnets []*model.Subnet) error {
	ipv4 := 0
	for _, s := range subnets {
		if err := checkAdvertised(s); err != nil {
			return err
		}
		if s.IPVersion == 4 {
			ipv4++
		}
	}
	if hasIPv6(p) {
		if other := interfaceIPv6(r, router, p.NetworkID); other != nil && other.ID != p.ID {
			return bad("Router already contains IPv6 port %s belonging to network id %s. Only one IPv6 port from the same "+
				"network subnet can be connected to a router", other.ID, p.NetworkID)
		}
	}
	if err := checkOverlap(r, router, subnets, p.ID); err != nil {
		return err
	}
	if ipv4 > 1 {
		return bad("Cannot have multiple IPv4 subnets on router port")
	}
	if c.Admin() {
		return nil
	}
	for _, f := range p.FixedIPs {
		if s, ok := state.Subnets.Get(r, f.SubnetID); ok && s.ProjectID != c.ProjectID && !inPools(s, f.IP) {
			return bad("Cannot add interface to router because specified port %s has an IP address out of the allocation pool "+
				"of subnet %s, which is not owned by the project making the request", p.ID, s.ID)
		}
	}
	return nil
}

func inPools(s *model.Subnet, ip netip.Addr) bool {
	return slices.ContainsFunc(s.AllocationPools, func(p model.AllocationPool) bool {
		return p.Start.Compare(ip) <= 0 && ip.Compare(p.End) <= 0
	})
}

func attach(tx *state.Tx, r *model.Router, portID string) {
	r = r.Clone()
	r.InterfaceIDs = append(r.InterfaceIDs, portID)
	state.Routers.Put(tx, r)
}

// findSubnet returns the subnet, if the caller may know that it exists.
func findSubnet(r state.Reader, c *auth.Caller, id string) (*model.Subnet, error) {
	s, ok := state.Subnets.Get(r, id)
	if !ok {
		return nil, fault.Missing("Subnet", id)
	}
	if s.ProjectID == c.ProjectID {
		return s, nil
	}
	if _, err := network.Find(r, c, s.NetworkID); err != nil {
		return nil, fault.Missing("Subnet", id)
	}
	return s, nil
}

// PortVisible says whether the caller may know that the port exists: as an administrator, as a service of the cloud, as its
// owner, or as the owner of its network.
func PortVisible(r state.Reader, c *auth.Caller, p *model.Port) bool {
	if c.Admin() || c.HasRole("service") || p.ProjectID == c.ProjectID {
		return true
	}
	n, ok := state.Networks.Get(r, p.NetworkID)
	return ok && n.ProjectID == c.ProjectID
}

// mayAttach lets a project attach routers to its own subnets and to those of networks that are shared with it by name: on
// what everybody uses, nobody may become the gateway.
func mayAttach(r state.Reader, c *auth.Caller, s *model.Subnet) error {
	if c.Admin() || s.ProjectID == c.ProjectID {
		return nil
	}
	if n, ok := state.Networks.Get(r, s.NetworkID); ok && !n.Shared && !n.External {
		return nil
	}
	return bad("Cannot add interface to router because subnet %s is not owned by project making the request", s.ID)
}

// RemoveInterface detaches the router from the subnet or the port that the body names; the port is deleted, unless other
// subnets need it. Where both are named they have to fit.
func (s *Rules) RemoveInterface(tx *state.Tx, c *auth.Caller, r *model.Router, body map[string]any) (*Interface, error) {
	subnetID, portID, err := names(body)
	if err != nil {
		return nil, err
	}
	if portID != "" {
		return s.removePort(tx, r, portID, subnetID)
	}
	return s.removeSubnet(tx, c, r, subnetID)
}

func (s *Rules) removePort(tx *state.Tx, r *model.Router, portID, subnetID string) (*Interface, error) {
	p, ok := state.Ports.Get(tx, portID)
	if !ok || !slices.Contains(r.InterfaceIDs, portID) {
		return nil, fault.New(fault.NotFound, "RouterInterfaceNotFound",
			"Router %s does not have an interface with id %s", r.ID, portID)
	}
	subnets := subnetsOf(tx, p)
	if subnetID != "" && !slices.ContainsFunc(subnets, func(s *model.Subnet) bool { return s.ID == subnetID }) {
		return nil, fault.New(fault.Conflict, "SubnetMismatchForPort",
			"Subnet on port %s does not match the requested subnet %s.", portID, subnetID)
	}
	for _, sub := range subnets {
		if err := interfaceUnused(tx, r, sub); err != nil {
			return nil, err
		}
	}
	if len(subnets) > 0 {
		subnetID = subnets[0].ID
	}
	return describe(r, p, subnetID, subnets), s.detach(tx, r, p)
}

func (s *Rules) removeSubnet(tx *state.Tx, c *auth.Caller, r *model.Router, subnetID string) (*Interface, error) {
	sub, err := findSubnet(tx, c, subnetID)
	if err != nil {
		return nil, err
	}
	for _, id := range r.InterfaceIDs {
		p, ok := state.Ports.Get(tx, id)
		if !ok || !slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == sub.ID }) {
			continue
		}
		if err := interfaceUnused(tx, r, sub); err != nil {
			return nil, err
		}
		gone := describe(r, p, sub.ID, []*model.Subnet{sub})
		left := slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f model.FixedIP) bool { return f.SubnetID == sub.ID })
		if len(left) == 0 {
			return gone, s.detach(tx, r, p)
		}
		now := p.Clone()
		now.FixedIPs = left
		if err := s.opts.Ports.Update(tx, auth.System, p, now, schema.Given{"fixed_ips": true}); err != nil {
			return nil, err
		}
		return gone, s.besides(tx, r.ID)
	}
	return nil, fault.New(fault.NotFound, "RouterInterfaceNotFoundForSubnet",
		"Router %s has no interface on subnet %s", r.ID, sub.ID)
}

// detach deletes an interface.
func (s *Rules) detach(tx *state.Tx, r *model.Router, p *model.Port) error {
	r = r.Clone()
	r.InterfaceIDs = slices.DeleteFunc(r.InterfaceIDs, func(id string) bool { return id == p.ID })
	state.Routers.Put(tx, r)
	dropBindings(tx, p.ID)
	if err := s.besides(tx, r.ID); err != nil {
		return err
	}
	return s.opts.Ports.Delete(tx, auth.System, p)
}

// interfaceUnused says whether nothing needs the router's interface on the subnet: no floating IP, port forwarding,
// route or NDP proxy.
func interfaceUnused(r state.Reader, router *model.Router, s *model.Subnet) error {
	onSubnet := func(portID string, ip netip.Addr) bool {
		p, ok := state.Ports.Get(r, portID)
		return ok && slices.Contains(p.FixedIPs, model.FixedIP{SubnetID: s.ID, IP: ip})
	}
	inUse := func(typ, format string, args ...any) error { return fault.New(fault.Conflict, typ, format, args...) }
	for f := range state.FloatingIPsByRouter.List(r, router.ID) {
		used := f.PortID != "" && onSubnet(f.PortID, f.FixedIP)
		for p := range state.PortForwardingsByFloatingIP.List(r, f.ID) {
			used = used || onSubnet(p.InternalPortID, p.InternalIP)
		}
		if used {
			return inUse("RouterInterfaceInUseByFloatingIP", "Router interface for subnet %s on router %s cannot be deleted, "+
				"as it is required by one or more floating IPs.", s.ID, router.ID)
		}
	}
	for _, route := range router.Routes {
		if s.CIDR.Contains(route.NextHop) {
			return inUse("RouterInterfaceInUseByRoute", "Router interface for subnet %s on router %s cannot be deleted, "+
				"as it is required by one or more routes.", s.ID, router.ID)
		}
	}
	for p := range state.NDPProxiesByRouter.List(r, router.ID) {
		if onSubnet(p.PortID, p.Address) {
			return inUse("RouterInterfaceInUseByNDPProxy", "Unable to remove subnet %s from router %s, "+
				"There are one or more ndp proxies still in use on the subnet.", s.ID, router.ID)
		}
	}
	return nil
}
