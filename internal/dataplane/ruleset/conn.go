package ruleset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// Sizes of the socket's buffers. A transaction has to be sent in one piece.
const (
	sendBuffer    = 256 << 20
	receiveBuffer = 16 << 20
	readBuffer    = 1 << 20
)

// answerTimeout bounds the wait for the kernel. Transactions wait for each other, and large ones take a second.
const answerTimeout = 30 * time.Second

const headerLength = unix.SizeofNlMsghdr + 4 // struct nlmsghdr, struct nfgenmsg

// Conn is a socket to nf_tables in one network namespace. One goroutine at a time may use it.
type Conn struct {
	fd       int
	sequence uint32
	buf      []byte
}

// Open opens a socket; nil stands for the namespace of the process. Close gives it back.
func Open(ns *netns.Handle) (*Conn, error) {
	c := &Conn{fd: -1, buf: make([]byte, readBuffer)}
	open := func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	}
	var err error
	if ns == nil {
		err = open()
	} else {
		err = netns.Do(ns, open)
	}
	if err == nil {
		err = c.prepare()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open a socket to nf_tables: %w", err)
	}
	return c, nil
}

func (c *Conn) prepare() error {
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return err
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	return unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
}

// Close gives the socket back. Tables that belong to it stay as they are, and belong to nobody.
func (c *Conn) Close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

// message is a change: one message of a transaction.
type message struct {
	kind   uint16 // NFT_MSG_NEWTABLE …
	flags  uint16
	family Family
	body   buffer
	// of is the object to blame when the kernel refuses the message; empty: the table.
	of string
}

func (c *Conn) header(b []byte, kind, flags uint16, family uint8, resource uint16) ([]byte, uint32) {
	c.sequence++
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, c.sequence)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, resource), c.sequence
}

func seal(b []byte, start int) { binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start)) }

const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8

// Refused says which objects the kernel did not take, and why. Nothing of the transaction was done.
type Refused map[string]error

func (r Refused) Error() string {
	for what, err := range r {
		return fmt.Sprintf("the kernel refused %d objects, one of them %s: %v", len(r), what, err)
	}
	return "nothing was refused"
}

// errStale says that a transaction was not made because somebody else has made one.
const errStale = unix.ERESTART

// commit sends messages as one transaction: all of it is done, or nothing. With a generation, it is done only if that is
// still the generation of the ruleset; else the error is errStale.
func (c *Conn) commit(messages []message, generation uint32) error {
	if len(messages) == 0 {
		return nil
	}
	size := 4 * 32
	for _, m := range messages {
		size += headerLength + len(m.body)
	}
	b, _ := c.header(make([]byte, 0, size), unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	if generation != 0 {
		attribute := buffer(b)
		attribute.u32(unix.NFNL_BATCH_GENID, generation)
		b = attribute
	}
	seal(b, 0)
	first := c.sequence + 1
	var last uint32
	for i, m := range messages {
		start := len(b)
		flags := m.flags
		if i == len(messages)-1 {
			// The answer to the last one comes when all is done. Refusals come without being asked for.
			flags |= unix.NLM_F_ACK
		}
		b, last = c.header(b, subsystem|m.kind, flags, uint8(m.family), 0)
		b = append(b, m.body...)
		seal(b, start)
	}
	start := len(b)
	b, _ = c.header(b, unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	seal(b, start)
	if err := c.send(b); err != nil {
		return err
	}
	refused := Refused{}
	for {
		done := false
		err := c.receive(func(kind uint16, sequence uint32, body []byte) error {
			if kind != unix.NLMSG_ERROR || len(body) < 4 {
				return nil
			}
			done = done || sequence == last
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			switch {
			case errno == 0:
			case sequence < first || sequence > last:
				return errno // of the batch itself
			default:
				if of := messages[sequence-first].of; refused[of] == nil {
					refused[of] = errno
				}
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case done && len(refused) > 0:
			return refused
		case done:
			return nil
		}
	}
}

func (c *Conn) send(b []byte) error {
	c.drain()
	err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err != nil {
		return fmt.Errorf("send %d bytes to nf_tables: %w", len(b), err)
	}
	return nil
}

// drain throws away answers that nobody waited for, after an error.
func (c *Conn) drain() {
	for {
		if _, _, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_DONTWAIT); err != nil {
			return
		}
	}
}

// receive takes one piece of the answer apart.
func (c *Conn) receive(each func(kind uint16, sequence uint32, body []byte) error) error {
	n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(c.fd, c.buf, 0)
	}
	if err != nil {
		return fmt.Errorf("receive from nf_tables: %w", err)
	}
	for b := c.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return unix.EBADMSG
		}
		flags := binary.NativeEndian.Uint16(b[6:])
		if flags&unix.NLM_F_DUMP_INTR != 0 {
			return errInterrupted
		}
		if err := each(binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[unix.SizeofNlMsghdr:size]); err != nil {
			return err
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// errInterrupted says that the table changed while it was read.
var errInterrupted = errors.New("the ruleset changed while it was read")

// dumpAttempts bounds how often an interrupted dump is repeated.
const dumpAttempts = 10

// dump reads all objects of a kind that the request asks for. With each attempt, reset is called first.
func (c *Conn) dump(kind uint16, family Family, body buffer, reset func(), each func(body []byte)) error {
	var err error
	for range dumpAttempts {
		reset()
		if err = c.query(kind, unix.NLM_F_DUMP, family, body, each); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

// query asks for one object, or with NLM_F_DUMP for all of them.
func (c *Conn) query(kind, flags uint16, family Family, body buffer, each func(body []byte)) error {
	b, mine := c.header(nil, subsystem|kind, flags|unix.NLM_F_ACK, uint8(family), 0)
	b = append(b, body...)
	seal(b, 0)
	if err := c.send(b); err != nil {
		return err
	}
	for done := false; !done; {
		err := c.receive(func(kind uint16, sequence uint32, body []byte) error {
			switch {
			case sequence != mine:
			case kind == unix.NLMSG_DONE:
				done = true
			case kind == unix.NLMSG_ERROR:
				done = true
				if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); errno != 0 {
					return errno
				}
			case len(body) >= 4:
				each(body[4:])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// generation is a number that changes with every change of any table in the namespace.
func (c *Conn) generation() (uint32, error) {
	var n uint32
	err := c.query(unix.NFT_MSG_GETGEN, 0, 0, nil, func(b []byte) { n = number(find(b, unix.NFTA_GEN_ID)) })
	return n, err
}
