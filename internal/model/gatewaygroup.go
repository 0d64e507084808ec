package model

import (
	"maps"
	"slices"
)

// GatewayGroup is a group of hosts that serve highly available routers, one of them at a time; see package gatewaygroup. Its
// id is its number, in decimal digits.
type GatewayGroup struct {
	Meta
	// Hosts in the order in which they are preferred while nobody has claimed the group.
	Hosts []string `json:"hosts,omitempty"`
	// Leaving are hosts that were in the group and have not yet said that they no longer are: until then no other host gets
	// their place.
	Leaving []string `json:"leaving,omitempty"`
	// Claim is the newest that a host of the group has reported.
	Claim GatewayClaim `json:"claim,omitzero"`
	// Failing has what hosts of the group have reported that keeps them from taking part in it.
	Failing map[string]string `json:"failing,omitempty"`
	// Reason says what its routers lack to be highly available.
	Reason string `json:"reason,omitempty"`
}

// Clone returns a deep copy.
func (g *GatewayGroup) Clone() *GatewayGroup {
	c := *g
	c.Meta = g.Meta.clone()
	c.Hosts = slices.Clone(g.Hosts)
	c.Leaving = slices.Clone(g.Leaving)
	c.Failing = maps.Clone(g.Failing)
	return &c
}

// Active is the host that has claimed the group last; empty: nobody, or a host that is no longer in the group.
func (g *GatewayGroup) Active() string {
	if slices.Contains(g.Hosts, g.Claim.Host) {
		return g.Claim.Host
	}
	return ""
}

// GatewayClaim says that a host has taken over a gateway group; see package gatewaygroup. The zero value: nobody has.
type GatewayClaim struct {
	Epoch uint64 `json:"epoch"`
	Rank  uint8  `json:"rank"`
	Host  string `json:"host"`
}
