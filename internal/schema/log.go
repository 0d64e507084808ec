package schema

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

func logMeta(l *model.Log) *model.Meta { return &l.Meta }

// Log declares the logs of packets.
var Log = (&Resource[model.Log]{
	Name: "log", Plural: "logs", Kind: "LogResource", Path: "/log/logs", Extension: "logging", Quota: "log",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Attributes: slices.Concat(
		identity(logMeta),
		[]*Attribute[model.Log]{
			attribute("resource_type", Post|shows, text(255), func(l *model.Log) *string { return &l.ResourceType },
				required, help("What is logged: security_group.")),
			attribute("resource_id", Post|shows, nullable(id()), func(l *model.Log) *string { return &l.ResourceID },
				help("The security group; not given: all.")),
			attribute("target_id", Post|shows, nullable(id()), func(l *model.Log) *string { return &l.TargetID },
				help("The port; not given: all.")),
			attribute("event", Post|shows, text(16), func(l *model.Log) *string { return &l.Event },
				byDefault("ALL"), oneOf("ACCEPT", "DROP", "ALL"), help("Which packets.")),
			attribute("enabled", Post|Put|shows, boolean(), func(l *model.Log) *bool { return &l.Enabled },
				byDefault(true), help("Whether anything is logged.")),
		},
		untagged(standard(logMeta)),
	),
}).ready()

// untagged removes the tags from the standard attributes of resources that have none.
func untagged[T any](attributes []*Attribute[T]) []*Attribute[T] {
	return slices.DeleteFunc(attributes, func(a *Attribute[T]) bool { return a.Name == "tags" })
}

// LoggableResource declares the types of resources whose packets can be logged.
var LoggableResource = (&Resource[model.LoggableResource]{
	Name: "loggable_resource", Plural: "loggable_resources", Kind: "LoggableResource", Path: "/log/loggable-resources",
	Extension: "logging", ListOnly: true,
	Attributes: []*Attribute[model.LoggableResource]{
		computed("type", shows, text(64), func(l *model.LoggableResource) string { return l.ID }, help("The type.")),
	},
}).ready()
