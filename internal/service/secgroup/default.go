package secgroup

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// EnsureDefault returns the project's default group, and makes it where there is none. Transactions run one after the
// other, so that there is never a second one.
//
// It must be called for projects that are known to exist only: that of the caller's token, or the owner of an object
// that is being made. Whoever may name any project could otherwise fill the state with the groups of projects that do
// not exist (CVE-2022-3277, CVE-2023-3637).
func EnsureDefault(tx *state.Tx, projectID string) *model.SecurityGroup {
	if g, ok := state.SecurityGroupsDefault.First(tx, projectID); ok {
		return g
	}
	g := &model.SecurityGroup{
		Meta: model.Meta{
			ID: tx.NewID(), ProjectID: projectID, Name: model.DefaultGroupName, Description: "Default security group",
		},
		Default: true, Stateful: true,
	}
	store(tx, g, initialRules(g))
	return g
}

// BeforeList returns what has to be done before the caller may list groups or rules: a project sees its default group
// from the start. nil: nothing. Only the project of the caller's token counts, whatever the list is filtered by.
func BeforeList(r state.Reader, c *auth.Caller) func(tx *state.Tx) error {
	if c.ProjectID == "" || state.SecurityGroupsDefault.Has(r, c.ProjectID) {
		return nil
	}
	return func(tx *state.Tx) error {
		EnsureDefault(tx, c.ProjectID)
		return nil
	}
}

// initialRules are the rules that a group is made with: its ports may send everything, and those of a default group
// receive what other ports of the group send.
func initialRules(g *model.SecurityGroup) []*model.SecurityGroupRule {
	var rules []*model.SecurityGroupRule
	for _, version := range []model.EtherType{model.IPv4, model.IPv6} {
		rules = append(rules, &model.SecurityGroupRule{Direction: model.Egress, EtherType: version})
		if g.Default {
			rules = append(rules, &model.SecurityGroupRule{
				Direction: model.Ingress, EtherType: version, RemoteGroupID: g.ID,
			})
		}
	}
	return rules
}

// store stores a new group with its first rules.
func store(tx *state.Tx, g *model.SecurityGroup, rules []*model.SecurityGroupRule) {
	state.SecurityGroups.Put(tx, g)
	for _, r := range rules {
		r.ID, r.ProjectID, r.GroupID, r.OfDefault = tx.NewID(), g.ProjectID, g.ID, g.Default
		state.SecurityGroupRules.Put(tx, r)
	}
}
