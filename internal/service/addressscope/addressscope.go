// Package addressscope holds the rules of address scopes: sets of subnet pools among which no address is used twice.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped. That pools of a scope do not overlap is a rule of
// pools, and stands in package subnetpool.
package addressscope

import (
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RBACType is what RBAC policies call an address scope.
const RBACType = "address_scope"

// Rules are the rules of address scopes. The zero value is ready.
type Rules struct{}

// Create stores the scope.
func (Rules) Create(tx *state.Tx, _ *auth.Caller, s *model.AddressScope, _ schema.Given) error {
	rbac.Share(tx, RBACType, s.ID, model.AccessShared, s.ProjectID, s.Shared)
	state.AddressScopes.Put(tx, s)
	return nil
}

// Update stores the scope. One that is shared stays so, since pools of other projects may be in it: the fault is
// AddressScopeUpdateError (400).
func (Rules) Update(tx *state.Tx, _ *auth.Caller, old, s *model.AddressScope, _ schema.Given) error {
	if old.Shared && !s.Shared {
		return fault.New(fault.Invalid, "AddressScopeUpdateError",
			"Unable to update address scope %s : Shared address scope can't be unshared.", s.ID)
	}
	rbac.Share(tx, RBACType, s.ID, model.AccessShared, s.ProjectID, s.Shared)
	state.AddressScopes.Put(tx, s)
	return nil
}

// Delete deletes the scope, if no pool is in it: the fault is AddressScopeInUse (409).
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, s *model.AddressScope) error {
	if state.SubnetPoolsByScope.Has(tx, s.ID) {
		return fault.New(fault.Conflict, "AddressScopeInUse", "Unable to complete operation on address scope %s. "+
			"There are one or more subnet pools in use on the address scope.", s.ID)
	}
	rbac.Forget(tx, RBACType, s.ID)
	state.AddressScopes.Delete(tx, s.ID)
	return nil
}

// Sharing is how address scopes are shared by RBAC policies. Projects use a scope by having pools in it.
func Sharing() rbac.Kind {
	return rbac.KindOf(RBACType, "AddressScope", state.AddressScopes, (*model.AddressScope).Clone, shared,
		func(r state.Reader, id string) iter.Seq[string] {
			return func(yield func(string) bool) {
				for p := range state.SubnetPoolsByScope.List(r, id) {
					if !yield(p.ProjectID) {
						return
					}
				}
			}
		})
}

func shared(s *model.AddressScope) *bool { return &s.Shared }

// View makes scopes look as the caller may see them: shared when they are shared with its project.
func View(r state.Reader, c *auth.Caller) func(*model.AddressScope) *model.AddressScope {
	return rbac.View(RBACType, shared)(r, c)
}

// Find returns the scope, if the caller may use it: as an administrator, as its owner, or because it is shared with its
// project. The fault is AddressScopeNotFound (404).
func Find(r state.Reader, c *auth.Caller, id string) (*model.AddressScope, error) {
	s, ok := state.AddressScopes.Get(r, id)
	if !ok || !c.Admin() && c.ProjectID != s.ProjectID && !rbac.Shared(r, RBACType, id, c.ProjectID) {
		return nil, fault.Missing("AddressScope", id)
	}
	return s, nil
}

// OfNetwork returns the id of the scope that the network's subnets of the IP version are in; empty where they are in
// none. All of them are in the same: see package subnet.
func OfNetwork(r state.Reader, networkID string, ipVersion int) string {
	for s := range state.SubnetsByNetwork.List(r, networkID) {
		if s.IPVersion != ipVersion || s.SubnetPoolID == "" {
			continue
		}
		if p, ok := state.SubnetPools.Get(r, s.SubnetPoolID); ok {
			return p.AddressScope
		}
	}
	return ""
}
