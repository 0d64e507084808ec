// Package conntrack goes through the connections that the kernel remembers in a network namespace, has it forget some, and
// marks others.
package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// Of linux/netfilter/nfnetlink_conntrack.h.
const (
	subsystem = 1 << 8 // NFNL_SUBSYS_CTNETLINK
	msgNew    = 0      // IPCTNL_MSG_CT_NEW; of one that is there already, it changes what it says
	msgGet    = 1      // IPCTNL_MSG_CT_GET
	msgDelete = 2      // IPCTNL_MSG_CT_DELETE
	msgStats  = 5      // IPCTNL_MSG_CT_GET_STATS

	attrEntries = 1 // CTA_STATS_GLOBAL_ENTRIES

	attrOriginal = 1  // CTA_TUPLE_ORIG
	attrMark     = 8  // CTA_MARK
	attrID       = 12 // CTA_ID
	attrZone     = 18 // CTA_ZONE

	tupleIP    = 1 // CTA_TUPLE_IP
	tupleProto = 2 // CTA_TUPLE_PROTO

	ipv4Source, ipv4Destination, ipv6Source, ipv6Destination = 1, 2, 3, 4

	protoNumber, protoDestination = 1, 3
	icmpType, icmpCode            = 5, 6
	icmp6Type, icmp6Code          = 8, 9

	headerLength = 4 // struct nfgenmsg
)

// Connection is one that the kernel remembers, as its first packet was.
type Connection struct {
	Zone                uint16
	Protocol            uint8
	Source, Destination netip.Addr
	// Port is the destination port, where the protocol has ports; Type and Code are those of ICMP and ICMPv6.
	Port       uint16
	Type, Code uint8
	Mark       uint32
	// SourcePort is where the first packet came from, Answerer and AnswererPort are who answers it: the destination, as it
	// is behind a translation.
	SourcePort   uint16
	Answerer     netip.Addr
	AnswererPort uint16

	family   uint8
	original []byte
	id       []byte
}

// Table is the connections of a namespace. One goroutine at a time may use it.
type Table struct {
	sockets map[int]*nl.SocketHandle
}

// Open opens the table of the namespace; nil stands for that of the process. Close gives its socket back.
func Open(ns *netns.Handle) (*Table, error) {
	var socket *nl.NetlinkSocket
	open := func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_NETFILTER)
		return err
	}
	var err error
	if ns == nil {
		err = open()
	} else {
		err = netns.Do(ns, open)
	}
	if err != nil {
		return nil, fmt.Errorf("open a socket to the tracking of connections: %w", err)
	}
	return &Table{sockets: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: socket}}}, nil
}

// Close gives the socket back.
func (t *Table) Close() {
	for _, s := range t.sockets {
		s.Close()
	}
}

// Fate is what is to become of a connection.
type Fate struct {
	Forget bool
	// Mark is the mark that it is to have.
	Mark uint32
}

// Change is what is to become of a connection that was found.
type Change struct {
	connection Connection
	fate       Fate
}

// Find goes through all connections, and returns those of which decide says that something is to become of them.
func (t *Table) Find(decide func(Connection) Fate) ([]Change, error) {
	var all []Change
	err := t.dump(func(m []byte) {
		if c, ok := parse(m); ok {
			if fate := decide(c); fate.Forget || fate.Mark != c.Mark {
				all = append(all, Change{c, fate})
			}
		}
	})
	return all, err
}

// dump calls f for each connection. The kernel has one table for all namespaces and goes through the whole of it, so it is
// asked first whether this namespace has any connection.
func (t *Table) dump(f func(m []byte)) error {
	n, err := t.Count()
	if err != nil || n == 0 {
		return err
	}
	err = t.request(msgGet, unix.NLM_F_DUMP, unix.AF_UNSPEC).ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool {
		f(m)
		return true
	})
	if err != nil {
		return fmt.Errorf("read the connections: %w", err)
	}
	return nil
}

// Count is the number of connections that the namespace has.
func (t *Table) Count() (n int, err error) {
	answers, err := t.request(msgStats, unix.NLM_F_ACK, unix.AF_UNSPEC).Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return 0, fmt.Errorf("count the connections: %w", err)
	}
	found := false
	for _, m := range answers {
		if len(m) < headerLength {
			continue
		}
		each(m[headerLength:], func(kind int, v []byte) {
			if kind == attrEntries && len(v) == 4 {
				n, found = int(binary.BigEndian.Uint32(v)), true
			}
		})
	}
	if !found {
		return 0, errors.New("count the connections: the kernel does not say how many there are")
	}
	return n, nil
}

// Do makes a change. It is no error if the connection has ended by itself.
func (t *Table) Do(c Change) error {
	var req *nl.NetlinkRequest
	if c.fate.Forget {
		req = t.about(msgDelete, c.connection)
		req.AddData(nl.NewRtAttr(attrID, c.connection.id))
	} else {
		req = t.about(msgNew, c.connection)
		req.AddData(nl.NewRtAttr(attrMark, binary.BigEndian.AppendUint32(nil, c.fate.Mark)))
	}
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("change the connection from %s to %s: %w", c.connection.Source, c.connection.Destination, err)
	}
	return nil
}

// about begins a message about a connection.
func (t *Table) about(kind int, c Connection) *nl.NetlinkRequest {
	req := t.request(kind, unix.NLM_F_ACK, c.family)
	req.AddData(nl.NewRtAttr(attrOriginal|unix.NLA_F_NESTED, c.original))
	if c.Zone != 0 {
		req.AddData(nl.NewRtAttr(attrZone, binary.BigEndian.AppendUint16(nil, c.Zone)))
	}
	return req
}

func (t *Table) request(kind, flags int, family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(subsystem|kind, flags)
	req.Sockets = t.sockets
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: unix.NFNETLINK_V0})
	return req
}

// each calls f for every attribute in b. Nothing is copied.
func each(b []byte, f func(kind int, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return
		}
		f(int(binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK), b[unix.SizeofNlAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

// parse copies what it keeps: the message is only borrowed.
func parse(m []byte) (c Connection, ok bool) {
	if len(m) < headerLength {
		return c, false
	}
	c.family = m[0]
	each(m[headerLength:], func(kind int, v []byte) {
		switch {
		case kind == attrOriginal:
			c.original = append([]byte(nil), v...)
			c.parseTuple(v)
		case kind == attrReply:
			c.parseReply(v)
		case kind == attrZone && len(v) == 2:
			c.Zone = binary.BigEndian.Uint16(v)
		case kind == attrMark && len(v) == 4:
			c.Mark = binary.BigEndian.Uint32(v)
		case kind == attrID:
			c.id = append([]byte(nil), v...)
		}
	})
	return c, c.Source.IsValid() && c.Destination.IsValid()
}

func (c *Connection) parseTuple(b []byte) {
	each(b, func(kind int, v []byte) {
		switch kind {
		case tupleIP:
			c.Source, c.Destination = parseAddresses(v)
		case tupleProto:
			each(v, c.parseProtocol)
		}
	})
}

// parseReply reads from the tuple of answers where they come from.
func (c *Connection) parseReply(b []byte) {
	each(b, func(kind int, v []byte) {
		switch kind {
		case tupleIP:
			c.Answerer, _ = parseAddresses(v)
		case tupleProto:
			each(v, func(kind int, v []byte) {
				if kind == protoSource && len(v) == 2 {
					c.AnswererPort = binary.BigEndian.Uint16(v)
				}
			})
		}
	})
}

// parseAddresses reads the addresses of a tuple.
func parseAddresses(b []byte) (source, destination netip.Addr) {
	each(b, func(kind int, v []byte) {
		a, _ := netip.AddrFromSlice(v)
		switch kind {
		case ipv4Source, ipv6Source:
			source = a
		case ipv4Destination, ipv6Destination:
			destination = a
		}
	})
	return source, destination
}

func (c *Connection) parseProtocol(kind int, v []byte) {
	switch {
	case kind == protoNumber && len(v) == 1:
		c.Protocol = v[0]
	case kind == protoSource && len(v) == 2:
		c.SourcePort = binary.BigEndian.Uint16(v)
	case kind == protoDestination && len(v) == 2:
		c.Port = binary.BigEndian.Uint16(v)
	case (kind == icmpType || kind == icmp6Type) && len(v) == 1:
		c.Type = v[0]
	case (kind == icmpCode || kind == icmp6Code) && len(v) == 1:
		c.Code = v[0]
	}
}
