package schema

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

func firewallGroupMeta(g *model.FirewallGroup) *model.Meta   { return &g.Meta }
func firewallPolicyMeta(p *model.FirewallPolicy) *model.Meta { return &p.Meta }

// The bounds of lists. A policy cannot have more rules than a chain of a host's filter should have, and with the default
// quota a project has a hundred.
const (
	maxFirewallPorts = 10000
	// MaxFirewallRules is the most rules that a firewall policy may have.
	MaxFirewallRules = 1000
)

// firewallAlias brings all resources of firewalls.
const firewallAlias = "fwaas_v2"

// FirewallGroup declares the firewall groups of the API.
var FirewallGroup = (&Resource[model.FirewallGroup]{
	Name: "firewall_group", Plural: "firewall_groups", Kind: "FirewallGroup", Path: "/fwaas/firewall_groups",
	Extension:  firewallAlias,
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Quota:      "firewall_group",
	Virtual: tagFilters(firewallGroupMeta, map[string]func(*model.FirewallGroup, string) bool{
		"ports": func(g *model.FirewallGroup, id string) bool { return slices.Contains(g.PortIDs, id) },
	}),
	Attributes: slices.Concat(
		nameAs(identity(firewallGroupMeta), unreserved("Firewall Group", model.DefaultFirewallGroup),
			func(g *model.FirewallGroup) *string { return &g.Name }),
		[]*Attribute[model.FirewallGroup]{
			attribute("admin_state_up", Post|Put|shows, boolean(), func(g *model.FirewallGroup) *bool { return &g.AdminStateUp },
				byDefault(true), help("Whether its policies are in force; else nothing passes its ports.")),
			attribute("ingress_firewall_policy_id", Post|Put|shows, nullable(id()),
				func(g *model.FirewallGroup) *string { return &g.IngressPolicyID },
				help("The policy of what goes to its ports.")),
			attribute("egress_firewall_policy_id", Post|Put|shows, nullable(id()),
				func(g *model.FirewallGroup) *string { return &g.EgressPolicyID },
				help("The policy of what comes from its ports.")),
			attribute("ports", Post|Put, list(maxFirewallPorts, id()),
				func(g *model.FirewallGroup) *[]string { return &g.PortIDs },
				help("Its ports: interfaces of routers, and ports of servers.")),
			attribute("shared", Post|Put|shows, boolean(), func(g *model.FirewallGroup) *bool { return &g.Shared },
				byDefault(false), enforced, help("Whether all projects may see it.")),
			computed("status", shows, text(16), func(g *model.FirewallGroup) string { return string(g.View.Status) },
				help("ACTIVE when all hosts of its ports have said that it is in force there.")),
			computed("status_reason", 0, nullable(text(1024)), func(g *model.FirewallGroup) string { return g.View.Reason },
				extension("fwaas-status-reason"), help("Why it is not ACTIVE, where something is amiss.")),
		},
		standard(firewallGroupMeta),
	),
}).ready()

// FirewallPolicy declares the firewall policies of the API.
var FirewallPolicy = (&Resource[model.FirewallPolicy]{
	Name: "firewall_policy", Plural: "firewall_policies", Kind: "FirewallPolicy", Path: "/fwaas/firewall_policies",
	Extension:  firewallAlias,
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    firewallPolicyActions,
	Tagged:     true,
	Quota:      "firewall_policy",
	Virtual: tagFilters(firewallPolicyMeta, map[string]func(*model.FirewallPolicy, string) bool{
		"firewall_rules": func(p *model.FirewallPolicy, id string) bool { return slices.Contains(p.RuleIDs, id) },
	}),
	Attributes: slices.Concat(
		nameAs(identity(firewallPolicyMeta),
			unreserved("Firewall Policy", model.DefaultIngressFirewall, model.DefaultEgressFirewall),
			func(p *model.FirewallPolicy) *string { return &p.Name }),
		[]*Attribute[model.FirewallPolicy]{
			attribute("firewall_rules", Post|Put, list(MaxFirewallRules, id()),
				func(p *model.FirewallPolicy) *[]string { return &p.RuleIDs },
				help("Its rules, in order: the first that matches decides, and what none matches is dropped.")),
			attribute("audited", Post|Put|shows, boolean(), func(p *model.FirewallPolicy) *bool { return &p.Audited },
				byDefault(false), help("Whether somebody has looked at it since it was changed last.")),
			attribute("shared", Post|Put|shows, boolean(), func(p *model.FirewallPolicy) *bool { return &p.Shared },
				byDefault(false), enforced, help("Whether all projects may use it.")),
		},
		standard(firewallPolicyMeta),
	),
}).ready()

// unreserved is any name but those of the objects that projects have from the start.
func unreserved(resource string, names ...string) codec[string] {
	c := text(255)
	parse := c.parse
	c.parse = func(raw any) (string, error) {
		name, err := parse(raw)
		if err == nil && slices.Contains(names, name) {
			err = fault.New(fault.Conflict, "FirewallDefaultParameterExists",
				"Operation cannot be performed since '%s' is a reserved name for %s.", name, resource)
		}
		return name, err
	}
	return c
}

// The body of the actions on the rules of a policy.
var ruleToInsert = anObject(must("firewall_rule_id", id().shape), may("insert_before", aText.orNull()),
	may("insert_after", aText.orNull()))

var firewallPolicyActions = []Action{
	{
		Name: "insert_rule", Body: &ruleToInsert, Shows: "firewall_policy", Bare: true,
		Help: "Puts a rule before or after another one, or first of all.",
	},
	{
		Name: "remove_rule", Body: one("firewall_rule_id", id().shape), Shows: "firewall_policy", Bare: true,
		Help: "Takes a rule out of it.",
	},
}
