package filter

import (
	"fmt"
	"net/netip"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/verdict"
)

// sent is a packet of a case.
type sent struct {
	what   string
	from   int // the slot
	to     []int
	packet *verdict.Packet
	form   form
}

func (s sent) String() string {
	p := s.packet
	text := fmt.Sprintf("%s, from %s (%s) to", s.what, slots[s.from].name, p.Source)
	for _, to := range s.to {
		text += " " + slots[to].name
	}
	switch {
	case p.EtherType == verdict.TypeARP && p.ARP != nil:
		text += fmt.Sprintf(": %+v", *p.ARP)
	case p.SourceIP.IsValid():
		text += fmt.Sprintf(": %s → %s protocol %d ports %d → %d flags %#x icmp %d/%d target %s client %s", p.SourceIP,
			p.DestinationIP, p.Protocol, p.SourcePort, p.DestinationPort, p.TCPFlags, p.ICMPType, p.ICMPCode, p.Target, p.Client)
	}
	if p.About != nil {
		text += fmt.Sprintf(", about %+v", *p.About)
	}
	return text + fmt.Sprintf("; tagged %v, ethertype %#04x, parts %d (lost %v), options %v", p.Tagged, p.EtherType,
		s.form.parts, s.form.lost, s.form.options)
}

// traffic draws the packets of a case.
type traffic struct {
	*rapid.T
	ports   []*model.Port
	packets []sent
	// talks counts the conversations of each network: the clients' ports are the same on all networks.
	talks map[string]int
	// first has the first packets of conversations: what errors are about.
	first []sent
}

func randomTraffic(t *rapid.T, ports []*model.Port) *traffic {
	tr := &traffic{T: t, ports: ports, talks: map[string]int{}}
	kinds := []func(from, to int, v int){
		tr.tcp, tr.tcp, tr.tcp, tr.udp, tr.udp, tr.echo, tr.echo, tr.other, tr.arp, tr.arp,
		tr.neighbour, tr.neighbour, tr.neighbour, tr.dhcp, tr.dhcp, tr.junk, tr.icmpError, tr.icmpError,
	}
	for range choose(t, []int{20, 50}, "talks") {
		if roll(t, 50, "talk") == 0 {
			continue
		}
		from := roll(t, len(slots), "from")
		to := choose(t, everybody(from), "to")
		tr.talks[slots[from].network]++
		choose(t, kinds, "kind")(from, to, roll(t, 2, "version"))
	}
	return tr
}

// more are further packets of the conversations, in both directions, between workloads that have used the addresses which
// are theirs.
func (t *traffic) more() (packets []sent) {
	for _, first := range t.first {
		p, to := first.packet, first.to[0]
		v := 0
		if p.SourceIP.Is6() {
			v = 1
		}
		if p.Source != slots[first.from].mac || p.SourceIP != slots[first.from].addresses[v] ||
			p.DestinationIP != slots[to].addresses[v] || p.Tagged || p.Protocol == protocolVRRP {
			continue
		}
		first.form.lost, first.packet = false, clone(p)
		back := t.answer(first, func(p *verdict.Packet) {
			switch p.Protocol {
			case verdict.ProtoICMP:
				p.ICMPType = 0
			case verdict.ProtoICMPv6:
				p.ICMPType = 129
			}
		})
		if p.Protocol == verdict.ProtoTCP {
			first.packet.TCPFlags, first.form.seq, first.form.ack = verdict.FlagACK, 1001, 5001
			back.packet.TCPFlags, back.form.seq, back.form.ack = verdict.FlagACK, 5001, 1001
		}
		packets = append(packets, back, first, back)
	}
	return packets
}

// protocolVRRP has no ports: all of it between two addresses is one connection.
const protocolVRRP = 112

func (t *traffic) chance(of int, what string) bool {
	return chance(t.T, of, what)
}

func (t *traffic) add(s sent) {
	s.packet.Destination = s.form.to
	t.packets = append(t.packets, s)
}

// client is the port that the workloads use in this conversation.
func (t *traffic) client(from int) uint16 { return uint16(20000 + t.talks[slots[from].network]) }

// source is a MAC and an address to send from: its own mostly, else one of a pair, else a lie. Who is not filtered lies
// about addresses only: with the MAC of somebody else it would draw his frames to itself.
func (t *traffic) source(from, v int) (verdict.MAC, netip.Addr) {
	s, p := slots[from], t.ports[from]
	addresses := []netip.Addr{outside[v], virtual[v], slots[1].addresses[v], slots[2].addresses[v]}
	if p.DeviceOwner == model.DeviceOwnerRouterInterfaceDistributed && t.chance(2, "routed") {
		return choose(t.T, []verdict.MAC{s.mac, centralMAC, elsewhereMAC, elsewhereMAC, strangerMAC, otherMAC}, "mac"), outside[v]
	}
	switch choice := roll(t.T, 16, "source"); {
	case choice < 11, choice < 14 && len(p.AllowedAddressPairs) == 0:
	case choice < 14:
		pair := choose(t.T, p.AllowedAddressPairs, "pair")
		mac, _ := verdict.ParseMAC(pair.MAC)
		for _, ip := range append(addresses, s.addresses[v]) {
			if pair.IP.Contains(ip) {
				return mac, ip
			}
		}
	case !p.Filtered():
		return s.mac, choose(t.T, addresses, "address")
	default:
		macs := []verdict.MAC{s.mac, s.mac, virtualMACs[0], slots[2].mac}
		return choose(t.T, macs, "mac"),
			choose(t.T, append(addresses, linkLocal(s.mac), s.addresses[v]), "address")
	}
	return s.mac, s.addresses[v]
}

// packet is one from a workload to another; change completes it.
func (t *traffic) packet(what string, from, to, v int, change func(*verdict.Packet)) sent {
	mac, ip := t.source(from, v)
	p := &verdict.Packet{
		Source: mac, EtherType: verdict.TypeIPv4, SourceIP: ip, DestinationIP: slots[to].addresses[v],
		Tagged: t.chance(60, "tagged"),
	}
	if t.chance(10, "elsewhere") {
		p.DestinationIP = choose(t.T, []netip.Addr{outside[v], virtual[v]}, "destination")
	}
	t.setType(p, v)
	change(p)
	for _, other := range []netip.Addr{outside[v], virtual[v]} {
		if p.SourceIP == p.DestinationIP { // it would be its own answer, and who knows which of both
			p.DestinationIP = other
		}
	}
	f := form{to: slots[to].mac, options: v == 1 && t.chance(6, "options")}
	return sent{what: what, from: from, to: []int{to}, packet: p, form: f}
}

// setType makes the Ethernet type that of the source address, which a lie may have made one of the other version.
func (t *traffic) setType(p *verdict.Packet, v int) {
	if p.SourceIP.Is4() && v == 1 {
		p.SourceIP = outside[v]
	}
	if p.SourceIP.Is6() && v == 0 {
		p.SourceIP = outside[v]
	}
	if v == 1 {
		p.EtherType = verdict.TypeIPv6
	}
}

// answer is what the receiver of a packet sends back, or one that it would have sent if it had got it.
func (t *traffic) answer(s sent, change func(*verdict.Packet)) sent {
	p := *s.packet
	to := s.to[0]
	p.Source, p.Tagged = slots[to].mac, false
	p.SourceIP, p.DestinationIP = p.DestinationIP, p.SourceIP
	p.SourcePort, p.DestinationPort = p.DestinationPort, p.SourcePort
	change(&p)
	f := s.form
	f.to, f.lost, f.seq, f.ack = slots[s.from].mac, false, s.form.ack, s.form.seq
	p.Destination = f.to
	return sent{what: "answer to " + s.what, from: to, to: []int{s.from}, packet: &p, form: f}
}

func (t *traffic) begin(s sent) {
	t.add(s)
	t.first = append(t.first, s)
}

// tcp opens a connection, and goes on to where the test chooses to. Whether a packet follows does not depend on whether
// those before it have passed.
func (t *traffic) tcp(from, to, v int) {
	syn := t.packet("SYN", from, to, v, func(p *verdict.Packet) {
		p.Protocol, p.SourcePort, p.TCPFlags = verdict.ProtoTCP, t.client(from), verdict.FlagSYN
		p.DestinationPort = choose(t.T, services, "service")
	})
	syn.form.seq = 1000
	steps := roll(t.T, 5, "steps")
	if !t.chance(6, "no SYN") {
		t.begin(syn)
	}
	back := t.answer(syn, func(p *verdict.Packet) { p.TCPFlags = verdict.FlagSYN | verdict.FlagACK })
	back.form.seq, back.form.ack = 5000, 1001
	ack := syn
	ack.what, ack.packet = "ACK", clone(syn.packet)
	ack.packet.TCPFlags, ack.form.seq, ack.form.ack = verdict.FlagACK, 1001, 5001
	data := back
	data.what, data.packet = "ACK back", clone(back.packet)
	data.packet.TCPFlags, data.form.seq, data.form.ack = verdict.FlagACK|verdict.FlagPSH, 5001, 1001
	for _, s := range []sent{back, ack, data, ack}[:steps] {
		t.add(s)
	}
}

func clone(p *verdict.Packet) *verdict.Packet {
	c := *p
	return &c
}

func (t *traffic) fragment(s *sent) {
	// Frames with a tag pass, where they do, without being looked into.
	if t.chance(4, "fragmented") && !s.packet.Tagged {
		s.form.parts = 2 + roll(t.T, 2, "parts")
		s.form.lost = t.chance(4, "lost")
	}
}

func (t *traffic) udp(from, to, v int) {
	s := t.packet("query", from, to, v, func(p *verdict.Packet) {
		p.Protocol, p.SourcePort = verdict.ProtoUDP, t.client(from)
		p.DestinationPort = choose(t.T, services, "service")
	})
	t.talk(s, func(*verdict.Packet) {})
}

// talk is a packet, sometimes its answer, sometimes the packet again.
func (t *traffic) talk(s sent, reply func(*verdict.Packet)) {
	t.fragment(&s)
	if !t.chance(6, "unasked") {
		t.begin(s)
	}
	if t.chance(2, "answered") {
		t.add(t.answer(s, reply))
	}
	if t.chance(3, "again") {
		s.form.lost = false
		t.add(s)
	}
}

func (t *traffic) echo(from, to, v int) {
	protocol, request, reply := uint8(verdict.ProtoICMP), uint8(8), uint8(0)
	if v == 1 {
		protocol, request, reply = verdict.ProtoICMPv6, 128, 129
	}
	s := t.packet("ping", from, to, v, func(p *verdict.Packet) {
		p.Protocol, p.ICMPType, p.ICMPID = protocol, request, t.client(from)
	})
	t.talk(s, func(p *verdict.Packet) { p.ICMPType = reply })
}

// other is about protocols without ports that we know the answers of.
func (t *traffic) other(from, to, v int) {
	protocol := choose(t.T, []uint8{protocolVRRP, protocolVRRP, 47, verdict.ProtoSCTP, verdict.ProtoICMP}, "protocol")
	switch protocol {
	case protocolVRRP:
		t.talk(t.packet("VRRP", from, to, v, func(p *verdict.Packet) { p.Protocol = protocol }), func(*verdict.Packet) {})
	case verdict.ProtoICMP:
		t.add(t.packet("a timestamp", from, to, 0, func(p *verdict.Packet) {
			p.Protocol, p.ICMPType = protocol, choose(t.T, []uint8{14, 3, 5}, "type")
		}))
	default:
		t.add(t.packet("a packet", from, to, v, func(p *verdict.Packet) {
			p.Protocol = protocol
			if protocol == verdict.ProtoSCTP {
				p.SourcePort, p.DestinationPort = t.client(from), choose(t.T, services, "service")
			}
		}))
	}
}

// icmpError is about a packet that was sent before, from anybody, to who sent it.
func (t *traffic) icmpError(from, _, _ int) {
	if len(t.first) == 0 {
		return
	}
	about := choose(t.T, t.first, "about")
	if about.from == from || slots[about.from].network != slots[from].network || about.packet.Tagged {
		return
	}
	v, protocol, kind := 0, uint8(verdict.ProtoICMP), uint8(3)
	if about.packet.SourceIP.Is6() {
		v, protocol, kind = 1, verdict.ProtoICMPv6, 1
	}
	s := t.packet("error", from, about.from, v, func(p *verdict.Packet) {
		p.Protocol, p.ICMPType, p.ICMPCode, p.About = protocol, kind, 1, about.packet
		p.DestinationIP = about.packet.SourceIP
	})
	t.add(s)
}

// everybody is who gets what is sent to all.
func everybody(from int) (to []int) {
	for i, s := range slots {
		if i != from && s.network == slots[from].network {
			to = append(to, i)
		}
	}
	return to
}

// toAll makes of a packet for one workload one for all of them.
func (t *traffic) toAll(s sent) sent {
	s.to, s.form.to = everybody(s.from), broadcast
	return s
}

func (t *traffic) arp(from, to, _ int) {
	mac, ip := t.source(from, 0)
	if ip.Is6() {
		ip = outside[0]
	}
	m := &verdict.ARP{Request: t.chance(2, "request"), Sender: mac, SenderIP: ip, Target: slots[to].addresses[0]}
	if t.chance(5, "probe") {
		whose := choose(t.T, []int{from, to}, "target")
		m.SenderIP, m.Target = netip.IPv4Unspecified(), slots[whose].addresses[0]
	}
	if t.chance(8, "another sender") {
		m.Sender = slots[to].mac
	}
	s := sent{what: "ARP", from: from, to: []int{to}, form: form{to: slots[to].mac, odd: t.chance(20, "odd")}}
	s.packet = &verdict.Packet{Source: mac, EtherType: verdict.TypeARP, ARP: m, Tagged: t.chance(60, "tagged")}
	if s.form.odd {
		s.packet.ARP = nil
	}
	if m.Request && t.chance(2, "to all") {
		s = t.toAll(s)
	}
	t.add(s)
}

// neighbour is about what ICMPv6 does below routing.
func (t *traffic) neighbour(from, to, _ int) {
	s := t.packet("neighbour discovery", from, to, 1, func(p *verdict.Packet) {
		p.Protocol = verdict.ProtoICMPv6
		p.ICMPType = choose(t.T, []uint8{130, 131, 132, 133, 134, 135, 135, 135, 136, 136, 136, 143}, "type")
		target := choose(t.T, []netip.Addr{
			slots[from].addresses[1], slots[from].addresses[1], linkLocal(p.Source), slots[to].addresses[1], virtual[1],
		}, "target")
		if p.ICMPType == verdict.NeighbourSolicit || p.ICMPType == verdict.NeighbourAdvert {
			p.Target = target
		}
		if t.chance(3, "unspecified") {
			p.SourceIP = netip.IPv6Unspecified()
		}
		if t.chance(3, "link-local") && p.Source == slots[from].mac {
			p.SourceIP = linkLocal(p.Source)
		}
	})
	if t.chance(2, "to all") {
		s.packet.DestinationIP = allNodes
		s = t.toAll(s)
		s.form.to = allNodesMAC
	}
	t.add(s)
}

func (t *traffic) dhcp(from, to, v int) {
	way := choose(t.T, [][2]uint16{{68, 67}, {68, 67}, {68, 67}, {67, 68}, {67, 68}, {67, 67}, {68, 68}}, "way")
	if v == 1 {
		way = choose(t.T, [][2]uint16{{546, 547}, {547, 546}}, "way")
	}
	s := t.packet("DHCP", from, to, v, func(p *verdict.Packet) {
		p.Protocol, p.SourcePort, p.DestinationPort = verdict.ProtoUDP, way[0], way[1]
		if v == 0 {
			p.Client = p.Source
			if t.chance(4, "another client") {
				p.Client = slots[to].mac
			}
		}
	})
	if v == 0 && t.chance(2, "to all") {
		s.packet.DestinationIP = netip.AddrFrom4([4]byte{255, 255, 255, 255})
		if way[0] == 68 && !t.chance(4, "from an address") {
			s.packet.SourceIP = netip.IPv4Unspecified()
		}
		s = t.toAll(s)
	}
	if v == 1 && t.chance(2, "link-local") {
		s.packet.DestinationIP = linkLocal(slots[to].mac)
	}
	t.add(s)
}

// junk is of Ethernet types that nobody knows.
func (t *traffic) junk(from, to, _ int) {
	s := sent{what: "junk", from: from, to: []int{to}, form: form{to: slots[to].mac}, packet: &verdict.Packet{
		Source: slots[from].mac, EtherType: choose(t.T, []uint16{0x88cc, 0x0026, 0x8035, 0x8137}, "type"),
		Tagged: t.chance(10, "tagged"),
	}}
	t.add(s)
}
