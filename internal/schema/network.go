package schema

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

// The bounds of an MTU. An IPv4 host must accept datagrams of 576 bytes, but the minimum that the API allows is that of
// a link, 68 (RFC 791).
const (
	MinMTU = 68
	MaxMTU = 65535
)

func networkMeta(n *model.Network) *model.Meta { return &n.Meta }

// NetworkTypes are the values of provider:network_type that can be asked for.
var NetworkTypes = []string{
	string(model.TypeLocal), string(model.TypeFlat), string(model.TypeVLAN), string(model.TypeVXLAN),
}

// Network declares the networks of the API.
var Network = (&Resource[model.Network]{
	Name: "network", Plural: "networks", Kind: "Network",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Virtual:    tagFilters(networkMeta, map[string]func(*model.Network, string) bool{}),
	Attributes: slices.Concat(
		identity(networkMeta),
		[]*Attribute[model.Network]{
			attribute("admin_state_up", Post|Put|shows, boolean(), func(n *model.Network) *bool { return &n.AdminStateUp },
				byDefault(true), help("Whether the network forwards traffic.")),
			computed("status", shows, text(16), func(*model.Network) string { return "ACTIVE" },
				help("ACTIVE, since a network has no state of its own.")),
			computed("subnets", 0, list(1000, id()), func(n *model.Network) []string { return n.SubnetIDs },
				help("The ids of its subnets.")),
			attribute("shared", Post|Put|shows, boolean(), func(n *model.Network) *bool { return &n.Shared },
				enforced, help("Whether all projects may use it.")),
			attribute("router:external", Post|Put|shows, boolean(), func(n *model.Network) *bool { return &n.External },
				extension("external-net"), enforced, help("Whether it leads outside.")),
			attribute("mtu", Post|Put|shows, integer(0, MaxMTU), func(n *model.Network) *int { return &n.MTU },
				extension("net-mtu"), help("The MTU of its ports in bytes; 0: the largest that the segment carries.")),
			attribute("port_security_enabled", Post|Put|shows, boolean(),
				func(n *model.Network) *bool { return &n.PortSecurityEnabled },
				extension("port-security"), byDefault(true), enforced, help("The default of its ports.")),
			attribute("provider:network_type", Post|Put|shows, text(32), networkType,
				extension("provider"), oneOf(NetworkTypes...), enforced, restricted,
				help("How its frames travel between hosts.")),
			attribute("provider:physical_network", Post|Put|shows, nullable(text(64)), physicalNetwork,
				extension("provider"), enforced, restricted, help("The physical network of a flat or VLAN network.")),
			attribute("provider:segmentation_id", Post|Put|shows, nullable(integer(0, 1<<24-1)), segmentationID,
				extension("provider"), enforced, restricted, help("The VLAN id or VNI.")),
		},
		standard(networkMeta),
	),
}).ready()

// The provider attributes are those of the network's only segment. Reading one of a network without a segment gives the
// zero value.
func networkType(n *model.Network) *string { return (*string)(&segment(n).NetworkType) }

func physicalNetwork(n *model.Network) *string { return &segment(n).PhysicalNetwork }

func segmentationID(n *model.Network) *int { return &segment(n).SegmentationID }

func segment(n *model.Network) *model.Segment {
	if len(n.Segments) == 0 {
		n.Segments = make([]model.Segment, 1)
	}
	return &n.Segments[0]
}
