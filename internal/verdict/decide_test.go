package verdict_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	. "github.com/neutrino-net/neutrino/internal/verdict"
)

// memoryLog is a state.Log that keeps nothing.
type memoryLog struct{ revision int64 }

func (l *memoryLog) Load(context.Context, func(state.Entry) error) (int64, error) { return 0, nil }

func (l *memoryLog) Append(context.Context, []state.Entry) (int64, error) {
	l.revision++
	return l.revision, nil
}

func stateOf(t *testing.T, fill func(*state.Tx)) state.Reader {
	t.Helper()
	store, err := state.Open(t.Context(), state.Options{Log: &memoryLog{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if _, err := store.Update(t.Context(), func(tx *state.Tx) error { fill(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	return store.Read()
}

// The cast: web and db are workloads, gw is the network's own. web has a pair for a virtual address.
var (
	macWeb  = MAC{0xfa, 0x16, 0x3e, 0, 0, 1}
	macDB   = MAC{0xfa, 0x16, 0x3e, 0, 0, 2}
	macGW   = MAC{0xfa, 0x16, 0x3e, 0, 0, 3}
	macVRRP = MAC{0, 0, 0x5e, 0, 1, 7}

	ip = netip.MustParseAddr
)

const (
	web4, web6, webLocal = "10.0.0.11", "2001:db8::11", "fe80::f816:3eff:fe00:1"
	db4, db6             = "10.0.0.12", "2001:db8::12"
	virtual              = "10.0.9.1"
	everywhere           = "255.255.255.255"
)

func workload(id string, mac MAC, ips ...string) *model.Port {
	p := &model.Port{Meta: model.Meta{ID: id}, MAC: mac.String(), PortSecurityEnabled: true, DeviceOwner: "compute:nova"}
	for _, text := range ips {
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{IP: ip(text)})
	}
	return p
}

func cast() (web, db, gw *model.Port) {
	web, db = workload("web", macWeb, web4, web6), workload("db", macDB, db4, db6)
	web.SecurityGroupIDs, db.SecurityGroupIDs = []string{"front"}, []string{"back"}
	web.AllowedAddressPairs = []model.AddressPair{{IP: netip.MustParsePrefix("10.0.9.77/24"), MAC: macVRRP.String()}}
	gw = workload("gw", macGW, "10.0.0.1")
	gw.DeviceOwner = "network:router_interface"
	return web, db, gw
}

func rule(id, group string, change func(*model.SecurityGroupRule)) *model.SecurityGroupRule {
	r := &model.SecurityGroupRule{
		Meta: model.Meta{ID: id}, GroupID: group, Direction: model.Ingress, EtherType: model.IPv4,
	}
	change(r)
	return r
}

func number(n int) *int { return &n }

// example has the groups front, which may send everything in IPv4, and back, which gets from front on 5432.
func example(tx *state.Tx) {
	web, db, gw := cast()
	for _, p := range []*model.Port{web, db, gw} {
		state.Ports.Put(tx, p)
	}
	for _, id := range []string{"front", "back"} {
		state.SecurityGroups.Put(tx, &model.SecurityGroup{Meta: model.Meta{ID: id}, Stateful: true})
	}
	for _, r := range []*model.SecurityGroupRule{
		rule("send", "front", func(r *model.SecurityGroupRule) { r.Direction = model.Egress }),
		rule("from-front", "back", func(r *model.SecurityGroupRule) {
			r.Protocol, r.PortMin, r.PortMax, r.RemoteGroupID = "tcp", number(5432), number(5432), "front"
		}),
		rule("ping", "back", func(r *model.SecurityGroupRule) { r.Protocol, r.PortMin = "icmp", number(8) }),
		rule("listed", "back", func(r *model.SecurityGroupRule) { r.Protocol, r.RemoteAddressGroupID = "udp", "office" }),
	} {
		state.SecurityGroupRules.Put(tx, r)
	}
	state.AddressGroups.Put(tx, &model.AddressGroup{
		Meta: model.Meta{ID: "office"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	})
}

func arp(source, sender MAC, request bool, senderIP, target string) *Packet {
	return &Packet{Source: source, EtherType: TypeARP, ARP: &ARP{
		Request: request, Sender: sender, SenderIP: ip(senderIP), Target: ip(target),
	}}
}

func packet(source MAC, from, to string, change func(*Packet)) *Packet {
	p := &Packet{Source: source, EtherType: TypeIPv4, SourceIP: ip(from), DestinationIP: ip(to)}
	if p.SourceIP.Is6() {
		p.EtherType = TypeIPv6
	}
	change(p)
	return p
}

func udp(source MAC, from string, fromPort uint16, to string, toPort uint16) *Packet {
	return packet(source, from, to, func(p *Packet) {
		p.Protocol, p.SourcePort, p.DestinationPort, p.Client = ProtoUDP, fromPort, toPort, source
	})
}

func tcp(source MAC, from, to string, port uint16) *Packet {
	return packet(source, from, to, func(p *Packet) {
		p.Protocol, p.SourcePort, p.DestinationPort, p.TCPFlags = ProtoTCP, 40000, port, FlagSYN
	})
}

func icmpv6(source MAC, from, to string, kind uint8, target string) *Packet {
	return packet(source, from, to, func(p *Packet) {
		p.Protocol, p.ICMPType = ProtoICMPv6, kind
		if target != "" {
			p.Target = ip(target)
		}
	})
}

func tagged(p *Packet) *Packet { p.Tagged = true; return p }

func asking(p *Packet, client MAC) *Packet { p.Client = client; return p }

// TestEgressOfAFilteredPort asks for web's frames, which its rules let out in IPv4, and in IPv6 not at all.
func TestEgressOfAFilteredPort(t *testing.T) {
	r := stateOf(t, example)
	web, _, _ := cast()
	for _, tc := range []struct {
		name   string
		packet *Packet
		pass   bool
		why    Reason
	}{
		{"a connection", tcp(macWeb, web4, db4, 80), true, ReasonRule},
		{"a tag", tagged(tcp(macWeb, web4, db4, 80)), false, ReasonVLANTag},
		{"the MAC of another", tcp(macDB, web4, db4, 80), false, ReasonSourceMAC},
		{"the MAC of its pair, the address not", tcp(macVRRP, web4, db4, 80), false, ReasonSourceAddress},
		{"its pair", tcp(macVRRP, virtual, db4, 80), true, ReasonRule},
		{"the address of its pair, the MAC not", tcp(macWeb, virtual, db4, 80), false, ReasonSourceAddress},
		{"an unknown type", &Packet{Source: macWeb, EtherType: 0x88cc}, false, ReasonEtherType},
		{"a frame of 802.3", &Packet{Source: macWeb, EtherType: 0x26}, false, ReasonEtherType},

		{"ARP for itself", arp(macWeb, macWeb, true, web4, db4), true, ReasonARP},
		{"ARP as another", arp(macWeb, macWeb, false, db4, web4), false, ReasonARPSender},
		{"ARP with another MAC inside", arp(macWeb, macDB, false, web4, db4), false, ReasonARPSender},
		{"a probe for its own", arp(macWeb, macWeb, true, "0.0.0.0", web4), true, ReasonARP},
		{"a probe for another's", arp(macWeb, macWeb, true, "0.0.0.0", db4), false, ReasonARPSender},
		{"a reply from nowhere", arp(macWeb, macWeb, false, "0.0.0.0", web4), false, ReasonARPSender},
		{"ARP of another form", &Packet{Source: macWeb, EtherType: TypeARP}, false, ReasonARPSender},

		{"DHCP", udp(macWeb, "0.0.0.0", 68, everywhere, 67), true, ReasonDHCPClient},
		{"DHCP for another", asking(udp(macWeb, "0.0.0.0", 68, everywhere, 67), macDB), false, ReasonDHCPClient},
		{"DHCP from nowhere to one host", udp(macWeb, "0.0.0.0", 68, db4, 67), false, ReasonSourceAddress},
		{"a renewal", udp(macWeb, web4, 68, "10.0.0.2", 67), true, ReasonDHCPClient},
		{"a release for another", asking(udp(macWeb, web4, 68, "10.0.0.2", 67), macDB), false, ReasonDHCPClient},
		{"a DHCP answer", udp(macWeb, web4, 67, everywhere, 68), false, ReasonDHCPServer},
		{"a relayed request", udp(macWeb, web4, 67, "10.0.0.2", 67), true, ReasonRule},
		{"DHCPv6", udp(macWeb, webLocal, 546, "ff02::1:2", 547), true, ReasonDHCPClient},
		{"a DHCPv6 answer", udp(macWeb, webLocal, 547, db6, 546), false, ReasonDHCPServer},

		{"a report from nowhere", icmpv6(macWeb, "::", "ff02::16", ListenerReportV2, ""), true, ReasonNeighbour},
		{"a router asked for from nowhere", icmpv6(macWeb, "::", "ff02::2", RouterSolicit, ""), false, ReasonSourceAddress},
		{"its address, is it free", icmpv6(macWeb, "::", "ff02::1:ff00:11", NeighbourSolicit, web6), true, ReasonNeighbour},
		{"another's, is it free", icmpv6(macWeb, "::", "ff02::1:ff00:12", NeighbourSolicit, db6), false, ReasonNDTarget},
		{"where is another", icmpv6(macWeb, web6, "ff02::1:ff00:12", NeighbourSolicit, db6), true, ReasonNeighbour},
		{"here it is", icmpv6(macWeb, web6, db6, NeighbourAdvert, web6), true, ReasonNeighbour},
		{"here is another", icmpv6(macWeb, web6, db6, NeighbourAdvert, db6), false, ReasonNDTarget},
		{"a router", icmpv6(macWeb, webLocal, "ff02::1", RouterAdvert, ""), false, ReasonRouterAdvert},
		{"a ping that no rule allows", icmpv6(macWeb, web6, db6, 128, ""), false, ReasonNoRule},
		{"a foreign source", udp(macWeb, db6, 1, web6, 2), false, ReasonSourceAddress},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := Egress(r, web, tc.packet, false)
			if v.Pass != tc.pass || v.Reason != tc.why || v.Direction != model.Egress {
				t.Errorf("%+v, want pass %v because of %s", v, tc.pass, tc.why)
			}
		})
	}
}

// TestIngressOfAFilteredPort asks for frames to db.
func TestIngressOfAFilteredPort(t *testing.T) {
	r := stateOf(t, example)
	_, db, _ := cast()
	for _, tc := range []struct {
		name   string
		packet *Packet
		pass   bool
		why    Reason
	}{
		{"a member of the group", tcp(macWeb, web4, db4, 5432), true, ReasonRule},
		{"the pair of a member", tcp(macVRRP, virtual, db4, 5432), true, ReasonRule},
		{"a member, on another port", tcp(macWeb, web4, db4, 5433), false, ReasonNoRule},
		{"no member", tcp(macGW, "10.0.0.1", db4, 5432), false, ReasonNoRule},
		{"an address of the list", udp(macGW, "192.0.2.9", 1, db4, 2), true, ReasonRule},
		{"no address of the list", udp(macGW, "192.0.3.9", 1, db4, 2), false, ReasonNoRule},
		{"a ping", echo(macGW, "192.0.3.9", db4, 1), true, ReasonRule},
		{"its answer", answer(echo(macWeb, db4, "192.0.3.9", 1), macGW), false, ReasonNoRule},
		{"a tag", tagged(tcp(macWeb, web4, db4, 5432)), false, ReasonVLANTag},
		{"an unknown type", &Packet{Source: macGW, EtherType: 0x88cc}, false, ReasonEtherType},
		{"ARP", arp(macWeb, macWeb, true, web4, db4), true, ReasonARP},
		{"a DHCP answer", udp(macGW, "10.0.0.2", 67, db4, 68), true, ReasonDHCPServer},
		{"a DHCP answer to all", udp(macGW, "10.0.0.2", 67, everywhere, 68), true, ReasonDHCPServer},
		{"a DHCP answer to another", udp(macGW, "10.0.0.2", 67, web4, 68), false, ReasonNoRule},
		{"a DHCPv6 answer", udp(macGW, "fe80::1", 547, "fe80::5", 546), true, ReasonDHCPServer},
		{"a router", icmpv6(macGW, "fe80::1", "ff02::1", RouterAdvert, ""), true, ReasonNeighbour},
		{"who is there", icmpv6(macGW, "fe80::1", db6, NeighbourSolicit, db6), true, ReasonNeighbour},
		{"a listener's report", icmpv6(macGW, "fe80::1", "ff02::16", ListenerReportV2, ""), false, ReasonNoRule},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := Ingress(r, db, tc.packet, false)
			if v.Pass != tc.pass || v.Reason != tc.why || v.Direction != model.Ingress {
				t.Errorf("%+v, want pass %v because of %s", v, tc.pass, tc.why)
			}
		})
	}
}

// TestNobodyIsTheUnspecifiedAddress: a pair for all addresses lets nobody send without one, nor probe for others.
func TestNobodyIsTheUnspecifiedAddress(t *testing.T) {
	r := stateOf(t, example)
	web, _, _ := cast()
	for _, block := range []string{"0.0.0.0/0", "::/0"} {
		pair := model.AddressPair{IP: netip.MustParsePrefix(block), MAC: web.MAC}
		web.AllowedAddressPairs = append(web.AllowedAddressPairs, pair)
	}
	for _, p := range []*Packet{
		udp(macWeb, "0.0.0.0", 1, db4, 2), icmpv6(macWeb, "::", "ff02::2", RouterSolicit, ""),
		arp(macWeb, macWeb, false, "0.0.0.0", db4),
	} {
		if v := Egress(r, web, p, false); v.Pass {
			t.Errorf("%+v of %+v", v, p)
		}
	}
}

func TestBothEndsDecide(t *testing.T) {
	r := stateOf(t, example)
	web, db, gw := cast()
	open := workload("open", macDB, db4)
	open.PortSecurityEnabled = false
	bare := workload("bare", macDB)
	for _, tc := range []struct {
		name     string
		from, to *model.Port
		packet   *Packet
		want     Verdict
	}{
		{"both agree", web, db, tcp(macWeb, web4, db4, 5432),
			Verdict{Pass: true, Reason: ReasonRule, Direction: model.Ingress, RuleID: "from-front"}},
		{"to outside", web, nil, tcp(macWeb, web4, db4, 5432),
			Verdict{Pass: true, Reason: ReasonRule, Direction: model.Egress, RuleID: "send"}},
		{"the sender does not", db, web, tcp(macDB, db4, web4, 80), Verdict{Reason: ReasonNoRule, Direction: model.Egress}},
		{"the network lies", gw, open, tagged(tcp(macDB, db4, web4, 80)),
			Verdict{Pass: true, Reason: ReasonUnfiltered, Direction: model.Ingress}},
		{"without addresses", bare, nil, udp(macDB, db4, 1, web4, 2),
			Verdict{Reason: ReasonSourceAddress, Direction: model.Egress}},
		{"without addresses, a router", gw, bare, icmpv6(macGW, "fe80::1", "ff02::1", RouterAdvert, ""),
			Verdict{Reason: ReasonNoRule, Direction: model.Ingress}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v := Decide(r, tc.from, tc.to, tc.packet, false); v != tc.want {
				t.Errorf("%+v, want %+v", v, tc.want)
			}
		})
	}
}

// TestRuleForms: which packets a rule is about.
func TestRuleForms(t *testing.T) {
	v4 := func(change func(*Packet)) *Packet { return packet(macGW, "192.0.2.1", db4, change) }
	v6 := func(change func(*Packet)) *Packet { return packet(macGW, "2001:db8:1::1", db6, change) }
	proto := func(n uint8) func(*Packet) { return func(p *Packet) { p.Protocol = n } }
	icmp := func(proto, kind, code uint8) func(*Packet) {
		return func(p *Packet) { p.Protocol, p.ICMPType, p.ICMPCode = proto, kind, code }
	}
	to := func(proto uint8, port uint16) func(*Packet) {
		return func(p *Packet) { p.Protocol, p.DestinationPort = proto, port }
	}
	for _, tc := range []struct {
		name     string
		rule     model.SecurityGroupRule
		yes, not []*Packet
	}{
		{"anything", model.SecurityGroupRule{}, []*Packet{v4(proto(6)), v4(proto(253))}, []*Packet{v6(proto(6))}},
		{"IPv6", model.SecurityGroupRule{EtherType: model.IPv6}, []*Packet{v6(proto(6))}, []*Packet{v4(proto(6))}},
		{"ip is any", model.SecurityGroupRule{Protocol: "ip"}, []*Packet{v4(proto(89))}, nil},
		{"a number", model.SecurityGroupRule{Protocol: "112"}, []*Packet{v4(proto(112))}, []*Packet{v4(proto(6))}},
		{"no protocol", model.SecurityGroupRule{Protocol: "nonsense"}, nil, []*Packet{v4(proto(6))}},
		{"a range", model.SecurityGroupRule{Protocol: "udp", PortMin: number(5), PortMax: number(7)},
			[]*Packet{v4(to(17, 5)), v4(to(17, 7))}, []*Packet{v4(to(17, 4)), v4(to(17, 8)), v4(to(6, 5))}},
		{"ports of sctp", model.SecurityGroupRule{Protocol: "sctp", PortMin: number(5), PortMax: number(5)},
			[]*Packet{v4(to(132, 5))}, []*Packet{v4(to(132, 6))}},
		{"ports where there are none", model.SecurityGroupRule{Protocol: "gre", PortMin: number(1), PortMax: number(9)},
			nil, []*Packet{v4(to(47, 5))}},
		{"type", model.SecurityGroupRule{Protocol: "icmp", PortMin: number(3)},
			[]*Packet{v4(icmp(1, 3, 0)), v4(icmp(1, 3, 4))}, []*Packet{v4(icmp(1, 8, 0))}},
		{"type and code", model.SecurityGroupRule{Protocol: "icmp", PortMin: number(3), PortMax: number(0)},
			[]*Packet{v4(icmp(1, 3, 0))}, []*Packet{v4(icmp(1, 3, 1))}},
		{"icmp of IPv6", model.SecurityGroupRule{Protocol: "icmp", EtherType: model.IPv6, PortMin: number(128)},
			[]*Packet{v6(icmp(58, 128, 0))}, []*Packet{v6(icmp(58, 129, 0)), v6(icmp(1, 128, 0))}},
		{"host bits", model.SecurityGroupRule{RemotePrefix: netip.MustParsePrefix("192.0.2.99/24")},
			[]*Packet{v4(proto(6))}, []*Packet{packet(macGW, "192.0.3.1", db4, proto(6))}},
		{"everywhere", model.SecurityGroupRule{RemotePrefix: netip.MustParsePrefix("10.0.0.0/0")},
			[]*Packet{v4(proto(6))}, nil},
		{"a list that is not there", model.SecurityGroupRule{RemoteAddressGroupID: "x"}, nil, []*Packet{v4(proto(6))}},
		{"a group that nobody has", model.SecurityGroupRule{RemoteGroupID: "x"}, nil, []*Packet{v4(proto(6))}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := stateOf(t, func(tx *state.Tx) {
				tc.rule.ID, tc.rule.GroupID, tc.rule.Direction = "rule", "back", model.Ingress
				if tc.rule.EtherType == "" {
					tc.rule.EtherType = model.IPv4
				}
				state.SecurityGroupRules.Put(tx, &tc.rule)
			})
			_, db, _ := cast()
			for want, packets := range map[bool][]*Packet{true: tc.yes, false: tc.not} {
				for _, p := range packets {
					if v := Ingress(r, db, p, false); v.Pass != want {
						t.Errorf("%+v of %+v", v, p)
					}
				}
			}
		})
	}
}
