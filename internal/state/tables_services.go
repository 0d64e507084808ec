package state

import "github.com/neutrino-net/neutrino/internal/model"

// The tables of logging, flavors, metering and local IPs.
var (
	Logs          = newTable[model.Log]("log")
	LogsByProject = newIndex(Logs, func(l *model.Log) []string { return []string{l.ProjectID} })
	// LogsBySubject finds the logs of a security group or of a port, by its id.
	LogsBySubject = newIndex(Logs, func(l *model.Log) []string {
		return append(optional(l.ResourceID), optional(l.TargetID)...)
	})
	// LogsOfAll finds the logs that name neither, by their project: they are about all that it has.
	LogsOfAll = newIndex(Logs, func(l *model.Log) []string {
		if l.ResourceID+l.TargetID != "" {
			return nil
		}
		return []string{l.ProjectID}
	})

	Flavors          = newTable[model.Flavor]("flavor")
	FlavorsByProfile = newIndex(Flavors, func(f *model.Flavor) []string { return f.ServiceProfileIDs })
	ServiceProfiles  = newTable[model.ServiceProfile]("service-profile")

	MeteringLabels          = newTable[model.MeteringLabel]("metering-label")
	MeteringLabelsByProject = newIndex(MeteringLabels, func(m *model.MeteringLabel) []string {
		return []string{m.ProjectID}
	})
	MeteringRules          = newTable[model.MeteringRule]("metering-label-rule")
	MeteringRulesByProject = newIndex(MeteringRules, func(m *model.MeteringRule) []string {
		return []string{m.ProjectID}
	})
	MeteringRulesByLabel = newIndex(MeteringRules, func(m *model.MeteringRule) []string { return []string{m.LabelID} })

	LocalIPs          = newTable[model.LocalIP]("local-ip")
	LocalIPsByProject = newIndex(LocalIPs, func(l *model.LocalIP) []string { return []string{l.ProjectID} })
	LocalIPsByPort    = newIndex(LocalIPs, func(l *model.LocalIP) []string { return optional(l.LocalPortID) })

	LocalIPAssociations          = newTable[model.LocalIPAssociation]("local-ip-association")
	LocalIPAssociationsByLocalIP = newIndex(LocalIPAssociations, func(a *model.LocalIPAssociation) []string {
		return []string{a.LocalIPID}
	})
	LocalIPAssociationsByPort = newIndex(LocalIPAssociations, func(a *model.LocalIPAssociation) []string {
		return []string{a.PortID}
	})
)
