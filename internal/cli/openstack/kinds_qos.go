package openstack

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// The kinds of QoS policies, with their rules.

func qosKinds() []*kind {
	return []*kind{
		{
			words: "network qos policy", declared: "policy",
			list: []column{
				{"ID", "id"}, {"Name", "name"}, {"Shared", "shared"}, {"Default", "is_default"}, {"Project", "project_id"},
			},
			omit: []string{"created_at", "updated_at", "revision_number"},
			actions: []action{
				{
					under: ruleWords, words: "create", arguments: []string{"qos-policy"}, short: "Add a rule to a QoS policy",
					options: append(ruleOptions(), option{
						name: "type", values: ruleTypes(), required: create, help: "The type of the rule.",
					}),
					do: createRule,
				},
				{
					under: ruleWords, words: "list", arguments: []string{"qos-policy"}, short: "List the rules of a QoS policy",
					do: listRules,
				},
				{
					under: ruleWords, words: "show", arguments: []string{"qos-policy", "rule"}, short: "Show a rule of a QoS policy",
					do: func(c *call) error {
						d, path, err := c.rule()
						if err != nil {
							return err
						}
						return c.sendRule(http.MethodGet, d, path, nil)
					},
				},
				{
					under: ruleWords, words: "set", arguments: []string{"qos-policy", "rule"}, short: "Change a rule of a QoS policy",
					options: ruleOptions(),
					do: func(c *call) error {
						d, path, err := c.rule()
						if err != nil {
							return err
						}
						return c.api.do(c.ctx, http.MethodPut, path, nil, object{d.Name: c.body}, nil)
					},
				},
				{
					under: ruleWords, words: "delete", arguments: []string{"qos-policy", "rule"},
					short: "Remove a rule from a QoS policy",
					do: func(c *call) error {
						_, path, err := c.rule()
						if err != nil {
							return err
						}
						return c.api.do(c.ctx, http.MethodDelete, path, nil, nil, nil)
					},
				},
			},
		},
		{
			words: "network qos rule type", declared: "rule_type", names: "type",
			options: []option{
				{
					name: "all-supported", attribute: "all_supported", sets: true, verbs: list,
					help: "All types that some driver supports.",
				},
				{name: "all-rules", attribute: "all_rules", sets: true, verbs: list, help: "All types that there are."},
			},
			without: []string{"type", "drivers"},
			list:    []column{{"Type", "type"}},
			actions: []action{{
				words: "show", arguments: []string{"rule-type"}, short: "Show what a type of QoS rules can be given",
				do: func(c *call) error {
					var answer struct {
						Type object `json:"rule_type"`
					}
					if err := c.api.do(c.ctx, http.MethodGet, c.kind.d.Path+"/"+c.args[0], nil, nil, &answer); err != nil {
						return err
					}
					columns := []column{{"drivers", "drivers"}, {"rule_type_name", "type"}}
					return c.printer.one(columns, c.kind.rows([]object{answer.Type}, columns)[0])
				},
			}},
		},
	}
}

const ruleWords = "network qos rule"

// ruleDeclarations are the declarations of all rules that are below a policy.
var ruleDeclarations = sync.OnceValue(func() []*schema.Declaration {
	return slices.DeleteFunc(schema.All(), func(d *schema.Declaration) bool { return d.Below != schema.QoSPolicy.Path })
})

// ruleType is what a declaration is called as a type of rules: minimum-bandwidth.
func ruleType(d *schema.Declaration) string {
	return strings.ReplaceAll(strings.TrimSuffix(d.Name, "_rule"), "_", "-")
}

func ruleTypes() []string {
	var types []string
	for _, d := range ruleDeclarations() {
		types = append(types, ruleType(d))
	}
	return types
}

// ruleOptions are the options for the attributes of all types of rules.
func ruleOptions() []option {
	options := []option{
		{name: "ingress", attribute: "direction", sets: "ingress", help: "For packets that come in."},
		{name: "egress", attribute: "direction", sets: "egress", help: "For packets that go out (default)."},
		{name: "any", attribute: "direction", sets: "any", help: "For both, where the type has that."},
		{name: "max-burst-kbits", attribute: "max_burst_kbps"},
	}
	for _, d := range ruleDeclarations() {
		for _, a := range d.Attributes {
			i := slices.IndexFunc(options, func(o option) bool { return o.attribute == a.Name })
			if i < 0 && a.Is(schema.Put) {
				options = append(options, option{attribute: a.Name})
				i = len(options) - 1
			}
			if i >= 0 {
				options[i].completeFrom(a)
				options[i].required = 0 // which are depends on the type, and the service says it
			}
		}
	}
	return options
}

func createRule(c *call) error {
	for _, d := range ruleDeclarations() {
		if ruleType(d) != c.text("type") {
			continue
		}
		policy, err := c.find("policy", c.args[0])
		if err != nil {
			return err
		}
		path := d.Below + "/" + policy + d.Path
		return c.sendRule(http.MethodPost, d, path, object{d.Name: c.body})
	}
	return fmt.Errorf("--type must be one of %s", strings.Join(ruleTypes(), ", "))
}

// sendRule sends a request that answers a rule, and shows it.
func (c *call) sendRule(method string, d *schema.Declaration, path string, body any) error {
	var answer map[string]object
	if err := c.api.do(c.ctx, method, path, nil, body, &answer); err != nil {
		return err
	}
	columns := []column{{"id", "id"}, {"name", ""}}
	for _, a := range d.Attributes {
		if a.Is(schema.Put) {
			columns = append(columns, column{a.Name, a.Name})
		}
	}
	slices.SortFunc(columns, func(a, b column) int { return strings.Compare(a.title, b.title) })
	return c.printer.one(columns, c.kind.rows([]object{answer[d.Name]}, columns)[0])
}

// rules are the rules of the policy that the first argument names.
func (c *call) rules() (policy string, rules []object, err error) {
	found, err := c.api.find(c.ctx, c.registry.byName["policy"], "", c.args[0])
	if err != nil {
		return "", nil, err
	}
	items, _ := found["rules"].([]any)
	for _, item := range items {
		if rule, ok := item.(object); ok {
			rules = append(rules, rule)
		}
	}
	return fmt.Sprint(found["id"]), rules, nil
}

// rule is the declaration and the path of the rule that the arguments name: its policy and its id.
func (c *call) rule() (*schema.Declaration, string, error) {
	policy, rules, err := c.rules()
	if err != nil {
		return nil, "", err
	}
	for _, r := range rules {
		for _, d := range ruleDeclarations() {
			if r["id"] == c.args[1] && fmt.Sprint(r["type"])+"_rule" == d.Name {
				return d, d.Below + "/" + policy + d.Path + "/" + c.args[1], nil
			}
		}
	}
	return nil, "", fmt.Errorf("the QoS policy %q has no rule %q", c.args[0], c.args[1])
}

func listRules(c *call) error {
	_, rules, err := c.rules()
	if err != nil {
		return err
	}
	columns := []column{
		{"ID", "id"}, {"QoS Policy ID", "qos_policy_id"}, {"Type", "type"}, {"Max Kbps", "max_kbps"},
		{"Max Burst Kbits", "max_burst_kbps"},
		{"Min Kbps", "min_kbps"}, {"Min Kpps", "min_kpps"}, {"DSCP mark", "dscp_mark"}, {"Direction", "direction"},
	}
	rows := c.kind.rows(rules, columns)
	for _, row := range rows {
		for i, v := range row {
			if v == nil {
				row[i] = "" // not one of its attributes
			}
		}
	}
	return c.printer.list(columns, rows)
}
