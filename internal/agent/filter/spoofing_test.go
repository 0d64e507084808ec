package filter_test

import (
	"testing"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The workload 1 pretends; the workload 2 is a neighbour that lets everything in.
const (
	liar, victim, third = 1, 2, 3
	anyVLAN             = 0x8100
)

// linkLocal1 is the address that IPv6 makes of the liar's MAC, linkLocal3 that of the third.
const linkLocal1, linkLocal3 = "fe80::f816:3eff:fe00:1", "fe80::f816:3eff:fe00:3"

func one(frame []byte) [][]byte { return [][]byte{frame} }

type fake struct {
	name, reason string
	frame        func(mark []byte) [][]byte
}

// fakes are what a workload may not send, by name; each one is a frame from the liar. The reason is that for which it is
// dropped.
var fakes = []fake{
	{"MAC", "source-mac", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(third), 0x0800, ipv4(ip4(liar), ip4(victim), 17, udp(1, 2, m))))
	}},
	{"MAC of IPv6", "source-mac", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(third), 0x86dd, udp6(ip6(liar), ip6(victim), 1, 2, m)))
	}},
	{"IPv4 source", "source-address", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0800, ipv4(ip4(third), ip4(victim), 17, udp(1, 2, m))))
	}},
	{"IPv4 source, in parts", "source-address", func(m []byte) [][]byte {
		data := udp(1, 2, append(make([]byte, 8), m...))
		return [][]byte{
			ether(mac(victim), mac(liar), 0x0800, part4(ip4(third), ip4(victim), 17, 0x2000, data[:16])),
			ether(mac(victim), mac(liar), 0x0800, part4(ip4(third), ip4(victim), 17, 2, data[16:])),
		}
	}},
	{"no IPv4 source", "source-address", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0800, ipv4("0.0.0.0", ip4(victim), 17, udp(1, 2, m))))
	}},
	{"IPv6 source", "source-address", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, udp6(ip6(third), ip6(victim), 1, 2, m)))
	}},
	{"link-local source of another MAC", "source-address", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, udp6(linkLocal3, ip6(victim), 1, 2, m)))
	}},
	{"ARP answer for another address", "arp-sender", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0806, arp(2, mac(liar), ip4(third), mac(victim), ip4(victim), m)))
	}},
	{"ARP announcement of another address", "arp-sender", func(m []byte) [][]byte {
		return one(ether(broadcast, mac(liar), 0x0806, arp(1, mac(liar), ip4(third), broadcast, ip4(third), m)))
	}},
	{"ARP with another MAC inside", "arp-sender", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0806, arp(2, mac(third), ip4(liar), mac(victim), ip4(victim), m)))
	}},
	{"ARP with another MAC and its address inside", "arp-sender", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0806, arp(2, mac(third), ip4(third), mac(victim), ip4(victim), m)))
	}},
	{"ARP probe for another address", "arp-sender", func(m []byte) [][]byte {
		return one(ether(broadcast, mac(liar), 0x0806, arp(1, mac(liar), "0.0.0.0", mac(liar), ip4(third), m)))
	}},
	{"ND advertisement of another address", "nd-target", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, icmp6(ip6(liar), ip6(victim), 136, ip6(third), m)))
	}},
	{"ND solicitation from another address", "source-address", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, icmp6(ip6(third), ip6(victim), 135, ip6(victim), m)))
	}},
	{"ND: is another's address free", "nd-target", func(m []byte) [][]byte {
		return one(ether(broadcast, mac(liar), 0x86dd, icmp6("::", "ff02::1", 135, ip6(third), m)))
	}},
	{"DHCP server", "dhcp-server", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0800, ipv4(ip4(liar), ip4(victim), 17, udp(67, 68, m))))
	}},
	{"DHCP server, in parts", "dhcp-server", func(m []byte) [][]byte {
		data := udp(67, 68, append(make([]byte, 8), m...))
		return [][]byte{
			ether(mac(victim), mac(liar), 0x0800, part4(ip4(liar), ip4(victim), 17, 0x2000, data[:16])),
			ether(mac(victim), mac(liar), 0x0800, part4(ip4(liar), ip4(victim), 17, 2, data[16:])),
		}
	}},
	{"DHCPv6 server", "dhcp-server", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, udp6(linkLocal1, ip6(victim), 547, 546, m)))
	}},
	{"DHCP for another client", "dhcp-client", func(m []byte) [][]byte {
		return one(ether(broadcast, mac(liar), 0x0800, ipv4("0.0.0.0", "255.255.255.255", 17, udp(68, 67, bootp(mac(third), m)))))
	}},
	{"RA", "router-advertisement", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, icmp6(linkLocal1, ip6(victim), 134, "", m)))
	}},
	{"RA behind an extension header", "router-advertisement", func(m []byte) [][]byte {
		body := icmp6(linkLocal1, "ff02::1", 134, "", m)[40:]
		options := []byte{58, 0, 1, 4, 0, 0, 0, 0} // destination options: padding
		return one(ether(broadcast, mac(liar), 0x86dd, ipv6(linkLocal1, "ff02::1", 60, append(options, body...))))
	}},
	{"VLAN tag", "vlan-tag", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), anyVLAN,
			concat(be16(7), be16(0x0800), ipv4(ip4(liar), ip4(victim), 17, udp(1, 2, m)))))
	}},
	{"two VLAN tags", "vlan-tag", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x88a8, concat(be16(7), be16(anyVLAN), be16(8), be16(0x0800),
			ipv4(ip4(liar), ip4(victim), 17, udp(1, 2, m)))))
	}},
	{"unknown ethertype", "ethertype", func(m []byte) [][]byte { return one(ether(mac(victim), mac(liar), 0x88b5, m)) }},
	{"802.3 frame", "ethertype", func(m []byte) [][]byte { return one(ether(mac(victim), mac(liar), len(m), m)) }},
}

// truths are what it may send.
var truths = []struct {
	name  string
	frame func(mark []byte) [][]byte
}{
	{"IPv4", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0800, ipv4(ip4(liar), ip4(victim), 17, udp(1, 2, m))))
	}},
	{"IPv6", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, udp6(ip6(liar), ip6(victim), 1, 2, m)))
	}},
	{"link-local", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, udp6(linkLocal1, ip6(victim), 1, 2, m)))
	}},
	{"ARP", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x0806, arp(2, mac(liar), ip4(liar), mac(victim), ip4(victim), m)))
	}},
	{"ARP probe", func(m []byte) [][]byte {
		return one(ether(broadcast, mac(liar), 0x0806, arp(1, mac(liar), "0.0.0.0", mac(liar), ip4(liar), m)))
	}},
	{"ND advertisement", func(m []byte) [][]byte {
		return one(ether(mac(victim), mac(liar), 0x86dd, icmp6(ip6(liar), ip6(victim), 136, ip6(liar), m)))
	}},
	{"is its address free", func(m []byte) [][]byte {
		return one(ether(broadcast, mac(liar), 0x86dd, icmp6("::", "ff02::1", 135, ip6(liar), m)))
	}},
}

// everything lets all traffic out and in.
func everything(id string) *sb.Document { return open(id, ingress(4, 0), ingress(6, 0)) }

// stage is a liar and its victim, and a wire between them.
func stage(t *testing.T, change func(liar *sb.Port)) (*lab, *wire) {
	t.Helper()
	l := newLab(t, networkA)
	p := port(networkA, liar, "all")
	change(p)
	l.apply(everything("all"), portDocument(p), portDocument(port(networkA, victim, "all")))
	from, to := l.workload(networkA, liar), l.workload(networkA, victim)
	return l, newWire(t, from, to, func(mark []byte) []byte {
		return ether(mac(victim), mac(liar), 0x0800, ipv4(ip4(liar), ip4(victim), 17, udp(4, 4, mark)))
	})
}

func TestAWorkloadCannotPretend(t *testing.T) {
	l, w := stage(t, func(*sb.Port) {})
	for _, x := range truths {
		if !w.passes(x.frame) {
			t.Errorf("%s: what is true does not pass: %v", x.name, l.dropped(liar))
		}
	}
	for _, x := range fakes {
		before := l.dropped(liar)["egress "+x.reason]
		if w.passes(x.frame) {
			t.Errorf("%s: passes", x.name)
		}
		if after := l.dropped(liar)["egress "+x.reason]; after == before {
			t.Errorf("%s: not counted as %s: %v", x.name, x.reason, l.dropped(liar))
		}
	}
}

// Without port security all of it passes; so the test above is not about frames that pass nowhere.
func TestPortSecurityCanBeLifted(t *testing.T) {
	for name, change := range map[string]func(p *sb.Port){
		"no port security":               func(p *sb.Port) { p.PortSecurity = false },
		"a service of the network's own": func(p *sb.Port) { p.DeviceOwner = "network:dhcp" },
	} {
		_, w := stage(t, change)
		for _, x := range fakes {
			switch x.reason {
			case "vlan-tag", "ethertype", "dhcp-server", "router-advertisement":
				continue // the victim does not take these, either: see its ingress in package verdict
			}
			if !w.passes(x.frame) {
				t.Errorf("%s: %s does not pass", name, x.name)
			}
		}
	}
}

func TestAddressPairsAddToWhatAPortMayUse(t *testing.T) {
	l, w := stage(t, func(p *sb.Port) {
		p.AddressPairs = []*sb.AddressPair{
			{Mac: mac(liar), Prefix: "10.0.0.128/25"}, {Mac: mac(liar), Prefix: "fd00:0:0:1::/64"},
			{Mac: "00:00:5e:00:01:07", Prefix: "10.0.0.7/32"},
		}
	})
	vrrp := "00:00:5e:00:01:07"
	for _, c := range []struct {
		name  string
		frame func(m []byte) []byte
		pass  bool
	}{
		{"an address of the block", func(m []byte) []byte {
			return ether(mac(victim), mac(liar), 0x0800, ipv4("10.0.0.200", ip4(victim), 17, udp(1, 2, m)))
		}, true},
		{"one beside it", func(m []byte) []byte {
			return ether(mac(victim), mac(liar), 0x0800, ipv4("10.0.0.127", ip4(victim), 17, udp(1, 2, m)))
		}, false},
		{"ARP for an address of the block", func(m []byte) []byte {
			return ether(broadcast, mac(liar), 0x0806, arp(1, mac(liar), "10.0.0.200", broadcast, "10.0.0.200", m))
		}, true},
		{"IPv6 of the block", func(m []byte) []byte {
			return ether(mac(victim), mac(liar), 0x86dd, udp6("fd00:0:0:1::9", ip6(victim), 1, 2, m))
		}, true},
		{"the MAC of the pair with its address", func(m []byte) []byte {
			return ether(mac(victim), vrrp, 0x0800, ipv4("10.0.0.7", ip4(victim), 17, udp(1, 2, m)))
		}, true},
		{"the MAC of the pair with another address", func(m []byte) []byte {
			return ether(mac(victim), vrrp, 0x0800, ipv4(ip4(liar), ip4(victim), 17, udp(1, 2, m)))
		}, false},
		{"the port's MAC with the address of the other", func(m []byte) []byte {
			return ether(mac(victim), mac(liar), 0x0800, ipv4("10.0.0.7", ip4(victim), 17, udp(1, 2, m)))
		}, false},
	} {
		if got := w.passes(func(m []byte) [][]byte { return one(c.frame(m)) }); got != c.pass {
			t.Errorf("%s: passes %v; dropped %v", c.name, got, l.dropped(liar))
		}
	}
}
