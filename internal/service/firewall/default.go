package firewall

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// EnsureDefault returns the project's default group, and makes it where there is none, with its policies and rules.
// Transactions run one after the other, so that there is never a second one. No port is in it until somebody puts it
// there.
//
// It must be called for projects that are known to exist only: that of the caller's token, or the owner of an object that is
// being made. Whoever may name any project could otherwise fill the state with the groups of projects that do not exist.
func EnsureDefault(tx *state.Tx, projectID string) *model.FirewallGroup {
	if g, ok := state.FirewallGroupsDefault.First(tx, projectID); ok {
		return g
	}
	meta := func(name, description string) model.Meta {
		return model.Meta{ID: tx.NewID(), ProjectID: projectID, Name: name, Description: description}
	}
	policy := func(name, description, rule string, action model.FirewallAction) string {
		p := &model.FirewallPolicy{Meta: meta(name, description), Default: true}
		for _, version := range []struct {
			number       int
			lower, upper string
		}{{4, "ipv4", "IPv4"}, {6, "ipv6", "IPv6"}} {
			r := &model.FirewallRule{
				Meta:    meta("default "+rule+" "+version.lower, "default "+rule+" rule for "+version.upper),
				Default: true, Enabled: true, IPVersion: version.number, Action: action,
			}
			state.FirewallRules.Put(tx, r)
			p.RuleIDs = append(p.RuleIDs, r.ID)
		}
		state.FirewallPolicies.Put(tx, p)
		return p.ID
	}
	g := &model.FirewallGroup{
		Meta:    meta(model.DefaultFirewallGroup, "Default firewall group"),
		Default: true, AdminStateUp: true,
		IngressPolicyID: policy(model.DefaultIngressFirewall, "Ingress firewall policy", "ingress", model.FirewallDeny),
		EgressPolicyID:  policy(model.DefaultEgressFirewall, "Egress firewall policy", "egress", model.FirewallAllow),
	}
	state.FirewallGroups.Put(tx, g)
	return g
}

// BeforeList returns what has to be done before the caller may list groups, policies or rules: a project sees its default
// group from the start. nil: nothing. Only the project of the caller's token counts, whatever the list is filtered by.
func BeforeList(r state.Reader, c *auth.Caller) func(tx *state.Tx) error {
	if c.ProjectID == "" || state.FirewallGroupsDefault.Has(r, c.ProjectID) {
		return nil
	}
	return func(tx *state.Tx) error {
		EnsureDefault(tx, c.ProjectID)
		return nil
	}
}

// removeDefaults deletes the policies of a default group that has been deleted, unless other groups have them, and those of
// their rules that no other policy has.
func removeDefaults(tx *state.Tx, g *model.FirewallGroup) error {
	for _, p := range slices.Collect(state.FirewallPoliciesByProject.List(tx, g.ProjectID)) {
		if !p.Default {
			continue
		}
		if err := (Policies{}).Delete(tx, auth.System, p); err != nil {
			return err
		}
		for _, id := range p.RuleIDs {
			if r, ok := state.FirewallRules.Get(tx, id); ok && r.Default && !state.FirewallPoliciesByRule.Has(tx, id) {
				state.FirewallRules.Delete(tx, id)
			}
		}
	}
	return nil
}
