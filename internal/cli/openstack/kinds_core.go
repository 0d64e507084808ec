package openstack

import (
	"fmt"
	"slices"
	"strconv"
)

// The kinds of networks, subnets, ports and what belongs to them.

// fixedIPPairs are the keys of --fixed-ip.
var fixedIPPairs = []pair{
	{key: "subnet", member: "subnet_id", find: "subnet"}, {key: "ip-address", member: "ip_address"},
}

// routePairs are the keys of --route and --host-route.
var routePairs = []pair{{key: "destination", required: true}, {key: "gateway", member: "nexthop", required: true}}

func coreKinds() []*kind {
	return []*kind{
		networkKind(), subnetKind(), portKind(), subnetPoolKind(), segmentKind(), segmentRangeKind(), trunkKind(),
		{
			words: "address scope", declared: "address_scope",
			options: []option{{attribute: "ip_version", values: ipVersions, optional: true}},
			list: []column{
				{"ID", "id"}, {"Name", "name"}, {"IP Version", "ip_version"}, {"Shared", "shared"}, {"Project", "project_id"},
			},
			prepare: func(c *call) error {
				if c.verb == create && c.body["ip_version"] == nil {
					c.body["ip_version"] = 4
				}
				return nil
			},
		},
		{
			words: "ip availability", declared: "network_ip_availability", names: "network_name",
			options: []option{{
				name: "ip-version", attribute: "ip_version", verbs: list, values: ipVersions, byDefault: "4",
				help: "The IP version that is counted.",
			}},
			list: []column{
				{"Network ID", "network_id"}, {"Network Name", "network_name"}, {"Total IPs", "total_ips"},
				{"Used IPs", "used_ips"},
			},
		},
		{
			words: "availability zone", declared: "availability_zone",
			options: []option{{
				name: "network", sets: true, verbs: list, help: "Taken for granted: there are zones of networking only.",
			}},
			list: []column{{"Zone Name", "name"}, {"Zone Status", "state"}},
			long: []column{{"Zone Resource", "resource"}},
			computed: map[string]func(object) any{"state": func(o object) any {
				if o["state"] == "unavailable" {
					return "not available"
				}
				return o["state"]
			}},
		},
	}
}

var ipVersions = []string{"4", "6"}

func networkKind() *kind {
	return &kind{
		words: "network", declared: "network",
		options: []option{
			{name: "external", off: "internal", attribute: "router:external"},
			{name: "provider-segment", attribute: "provider:segmentation_id"},
			{name: "transparent-vlan", off: "no-transparent-vlan", attribute: "vlan_transparent"},
			{
				name: "agent", find: "agent", from: "/agents/{}/dhcp-networks", verbs: list,
				help: "The DHCP agent that serves them.",
			},
		},
		without: []string{"segments"},
		list:    []column{{"ID", "id"}, {"Name", "name"}, {"Subnets", "subnets"}},
		long: []column{
			{"Status", "status"}, {"Project", "project_id"}, {"State", "admin_state_up"}, {"Shared", "shared"},
			{"Network Type", "provider:network_type"}, {"Router Type", "router:external"},
			{"Availability Zones", "availability_zones"}, {"Tags", "tags"},
		},
		show: []column{{"is_vlan_transparent", "vlan_transparent"}},
		omit: []string{"l2_adjacency"},
		actions: []action{{
			words: "onboard subnets", arguments: []string{"network", "subnet-pool"},
			short: "Take the subnets of a network into a subnet pool",
			do: func(c *call) error {
				pool, err := c.find("subnetpool", c.args[1])
				if err != nil {
					return err
				}
				id, err := c.find("network", c.args[0])
				if err != nil {
					return err
				}
				return c.put("/subnetpools/"+pool+"/onboard_network_subnets", object{"network_id": id})
			},
		}},
	}
}

func subnetKind() *kind {
	return &kind{
		words: "subnet", declared: "subnet",
		options: []option{
			{name: "subnet-range", attribute: "cidr"},
			{attribute: "ip_version", values: ipVersions, optional: true},
			{name: "dhcp", off: "no-dhcp", attribute: "enable_dhcp"},
			{
				name: "gateway", attribute: "gateway_ip", verbs: writes | list | unset,
				help: "The address of its gateway; none: there is none; auto: the first of its range.",
			},
			{name: "use-default-subnet-pool", attribute: "use_default_subnetpool", sets: true, verbs: create},
			{
				name: "use-prefix-delegation", attribute: "subnetpool_id", verbs: create,
				help: "prefix_delegation: its range is given from outside.",
			},
			{name: "subnet-pool", attribute: "subnetpool_id", find: "subnetpool"},
			{name: "prefix-length", attribute: "prefixlen", verbs: create},
			{name: "network-segment", attribute: "segment_id", find: "segment", verbs: writes},
			{
				name: "allocation-pool", attribute: "allocation_pools",
				pairs: []pair{{key: "start", required: true}, {key: "end", required: true}}, first: true,
			},
			{name: "dns-nameserver", off: "no-dns-nameservers", attribute: "dns_nameservers", first: true},
			{name: "host-route", attribute: "host_routes", pairs: routePairs, first: true},
			{name: "service-type", attribute: "service_types", first: true},
			{name: "service-type", attribute: "service_types", verbs: list, many: true},
		},
		list: []column{{"ID", "id"}, {"Name", "name"}, {"Network", "network_id"}, {"Subnet", "cidr"}},
		long: []column{
			{"Project", "project_id"}, {"DHCP", "enable_dhcp"}, {"Name Servers", "dns_nameservers"},
			{"Allocation Pools", "allocation_pools"}, {"Host Routes", "host_routes"}, {"IP Version", "ip_version"},
			{"Gateway", "gateway_ip"}, {"Service Types", "service_types"}, {"Tags", "tags"},
		},
		prepare: func(c *call) error {
			switch c.body["gateway_ip"] {
			case "none":
				c.body["gateway_ip"] = nil
			case "auto":
				delete(c.body, "gateway_ip")
			}
			if c.verb == create && c.body["ip_version"] == nil {
				c.body["ip_version"] = 4
			}
			return nil
		},
	}
}

func portKind() *kind {
	return &kind{
		words: "port", declared: "port",
		options: []option{
			{name: "device", attribute: "device_id", verbs: writes},
			{name: "device-id", attribute: "device_id", verbs: list},
			{name: "server", attribute: "device_id", verbs: list, help: "The id of the server that has them."},
			{name: "router", attribute: "device_id", find: "router", verbs: list, help: "The router that has them."},
			{name: "host", attribute: "binding:host_id", verbs: writes | list | unset},
			{name: "vnic-type", attribute: "binding:vnic_type"},
			{name: "binding-profile", off: "no-binding-profile", attribute: "binding:profile", verbs: writes | unset},
			{name: "vif-type", attribute: "binding:vif_type"},
			{name: "fixed-ip", attribute: "fixed_ips", pairs: fixedIPPairs},
			{
				name: "fixed-ip", attribute: "fixed_ips", verbs: list, many: true,
				pairs: append([]pair{{key: "ip-substring", member: "ip_address_substr"}}, fixedIPPairs...),
				help:  "Only those with an address in the subnet, with the address, or with a part of it.",
			},
			{name: "allowed-address", attribute: "allowed_address_pairs", pairs: []pair{
				{key: "ip-address", member: "ip_address", required: true}, {key: "mac-address", member: "mac_address"},
			}},
			{name: "extra-dhcp-option", attribute: "extra_dhcp_opts", whole: true, verbs: writes, pairs: []pair{
				{key: "name", member: "opt_name", required: true}, {key: "value", member: "opt_value"},
				{key: "ip-version", member: "ip_version", integer: true},
			}},
			{name: "security-group", attribute: "security_groups", find: "security_group"},
			{name: "security-group", attribute: "security_groups", find: "security_group", many: true, verbs: list},
			{
				name: "enable-uplink-status-propagation", off: "disable-uplink-status-propagation",
				attribute: "propagate_uplink_status",
			},
			{name: "numa-policy-required", attribute: "numa_affinity_policy", sets: "required"},
			{name: "numa-policy-preferred", attribute: "numa_affinity_policy", sets: "preferred"},
			{name: "numa-policy-legacy", attribute: "numa_affinity_policy", sets: "legacy"},
			{name: "numa-policy", attribute: "numa_affinity_policy", verbs: unset},
			{name: "data-plane-status", attribute: "data_plane_status", verbs: set | unset},
		},
		objects: []string{"binding:profile", "binding:vif_details"},
		list: []column{
			{"ID", "id"}, {"Name", "name"}, {"MAC Address", "mac_address"}, {"Fixed IP Addresses", "fixed_ips"},
			{"Status", "status"},
		},
		long: []column{{"Security Groups", "security_groups"}, {"Device Owner", "device_owner"}, {"Tags", "tags"}},
		show: []column{
			{"binding_host_id", "binding:host_id"}, {"binding_profile", "binding:profile"},
			{"binding_vif_details", "binding:vif_details"},
			{"binding_vif_type", "binding:vif_type"}, {"binding_vnic_type", "binding:vnic_type"},
			{"security_group_ids", "security_groups"},
		},
	}
}

func subnetPoolKind() *kind {
	return &kind{
		words: "subnet pool", declared: "subnetpool",
		options: []option{
			{name: "pool-prefix", attribute: "prefixes", verbs: writes},
			{name: "default-prefix-length", attribute: "default_prefixlen"},
			{name: "min-prefix-length", attribute: "min_prefixlen"},
			{name: "max-prefix-length", attribute: "max_prefixlen"},
		},
		list: []column{{"ID", "id"}, {"Name", "name"}, {"Prefixes", "prefixes"}},
		long: []column{
			{"Default Prefix Length", "default_prefixlen"}, {"Address Scope", "address_scope_id"},
			{"Default Subnet Pool", "is_default"},
			{"Shared", "shared"}, {"Tags", "tags"},
		},
	}
}

func segmentKind() *kind {
	return &kind{
		words: "network segment", declared: "segment",
		options: []option{{name: "segment", attribute: "segmentation_id"}},
		list: []column{
			{"ID", "id"}, {"Name", "name"}, {"Network", "network_id"}, {"Network Type", "network_type"},
			{"Segment", "segmentation_id"},
		},
		long: []column{{"Physical Network", "physical_network"}},
		omit: []string{"created_at", "updated_at", "revision_number"},
	}
}

func segmentRangeKind() *kind {
	return &kind{
		words: "network segment range", declared: "network_segment_range",
		options: []option{
			{name: "shared", off: "private", attribute: "shared"},
			{name: "used", sets: true, verbs: list, help: "Those of which something is used."},
			{name: "unused", sets: true, verbs: list, help: "Those of which nothing is used."},
			{name: "available", sets: true, verbs: list, help: "Those of which something is left."},
			{name: "unavailable", sets: true, verbs: list, help: "Those of which nothing is left."},
		},
		computed: map[string]func(object) any{
			"available": func(o object) any { return ranges(o["available"]) },
			"used":      usedRanges,
		},
		omit: []string{"created_at", "updated_at", "revision_number", "description", "tags"},
		listed: func(c *call, o object) bool {
			used, left := !empty(o["used"]), !empty(o["available"])
			return (used || !c.given("used")) && (!used || !c.given("unused")) &&
				(left || !c.given("available")) && (!left || !c.given("unavailable"))
		},
		list: []column{
			{"ID", "id"}, {"Name", "name"}, {"Default", "default"}, {"Shared", "shared"}, {"Project ID", "project_id"},
			{"Network Type", "network_type"}, {"Physical Network", "physical_network"}, {"Minimum ID", "minimum"},
			{"Maximum ID", "maximum"},
		},
		long:     []column{{"Used", "used"}, {"Available", "available"}},
		longWith: []string{"used", "unused", "available", "unavailable"},
	}
}

// ranges writes many numbers as ranges: 5000-5100.
func ranges(v any) any {
	var numbers []int64
	items, _ := v.([]any)
	for _, item := range items {
		if n, err := strconv.ParseInt(fmt.Sprint(item), 10, 64); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	out := []any{}
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		text := strconv.FormatInt(numbers[i], 10)
		if j > i {
			text += "-" + strconv.FormatInt(numbers[j], 10)
		}
		out, i = append(out, text), j+1
	}
	return out
}

// usedRanges are the segmentation ids that each project uses.
func usedRanges(o object) any {
	byProject := map[string][]any{}
	used, _ := o["used"].(object)
	for id, project := range used {
		byProject[fmt.Sprint(project)] = append(byProject[fmt.Sprint(project)], id)
	}
	out := object{}
	for project, ids := range byProject {
		out[project] = ranges(ids)
	}
	return out
}

func trunkKind() *kind {
	subports := []pair{
		{
			key: "port", member: "port_id", find: "port", required: true}, {key: "segmentation-type",
			member: "segmentation_type",
		},
		{key: "segmentation-id", member: "segmentation_id", integer: true},
	}
	return &kind{
		words: "network trunk", declared: "trunk",
		options: []option{
			{name: "parent-port", attribute: "port_id", find: "port"},
			{name: "subport", attribute: "sub_ports", pairs: subports, verbs: create | set, add: "add_subports"},
			{
				name: "subport", attribute: "sub_ports", find: "port", member: "port_id", many: true, verbs: unset,
				remove: "remove_subports",
			},
		},
		list: []column{{"ID", "id"}, {"Name", "name"}, {"Parent Port", "port_id"}, {"Description", "description"}},
		long: []column{
			{"Status", "status"}, {"State", "admin_state_up"}, {"Created At", "created_at"}, {"Updated At", "updated_at"},
		},
		show: []column{{oldOwner, oldOwner}},
	}
}
