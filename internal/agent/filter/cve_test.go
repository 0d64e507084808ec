package filter_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// What went wrong in other implementations, by the numbers under which it became known.

// The ways past the filters that were found one after the other are all fakes of the spoofing test.
func TestCVESpoofing(t *testing.T) {
	l, w := stage(t, func(*sb.Port) {})
	for cve, names := range map[string][]string{
		"CVE-2015-8914":  {"ND solicitation from another address", "link-local source of another MAC", "IPv6 source"},
		"CVE-2016-5362":  {"DHCP server", "DHCP server, in parts", "no IPv4 source", "DHCP for another client"},
		"CVE-2016-5363":  {"MAC", "MAC of IPv6", "ARP with another MAC inside"},
		"CVE-2021-20267": {"ND advertisement of another address", "ND: is another's address free"},
		"CVE-2021-38598": {
			"ARP answer for another address", "ARP announcement of another address",
			"ARP with another MAC and its address inside",
		},
	} {
		t.Run(cve, func(t *testing.T) {
			for _, name := range names {
				i := slices.IndexFunc(fakes, func(x fake) bool { return x.name == name })
				if i < 0 {
					t.Fatalf("there is no fake %q", name)
				}
				if w.passes(fakes[i].frame) {
					t.Errorf("%s: passes: %v", name, l.dropped(liar))
				}
			}
		})
	}
}

// CVE-2014-0187: one rule with a bad prefix kept the agent from applying any other.
func TestCVE20140187OneBadRuleStopsNothingElse(t *testing.T) {
	l := newLab(t, networkA)
	statuses := l.try(
		open("bad", &sb.SecurityGroupRule{RuleId: "evil", IpVersion: 4, RemotePrefix: "10.0.0.0/99"}, ingress(4, icmp)),
		open("good", ingress(6, icmpv6)), portDocument(port(networkA, 1, "bad")), portDocument(port(networkA, 2, "good")))
	s := statuses["security-group/bad"]
	if s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, "evil") || !strings.Contains(s.Reason, "10.0.0.0/99") {
		t.Errorf("the bad one: %s %q", s.State, s.Reason)
	}
	for _, key := range []string{"port/" + portID(1), "port/" + portID(2)} {
		if s := statuses[key]; s.State != sb.ObjectStatus_STATE_DONE {
			t.Errorf("%s: %s %q", key, s.State, s.Reason)
		}
	}
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	if !answers(b, ip4(1)) || !reaches(a, ip6(2)) {
		t.Error("the other rules are not in force")
	}
	if reaches(a, ip4(2)) {
		t.Error("what no rule allows passes")
	}
	l.apply(open("bad"))
	if reaches(b, ip4(1)) {
		t.Error("later changes are not applied")
	}
}

// Likewise for ports, members and pairs that cannot be understood.
func TestABadDocumentClosesItsPortOnly(t *testing.T) {
	l := newLab(t, networkA)
	bad := port(networkA, 2, "all")
	bad.Mac = "nonsense"
	statuses := l.try(everything("all"), portDocument(port(networkA, 1, "all")), portDocument(bad), portDocument(port(networkA, 3, "all")),
		memberDocument("group:x", "y", "everywhere"))
	for key, want := range map[string]string{
		"port/" + portID(1): "", "port/" + portID(2): "nonsense", "port/" + portID(3): "", "set-member/group:x/y": "everywhere",
	} {
		s := statuses[key]
		if (s.State == sb.ObjectStatus_STATE_ERROR) != (want != "") || !strings.Contains(s.Reason, want) {
			t.Errorf("%s: %s %q", key, s.State, s.Reason)
		}
	}
	a, b, c := l.workload(networkA, 1), l.workload(networkA, 2), l.workload(networkA, 3)
	if reaches(a, ip4(2)) || reaches(b, ip4(1)) {
		t.Error("a port with a bad document is open")
	}
	testkit.Eventually(t, 5*time.Second, "the others reach each other", func() bool { return reaches(c, ip4(1)) })
}

// CVE-2015-3221: an address pair with the prefix length 0 ended the agent.
func TestCVE20153221PairsMayBeEverything(t *testing.T) {
	l, w := stage(t, func(p *sb.Port) {
		p.AddressPairs = []*sb.AddressPair{{Mac: mac(liar), Prefix: "0.0.0.0/0"}, {Mac: mac(liar), Prefix: "::/0"}}
	})
	for name, frame := range map[string]func(m []byte) []byte{
		"IPv4": func(m []byte) []byte {
			return ether(mac(victim), mac(liar), 0x0800, ipv4("203.0.113.9", ip4(victim), 17, udp(1, 2, m)))
		},
		"IPv6": func(m []byte) []byte {
			return ether(mac(victim), mac(liar), 0x86dd, udp6("2001:db8::9", ip6(victim), 1, 2, m))
		},
		"ARP": func(m []byte) []byte {
			return ether(broadcast, mac(liar), 0x0806, arp(1, mac(liar), "203.0.113.9", broadcast, ip4(victim), m))
		},
	} {
		if !w.passes(func(m []byte) [][]byte { return one(frame(m)) }) {
			t.Errorf("%s: does not pass: %v", name, l.dropped(liar))
		}
	}
	// The same as members of a set, and groups go on to change.
	l.apply(memberDocument("group:friends", "x", "0.0.0.0/0", "::/0"), open("all", ingress(4, 0)))
	if w.passes(fakes[0].frame) {
		t.Error("another MAC passes")
	}
}

// CVE-2015-5240: a port whose owner became one of the network's own for a moment was not filtered any more.
func TestCVE20155240APortIsFilteredAgainWhenItsOwnerChanges(t *testing.T) {
	l, w := stage(t, func(p *sb.Port) { p.DeviceOwner = "network:dhcp" })
	if !w.passes(fakes[0].frame) {
		t.Fatal("a service of the network is filtered")
	}
	p := port(networkA, liar, "all")
	p.DeviceOwner = "compute:nova"
	l.apply(portDocument(p))
	for _, x := range fakes {
		if w.passes(x.frame) {
			t.Errorf("%s: passes", x.name)
		}
	}
}

// CVE-2017-7543: the update of a package switched br_netfilter off, and all filters with it.
func TestCVE20177543SwitchesDoNotOpenAnything(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	l.Run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
	if reaches(a, ip4(2)) || reaches(a, ip6(2)) {
		t.Error("open after the sysctl was reset")
	}
	l.apply(open("default", ingress(4, icmp)))
	if !answers(a, ip4(2)) {
		t.Error("after the sysctl was reset, answers are not known")
	}
	l.apply(open("default"))
	l.Check(l.NL.SetBridgeNetfilter(l.Link(bridge(networkA)).Index, false))
	if reaches(a, ip4(2)) || reaches(a, ip6(2)) {
		t.Error("open when the bridge's own switches are off")
	}
	watch(t, l)
	testkit.Eventually(t, 5*time.Second, "switched on again", func() bool {
		l.reconcile()
		info := l.Link(bridge(networkA)).Bridge
		return info.CallIPTables && info.CallIP6Tables
	})
	if n := l.drift("bridge"); n != 1 {
		t.Errorf("%v drifts were counted", n)
	}
}

// CVE-2019-9735: a rule with ports of a protocol that has none broke the rules of the whole host.
func TestCVE20199735PortsOfAProtocolWithoutPorts(t *testing.T) {
	l := newLab(t, networkA)
	vrrp := ingress(4, 112, 80, 80)
	vrrp.RuleId = "vrrp"
	statuses := l.try(open("odd", vrrp, ingress(4, icmp)), portDocument(port(networkA, 1, "odd")), portDocument(port(networkA, 2, "odd")))
	if s := statuses["security-group/odd"]; s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, "vrrp") {
		t.Errorf("%s %q", s.State, s.Reason)
	}
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	if !answers(a, ip4(2)) {
		t.Error("the other rules are not in force")
	}
}

// CVE-2019-10876: rules whose port ranges overlap ended the agent.
func TestCVE201910876RangesMayOverlap(t *testing.T) {
	l := newLab(t, networkA)
	wide, narrow, same := ingress(4, tcp, 1, 1000), ingress(4, tcp, 80, 90), ingress(4, tcp, 80, 90)
	for i, r := range []*sb.SecurityGroupRule{wide, narrow, same} {
		r.RuleId = []string{"wide", "narrow", "same"}[i]
	}
	l.apply(open("default", wide, narrow), open("other", same), portDocument(port(networkA, 1, "default")),
		portDocument(port(networkA, 2, "default", "other")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	x := connect(t, a, b, ip4(2)+":85")
	for name, documents := range map[string][]*sb.Document{
		"without the wide one": {open("default", narrow)}, "without the other group's": {open("other")},
	} {
		l.apply(documents...)
		if !says(x.client, x.server, time.Second) {
			t.Errorf("%s: what another rule allows was cut", name)
		}
	}
	l.apply(open("default"))
	if says(x.client, x.server, 300*time.Millisecond) {
		t.Error("without any of them, it goes on")
	}
}
