package schema

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

// The most items that lists of a router may have. The rules bound what a router has in the end; this is what one request
// may bring.
const (
	maxRoutes    = 100
	maxZoneHints = 10
)

func routerMeta(r *model.Router) *model.Meta { return &r.Meta }

// Router declares the routers of the API.
var Router = (&Resource[model.Router]{
	Name: "router", Plural: "routers", Kind: "Router", Extension: "router",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    routerActions,
	Tagged:     true,
	Quota:      "router",
	Virtual:    tagFilters(routerMeta, map[string]func(*model.Router, string) bool{}),
	Attributes: slices.Concat(
		identity(routerMeta),
		[]*Attribute[model.Router]{
			attribute("admin_state_up", Post|Put|shows, boolean(), func(r *model.Router) *bool { return &r.AdminStateUp },
				byDefault(true), help("Whether it may forward traffic.")),
			computed("status", shows, text(16), routerStatus,
				help("ERROR when its host could not do what it is to do; else ACTIVE. Its ports show whether they work.")),
			computed("status_reason", 0, nullable(text(255)), routerReason,
				extension("l3-status-reason"), help("Why it forwards nothing at present, or not as it is wanted.")),
			gateway("external_gateway_info", enforced, fields("network_id", "enable_snat", "external_fixed_ips"),
				help("Its gateway to an external network: network_id, enable_snat, external_fixed_ips, qos_policy_id; null: none.")),
			attribute("routes", Put, routes(), func(r *model.Router) *[]model.HostRoute { return &r.Routes },
				extension("extraroute"), help("The routes besides those of its interfaces, each a destination and a nexthop.")),
			attribute("distributed", Post|Put|shows, orFalse(), func(r *model.Router) *bool { return &r.Distributed },
				extension("dvr"), enforced, restricted, help("Whether every host routes for the ports that it has.")),
			attribute("ha", Post|Put|shows, orFalse(), func(r *model.Router) *bool { return &r.HA },
				extension("l3-ha"), enforced, restricted, help("Whether another host takes over when its host fails.")),
			attribute("availability_zone_hints", Post, list(maxZoneHints, text(255)),
				func(r *model.Router) *[]string { return &r.AvailabilityZoneHints },
				extension("router_availability_zone"), help("The availability zones in which it is wanted.")),
			computed("availability_zones", 0, list(maxZoneHints, text(255)),
				func(r *model.Router) []string { return r.AvailabilityZones },
				extension("router_availability_zone"), help("The availability zones of its hosts.")),
			attribute("flavor_id", Post|shows, nullable(id()), func(r *model.Router) *string { return &r.FlavorID },
				extension("l3-flavors"), help("Its flavor.")),
			attribute("enable_ndp_proxy", Post|Put|shows, orFalse(), func(r *model.Router) *bool { return &r.NDPProxy },
				extension("l3-ext-ndp-proxy"), help("Whether NDP proxies may be made at its gateway.")),
			computed("conntrack_helpers", 0, shown(anArray(anObject(may("protocol", aText), may("port", aNumber), may("helper", aText)))), helpersOf,
				extension("expose-l3-conntrack-helper"), help("Its conntrack helpers: protocol, port, helper.")),
		},
		standard(routerMeta),
	),
}).ready()

// routerStatus is ACTIVE also for a router that waits for a host or is turned off: clients take everything else for a
// failure, and status_reason says what is missing.
func routerStatus(r *model.Router) string {
	if r.HostReason != "" || len(r.LocalReasons) > 0 {
		return "ERROR"
	}
	return "ACTIVE"
}

// routerReason says why a router forwards nothing, or not as it is wanted, where that is known.
func routerReason(r *model.Router) string {
	switch {
	case r.HostReason != "":
		return r.HostReason
	case !r.AdminStateUp:
		return "It is turned off: admin_state_up is false."
	case r.PlacementReason != "":
		return r.PlacementReason
	case len(r.LocalReasons) > 0:
		host := slices.Min(slices.Collect(maps.Keys(r.LocalReasons)))
		return "Host " + host + ": " + r.LocalReasons[host]
	case len(r.Hosts) == 0 && r.GatewayGroup == "" && (!r.Distributed || r.Gateway != nil):
		return "No host serves it: it is assigned to no L3 agent."
	}
	return ""
}

// orFalse is a boolean for which null is false.
func orFalse() codec[bool] {
	c := boolean()
	parse := c.parse
	c.parse = func(raw any) (bool, error) {
		if raw == nil {
			return false, nil
		}
		return parse(raw)
	}
	return c
}

func routes() codec[[]model.HostRoute] { return list(maxRoutes, route()) }

// ParseRoutes validates the value of the member "routes" in the body of an action on a router.
func ParseRoutes(raw any) ([]model.HostRoute, error) {
	if _, ok := raw.([]any); !ok {
		return nil, fmt.Errorf("'%s' is not a list", quote(raw))
	}
	return routes().parse(raw)
}

// ParseID validates a UUID in the body of an action.
func ParseID(raw any) (string, error) { return id().parse(raw) }

// gatewayMembers are the members of external_gateway_info.
var gatewayMembers = []Member{
	must("network_id", id().shape), may("enable_snat", aBoolean), may("external_fixed_ips", fixedIPs().shape),
	may("qos_policy_id", id().shape.orNull()),
}

// gateway declares the gateway of a router. null and the empty object stand for none. The QoS policy of a gateway that
// stays on its network stays, too, unless it is named.
func gateway(name string, opts ...option) *Attribute[model.Router] {
	c := nullable(object(gatewayMembers, readGateway, showGateway))
	a := attribute(name, Post|Put, c, func(r *model.Router) **model.Gateway { return &r.Gateway }, opts...)
	set := a.set
	a.set = func(r *model.Router, raw any) error {
		before := r.Gateway
		if err := set(r, raw); err != nil {
			return err
		}
		m, _ := raw.(map[string]any)
		if _, named := m["qos_policy_id"]; !named && before != nil && r.Gateway != nil && before.NetworkID == r.Gateway.NetworkID {
			r.Gateway.QoSPolicyID = before.QoSPolicyID
		}
		return nil
	}
	return a
}

func readGateway(m map[string]any) (g *model.Gateway, err error) {
	if len(m) == 0 {
		return nil, nil
	}
	raw, ok := m["network_id"]
	if !ok {
		return nil, fmt.Errorf("'network_id' is required")
	}
	g = &model.Gateway{EnableSNAT: true}
	if g.NetworkID, err = id().parse(raw); err != nil {
		return nil, fmt.Errorf("network_id: %w", err)
	}
	if raw, ok := m["enable_snat"]; ok {
		if g.EnableSNAT, err = boolean().parse(raw); err != nil {
			return nil, fmt.Errorf("enable_snat: %w", err)
		}
	}
	if g.FixedIPs, err = fixedIPs().parse(m["external_fixed_ips"]); err != nil {
		return nil, fmt.Errorf("external_fixed_ips: %w", err)
	}
	if g.QoSPolicyID, err = nullable(id()).parse(m["qos_policy_id"]); err != nil {
		return nil, fmt.Errorf("qos_policy_id: %w", err)
	}
	return g, nil
}

func showGateway(g *model.Gateway) any {
	if g == nil {
		return nil
	}
	return struct {
		NetworkID   string          `json:"network_id"`
		FixedIPs    []model.FixedIP `json:"external_fixed_ips"`
		EnableSNAT  bool            `json:"enable_snat"`
		QoSPolicyID *string         `json:"qos_policy_id"`
	}{g.NetworkID, append([]model.FixedIP{}, g.FixedIPs...), g.EnableSNAT, orNil(g.QoSPolicyID)}
}

// orNil shows the empty string as null.
func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func helpersOf(r *model.Router) any {
	type helper struct {
		Protocol string `json:"protocol"`
		Port     int    `json:"port"`
		Helper   string `json:"helper"`
	}
	list := []helper{}
	for _, h := range r.ConntrackHelpers {
		list = append(list, helper{h.Protocol, h.Port, h.Helper})
	}
	return list
}

// ConntrackHelper declares the conntrack helpers of a router.
var ConntrackHelper = (&Resource[model.ConntrackHelper]{
	Name: "conntrack_helper", Plural: "conntrack_helpers", Kind: "ConntrackHelper",
	Below: "/routers", Policy: "router_conntrack_helper", Extension: "l3-conntrack-helper",
	Operations: CanCreate | CanUpdate | CanDelete,
	Attributes: []*Attribute[model.ConntrackHelper]{
		attribute("id", shows, id(), func(h *model.ConntrackHelper) *string { return &h.ID }, help("The id, a UUID.")),
		attribute("protocol", Post|Put|shows, lower(text(16)), func(h *model.ConntrackHelper) *string { return &h.Protocol },
			required, oneOf("tcp", "udp", "sctp", "dccp", "icmp", "ipv6-icmp"), help("The transport protocol.")),
		attribute("port", Post|Put|shows, integer(1, 65535), func(h *model.ConntrackHelper) *int { return &h.Port },
			required, help("The destination port of the connections.")),
		attribute("helper", Post|Put|shows, text(64), func(h *model.ConntrackHelper) *string { return &h.Helper },
			required, help("The helper, for instance ftp.")),
	},
}).ready()

func ndpProxyMeta(p *model.NDPProxy) *model.Meta { return &p.Meta }

// NDPProxy declares the NDP proxies of the API.
var NDPProxy = (&Resource[model.NDPProxy]{
	Name: "ndp_proxy", Plural: "ndp_proxies", Kind: "NDPProxy", Extension: "l3-ndp-proxy",
	Operations: CanCreate | CanUpdate | CanDelete,
	Attributes: slices.Concat(
		identity(ndpProxyMeta),
		[]*Attribute[model.NDPProxy]{
			attribute("router_id", Post|shows, id(), func(p *model.NDPProxy) *string { return &p.RouterID },
				required, help("The router at whose gateway the address is to be reached.")),
			attribute("port_id", Post|shows, id(), func(p *model.NDPProxy) *string { return &p.PortID },
				required, help("The port that has the address.")),
			attribute("ip_address", Post|shows, nullable(address()), func(p *model.NDPProxy) *netip.Addr { return &p.Address },
				help("The IPv6 address; not given: the first that the router reaches.")),
		},
		standardUntagged(ndpProxyMeta),
	),
}).ready()
