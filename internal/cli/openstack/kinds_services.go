package openstack

import (
	"fmt"
	"net/http"
	"strings"
)

// The kinds of agents, flavors, metering, logs and local IPs.

func serviceKinds() []*kind {
	return []*kind{
		agentKind(), flavorKind(),
		{
			words: "network flavor profile", declared: "service_profile",
			list: []column{
				{"ID", "id"}, {"Driver", "driver"}, {"Enabled", "enabled"}, {"Metainfo", "metainfo"},
				{"Description", "description"},
			},
			show: []column{{"meta_info", "metainfo"}, {"project_id", "project_id"}},
		},
		{
			words: "network service provider", declared: "service_provider",
			list: []column{{"Service Type", "service_type"}, {"Name", "name"}, {"Default", "default"}},
		},
		{
			words: "network meter", declared: "metering_label",
			list: []column{{"ID", "id"}, {"Name", "name"}, {"Description", "description"}, {"Shared", "shared"}},
		},
		{
			words: "network meter rule", declared: "metering_label_rule",
			create: []argument{{label: "meter", attribute: "metering_label_id", find: "metering_label"}},
			options: []option{
				{name: "exclude", off: "include", attribute: "excluded"},
				{
					name: "ingress", attribute: "direction", sets: "ingress", verbs: create | list,
					help: "Of packets that come in (default).",
				},
				{name: "egress", attribute: "direction", sets: "egress", verbs: create | list, help: "Of packets that go out."},
			},
			list: []column{
				{"ID", "id"}, {"Excluded", "excluded"}, {"Direction", "direction"}, {"Remote IP Prefix", "remote_ip_prefix"},
				{"Source IP Prefix", "source_ip_prefix"}, {"Destination IP Prefix", "destination_ip_prefix"},
			},
			show: []column{{"is_excluded", "excluded"}, {"project_id", "project_id"}, {"name", ""}},
			prepare: func(c *call) error {
				if c.verb == create && c.body["direction"] == nil {
					c.body["direction"] = "ingress"
				}
				return nil
			},
		},
		logKind(),
		{
			words: "network loggable resources", declared: "loggable_resource",
			list: []column{{"Supported types", "type"}},
		},
		{
			words: "local ip", declared: "local_ip", create: []argument{},
			options: []option{
				{name: "name", attribute: "name"},
				{name: "local-port", attribute: "local_port_id", find: "port"},
			},
			list: []column{
				{"ID", "id"}, {"Name", "name"}, {"Description", "description"}, {"Project", "project_id"},
				{"Local Port ID", "local_port_id"},
				{"Network", "network_id"}, {"Local IP address", "local_ip_address"}, {"IP mode", "ip_mode"},
			},
		},
		{
			words: "local ip association", declared: "port_association",
			create:  []argument{{label: "fixed-port", attribute: "fixed_port_id", find: "port"}},
			options: []option{{name: "fixed-port", attribute: "fixed_port_id", find: "port", verbs: list}},
			list: []column{
				{"Local IP ID", "local_ip_id"}, {"Local IP Address", "local_ip_address"}, {"Fixed port ID", "fixed_port_id"},
				{"Fixed IP", "fixed_ip"}, {"Host", "host"},
			},
			omit: []string{"local_ip_id"},
			not:  show,
		},
	}
}

func agentKind() *kind {
	// The client's words for the types of agents.
	types := map[string]any{
		"bgp": "BGP dynamic routing agent", "dhcp": "DHCP agent", "open-vswitch": "Open vSwitch agent",
		"linux-bridge": "Linux bridge agent", "l3": "L3 agent", "loadbalancer": "Loadbalancer agent",
		"metering": "Metering agent",
		"metadata": "Metadata agent", "macvtap": "Macvtap agent", "nic": "NIC Switch agent", "ofa": "OFA driver agent",
	}
	return &kind{
		words: "network agent", declared: "agent",
		options: []option{
			{name: "agent-type", attribute: "agent_type", as: types, verbs: list},
			{
				name: "network", find: "network", from: "/networks/{}/dhcp-agents", verbs: list,
				help: "The network that they serve.",
			},
			{name: "router", find: "router", from: "/routers/{}/l3-agents", verbs: list, help: "The router that they serve."},
		},
		list: []column{
			{"ID", "id"}, {"Agent Type", "agent_type"}, {"Host", "host"}, {"Availability Zone", "availability_zone"},
			{"Alive", "alive"},
			{"State", "admin_state_up"}, {"Binary", "binary"},
		},
		long:    []column{{"HA State", "ha_state"}},
		seldom:  []string{"ha_state"},
		objects: []string{"configurations"},
		show: []column{
			{"configuration", "configurations"}, {"last_heartbeat_at", "heartbeat_timestamp"}, {"ha_state", ""},
		},
		actions: []action{
			servedAction("add", "network", "dhcp"), servedAction("remove", "network", "dhcp"),
			servedAction("add", "router", "l3"), servedAction("remove", "router", "l3"),
		},
	}
}

// servedAction lets an agent serve a network or a router, or serve it no longer.
func servedAction(do, what, kindOfAgent string) action {
	return action{
		words: do + " " + what, arguments: []string{"agent", what},
		short: map[string]string{"add": "Let an agent serve a ", "remove": "Let an agent serve no longer a "}[do] + what,
		options: []option{{
			name: kindOfAgent, sets: true, help: "Taken for granted: only agents of this kind serve a " + what + ".",
		}},
		do: func(c *call) error {
			id, err := c.find(what, c.args[1])
			if err != nil {
				return err
			}
			agent, err := c.find("agent", c.args[0])
			if err != nil {
				return err
			}
			path := "/agents/" + agent + "/" + kindOfAgent + "-" + what + "s"
			if do == "remove" {
				return c.api.do(c.ctx, http.MethodDelete, path+"/"+id, nil, nil, nil)
			}
			return c.api.do(c.ctx, http.MethodPost, path, nil, object{what + "_id": id}, nil)
		},
	}
}

func flavorKind() *kind {
	profile := func(do, method, short string) action {
		return action{
			words: do + " profile", arguments: []string{"flavor", "service-profile"}, short: short,
			do: func(c *call) error {
				id, err := c.find("service_profile", c.args[1])
				if err != nil {
					return err
				}
				flavor, err := c.find("flavor", c.args[0])
				if err != nil {
					return err
				}
				path := "/flavors/" + flavor + "/service_profiles"
				if method == http.MethodDelete {
					return c.api.do(c.ctx, method, path+"/"+id, nil, nil, nil)
				}
				return c.api.do(c.ctx, method, path, nil, object{"service_profile": object{"id": id}}, nil)
			},
		}
	}
	return &kind{
		words: "network flavor", declared: "flavor",
		options: []option{{
			name: "service-profile", attribute: "service_profiles", find: "service_profile", many: true, verbs: create,
		}},
		list: []column{
			{"ID", "id"}, {"Name", "name"}, {"Enabled", "enabled"}, {"Service Type", "service_type"},
			{"Description", "description"},
		},
		show: []column{{"service_profile_ids", "service_profiles"}},
		actions: []action{
			profile("add", http.MethodPost, "Give a flavor a service profile"),
			profile("remove", http.MethodDelete, "Take a service profile from a flavor"),
		},
	}
}

func logKind() *kind {
	full := []column{
		{"ID", "id"}, {"Description", "description"}, {"Enabled", "enabled"}, {"Name", "name"}, {"Target", "target_id"},
		{"Project", "project_id"}, {"Resource", "resource_id"}, {"Type", "resource_type"}, {"Event", "event"},
	}
	return &kind{
		words: "network log", declared: "log",
		options: []option{
			{name: "resource", verbs: create, help: "The object whose packets are logged, of the resource type."},
			{name: "target", attribute: "target_id", find: "port", verbs: create},
		},
		without: []string{"resource_id"},
		list: []column{
			{"ID", "id"}, {"Enabled", "enabled"}, {"Name", "name"}, {"Type", "resource_type"}, {"Summary", "summary"},
		},
		full:     full,
		show:     append([]column{{oldOwner, oldOwner}}, full...),
		computed: map[string]func(object) any{"summary": logSummary},
		prepare: func(c *call) error {
			if c.verb != create || !c.given("resource") {
				return nil
			}
			of := fmt.Sprint(c.body["resource_type"])
			if c.registry.byName[of] == nil {
				return fmt.Errorf("--resource-type %q is not known: see network loggable resources list", of)
			}
			id, err := c.find(of, c.text("resource"))
			c.body["resource_id"] = id
			return err
		},
	}
}

// logSummary says in one cell which packets a log is for.
func logSummary(log object) any {
	var of []string
	if log["resource_id"] != nil {
		of = append(of, fmt.Sprintf("(%v) %v", log["resource_type"], log["resource_id"]))
	}
	if log["target_id"] != nil {
		of = append(of, fmt.Sprintf("(port) %v", log["target_id"]))
	}
	target := strings.Join(of, " on ")
	if target == "" {
		target = "(None specified)"
	}
	return "Event: " + strings.ToUpper(fmt.Sprint(log["event"])) + ",\nLogged: " + target
}
