package state

import "github.com/neutrino-net/neutrino/internal/model"

// The tables of security groups, their rules, and address groups.
var (
	SecurityGroups          = newTable[model.SecurityGroup]("security-group")
	SecurityGroupsByProject = newIndex(SecurityGroups, func(g *model.SecurityGroup) []string { return []string{g.ProjectID} })
	SecurityGroupsByName    = newIndex(SecurityGroups, func(g *model.SecurityGroup) []string { return []string{g.Name} })
	// SecurityGroupsDefault finds the default group of a project.
	SecurityGroupsDefault = newIndex(SecurityGroups, func(g *model.SecurityGroup) []string {
		if !g.Default {
			return nil
		}
		return []string{g.ProjectID}
	})

	SecurityGroupRules        = newTable[model.SecurityGroupRule]("security-group-rule")
	SecurityGroupRulesByGroup = newIndex(SecurityGroupRules, func(r *model.SecurityGroupRule) []string {
		return []string{r.GroupID}
	})
	SecurityGroupRulesByProject = newIndex(SecurityGroupRules, func(r *model.SecurityGroupRule) []string {
		return []string{r.ProjectID}
	})
	// SecurityGroupRulesByMatch finds a rule of a group that says the same: the key is RuleKey.
	SecurityGroupRulesByMatch = newIndex(SecurityGroupRules, func(r *model.SecurityGroupRule) []string {
		return []string{RuleKey(r)}
	})
	// SecurityGroupRulesByRemoteGroup finds the rules of any group that refer to a security group as the other end.
	SecurityGroupRulesByRemoteGroup = newIndex(SecurityGroupRules, func(r *model.SecurityGroupRule) []string {
		return optional(r.RemoteGroupID)
	})
	// SecurityGroupRulesByAddressGroup finds the rules that refer to an address group.
	SecurityGroupRulesByAddressGroup = newIndex(SecurityGroupRules, func(r *model.SecurityGroupRule) []string {
		return optional(r.RemoteAddressGroupID)
	})

	// SecurityGroupRulesByRemoteSet finds the rules that refer to a set of addresses, by the groups that they belong to:
	// "<set>/<security group id>".
	SecurityGroupRulesByRemoteSet = newIndex(SecurityGroupRules, func(r *model.SecurityGroupRule) []string {
		set := r.RemoteSet()
		if set == "" {
			return nil
		}
		return []string{set + "/" + r.GroupID}
	})

	AddressGroups          = newTable[model.AddressGroup]("address-group")
	AddressGroupsByProject = newIndex(AddressGroups, func(g *model.AddressGroup) []string { return []string{g.ProjectID} })
	AddressGroupsByName    = newIndex(AddressGroups, func(g *model.AddressGroup) []string { return []string{g.Name} })

	// PortsBySecurityGroup finds the ports that have a security group.
	PortsBySecurityGroup = newIndex(Ports, func(p *model.Port) []string { return p.SecurityGroupIDs })
	// PortsBySecurityGroupHost finds the filtered ports that have a security group and are bound to a host: "<security
	// group id>/<host>".
	PortsBySecurityGroupHost = newIndex(Ports, func(p *model.Port) []string {
		if !p.Binding.Bound() || !p.Filtered() {
			return nil
		}
		keys := make([]string, len(p.SecurityGroupIDs))
		for i, id := range p.SecurityGroupIDs {
			keys[i] = id + "/" + p.Binding.Host
		}
		return keys
	})
	// FilteredPortsByProjectHost finds the filtered ports of a project that are bound to a host: "<project id>/<host>".
	FilteredPortsByProjectHost = newIndex(Ports, func(p *model.Port) []string {
		if !p.Binding.Bound() || !p.Filtered() {
			return nil
		}
		return []string{p.ProjectID + "/" + p.Binding.Host}
	})
)

// RuleKey identifies what a rule says among all rules.
func RuleKey(r *model.SecurityGroupRule) string { return r.GroupID + "/" + r.Match() }
