package qos

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are the rules of one type of rule in a policy. A policy has at most one rule of each type and direction, so
// that their number needs no other bound.
type Rules struct {
	Type  model.QoSRuleType
	Table state.QoSRules
}

// Create stores the rule.
func (s Rules) Create(tx *state.Tx, _ *auth.Caller, rule *model.QoSRule, _ schema.Given) error {
	policy, ok := state.QoSPolicies.Get(tx, rule.PolicyID)
	if !ok {
		return fault.New(fault.NotFound, "QosPolicyNotFound", "QoS policy %s could not be found.", rule.PolicyID)
	}
	rule.Type = s.Type
	rule.ProjectID = policy.ProjectID
	return s.put(tx, rule)
}

// Update stores the rule.
func (s Rules) Update(tx *state.Tx, _ *auth.Caller, _, rule *model.QoSRule, _ schema.Given) error {
	return s.put(tx, rule)
}

// Delete deletes the rule.
func (s Rules) Delete(tx *state.Tx, _ *auth.Caller, rule *model.QoSRule) error {
	if err := s.checkPlaced(tx, rule.PolicyID); err != nil {
		return err
	}
	s.Table.Delete(tx, rule.ID)
	touch(tx, rule.PolicyID)
	return nil
}

func (s Rules) put(tx *state.Tx, rule *model.QoSRule) error {
	for _, other := range RulesOf(tx, rule.PolicyID) {
		if other.ID == rule.ID {
			continue
		}
		if err := conflict(rule, &other); err != nil {
			return err
		}
	}
	if err := s.checkPlaced(tx, rule.PolicyID); err != nil {
		return err
	}
	s.Table.Put(tx, rule)
	touch(tx, rule.PolicyID)
	return nil
}

// touch makes a change of a rule a change of its policy: its revision number and time move on.
func touch(tx *state.Tx, policyID string) {
	if policy, ok := state.QoSPolicies.Get(tx, policyID); ok {
		state.QoSPolicies.Put(tx, policy.Clone())
	}
}

// conflict returns the fault (409) of a rule that cannot stand beside another one.
func conflict(rule, other *model.QoSRule) error {
	if rule.Type == other.Type {
		if rule.Direction == other.Direction {
			return fault.New(fault.Conflict, "QoSRulesConflict",
				"Rule %s conflicts with rule %s which already exists in QoS Policy %s.", rule.Type, other.ID, rule.PolicyID)
		}
		// What is guaranteed in both directions together cannot be guaranteed in one of them besides.
		if rule.Direction == model.AnyDirection || other.Direction == model.AnyDirection {
			return parameterConflict(rule, string(rule.Direction), other, string(other.Direction))
		}
		return nil
	}
	if rule.Direction != other.Direction {
		return nil
	}
	limit, minimum := rule, other
	if rule.Type == model.QoSMinimumBandwidth {
		limit, minimum = other, rule
	}
	if limit.Type == model.QoSBandwidthLimit && minimum.Type == model.QoSMinimumBandwidth && limit.Rate < minimum.Rate {
		return parameterConflict(rule, rule.Rate, other, other.Rate)
	}
	return nil
}

func parameterConflict[V any](rule *model.QoSRule, value V, other *model.QoSRule, existing V) error {
	return fault.New(fault.Conflict, "QoSRuleParameterConflict", "Unable to add the rule with value %v to the policy %s "+
		"as the existing rule of type %s has value %v.", value, rule.PolicyID, other.Type, existing)
}

// checkPlaced refuses to change what servers that run have been promised: Nova has booked it with the placement service
// when it chose their hosts. The fault is NotImplementedError (501).
func (s Rules) checkPlaced(r state.Reader, policyID string) error {
	if s.Type != model.QoSMinimumBandwidth && s.Type != model.QoSMinimumPacketRate {
		return nil
	}
	if _, ok := boundPort(r, policyID); ok {
		return fault.New(fault.Unimplemented, "NotImplementedError",
			"Cannot update QoS policies/rules backed by resources tracked in Placement")
	}
	return nil
}
