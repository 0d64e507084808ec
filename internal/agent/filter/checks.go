package filter

import (
	"slices"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
)

// The checks of what a filtered port sends, and what it always may send and get. Package verdict is their definition; the
// numbers there are in the labels here. A rule that reads what a frame is too short for does not match, so every chain
// that accepts ends by dropping.

var (
	// sender4 and sender6 load device, source MAC and source address.
	sender4 = join(inMAC, rs.Read(keyNext, rs.Network, 12, 4))
	sender6 = join(inMAC, rs.Read(keyNext, rs.Network, 8, 16))
	// noAddress6 matches the source address ::, toGroups6 the destinations ff02::/16.
	noAddress6 = join(rs.Read(first, rs.Network, 8, 16), rs.Equal(first, make([]byte, 16)...))
	toGroups6  = join(rs.Read(first, rs.Network, 24, 2), rs.Equal(first, 0xff, 0x02))
)

// senderChains look at each frame by itself, before its connection is known and its parts are put together.
func senderChains() map[string][]rs.Rule {
	badMAC := rs.NewRule("2: source MAC", inMAC, rs.NotIn(setMACs, first), dropOut("source-mac"))
	tag := func(hi, lo byte) rs.Rule { return rs.NewRule("1: VLAN tag", frameIs(hi, lo), dropOut("vlan-tag")) }
	all := map[string][]rs.Rule{
		"sender": {
			rs.NewRule("marks are ours", setMark(0)),
			rs.NewRule("IPv4", frameIs(0x08, 0x00), rs.Then(rs.Goto("sender-ipv4"))),
			rs.NewRule("IPv6", frameIs(0x86, 0xdd), rs.Then(rs.Goto("sender-ipv6"))),
			tag(0x81, 0x00),
			tag(0x88, 0xa8),
			badMAC,
			rs.NewRule("ARP", frameIs(0x08, 0x06), rs.Then(rs.Goto("sender-arp"))),
			rs.NewRule("3: ethertype", dropOut("ethertype")),
		},
	}
	// Single addresses have been looked for already.
	all["sender-ipv4"] = []rs.Rule{
		rs.NewRule("6: its own address, of a block", sender4, rs.In(setBlocks4, first), rs.Then(rs.Accept)),
		badMAC,
		rs.NewRule("5: no address yet", rs.Read(first, rs.Network, 12, 8), rs.Equal(first, 0, 0, 0, 0, 255, 255, 255, 255),
			rs.Read(first, rs.Network, 9, 1), rs.Equal(first, protocolUDP), rs.Then(rs.Accept)),
		rs.NewRule("6: source address", dropOut("source-address")),
	}
	all["sender-ipv6"] = []rs.Rule{
		rs.NewRule("6: its own address, of a block", sender6, rs.In(setBlocks6, first), rs.Then(rs.Accept)),
		badMAC,
		// Of a part of a datagram it is not always known what the upper layer is: that is looked at later.
		rs.NewRule("5: no address yet", noAddress6, toGroups6, rs.Then(rs.Accept)),
		rs.NewRule("6: source address", dropOut("source-address")),
	}
	all["sender-arp"] = slices.Concat(
		[]rs.Rule{
			rs.NewRule("4: Ethernet and IPv4", rs.Read(first, rs.Network, 0, 6), rs.Differs(first, 0, 1, 8, 0, 6, 4),
				dropOut("arp-sender")),
			rs.NewRule("4: the sender is the source", inMAC, rs.Read(keyNext, rs.Network, 8, 6), rs.NotIn(setTwins, first),
				dropOut("arp-sender")),
		},
		identities("4: its own address", false, join(inMAC, rs.Read(keyNext, rs.Network, 14, 4)), rs.Then(rs.Accept)),
		identities("4: a probe for its own address", false, join(
			rs.Read(first, rs.Network, 6, 2), rs.Equal(first, 0, 1),
			rs.Read(first, rs.Network, 14, 4), rs.Equal(first, 0, 0, 0, 0),
			inMAC, rs.Read(keyNext, rs.Network, 24, 4)), rs.Then(rs.Accept)),
		[]rs.Rule{rs.NewRule("4: sender", dropOut("arp-sender"))},
	)
	return all
}

// screenRules lead to the screens: of IPv4, only DHCP has to be looked at.
func screenRules() []rs.Rule {
	return []rs.Rule{
		rs.NewRule("what is said by UDP", isIPv4, isProtocol(protocolUDP), rs.Then(rs.Jump("screen-udp4"))),
		rs.NewRule("what is said by IPv6", isIPv6, rs.Then(rs.Jump("screen-ipv6"))),
	}
}

// screenChains look at whole datagrams: what only the network itself says, and what is said about addresses. What may pass
// returns from there. They begin with what nothing can be wrong with, which is nearly everything: it has an address, and is
// neither DHCP nor neighbour discovery. The ports of DHCP are the lowest of those that clients and servers use, so one
// comparison does.
func screenChains() map[string][]rs.Rule {
	pass := rs.Then(rs.Return)
	above := func(port uint16) rs.Expr {
		return join(rs.Read(first, rs.Transport, 0, 2), rs.Between(first, port+1, 65535))
	}
	addressed4 := join(rs.Read(first, rs.Network, 12, 4), rs.Differs(first, 0, 0, 0, 0))
	addressed6 := join(rs.Read(first, rs.Network, 8, 16), rs.Differs(first, make([]byte, 16)...))
	noAddress4 := join(rs.Read(first, rs.Network, 12, 4), rs.Equal(first, 0, 0, 0, 0))
	target := join(inMAC, rs.Read(keyNext, rs.Transport, 8, 16))
	unfiltered := rs.NewRule("ports that are not filtered", inKey, rs.NotIn(setFiltered, first), pass)
	return map[string][]rs.Rule{
		"screen-udp4": slices.Concat([]rs.Rule{
			rs.NewRule("no DHCP", above(68), addressed4, pass),
			unfiltered,
			rs.NewRule("7: DHCP server", ports(67, 68), dropOut("dhcp-server")),
			rs.NewRule("9: DHCP client", ports(68, 67), inMAC, rs.Read(keyNext, rs.Transport, 36, 6), rs.In(setTwins, first),
				pass),
			rs.NewRule("9: DHCP for another client", ports(68, 67), dropOut("dhcp-client")),
			// A block of a pair may contain the address that means none.
		}, identities("6: its own address", false, join(noAddress4, sender4), pass), []rs.Rule{
			rs.NewRule("6: source address", noAddress4, dropOut("source-address")),
		}),
		"screen-ipv6": slices.Concat([]rs.Rule{
			rs.NewRule("no neighbour discovery", isProtocol(protocolTCP), addressed6, pass),
			rs.NewRule("no DHCPv6", isProtocol(protocolUDP), above(547), addressed6, pass),
			unfiltered,
			rs.NewRule("neighbour discovery", isProtocol(protocolICMPv6), rs.Then(rs.Goto("screen-icmp6"))),
			rs.NewRule("7: DHCPv6 server", isProtocol(protocolUDP), ports(547, 546), dropOut("dhcp-server")),
		}, identities("6: its own address", true, join(noAddress6, sender6), pass), []rs.Rule{
			rs.NewRule("6: source address", noAddress6, dropOut("source-address")),
		}),
		"screen-icmp6": {
			rs.NewRule("7: router advertisement", icmpType(134), dropOut("router-advertisement")),
			rs.NewRule("5: no address yet", noAddress6, toGroups6, rs.Then(rs.Goto("screen-unspecified"))),
			rs.NewRule("8: advertisement", icmpType(136), rs.Then(rs.Goto("screen-target"))),
		},
		"screen-unspecified": slices.Concat([]rs.Rule{
			rs.NewRule("5: multicast listener", icmpType(131), pass),
			rs.NewRule("5: multicast listener", icmpType(143), pass),
			rs.NewRule("5: is the address free", icmpType(135), rs.Then(rs.Goto("screen-target"))),
		}, identities("6: its own address", true, sender6, rs.Then(rs.Goto("screen-advertisement"))), []rs.Rule{
			rs.NewRule("6: source address", dropOut("source-address")),
		}),
		"screen-advertisement": {rs.NewRule("8: advertisement", icmpType(136), rs.Then(rs.Goto("screen-target")))},
		"screen-target": append(identities("its own address", true, target, pass),
			rs.NewRule("8: target", dropOut("nd-target"))),
	}
}

// alwaysChains are what needs no rule of a group.
func alwaysChains() map[string][]rs.Rule {
	accept := rs.Then(rs.Accept)
	icmp6 := func(label string, types ...byte) (rules []rs.Rule) {
		for _, n := range types {
			rules = append(rules, rs.NewRule(label, isIPv6, icmpType(n), accept))
		}
		return rules
	}
	broadcast := join(rs.Read(first, rs.Network, 16, 4), rs.Equal(first, 255, 255, 255, 255))
	linkLocal := join(rs.Read(first, rs.Network, 24, 8), rs.Equal(first, 0xfe, 0x80, 0, 0, 0, 0, 0, 0))
	return map[string][]rs.Rule{
		"egress-udp": {
			rs.NewRule("9: DHCP client", isIPv4, ports(68, 67), accept),
			rs.NewRule("9: DHCPv6 client", isIPv6, ports(546, 547), accept),
		},
		"egress-icmp6": icmp6("9: neighbour discovery", 135, 136, 130, 131, 132, 133, 143),
		"ingress-udp": {
			rs.NewRule("2: DHCP", isIPv4, ports(67, 68), broadcast, accept),
			rs.NewRule("2: DHCP", isIPv4, ports(67, 68), outKey, rs.Read(keyIP, rs.Network, 16, 4), rs.In(setOwn4, first), accept),
			rs.NewRule("2: DHCPv6", isIPv6, ports(547, 546), linkLocal, accept),
			rs.NewRule("2: DHCPv6", isIPv6, ports(547, 546), outKey, rs.Read(keyIP, rs.Network, 24, 16), rs.In(setOwn6, first),
				accept),
		},
		"ingress-icmp6": append(icmp6("2: neighbour discovery", 135, 136, 130),
			rs.NewRule("2: router advertisement", isIPv6, icmpType(134), outKey, rs.In(setHas6, first), accept)),
		"ingress-frame": {
			rs.NewRule("1: VLAN tag", frameIs(0x81, 0x00), dropIn("vlan-tag")),
			rs.NewRule("1: VLAN tag", frameIs(0x88, 0xa8), dropIn("vlan-tag")),
			rs.NewRule("1: ethertype", dropIn("ethertype")),
		},
	}
}

// egressChain is the way of what ports with these groups send; ingressChain, of what they get. The rules of the groups are
// in chains of their own, which many of these share.
func egressChain(groups []string) rs.Chain {
	rules := []rs.Rule{
		rs.NewRule("UDP", isProtocol(protocolUDP), rs.Then(rs.Jump("egress-udp"))),
		rs.NewRule("ICMPv6", isProtocol(protocolICMPv6), rs.Then(rs.Jump("egress-icmp6"))),
	}
	for _, g := range groups {
		rules = append(rules, rs.NewRule("group "+g, rs.Then(rs.Jump(groupChain(g, true)))))
	}
	return rs.Chain{Rules: append(rules, rs.NewRule("10: no rule", dropOut("no-rule")))}
}

func ingressChain(groups []string, stateful bool) rs.Chain {
	var rules []rs.Rule
	if stateful {
		rules = append(rules, rs.NewRule("3: of a connection", hasMark, setMark(0), rs.Then(rs.Accept)))
	}
	rules = append(rules,
		rs.NewRule("1: ARP", frameIs(0x08, 0x06), rs.Then(rs.Accept)),
		rs.NewRule("1: frame", rs.Read(first, rs.Link, 12, 2), rs.Differs(first, 0x08, 0x00), rs.Differs(first, 0x86, 0xdd),
			rs.Then(rs.Goto("ingress-frame"))),
		rs.NewRule("UDP", isProtocol(protocolUDP), rs.Then(rs.Jump("ingress-udp"))),
		rs.NewRule("ICMPv6", isProtocol(protocolICMPv6), rs.Then(rs.Jump("ingress-icmp6"))),
	)
	for _, g := range groups {
		rules = append(rules, rs.NewRule("group "+g, rs.Then(rs.Jump(groupChain(g, false)))))
	}
	return rs.Chain{Rules: append(rules, rs.NewRule("3: no rule", dropIn("no-rule")))}
}
