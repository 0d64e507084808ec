package compile

import (
	"cmp"
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

// routed says whether the port is the interface of a distributed router, and the host is on its network. Where nobody has
// such an interface, nobody is routed by it.
func routed(r state.Reader, p *model.Port, host string) bool {
	if p.DeviceOwner != model.DeviceOwnerRouterInterfaceDistributed {
		return false
	}
	for b := range state.DistributedBindingsByPort.List(r, p.ID) {
		if b.NetworkID == p.NetworkID {
			_, on := hostSegment(r, p.NetworkID, host)
			return on
		}
	}
	return false
}

// routedNetwork is what a host needs to know the frames by that the interface of a distributed router forwards.
func routedNetwork(r state.Reader, p *model.Port) *sb.RoutedNetwork {
	doc := &sb.RoutedNetwork{PortId: p.ID, NetworkId: p.NetworkID}
	ports := []*model.Port{p}
	for router := range state.RoutersByLeg.List(r, p.ID) {
		if central, ok := state.Ports.Get(r, router.SNATPort(p.ID)); ok && central.ID != p.ID {
			ports = append(ports, central)
		}
	}
	for _, p := range ports {
		doc.Macs = append(doc.Macs, p.MAC)
		for _, f := range p.FixedIPs {
			doc.Ips = append(doc.Ips, f.IP.String())
		}
	}
	for b := range state.DistributedBindingsByNetwork.List(r, p.NetworkID) {
		if b.PortID != p.ID {
			doc.OtherMacs = append(doc.OtherMacs, b.TunnelMAC())
		}
	}
	for s := range state.SubnetsByNetwork.List(r, p.NetworkID) {
		doc.Blocks = append(doc.Blocks, s.CIDR.Masked().String())
	}
	for _, list := range [][]string{doc.Macs, doc.OtherMacs, doc.Ips, doc.Blocks} {
		slices.Sort(list)
	}
	return doc
}

// firewallPortHosts are the hosts that filter for a port in a group.
func firewallPortHosts(r state.Reader, p *model.Port) []string {
	hosts := slices.Clone(state.PortHosts(r, p))
	if p.DeviceOwner == model.DeviceOwnerRouterInterfaceDistributed {
		for host := range networkHosts(r, p.NetworkID) {
			if routed(r, p, host) {
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}

// routedInterfaces iterates over the interfaces that distributed routers have on the network of hosts, each once.
func routedInterfaces(r state.Reader, networkID string) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for b := range state.DistributedBindingsByNetwork.List(r, networkID) {
			if seen[b.PortID] {
				continue
			}
			seen[b.PortID] = true
			if !yield(b.PortID) {
				return
			}
		}
	}
}

// firewallGroup: ports of the host are in the group, or interfaces of distributed routers on its networks.
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
		if routed(r, p, host) {
			doc.Routed = append(doc.Routed, routedNetwork(r, p))
		}
	}
	if len(doc.Ports)+len(doc.Routed) == 0 {
		return nil
	}
	slices.Sort(doc.Ports)
	slices.SortFunc(doc.Routed, func(a, b *sb.RoutedNetwork) int { return cmp.Compare(a.PortId, b.PortId) })
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

// firewallKeys yields the keys of the groups that the host's ports are in, or interfaces of distributed routers on its
// networks. It returns false when yield does.
func firewallKeys(r state.Reader, host string, yield func(string) bool) bool {
	seen, networks := map[string]bool{}, map[string]bool{}
	groups := func(portID string) bool {
		for g := range state.FirewallGroupsByPort.List(r, portID) {
			if seen[g.ID] {
				continue
			}
			seen[g.ID] = true
			if !yield(kindFirewallGroup + "/" + g.ID) {
				return false
			}
		}
		return true
	}
	for p := range state.HostPorts(r, host) {
		networks[p.NetworkID] = true
		if !groups(p.ID) {
			return false
		}
	}
	for b := range state.DistributedBindingsByHost.List(r, host) {
		networks[b.NetworkID] = true
	}
	for id := range networks {
		for portID := range routedInterfaces(r, id) {
			if !groups(portID) {
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
		of := firewallPortHosts(r, p)
		for _, host := range of {
			all[host] = true
		}
		if len(of) == 0 && p.DeviceOwner != model.DeviceOwnerRouterInterfaceDistributed { // which has nothing to forward
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
			for _, host := range firewallPortHosts(r, p) {
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

// firewallsOf adds the groups that have a say in what distributed routers forward from the network and to it.
func (a *affected) firewallsOf(networkID string) {
	for _, r := range []state.Reader{a.before, a.after} {
		for portID := range routedInterfaces(r, networkID) {
			a.firewallPort(portID)
		}
	}
}

// firewallsAt does so on one host, which has joined the network or left it.
func (a *affected) firewallsAt(host, networkID string) {
	for _, r := range []state.Reader{a.before, a.after} {
		for portID := range routedInterfaces(r, networkID) {
			for g := range state.FirewallGroupsByPort.List(r, portID) {
				a.add(host, kindFirewallGroup, g.ID)
			}
		}
	}
}
