package secgroup

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressgroup"
	"github.com/neutrino-net/neutrino/internal/state"
)

// GroupRules are the rules of security group rules. The zero value is ready.
type GroupRules struct{}

// CheckBulk refuses rules of one request that do not belong together: Neutron takes those of one group and one project
// at a time, and each once.
func (GroupRules) CheckBulk(rules []*model.SecurityGroupRule) error {
	seen := make(map[string]bool, len(rules))
	for _, r := range rules {
		switch first := rules[0]; {
		case r.GroupID != first.GroupID:
			return fault.New(fault.Invalid, "SecurityGroupNotSingleGroupRules",
				"Only allowed to update rules for one security profile at a time")
		case r.ProjectID != first.ProjectID:
			return fault.New(fault.Invalid, "SecurityGroupRulesNotSingleProject",
				"Multiple project_ids in bulk security group rule create not allowed")
		}
		r = r.Clone()
		if err := normalise(r); err != nil {
			return err
		}
		if key := r.Match(); seen[key] {
			return fault.New(fault.Conflict, "DuplicateSecurityGroupRuleInPost", "Duplicate Security Group Rule in POST.")
		} else {
			seen[key] = true
		}
	}
	return nil
}

// Create brings the rule into the form in which it is stored, and adds it to its group. A rule that the group has
// already is refused with SecurityGroupRuleExists (409), which names the other one.
func (GroupRules) Create(tx *state.Tx, c *auth.Caller, r *model.SecurityGroupRule, _ schema.Given) error {
	if err := normalise(r); err != nil {
		return err
	}
	if r.RemoteGroupID != "" {
		if _, err := Find(tx, c, r.RemoteGroupID); err != nil {
			return err
		}
	}
	if r.RemoteAddressGroupID != "" {
		if _, err := addressgroup.Find(tx, c, r.RemoteAddressGroupID); err != nil {
			return err
		}
	}
	g, err := Find(tx, c, r.GroupID)
	if err != nil {
		return err
	}
	if same, ok := state.SecurityGroupRulesByMatch.First(tx, state.RuleKey(r)); ok {
		return fault.New(fault.Conflict, "SecurityGroupRuleExists",
			"Security group rule already exists. Rule id is %s.", same.ID)
	}
	r.OfDefault = g.Default
	state.SecurityGroupRules.Put(tx, r)
	touch(tx, g.ID)
	return nil
}

// Update is never asked for: rules cannot be changed.
func (GroupRules) Update(_ *state.Tx, _ *auth.Caller, _, _ *model.SecurityGroupRule, _ schema.Given) error {
	return fault.Operation("Rules of security groups cannot be changed")
}

// Delete takes the rule out of its group.
func (GroupRules) Delete(tx *state.Tx, _ *auth.Caller, r *model.SecurityGroupRule) error {
	removeRule(tx, r)
	return nil
}

func removeRule(tx *state.Tx, r *model.SecurityGroupRule) {
	state.SecurityGroupRules.Delete(tx, r.ID)
	touch(tx, r.GroupID)
}

// touch makes a change of a group's rules one of the group, too: its revision number grows.
func touch(tx *state.Tx, groupID string) {
	if g, ok := state.SecurityGroups.Get(tx, groupID); ok {
		state.SecurityGroups.Put(tx, g.Clone())
	}
}
