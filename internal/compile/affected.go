package compile

import (
	"iter"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// HostKey names a document in the view of a host. An empty Key stands for the whole view of the host.
type HostKey struct{ Host, Key string }

// Affected returns the documents that the commit may have changed, each once, in no particular order.
//
// The net change counts: the state before the commit against the state after it, for each object changed. What no
// document shows (a name, a port's status) affects nothing. The cost follows the hosts concerned: a port costs one
// lookup a host of its network, and one a host with rules that refer to one of its security groups; only a host that
// joins or leaves a network, gets or loses a set of addresses, and a DHCP server that comes or goes, cost one a port of
// it.
func (c *Compiler) Affected(commit *state.Commit) []HostKey {
	a := &affected{
		before: commit.Before, after: commit.Snapshot,
		keys: map[HostKey]struct{}{}, checked: map[HostKey]bool{}, wanting: map[string]map[string]bool{},
	}
	seen := make(map[[2]string]bool, len(commit.Changes))
	for _, ch := range commit.Changes {
		if id := [2]string{ch.Kind, ch.ID}; !seen[id] {
			seen[id] = true
			a.change(ch.Kind, ch.ID)
		}
	}
	keys := make([]HostKey, 0, len(a.keys))
	for k := range a.keys {
		keys = append(keys, k)
	}
	return keys
}

// affected gathers the keys of one commit.
type affected struct {
	before, after *state.Snapshot
	keys          map[HostKey]struct{}
	// checked holds what of which host has been compared: its attachment to a network, whether it has a security group,
	// whether it wants a set.
	checked map[HostKey]bool
	// wanting caches hostsOf.
	wanting map[string]map[string]bool
}

func (a *affected) add(host, kind, id string) { a.keys[HostKey{host, kind + "/" + id}] = struct{}{} }

func (a *affected) everything(host string) { a.keys[HostKey{Host: host}] = struct{}{} }

// change looks at one object. Kinds that no document shows are not named here.
func (a *affected) change(kind, id string) {
	switch kind {
	case state.Ports.Kind():
		netChange(a, state.Ports, id, a.port)
	case state.Networks.Kind():
		netChange(a, state.Networks, id, a.network)
	case state.Subnets.Kind():
		netChange(a, state.Subnets, id, a.subnet)
	case state.Agents.Kind():
		netChange(a, state.Agents, id, a.agent)
	case state.DHCPBindings.Kind():
		netChange(a, state.DHCPBindings, id, a.dhcpBinding)
	case state.SecurityGroups.Kind():
		netChange(a, state.SecurityGroups, id, a.securityGroup)
	case state.SecurityGroupRules.Kind():
		netChange(a, state.SecurityGroupRules, id, a.securityGroupRule)
	case state.Logs.Kind():
		netChange(a, state.Logs, id, a.log)
	case state.AddressGroups.Kind():
		netChange(a, state.AddressGroups, id, a.addressGroup)
	case state.Routers.Kind():
		netChange(a, state.Routers, id, a.routerChange)
	case state.DistributedBindings.Kind():
		netChange(a, state.DistributedBindings, id, a.distributedBinding)
	case state.FloatingIPs.Kind():
		netChange(a, state.FloatingIPs, id, a.floatingIP)
	case state.PortForwardings.Kind():
		netChange(a, state.PortForwardings, id, a.portForwarding)
	case state.ConntrackHelpers.Kind():
		netChange(a, state.ConntrackHelpers, id, a.conntrackHelper)
	case state.NDPProxies.Kind():
		netChange(a, state.NDPProxies, id, a.ndpProxy)
	case state.SubnetPools.Kind():
		netChange(a, state.SubnetPools, id, a.subnetPool)
	case state.GatewayGroups.Kind():
		netChange(a, state.GatewayGroups, id, a.gatewayGroup)
	case state.FirewallGroups.Kind():
		netChange(a, state.FirewallGroups, id, a.firewallGroupChange)
	case state.FirewallPolicies.Kind():
		netChange(a, state.FirewallPolicies, id, a.firewallPolicy)
	case state.FirewallRules.Kind():
		netChange(a, state.FirewallRules, id, a.firewallRule)
	}
}

// netChange calls look with the object before and after the commit: at most one of them is nil. What was made and
// deleted within the commit is passed over.
func netChange[T any](a *affected, t *state.Table[T], id string, look func(old, now *T)) {
	old, had := t.Get(a.before, id)
	now, has := t.Get(a.after, id)
	if had || has {
		look(old, now)
	}
}

func (a *affected) port(old, now *model.Port) {
	if old != nil && now != nil && samePort(old, now) {
		return
	}
	a.portIn(a.before, old)
	a.portIn(a.after, now)
	a.portFilters(old, now)
	a.logsOfPort(old, now)
	a.leg(present(old, now).ID)
	a.floatingIPsOf(present(old, now).ID)
	a.firewallPort(present(old, now).ID)
}

// samePort compares what documents show of a port.
func samePort(a, b *model.Port) bool {
	return a.NetworkID == b.NetworkID && a.MAC == b.MAC && a.AdminStateUp == b.AdminStateUp &&
		a.DeviceOwner == b.DeviceOwner && a.DNSName == b.DNSName &&
		a.Binding.Bound() == b.Binding.Bound() && a.Binding.Host == b.Binding.Host &&
		a.Binding.GatewayGroup == b.Binding.GatewayGroup &&
		a.Binding.SegmentID == b.Binding.SegmentID && a.BindingGeneration == b.BindingGeneration &&
		a.PortSecurityEnabled == b.PortSecurityEnabled && sameMember(a, b)
}

// portIn adds the documents that show the port in the state r, which is before or after.
func (a *affected) portIn(r state.Reader, p *model.Port) {
	if p == nil {
		return
	}
	hosts := state.PortHosts(r, p)
	for _, host := range hosts {
		a.add(host, kindPort, p.ID)
		a.attachment(host, p.NetworkID)
	}
	if id := p.Binding.Group(); id != "" {
		a.groupHosts(id)
	}
	if len(hosts) > 0 && tunnelled(r, p.NetworkID) {
		for host := range networkHosts(r, p.NetworkID) {
			a.add(host, kindNeighbour, p.ID)
		}
	}
	a.distributedPort(r, p.ID)
	for b := range state.DHCPBindingsByNetwork.List(r, p.NetworkID) {
		a.add(b.Host, kindDHCPHost, p.ID)
		if b.PortID == p.ID {
			a.add(b.Host, kindDHCPNetwork, b.NetworkID)
		}
	}
}

// tunnelled says whether any segment of the network is a tunnel.
func tunnelled(r state.Reader, networkID string) bool {
	n, ok := state.Networks.Get(r, networkID)
	return ok && slices.ContainsFunc(n.Segments, func(s model.Segment) bool { return s.NetworkType.Tunnel() })
}

// attachment looks whether the host has joined or left the network, or reaches it through another segment than before.
// Then it gets, or loses, all neighbours there; and the others get, or lose, its ports.
func (a *affected) attachment(host, networkID string) {
	pair := HostKey{host, networkID}
	if a.checked[pair] {
		return
	}
	a.checked[pair] = true
	old, had := hostSegment(a.before, networkID, host)
	now, has := hostSegment(a.after, networkID, host)
	if had == has && old == now {
		return
	}
	a.add(host, kindSegment, networkID)
	a.firewallsAt(host, networkID)
	for _, r := range []state.Reader{a.before, a.after} {
		if !tunnelled(r, networkID) {
			continue
		}
		for p := range state.PortsByNetwork.List(r, networkID) {
			if seenFrom(p, host) {
				a.add(host, kindNeighbour, p.ID)
			}
		}
		for b := range state.DistributedBindingsByNetwork.List(r, networkID) {
			a.add(host, kindNeighbour, b.ID)
		}
		a.seenByOthers(r, host, networkID)
	}
}

// seenByOthers adds the host's ports on the network as neighbours of the network's other hosts.
func (a *affected) seenByOthers(r state.Reader, host, networkID string) {
	for other := range networkHosts(r, networkID) {
		if other == host {
			continue
		}
		for p := range networkHostPorts(r, networkID, host) {
			a.add(other, kindNeighbour, p.ID)
		}
		for b := range state.DistributedBindingsByNetworkHost.List(r, networkID+"/"+host) {
			a.add(other, kindNeighbour, b.ID)
		}
	}
}

func (a *affected) network(old, now *model.Network) {
	id := present(old, now).ID
	exists := old != nil && now != nil
	if !exists || !slices.Equal(old.Segments, now.Segments) {
		// Rare, and it may change every neighbour of every host: the hosts' views are taken anew.
		for host := range networkHosts(a.after, id) {
			a.everything(host)
		}
	}
	if !exists || old.MTU != now.MTU {
		for p := range state.PortsByNetwork.List(a.after, id) {
			a.leg(p.ID)
			a.distributedPort(a.after, p.ID)
			for _, host := range state.PortHosts(a.after, p) {
				a.add(host, kindPort, p.ID)
			}
		}
		for host := range networkHosts(a.after, id) {
			a.add(host, kindSegment, id)
		}
	}
	if !exists || old.MTU != now.MTU || old.DNSDomain != now.DNSDomain {
		a.dhcpNetworks(id)
	}
}

// dhcpNetworks adds the DHCP service of the network on each host that gives it.
func (a *affected) dhcpNetworks(networkID string) {
	for b := range state.DHCPBindingsByNetwork.List(a.after, networkID) {
		a.add(b.Host, kindDHCPNetwork, networkID)
	}
}

func (a *affected) subnet(old, now *model.Subnet) {
	a.legsOfSubnet(old, now)
	for _, s := range []*model.Subnet{old, now} {
		if s != nil {
			a.localGateways(s.NetworkID)
		}
	}
	exists := old != nil && now != nil
	s := present(old, now)
	moved := exists && old.NetworkID != now.NetworkID
	portsChange := !exists || old.CIDR != now.CIDR || old.GatewayIP != now.GatewayIP
	hostsChange := !exists || handsOut(old) != handsOut(now)
	if portsChange || moved {
		for _, s := range []*model.Subnet{old, now} {
			if s != nil {
				a.firewallsOf(s.NetworkID)
			}
		}
	}
	if portsChange || hostsChange {
		// Ports that came, went or changed in the same commit are looked at by themselves.
		for p := range subnetPorts(a.after, s.ID) {
			if portsChange {
				a.distributedPort(a.after, p.ID)
				for _, host := range state.PortHosts(a.after, p) {
					a.add(host, kindPort, p.ID)
				}
			}
			if !hostsChange {
				continue
			}
			for b := range state.DHCPBindingsByNetwork.List(a.after, p.NetworkID) {
				a.add(b.Host, kindDHCPHost, p.ID)
			}
		}
	}
	if portsChange || hostsChange || moved || !slices.Equal(old.DNSNameservers, now.DNSNameservers) ||
		!slices.Equal(old.HostRoutes, now.HostRoutes) {
		a.dhcpNetworks(s.NetworkID)
		if old != nil {
			a.dhcpNetworks(old.NetworkID)
		}
	}
}

// subnetPorts iterates over the ports with an address in the subnet, once for each address.
func subnetPorts(r state.Reader, subnetID string) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		prefix := subnetID + "/"
		for key, p := range state.PortsByIP.From(r, prefix) {
			if !strings.HasPrefix(key, prefix) || !yield(p) {
				return
			}
		}
	}
}

func (a *affected) agent(old, now *model.Agent) {
	for _, agent := range []*model.Agent{old, now} {
		if agent == nil || tunnelIP(a.before, agent.Host) == tunnelIP(a.after, agent.Host) {
			continue
		}
		networks := map[string]bool{}
		for p := range state.HostPorts(a.after, agent.Host) {
			networks[p.NetworkID] = true
		}
		for b := range state.DistributedBindingsByHost.List(a.after, agent.Host) {
			networks[b.NetworkID] = true
		}
		for id := range networks {
			a.seenByOthers(a.after, agent.Host, id)
		}
		for g := range state.GatewayGroupsByHost.List(a.after, agent.Host) {
			a.groupHosts(g.ID)
		}
	}
}

func (a *affected) dhcpBinding(old, now *model.DHCPBinding) {
	b := present(old, now)
	a.add(b.Host, kindDHCPNetwork, b.NetworkID)
	if old != nil && now != nil {
		a.add(b.Host, kindDHCPHost, old.PortID)
		a.add(b.Host, kindDHCPHost, now.PortID)
		return
	}
	for p := range state.PortsByNetwork.List(a.after, b.NetworkID) {
		a.add(b.Host, kindDHCPHost, p.ID)
	}
}

// present returns the object as it is, or as it was.
func present[T any](old, now *T) *T {
	if now != nil {
		return now
	}
	return old
}
