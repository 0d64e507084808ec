// Package addressgroup holds the rules of address groups: sets of address blocks that security group rules refer to.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
package addressgroup

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are the rules of address groups. The zero value is ready.
type Rules struct{}

// Create stores the group.
func (Rules) Create(tx *state.Tx, _ *auth.Caller, g *model.AddressGroup, _ schema.Given) error {
	state.AddressGroups.Put(tx, g)
	return nil
}

// Update stores the group.
func (Rules) Update(tx *state.Tx, _ *auth.Caller, _, g *model.AddressGroup, _ schema.Given) error {
	state.AddressGroups.Put(tx, g)
	return nil
}

// Delete deletes the group. Rules of security groups that refer to it, whoever they belong to, forbid it: the fault is
// AddressGroupInUse (409).
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, g *model.AddressGroup) error {
	if state.SecurityGroupRulesByAddressGroup.Has(tx, g.ID) {
		return fault.New(fault.Conflict, "AddressGroupInUse",
			"Address group %s is in use on one or more security group rules.", g.ID)
	}
	state.AddressGroups.Delete(tx, g.ID)
	rbac.Forget(tx, ObjectType, g.ID)
	return nil
}

// Add adds the blocks of a request's member "addresses", and returns the group. One that the group has already refuses
// all: the fault is AddressesAlreadyExist (400).
func (Rules) Add(tx *state.Tx, g *model.AddressGroup, body map[string]any) (*model.AddressGroup, error) {
	blocks, err := requested(body)
	if err != nil {
		return nil, err
	}
	var there []netip.Prefix
	for _, b := range blocks {
		if _, found := search(g.Addresses, b); found {
			there = append(there, b)
		}
	}
	if len(there) > 0 {
		return nil, fault.New(fault.Invalid, "AddressesAlreadyExist",
			"Addresses %s already exist in the address group %s.", few(there), g.ID)
	}
	if n := len(g.Addresses) + len(blocks); n > schema.MaxAddresses {
		return nil, fault.Input("addresses", "the group would have %d items, and at most %d are allowed",
			n, schema.MaxAddresses)
	}
	g = g.Clone()
	g.Addresses = append(g.Addresses, blocks...)
	slices.SortFunc(g.Addresses, netip.Prefix.Compare)
	state.AddressGroups.Put(tx, g)
	return g, nil
}

// Remove removes the blocks of a request's member "addresses", and returns the group. One that the group does not have
// refuses all: the fault is AddressesNotFound (404).
func (Rules) Remove(tx *state.Tx, g *model.AddressGroup, body map[string]any) (*model.AddressGroup, error) {
	blocks, err := requested(body)
	if err != nil {
		return nil, err
	}
	var missing []netip.Prefix
	for _, b := range blocks {
		if _, found := search(g.Addresses, b); !found {
			missing = append(missing, b)
		}
	}
	if len(missing) > 0 {
		return nil, fault.New(fault.NotFound, "AddressesNotFound",
			"Addresses %s not found in the address group %s.", few(missing), g.ID)
	}
	g = g.Clone()
	g.Addresses = slices.DeleteFunc(g.Addresses, func(b netip.Prefix) bool {
		_, gone := search(blocks, b)
		return gone
	})
	state.AddressGroups.Put(tx, g)
	return g, nil
}

// requested are the blocks that a request names, each once and in order.
func requested(body map[string]any) ([]netip.Prefix, error) {
	blocks, err := schema.ParseAddresses(body["addresses"])
	if err != nil {
		return nil, fault.Input("addresses", "%s", err)
	}
	return blocks, nil
}

func search(blocks []netip.Prefix, b netip.Prefix) (int, bool) {
	return slices.BinarySearchFunc(blocks, b, netip.Prefix.Compare)
}

// few lists blocks, but no more than a person reads.
func few(blocks []netip.Prefix) string {
	const most = 20
	var texts []string
	for _, b := range blocks[:min(len(blocks), most)] {
		texts = append(texts, "'"+b.String()+"'")
	}
	if len(blocks) > most {
		texts = append(texts, "…")
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
