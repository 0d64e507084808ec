package state

import "github.com/neutrino-net/neutrino/internal/model"

// The tables of QoS. Each type of rule has a table of its own, as it has a collection of its own in the API.
var (
	QoSPolicies          = newTable[model.QoSPolicy]("qos-policy")
	QoSPoliciesByProject = newIndex(QoSPolicies, func(q *model.QoSPolicy) []string { return []string{q.ProjectID} })
	QoSPoliciesByName    = newIndex(QoSPolicies, func(q *model.QoSPolicy) []string { return optional(q.Name) })
	// QoSDefaultPolicies finds the default policy of a project.
	QoSDefaultPolicies = newIndex(QoSPolicies, func(q *model.QoSPolicy) []string {
		if !q.IsDefault {
			return nil
		}
		return []string{q.ProjectID}
	})
	QoSBandwidthLimitRules    = newQoSRules("qos-bandwidth-limit-rule")
	QoSDSCPMarkingRules       = newQoSRules("qos-dscp-marking-rule")
	QoSMinimumBandwidthRules  = newQoSRules("qos-minimum-bandwidth-rule")
	QoSMinimumPacketRateRules = newQoSRules("qos-minimum-packet-rate-rule")
	QoSPacketRateLimitRules   = newQoSRules("qos-packet-rate-limit-rule")
)

// QoSRules is the table of the rules of one type.
type QoSRules struct {
	*Table[model.QoSRule]
	ByPolicy *Index[model.QoSRule]
}

func newQoSRules(kind string) QoSRules {
	t := newTable[model.QoSRule](kind)
	return QoSRules{t, newIndex(t, func(q *model.QoSRule) []string { return []string{q.PolicyID} })}
}

// AllQoSRules are the tables of all types, in order of their types' names.
func AllQoSRules() []QoSRules {
	return []QoSRules{
		QoSBandwidthLimitRules, QoSDSCPMarkingRules, QoSMinimumBandwidthRules, QoSMinimumPacketRateRules,
		QoSPacketRateLimitRules,
	}
}
