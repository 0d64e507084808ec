package rest

import (
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RegisterQoS adds the collections of QoS: policies, their rules, the same rules by their ids alone, and the types of
// rules.
func RegisterQoS(a *API, policies Rules[model.QoSPolicy]) error {
	errs := []error{Register(a, qosPolicies(policies)), registerQoSRuleTypes(a)}
	for _, t := range []struct {
		name        model.QoSRuleType
		table       state.QoSRules
		rule, alias *schema.Resource[model.QoSRule]
	}{
		{model.QoSBandwidthLimit, state.QoSBandwidthLimitRules, schema.QoSBandwidthLimitRule, schema.QoSBandwidthLimitAlias},
		{model.QoSDSCPMarking, state.QoSDSCPMarkingRules, schema.QoSDSCPMarkingRule, schema.QoSDSCPMarkingAlias},
		{
			model.QoSMinimumBandwidth, state.QoSMinimumBandwidthRules,
			schema.QoSMinimumBandwidthRule, schema.QoSMinimumBandwidthAlias,
		},
		{
			model.QoSMinimumPacketRate, state.QoSMinimumPacketRateRules,
			schema.QoSMinimumPacketRateRule, schema.QoSMinimumPacketRateAlias,
		},
		{model.QoSPacketRateLimit, state.QoSPacketRateLimitRules, schema.QoSPacketRateLimitRule, nil},
	} {
		c := Collection[model.QoSRule]{
			Resource: t.rule, Table: t.table.Table, Clone: (*model.QoSRule).Clone,
			Rules: qos.Rules{Type: t.name, Table: t.table},
			Under: &Under[model.QoSRule]{
				ParentID: func(q *model.QoSRule) *string { return &q.PolicyID }, Index: t.table.ByPolicy,
			},
		}
		errs = append(errs, Register(a, c))
		if t.alias != nil {
			c.Resource, c.Under, c.Fields = t.alias, nil, qosRuleFields
			errs = append(errs, Register(a, c))
		}
	}
	return errors.Join(errs...)
}

func qosPolicies(rules Rules[model.QoSPolicy]) Collection[model.QoSPolicy] {
	shared := rbac.View(qos.ObjectType, func(q *model.QoSPolicy) *bool { return &q.Shared })
	return Collection[model.QoSPolicy]{
		Resource: schema.QoSPolicy, Table: state.QoSPolicies, Rules: rules, Clone: (*model.QoSPolicy).Clone,
		Indexes: []Indexed[model.QoSPolicy]{
			{Filter: "name", Index: state.QoSPoliciesByName, NoEmpty: true},
			{Filter: "project_id", Index: state.QoSPoliciesByProject},
			{Filter: "tenant_id", Index: state.QoSPoliciesByProject},
		},
		Visible: rbac.Visible(qos.ObjectType, state.QoSPolicies, state.QoSPoliciesByProject),
		For: func(r state.Reader, c *auth.Caller) func(*model.QoSPolicy) *model.QoSPolicy {
			seen := shared(r, c)
			return func(q *model.QoSPolicy) *model.QoSPolicy {
				if seen != nil {
					q = seen(q)
				}
				view := *q // its lists are not changed
				view.Rules = qos.RulesOf(r, q.ID)
				return &view
			}
		},
	}
}

// qosRuleFields gives policy rules the owner of the policy of a rule, where the policy is not in the path.
func qosRuleFields(r state.Reader, _ *auth.Caller) func(*model.QoSRule, string) (string, bool) {
	return func(q *model.QoSRule, name string) (string, bool) {
		policy, ok := state.QoSPolicies.Get(r, q.PolicyID)
		if !ok || name != "ext_parent:project_id" {
			return "", false
		}
		return policy.ProjectID, true
	}
}

func registerQoSRuleTypes(a *API) error {
	types := schema.QoSRuleTypes()
	return errors.Join(
		Register(a, Collection[model.QoSRuleSupport]{
			Resource: schema.QoSRuleType,
			All:      func(state.Reader, *auth.Caller) iter.Seq[*model.QoSRuleSupport] { return slices.Values(types) },
		}),
		Operate(a, schema.QoSRuleType.Plural, Operation{
			Method: http.MethodGet, Path: schema.QoSRuleType.Path + "/{type}", Policy: "get_rule_type",
			Show: func(_ state.Reader, c *auth.Caller, in Input) (any, error) {
				if !c.Admin() { // no policy rule says so, but Neutron does
					return nil, fault.New(fault.Forbidden, "NotAuthorized", "Not authorized.")
				}
				for _, t := range types {
					if t.ID == in.Path["type"] {
						drivers := schema.QoSRuleType.Attribute("drivers").Append(nil, t)
						return map[string]any{"rule_type": map[string]any{"type": t.ID, "drivers": json.RawMessage(drivers)}}, nil
					}
				}
				return nil, fault.Missing(schema.QoSRuleType.Kind, quoted(in.Path["type"]))
			},
		}),
	)
}
