package model

import "slices"

// QoSRuleType names what a rule of a QoS policy is about.
type QoSRuleType string

// The types of QoS rules, in the words of the API.
const (
	QoSBandwidthLimit    QoSRuleType = "bandwidth_limit"
	QoSDSCPMarking       QoSRuleType = "dscp_marking"
	QoSMinimumBandwidth  QoSRuleType = "minimum_bandwidth"
	QoSMinimumPacketRate QoSRuleType = "minimum_packet_rate"
	QoSPacketRateLimit   QoSRuleType = "packet_rate_limit"
)

// AnyDirection is the sum of both directions, which only rules of the type QoSMinimumPacketRate know.
const AnyDirection Direction = "any"

// QoSRule is one rule of a QoS policy. What its numbers count follows from the type: kilobits a second for bandwidth,
// thousands of packets a second for packet rates.
type QoSRule struct {
	Meta
	PolicyID string      `json:"policy_id"`
	Type     QoSRuleType `json:"type"`
	// Direction is empty for DSCP marking, which is about what workloads send.
	Direction Direction `json:"direction,omitempty"`
	// Rate is the limit or the guaranteed minimum; 0 is a value like others.
	Rate int `json:"rate,omitempty"`
	// Burst is what may exceed a limit for a moment, in kilobits or thousands of packets; 0: the host decides.
	Burst int `json:"burst,omitempty"`
	// DSCP is the value that marks packets, 0 to 56.
	DSCP int `json:"dscp,omitempty"`
}

// Clone returns a deep copy.
func (q *QoSRule) Clone() *QoSRule {
	c := *q
	c.Meta = q.Meta.clone()
	return &c
}

// QoSPolicy is a set of rules that networks, ports, floating IPs and gateways of routers can be given.
type QoSPolicy struct {
	Meta
	Shared bool `json:"shared,omitempty"`
	// IsDefault says that new networks of the project get the policy. At most one policy of a project is the default.
	IsDefault bool `json:"is_default,omitempty"`
	// Rules are filled in views, in order of type and id; the state keeps them in tables of their own.
	Rules []QoSRule `json:"-"`
}

// Clone returns a deep copy, but for the tags of the rules: rules have none.
func (q *QoSPolicy) Clone() *QoSPolicy {
	c := *q
	c.Meta = q.Meta.clone()
	c.Rules = slices.Clone(q.Rules)
	return &c
}

// QoSRuleSupport says what rules of a type may ask for. It is only shown, never stored; its id is the type.
type QoSRuleSupport struct {
	Meta
	Parameters []QoSParameter
}

// QoSParameter is an attribute of rules of a type: a number between Least and Most, or one of Values.
type QoSParameter struct {
	Name        string
	Least, Most int
	Values      []any
}
