package model

import (
	"net/netip"
	"slices"
)

// FirewallStatus is what the API shows as the status of a firewall group.
type FirewallStatus string

// The states of a firewall group. It is ACTIVE only when every host that has one of its ports has said so.
const (
	FirewallActive   FirewallStatus = "ACTIVE"
	FirewallDown     FirewallStatus = "DOWN"
	FirewallInactive FirewallStatus = "INACTIVE"
	FirewallPending  FirewallStatus = "PENDING_UPDATE"
	FirewallError    FirewallStatus = "ERROR"
)

// The names of what every project has of firewalls from the start.
const (
	DefaultFirewallGroup   = "default"
	DefaultIngressFirewall = "default ingress"
	DefaultEgressFirewall  = "default egress"
)

// FirewallGroup has the traffic of its ports filtered by two policies: what the network sends to a port, and what comes
// from it. A port is in one group at most.
type FirewallGroup struct {
	Meta
	// Default marks the group that a project has from the start. A project has one of them at most.
	Default      bool `json:"default,omitempty"`
	AdminStateUp bool `json:"admin_state_up"`
	// IngressPolicyID and EgressPolicyID are the policies; empty: none, and nothing passes that way if there is the other.
	IngressPolicyID string   `json:"ingress_policy_id,omitempty"`
	EgressPolicyID  string   `json:"egress_policy_id,omitempty"`
	PortIDs         []string `json:"port_ids,omitempty"`
	Shared          bool     `json:"shared,omitempty"`

	// View is filled in when the group is shown, it is never stored.
	View FirewallView `json:"-"`
}

// FirewallView is what a group shows of what became of it on hosts.
type FirewallView struct {
	Status FirewallStatus
	Reason string // why it is not ACTIVE, where something is amiss
}

// Clone returns a deep copy.
func (g *FirewallGroup) Clone() *FirewallGroup {
	c := *g
	c.Meta = g.Meta.clone()
	c.PortIDs = slices.Clone(g.PortIDs)
	return &c
}

// Filters says whether the group has a say in what its ports may send and get: without policies it has none, unless it is
// switched off, which closes its ports.
func (g *FirewallGroup) Filters() bool {
	return !g.AdminStateUp || g.IngressPolicyID != "" || g.EgressPolicyID != ""
}

// FirewallPort says whether a port of the device owner may be in a firewall group: interfaces of routers, and ports of
// servers.
func FirewallPort(owner string) bool { return RouterInterfaceOwner(owner) || ComputeOwner(owner) }

// FirewallPolicy is an ordered list of rules. The first that matches decides; what none matches is dropped.
type FirewallPolicy struct {
	Meta
	Default bool     `json:"default,omitempty"` // of a default group
	RuleIDs []string `json:"rule_ids,omitempty"`
	// Audited is what a person has said after looking at the rules. It ends with each change of them.
	Audited bool `json:"audited,omitempty"`
	Shared  bool `json:"shared,omitempty"`
}

// Clone returns a deep copy.
func (p *FirewallPolicy) Clone() *FirewallPolicy {
	c := *p
	c.Meta = p.Meta.clone()
	c.RuleIDs = slices.Clone(p.RuleIDs)
	return &c
}

// FirewallAction is what becomes of packets that a rule matches.
type FirewallAction string

// The actions. Reject tells the sender, where the packet is forwarded by a router; on the port of a server it is deny.
const (
	FirewallAllow  FirewallAction = "allow"
	FirewallDeny   FirewallAction = "deny"
	FirewallReject FirewallAction = "reject"
)

// FirewallRule says what becomes of a kind of traffic. Fields that are not set match everything. A rule may be in several
// policies, ingress and egress.
type FirewallRule struct {
	Meta
	Default bool `json:"default,omitempty"` // of a default group
	Enabled bool `json:"enabled"`
	Shared  bool `json:"shared,omitempty"`
	// Protocol is a name that ProtocolNumber knows or a number in digits; empty: any.
	Protocol  string          `json:"protocol,omitempty"`
	IPVersion int             `json:"ip_version"`
	Source    FirewallAddress `json:"source,omitzero"`
	// SourcePorts and DestinationPorts are for TCP and UDP; the zero range matches everything.
	SourcePorts      PortRange       `json:"source_ports,omitzero"`
	Destination      FirewallAddress `json:"destination,omitzero"`
	DestinationPorts PortRange       `json:"destination_ports,omitzero"`
	Action           FirewallAction  `json:"action"`

	// PolicyIDs is filled in when the rule is shown, it is never stored.
	PolicyIDs []string `json:"-"`
}

// Clone returns a deep copy.
func (r *FirewallRule) Clone() *FirewallRule {
	c := *r
	c.Meta = r.Meta.clone()
	return &c
}

// FirewallAddress is an address or a block of them, as the client wrote it. The zero value is any.
type FirewallAddress struct {
	// Prefix may have host bits. What filters traffic masks it.
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// Plain says that the client gave an address without a length, and wants to see it that way.
	Plain bool `json:"plain,omitempty"`
}

// Text is the address as the client wrote it; empty: any.
func (a FirewallAddress) Text() string {
	switch {
	case !a.Prefix.IsValid():
		return ""
	case a.Plain:
		return a.Prefix.Addr().String()
	}
	return a.Prefix.String()
}

// FirewallReport is the last word of a host on a firewall group. Its id is "<group id>:<host>".
type FirewallReport struct {
	Meta
	GroupID string `json:"group_id"`
	Host    string `json:"host"`
	// Hash is that of the document that it is about: a word on an earlier one does not count.
	Hash uint64 `json:"hash"`
	// Reason is why the group is not in force there; empty: it is.
	Reason string `json:"reason,omitempty"`
}
