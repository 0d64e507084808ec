package state

import "github.com/neutrino-net/neutrino/internal/model"

// The tables of firewalls.
var (
	FirewallGroups          = newTable[model.FirewallGroup]("firewall-group")
	FirewallGroupsByProject = newIndex(FirewallGroups, func(g *model.FirewallGroup) []string { return []string{g.ProjectID} })
	FirewallGroupsByName    = newIndex(FirewallGroups, func(g *model.FirewallGroup) []string { return []string{g.Name} })
	// FirewallGroupsDefault finds the default group of a project.
	FirewallGroupsDefault = newIndex(FirewallGroups, func(g *model.FirewallGroup) []string {
		if !g.Default {
			return nil
		}
		return []string{g.ProjectID}
	})
	FirewallGroupsShared   = newIndex(FirewallGroups, func(g *model.FirewallGroup) []string { return sharedKey(g.Shared) })
	FirewallGroupsByPort   = newIndex(FirewallGroups, func(g *model.FirewallGroup) []string { return g.PortIDs })
	FirewallGroupsByPolicy = newIndex(FirewallGroups, func(g *model.FirewallGroup) []string {
		if g.IngressPolicyID == g.EgressPolicyID {
			return optional(g.IngressPolicyID)
		}
		return append(optional(g.IngressPolicyID), optional(g.EgressPolicyID)...)
	})

	FirewallPolicies          = newTable[model.FirewallPolicy]("firewall-policy")
	FirewallPoliciesByProject = newIndex(FirewallPolicies, func(p *model.FirewallPolicy) []string { return []string{p.ProjectID} })
	FirewallPoliciesByName    = newIndex(FirewallPolicies, func(p *model.FirewallPolicy) []string { return []string{p.Name} })
	FirewallPoliciesShared    = newIndex(FirewallPolicies, func(p *model.FirewallPolicy) []string { return sharedKey(p.Shared) })
	FirewallPoliciesByRule    = newIndex(FirewallPolicies, func(p *model.FirewallPolicy) []string { return p.RuleIDs })

	FirewallRules          = newTable[model.FirewallRule]("firewall-rule")
	FirewallRulesByProject = newIndex(FirewallRules, func(r *model.FirewallRule) []string { return []string{r.ProjectID} })
	FirewallRulesByName    = newIndex(FirewallRules, func(r *model.FirewallRule) []string { return []string{r.Name} })
	FirewallRulesShared    = newIndex(FirewallRules, func(r *model.FirewallRule) []string { return sharedKey(r.Shared) })

	FirewallReports        = newTable[model.FirewallReport]("firewall-report")
	FirewallReportsByGroup = newIndex(FirewallReports, func(r *model.FirewallReport) []string { return []string{r.GroupID} })
)

// SharedKey is the key under which indexes find what all projects may see.
const SharedKey = "shared"

func sharedKey(shared bool) []string {
	if !shared {
		return nil
	}
	return []string{SharedKey}
}
