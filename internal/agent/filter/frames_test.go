package filter_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// Frames as bytes. A fake is written as a workload would write it that wants to be taken for somebody else.

const broadcast = "ff:ff:ff:ff:ff:ff"

func hardware(text string) []byte {
	m, err := net.ParseMAC(text)
	if err != nil {
		panic(err) // a mistake in a test
	}
	return m
}

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func ether(to, from string, kind int, payload []byte) []byte {
	return concat(hardware(to), hardware(from), be16(kind), payload)
}

// checksum is that of RFC 1071.
func checksum(b []byte) []byte {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return be16(int(^uint16(sum)))
}

func ipv4(from, to string, protocol byte, payload []byte) []byte {
	return part4(from, to, protocol, 0, payload)
}

// part4 is a datagram or a part of one; flags is the field of the flags and the offset.
func part4(from, to string, protocol byte, flags int, payload []byte) []byte {
	h := concat([]byte{0x45, 0}, be16(20+len(payload)), be16(77), be16(flags), []byte{64, protocol, 0, 0},
		addr(from).AsSlice(), addr(to).AsSlice())
	copy(h[10:], checksum(h))
	return append(h, payload...)
}

func ipv6(from, to string, next byte, payload []byte) []byte {
	return concat([]byte{0x60, 0, 0, 0}, be16(len(payload)), []byte{next, 255}, addr(from).AsSlice(), addr(to).AsSlice(), payload)
}

// udp has no checksum, which means in IPv4 that there is none; for IPv6 see udp6.
func udp(source, destination int, payload []byte) []byte {
	return concat(be16(source), be16(destination), be16(8+len(payload)), []byte{0, 0}, payload)
}

// sealed6 is an IPv6 packet whose upper layer has its checksum at the offset.
func sealed6(from, to string, next byte, upper []byte, offset int) []byte {
	pseudo := concat(addr(from).AsSlice(), addr(to).AsSlice(), []byte{0, 0}, be16(len(upper)), []byte{0, 0, 0, next})
	copy(upper[offset:], checksum(concat(pseudo, upper)))
	return ipv6(from, to, next, upper)
}

func udp6(from, to string, source, destination int, payload []byte) []byte {
	return sealed6(from, to, 17, udp(source, destination, payload), 6)
}

// icmp6 is a message about a target.
func icmp6(from, to string, kind byte, target string, mark []byte) []byte {
	body := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	if target != "" {
		body = append(body, addr(target).AsSlice()...)
	}
	return sealed6(from, to, 58, append(body, mark...), 2)
}

func arp(operation int, senderMAC, sender, targetMAC, target string, mark []byte) []byte {
	return concat(be16(1), be16(0x0800), []byte{6, 4}, be16(operation), hardware(senderMAC), addr(sender).AsSlice(),
		hardware(targetMAC), addr(target).AsSlice(), mark)
}

// bootp is a DHCP message of a client with the hardware address.
func bootp(client string, mark []byte) []byte {
	return concat([]byte{1, 1, 6, 0}, make([]byte, 24), hardware(client), make([]byte, 10+192), mark)
}

// marks make every frame one of its own.
var marks atomic.Uint64

func newMark() []byte { return fmt.Appendf(nil, "<frame %012d>", marks.Add(1)) }

// wire sends frames from one workload to another, and sees which of them arrive.
type wire struct {
	t        testing.TB
	from     *testkit.Host
	greeting func(mark []byte) []byte
	out, in  int
}

// newWire makes a wire. A greeting is a frame that always arrives: what was sent before it and is not there by then has
// been dropped.
func newWire(t testing.TB, from, to *testkit.Host, greeting func(mark []byte) []byte) *wire {
	t.Helper()
	return &wire{t: t, from: from, greeting: greeting, out: packetSocket(t, from), in: packetSocket(t, to)}
}

func packetSocket(t testing.TB, h *testkit.Host) (fd int) {
	t.Helper()
	index := h.Link("eth0").Index
	h.Check(netns.Do(h.NS, func() (err error) {
		const all = 0x0300 // ETH_P_ALL in network byte order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	}))
	t.Cleanup(func() { unix.Close(fd) })
	timeout := unix.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
	h.Check(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	return fd
}

// passes says whether a frame, or all parts of one, arrives.
func (w *wire) passes(make func(mark []byte) [][]byte) bool {
	w.t.Helper()
	mark := newMark()
	frames := make(mark)
	for range 20 {
		end := newMark()
		w.from.Check(netns.Do(w.from.NS, func() error {
			for _, f := range append(frames, w.greeting(end)) {
				if err := unix.Send(w.out, f, 0); err != nil {
					return err
				}
			}
			return nil
		}))
		if seen, ended := w.look(mark, end); seen || ended {
			return seen
		}
	}
	w.t.Fatal("not even a greeting arrives")
	return false
}

func (w *wire) look(mark, end []byte) (seen, ended bool) {
	b := make([]byte, 65536)
	for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(w.in, b, 0)
		if err != nil {
			continue
		}
		seen = seen || bytes.Contains(b[:n], mark)
		if bytes.Contains(b[:n], end) {
			return seen, true
		}
	}
	return seen, false
}
