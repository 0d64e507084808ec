package verdict

import (
	"net"
	"net/netip"
)

// Ethernet types (IEEE 802 Numbers, IANA).
const (
	TypeIPv4 = 0x0800
	TypeARP  = 0x0806
	TypeIPv6 = 0x86dd
)

// Protocol numbers (Protocol Numbers, IANA).
const (
	ProtoICMP    = 1
	ProtoTCP     = 6
	ProtoUDP     = 17
	ProtoDCCP    = 33
	ProtoICMPv6  = 58
	ProtoSCTP    = 132
	ProtoUDPLite = 136
)

// ICMPv6 types (ICMPv6 Parameters, IANA).
const (
	ListenerQuery    = 130
	ListenerReport   = 131
	ListenerDone     = 132
	RouterSolicit    = 133
	RouterAdvert     = 134
	NeighbourSolicit = 135
	NeighbourAdvert  = 136
	ListenerReportV2 = 143
)

// Flags of TCP (RFC 9293, section 3.1).
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
)

// Ports of DHCP (RFC 2131, RFC 8415).
const (
	dhcpServerPort   = 67
	dhcpClientPort   = 68
	dhcpv6ServerPort = 547
	dhcpv6ClientPort = 546
)

// MAC is an Ethernet address.
type MAC [6]byte

// ParseMAC reads an address as the API writes it. It is not ok for what is none.
func ParseMAC(text string) (mac MAC, ok bool) {
	parsed, err := net.ParseMAC(text)
	if err != nil || len(parsed) != len(mac) {
		return mac, false
	}
	return MAC(parsed), true
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// linkLocal is the IPv6 link-local address that is made of the MAC (RFC 4291, appendix A).
func (m MAC) linkLocal() netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})
}

// Packet is a frame, as far as the policy looks at it. A fragmented datagram is one Packet: the whole.
type Packet struct {
	Source, Destination MAC
	// Tagged says that the frame has a VLAN tag of 802.1Q or 802.1ad.
	Tagged bool
	// EtherType is what follows the MACs (and the tag).
	EtherType uint16
	// ARP is set where EtherType is TypeARP; nil there: it has not the form of Ethernet and IPv4.
	ARP *ARP

	// Of IPv4 and IPv6:
	SourceIP, DestinationIP netip.Addr
	// Protocol is that of the upper layer, behind the extension headers of IPv6.
	Protocol uint8
	// Of TCP, UDP, UDP-Lite, SCTP and DCCP:
	SourcePort, DestinationPort uint16
	// TCPFlags are the low eight flags of TCP.
	TCPFlags uint8
	// Of ICMP and ICMPv6:
	ICMPType, ICMPCode uint8
	// ICMPID is the identifier of an echo, request or reply.
	ICMPID uint16
	// Target is that of a neighbour solicitation or advertisement.
	Target netip.Addr
	// Client is the chaddr of a DHCPv4 message.
	Client MAC
	// About is the packet that an ICMP error quotes.
	About *Packet
}

// ARP is a message of the form for Ethernet and IPv4 (RFC 826).
type ARP struct {
	Request          bool
	Sender           MAC
	SenderIP, Target netip.Addr
}

// udp says whether the packet is UDP between the ports.
func (p *Packet) udp(from, to uint16) bool {
	return p.Protocol == ProtoUDP && p.SourcePort == from && p.DestinationPort == to
}

// icmpv6 says whether the packet is ICMPv6 of one of the types.
func (p *Packet) icmpv6(types ...uint8) bool {
	if p.EtherType != TypeIPv6 || p.Protocol != ProtoICMPv6 {
		return false
	}
	for _, t := range types {
		if p.ICMPType == t {
			return true
		}
	}
	return false
}

// hasPorts says whether the protocol is one of those with ports that rules can be about.
func hasPorts(protocol uint8) bool {
	switch protocol {
	case ProtoTCP, ProtoUDP, ProtoDCCP, ProtoSCTP, ProtoUDPLite:
		return true
	}
	return false
}
