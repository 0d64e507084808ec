package openstack

import (
	"fmt"
	"net/http"
	"strings"
)

// The kinds of firewall groups, policies and rules.

func firewallKinds() []*kind {
	return []*kind{firewallGroupKind(), firewallPolicyKind(), firewallRuleKind()}
}

// takesBack is an option of unset that makes a boolean false.
func takesBack(name, attribute string) option {
	return option{name: name, attribute: attribute, sets: false, verbs: unset, help: "Take it back."}
}

func firewallGroupKind() *kind {
	columns := []column{
		{"ID", "id"}, {"Name", "name"}, {"Ingress Policy ID", "ingress_firewall_policy_id"},
		{"Egress Policy ID", "egress_firewall_policy_id"},
	}
	long := []column{
		{"Description", "description"}, {"Status", "status"}, {"Ports", "ports"}, {"State", "admin_state_up"},
		{"Shared", "shared"}, {"Project", oldOwner},
	}
	return &kind{
		words: "firewall group", declared: "firewall_group", create: []argument{},
		options: []option{
			{name: "name", attribute: "name"},
			{name: "port", attribute: "ports", find: "port"},
			{name: "all-port", attribute: "ports", sets: []any{}, verbs: unset, help: "All of its ports."},
			takesBack("share", "shared"), {name: "share", off: "no-share", attribute: "shared", verbs: writes | list},
			takesBack("enable", "admin_state_up"),
			{name: "enable", off: "disable", attribute: "admin_state_up", verbs: writes | list},
		},
		list: columns, long: long, show: append(columns, long...),
	}
}

func firewallPolicyKind() *kind {
	columns := []column{{"ID", "id"}, {"Name", "name"}, {"Firewall Rules", "firewall_rules"}}
	long := []column{{"Description", "description"}, {"Audited", "audited"}, {"Shared", "shared"}, {"Project", oldOwner}}
	return &kind{
		words: "firewall group policy", declared: "firewall_policy",
		options: []option{
			{attribute: "firewall_rules", find: "firewall_rule"},
			{name: "all-firewall-rule", attribute: "firewall_rules", sets: []any{}, verbs: unset, help: "All of its rules."},
			takesBack("share", "shared"), {name: "share", off: "no-share", attribute: "shared", verbs: writes | list},
			takesBack("audited", "audited"), {attribute: "audited", verbs: writes | list},
		},
		list: columns, long: long, show: append(columns, long...),
		actions: []action{
			policyAction("add rule", "insert_rule", "Put a rule into a firewall policy", "insert-before", "insert-after"),
			policyAction("remove rule", "remove_rule", "Take a rule out of a firewall policy"),
		},
	}
}

// policyAction changes the rules of a policy. The options name other rules of it.
func policyAction(words, path, short string, options ...string) action {
	a := action{
		words: words, arguments: []string{"firewall-policy", "firewall-rule"}, short: short,
		do: func(c *call) error {
			rule, err := c.find("firewall_rule", c.args[1])
			if err != nil {
				return err
			}
			policy, err := c.find("firewall_policy", c.args[0])
			if err != nil {
				return err
			}
			body := object{"firewall_rule_id": rule}
			for _, name := range options {
				if !c.given(name) {
					continue
				}
				if body[strings.ReplaceAll(name, "-", "_")], err = c.find("firewall_rule", c.text(name)); err != nil {
					return fmt.Errorf("--%s: %w", name, err)
				}
			}
			return c.api.do(c.ctx, http.MethodPut, c.kind.d.Path+"/"+policy+"/"+path, nil, body, nil)
		},
	}
	for _, name := range options {
		a.options = append(a.options, option{name: name, help: "This rule of the policy; default: all of them come after."})
	}
	return a
}

func firewallRuleKind() *kind {
	columns := []column{{"ID", "id"}, {"Name", "name"}, {"Enabled", "enabled"}}
	long := []column{
		{"Description", "description"}, {"IP Version", "ip_version"}, {"Action", "action"}, {"Protocol", "protocol"},
		{"Source IP Address", "source_ip_address"}, {"Source Port", "source_port"},
		{"Destination IP Address", "destination_ip_address"}, {"Destination Port", "destination_port"}, {"Shared", "shared"},
		{"Project", oldOwner},
	}
	detachable := func(name, attribute string) option {
		return option{name: name, off: "no-" + name, attribute: attribute, verbs: writes | list | unset}
	}
	// Groups as ends are options of the client only: the service knows no such attributes.
	end := func(side string) option {
		return option{
			name: side + "-firewall-group", off: "no-" + side + "-firewall-group", verbs: writes, help: "Not known to the service.",
		}
	}
	unsetEnd := func(side string) option {
		return option{name: side + "-firewall-group", sets: true, verbs: unset, help: "Not known to the service."}
	}
	return &kind{
		words: "firewall group rule", declared: "firewall_rule", create: []argument{},
		options: []option{
			{name: "name", attribute: "name"},
			detachable("source-ip-address", "source_ip_address"), detachable("destination-ip-address", "destination_ip_address"),
			detachable("source-port", "source_port"), detachable("destination-port", "destination_port"),
			takesBack("share", "shared"), {name: "share", off: "no-share", attribute: "shared", verbs: writes | list},
			takesBack("enable-rule", "enabled"),
			{name: "enable-rule", off: "disable-rule", attribute: "enabled", verbs: writes | list},
			end("source"), end("destination"), unsetEnd("source"), unsetEnd("destination"),
		},
		list: append(columns[:3:3], column{"Summary", "summary"}),
		full: append(append(columns[:3:3], long...),
			column{"Source Firewall Group ID", "nothing"}, column{"Destination Firewall Group ID", "nothing"}),
		show: append(columns[:3:3], long...),
		prepare: func(c *call) error {
			for _, side := range []string{"source", "destination"} {
				if name := side + "-firewall-group"; c.given(name) || c.given("no-"+name) {
					return fmt.Errorf("--%s: the service has no attribute %s_firewall_group_id", name, side)
				}
			}
			return nil
		},
		computed: map[string]func(object) any{
			"summary": firewallSummary,
			"nothing": func(object) any { return "" },
		},
	}
}

// firewallSummary says in one cell what a rule does.
func firewallSummary(rule object) any {
	or := func(v any, otherwise string) string {
		if v == nil {
			return otherwise
		}
		return fmt.Sprint(v)
	}
	end := func(label, address, port string) string {
		return label + "(port): " + or(rule[address], "none specified") + "(" + or(rule[port], "none specified") + ")"
	}
	return strings.Join([]string{
		strings.ToUpper(or(rule["protocol"], "any")), end("source", "source_ip_address", "source_port"),
		end("dest", "destination_ip_address", "destination_port"), or(rule["action"], "no-action"),
	}, ",\n ")
}
