package filter

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Firewall groups of the interfaces of distributed routers. What such a router forwards from one host to another goes one
// way through its part on the first, and comes back through its part on the second: none of them sees the whole of a
// connection. The ports of the workloads do. So a group has its say there, about the frames that are sent to a MAC of the
// interface, or come from one.
//
//	routed-leave    device → chain of its network → chain of each interface there: is it sent to this one?   (priority 13)
//	routed-arrive   likewise: does it come from this one?                                                     (16)
//
// If so, the chain of the group follows, which is the same as that of workloads' ports in the group.

// Sets of devices on networks where a distributed router has an interface that is in a group.
const (
	setRoutedEgress  = "routed-egress"
	setRoutedIngress = "routed-ingress"
)

// routedNetwork is a network from the side of an interface.
type routedNetwork struct {
	port, network string
	macs, others  []netlinkx.MAC
	ips           []netip.Addr
	blocks        []netip.Prefix
}

// tunnelMAC is the first byte of the MACs that interfaces have on other hosts.
const tunnelMAC = 0x4a

// Addresses from which and to which nothing is routed: what is said on the link, and the service of metadata.
var onLink = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}

// parseRouted returns what is understood, with the error.
func parseRouted(body *sb.RoutedNetwork) (routedNetwork, error) {
	n := routedNetwork{port: body.GetPortId(), network: body.GetNetworkId()}
	if !idPattern.MatchString(n.port) || !idPattern.MatchString(n.network) {
		return routedNetwork{}, fmt.Errorf("the port id %.80q or the network id %.80q is none", n.port, n.network)
	}
	for _, of := range []struct {
		from []string
		into *[]netlinkx.MAC
	}{{body.GetMacs(), &n.macs}, {body.GetOtherMacs(), &n.others}} {
		for _, text := range of.from {
			mac, err := parseMAC(text)
			if err != nil {
				return n, err
			}
			*of.into = append(*of.into, mac)
		}
	}
	for _, text := range body.GetIps() {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return n, fmt.Errorf("ip %.60q is no address", text)
		}
		n.ips = append(n.ips, ip)
	}
	for _, text := range body.GetBlocks() {
		block, err := netip.ParsePrefix(text)
		if err != nil {
			return n, fmt.Errorf("%.60q is no block", text)
		}
		n.blocks = append(n.blocks, block)
	}
	return n, nil
}

// interfaces are those of a network whose routers have a firewall, with it.
type interfaces []routedInterface

type routedInterface struct {
	routedNetwork
	firewall *firewall
}

// routedInterfaces are the interfaces in groups, by network. Where two groups claim one, the first by key has it.
func (w *firewalls) routedInterfaces(keys []string) map[string]interfaces {
	all, taken := map[string]interfaces{}, map[string]bool{}
	for _, key := range keys {
		f := w.groups[key]
		for _, n := range f.routed {
			if !taken[n.port] {
				taken[n.port] = true
				all[n.network] = append(all[n.network], routedInterface{n, f})
			}
		}
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b routedInterface) int { return cmp.Compare(a.port, b.port) })
	}
	return all
}

// sameAs says whether nobody is let through less than before. It compares what groups the interfaces are in; what changes
// within these is noted when their documents change.
func (list interfaces) sameAs(before interfaces) bool {
	return slices.EqualFunc(list, before, func(a, b routedInterface) bool {
		return a.port == b.port && a.firewall.id == b.firewall.id
	})
}

// routedChain is the chain of a network for one direction.
func routedChain(network string, egress bool) string {
	if egress {
		return setRoutedEgress + "." + network
	}
	return setRoutedIngress + "." + network
}

// chains are those of the network for one direction.
func (list interfaces) chains(network string, egress bool) map[string]rs.Chain {
	all, mac := map[string]rs.Chain{}, 6 // where frames have the source
	if egress {
		mac = 0
	}
	var jumps []rs.Rule
	for _, i := range list {
		name := routedChain(network, egress) + "." + i.port
		forwarded := rs.Then(rs.Goto(name + ".forwarded"))
		var rules []rs.Rule
		for _, m := range i.macs {
			rules = append(rules, rs.NewRule("the router", rs.Read(first, rs.Link, mac, 6), rs.Equal(first, m[:]...), forwarded))
		}
		for _, m := range i.others {
			rules = append(rules, rs.NewRule("another router", rs.Read(first, rs.Link, mac, 6), rs.Equal(first, m[:]...), rs.Then(rs.Return)))
		}
		rules = append(rules, rs.NewRule("the router, on another host",
			rs.Read(first, rs.Link, mac, 1), rs.Equal(first, tunnelMAC), forwarded))
		all[name] = rs.Chain{Rules: rules}
		all[name+".forwarded"] = i.forwarded(egress)
		jumps = append(jumps, rs.NewRule("interface", rs.Then(rs.Jump(name))))
	}
	all[routedChain(network, egress)] = rs.Chain{Rules: jumps}
	return all
}

// forwarded is about the frames that the interface forwards, or would.
func (i routedInterface) forwarded(egress bool) rs.Chain {
	var rules []rs.Rule
	blocks := slices.Clone(onLink)
	for _, ip := range i.ips {
		blocks = append(blocks, netip.PrefixFrom(ip, ip.BitLen()))
	}
	for _, b := range blocks {
		is, at := isIPv4, 12
		if b.Addr().Is6() {
			is, at = isIPv6, 8
		}
		if egress {
			at += b.Addr().BitLen() / 8
		}
		rules = append(rules, rs.NewRule("the router itself", is, inPrefix(b, at), rs.Then(rs.Accept)))
	}
	// What has a tag is not looked into.
	rules = slices.Insert(rules, 0, rs.NewRule("frame", rs.Read(first, rs.Link, 12, 2), rs.Differs(first, 0x08, 0x00),
		rs.Differs(first, 0x86, 0xdd), rs.Then(rs.Goto(firewallChain(i.firewall.id, egress)))))
	return rs.Chain{Rules: append(rules, rs.NewRule("its group", rs.Then(rs.Goto(firewallChain(i.firewall.id, egress)))))}
}

// permits says whether the firewalls let a connection of a workload on the network begin whose other end is remote. That it
// leads through an interface is taken from the address: what is in none of the network's blocks is reached by some router.
func (list interfaces) permits(egress bool, x conntrack.Connection, remote netip.Addr) bool {
	for _, i := range list {
		here := slices.ContainsFunc(slices.Concat(i.blocks, onLink), func(b netip.Prefix) bool { return b.Contains(remote) })
		if !here && !i.firewall.permits(egress, x) {
			return false
		}
	}
	return true
}
