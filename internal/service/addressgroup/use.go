package addressgroup

import (
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// ObjectType is what RBAC policies call address groups.
const ObjectType = "address_group"

func shared(g *model.AddressGroup) *bool { return &g.Shared }

// Kind says how groups are shared. One that security group rules of a project refer to stays shared with it.
func Kind() rbac.Kind {
	return rbac.KindOf(ObjectType, "AddressGroup", state.AddressGroups, (*model.AddressGroup).Clone, shared,
		func(r state.Reader, id string) iter.Seq[string] {
			return func(yield func(string) bool) {
				for rule := range state.SecurityGroupRulesByAddressGroup.List(r, id) {
					if !yield(rule.ProjectID) {
						return
					}
				}
			}
		})
}

// View returns a function that gives a group as the caller sees it: shared if it is with the caller's project. It is
// made for rest.Collection.For.
func View(r state.Reader, c *auth.Caller) func(*model.AddressGroup) *model.AddressGroup {
	return rbac.View(ObjectType, shared)(r, c)
}

// Find returns the group, if the caller may know that it exists: as an administrator, as a service of the cloud, as its
// owner, or because it is shared with the caller's project. The fault is AddressGroupNotFound (404).
func Find(r state.Reader, c *auth.Caller, id string) (*model.AddressGroup, error) {
	g, ok := state.AddressGroups.Get(r, id)
	if ok && (c.Admin() || c.HasRole("service") || c.ProjectID == g.ProjectID ||
		rbac.Shared(r, ObjectType, g.ID, c.ProjectID)) {
		return g, nil
	}
	return nil, fault.Missing("AddressGroup", id)
}
