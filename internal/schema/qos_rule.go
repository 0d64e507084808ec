package schema

import (
	"math"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
)

// The bounds of QoS rules.
const maxRate = math.MaxInt32 // kilobits or thousands of packets a second

// dscpMarks are the values of the DS field that have a name: default, the class selectors 1 to 6 (RFC 2474), assured
// forwarding (RFC 2597) and expedited forwarding (RFC 3246).
var dscpMarks = []any{0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 46, 48, 56}

// qosParameter is an attribute of a type of rule that clients set.
type qosParameter struct {
	name string
	// declare makes the attribute, which may be given when creating only if the access says so.
	declare func(Access) *Attribute[model.QoSRule]
	value   func(*model.QoSRule) any
	// values are the values that there are; nil: 0 to maxRate.
	values []any
}

// qosParameters are the parameters of each type of rule. Everything else about rules follows from them: their
// attributes, how a policy shows them, and what the list of rule types says.
var qosParameters = map[model.QoSRuleType][]qosParameter{
	model.QoSBandwidthLimit: {
		qosRate("max_kbps", "The limit in kilobits a second."),
		qosBurst("max_burst_kbps", "What may exceed the limit for a moment, in kilobits; 0: the host decides."),
		qosDirection("qos-bw-limit-direction", model.Ingress, model.Egress),
	},
	model.QoSDSCPMarking: {qosDSCP()},
	model.QoSMinimumBandwidth: {
		qosRate("min_kbps", "The guaranteed bandwidth in kilobits a second."),
		qosDirection("qos-bw-minimum-ingress", model.Ingress, model.Egress),
	},
	model.QoSMinimumPacketRate: {
		qosRate("min_kpps", "The guaranteed rate in thousands of packets a second."),
		qosDirection("qos-pps-minimum", model.Ingress, model.Egress, model.AnyDirection),
	},
	model.QoSPacketRateLimit: {
		qosRate("max_kpps", "The limit in thousands of packets a second."),
		qosBurst("max_burst_kpps", "What may exceed the limit for a moment, in thousands of packets; 0: the host decides."),
		qosDirection("qos-pps", model.Ingress, model.Egress),
	},
}

func qosRate(name, text string) qosParameter {
	return qosParameter{
		name: name,
		declare: func(a Access) *Attribute[model.QoSRule] {
			return attribute(name, a, integer(0, maxRate), func(q *model.QoSRule) *int { return &q.Rate }, required, help(text))
		},
		value: func(q *model.QoSRule) any { return q.Rate },
	}
}

func qosBurst(name, text string) qosParameter {
	return qosParameter{
		name: name,
		declare: func(a Access) *Attribute[model.QoSRule] {
			return attribute(name, a, integer(0, maxRate), func(q *model.QoSRule) *int { return &q.Burst },
				byDefault(0), help(text))
		},
		value: func(q *model.QoSRule) any { return q.Burst },
	}
}

func qosDirection(alias string, directions ...model.Direction) qosParameter {
	var names []string
	var values []any
	for _, d := range directions {
		names, values = append(names, string(d)), append(values, string(d))
	}
	return qosParameter{
		name: "direction",
		declare: func(a Access) *Attribute[model.QoSRule] {
			return attribute("direction", a, text(16), func(q *model.QoSRule) *string { return (*string)(&q.Direction) },
				extension(alias), byDefault(string(model.Egress)), oneOf(names...), help("Which way, as the workload sees it."))
		},
		value:  func(q *model.QoSRule) any { return q.Direction },
		values: values,
	}
}

func qosDSCP() qosParameter {
	return qosParameter{
		name: "dscp_mark",
		declare: func(a Access) *Attribute[model.QoSRule] {
			c := integer(0, 63)
			var names []string
			for _, m := range dscpMarks {
				names = append(names, c.text(m.(int)))
			}
			return attribute("dscp_mark", a, c, func(q *model.QoSRule) *int { return &q.DSCP },
				required, oneOf(names...), help("The value that marks packets."))
		},
		value:  func(q *model.QoSRule) any { return q.DSCP },
		values: dscpMarks,
	}
}

// The rules of QoS policies, one collection for each type below the policy.
var (
	QoSBandwidthLimitRule    = qosRule(model.QoSBandwidthLimit, "qos")
	QoSDSCPMarkingRule       = qosRule(model.QoSDSCPMarking, "qos")
	QoSMinimumBandwidthRule  = qosRule(model.QoSMinimumBandwidth, "qos")
	QoSMinimumPacketRateRule = qosRule(model.QoSMinimumPacketRate, "qos-pps-minimum")
	QoSPacketRateLimitRule   = qosRule(model.QoSPacketRateLimit, "qos-pps")
)

// The same rules for clients that do not know the policy. There is no such collection of packet rate limits.
var (
	QoSBandwidthLimitAlias    = qosRuleAlias(model.QoSBandwidthLimit, "qos-rules-alias")
	QoSDSCPMarkingAlias       = qosRuleAlias(model.QoSDSCPMarking, "qos-rules-alias")
	QoSMinimumBandwidthAlias  = qosRuleAlias(model.QoSMinimumBandwidth, "qos-rules-alias")
	QoSMinimumPacketRateAlias = qosRuleAlias(model.QoSMinimumPacketRate, "qos-pps-minimum-rule-alias")
)

func qosRule(t model.QoSRuleType, alias string) *Resource[model.QoSRule] {
	name := string(t) + "_rule"
	owner := func(q *model.QoSRule) *string { return &q.ProjectID }
	attributes := append(qosAttributes(t, Post|Put|shows),
		attribute("project_id", Post|Hidden, text(64), owner, help("Of no meaning: a rule belongs to its policy.")),
		attribute("tenant_id", Post|Hidden, text(64), owner, help("The old name of project_id.")))
	return (&Resource[model.QoSRule]{
		Name: name, Plural: name + "s", Kind: "QosRule", Policy: "policy_" + name,
		Below: QoSPolicy.Path, Path: "/" + name + "s", Extension: alias,
		Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
		Attributes: attributes,
	}).ready()
}

func qosRuleAlias(t model.QoSRuleType, alias string) *Resource[model.QoSRule] {
	name := "alias_" + string(t) + "_rule"
	return (&Resource[model.QoSRule]{
		Name: name, Plural: name + "s", Kind: "QosRule", Path: "/qos/" + name + "s", Extension: alias,
		Operations: CanUpdate | CanDelete,
		Attributes: qosAttributes(t, Put|shows),
	}).ready()
}

func qosAttributes(t model.QoSRuleType, access Access) []*Attribute[model.QoSRule] {
	attributes := []*Attribute[model.QoSRule]{
		attribute("id", shows, id(), func(q *model.QoSRule) *string { return &q.ID }, help("The id, a UUID.")),
	}
	for _, p := range qosParameters[t] {
		attributes = append(attributes, p.declare(access))
	}
	return attributes
}

// QoSRuleType declares the types of QoS rules, as a list of what can be asked for.
var QoSRuleType = (&Resource[model.QoSRuleSupport]{
	Name: "rule_type", Plural: "rule_types", Kind: "QosRuleType", Path: "/qos/rule-types", Extension: "qos",
	ListOnly: true, // the details of one are for administrators only
	Attributes: []*Attribute[model.QoSRuleSupport]{
		computed("type", shows, text(64), func(q *model.QoSRuleSupport) string { return q.ID }, help("The type.")),
		computed("drivers", Hidden, shown(anArray(anObject())), ruleTypeDrivers, extension("qos-rule-type-details"),
			help("Who puts such rules into practice, and the values that they take.")),
	},
	// All types that are implemented are supported, so that both filters keep everything.
	Virtual: map[string]func(*model.QoSRuleSupport, string) bool{
		"all_rules":     func(*model.QoSRuleSupport, string) bool { return true },
		"all_supported": func(*model.QoSRuleSupport, string) bool { return true },
	},
}).ready()

// QoSRuleTypes are the types of rules and their parameters, in order of the types.
func QoSRuleTypes() []*model.QoSRuleSupport {
	var types []*model.QoSRuleSupport
	for t, parameters := range qosParameters {
		s := &model.QoSRuleSupport{Meta: model.Meta{ID: string(t)}}
		for _, p := range parameters {
			s.Parameters = append(s.Parameters, model.QoSParameter{Name: p.name, Most: maxRate, Values: p.values})
		}
		types = append(types, s)
	}
	slices.SortFunc(types, func(a, b *model.QoSRuleSupport) int { return strings.Compare(a.ID, b.ID) })
	return types
}

// qosDriver is the name under which the API shows what the agents of this program can do.
const qosDriver = "neutrino"

func ruleTypeDrivers(q *model.QoSRuleSupport) any {
	type bounds struct {
		Start int `json:"start"`
		End   int `json:"end"`
	}
	parameters := make([]map[string]any, len(q.Parameters))
	for i, p := range q.Parameters {
		m := map[string]any{
			"parameter_name": p.Name, "parameter_type": "range", "parameter_values": bounds{p.Least, p.Most},
		}
		if p.Values != nil {
			m["parameter_type"], m["parameter_values"] = "choices", p.Values
		}
		parameters[i] = m
	}
	return []map[string]any{{"name": qosDriver, "supported_parameters": parameters}}
}
