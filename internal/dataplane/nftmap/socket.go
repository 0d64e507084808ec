package nftmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// Of linux/netfilter/nfnetlink.h.
const (
	subsystem  = 10   // NFNL_SUBSYS_NFTABLES, the upper byte of a message's type
	batchBegin = 0x10 // NFNL_MSG_BATCH_BEGIN
	batchEnd   = 0x11 // NFNL_MSG_BATCH_END
	headerSize = 4    // struct nfgenmsg
)

const (
	// patience is how long the kernel's answer may take; it comes within the call, unless the machine is in trouble.
	patience = 5 * time.Second
	// sendBuffer, in bytes, bounds the size of a transaction: it has to be sent by one call.
	sendBuffer = 32 << 20
	// dumpAttempts bounds the repetitions of a dump that was interrupted by a change of the table.
	dumpAttempts = 20
	maxMessage   = 64 << 10
)

var errInterrupted = errors.New("the table kept changing while it was read")

// Conn is a netlink socket in one network namespace. One goroutine at a time may use it.
type Conn struct {
	fd       int
	sequence uint32
	buffer   []byte
}

// Dial opens a socket in the namespace.
func Dial(ns *netns.Handle) (*Conn, error) {
	c := &Conn{fd: -1, buffer: make([]byte, maxMessage)}
	err := netns.Do(ns, func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err == nil {
		err = unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err == nil {
		err = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
	}
	if err == nil {
		timeout := unix.NsecToTimeval(int64(patience))
		err = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open an nftables socket in the namespace %s: %w", ns.Name(), err)
	}
	return c, nil
}

// Close gives the socket back.
func (c *Conn) Close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

// generic is struct nfgenmsg, the header of every message of netfilter.
type generic struct {
	family   uint8
	resource uint16
}

func (g generic) Len() int { return headerSize }

func (g generic) Serialize() []byte {
	return binary.BigEndian.AppendUint16([]byte{g.family, 0}, g.resource)
}

func newRequest(kind, flags int, family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(subsystem<<8|kind, flags)
	req.AddData(generic{family: family})
	return req
}

// dump sends the request and calls each with the attributes of every message of the answer.
func (c *Conn) dump(request func() *nl.NetlinkRequest, reset func(), each func(attributes []byte)) error {
	for range dumpAttempts {
		reset()
		req := request()
		c.number(req)
		if err := c.send(req.Serialize()); err != nil {
			return err
		}
		interrupted, err := c.receiveDump(req.Seq, each)
		if err != nil {
			return err
		}
		if !interrupted {
			return nil
		}
	}
	return errInterrupted
}

func (c *Conn) receiveDump(sequence uint32, each func(attributes []byte)) (interrupted bool, err error) {
	for done := false; !done; {
		err := c.receive(func(h unix.NlMsghdr, body []byte) error {
			if h.Seq != sequence {
				return nil // of an earlier request that failed
			}
			interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch h.Type {
			case unix.NLMSG_DONE:
				done = true
				return errnoOf(body)
			case unix.NLMSG_ERROR:
				done = true
				return errnoOf(body)
			}
			if len(body) >= headerSize {
				each(body[headerSize:])
			}
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return interrupted, nil
}

// batch sends the messages as one transaction.
func (c *Conn) batch(messages []*nl.NetlinkRequest) error {
	begin, end := nl.NewNetlinkRequest(batchBegin, 0), nl.NewNetlinkRequest(batchEnd, 0)
	var bytes []byte
	waiting := map[uint32]bool{}
	begin.AddData(generic{resource: subsystem})
	end.AddData(generic{resource: subsystem})
	c.number(begin)
	bytes = append(bytes, begin.Serialize()...)
	for _, m := range messages {
		c.number(m)
		waiting[m.Seq] = true
		bytes = append(bytes, m.Serialize()...)
	}
	c.number(end)
	if err := c.send(append(bytes, end.Serialize()...)); err != nil {
		return err
	}
	var refused error
	for len(waiting) > 0 {
		err := c.receive(func(h unix.NlMsghdr, body []byte) error {
			if h.Type != unix.NLMSG_ERROR {
				return nil
			}
			err := errnoOf(body)
			if h.Seq == begin.Seq && err != nil {
				clear(waiting) // the transaction as a whole
			}
			if waiting[h.Seq] || h.Seq == begin.Seq {
				refused = errors.Join(refused, err)
			}
			delete(waiting, h.Seq)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return refused
}

func (c *Conn) number(req *nl.NetlinkRequest) {
	c.sequence++
	req.Seq = c.sequence
}

func (c *Conn) send(bytes []byte) error {
	return unix.Sendto(c.fd, bytes, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive reads one datagram and calls f for each message in it.
func (c *Conn) receive(f func(h unix.NlMsghdr, body []byte) error) error {
	n, _, err := unix.Recvfrom(c.fd, c.buffer, 0)
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(c.fd, c.buffer, 0)
	}
	if err != nil {
		return fmt.Errorf("receive from netlink: %w", err)
	}
	for b := c.buffer[:n]; len(b) >= unix.SizeofNlMsghdr; {
		h := unix.NlMsghdr{
			Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:]),
		}
		if h.Len < unix.SizeofNlMsghdr || int(h.Len) > len(b) {
			return unix.EBADMSG
		}
		if err := f(h, b[unix.SizeofNlMsghdr:h.Len]); err != nil {
			return err
		}
		b = b[min(int(h.Len+3)&^3, len(b)):]
	}
	return nil
}

// errnoOf is the error that a message of the kinds ERROR and DONE carries; nil: none.
func errnoOf(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
