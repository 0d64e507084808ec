package verdict_test

import (
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	. "github.com/neutrino-net/neutrino/internal/verdict"
)

// answer is the packet that a workload sends back.
func answer(p *Packet, source MAC) *Packet {
	a := *p
	a.Source, a.SourceIP, a.DestinationIP = source, p.DestinationIP, p.SourceIP
	a.SourcePort, a.DestinationPort = p.DestinationPort, p.SourcePort
	switch p.Protocol {
	case ProtoICMP:
		a.ICMPType = 0
	case ProtoTCP:
		a.TCPFlags = FlagSYN | FlagACK
	}
	return &a
}

func echo(source MAC, from, to string, id uint16) *Packet {
	return packet(source, from, to, func(p *Packet) { p.Protocol, p.ICMPType, p.ICMPID = ProtoICMP, 8, id })
}

func TestAnswersAreEstablished(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first *Packet
	}{
		{"TCP", tcp(macWeb, web4, db4, 5432)},
		{"UDP", udp(macWeb, web4, 1000, db4, 53)},
		{"echo", echo(macWeb, web4, db4, 7)},
		{"another protocol", packet(macWeb, web4, db4, func(p *Packet) { p.Protocol = 47 })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c Connections
			back := answer(tc.first, macDB)
			if c.Established("net", back) {
				t.Error("an answer to nothing")
			}
			c.Passed("net", tc.first)
			if c.Established("net", tc.first) {
				t.Error("the first packet again, unanswered")
			}
			if !c.Established("net", back) || c.Established("other", back) {
				t.Error("the answer, on its network and on another")
			}
			failure := packet(macGW, "10.0.0.1", web4, func(p *Packet) {
				p.Protocol, p.ICMPType, p.About = ProtoICMP, 3, tc.first
			})
			if !c.Established("net", failure) || c.Established("other", failure) {
				t.Error("an error about it, on its network and on another")
			}
			failure.DestinationIP = ip(virtual)
			if c.Established("net", failure) {
				t.Error("an error about it, to somebody else")
			}
			c.Passed("net", back)
			if !c.Established("net", tc.first) {
				t.Error("the first packet again, answered")
			}
		})
	}
}

func TestAConnectionIsCutWhileItCouldNotBegin(t *testing.T) {
	var c Connections
	first := tcp(macWeb, web4, db4, 5432)
	back := answer(first, macDB)
	c.Passed("net", first)
	c.Passed("net", back)
	failure := packet(macGW, "10.0.0.1", web4, func(p *Packet) { p.Protocol, p.ICMPType, p.About = ProtoICMP, 3, first })
	for _, permitted := range []bool{false, true} {
		c.Review(func(network string, p *Packet) bool {
			if network != "net" || p != first {
				t.Errorf("asked for %+v on %s", p, network)
			}
			return permitted
		})
		for _, p := range []*Packet{first, back, failure} {
			if c.Established("net", p) != permitted {
				t.Errorf("permitted %v: %+v", permitted, p)
			}
			c.Passed("net", p) // by a rule: that begins nothing new
		}
	}
}

func TestWhatBeginsNoConnection(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first *Packet
	}{
		{"an answer of TCP", answer(tcp(macDB, db4, web4, 80), macWeb)},
		{"an echo reply", answer(echo(macDB, db4, web4, 7), macWeb)},
		{"neighbour discovery", icmpv6(macWeb, web6, db6, NeighbourSolicit, db6)},
		{"a tagged frame", tagged(tcp(macWeb, web4, db4, 80))},
		{"ARP", arp(macWeb, macWeb, true, web4, db4)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c Connections
			c.Passed("net", tc.first)
			if c.Established("net", answer(tc.first, macDB)) {
				t.Error("it has begun one")
			}
		})
	}
}

// TestStatelessGroupsKnowNoConnections: both ways need a rule.
func TestStatelessGroupsKnowNoConnections(t *testing.T) {
	r := stateOf(t, func(tx *state.Tx) {
		example(tx)
		state.SecurityGroups.Put(tx, &model.SecurityGroup{Meta: model.Meta{ID: "back"}})
	})
	web, db, _ := cast()
	back := answer(tcp(macWeb, web4, db4, 5432), macDB)
	if v := Egress(r, db, back, true); v.Pass || v.Reason != ReasonNoRule {
		t.Errorf("the stateless port sends: %+v", v)
	}
	if v := Ingress(r, web, back, true); !v.Pass || v.Reason != ReasonEstablished {
		t.Errorf("the stateful port gets: %+v", v)
	}
}
