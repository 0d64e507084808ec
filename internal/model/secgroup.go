package model

import (
	"iter"
	"maps"
	"net/netip"
	"strconv"
	"strings"
)

// SecurityGroup is a named set of rules that say which traffic may pass the ports that have the group. What no rule
// allows is dropped.
type SecurityGroup struct {
	Meta
	// Default marks the group that a port gets which asks for none. A project has one of them at most.
	Default bool `json:"default,omitempty"`
	// Stateful groups let the answers to allowed traffic pass, too.
	Stateful bool `json:"stateful"`
	// Shared says that an RBAC policy grants all projects the use of the group.
	Shared bool `json:"shared,omitempty"`

	// Rules is filled in when the group is shown, and never stored: rules are objects of their own.
	Rules iter.Seq[*SecurityGroupRule] `json:"-"`
}

// Clone returns a deep copy.
func (g *SecurityGroup) Clone() *SecurityGroup {
	c := *g
	c.Meta = g.Meta.clone()
	return &c
}

// DefaultGroupName is the name of every project's default group, and of no other group.
const DefaultGroupName = "default"

// Direction says which way traffic goes, seen from the workload.
type Direction string

// The directions.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// EtherType is the IP version of a rule, as the API spells it.
type EtherType string

// The EtherTypes of rules.
const (
	IPv4 EtherType = "IPv4"
	IPv6 EtherType = "IPv6"
)

// SecurityGroupRule allows a kind of traffic. Fields that are not set match everything. Stored rules are in the form
// that the rules of package secgroup give them; Match tells two of them apart.
type SecurityGroupRule struct {
	Meta
	GroupID   string    `json:"group_id"`
	Direction Direction `json:"direction"`
	EtherType EtherType `json:"ethertype"`
	// Protocol is a name that ProtocolNumber knows or a number from 0 to 255 in decimal digits, as it was asked for;
	// empty: any.
	Protocol string `json:"protocol,omitempty"`
	// PortMin and PortMax are the ends of a range of destination ports, 1 to 65535, both nil or both set. For ICMP and
	// ICMPv6 PortMin is the type and PortMax the code, 0 to 255; nil: any. Other protocols have neither.
	PortMin *int `json:"port_min,omitempty"`
	PortMax *int `json:"port_max,omitempty"`
	// At most one of the following three says who is at the other end. RemotePrefix may have host bits.
	RemotePrefix         netip.Prefix `json:"remote_prefix,omitzero"`
	RemoteGroupID        string       `json:"remote_group_id,omitempty"`
	RemoteAddressGroupID string       `json:"remote_address_group_id,omitempty"`
	// OfDefault says that the rule belongs to a default group.
	OfDefault bool `json:"of_default,omitempty"`
}

// Clone returns a deep copy.
func (r *SecurityGroupRule) Clone() *SecurityGroupRule {
	c := *r
	c.Meta = r.Meta.clone()
	c.PortMin, c.PortMax = cloneInt(r.PortMin), cloneInt(r.PortMax)
	return &c
}

func cloneInt(p *int) *int {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// Match is a text that two rules of one group have in common when the API takes the one for a repetition of the other:
// they match the same traffic, whatever the spelling of the protocol or of "from everywhere".
func (r *SecurityGroupRule) Match() string {
	var remote string
	switch {
	case r.RemoteGroupID != "":
		remote = "group " + r.RemoteGroupID
	case r.RemoteAddressGroupID != "":
		remote = "addresses " + r.RemoteAddressGroupID
	case r.RemotePrefix.IsValid() && !everywhere(r.RemotePrefix):
		remote = r.RemotePrefix.String()
	}
	return strings.Join([]string{
		string(r.Direction), string(r.EtherType), protocolKey(r.Protocol), portText(r.PortMin), portText(r.PortMax), remote,
	}, "/")
}

// RemoteSet names the set of addresses that the rule refers to as the other end, "group:<security group id>" or
// "addresses:<address group id>"; empty: it refers to none.
func (r *SecurityGroupRule) RemoteSet() string {
	switch {
	case r.RemoteGroupID != "":
		return GroupSet(r.RemoteGroupID)
	case r.RemoteAddressGroupID != "":
		return AddressSet(r.RemoteAddressGroupID)
	}
	return ""
}

// GroupSet names the set of the addresses of all ports that have the security group.
func GroupSet(groupID string) string { return "group:" + groupID }

// AddressSet names the set of the blocks of an address group.
func AddressSet(addressGroupID string) string { return "addresses:" + addressGroupID }

func everywhere(p netip.Prefix) bool { return p.Bits() == 0 && p.Addr().IsUnspecified() }

func portText(p *int) string {
	if p == nil {
		return ""
	}
	return strconv.Itoa(*p)
}

// protocolNumbers are the protocols that rules can name.
var protocolNumbers = map[string]int{
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0,
	"ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
	"ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}

// ProtocolNames are the names that a rule's protocol may have, in no particular order.
func ProtocolNames() iter.Seq[string] { return maps.Keys(protocolNumbers) }

// ProtocolNumber is the number of a rule's protocol, given by name or in digits. It is not ok for the empty text, which
// means any protocol, and for what is no protocol.
func ProtocolNumber(protocol string) (number int, ok bool) {
	if number, ok = protocolNumbers[protocol]; ok {
		return number, true
	}
	number, err := strconv.Atoi(protocol)
	return number, err == nil && 0 <= number && number <= 255
}

// protocolKey is the same for different spellings of a protocol. hopopt stays apart from ip although both have the
// number 0, since the API takes them for different protocols.
func protocolKey(protocol string) string {
	if number, ok := protocolNumbers[protocol]; ok && protocol != "hopopt" {
		return strconv.Itoa(number)
	}
	return protocol
}
