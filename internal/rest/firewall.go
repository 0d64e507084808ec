package rest

import (
	"errors"
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/firewall"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RegisterFirewalls adds firewall groups, their policies and the rules in these. docs tells what became of groups on hosts.
func RegisterFirewalls(a *API, docs firewall.Documents) error {
	return errors.Join(
		Register(a, firewallRules()),
		Register(a, firewallPolicies()),
		Register(a, Collection[model.FirewallGroup]{
			Resource: schema.FirewallGroup, Table: state.FirewallGroups, Rules: firewall.Groups{},
			Clone: (*model.FirewallGroup).Clone,
			Indexes: []Indexed[model.FirewallGroup]{
				{Filter: "name", Index: state.FirewallGroupsByName},
				{Filter: "project_id", Index: state.FirewallGroupsByProject},
				{Filter: "tenant_id", Index: state.FirewallGroupsByProject},
				{Filter: "ports", Index: state.FirewallGroupsByPort},
			},
			Visible:    ofProjectOrShared(state.FirewallGroupsByProject, state.FirewallGroupsShared),
			For:        firewall.View(docs),
			BeforeList: firewall.BeforeList,
		}),
	)
}

func firewallPolicies() Collection[model.FirewallPolicy] {
	rules := firewall.Policies{}
	return Collection[model.FirewallPolicy]{
		Resource: schema.FirewallPolicy, Table: state.FirewallPolicies, Rules: rules, Clone: (*model.FirewallPolicy).Clone,
		Indexes: []Indexed[model.FirewallPolicy]{
			{Filter: "name", Index: state.FirewallPoliciesByName},
			{Filter: "project_id", Index: state.FirewallPoliciesByProject},
			{Filter: "tenant_id", Index: state.FirewallPoliciesByProject},
			{Filter: "firewall_rules", Index: state.FirewallPoliciesByRule},
		},
		Visible:    ofProjectOrShared(state.FirewallPoliciesByProject, state.FirewallPoliciesShared),
		BeforeList: firewall.BeforeList,
		Actions: []Action[model.FirewallPolicy]{
			ofRules("insert_rule", rules.Insert), ofRules("remove_rule", rules.Remove),
		},
	}
}

func firewallRules() Collection[model.FirewallRule] {
	return Collection[model.FirewallRule]{
		Resource: schema.FirewallRule, Table: state.FirewallRules, Rules: firewall.Rules{}, Clone: (*model.FirewallRule).Clone,
		Indexes: []Indexed[model.FirewallRule]{
			{Filter: "name", Index: state.FirewallRulesByName},
			{Filter: "project_id", Index: state.FirewallRulesByProject},
			{Filter: "tenant_id", Index: state.FirewallRulesByProject},
		},
		Visible: ofProjectOrShared(state.FirewallRulesByProject, state.FirewallRulesShared),
		For: func(r state.Reader, c *auth.Caller) func(*model.FirewallRule) *model.FirewallRule {
			return func(rule *model.FirewallRule) *model.FirewallRule {
				seen := *rule
				seen.PolicyIDs = nil
				for p := range state.FirewallPoliciesByRule.List(r, rule.ID) {
					if p.Shared || c.Admin() || p.ProjectID == c.ProjectID {
						seen.PolicyIDs = append(seen.PolicyIDs, p.ID)
					}
				}
				return &seen
			}
		},
		BeforeList: firewall.BeforeList,
	}
}

// ofProjectOrShared makes Collection.Visible of resources that their project sees, and all projects those that are shared.
func ofProjectOrShared[T any](byProject, shared *state.Index[T]) func(state.Reader, *auth.Caller) iter.Seq[*T] {
	return func(r state.Reader, c *auth.Caller) iter.Seq[*T] {
		return func(yield func(*T) bool) {
			for obj := range byProject.List(r, c.ProjectID) {
				if !yield(obj) {
					return
				}
			}
			for obj := range shared.List(r, state.SharedKey) {
				if meta(obj).ProjectID != c.ProjectID && !yield(obj) {
					return
				}
			}
		}
	}
}
