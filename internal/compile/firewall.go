package compile

import (
	"iter"
	"maps"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Firewall groups. A host has a document for each group that has a say in a port of it, with those ports, and the rules of
// both policies in order: once, however many ports there are.

const kindFirewallGroup = "firewall-group"

// firewallPorts iterates over the ports of the group that are there.
func firewallPorts(r state.Reader, g *model.FirewallGroup) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for _, id := range g.PortIDs {
			if p, ok := state.Ports.Get(r, id); ok && model.FirewallPort(p.DeviceOwner) && !yield(p) {
				return
			}
		}
	}
}

// firewallGroup: ports of the host are in the group.
func firewallGroup(r state.Reader, host, id string) *sb.FirewallGroup {
	g, ok := state.FirewallGroups.Get(r, id)
	if !ok || !g.Filters() {
		return nil
	}
	doc := &sb.FirewallGroup{GroupId: id, Closed: !g.AdminStateUp}
	for p := range firewallPorts(r, g) {
		if state.HasPort(r, p, host) {
			doc.Ports = append(doc.Ports, p.ID)
		}
	}
	if len(doc.Ports) == 0 {
		return nil
	}
	slices.Sort(doc.Ports)
	if !doc.Closed {
		doc.Ingress, doc.Egress = firewallRules(r, g.IngressPolicyID), firewallRules(r, g.EgressPolicyID)
	}
	return doc
}

// firewallRules are the rules of a policy that count, in order.
func firewallRules(r state.Reader, policyID string) (rules []*sb.FirewallRule) {
	p, ok := state.FirewallPolicies.Get(r, policyID)
	if !ok {
		return nil
	}
	for _, id := range p.RuleIDs {
		if rule, ok := state.FirewallRules.Get(r, id); ok && rule.Enabled {
			rules = append(rules, firewallRule(rule))
		}
	}
	return rules
}

// firewallActions are the actions of rules in documents. One that is not there is none, and the host says so.
var firewallActions = map[model.FirewallAction]sb.FirewallRule_Action{
	model.FirewallAllow: sb.FirewallRule_ACTION_ALLOW, model.FirewallDeny: sb.FirewallRule_ACTION_DENY,
	model.FirewallReject: sb.FirewallRule_ACTION_REJECT,
}

func firewallRule(rule *model.FirewallRule) *sb.FirewallRule {
	doc := &sb.FirewallRule{
		RuleId: rule.ID, IpVersion: unsigned(rule.IPVersion), Action: firewallActions[rule.Action],
		Source: firewallBlock(rule.Source), Destination: firewallBlock(rule.Destination),
		SourceFirst: unsigned(rule.SourcePorts.First), SourceLast: unsigned(rule.SourcePorts.Last),
		DestinationFirst: unsigned(rule.DestinationPorts.First), DestinationLast: unsigned(rule.DestinationPorts.Last),
	}
	if number, ok := model.ProtocolNumber(rule.Protocol); ok {
		doc.Protocol = ruleProtocol(unsigned(number), doc.IpVersion)
	}
	return doc
}

// firewallBlock is a block without host bits; empty: from or to everywhere.
func firewallBlock(a model.FirewallAddress) string {
	if !a.Prefix.IsValid() || a.Prefix.Bits() == 0 {
		return ""
	}
	return a.Prefix.Masked().String()
}

// firewallKeys yields the keys of the groups that the host's ports are in. It returns false when yield does.
func firewallKeys(r state.Reader, host string, yield func(string) bool) bool {
	seen := map[string]bool{}
	for p := range state.HostPorts(r, host) {
		for g := range state.FirewallGroupsByPort.List(r, p.ID) {
			if seen[g.ID] {
				continue
			}
			seen[g.ID] = true
			if !yield(kindFirewallGroup + "/" + g.ID) {
				return false
			}
		}
	}
	return true
}

// FirewallHosts returns the hosts that have ports of the group, in order, and the ports that are on none.
func (c *Compiler) FirewallHosts(r state.Reader, groupID string) (hosts, unplaced []string) {
	g, ok := state.FirewallGroups.Get(r, groupID)
	if !ok {
		return nil, nil
	}
	all := map[string]bool{}
	for p := range firewallPorts(r, g) {
		of := state.PortHosts(r, p)
		for _, host := range of {
			all[host] = true
		}
		if len(of) == 0 {
			unplaced = append(unplaced, p.ID)
		}
	}
	return slices.Sorted(maps.Keys(all)), unplaced
}

// firewallGroupChange adds the group on all hosts that it had or has.
func (a *affected) firewallGroupChange(old, now *model.FirewallGroup) {
	if old != nil && now != nil && old.AdminStateUp == now.AdminStateUp && old.IngressPolicyID == now.IngressPolicyID &&
		old.EgressPolicyID == now.EgressPolicyID && slices.Equal(old.PortIDs, now.PortIDs) {
		return
	}
	a.firewallGroup(present(old, now).ID)
}

func (a *affected) firewallGroup(id string) {
	once := HostKey{Key: kindFirewallGroup + "/" + id}
	if a.checked[once] {
		return
	}
	a.checked[once] = true
	for _, r := range []state.Reader{a.before, a.after} {
		g, ok := state.FirewallGroups.Get(r, id)
		if !ok {
			continue
		}
		for p := range firewallPorts(r, g) {
			for _, host := range state.PortHosts(r, p) {
				a.add(host, kindFirewallGroup, id)
			}
		}
	}
}

func (a *affected) firewallPolicy(old, now *model.FirewallPolicy) {
	if old != nil && now != nil && slices.Equal(old.RuleIDs, now.RuleIDs) {
		return
	}
	for g := range state.FirewallGroupsByPolicy.List(a.after, present(old, now).ID) {
		a.firewallGroup(g.ID)
	}
}

func (a *affected) firewallRule(old, now *model.FirewallRule) {
	if old != nil && now != nil && sameFirewallRule(old, now) {
		return
	}
	for p := range state.FirewallPoliciesByRule.List(a.after, present(old, now).ID) {
		for g := range state.FirewallGroupsByPolicy.List(a.after, p.ID) {
			a.firewallGroup(g.ID)
		}
	}
}

// sameFirewallRule compares what documents show of a rule.
func sameFirewallRule(a, b *model.FirewallRule) bool {
	return a.Enabled == b.Enabled && a.Protocol == b.Protocol && a.IPVersion == b.IPVersion && a.Source == b.Source &&
		a.Destination == b.Destination && a.SourcePorts == b.SourcePorts && a.DestinationPorts == b.DestinationPorts &&
		a.Action == b.Action
}

// firewallPort adds the groups that the port is or was in.
func (a *affected) firewallPort(id string) {
	for _, r := range []state.Reader{a.before, a.after} {
		for g := range state.FirewallGroupsByPort.List(r, id) {
			a.firewallGroup(g.ID)
		}
	}
}
