package openstack

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// The kinds of routers, floating IPs and what belongs to them.

func routerKinds() []*kind {
	return []*kind{
		routerKind(),
		{
			words: "network l3 conntrack helper", declared: "conntrack_helper",
			list: []column{
				{"ID", "id"}, {"Router ID", "router_id"}, {"Helper", "helper"}, {"Protocol", "protocol"}, {"Port", "port"},
			},
			show: []column{{"name", ""}},
		},
		{
			words: "router ndp proxy", declared: "ndp_proxy",
			create: []argument{{label: "router", attribute: "router_id", find: "router"}},
			list: []column{
				{"ID", "id"}, {"Name", "name"}, {"Router ID", "router_id"}, {"IP Address", "ip_address"}, {"Project", "project_id"},
			},
		},
		floatingIPKind(),
		{
			words: "floating ip pool", declared: "floatingip_pool",
			list: []column{
				{"Subnet ID", "subnet_id"}, {"Subnet", "subnet_name"}, {"Network ID", "network_id"}, {"Subnet Range", "cidr"},
				{"Project", "project_id"},
			},
		},
		portForwardingKind(),
	}
}

func routerKind() *kind {
	return &kind{
		words: "router", declared: "router",
		options: []option{
			{name: "distributed", off: "centralized", attribute: "distributed"},
			{name: "enable-ndp-proxy", off: "disable-ndp-proxy", attribute: "enable_ndp_proxy"},
			{name: "route", attribute: "routes", pairs: routePairs},
			{name: "external-gateway", find: "network", verbs: writes, help: "The external network to which its gateway leads."},
			{
				name: "fixed-ip", pairs: fixedIPPairs, many: true, verbs: writes,
				help: "An address of its gateway, and its subnet.",
			},
			{
				name: "enable-snat", sets: true, verbs: writes,
				help: "Its gateway hides the addresses of the networks behind its own.",
			},
			{name: "disable-snat", sets: true, verbs: writes, help: "Its gateway does not."},
			{name: "qos-policy", off: "no-qos-policy", find: "policy", verbs: writes, help: "The QoS policy of its gateway."},
			{name: "external-gateway", sets: true, verbs: unset, help: "It has no gateway any longer."},
			{name: "qos-policy", sets: true, verbs: unset, help: "Its gateway has no QoS policy any longer."},
			{name: "agent", find: "agent", from: "/agents/{}/l3-routers", verbs: list, help: "The L3 agent that serves them."},
		},
		without: []string{"external_gateway_info"},
		list: []column{
			{"ID", "id"}, {"Name", "name"}, {"Status", "status"}, {"State", "admin_state_up"}, {"Project", "project_id"},
			{"Distributed", "distributed"}, {"HA", "ha"},
		},
		long: []column{
			{"Routes", "routes"}, {"External gateway info", "external_gateway_info"},
			{"Availability zones", "availability_zones"}, {"Tags", "tags"},
		},
		seldom:   []string{"distributed", "ha"},
		show:     []column{{oldOwner, oldOwner}, {interfacesInfo, interfacesInfo}},
		omit:     []string{"conntrack_helpers"},
		prepare:  prepareGateway,
		complete: routerInterfaces,
		actions: []action{
			interfaceAction("add", "subnet"), interfaceAction("remove", "subnet"),
			interfaceAction("add", "port"), interfaceAction("remove", "port"),
			routesAction("add", "Add routes to those that a router has"),
			routesAction("remove", "Remove some of the routes of a router"),
		},
	}
}

// prepareGateway makes external_gateway_info of the options that concern it.
func prepareGateway(c *call) error {
	policy, noPolicy := c.given("qos-policy"), c.given("no-qos-policy")
	if c.verb == unset {
		if c.given("external-gateway") {
			c.body["external_gateway_info"] = object{}
			return nil
		}
		noPolicy, policy = policy, false
	}
	network, err := c.option("external-gateway")
	if err != nil {
		return err
	}
	before, _ := c.object["external_gateway_info"].(object)
	gateway := object{}
	switch {
	case network != nil && c.verb != unset:
		gateway["network_id"] = network
	case before != nil && (policy || noPolicy):
		gateway["network_id"] = before["network_id"]
	case policy || noPolicy || c.given("fixed-ip") || c.given("enable-snat") || c.given("disable-snat"):
		return fmt.Errorf("addresses, source NAT and a QoS policy are those of a gateway: name it with --external-gateway")
	default:
		return nil
	}
	if c.given("enable-snat") || c.given("disable-snat") {
		gateway["enable_snat"] = c.given("enable-snat")
	}
	if c.verb != unset {
		addresses, err := c.option("fixed-ip")
		if err != nil {
			return err
		}
		if addresses != nil {
			gateway["external_fixed_ips"] = addresses
		}
	}
	if policy {
		if gateway["qos_policy_id"], err = c.option("qos-policy"); err != nil {
			return err
		}
	} else if noPolicy {
		gateway["qos_policy_id"] = nil
	}
	c.body["external_gateway_info"] = gateway
	return nil
}

// interfacesInfo is what a router is shown with besides its attributes: the addresses that it has on its networks.
const interfacesInfo = "interfaces_info"

// gatewayPort is the owner of the ports that gateways have.
const gatewayPort = "network:router_gateway"

func routerInterfaces(c *call, router object) error {
	if c.verb != show {
		return nil
	}
	var ports []object
	query := map[string][]string{"device_id": {fmt.Sprint(router["id"])}, "fields": {"id", "device_owner", "fixed_ips"}}
	if err := c.api.list(c.ctx, c.registry.byName["port"].d, "/ports", query, &ports); err != nil {
		return err
	}
	interfaces := []any{}
	for _, p := range ports {
		addresses, _ := p["fixed_ips"].([]any)
		for _, a := range addresses {
			if ip, ok := a.(object); ok && p["device_owner"] != gatewayPort {
				item := object{"port_id": p["id"]}
				maps.Copy(item, ip)
				interfaces = append(interfaces, item)
			}
		}
	}
	router[interfacesInfo] = interfaces
	return nil
}

func interfaceAction(do, by string) action {
	return action{
		words: do + " " + by, arguments: []string{"router", by},
		short: map[string]string{"add": "Attach a router to a ", "remove": "Detach a router from a "}[do] + by,
		do: func(c *call) error {
			id, err := c.find(by, c.args[1])
			if err != nil {
				return err
			}
			router, err := c.find("router", c.args[0])
			if err != nil {
				return err
			}
			return c.put("/routers/"+router+"/"+do+"_router_interface", object{by + "_id": id})
		},
	}
}

func routesAction(do, short string) action {
	return action{
		words: do + " route", arguments: []string{"router"}, short: short,
		options: []option{{
			name: "route", pairs: routePairs, many: true, help: "The route: a destination, and the gateway that leads there.",
		}},
		do: func(c *call) error {
			routes, err := c.option("route")
			if err != nil {
				return err
			}
			router, err := c.find("router", c.args[0])
			if err != nil {
				return err
			}
			if routes == nil {
				routes = []any{}
			}
			var answer map[string]object
			path := "/routers/" + router + "/" + do + "_extraroutes"
			body := object{"router": object{"routes": routes}}
			if err := c.api.do(c.ctx, http.MethodPut, path, nil, body, &answer); err != nil {
				return err
			}
			return c.printOne(answer["router"])
		},
	}
}

func floatingIPKind() *kind {
	return &kind{
		words: "floating ip", declared: "floatingip", names: "floating_ip_address",
		create: []argument{{label: "network", attribute: "floating_network_id", find: "network"}},
		options: []option{
			{name: "subnet", attribute: "subnet_id", find: "subnet", verbs: create, help: "The subnet of its address."},
		},
		list: []column{
			{"ID", "id"}, {"Floating IP Address", "floating_ip_address"}, {"Fixed IP Address", "fixed_ip_address"},
			{"Port", "port_id"},
			{"Floating Network", "floating_network_id"}, {"Project", "project_id"},
		},
		long: []column{
			{"Router", "router_id"}, {"Status", "status"}, {"Description", "description"}, {"Tags", "tags"},
			{"DNS Name", "dns_name"},
			{"DNS Domain", "dns_domain"},
		},
		show: []column{{"name", "floating_ip_address"}, {"floating_ip_address", "floating_ip_address"}, {"subnet_id", ""}},
		omit: []string{"port_forwardings"},
	}
}

func portForwardingKind() *kind {
	return &kind{
		words: "floating ip port forwarding", declared: "port_forwarding",
		options: []option{
			{name: "port", attribute: "internal_port_id", find: "port", verbs: writes | list},
			{
				name: "internal-protocol-port", verbs: writes,
				help: "The port of the protocol, or a range A:B, to which connections are handed.",
			},
			{
				name: "external-protocol-port", verbs: writes,
				help: "The port of the protocol, or a range A:B, at the floating IP.",
			},
			{name: "external-protocol-port", attribute: "external_port", verbs: list},
		},
		without: []string{"internal_port", "external_port", "internal_port_range", "external_port_range"},
		list: []column{
			{"ID", "id"}, {"Internal Port ID", "internal_port_id"}, {"Internal IP Address", "internal_ip_address"},
			{"Internal Port", "internal_port"}, {"External Port", "external_port"}, {"Protocol", "protocol"},
			{"Description", "description"},
		},
		show: []column{{"name", ""}},
		omit: []string{"internal_port_range", "external_port_range"},
		prepare: func(c *call) error {
			for _, side := range []string{"internal", "external"} {
				given, err := c.option(side + "-protocol-port")
				if err != nil {
					return err
				}
				text, _ := given.(string)
				if strings.Contains(text, ":") {
					c.body[side+"_port_range"] = text
				} else if text != "" {
					if c.body[side+"_port"], err = integer(text); err != nil {
						return fmt.Errorf("--%s-protocol-port: %w", side, err)
					}
				}
			}
			return nil
		},
	}
}
