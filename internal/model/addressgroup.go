package model

import (
	"net/netip"
	"slices"
)

// AddressGroup is a named set of address blocks, which security group rules can refer to.
type AddressGroup struct {
	Meta
	// Addresses are blocks without host bits, each once, in order of address and length.
	Addresses []netip.Prefix `json:"addresses,omitempty"`

	// Shared is filled in when the group is shown, since it depends on who asks. It is never stored.
	Shared bool `json:"-"`
}

// Clone returns a deep copy.
func (g *AddressGroup) Clone() *AddressGroup {
	c := *g
	c.Meta = g.Meta.clone()
	c.Addresses = slices.Clone(g.Addresses)
	return &c
}
