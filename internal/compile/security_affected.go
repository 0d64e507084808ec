package compile

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// What changes of ports, groups, rules and address groups do to the documents of security groups. Three things can
// happen to a host: a group or a set that it has changes in itself, it gets or loses a group, it gets or loses a set.
// The first costs one key a host that has it; the others, one key for each member, on that host only.

// portFilters looks at what a change of a port does to groups and sets.
func (a *affected) portFilters(old, now *model.Port) {
	a.hostGroups(old)
	a.hostGroups(now)
	if old != nil && now != nil && sameMember(old, now) {
		return
	}
	groups := map[string]bool{}
	for _, p := range []*model.Port{old, now} {
		if p == nil || len(p.FixedIPs) == 0 {
			continue
		}
		for _, id := range p.SecurityGroupIDs {
			groups[id] = true
		}
	}
	for id := range groups {
		a.member(model.GroupSet(id), present(old, now).ID)
	}
}

// sameMember compares what a port brings into sets.
func sameMember(a, b *model.Port) bool {
	return slices.Equal(a.SecurityGroupIDs, b.SecurityGroupIDs) && slices.Equal(a.FixedIPs, b.FixedIPs) &&
		slices.Equal(a.AllowedAddressPairs, b.AllowedAddressPairs)
}

// hostGroups looks whether the port, as it is or was, has brought groups to its host or taken them away.
func (a *affected) hostGroups(p *model.Port) {
	if p == nil || !p.Binding.Bound() || !p.Filtered() {
		return
	}
	host := p.Binding.Host
	for _, id := range p.SecurityGroupIDs {
		key := HostKey{host, kindSecurityGroup + "/" + id}
		if a.checked[key] {
			continue
		}
		a.checked[key] = true
		if hostHasGroup(a.before, host, id) == hostHasGroup(a.after, host, id) {
			continue
		}
		a.add(host, kindSecurityGroup, id)
		a.hostSets(host, id)
	}
}

// hostSets looks at each set that the rules of the group refer to, or did, whether the host has begun or ceased to want
// it.
func (a *affected) hostSets(host, groupID string) {
	for _, r := range []state.Reader{a.before, a.after} {
		for set := range groupSets(r, groupID) {
			a.hostSet(host, set)
		}
	}
}

func (a *affected) hostSet(host, set string) {
	key := HostKey{host, kindSetMember + "/" + set}
	if a.checked[key] {
		return
	}
	a.checked[key] = true
	if hostWantsSet(a.before, host, set) == hostWantsSet(a.after, host, set) {
		return
	}
	for _, r := range []state.Reader{a.before, a.after} {
		for member := range setMembers(r, set) {
			a.add(host, kindSetMember, set+"/"+member)
		}
	}
}

// member adds a member of a set on all hosts that want, or wanted, the set.
func (a *affected) member(set, member string) {
	for host := range a.hostsOf(set) {
		a.add(host, kindSetMember, set+"/"+member)
	}
}

// hostsOf are the hosts that want, or wanted, the set. A commit often changes many members of one.
func (a *affected) hostsOf(set string) map[string]bool {
	hosts, known := a.wanting[set]
	if known {
		return hosts
	}
	hosts = setHosts(a.before, set)
	for host := range setHosts(a.after, set) {
		hosts[host] = true
	}
	a.wanting[set] = hosts
	return hosts
}

func (a *affected) securityGroup(old, now *model.SecurityGroup) {
	if old == nil || now == nil {
		a.logsOfGroup(present(old, now).ID)
	}
	if old != nil && now != nil && old.Stateful == now.Stateful {
		return
	}
	a.group(present(old, now).ID)
}

// group adds the group on all hosts that have it. Those that got or lost it are looked at with their ports.
func (a *affected) group(id string) {
	for host := range groupHosts(a.after, id) {
		a.add(host, kindSecurityGroup, id)
	}
}

func (a *affected) securityGroupRule(old, now *model.SecurityGroupRule) {
	for _, rule := range []*model.SecurityGroupRule{old, now} {
		if rule == nil {
			continue
		}
		a.group(rule.GroupID)
		if set := rule.RemoteSet(); set != "" {
			for host := range groupHosts(a.after, rule.GroupID) {
				a.hostSet(host, set)
			}
		}
	}
}

func (a *affected) addressGroup(old, now *model.AddressGroup) {
	var before, after []netip.Prefix
	if old != nil {
		before = old.Addresses
	}
	if now != nil {
		after = now.Addresses
	}
	set := model.AddressSet(present(old, now).ID)
	for _, change := range [][2][]netip.Prefix{{before, after}, {after, before}} {
		for _, block := range change[0] {
			if _, both := slices.BinarySearchFunc(change[1], block, netip.Prefix.Compare); !both {
				a.member(set, block.String())
			}
		}
	}
}
