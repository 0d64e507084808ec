package model

import (
	"net/netip"
	"slices"
)

// The device owners of the ports that routers and floating IPs have on networks.
const (
	DeviceOwnerRouterInterface            = "network:router_interface"
	DeviceOwnerRouterInterfaceHA          = "network:ha_router_replicated_interface"
	DeviceOwnerRouterInterfaceDistributed = "network:router_interface_distributed"
	DeviceOwnerRouterGateway              = "network:router_gateway"
	DeviceOwnerFloatingIP                 = "network:floatingip"
)

// Router forwards packets between the subnets that it has interfaces on, and by its gateway to an external network.
type Router struct {
	Meta
	AdminStateUp bool `json:"admin_state_up"`
	// Gateway is the way out; nil where there is none.
	Gateway *Gateway `json:"gateway,omitempty"`
	// InterfaceIDs are the ports by which it is attached to subnets, in order of attachment. A port that only looks
	// like an interface, by its device_id and device_owner, is none.
	InterfaceIDs []string `json:"interface_ids,omitempty"`
	// Routes are the routes that the tenant has added to those that follow from the interfaces.
	Routes []HostRoute `json:"routes,omitempty"`
	// HA asks for several hosts of which one at a time serves the router; Distributed for service on every host that
	// has ports of its subnets.
	HA          bool `json:"ha,omitempty"`
	Distributed bool `json:"distributed,omitempty"`
	// Hosts are those whose L3 agents are to serve the router; the first of them does. ManualHosts says that an
	// operator has chosen them, or has chosen that there be none: the scheduler leaves it at that as long as they live.
	Hosts       []string `json:"hosts,omitempty"`
	ManualHosts bool     `json:"manual_hosts,omitempty"`
	// GatewayGroup is the group of hosts that serves a highly available router, in the place of Hosts.
	GatewayGroup string `json:"gateway_group,omitempty"`
	// Leaving are the hosts that have served the router and have not yet said that they no longer do: until then no other
	// may.
	Leaving []string `json:"leaving_hosts,omitempty"`
	// PlacementReason says what keeps the router from being served as it is wanted, HostReason what its host has
	// reported. Both are shown as its status_reason.
	PlacementReason       string   `json:"placement_reason,omitempty"`
	HostReason            string   `json:"host_reason,omitempty"`
	AvailabilityZoneHints []string `json:"availability_zone_hints,omitempty"`
	FlavorID              string   `json:"flavor_id,omitempty"`
	// SNATPorts, LocalGateways and LocalReasons are those of a distributed router: the legs of its central part beside the
	// interfaces, the ways out of its floating IPs on hosts, and what keeps hosts from doing their part, by host.
	SNATPorts     []SNATPort        `json:"snat_ports,omitempty"`
	LocalGateways []LocalGateway    `json:"local_gateways,omitempty"`
	LocalReasons  map[string]string `json:"local_reasons,omitempty"`
	// NDPProxy says that the gateway may answer neighbour solicitations for addresses behind the router.
	NDPProxy bool `json:"ndp_proxy,omitempty"`

	// AvailabilityZones and ConntrackHelpers are filled in a view; they are never stored.
	AvailabilityZones []string           `json:"-"`
	ConntrackHelpers  []*ConntrackHelper `json:"-"`
}

// Gateway attaches a router to an external network.
type Gateway struct {
	NetworkID string `json:"network_id"`
	PortID    string `json:"port_id"`
	// EnableSNAT says that what leaves by the gateway gets the gateway's address, unless it has a floating IP.
	EnableSNAT  bool   `json:"enable_snat"`
	QoSPolicyID string `json:"qos_policy_id,omitempty"`
	// FixedIPs are the addresses that are asked for on the way in, and those of the port in a view; they are never
	// stored.
	FixedIPs []FixedIP `json:"-"`
}

// Clone returns a deep copy.
func (r *Router) Clone() *Router {
	c := *r
	c.Meta = r.Meta.clone()
	c.Gateway = r.Gateway.Clone()
	c.InterfaceIDs = slices.Clone(r.InterfaceIDs)
	c.Routes = slices.Clone(r.Routes)
	c.Hosts = slices.Clone(r.Hosts)
	c.cloneDistributed()
	c.Leaving = slices.Clone(r.Leaving)
	c.AvailabilityZoneHints = slices.Clone(r.AvailabilityZoneHints)
	c.AvailabilityZones = slices.Clone(r.AvailabilityZones)
	c.ConntrackHelpers = slices.Clone(r.ConntrackHelpers)
	return &c
}

// Clone returns a deep copy; that of nil is nil.
func (g *Gateway) Clone() *Gateway {
	if g == nil {
		return nil
	}
	c := *g
	c.FixedIPs = slices.Clone(g.FixedIPs)
	return &c
}

// InterfaceOwner is the device owner of the router's interfaces, which tells the kinds of routers apart.
func (r *Router) InterfaceOwner() string {
	switch {
	case r.Distributed:
		return DeviceOwnerRouterInterfaceDistributed
	case r.HA:
		return DeviceOwnerRouterInterfaceHA
	}
	return DeviceOwnerRouterInterface
}

// Serving is where the router's ports are to be bound: to a gateway group or to a host; empty: nowhere at present.
func (r *Router) Serving() (host, group string) {
	switch {
	case len(r.Leaving) > 0:
		return "", ""
	case r.GatewayGroup != "":
		return "", r.GatewayGroup
	case len(r.Hosts) > 0:
		return r.Hosts[0], ""
	}
	return "", ""
}

// LegIDs are the ids of all ports by which the router is attached to networks, on whatever host.
func (r *Router) LegIDs() []string {
	ids := r.CentralIDs()
	if r.Distributed {
		ids = append(slices.Clone(r.InterfaceIDs), ids...)
	}
	for _, g := range r.LocalGateways {
		ids = append(slices.Clone(ids), g.PortID)
	}
	return ids
}

// RouterInterfaceOwner says whether the device owner is that of a router's interface.
func RouterInterfaceOwner(owner string) bool {
	return owner == DeviceOwnerRouterInterface || owner == DeviceOwnerRouterInterfaceHA ||
		owner == DeviceOwnerRouterInterfaceDistributed
}

// FloatingIPStatus is what the API shows as the status of a floating IP.
type FloatingIPStatus string

// The states of a floating IP. It is ACTIVE only when the host that serves its router has said so.
const (
	FloatingIPActive FloatingIPStatus = "ACTIVE"
	FloatingIPDown   FloatingIPStatus = "DOWN"
)

// FloatingIP is an address of an external network that a project has booked, and the fixed address it stands for.
type FloatingIP struct {
	Meta
	NetworkID string `json:"floating_network_id"`
	// SubnetID is the subnet from which the address was asked for; it is only used when creating.
	SubnetID string     `json:"-"`
	Address  netip.Addr `json:"floating_ip_address"`
	// BookingID is the port of the external network that holds the address, so that nobody else gets it.
	BookingID string `json:"booking_id"`
	// PortID, FixedIP and RouterID are set together: the port that has the floating IP, which of its addresses, and the
	// router that translates. With port forwardings there is a router only.
	PortID      string           `json:"port_id,omitempty"`
	FixedIP     netip.Addr       `json:"fixed_ip_address,omitzero"`
	RouterID    string           `json:"router_id,omitempty"`
	Status      FloatingIPStatus `json:"status"`
	HostReason  string           `json:"host_reason,omitempty"` // why its host could not do it
	QoSPolicyID string           `json:"qos_policy_id,omitempty"`
	DNSName     string           `json:"dns_name,omitempty"`
	DNSDomain   string           `json:"dns_domain,omitempty"`

	// Port and Forwardings are filled in a view; they are never stored.
	Port        *Port             `json:"-"`
	Forwardings []*PortForwarding `json:"-"`
}

// Clone returns a deep copy; Port and the Forwardings are those of the original.
func (f *FloatingIP) Clone() *FloatingIP {
	c := *f
	c.Meta = f.Meta.clone()
	c.Forwardings = slices.Clone(f.Forwardings)
	return &c
}

// PortRange is a range of transport ports, both ends included. The zero value is none.
type PortRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// Overlaps says whether a port is in both ranges.
func (r PortRange) Overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

// Single says whether the range is one port.
func (r PortRange) Single() bool { return r.First == r.Last }

// PortForwarding hands a transport port of a floating IP, or a range of them, to a port of a fixed address.
type PortForwarding struct {
	Meta
	FloatingIPID   string     `json:"floatingip_id"`
	Protocol       string     `json:"protocol"` // lower case
	External       PortRange  `json:"external"`
	Internal       PortRange  `json:"internal"`
	InternalPortID string     `json:"internal_port_id"`
	InternalIP     netip.Addr `json:"internal_ip_address"`
	HostReason     string     `json:"host_reason,omitempty"` // why its host could not do it
}

// Clone returns a deep copy.
func (p *PortForwarding) Clone() *PortForwarding {
	c := *p
	c.Meta = p.Meta.clone()
	return &c
}

// ConntrackHelper has a helper of the kernel's connection tracking look at the connections through a router to a port.
type ConntrackHelper struct {
	Meta
	RouterID string `json:"router_id"`
	Protocol string `json:"protocol"` // lower case
	Port     int    `json:"port"`
	Helper   string `json:"helper"`
}

// Clone returns a deep copy.
func (h *ConntrackHelper) Clone() *ConntrackHelper {
	c := *h
	c.Meta = h.Meta.clone()
	return &c
}

// NDPProxy makes an IPv6 address behind a router reachable from its external network: the gateway answers neighbour
// solicitations for it.
type NDPProxy struct {
	Meta
	RouterID string     `json:"router_id"`
	PortID   string     `json:"port_id"`
	Address  netip.Addr `json:"ip_address"`
}

// Clone returns a deep copy.
func (p *NDPProxy) Clone() *NDPProxy {
	c := *p
	c.Meta = p.Meta.clone()
	return &c
}

// FloatingIPPool is a block from which floating IPs can be had: an IPv4 subnet of an external network, as a project
// sees it. Its id is the subnet's.
type FloatingIPPool struct {
	Meta
	NetworkID string
	CIDR      netip.Prefix
}
