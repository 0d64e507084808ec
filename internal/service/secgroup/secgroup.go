// Package secgroup holds the rules of security groups: the default group of every project, which rules a group may
// have, and what keeps a group from being changed or deleted.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - secgroup.go: create, update and delete groups, as the API asks for them.
//   - default.go: the group that a project gets without asking.
//   - rule.go: make and delete the rules of a group.
//   - normalise.go: which values of a rule fit together, and the form in which they are stored.
//   - use.go: who sees which groups, and may name them in other objects.
package secgroup

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/logging"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Quotas bound how many objects of a kind a project may have.
type Quotas interface {
	// Take returns a fault of kind OverQuota if n more objects are more than the project may have.
	Take(tx *state.Tx, projectID, name string, n int) error
}

// Groups are the rules of security groups.
type Groups struct{ quotas Quotas }

// NewGroups returns the rules of security groups. quotas bound the rules that new groups are made with; nil: nothing
// does.
func NewGroups(quotas Quotas) *Groups { return &Groups{quotas: quotas} }

// Create stores the group with the rules that a new group has: its ports may send everything. A project that makes a
// group of its own gets its default group first.
func (s *Groups) Create(tx *state.Tx, _ *auth.Caller, g *model.SecurityGroup, _ schema.Given) error {
	EnsureDefault(tx, g.ProjectID)
	rules := initialRules(g)
	if s.quotas != nil {
		if err := s.quotas.Take(tx, g.ProjectID, schema.SecurityGroupRule.Quota, len(rules)); err != nil {
			return err
		}
	}
	g.Default = false
	store(tx, g, rules)
	return nil
}

// Update stores the group. The name of a default group is fixed, and a group that ports have cannot become stateful or
// stateless: their connections would be cut.
func (s *Groups) Update(tx *state.Tx, _ *auth.Caller, old, g *model.SecurityGroup, given schema.Given) error {
	if old.Default && given.Has("name") {
		return fault.New(fault.Conflict, "SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
	}
	if g.Stateful != old.Stateful && inUse(tx, g) {
		return errInUse(g)
	}
	state.SecurityGroups.Put(tx, g)
	return nil
}

// Delete deletes the group, its rules, and the rules of other groups that refer to it. Ports that have it forbid it:
// the fault is SecurityGroupInUse (409). A default group is deleted by administrators only, and comes back when it is
// needed.
func (s *Groups) Delete(tx *state.Tx, c *auth.Caller, g *model.SecurityGroup) error {
	if inUse(tx, g) {
		return errInUse(g)
	}
	if g.Default && !c.Admin() {
		return fault.New(fault.Conflict, "SecurityGroupCannotRemoveDefault",
			"Insufficient rights for removing default security group.")
	}
	var own, referring []*model.SecurityGroupRule
	for r := range state.SecurityGroupRulesByGroup.List(tx, g.ID) {
		own = append(own, r)
	}
	for r := range state.SecurityGroupRulesByRemoteGroup.List(tx, g.ID) {
		if r.GroupID != g.ID {
			referring = append(referring, r)
		}
	}
	for _, r := range own {
		state.SecurityGroupRules.Delete(tx, r.ID)
	}
	for _, r := range referring {
		removeRule(tx, r)
	}
	state.SecurityGroups.Delete(tx, g.ID)
	rbac.Forget(tx, ObjectType, g.ID)
	logging.Forget(tx, g.ID)
	return nil
}

func inUse(r state.Reader, g *model.SecurityGroup) bool {
	return state.PortsBySecurityGroup.Has(r, g.ID)
}

func errInUse(g *model.SecurityGroup) error {
	return fault.New(fault.Conflict, "SecurityGroupInUse", "Security Group %s in use.", g.ID)
}
