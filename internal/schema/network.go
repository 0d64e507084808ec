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
	Quota:      "network",
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
				byDefault(false), enforced, help("Whether all projects may use it.")),
			attribute("router:external", Post|Put|shows, boolean(), func(n *model.Network) *bool { return &n.External },
				extension("external-net"), byDefault(false), enforced, help("Whether it leads outside.")),
			attribute("mtu", Post|Put|shows, integer(0, MaxMTU), func(n *model.Network) *int { return &n.MTU },
				extension("net-mtu"), help("The MTU of its ports in bytes; 0: the largest that the segment carries.")),
			attribute("port_security_enabled", Post|Put|shows, boolean(),
				func(n *model.Network) *bool { return &n.PortSecurityEnabled },
				extension("port-security"), byDefault(true), enforced, help("The default of its ports.")),
			provider("provider:network_type", text(32), func(s *model.Segment) *string { return (*string)(&s.NetworkType) },
				oneOf(NetworkTypes...),
				help("How its frames travel between hosts.")),
			provider("provider:physical_network", nullable(text(64)), func(s *model.Segment) *string { return &s.PhysicalNetwork },
				help("The physical network of a flat or VLAN network.")),
			provider("provider:segmentation_id", nullable(integer(0, 1<<24-1)), func(s *model.Segment) *int { return &s.SegmentationID },
				help("The VLAN id or VNI.")),
		},
		standard(networkMeta),
	),
}).ready()

// provider declares an attribute of the network's only segment. Storing makes the segment where there is none; reading
// must not, since stored networks are shared by all readers: it gives the zero value.
func provider[V any](name string, c codec[V], ref func(*model.Segment) *V, opts ...option) *Attribute[model.Network] {
	opts = append([]option{extension("provider"), enforced, restricted}, opts...)
	a := attribute(name, Post|Put|shows, c, func(n *model.Network) *V {
		if len(n.Segments) == 0 {
			n.Segments = make([]model.Segment, 1)
		}
		return ref(&n.Segments[0])
	}, opts...)
	read := computed(name, a.Access, c, func(n *model.Network) V {
		if len(n.Segments) == 0 {
			return *ref(new(model.Segment))
		}
		return *ref(&n.Segments[0])
	}, opts...)
	read.set = a.set
	return read
}
