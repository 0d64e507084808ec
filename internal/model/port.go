package model

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// DefaultDNSDomain is the domain of the names of workloads unless the operator sets another. Names in the API end in a
// dot, this one does not: DHCP wants it without.
const DefaultDNSDomain = "openstacklocal"

// networkOwned is how the device owners begin whose ports are part of the network itself.
const networkOwned = "network:"

// Trusted says whether the port is part of the network itself: of a DHCP server, a router, a floating IP. Whether a
// caller may make such a port is decided by the policy; see create_port:device_owner.
func (p *Port) Trusted() bool { return strings.HasPrefix(p.DeviceOwner, networkOwned) }

// computeOwner is the beginning of the device owners that Nova writes.
const computeOwner = "compute:"

// ComputeOwner says whether ports of the device owner are those of servers.
func ComputeOwner(owner string) bool { return strings.HasPrefix(owner, computeOwner) }

// Filtered says whether what the port sends and gets is filtered: by port security and its security groups. Trusted ports
// are not, nor what is bound to a gateway group: these are routers.
func (p *Port) Filtered() bool {
	return p.PortSecurityEnabled && !p.Trusted() && p.Binding.GatewayGroup == ""
}

// AddressPair is an address (and MAC) that a port may use besides its own.
type AddressPair struct {
	// IP may have host bits: it is shown as it was given. What filters traffic masks it.
	IP  netip.Prefix `json:"ip_address"`
	MAC string       `json:"mac_address"`
	// Plain says that the client gave an address without a length, and wants to see it that way.
	Plain bool `json:"plain,omitempty"`
}

// Text is the address as the client wrote it.
func (a AddressPair) Text() string {
	if a.Plain {
		return a.IP.Addr().String()
	}
	return a.IP.String()
}

// DHCPOption is an extra DHCP option of a port, by dnsmasq's name or number.
type DHCPOption struct {
	Name      string `json:"opt_name"`
	Value     string `json:"opt_value"`
	IPVersion int    `json:"ip_version"`
	// Remove is the wish to have the option no longer; it is never stored.
	Remove bool `json:"-"`
}

// IPAllocation says how a port came to its addresses.
type IPAllocation string

// The ways: at once; later, when its host is known, since the network is routed; not at all, since none were wanted.
// The zero value means IPImmediate.
const (
	IPImmediate IPAllocation = "immediate"
	IPDeferred  IPAllocation = "deferred"
	IPNone      IPAllocation = "none"
)

// Binding ties a port to the host on which its device is to appear.
type Binding struct {
	Host     string         `json:"host,omitempty"`
	VNICType string         `json:"vnic_type,omitempty"`
	VIFType  VIFType        `json:"vif_type"`
	Profile  map[string]any `json:"profile,omitempty"`
	// SegmentID is the segment of the network through which the host reaches it.
	SegmentID string `json:"segment_id,omitempty"`
	// GatewayGroup, which comes before Host, is the group of hosts that all have the device: a highly available router is
	// to appear there.
	GatewayGroup string `json:"gateway_group,omitempty"`
}

// Group is the gateway group that the port is bound to; empty: it is bound to a host, or not at all.
func (b Binding) Group() string {
	if !b.Bound() {
		return ""
	}
	return b.GatewayGroup
}

// Bound says whether the port is tied to a host that can wire it.
func (b Binding) Bound() bool {
	return b.VIFType != VIFUnbound && b.VIFType != VIFBindingFailed && b.VIFType != "" && b.VIFType != VIFDistributed
}

// PortBinding is a binding as the API shows it below its port. It is made for a view and never stored.
type PortBinding struct {
	Binding
	NetworkID string
	ProjectID string
	// Active says that it is the binding in force; the others wait for a live migration.
	Active bool
}

// TrunkDetails is what a port shows of the trunk whose parent it is.
type TrunkDetails struct {
	TrunkID  string           `json:"trunk_id"`
	SubPorts []SubPortDetails `json:"sub_ports"`
}

// SubPortDetails is a subport with the MAC that its frames carry.
type SubPortDetails struct {
	SubPort
	MAC string `json:"mac_address,omitempty"`
}

// PortView is what a port shows that other objects know. It is made for a view and never stored.
type PortView struct {
	DNSDomain          string // of the cloud, without a dot at its end
	QoSNetworkPolicyID string
	Trunk              *TrunkDetails
	// ResourceRequest is what the port asks of its host, in the words of the placement service; nil: nothing.
	ResourceRequest any
}

// BindingOn returns the port's binding to the host, and whether it is the one in force. The binding in force counts even
// when it has failed; a port without a host has none.
func (p *Port) BindingOn(host string) (b Binding, active, ok bool) {
	if host == "" {
		return b, false, false
	}
	if p.Binding.Host == host {
		return p.Binding, true, true
	}
	if i := p.inactive(host); i >= 0 {
		return p.InactiveBindings[i], false, true
	}
	return b, false, false
}

// SetInactive stores a binding that is not in force, in place of the one to its host that there may be.
func (p *Port) SetInactive(b Binding) {
	if i := p.inactive(b.Host); i >= 0 {
		p.InactiveBindings[i] = b
		return
	}
	p.InactiveBindings = append(p.InactiveBindings, b)
}

// DropInactive removes the binding to the host that is not in force, where there is one.
func (p *Port) DropInactive(host string) {
	if i := p.inactive(host); i >= 0 {
		p.InactiveBindings = slices.Delete(p.InactiveBindings, i, i+1)
	}
}

func (p *Port) inactive(host string) int {
	return slices.IndexFunc(p.InactiveBindings, func(b Binding) bool { return b.Host == host })
}

// Trunk carries several networks over one port, its parent: each subport's frames have a VLAN tag there.
type Trunk struct {
	Meta
	AdminStateUp bool       `json:"admin_state_up"`
	PortID       string     `json:"port_id"`
	Status       PortStatus `json:"status"`
	SubPorts     []SubPort  `json:"sub_ports,omitempty"`
}

// Clone returns a deep copy.
func (t *Trunk) Clone() *Trunk {
	c := *t
	c.Meta = t.Meta.clone()
	c.SubPorts = slices.Clone(t.SubPorts)
	return &c
}

// SubPort is a port that is reached through the parent of its trunk.
type SubPort struct {
	PortID           string `json:"port_id"`
	SegmentationType string `json:"segmentation_type"`
	SegmentationID   int    `json:"segmentation_id"`
}

// SegmentKey identifies the tag among those of the trunk.
func (s SubPort) SegmentKey() string {
	return s.SegmentationType + "/" + strconv.Itoa(s.SegmentationID)
}
