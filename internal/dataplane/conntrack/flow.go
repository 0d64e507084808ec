package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Of linux/netfilter/nfnetlink_conntrack.h, as far as only flows need it.
const (
	attrReply     = 2  // CTA_TUPLE_REPLY
	attrStatus    = 3  // CTA_STATUS
	attrProtoInfo = 4  // CTA_PROTOINFO
	attrNATSource = 6  // CTA_NAT_SRC
	attrTimeout   = 7  // CTA_TIMEOUT
	attrNATDest   = 13 // CTA_NAT_DST

	protoInfoTCP                       = 1 // CTA_PROTOINFO_TCP
	tcpState                           = 1 // CTA_PROTOINFO_TCP_STATE
	tcpScaleOriginal, tcpScaleReply    = 2, 3
	tcpFlagsOriginal, tcpFlagsReply    = 4, 5
	natMin4, natMax4, natMin6, natMax6 = 1, 2, 4, 5 // CTA_NAT_V4_MINIP …
	natProto                           = 3          // CTA_NAT_PROTO
	natPortMin, natPortMax             = 1, 2

	protoSource     = 2 // CTA_PROTO_SRC_PORT
	icmpID, icmp6ID = 4, 7
	beLiberal       = 0x08 // IP_CT_TCP_FLAG_BE_LIBERAL
	windowScale     = 0x01 // IP_CT_TCP_FLAG_WINDOW_SCALE
	statusConfirmed = 1 << 3
	protocolICMP    = 1
	protocolTCP     = 6
	protocolICMP6   = 58
)

// Status bits of a flow (enum ip_conntrack_status).
const (
	SeenReply = 1 << 1
	Assured   = 1 << 2
)

// States of a TCP connection (enum tcp_conntrack).
const (
	TCPEstablished = 3
	TCPLastAck     = 6
	TCPTimeWait    = 7
	TCPClose       = 8
)

// Tuple is one direction of a flow, by which the kernel finds it.
type Tuple struct {
	Source, Destination netip.Addr
	Protocol            uint8
	// SourcePort and DestinationPort, where the protocol has ports. Of ICMP, the first is the identifier, and the second
	// the type (high byte) and the code.
	SourcePort, DestinationPort uint16
}

// Flow is a connection with all that another host needs to go on with it.
type Flow struct {
	Zone            uint16
	Original, Reply Tuple
	Status          uint32
	Mark            uint32
	// Timeout in seconds, when it was read.
	Timeout uint32
	// State and the window scales are those of TCP; State 0: not told.
	State                     uint8
	ScaleOriginal, ScaleReply uint8
}

// Flows calls f for each flow that the kernel remembers.
func (t *Table) Flows(f func(Flow)) error {
	return t.dump(func(m []byte) {
		if flow, ok := parseFlow(m); ok {
			f(flow)
		}
	})
}

// Insert makes the kernel remember the flow, with its translation and its state, as if it had seen it from the beginning. What
// it knows of such a flow from an earlier time is replaced. TCP windows are not checked from then on, since nobody knows what was sent.
func (t *Table) Insert(f Flow) error {
	family := uint8(unix.AF_INET)
	if f.Original.Source.Is6() {
		family = unix.AF_INET6
	}
	req := t.request(msgNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, family)
	req.AddData(f.Original.encode(attrOriginal))
	// The kernel wants the reply as it would be without translation, and the translation besides.
	req.AddData(f.untranslated().encode(attrReply))
	addNumber(req, attrStatus, f.Status&(SeenReply|Assured)|statusConfirmed)
	addNumber(req, attrTimeout, f.Timeout)
	if f.Mark != 0 {
		addNumber(req, attrMark, f.Mark)
	}
	if f.Zone != 0 {
		req.AddData(nl.NewRtAttr(attrZone, binary.BigEndian.AppendUint16(nil, f.Zone)))
	}
	if f.Reply.Destination != f.Original.Source || f.Reply.sourceID(true) != f.Original.sourceID(false) {
		req.AddData(translation(attrNATSource, f.Reply.Destination, f.Reply.sourceID(true)))
	}
	icmp := f.Original.icmp()
	if f.Reply.Source != f.Original.Destination || !icmp && f.Reply.SourcePort != f.Original.DestinationPort {
		port := f.Reply.SourcePort
		if icmp {
			port = 0
		}
		req.AddData(translation(attrNATDest, f.Reply.Source, port))
	}
	if f.Original.Protocol == protocolTCP {
		req.AddData(f.protoInfo())
	}
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.EEXIST) {
		if _, err = t.forget(f).Execute(unix.NETLINK_NETFILTER, 0); err == nil || errors.Is(err, unix.ENOENT) {
			_, err = req.Execute(unix.NETLINK_NETFILTER, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("insert the connection from %s to %s: %w", f.Original.Source, f.Original.Destination, err)
	}
	return nil
}

func (t *Table) forget(f Flow) *nl.NetlinkRequest {
	family := uint8(unix.AF_INET)
	if f.Original.Source.Is6() {
		family = unix.AF_INET6
	}
	req := t.request(msgDelete, unix.NLM_F_ACK, family)
	req.AddData(f.Original.encode(attrOriginal))
	if f.Zone != 0 {
		req.AddData(nl.NewRtAttr(attrZone, binary.BigEndian.AppendUint16(nil, f.Zone)))
	}
	return req
}

func addNumber(req *nl.NetlinkRequest, kind int, v uint32) {
	req.AddData(nl.NewRtAttr(kind, binary.BigEndian.AppendUint32(nil, v)))
}

func (t Tuple) icmp() bool { return t.Protocol == protocolICMP || t.Protocol == protocolICMP6 }

// sourceID is what the translation of sources changes besides the address: the port of the side that began, which is the
// destination in a reply; or the identifier, which ICMP has in both directions.
func (t Tuple) sourceID(reply bool) uint16 {
	if reply && !t.icmp() {
		return t.DestinationPort
	}
	return t.SourcePort
}

// untranslated is the reply to the original.
func (f Flow) untranslated() Tuple {
	o := f.Original
	r := Tuple{Source: o.Destination, Destination: o.Source, Protocol: o.Protocol}
	if o.icmp() {
		r.SourcePort, r.DestinationPort = o.SourcePort, f.Reply.DestinationPort
	} else {
		r.SourcePort, r.DestinationPort = o.DestinationPort, o.SourcePort
	}
	return r
}

func (t Tuple) encode(kind int) *nl.RtAttr {
	tuple := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	ip := tuple.AddRtAttr(tupleIP|unix.NLA_F_NESTED, nil)
	source, destination := ipv4Source, ipv4Destination
	if t.Source.Is6() {
		source, destination = ipv6Source, ipv6Destination
	}
	ip.AddRtAttr(source, t.Source.AsSlice())
	ip.AddRtAttr(destination, t.Destination.AsSlice())
	proto := tuple.AddRtAttr(tupleProto|unix.NLA_F_NESTED, nil)
	proto.AddRtAttr(protoNumber, []byte{t.Protocol})
	if !t.icmp() {
		proto.AddRtAttr(protoSource, binary.BigEndian.AppendUint16(nil, t.SourcePort))
		proto.AddRtAttr(protoDestination, binary.BigEndian.AppendUint16(nil, t.DestinationPort))
		return tuple
	}
	id, kindOf, code := icmpID, icmpType, icmpCode
	if t.Protocol == protocolICMP6 {
		id, kindOf, code = icmp6ID, icmp6Type, icmp6Code
	}
	proto.AddRtAttr(id, binary.BigEndian.AppendUint16(nil, t.SourcePort))
	proto.AddRtAttr(kindOf, []byte{byte(t.DestinationPort >> 8)})
	proto.AddRtAttr(code, []byte{byte(t.DestinationPort)})
	return tuple
}

// translation says to which address and port one side is translated; port 0: it keeps its own.
func translation(kind int, address netip.Addr, port uint16) *nl.RtAttr {
	nat := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	low, high := natMin4, natMax4
	if address.Is6() {
		low, high = natMin6, natMax6
	}
	nat.AddRtAttr(low, address.AsSlice())
	nat.AddRtAttr(high, address.AsSlice())
	if port != 0 {
		proto := nat.AddRtAttr(natProto|unix.NLA_F_NESTED, nil)
		proto.AddRtAttr(natPortMin, binary.BigEndian.AppendUint16(nil, port))
		proto.AddRtAttr(natPortMax, binary.BigEndian.AppendUint16(nil, port))
	}
	return nat
}

func (f Flow) protoInfo() *nl.RtAttr {
	info := nl.NewRtAttr(attrProtoInfo|unix.NLA_F_NESTED, nil)
	tcp := info.AddRtAttr(protoInfoTCP|unix.NLA_F_NESTED, nil)
	state := f.State
	if state == 0 {
		state = TCPEstablished
	}
	tcp.AddRtAttr(tcpState, []byte{state})
	tcp.AddRtAttr(tcpScaleOriginal, []byte{f.ScaleOriginal})
	tcp.AddRtAttr(tcpScaleReply, []byte{f.ScaleReply})
	flags := []byte{beLiberal | windowScale, beLiberal | windowScale} // the flags, and which of them are set
	tcp.AddRtAttr(tcpFlagsOriginal, flags)
	tcp.AddRtAttr(tcpFlagsReply, flags)
	return info
}

// parseFlow copies what it keeps: the message is only borrowed.
func parseFlow(m []byte) (f Flow, ok bool) {
	if len(m) < headerLength {
		return f, false
	}
	each(m[headerLength:], func(kind int, v []byte) {
		switch {
		case kind == attrOriginal:
			f.Original.parse(v)
		case kind == attrReply:
			f.Reply.parse(v)
		case kind == attrStatus && len(v) == 4:
			f.Status = binary.BigEndian.Uint32(v)
		case kind == attrMark && len(v) == 4:
			f.Mark = binary.BigEndian.Uint32(v)
		case kind == attrTimeout && len(v) == 4:
			f.Timeout = binary.BigEndian.Uint32(v)
		case kind == attrZone && len(v) == 2:
			f.Zone = binary.BigEndian.Uint16(v)
		case kind == attrProtoInfo:
			each(v, func(kind int, v []byte) {
				if kind == protoInfoTCP {
					each(v, f.parseTCP)
				}
			})
		}
	})
	return f, f.Original.Source.IsValid() && f.Original.Destination.IsValid() && f.Reply.Source.IsValid()
}

func (f *Flow) parseTCP(kind int, v []byte) {
	if len(v) != 1 {
		return
	}
	switch kind {
	case tcpState:
		f.State = v[0]
	case tcpScaleOriginal:
		f.ScaleOriginal = v[0]
	case tcpScaleReply:
		f.ScaleReply = v[0]
	}
}

func (t *Tuple) parse(b []byte) {
	each(b, func(kind int, v []byte) {
		switch kind {
		case tupleIP:
			t.Source, t.Destination = parseAddresses(v)
		case tupleProto:
			each(v, t.parseProtocol)
		}
	})
}

func (t *Tuple) parseProtocol(kind int, v []byte) {
	switch {
	case kind == protoNumber && len(v) == 1:
		t.Protocol = v[0]
	case (kind == protoSource || kind == icmpID || kind == icmp6ID) && len(v) == 2:
		t.SourcePort = binary.BigEndian.Uint16(v)
	case kind == protoDestination && len(v) == 2:
		t.DestinationPort = binary.BigEndian.Uint16(v)
	case (kind == icmpType || kind == icmp6Type) && len(v) == 1:
		t.DestinationPort |= uint16(v[0]) << 8
	case (kind == icmpCode || kind == icmp6Code) && len(v) == 1:
		t.DestinationPort |= uint16(v[0])
	}
}
