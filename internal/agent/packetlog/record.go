// Package packetlog is the file in which a host records what its filters accept and drop, where a log of the networking API
// asks for it: a line of JSON for each packet and log.
//
// Read record.go for what a line says, and file.go for how the file is kept from growing without bounds.
package packetlog

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// The events.
const (
	Accept = "ACCEPT"
	Drop   = "DROP"
)

// Record is a line. Nothing in it is text that somebody else has written: ids are those of documents, the rest is read
// from headers as numbers.
type Record struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	Log     string    `json:"log"`
	Project string    `json:"project"` // whose log it is
	Port    string    `json:"port"`
	// Direction is seen from the workload: egress or ingress.
	Direction string `json:"direction"`
	// SecurityGroup and Rule are what has accepted it. Rule is missing if the rule has changed meanwhile.
	SecurityGroup string `json:"security_group,omitempty"`
	Rule          string `json:"rule,omitempty"`
	// Reason is why it was dropped, as package verdict names it.
	Reason string `json:"reason,omitempty"`
	Packet
}

// Packet is what the headers say.
type Packet struct {
	SourceMAC      string     `json:"source_mac,omitempty"`
	DestinationMAC string     `json:"destination_mac,omitempty"`
	EtherType      string     `json:"ether_type"` // ipv4, ipv6, arp, or hexadecimal
	Source         netip.Addr `json:"source,omitzero"`
	Destination    netip.Addr `json:"destination,omitzero"`
	// Protocol is a name or a number.
	Protocol        string  `json:"protocol,omitempty"`
	SourcePort      *uint16 `json:"source_port,omitempty"`
	DestinationPort *uint16 `json:"destination_port,omitempty"`
	ICMPType        *uint8  `json:"icmp_type,omitempty"`
	ICMPCode        *uint8  `json:"icmp_code,omitempty"`

	// Number is that of the protocol, where there is one.
	Number uint8 `json:"-"`
}

// The types of frames that are looked into.
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
)

// Numbers of protocols (IANA).
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoDCCP   = 33
	protoICMPv6 = 58
	protoSCTP   = 132
	protoLite   = 136
)

var protocolNames = map[uint8]string{
	protoICMP: "icmp", protoTCP: "tcp", protoUDP: "udp", protoDCCP: "dccp", protoICMPv6: "icmpv6", protoSCTP: "sctp",
	protoLite: "udplite",
}

// Parse reads a packet, as far as it is there.
func Parse(link []byte, etherType uint16, payload []byte) Packet {
	p := Packet{EtherType: fmt.Sprintf("0x%04x", etherType)}
	if len(link) >= 12 {
		p.DestinationMAC, p.SourceMAC = net.HardwareAddr(link[:6]).String(), net.HardwareAddr(link[6:12]).String()
	}
	switch etherType {
	case typeIPv4:
		p.EtherType = "ipv4"
		p.parseIPv4(payload)
	case typeIPv6:
		p.EtherType = "ipv6"
		p.parseIPv6(payload)
	case typeARP:
		p.EtherType = "arp"
		if len(payload) >= 28 && binary.BigEndian.Uint16(payload[2:]) == typeIPv4 && payload[4] == 6 && payload[5] == 4 {
			p.Source, p.Destination = address(payload[14:18]), address(payload[24:28])
		}
	}
	return p
}

func address(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (p *Packet) parseIPv4(b []byte) {
	if len(b) < 20 {
		return
	}
	p.Source, p.Destination = address(b[12:16]), address(b[16:20])
	p.setProtocol(b[9])
	header := 4 * int(b[0]&0xf)
	const offset = 0x1fff
	if header >= 20 && len(b) >= header && binary.BigEndian.Uint16(b[6:])&offset == 0 {
		p.parseUpper(b[header:])
	}
}

func (p *Packet) parseIPv6(b []byte) {
	if len(b) < 40 {
		return
	}
	p.Source, p.Destination = address(b[8:24]), address(b[24:40])
	next, rest := b[6], b[40:]
	for {
		const hopByHop, routing, fragment, destination = 0, 43, 44, 60
		size := 8
		switch next {
		case hopByHop, routing, destination:
			if len(rest) < 8 {
				return
			}
			size = 8 + 8*int(rest[1])
		case fragment:
			if len(rest) < 8 {
				return
			}
			if binary.BigEndian.Uint16(rest[2:])>>3 != 0 {
				p.setProtocol(rest[0])
				return
			}
		default:
			p.setProtocol(next)
			p.parseUpper(rest)
			return
		}
		if len(rest) < size {
			return
		}
		next, rest = rest[0], rest[size:]
	}
}

func (p *Packet) setProtocol(n uint8) {
	p.Number = n
	if p.Protocol = protocolNames[n]; p.Protocol == "" {
		p.Protocol = strconv.Itoa(int(n))
	}
}

func (p *Packet) parseUpper(b []byte) {
	if len(b) < 4 {
		return
	}
	switch p.Number {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoLite:
		from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		p.SourcePort, p.DestinationPort = &from, &to
	case protoICMP, protoICMPv6:
		kind, code := b[0], b[1]
		p.ICMPType, p.ICMPCode = &kind, &code
	}
}
