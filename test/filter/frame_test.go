package filter

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/verdict"
)

// form is how a packet is put on the wire, as far as a verdict does not depend on it.
type form struct {
	to verdict.MAC
	// options is an extension header of IPv6 before the upper layer.
	options bool
	// parts is the number of fragments; 0 and 1: the datagram is whole. lost says that one of them is not sent.
	parts int
	lost  bool
	// seq and ack are those of TCP.
	seq, ack uint32
	// odd makes an ARP message one of another form.
	odd bool
}

// magic begins the mark by which a frame is known again where it arrives: magic and the number of the packet.
const magic = "NtRn"

const markLen = len(magic) + 4

func mark(number int) []byte { return binary.BigEndian.AppendUint32([]byte(magic), uint32(number)) }

// numberIn returns the number of the packet that the frame is, or is a part of.
func numberIn(frame []byte) (number int, ok bool) {
	at := bytes.Index(frame, []byte(magic))
	if at < 0 || len(frame) < at+markLen {
		return 0, false
	}
	return int(binary.BigEndian.Uint32(frame[at+len(magic):])), true
}

// encode returns the frames that the packet is sent in.
func encode(number int, p *verdict.Packet, f form) [][]byte {
	header := slices.Concat(f.to[:], p.Source[:])
	if p.Tagged {
		header = append(header, 0x81, 0x00, 0, 7)
	}
	header = binary.BigEndian.AppendUint16(header, p.EtherType)
	frame := func(body []byte) []byte {
		whole := slices.Concat(header, body)
		return append(whole, make([]byte, max(0, 60-len(whole)))...)
	}
	switch p.EtherType {
	case verdict.TypeARP:
		return [][]byte{frame(arpMessage(number, p, f))}
	case verdict.TypeIPv4, verdict.TypeIPv6:
	default:
		return [][]byte{frame(bytes.Repeat(mark(number), 5))}
	}
	var frames [][]byte
	for i, part := range split(payload(number, p, f), max(1, f.parts)) {
		if !f.lost || i != 0 {
			frames = append(frames, frame(datagram(number, p, f, part)))
		}
	}
	return frames
}

// options are destination options of IPv6, of padding only.
var options = []byte{0, 0, 1, 4, 0, 0, 0, 0}

// payload is what comes behind the header of IP.
func payload(number int, p *verdict.Packet, f form) []byte {
	b := upper(number, p, f)
	if f.options {
		b = slices.Concat([]byte{p.Protocol}, options[1:], b)
	}
	return b
}

// mayBeLost says whether a kernel that tracks connections in bridges may lose the packet although it may pass: where a
// later part has no room for the options, see package verdict.
func mayBeLost(p *verdict.Packet, f form) bool {
	if !f.options || f.parts < 2 {
		return false
	}
	longest, later := 0, 0
	for i, part := range split(payload(0, p, f), f.parts) {
		longest = max(longest, len(part.bytes))
		if i > 0 {
			later = max(later, len(part.bytes))
		}
	}
	return later > longest-len(options)
}

func arpMessage(number int, p *verdict.Packet, f form) []byte {
	m := p.ARP
	operation := byte(2)
	if m == nil || f.odd {
		m = &verdict.ARP{Sender: p.Source, SenderIP: netip.IPv4Unspecified(), Target: netip.IPv4Unspecified()}
	} else if m.Request {
		operation = 1
	}
	protocol := byte(0x08)
	if f.odd {
		protocol = 0x88
	}
	return slices.Concat([]byte{0, 1, protocol, 0, 6, 4, 0, operation}, m.Sender[:], m.SenderIP.AsSlice(), make([]byte, 6),
		m.Target.AsSlice(), mark(number))
}

// part is a piece of the payload of a datagram; offset in bytes.
type part struct {
	offset int
	more   bool
	bytes  []byte
	whole  bool
}

// firstPart is the least length of a fragment: the first one has to have all headers (RFC 8200, section 4.5).
const firstPart = 24

// split cuts the payload where fragments may be cut: every 8 bytes.
func split(payload []byte, n int) []part {
	if n == 1 {
		return []part{{bytes: payload, whole: true}}
	}
	size := max(firstPart, len(payload)/n/8*8)
	var parts []part
	for at := 0; at < len(payload); at += size {
		end := min(at+size, len(payload))
		parts = append(parts, part{offset: at, more: end < len(payload), bytes: payload[at:end]})
	}
	return parts
}

func datagram(number int, p *verdict.Packet, f form, piece part) []byte {
	more := uint16(0)
	if p.EtherType == verdict.TypeIPv4 {
		if piece.more {
			more = 0x2000
		}
		h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, p.Protocol, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(piece.bytes)))
		binary.BigEndian.PutUint16(h[4:], uint16(number))
		binary.BigEndian.PutUint16(h[6:], more|uint16(piece.offset/8))
		h = slices.Concat(h, p.SourceIP.AsSlice(), p.DestinationIP.AsSlice())
		binary.BigEndian.PutUint16(h[10:], checksum(h))
		return append(h, piece.bytes...)
	}
	next := p.Protocol
	if f.options {
		next = 60 // destination options
	}
	body := piece.bytes
	if !piece.whole {
		if piece.more {
			more = 1
		}
		fragment := []byte{next, 0, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(fragment[2:], uint16(piece.offset)|more)
		binary.BigEndian.PutUint32(fragment[4:], uint32(number))
		body, next = append(fragment, body...), 44
	}
	h := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	return slices.Concat(h, p.SourceIP.AsSlice(), p.DestinationIP.AsSlice(), body)
}

// upper is the header of the upper layer and what it carries, with its checksum.
func upper(number int, p *verdict.Packet, f form) []byte {
	// So long that each fragment has the whole mark somewhere; fragments of IPv6 are not shorter than its least MTU.
	marks := 12
	if p.EtherType == verdict.TypeIPv6 && f.parts > 1 {
		marks = 155 * f.parts
	}
	body := bytes.Repeat(mark(number), marks)
	var b []byte
	at := -1 // of the checksum
	switch p.Protocol {
	case verdict.ProtoTCP:
		b, at = tcpSegment(number, p, f), 16
	case verdict.ProtoUDP:
		if p.Client != (verdict.MAC{}) {
			body = dhcpMessage(number, p)
		}
		b, at = ports(p, 8, body), 6
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	case verdict.ProtoSCTP:
		b = ports(p, 12, body)
	case verdict.ProtoICMP, verdict.ProtoICMPv6:
		b, at = icmpMessage(number, p, body), 2
	default:
		b = slices.Concat(make([]byte, 8), body)
	}
	if at >= 0 {
		sum := checksum(slices.Concat(pseudoHeader(p, len(b)), b))
		if sum == 0 && p.Protocol == verdict.ProtoUDP {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(b[at:], sum)
	}
	return b
}

func ports(p *verdict.Packet, header int, body []byte) []byte {
	b := make([]byte, header, header+len(body))
	binary.BigEndian.PutUint16(b, p.SourcePort)
	binary.BigEndian.PutUint16(b[2:], p.DestinationPort)
	return append(b, body...)
}

// tcpSegment has the mark in an experimental option (RFC 6994), so that it needs no payload.
func tcpSegment(number int, p *verdict.Packet, f form) []byte {
	b := ports(p, 20, slices.Concat([]byte{253, 10}, mark(number), []byte{1, 1}))
	binary.BigEndian.PutUint32(b[4:], f.seq)
	binary.BigEndian.PutUint32(b[8:], f.ack)
	b[12], b[13] = byte(len(b)/4)<<4, p.TCPFlags
	binary.BigEndian.PutUint16(b[14:], 0x4000)
	return b
}

// dhcpMessage is a BOOTP header with chaddr, and the mark behind it.
func dhcpMessage(number int, p *verdict.Packet) []byte {
	b := make([]byte, 236)
	b[0], b[1], b[2] = 1, 1, 6
	copy(b[28:], p.Client[:])
	return append(b, bytes.Repeat(mark(number), 2)...)
}

func icmpMessage(number int, p *verdict.Packet, body []byte) []byte {
	h := make([]byte, 8, 64)
	h[0], h[1] = p.ICMPType, p.ICMPCode
	// A nonce (RFC 3971). The mark begins at a multiple of 8 bytes, so that no fragment has but a part of it.
	option := slices.Concat([]byte{14, 3, 0, 0, 0, 0, 0, 0}, mark(number), make([]byte, 8))
	switch {
	case p.About != nil:
		quoted := upper(0, p.About, form{})[:8]
		return slices.Concat(h, datagram(0, p.About, form{}, part{bytes: quoted, whole: true}), mark(number))
	case p.Protocol == verdict.ProtoICMP && (p.ICMPType == 0 || p.ICMPType == 8),
		p.Protocol == verdict.ProtoICMPv6 && (p.ICMPType == 128 || p.ICMPType == 129):
		binary.BigEndian.PutUint16(h[4:], p.ICMPID)
		return append(h, body...)
	case p.Protocol == verdict.ProtoICMP:
		return append(h, body...)
	}
	switch p.ICMPType {
	case verdict.NeighbourSolicit, verdict.NeighbourAdvert:
		return slices.Concat(h, p.Target.AsSlice(), option)
	case verdict.RouterAdvert:
		return slices.Concat(h, make([]byte, 8), option)
	case verdict.RouterSolicit:
		return slices.Concat(h, option)
	case verdict.ListenerQuery, verdict.ListenerReport, verdict.ListenerDone:
		return slices.Concat(h, make([]byte, 16), mark(number))
	}
	return append(h, body...)
}

func pseudoHeader(p *verdict.Packet, length int) []byte {
	if p.Protocol == verdict.ProtoICMP {
		return nil
	}
	b := slices.Concat(p.SourceIP.AsSlice(), p.DestinationIP.AsSlice())
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return append(b, 0, 0, 0, p.Protocol)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
