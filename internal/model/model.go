// Package model holds the nouns of the networking API as plain structs: networks, subnets, ports, segments, agents.
//
// It imports the standard library only, so that every other package can speak of the same things. Values that have
// been stored are immutable: whoever wants to change one clones it first (Clone methods copy deeply).
// The JSON form is what is kept in etcd; it is ours and independent of the API's views, which package schema declares.
package model

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Meta is what every resource of the API has: identity, owner, and the standard attributes.
type Meta struct {
	ID          string   `json:"id"`
	ProjectID   string   `json:"project_id,omitempty"`
	Name        string   `json:"name,omitempty"`
	Description string   `json:"description,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	// RevisionNumber starts at 1 and grows with each change; the state sets it.
	RevisionNumber int64     `json:"revision_number"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
}

// Object is implemented by every resource; GetMeta gives access to the part that all have in common.
type Object interface{ GetMeta() *Meta }

// GetMeta returns the common part of the resource.
func (m *Meta) GetMeta() *Meta { return m }

func (m Meta) clone() Meta {
	m.Tags = slices.Clone(m.Tags)
	return m
}

// NetworkType names how a network's frames travel between hosts.
type NetworkType string

// The network types that the type drivers know.
const (
	TypeLocal  NetworkType = "local"
	TypeFlat   NetworkType = "flat"
	TypeVLAN   NetworkType = "vlan"
	TypeVXLAN  NetworkType = "vxlan"
	TypeGRE    NetworkType = "gre"
	TypeGeneve NetworkType = "geneve"
)

// Tunnel says whether frames of this type travel between VTEPs over the underlay.
func (t NetworkType) Tunnel() bool { return t == TypeVXLAN || t == TypeGRE || t == TypeGeneve }

// Segment is one layer-2 segment of a network.
type Segment struct {
	ID              string      `json:"id"`
	NetworkType     NetworkType `json:"network_type"`
	PhysicalNetwork string      `json:"physical_network,omitempty"`
	// SegmentationID is the VLAN id (1-4094) or the VNI (1-16777215); 0 where the type has none.
	SegmentationID int `json:"segmentation_id,omitempty"`
}

// Network is a layer-2 broadcast domain of a project.
type Network struct {
	Meta
	AdminStateUp        bool      `json:"admin_state_up"`
	Shared              bool      `json:"shared,omitempty"`
	External            bool      `json:"external,omitempty"`
	IsDefault           bool      `json:"is_default,omitempty"`
	PortSecurityEnabled bool      `json:"port_security_enabled"`
	VLANTransparent     *bool     `json:"vlan_transparent,omitempty"`
	MTU                 int       `json:"mtu"`
	DNSDomain           string    `json:"dns_domain,omitempty"`
	Segments            []Segment `json:"segments"`
	// SubnetIDs are kept by the subnet rules, in order of creation.
	SubnetIDs             []string `json:"subnet_ids,omitempty"`
	AvailabilityZoneHints []string `json:"availability_zone_hints,omitempty"`
	// QoSPolicyID is the QoS policy of the ports that have none of their own; empty: none.
	QoSPolicyID string `json:"qos_policy_id,omitempty"`

	// View is filled in when the network is shown, it is never stored.
	View NetworkView `json:"-"`
}

// NetworkView is what a network shows besides what it is: it follows from its subnets and from who serves it.
type NetworkView struct {
	IPv4Scope, IPv6Scope string   // the address scopes of its subnets
	Routed               bool     // its subnets are in segments, so that there may be routers between its ports
	Zones                []string // where its DHCP servers are
}

// Clone returns a deep copy.
func (n *Network) Clone() *Network {
	c := *n
	c.Meta = n.Meta.clone()
	c.Segments = slices.Clone(n.Segments)
	c.SubnetIDs = slices.Clone(n.SubnetIDs)
	c.AvailabilityZoneHints = slices.Clone(n.AvailabilityZoneHints)
	return &c
}

// AllocationPool is a range of addresses, both ends included, from which ports get theirs.
type AllocationPool struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

// HostRoute is a route that DHCP hands to the workloads of a subnet.
type HostRoute struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"nexthop"`
}

// Subnet is a block of addresses of a network.
type Subnet struct {
	Meta
	NetworkID string       `json:"network_id"`
	IPVersion int          `json:"ip_version"`
	CIDR      netip.Prefix `json:"cidr"`
	// GatewayIP is the zero Addr where the subnet has no gateway.
	GatewayIP       netip.Addr       `json:"gateway_ip,omitzero"`
	EnableDHCP      bool             `json:"enable_dhcp"`
	AllocationPools []AllocationPool `json:"allocation_pools"`
	DNSNameservers  []netip.Addr     `json:"dns_nameservers,omitempty"`
	HostRoutes      []HostRoute      `json:"host_routes,omitempty"`
	// IPv6RAMode and IPv6AddressMode are "", "slaac", "dhcpv6-stateful" or "dhcpv6-stateless".
	IPv6RAMode      string `json:"ipv6_ra_mode,omitempty"`
	IPv6AddressMode string `json:"ipv6_address_mode,omitempty"`
	// ServiceTypes are the device owners whose ports get addresses here. Empty: all.
	ServiceTypes []string `json:"service_types,omitempty"`
	// SubnetPoolID is the pool that the block was carved from, SegmentID the segment of a routed network where the
	// addresses can be reached; empty where there is none.
	SubnetPoolID string `json:"subnetpool_id,omitempty"`
	SegmentID    string `json:"segment_id,omitempty"`
	// DNSPublishFixedIP says that addresses of the subnet may be published in an external DNS.
	DNSPublishFixedIP bool `json:"dns_publish_fixed_ip,omitempty"`
	// PrefixLen and UseDefaultPool are wishes of the request that makes the subnet; they are not kept.
	PrefixLen      int  `json:"-"`
	UseDefaultPool bool `json:"-"`
}

// Clone returns a deep copy.
func (s *Subnet) Clone() *Subnet {
	c := *s
	c.Meta = s.Meta.clone()
	c.AllocationPools = slices.Clone(s.AllocationPools)
	c.DNSNameservers = slices.Clone(s.DNSNameservers)
	c.HostRoutes = slices.Clone(s.HostRoutes)
	c.ServiceTypes = slices.Clone(s.ServiceTypes)
	return &c
}

// FixedIP is one address of a port.
type FixedIP struct {
	SubnetID string     `json:"subnet_id"`
	IP       netip.Addr `json:"ip_address"`
}

// PortStatus is what the API shows as a port's status.
type PortStatus string

// The states of a port. A port is ACTIVE only when the agent of its host has said that it is wired.
const (
	PortActive PortStatus = "ACTIVE"
	PortDown   PortStatus = "DOWN"
	PortBuild  PortStatus = "BUILD"
	PortError  PortStatus = "ERROR"
)

// VIFType tells Nova how a port is to be plugged.
type VIFType string

// The VIF types in use.
const (
	VIFUnbound       VIFType = "unbound"
	VIFBindingFailed VIFType = "binding_failed"
	VIFBridge        VIFType = "bridge"
)

// Port is an attachment point of a network: a MAC, addresses, and the device that uses them.
type Port struct {
	Meta
	NetworkID    string     `json:"network_id"`
	AdminStateUp bool       `json:"admin_state_up"`
	MAC          string     `json:"mac_address"` // lower case, colons
	FixedIPs     []FixedIP  `json:"fixed_ips,omitempty"`
	DeviceID     string     `json:"device_id,omitempty"`
	DeviceOwner  string     `json:"device_owner,omitempty"`
	Status       PortStatus `json:"status"`
	Binding      Binding    `json:"binding"`
	// StatusReason says in one sentence why the port is not ACTIVE, where something is wrong: a binding that
	// failed, a value that the host's kernel refused.
	StatusReason string `json:"status_reason,omitempty"`
	// WiringReason and DHCPReason are what StatusReason is made of: they come and go apart.
	WiringReason string `json:"wiring_reason,omitempty"`
	DHCPReason   string `json:"dhcp_reason,omitempty"`
	// Wired says that the host has reported the port as done. Together with AdminStateUp it makes the status.
	Wired bool `json:"wired,omitempty"`
	// BindingGeneration grows each time the port is bound, so that a host to which it comes back tells of it again.
	BindingGeneration   int64         `json:"binding_generation,omitempty"`
	PortSecurityEnabled bool          `json:"port_security_enabled"`
	SecurityGroupIDs    []string      `json:"security_group_ids,omitempty"`
	AllowedAddressPairs []AddressPair `json:"allowed_address_pairs,omitempty"`
	ExtraDHCPOpts       []DHCPOption  `json:"extra_dhcp_opts,omitempty"`
	// DNSName and DNSDomain are what the workload is to be called; empty: a name that is made of its address.
	DNSName   string `json:"dns_name,omitempty"`
	DNSDomain string `json:"dns_domain,omitempty"`
	// InactiveBindings tie the port to further hosts, to which a live migration may take it. Activating one puts it in
	// the place of Binding.
	InactiveBindings []Binding `json:"inactive_bindings,omitempty"`
	// IPAllocation says how the port came to its addresses; empty: at once.
	IPAllocation IPAllocation `json:"ip_allocation,omitempty"`
	// DataPlaneStatus is what an outside observer of the data plane says: "", ACTIVE or DOWN.
	DataPlaneStatus string `json:"data_plane_status,omitempty"`
	// NUMAAffinityPolicy and DeviceProfile are for Nova, which reads them; Neutrino only keeps them.
	NUMAAffinityPolicy    string `json:"numa_affinity_policy,omitempty"`
	DeviceProfile         string `json:"device_profile,omitempty"`
	PropagateUplinkStatus bool   `json:"propagate_uplink_status,omitempty"`
	// QoSPolicyID is the port's own QoS policy; empty: that of its network, if it has one.
	QoSPolicyID string `json:"qos_policy_id,omitempty"`

	// View is filled in when the port is shown, it is never stored.
	View *PortView `json:"-"`
}

// Clone returns a deep copy.
func (p *Port) Clone() *Port {
	c := *p
	c.Meta = p.Meta.clone()
	c.FixedIPs = slices.Clone(p.FixedIPs)
	c.SecurityGroupIDs = slices.Clone(p.SecurityGroupIDs)
	c.AllowedAddressPairs = slices.Clone(p.AllowedAddressPairs)
	c.ExtraDHCPOpts = slices.Clone(p.ExtraDHCPOpts)
	c.Binding.Profile = maps.Clone(p.Binding.Profile)
	c.InactiveBindings = slices.Clone(p.InactiveBindings)
	return &c
}

// Unwire forgets that the port was wired: it is to be wired anew, be it by the same host.
func (p *Port) Unwire() {
	p.Wired = false
	p.BindingGeneration++
}

// DeviceName is the name of the kernel device of a port on its host: tap and the first 11 characters of the id.
func DeviceName(portID string) string { return "tap" + prefix(portID, 11) }

// BridgeName is the name of a network's Linux bridge: brq and the first 11 characters of the id.
func BridgeName(networkID string) string { return "brq" + prefix(networkID, 11) }

func prefix(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// DeviceOwnerDHCP marks the ports through which DHCP servers sit on a network.
const DeviceOwnerDHCP = "network:dhcp"

// Role is a part that an agent plays on its host.
type Role string

// The roles of an agent.
const (
	RoleL2   Role = "l2"
	RoleDHCP Role = "dhcp"
	RoleL3   Role = "l3"
)

// Agent is the role of a host's agent as the agents API shows it: one object for each role that a host plays.
// Its id is stable for a (host, role).
type Agent struct {
	Meta
	Host         string `json:"host"`
	Role         Role   `json:"role"`
	AdminStateUp bool   `json:"admin_state_up"`
	// TunnelIP is the VTEP address of the host; zero where it has none.
	TunnelIP         netip.Addr        `json:"tunnel_ip,omitzero"`
	TunnelTypes      []string          `json:"tunnel_types,omitempty"`
	BridgeMappings   map[string]string `json:"bridge_mappings,omitempty"`
	AvailabilityZone string            `json:"availability_zone,omitempty"`
	Version          string            `json:"version,omitempty"`
	StartedAt        time.Time         `json:"started_at"`

	// Alive and HeartbeatAt are soft state: the southbound fills them in a view, they are never stored.
	Alive       bool      `json:"-"`
	HeartbeatAt time.Time `json:"-"`
	// Hosting is filled in where the agent is shown as one of those that serve a router.
	Hosting *Hosting `json:"-"`
}

// Hosting is what an agent does for a router.
type Hosting struct {
	// HAState is active, standby or unknown; empty: the router is not highly available.
	HAState string
}

// Clone returns a deep copy; Hosting is that of the original.
func (a *Agent) Clone() *Agent {
	c := *a
	c.Meta = a.Meta.clone()
	c.TunnelTypes = slices.Clone(a.TunnelTypes)
	c.BridgeMappings = maps.Clone(a.BridgeMappings)
	return &c
}

// DHCPBinding puts the DHCP service of a network on a host. Its id is "<network id>:<host>"; the port it names is the
// network:dhcp port of that host.
type DHCPBinding struct {
	Meta
	NetworkID string `json:"network_id"`
	Host      string `json:"host"`
	PortID    string `json:"port_id"`
	// Manual says that an operator has placed it: it stays, whatever the scheduler would do.
	Manual bool `json:"manual,omitempty"`
}

// DHCPExclusion keeps the scheduler from having a host serve a network: an operator has taken it away from there. Its id
// is "<network id>:<host>".
type DHCPExclusion struct {
	Meta
	NetworkID string `json:"network_id"`
	Host      string `json:"host"`
}

// UsedToken remembers a join token that has been used, so that it is used once. Its id is the token's nonce.
type UsedToken struct {
	Meta
	Host      string    `json:"host"`
	ExpiresAt time.Time `json:"expires_at"`
	// KeyHash is the SHA-256 hash, in hexadecimal digits, of the public key that got the certificate. The holder of
	// that key may ask again, in case the answer was lost.
	KeyHash string `json:"key_hash,omitempty"`
}

// Host is a host that has joined: which key it has, and what it may do. Its id is the host's name. A host that joins
// again replaces its key, and with it every certificate that it had before.
type Host struct {
	Meta
	// KeyHash is the SHA-256 hash of the host's public key, in hexadecimal digits.
	KeyHash string `json:"key_hash"`
	// Roles are those that the host may play; none: all.
	Roles []string `json:"roles,omitempty"`
}
