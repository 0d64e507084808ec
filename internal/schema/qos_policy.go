package schema

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

func qosPolicyMeta(q *model.QoSPolicy) *model.Meta { return &q.Meta }

// QoSPolicy declares the QoS policies of the API.
var QoSPolicy = (&Resource[model.QoSPolicy]{
	Name: "policy", Plural: "policies", Kind: "QosPolicy", Path: "/qos/policies", Extension: "qos", Quota: "qos_policy",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Virtual:    tagFilters(qosPolicyMeta, map[string]func(*model.QoSPolicy, string) bool{}),
	Attributes: slices.Concat(
		identity(qosPolicyMeta),
		[]*Attribute[model.QoSPolicy]{
			attribute("shared", Post|Put|shows, boolean(), func(q *model.QoSPolicy) *bool { return &q.Shared },
				byDefault(false), help("Whether all projects may use it.")),
			attribute("is_default", Post|Put|shows, boolean(), func(q *model.QoSPolicy) *bool { return &q.IsDefault },
				extension("qos-default"), byDefault(false), help("Whether new networks of the project get it.")),
			computed("rules", 0, shown(anArray(anObject())), policyRules, help("Its rules.")),
		},
		standard(qosPolicyMeta),
	),
}).ready()

// policyRules are the rules as a policy shows them: each with its type and the attributes that rules of this type have.
func policyRules(q *model.QoSPolicy) any {
	rules := make([]map[string]any, len(q.Rules))
	for i := range q.Rules {
		r := &q.Rules[i]
		m := map[string]any{"id": r.ID, "type": r.Type, "qos_policy_id": r.PolicyID}
		for _, p := range qosParameters[r.Type] {
			m[p.name] = p.value(r)
		}
		rules[i] = m
	}
	return rules
}
