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
	// Shared says that an RBAC policy grants all projects the use of the group.
	Shared bool `json:"shared,omitempty"`
}

// Clone returns a deep copy.
func (g *AddressGroup) Clone() *AddressGroup {
	c := *g
	c.Meta = g.Meta.clone()
	c.Addresses = slices.Clone(g.Addresses)
	return &c
}
