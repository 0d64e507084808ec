package firewall

import (
	"slices"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Policies are the rules of firewall policies. The zero value is ready.
type Policies struct{}

// Create stores the policy.
func (Policies) Create(tx *state.Tx, c *auth.Caller, p *model.FirewallPolicy, _ schema.Given) error {
	p.Default = false
	if err := checkRules(tx, c, p, nil); err != nil {
		return err
	}
	state.FirewallPolicies.Put(tx, p)
	return nil
}

// Update stores the policy, and takes it for one that nobody has looked at, unless somebody says so. Those of default groups
// keep what they are; see Insert for their rules. A policy that groups of other projects have stays shared: the fault is
// FirewallPolicyInUse (409).
func (Policies) Update(tx *state.Tx, c *auth.Caller, old, p *model.FirewallPolicy, given schema.Given) error {
	if old.Default {
		return restricted("Firewall Policy", p.ID)
	}
	if given.Has("shared") && !p.Shared {
		for g := range state.FirewallGroupsByPolicy.List(tx, p.ID) {
			if g.ProjectID != p.ProjectID {
				return inUse(p)
			}
		}
	}
	if given.Has("firewall_rules") {
		if err := checkRules(tx, c, p, old.RuleIDs); err != nil {
			return err
		}
	} else if given.Has("shared") && p.Shared {
		if err := checkShared(tx, p); err != nil {
			return err
		}
	}
	if !given.Has("audited") {
		p.Audited = false
	}
	state.FirewallPolicies.Put(tx, p)
	return nil
}

// Delete deletes the policy, and none of its rules. Groups that have it forbid that: the fault is FirewallPolicyInUse (409).
func (Policies) Delete(tx *state.Tx, _ *auth.Caller, p *model.FirewallPolicy) error {
	if state.FirewallGroupsByPolicy.Has(tx, p.ID) {
		return inUse(p)
	}
	state.FirewallPolicies.Delete(tx, p.ID)
	return nil
}

func inUse(p *model.FirewallPolicy) error {
	return fault.New(fault.Conflict, "FirewallPolicyInUse", "Firewall policy %s is being used.", p.ID)
}

// Insert puts a rule into the policy: before or after another one, or first of all.
func (Policies) Insert(tx *state.Tx, c *auth.Caller, p *model.FirewallPolicy, body map[string]any) (*model.FirewallPolicy, error) {
	rule, err := ruleOfBody(tx, c, body)
	if err != nil {
		return nil, err
	}
	if slices.Contains(p.RuleIDs, rule.ID) {
		return nil, fault.New(fault.Conflict, "FirewallRuleAlreadyAssociated", "Operation cannot be performed since firewall "+
			"rule %s is already associated with firewall policy %s.", rule.ID, p.ID)
	}
	if len(p.RuleIDs) >= schema.MaxFirewallRules {
		return nil, fault.Operation("a firewall policy has at most %d rules", schema.MaxFirewallRules)
	}
	if err := checkOwner(rule, p); err != nil {
		return nil, err
	}
	at, err := place(p, body)
	if err != nil {
		return nil, err
	}
	p = p.Clone()
	p.RuleIDs, p.Audited = slices.Insert(p.RuleIDs, at, rule.ID), false
	state.FirewallPolicies.Put(tx, p)
	return p, nil
}

// place is where in the policy a rule is to be inserted.
func place(p *model.FirewallPolicy, body map[string]any) (int, error) {
	for _, to := range []struct {
		member string
		offset int
	}{{"insert_before", 0}, {"insert_after", 1}} {
		switch other := body[to.member].(type) {
		case nil:
		case string:
			if other == "" {
				continue
			}
			at := slices.Index(p.RuleIDs, other)
			if at < 0 {
				return 0, notInPolicy(other, p)
			}
			return at + to.offset, nil
		default:
			return 0, fault.Input(to.member, "it is not the id of a rule")
		}
	}
	return 0, nil
}

// Remove takes a rule out of the policy.
func (Policies) Remove(tx *state.Tx, c *auth.Caller, p *model.FirewallPolicy, body map[string]any) (*model.FirewallPolicy, error) {
	rule, err := ruleOfBody(tx, c, body)
	if err != nil {
		return nil, err
	}
	at := slices.Index(p.RuleIDs, rule.ID)
	if at < 0 {
		return nil, notInPolicy(rule.ID, p)
	}
	p = p.Clone()
	p.RuleIDs, p.Audited = slices.Delete(p.RuleIDs, at, at+1), false
	state.FirewallPolicies.Put(tx, p)
	return p, nil
}

func notInPolicy(ruleID string, p *model.FirewallPolicy) error {
	return fault.New(fault.Invalid, "FirewallRuleNotAssociatedWithPolicy",
		"Firewall rule %.80s is not associated with firewall policy %s.", ruleID, p.ID)
}

// ruleOfBody is the rule that the body of an action names.
func ruleOfBody(r state.Reader, c *auth.Caller, body map[string]any) (*model.FirewallRule, error) {
	raw, given := body["firewall_rule_id"]
	if !given {
		return nil, fault.New(fault.Invalid, "FirewallRuleInfoMissing",
			"Missing rule info argument for insert/remove rule operation.")
	}
	id, ok := raw.(string)
	if !ok || uuid.Validate(id) != nil {
		return nil, fault.New(fault.NotFound, "FirewallRuleNotFound", "Firewall rule %.80q could not be found.", id)
	}
	return findRule(r, c, id)
}

// findRule returns a rule, if the caller may know of it. The fault is FirewallRuleNotFound (404).
func findRule(r state.Reader, c *auth.Caller, id string) (*model.FirewallRule, error) {
	rule, ok := state.FirewallRules.Get(r, id)
	if !ok || !usable(c, &rule.Meta, rule.Shared) {
		return nil, fault.Missing("FirewallRule", id)
	}
	return rule, nil
}

// checkRules says whether the policy may have its rules; whether they are there, of those that it had already as well.
func checkRules(r state.Reader, c *auth.Caller, p *model.FirewallPolicy, before []string) error {
	for _, id := range p.RuleIDs {
		rule, ok := state.FirewallRules.Get(r, id)
		if !ok || !usable(c, &rule.Meta, rule.Shared) && !slices.Contains(before, id) {
			return fault.Missing("FirewallRule", id)
		}
		switch {
		case p.Shared && !rule.Shared:
			return fault.New(fault.NotFound, "FirewallRuleSharingConflict", "Operation cannot be performed since firewall "+
				"policy %s could not find the firewall rule %s. Please confirm if the firewall rule exists and is shared.", p.ID, id)
		case !p.Shared && !slices.Contains(before, id):
			if err := checkOwner(rule, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOwner refuses the rule of another project that is not shared.
func checkOwner(rule *model.FirewallRule, p *model.FirewallPolicy) error {
	if rule.Shared || rule.ProjectID == p.ProjectID {
		return nil
	}
	return fault.New(fault.Conflict, "FirewallRuleConflict", "Operation cannot be performed since firewall rule %s is not "+
		"shared and belongs to another project %s.", rule.ID, rule.ProjectID)
}

// checkShared refuses to share a policy with rules that are not.
func checkShared(r state.Reader, p *model.FirewallPolicy) error {
	for _, id := range p.RuleIDs {
		if rule, ok := state.FirewallRules.Get(r, id); ok && !rule.Shared {
			return fault.New(fault.Conflict, "FirewallPolicySharingConflict", "Operation cannot be performed. Before sharing "+
				"firewall policy %s, share associated firewall rule %s.", p.ID, id)
		}
	}
	return nil
}

// checkPolicy says whether a group of the project may have the policy. One that the caller may not see does not exist for
// it: the fault is FirewallPolicyNotFound (404); an administrator is told by FirewallPolicyConflict (404) what is wrong.
func checkPolicy(r state.Reader, c *auth.Caller, id, projectID string) error {
	p, ok := state.FirewallPolicies.Get(r, id)
	if !ok || !usable(c, &p.Meta, p.Shared) {
		return fault.Missing("FirewallPolicy", id)
	}
	if !p.Shared && p.ProjectID != projectID {
		return fault.New(fault.NotFound, "FirewallPolicyConflict", "Operation cannot be performed since firewall policy %s "+
			"for your project could not be found. Please confirm if the firewall policy exists and is shared.", id)
	}
	return nil
}
