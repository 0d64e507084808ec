package schema

import (
	"fmt"
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/model"
)

func meteringLabelMeta(m *model.MeteringLabel) *model.Meta { return &m.Meta }

// MeteringLabel declares the labels under which traffic of routers is counted.
var MeteringLabel = (&Resource[model.MeteringLabel]{
	Name: "metering_label", Plural: "metering_labels", Kind: "MeteringLabel", Path: "/metering/metering-labels",
	Extension: "metering", Quota: "metering_label",
	Operations: CanCreate | CanDelete | CanBulk,
	Attributes: append(identity(meteringLabelMeta),
		attribute("description", Post|shows, text(1024), func(m *model.MeteringLabel) *string { return &m.Description },
			byDefault(""), help("A text for people.")),
		attribute("shared", Post|shows, boolean(), func(m *model.MeteringLabel) *bool { return &m.Shared },
			byDefault(false), help("Whether the routers of all projects count."))),
}).ready()

// MeteringRule declares which packets belong to a label.
var MeteringRule = (&Resource[model.MeteringRule]{
	Name: "metering_label_rule", Plural: "metering_label_rules", Kind: "MeteringLabelRule",
	Path: "/metering/metering-label-rules", Extension: "metering", Quota: "metering_label_rule",
	Operations: CanCreate | CanDelete | CanBulk,
	Attributes: []*Attribute[model.MeteringRule]{
		attribute("id", shows, id(), func(m *model.MeteringRule) *string { return &m.ID }, help("The id, a UUID.")),
		attribute("metering_label_id", Post|shows, id(), func(m *model.MeteringRule) *string { return &m.LabelID },
			required, help("The label.")),
		attribute("direction", Post|shows, text(16), func(m *model.MeteringRule) *string { return (*string)(&m.Direction) },
			required, oneOf(string(model.Ingress), string(model.Egress)), help("Which way, as the router's inside sees it.")),
		attribute("excluded", Post|shows, boolean(), func(m *model.MeteringRule) *bool { return &m.Excluded },
			byDefault(false), help("Whether the packets are not counted, though another rule says so.")),
		attribute("remote_ip_prefix", Post|shows, nullable(hostPrefix()),
			func(m *model.MeteringRule) *netip.Prefix { return &m.RemoteIP },
			help("The addresses outside; instead of the following two.")),
		attribute("source_ip_prefix", Post|shows, nullable(hostPrefix()),
			func(m *model.MeteringRule) *netip.Prefix { return &m.SourceIP },
			extension("metering_source_and_destination_fields"), help("The source addresses.")),
		attribute("destination_ip_prefix", Post|shows, nullable(hostPrefix()),
			func(m *model.MeteringRule) *netip.Prefix { return &m.DestinationIP },
			extension("metering_source_and_destination_fields"), help("The destination addresses.")),
		attribute("project_id", Post|Hidden, text(64), func(m *model.MeteringRule) *string { return &m.ProjectID },
			help("Of no meaning: a rule belongs to the project of its label.")),
		attribute("tenant_id", Post|Hidden, text(64), func(m *model.MeteringRule) *string { return &m.ProjectID },
			help("The old name of project_id.")),
	},
}).ready()

// hostPrefix is an address block, or an address that stands for the block of itself.
func hostPrefix() codec[netip.Prefix] {
	c := prefix()
	c.parse = func(raw any) (netip.Prefix, error) {
		if p, err := parsePrefix(raw); err == nil {
			return p, nil
		}
		ip, err := parseAddr(raw)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("'%s' is not a valid IP subnet", quote(raw))
		}
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	c.text = func(p netip.Prefix) string {
		if !p.IsValid() {
			return ""
		}
		return p.String()
	}
	return c
}
