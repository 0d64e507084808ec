package schema

import (
	"fmt"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

// The bounds of an MTU. An IPv4 host must accept datagrams of 576 bytes, but the minimum that the API allows is that of
// a link, 68 (RFC 791).
const (
	MinMTU = 68
	MaxMTU = 65535
)

// The most items that lists of a network may have.
const (
	maxSegments = 32
	maxZones    = 16
)

func networkMeta(n *model.Network) *model.Meta { return &n.Meta }

// NetworkTypes are the values of provider:network_type that can be asked for.
var NetworkTypes = []string{
	string(model.TypeLocal), string(model.TypeFlat), string(model.TypeVLAN), string(model.TypeVXLAN),
	string(model.TypeGRE), string(model.TypeGeneve),
}

// Network declares the networks of the API.
var Network = (&Resource[model.Network]{
	Name: "network", Plural: "networks", Kind: "Network",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    networkActions,
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
			attribute("segments", Post|Put, sequence(maxSegments, providerSegment()),
				func(n *model.Network) *[]model.Segment { return &n.Segments },
				extension("multi-provider"), enforced, restricted, help("Its segments, where it has several."),
			).when(func(n *model.Network) bool { return len(n.Segments) > 1 }),
			provider("provider:network_type", text(32), func(s *model.Segment) *string { return (*string)(&s.NetworkType) },
				oneOf(NetworkTypes...),
				help("How its frames travel between hosts.")),
			provider("provider:physical_network", nullable(text(64)), func(s *model.Segment) *string { return &s.PhysicalNetwork },
				help("The physical network of a flat or VLAN network.")),
			provider("provider:segmentation_id", nullable(integer(0, MaxSegmentationID)), func(s *model.Segment) *int { return &s.SegmentationID },
				help("The VLAN id or VNI.")),
			attribute("is_default", Post|Put|shows, boolean(), func(n *model.Network) *bool { return &n.IsDefault },
				extension("auto-allocated-topology"), byDefault(false), enforced,
				help("Whether it is the external network to which automatic topologies lead."),
			).when(func(n *model.Network) bool { return n.External }),
			attribute("vlan_transparent", Post|shows, optional(boolean()), func(n *model.Network) **bool { return &n.VLANTransparent },
				extension("vlan-transparent"), help("Whether it carries frames with VLAN tags of the workloads' own.")),
			attribute("dns_domain", Post|Put|shows, domainName(), func(n *model.Network) *string { return &n.DNSDomain },
				extension("dns-integration"), byDefault(""), help("The domain of its ports, with a dot at its end.")),
			attribute("qos_policy_id", Post|Put|shows, nullable(id()), func(n *model.Network) *string { return &n.QoSPolicyID },
				extension("qos"), help("The QoS policy of the ports that have none of their own.")),
			attribute("availability_zone_hints", Post|shows, list(maxZones, text(255)),
				func(n *model.Network) *[]string { return &n.AvailabilityZoneHints },
				extension("network_availability_zone"), help("The zones where its DHCP servers should be.")),
			computed("availability_zones", 0, list(maxZones, text(255)), func(n *model.Network) []string { return n.View.Zones },
				extension("network_availability_zone"), help("The zones where its DHCP servers are.")),
			computed("ipv4_address_scope", 0, nullable(id()), func(n *model.Network) string { return n.View.IPv4Scope },
				extension("address-scope"), help("The address scope of its IPv4 subnets.")),
			computed("ipv6_address_scope", 0, nullable(id()), func(n *model.Network) string { return n.View.IPv6Scope },
				extension("address-scope"), help("The address scope of its IPv6 subnets.")),
			computed("l2_adjacency", 0, boolean(), func(n *model.Network) bool { return !n.View.Routed },
				extension("l2_adjacency"), help("Whether all its ports reach each other without a router.")),
		},
		standard(networkMeta),
	),
}).ready()

// providerSegment is an item of "segments": what the provider attributes say of the only segment.
func providerSegment() codec[model.Segment] {
	names := []string{"provider:network_type", "provider:physical_network", "provider:segmentation_id"}
	members := []Member{
		may(names[0], text(32).shape), may(names[1], text(64).shape.orNull()),
		may(names[2], integer(0, MaxSegmentationID).shape.orNull()),
	}
	return object(members,
		func(m map[string]any) (g model.Segment, err error) {
			kind, err := nullable(text(32)).parse(m[names[0]])
			if err != nil {
				return g, fmt.Errorf("%s: %w", names[0], err)
			}
			g.NetworkType = model.NetworkType(kind)
			if g.PhysicalNetwork, err = nullable(text(64)).parse(m[names[1]]); err != nil {
				return g, fmt.Errorf("%s: %w", names[1], err)
			}
			if g.SegmentationID, err = nullable(integer(0, MaxSegmentationID)).parse(m[names[2]]); err != nil {
				return g, fmt.Errorf("%s: %w", names[2], err)
			}
			return g, nil
		},
		func(g model.Segment) any {
			none := func(v any, is bool) any {
				if is {
					return nil
				}
				return v
			}
			return map[string]any{
				names[0]: g.NetworkType, names[1]: none(g.PhysicalNetwork, g.PhysicalNetwork == ""),
				names[2]: none(g.SegmentationID, g.SegmentationID == 0),
			}
		})
}

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
	return read.when(func(n *model.Network) bool { return len(n.Segments) < 2 })
}
