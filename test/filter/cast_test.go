package filter

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/verdict"
)

const hostName = "host"

// slot is what stays the same of a port in all cases.
type slot struct {
	name, id, network string
	mac               verdict.MAC
	// addresses are those that the port has in most cases.
	addresses []netip.Addr
}

// The slots: a router and four workloads on one network, and two on another that have the same addresses as two there.
const router = 0

var slots = []slot{
	newSlot("router", netA, 1), newSlot("a2", netA, 2), newSlot("a3", netA, 3), newSlot("a4", netA, 4),
	newSlot("a5", netA, 5), newSlot("b2", netB, 2), newSlot("b3", netB, 3),
}

const (
	netA = "aaaaaaaa-0000-4000-8000-000000000000"
	netB = "bbbbbbbb-0000-4000-8000-000000000000"
)

var networks = []string{netA, netB}

func newSlot(name, network string, n byte) slot {
	return slot{
		name: name, id: fmt.Sprintf("%.4s%04x-0000-4000-8000-000000000000", network, n), network: network,
		mac: verdict.MAC{0xfa, 0x16, 0x3e, 0, network[0], n},
		addresses: []netip.Addr{
			netip.AddrFrom4([4]byte{10, 0, 0, 10 + n}),
			netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 15: 10 + n}),
		},
	}
}

// The pools that objects and packets are made of: small, so that they meet.
var (
	groupIDs     = []string{"group-1", "group-2", "group-3"}
	statelessIDs = []string{"group-4", "group-5"}
	allGroups    = slices.Concat(groupIDs, statelessIDs)
	addressLists = []string{"list-1", "list-2"}
	virtualMACs  = []verdict.MAC{{0, 0, 0x5e, 0, 1, 7}, {0, 0, 0x5e, 0, 2, 7}}
	services     = []uint16{22, 80, 443, 5432}
	outside      = []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8:7::7")}
	virtual      = []netip.Addr{netip.MustParseAddr("10.0.9.9"), netip.MustParseAddr("2001:db8:9::9")}
	blocks       = []string{
		"10.0.0.0/24", "10.0.0.12/31", "10.0.0.13/32", "10.0.9.0/24", "10.0.9.9/32", "192.0.2.0/24", "0.0.0.0/0",
		"2001:db8::/64", "2001:db8::c/126", "2001:db8::d/128", "2001:db8:9::/64", "2001:db8:7::/48", "::/0",
	}
	protocols = []string{"", "", "", "tcp", "tcp", "udp", "udp", "icmp", "icmp", "sctp", "112", "ip", "gre"}

	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = verdict.MAC{0x33, 0x33, 0, 0, 0, 1}
	broadcast   = verdict.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// objects are those of a case that differ from case to case.
type objects struct {
	// calm: every address is that of one port at most. Then it is known whose connection a connection is.
	calm  bool
	ports []*model.Port // by slot
	lists []*model.AddressGroup
	rules []*model.SecurityGroupRule
	firewalls
}

func randomObjects(t *rapid.T) objects {
	o := objects{calm: chance(t, 2, "calm")}
	for i, s := range slots {
		p := randomPort(t, i, s)
		if o.calm {
			p.AllowedAddressPairs = nil
		}
		o.ports = append(o.ports, p)
	}
	o.drawRules(t)
	o.drawFirewalls(t)
	return o
}

// changed are the objects after a change of what the rules say, and of who has which groups.
func (o objects) changed(t *rapid.T) objects {
	c := objects{calm: o.calm, firewalls: o.firewalls}
	for _, p := range o.ports {
		p = p.Clone()
		if chance(t, 4, "other groups") && len(p.SecurityGroupIDs) > 0 {
			p.SecurityGroupIDs = some(t, groupIDs, 2, "groups")
		}
		c.ports = append(c.ports, p)
	}
	if chance(t, 2, "other firewalls") {
		c.drawFirewalls(t)
	}
	c.drawRules(t)
	for i, r := range o.rules {
		if !chance(t, 3, "other rule") && i < len(c.rules) {
			c.rules[i] = r.Clone()
			c.rules[i].ID = fmt.Sprintf("rule-%02d", i)
		}
	}
	return c
}

func (o *objects) drawRules(t *rapid.T) {
	for _, id := range addressLists {
		o.lists = append(o.lists, &model.AddressGroup{Meta: model.Meta{ID: id}, Addresses: randomBlocks(t)})
	}
	for i := range choose(t, []int{10, 30, 60}, "rules") {
		if roll(t, 50, "rule") > 0 {
			o.rules = append(o.rules, randomRule(t, i))
		}
	}
}

// roll draws a number from 0 to n-1, each as often; rapid by itself prefers small ones. A case is made smaller towards 0.
func roll(t *rapid.T, n int, what string) int {
	const spread = 0x9e3779b97f4a7c15
	return int(uint64(rapid.Uint32().Draw(t, what)) * spread >> 40 % uint64(n))
}

func choose[T any](t *rapid.T, from []T, what string) T { return from[roll(t, len(from), what)] }

// chance is true once in so many times.
func chance(t *rapid.T, of int, what string) bool { return roll(t, of, what) == of-1 }

// some are up to n of the texts, each once.
func some(t *rapid.T, from []string, n int, what string) []string {
	var chosen []string
	for range roll(t, n+1, what) {
		if one := choose(t, from, what); !slices.Contains(chosen, one) {
			chosen = append(chosen, one)
		}
	}
	return chosen
}

// put makes the state the objects of the case, and what is the same in all cases.
func (o objects) put(tx *state.Tx) {
	for _, id := range networks {
		state.Networks.Put(tx, &model.Network{
			Meta: model.Meta{ID: id}, MTU: 1500, Segments: []model.Segment{{ID: id, NetworkType: model.TypeLocal}},
		})
		for i, cidr := range []string{"10.0.0.0/24", "2001:db8::/64"} {
			state.Subnets.Put(tx, &model.Subnet{
				Meta: model.Meta{ID: subnetID(id, i)}, NetworkID: id, CIDR: netip.MustParsePrefix(cidr),
			})
		}
	}
	for _, id := range allGroups {
		state.SecurityGroups.Put(tx, &model.SecurityGroup{
			Meta: model.Meta{ID: id}, Stateful: slices.Contains(groupIDs, id),
		})
	}
	for _, p := range o.ports {
		state.Ports.Put(tx, p)
	}
	for _, g := range o.lists {
		state.AddressGroups.Put(tx, g)
	}
	for r := range state.SecurityGroupRules.All(tx) {
		state.SecurityGroupRules.Delete(tx, r.ID)
	}
	for _, r := range o.rules {
		state.SecurityGroupRules.Put(tx, r)
	}
	o.firewalls.put(tx)
	o.putRouters(tx)
}

// putRouters makes the first port the interface of a distributed router, if it is one, which other hosts have, too. There is
// another router's in the network.
func (o objects) putRouters(tx *state.Tx) {
	var routers []*model.Router
	if o.ports[router].DeviceOwner == model.DeviceOwnerRouterInterfaceDistributed {
		routers = append(routers, &model.Router{
			Meta: model.Meta{ID: "router"}, Distributed: true, InterfaceIDs: []string{slots[router].id},
			SNATPorts: []model.SNATPort{{InterfaceID: slots[router].id, PortID: centralID}},
		})
	}
	replace(tx, state.Routers, routers)
	replace(tx, state.DistributedBindings, bindings[:3*len(routers)])
	state.Ports.Put(tx, &model.Port{
		Meta: model.Meta{ID: centralID}, NetworkID: netA, MAC: centralMAC.String(), DeviceOwner: model.DeviceOwnerRouterSNAT,
		FixedIPs: []model.FixedIP{{SubnetID: subnetID(netA, 0), IP: virtual[0]}},
	})
}

const centralID = "aaaa0099-0000-4000-8000-000000000000"

// bindings are those of the router's interface to the host and to another one, and that of another router's there.
var bindings = []*model.DistributedBinding{
	{Meta: model.Meta{ID: "here"}, PortID: slots[router].id, RouterID: "router", NetworkID: netA, Host: hostName, SegmentID: netA},
	{Meta: model.Meta{ID: "elsewhere"}, PortID: slots[router].id, RouterID: "router", NetworkID: netA, Host: "elsewhere", SegmentID: netA},
	{Meta: model.Meta{ID: "other"}, PortID: "aaaa0098-0000-4000-8000-000000000000", RouterID: "other", NetworkID: netA, Host: "elsewhere", SegmentID: netA},
}

// MACs by which routers speak: of the central part, of the interface elsewhere and on a host that nobody knows, and of the
// other router's interface.
var (
	centralMAC      = verdict.MAC{0xfa, 0x16, 0x3e, 0, 0x99, 0x99}
	elsewhereMAC, _ = verdict.ParseMAC(bindings[1].TunnelMAC())
	otherMAC, _     = verdict.ParseMAC(bindings[2].TunnelMAC())
	strangerMAC     = verdict.MAC{0x4a, 9, 9, 9, 9, 9}
)

func subnetID(network string, i int) string { return fmt.Sprintf("%s-%d", network, i) }

func randomPort(t *rapid.T, i int, s slot) *model.Port {
	p := &model.Port{
		Meta: model.Meta{ID: s.id, Name: s.name}, NetworkID: s.network, MAC: s.mac.String(), AdminStateUp: true,
		Binding:             model.Binding{Host: hostName, VIFType: model.VIFBridge, SegmentID: s.network},
		PortSecurityEnabled: true, DeviceOwner: "compute:nova",
	}
	for i, ip := range s.addresses {
		if !chance(t, 10, "without") {
			p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: subnetID(s.network, i), IP: ip})
		}
	}
	if i == router {
		p.DeviceOwner = "network:router_interface"
		if chance(t, 2, "distributed") {
			p.DeviceOwner, p.Binding = model.DeviceOwnerRouterInterfaceDistributed, model.Binding{VIFType: model.VIFDistributed}
		}
		return p
	}
	p.PortSecurityEnabled = !chance(t, 10, "open")
	ids := choose(t, [][]string{groupIDs, groupIDs, statelessIDs}, "stateful or not")
	p.SecurityGroupIDs = some(t, ids, 2, "groups")
	for range choose(t, []int{0, 0, 1, 2}, "pairs") {
		p.AllowedAddressPairs = append(p.AllowedAddressPairs, model.AddressPair{
			IP:  netip.MustParsePrefix(choose(t, blocks, "block")),
			MAC: choose(t, slices.Concat(virtualMACs, []verdict.MAC{s.mac}), "mac").String(),
		})
	}
	return p
}

func randomBlocks(t *rapid.T) []netip.Prefix {
	texts := some(t, blocks, 4, "blocks")
	parsed := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		parsed = append(parsed, netip.MustParsePrefix(text).Masked())
	}
	slices.SortFunc(parsed, netip.Prefix.Compare)
	return parsed
}

func randomRule(t *rapid.T, i int) *model.SecurityGroupRule {
	r := &model.SecurityGroupRule{
		Meta:      model.Meta{ID: fmt.Sprintf("rule-%02d", i)},
		GroupID:   choose(t, allGroups, "group"),
		Direction: choose(t, []model.Direction{model.Ingress, model.Egress}, "direction"),
		EtherType: choose(t, []model.EtherType{model.IPv4, model.IPv6}, "ethertype"),
		Protocol:  choose(t, protocols, "protocol"),
	}
	pointer := func(n int) *int { return &n }
	switch {
	case r.Protocol == "icmp" && chance(t, 2, "type"):
		r.PortMin = pointer(choose(t, []int{0, 3, 8, 128, 129, 1}, "icmp type"))
		if chance(t, 2, "code") {
			r.PortMax = pointer(roll(t, 2, "icmp code"))
		}
	case (r.Protocol == "tcp" || r.Protocol == "udp" || r.Protocol == "sctp") && chance(t, 2, "ports"):
		service := int(choose(t, services, "service"))
		r.PortMin, r.PortMax = pointer(service), pointer(service+choose(t, []int{0, 100, 5000}, "more"))
	}
	switch choose(t, []string{"any", "any", "any", "any", "prefix", "group", "list"}, "remote") {
	case "prefix":
		block := netip.MustParsePrefix(choose(t, blocks, "block"))
		if block.Addr().Is4() == (r.EtherType == model.IPv4) {
			r.RemotePrefix = block
		}
	case "group":
		r.RemoteGroupID = choose(t, allGroups, "remote group")
	case "list":
		r.RemoteAddressGroupID = choose(t, addressLists, "list")
	}
	return r
}
