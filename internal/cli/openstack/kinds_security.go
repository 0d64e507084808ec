package openstack

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of security groups, address groups and RBAC policies.

func securityKinds() []*kind {
	return []*kind{
		{
			words: "security group", declared: "security_group",
			options: []option{{name: "stateful", off: "stateless", attribute: "stateful"}},
			list: []column{
				{"ID", "id"}, {"Name", "name"}, {"Description", "description"}, {"Project", "project_id"}, {"Tags", "tags"},
			},
			show: []column{{"rules", "security_group_rules"}},
			omit: []string{"shared"},
			prepare: func(c *call) error {
				if c.verb == create && c.body["description"] == nil {
					c.body["description"] = c.body["name"]
				}
				return nil
			},
		},
		securityRuleKind(),
		{
			words: "address group", declared: "address_group",
			options: []option{
				{name: "address", attribute: "addresses", block: true, verbs: create},
				{
					name: "address", attribute: "addresses", block: true, many: true, verbs: set | unset, add: "add_addresses",
					remove: "remove_addresses",
				},
			},
			list: []column{
				{"ID", "id"}, {"Name", "name"}, {"Description", "description"}, {"Project", "project_id"},
				{"Addresses", "addresses"},
			},
			omit: []string{"created_at", "updated_at", "revision_number", "tags"},
		},
		rbacKind(),
	}
}

func securityRuleKind() *kind {
	return &kind{
		words: "security group rule", declared: "security_group_rule",
		create:           []argument{{label: "group", attribute: "security_group_id", find: "security_group"}},
		optionalArgument: &argument{label: "group", attribute: "security_group_id", find: "security_group"},
		options: []option{
			{
				name: "ingress", attribute: "direction", sets: "ingress", verbs: create | list,
				help: "Of packets that come in (default).",
			},
			{name: "egress", attribute: "direction", sets: "egress", verbs: create | list, help: "Of packets that go out."},
			{
				name: "protocol", alias: "proto", attribute: "protocol",
				help: "The protocol, a name or a number; any: all of them.",
			},
			{name: "dst-port", verbs: create, help: "The destination port, or a range A:B."},
			{name: "icmp-type", verbs: create, help: "The type of ICMP."},
			{name: "icmp-code", verbs: create, help: "The code of ICMP."},
			{name: "remote-ip", attribute: "remote_ip_prefix"},
		},
		without: []string{"port_range_min", "port_range_max", "normalized_cidr", "belongs_to_default_sg"},
		list: []column{
			{"ID", "id"}, {"IP Protocol", "protocol"}, {"Ethertype", "ethertype"}, {"IP Range", "ip_range"},
			{"Port Range", "port_range"},
			{"Direction", "direction"}, {"Remote Security Group", "remote_group_id"},
			{"Remote Address Group", "remote_address_group_id"},
			{"Security Group", "security_group_id"},
		},
		show: []column{{"ether_type", "ethertype"}, {"name", ""}},
		omit: []string{"normalized_cidr", "belongs_to_default_sg"},
		computed: map[string]func(object) any{
			"port_range": portRange,
			"ip_range":   remotePrefix,
		},
		complete: func(c *call, rule object) error {
			if c.verb == show {
				rule["remote_ip_prefix"] = remotePrefix(rule)
			}
			return nil
		},
		prepare: prepareRule,
	}
}

// isICMP says whether the ports of a rule of the protocol are a type and a code.
func isICMP(protocol any) bool {
	switch protocol {
	case "icmp", "icmpv6", "ipv6-icmp", "1", "58":
		return true
	}
	return false
}

// isIPv6 says whether the protocol is one of IPv6 only.
func isIPv6(protocol string) bool {
	switch protocol {
	case "icmpv6", "41", "43", "44", "58", "59", "60":
		return true
	}
	return strings.HasPrefix(protocol, "ipv6-")
}

// portRange is how lists show the ports of a rule.
func portRange(rule object) any {
	from, to := rule["port_range_min"], rule["port_range_max"]
	if isICMP(rule["protocol"]) {
		text := ""
		if from != nil {
			text = fmt.Sprintf("type=%v", from)
		}
		if to != nil {
			text += fmt.Sprintf(":code=%v", to)
		}
		return text
	}
	if from == nil && to == nil {
		return ""
	}
	if from == nil {
		from = ""
	}
	if to == nil {
		to = ""
	}
	return fmt.Sprintf("%v:%v", from, to)
}

// everywhere are the prefixes that stand for every address, by the ethertype.
var everywhere = map[any]string{"IPv4": "0.0.0.0/0", "IPv6": "::/0"}

// remotePrefix is the remote prefix of a rule; that of one that has none is every address, as far as prefixes go.
func remotePrefix(rule object) any {
	if rule["remote_ip_prefix"] == nil {
		if all, ok := everywhere[rule["ethertype"]]; ok {
			return all
		}
	}
	return rule["remote_ip_prefix"]
}

// prepareRule completes a new rule: ports, and what the protocol says about the ethertype.
func prepareRule(c *call) error {
	if c.verb != create {
		return nil
	}
	protocol, _ := c.body["protocol"].(string)
	if protocol = strings.ToLower(protocol); protocol == "any" || protocol == "" {
		c.body["protocol"] = nil
	} else {
		c.body["protocol"] = protocol
	}
	if c.body["direction"] == nil {
		c.body["direction"] = "ingress"
	}
	if c.body["ethertype"] == nil {
		c.body["ethertype"] = "IPv4"
		if isIPv6(protocol) {
			c.body["ethertype"] = "IPv6"
		}
	}
	if c.body["remote_ip_prefix"] == nil && c.body["remote_group_id"] == nil && c.body["remote_address_group_id"] == nil {
		c.body["remote_ip_prefix"] = everywhere[c.body["ethertype"]]
	}
	return prepareRulePorts(c, isICMP(protocol))
}

func prepareRulePorts(c *call, icmp bool) error {
	if !icmp && (c.given("icmp-type") || c.given("icmp-code")) {
		return errors.New("--icmp-type and --icmp-code are for the protocol icmp")
	}
	if c.given("icmp-code") && !c.given("icmp-type") {
		return errors.New("--icmp-code needs --icmp-type")
	}
	first, last := "", ""
	if icmp {
		first, last = c.text("icmp-type"), c.text("icmp-code")
	} else if ports := c.text("dst-port"); ports != "" {
		var isRange bool
		if first, last, isRange = strings.Cut(ports, ":"); !isRange {
			last = first
		}
	}
	for name, text := range map[string]string{"port_range_min": first, "port_range_max": last} {
		if text == "" {
			continue
		}
		n, err := integer(text)
		if err != nil {
			return fmt.Errorf("ports, types and codes are numbers: %w", err)
		}
		c.body[name] = n
	}
	return nil
}

func rbacKind() *kind {
	// The types of RBAC policies are called otherwise than the declarations in one case only.
	types := []string{"network", "qos_policy", "security_group", "address_group", "address_scope", "subnetpool"}
	return &kind{
		words: "network rbac", declared: "rbac_policy",
		create: []argument{{label: "object"}},
		options: []option{
			{name: "type", attribute: "object_type", values: types},
			{attribute: "action", values: []string{"access_as_external", "access_as_shared"}},
			{name: "target-project", attribute: "target_tenant", find: findProject, verbs: create | set | list, optional: true},
			{
				name: "target-all-projects", attribute: "target_tenant", sets: "*", verbs: create | set,
				help: "With all projects.",
			},
		},
		without: []string{"object_id"},
		list:    []column{{"ID", "id"}, {"Object Type", "object_type"}, {"Object ID", "object_id"}},
		long:    []column{{"Action", "action"}},
		show:    []column{{"target_project_id", "target_tenant"}},
		prepare: func(c *call) error {
			if c.verb != create {
				return nil
			}
			of := fmt.Sprint(c.body["object_type"])
			if of == "qos_policy" {
				of = "policy"
			}
			if c.registry.byName[of] == nil {
				return fmt.Errorf("--type must be one of %s", strings.Join(types, ", "))
			}
			id, err := c.find(of, c.args[0])
			c.body["object_id"] = id
			return err
		},
	}
}
