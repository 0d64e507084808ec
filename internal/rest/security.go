package rest

import (
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressgroup"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
	"github.com/neutrino-net/neutrino/internal/state"
)

// SecurityGroups is the collection of security groups.
func SecurityGroups(rules Rules[model.SecurityGroup]) Collection[model.SecurityGroup] {
	return Collection[model.SecurityGroup]{
		Resource: schema.SecurityGroup, Table: state.SecurityGroups, Rules: rules, Clone: (*model.SecurityGroup).Clone,
		Indexes: []Indexed[model.SecurityGroup]{
			{Filter: "project_id", Index: state.SecurityGroupsByProject},
			{Filter: "tenant_id", Index: state.SecurityGroupsByProject},
			{Filter: "name", Index: state.SecurityGroupsByName},
		},
		Visible:    rbac.Visible(secgroup.ObjectType, state.SecurityGroups, state.SecurityGroupsByProject),
		For:        secgroup.View,
		BeforeList: secgroup.BeforeList,
	}
}

// SecurityGroupRules is the collection of the rules of all security groups. A rule is seen by the owner of its group,
// whoever has made it.
func SecurityGroupRules(rules Rules[model.SecurityGroupRule]) Collection[model.SecurityGroupRule] {
	return Collection[model.SecurityGroupRule]{
		Resource: schema.SecurityGroupRule, Table: state.SecurityGroupRules, Rules: rules,
		Clone: (*model.SecurityGroupRule).Clone,
		Indexes: []Indexed[model.SecurityGroupRule]{
			{Filter: "security_group_id", Index: state.SecurityGroupRulesByGroup},
			{Filter: "remote_group_id", Index: state.SecurityGroupRulesByRemoteGroup, NoEmpty: true},
			{Filter: "remote_address_group_id", Index: state.SecurityGroupRulesByAddressGroup, NoEmpty: true},
			{Filter: "project_id", Index: state.SecurityGroupRulesByProject},
			{Filter: "tenant_id", Index: state.SecurityGroupRulesByProject},
		},
		Visible: func(r state.Reader, c *auth.Caller) iter.Seq[*model.SecurityGroupRule] {
			return func(yield func(*model.SecurityGroupRule) bool) {
				for g := range state.SecurityGroupsByProject.List(r, c.ProjectID) {
					for rule := range state.SecurityGroupRulesByGroup.List(r, g.ID) {
						if !yield(rule) {
							return
						}
					}
				}
			}
		},
		Fields: func(r state.Reader, _ *auth.Caller) func(*model.SecurityGroupRule, string) (string, bool) {
			return func(rule *model.SecurityGroupRule, name string) (string, bool) {
				g, ok := state.SecurityGroups.Get(r, rule.GroupID)
				if !ok || name != "security_group:project_id" {
					return "", false
				}
				return g.ProjectID, true
			}
		},
		Parent: func(rule *model.SecurityGroupRule) (string, string) {
			return schema.SecurityGroup.Plural, rule.GroupID
		},
		BeforeList: secgroup.BeforeList,
	}
}

// AddressGroups is the collection of address groups.
func AddressGroups(rules addressgroup.Rules) Collection[model.AddressGroup] {
	type change func(tx *state.Tx, g *model.AddressGroup, body map[string]any) (*model.AddressGroup, error)
	action := func(name string, do change) Action[model.AddressGroup] {
		return Action[model.AddressGroup]{
			Name: name,
			Do: func(tx *state.Tx, _ *auth.Caller, g *model.AddressGroup, in Input) (any, error) {
				return do(tx, g, in.Body)
			},
		}
	}
	return Collection[model.AddressGroup]{
		Resource: schema.AddressGroup, Table: state.AddressGroups, Rules: rules, Clone: (*model.AddressGroup).Clone,
		Indexes: []Indexed[model.AddressGroup]{
			{Filter: "project_id", Index: state.AddressGroupsByProject},
			{Filter: "tenant_id", Index: state.AddressGroupsByProject},
			{Filter: "name", Index: state.AddressGroupsByName},
		},
		Visible: rbac.Visible(addressgroup.ObjectType, state.AddressGroups, state.AddressGroupsByProject),
		For:     addressgroup.View,
		Actions: []Action[model.AddressGroup]{
			action("add_addresses", rules.Add), action("remove_addresses", rules.Remove),
		},
	}
}
