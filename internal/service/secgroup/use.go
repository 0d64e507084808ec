package secgroup

import (
	"iter"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// ObjectType is what RBAC policies call security groups.
const ObjectType = "security_group"

func shared(g *model.SecurityGroup) *bool { return &g.Shared }

// Kind says how groups are shared. One that ports of a project have stays shared with it.
func Kind() rbac.Kind {
	return rbac.KindOf(ObjectType, "SecurityGroup", state.SecurityGroups, (*model.SecurityGroup).Clone, shared,
		func(r state.Reader, id string) iter.Seq[string] {
			return func(yield func(string) bool) {
				for p := range state.PortsBySecurityGroup.List(r, id) {
					if !yield(p.ProjectID) {
						return
					}
				}
			}
		})
}

// View returns a function that gives a group as the caller sees it: with its rules, and shared if it is with the
// caller's project. It is made for rest.Collection.For.
func View(r state.Reader, c *auth.Caller) func(*model.SecurityGroup) *model.SecurityGroup {
	share := rbac.View(ObjectType, shared)(r, c)
	return func(g *model.SecurityGroup) *model.SecurityGroup {
		if share != nil {
			g = share(g)
		}
		seen := *g
		seen.Rules = state.SecurityGroupRulesByGroup.List(r, g.ID)
		return &seen
	}
}

// Find returns the group, if the caller may know that it exists. The fault is SecurityGroupNotFound (404).
func Find(r state.Reader, c *auth.Caller, id string) (*model.SecurityGroup, error) {
	g, ok := state.SecurityGroups.Get(r, id)
	if !ok || !visible(r, c, g) {
		return nil, fault.Missing("SecurityGroup", id)
	}
	return g, nil
}

// visible says whether the caller may know that the group exists: as an administrator, as a service of the cloud, as
// its owner, or because it is shared with the caller's project.
func visible(r state.Reader, c *auth.Caller, g *model.SecurityGroup) bool {
	return c.Admin() || c.HasRole("service") || c.ProjectID == g.ProjectID || rbac.Shared(r, ObjectType, g.ID, c.ProjectID)
}

// CheckUsable says whether the caller may give a port exactly these groups. A group that the caller may not see is as
// good as none: the fault is SecurityGroupNotFound (404), which names all that are missing. Stateful and stateless
// groups exclude each other: SecurityGroupConflict (409).
func CheckUsable(r state.Reader, c *auth.Caller, ids []string) error {
	var missing []string
	var stateful, stateless bool
	for _, id := range ids {
		g, err := Find(r, c, id)
		if err != nil {
			if !slices.Contains(missing, id) {
				missing = append(missing, id)
			}
			continue
		}
		stateful = stateful || g.Stateful
		stateless = stateless || !g.Stateful
	}
	switch {
	case len(missing) > 0:
		return fault.Missing("SecurityGroup", strings.Join(missing, ", "))
	case stateful && stateless:
		return fault.New(fault.Conflict, "SecurityGroupConflict", "Error Cannot apply both stateful and stateless security "+
			"groups on the same port at the same time while attempting the operation.")
	}
	return nil
}
