package schema

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

func localIPMeta(l *model.LocalIP) *model.Meta { return &l.Meta }

// LocalIP declares the local IPs of the API.
var LocalIP = (&Resource[model.LocalIP]{
	Name: "local_ip", Plural: "local_ips", Kind: "LocalIP", Path: "/local-ips", Extension: "local_ip", Quota: "local_ip",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Attributes: slices.Concat(
		identity(localIPMeta),
		[]*Attribute[model.LocalIP]{
			attribute("local_port_id", Post|shows, id(), func(l *model.LocalIP) *string { return &l.LocalPortID },
				help("The port whose address it is; not given: one is made on the network.")),
			attribute("network_id", Post|shows, id(), func(l *model.LocalIP) *string { return &l.NetworkID },
				help("The network of the address.")),
			attribute("local_ip_address", Post|shows, nullable(address()),
				func(l *model.LocalIP) *netip.Addr { return &l.Address },
				help("The address; needed where the port has several.")),
			attribute("ip_mode", Post|shows, text(16), func(l *model.LocalIP) *string { return &l.Mode },
				byDefault("translate"), oneOf("translate", "passthrough"),
				help("Whether the address is translated to that of the associated port, or that port has it itself.")),
		},
		untagged(standard(localIPMeta)),
	),
}).ready()

// LocalIPAssociation declares the ports that answer for a local IP. In paths they are called by the id of the port.
var LocalIPAssociation = (&Resource[model.LocalIPAssociation]{
	Name: "port_association", Plural: "port_associations", Kind: "LocalIPAssociation", Policy: "local_ip_port_association",
	Below: LocalIP.Path, Path: "/port_associations", Extension: "local_ip", Quota: "local_ip_association",
	Operations: CanCreate | CanDelete | CanBulk,
	Attributes: []*Attribute[model.LocalIPAssociation]{
		computed("local_ip_id", shows, id(), func(a *model.LocalIPAssociation) string { return a.LocalIPID },
			help("The local IP.")),
		computed("local_ip_address", shows, nullable(address()),
			func(a *model.LocalIPAssociation) netip.Addr { return a.LocalIP },
			help("The address of the local IP.")),
		attribute("fixed_port_id", Post|shows, id(), func(a *model.LocalIPAssociation) *string { return &a.PortID },
			required, help("The port that answers on its host.")),
		attribute("fixed_ip", Post|shows, nullable(address()),
			func(a *model.LocalIPAssociation) *netip.Addr { return &a.FixedIP },
			help("The address of the port; needed where it has several.")),
		computed("host", shows, text(255), func(a *model.LocalIPAssociation) string { return a.Host },
			help("The host of the port.")),
		attribute("project_id", Post|Hidden, text(64), func(a *model.LocalIPAssociation) *string { return &a.ProjectID },
			help("Of no meaning: an association belongs to the project of its local IP.")),
		attribute("tenant_id", Post|Hidden, text(64), func(a *model.LocalIPAssociation) *string { return &a.ProjectID },
			help("The old name of project_id.")),
	},
}).ready()
