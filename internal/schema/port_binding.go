package schema

import "github.com/neutrino-net/neutrino/internal/model"

// PortBinding declares the bindings of a port, which live below it: /ports/{id}/bindings/{host}. They are parts of the
// port and no objects of their own; the host is their name.
var PortBinding = (&Resource[model.PortBinding]{
	Name: "binding", Plural: "bindings", Kind: "PortBinding", Extension: "binding-extended",
	Attributes: []*Attribute[model.PortBinding]{
		attribute("host", Post|Put|Filter, text(255), func(b *model.PortBinding) *string { return &b.Host },
			required, help("The host.")),
		attribute("vnic_type", Post|Put|Filter, text(32), func(b *model.PortBinding) *string { return &b.VNICType },
			byDefault("normal"), oneOf(vnicTypes...), help("The kind of device wanted.")),
		attribute("profile", Post|Put, dictionary(), func(b *model.PortBinding) *map[string]any { return &b.Profile },
			help("What the host is told besides.")),
		attribute("project_id", Post, text(64), func(b *model.PortBinding) *string { return &b.ProjectID },
			help("The project of the port.")),
		computed("vif_type", Filter, text(32), func(b *model.PortBinding) string { return string(b.VIFType) },
			help("How Nova is to plug it.")),
		computed("vif_details", 0, shown(anObject()), func(b *model.PortBinding) any { return vifDetails(b.Binding, b.NetworkID) },
			help("The particulars of plugging it.")),
		computed("status", Filter, text(16), func(b *model.PortBinding) string {
			if b.Active {
				return "ACTIVE"
			}
			return "INACTIVE"
		}, help("ACTIVE for the binding in force; the others wait for a live migration.")),
	},
}).ready()
