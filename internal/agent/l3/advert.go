package l3

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// How hosts get their addresses in a network (ipv6_ra_mode of its subnets).
const (
	modeSLAAC     = "slaac"            // by themselves, from the prefix
	modeStateless = "dhcpv6-stateless" // so, and everything else by DHCPv6
	modeStateful  = "dhcpv6-stateful"  // by DHCPv6
)

// Lifetimes in advertisements. They are long, so that networks go on while an agent is restarted; the prefix's are the
// defaults of RFC 4861, section 6.2.1, divided by 30: a renumbering is over after a day.
const (
	routerLifetime    = 1800  // seconds
	validLifetime     = 86400 // seconds
	preferredLifetime = 14400 // seconds
)

// Types of RFC 4861 and RFC 8106.
const (
	typeSolicitation  = 133
	typeAdvertisement = 134
	typeNeighbour     = 136

	optionSource = 1 // source link-layer address
	optionTarget = 2 // target link-layer address
	optionPrefix = 3
	optionMTU    = 5
	optionRDNSS  = 25

	flagManaged    = 0x80 // addresses by DHCPv6
	flagOther      = 0x40 // other things by DHCPv6
	flagOnLink     = 0x80
	flagAutonomous = 0x40
)

// hopLimit proves that a message comes from the link itself: a router would have lowered it.
const hopLimit = 255

var allNodes = netip.MustParseAddr("ff02::1")

// message is the advertisement of a leg (RFC 4861, section 4.2), without its checksum, which the kernel adds. One
// without blocks says that this router is none for the network any more.
func (l *spokenLeg) message() []byte {
	m := []byte{typeAdvertisement, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, b := range l.blocks {
		switch b.mode {
		case modeStateful:
			m[5] |= flagManaged
		case modeStateless:
			m[5] |= flagOther
		}
	}
	if len(l.blocks) > 0 {
		binary.BigEndian.PutUint16(m[6:], routerLifetime)
	}
	m = append(append(m, optionSource, 1), l.mac...)
	m = binary.BigEndian.AppendUint32(append(m, optionMTU, 1, 0, 0), uint32(l.mtu))
	for _, b := range l.blocks {
		flags := byte(flagOnLink | flagAutonomous)
		if b.mode == modeStateful {
			flags = flagOnLink
		}
		m = appendPrefix(m, b.prefix, flags, validLifetime, preferredLifetime)
	}
	for _, p := range l.gone {
		m = appendPrefix(m, p, flagOnLink|flagAutonomous, 0, 0)
	}
	var servers []netip.Addr
	for _, b := range l.blocks {
		for _, ip := range b.dns {
			if b.mode == modeSLAAC && !slices.Contains(servers, ip) {
				servers = append(servers, ip)
			}
		}
	}
	if len(servers) > 0 { // RFC 8106, section 5.1
		m = binary.BigEndian.AppendUint32(append(m, optionRDNSS, byte(1+2*len(servers)), 0, 0), routerLifetime)
		for _, ip := range servers {
			m = append(m, ip.AsSlice()...)
		}
	}
	return m
}

// appendPrefix adds a prefix information option (RFC 4861, section 4.6.2); lifetimes are in seconds.
func appendPrefix(m []byte, p netip.Prefix, flags byte, valid, preferred uint32) []byte {
	m = append(m, optionPrefix, 4, byte(p.Bits()), flags)
	m = binary.BigEndian.AppendUint32(m, valid)
	m = binary.BigEndian.AppendUint32(m, preferred)
	m = append(m, 0, 0, 0, 0)
	return append(m, p.Addr().AsSlice()...)
}

// openICMPv6 opens a socket in the namespace that sends as routers do, and hears nothing but solicitations.
func openICMPv6(ns *netns.Handle) (*os.File, error) {
	fd := -1
	err := netns.Do(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
		return err
	})
	for _, option := range []struct{ name, value int }{
		{unix.IPV6_MULTICAST_HOPS, hopLimit}, {unix.IPV6_UNICAST_HOPS, hopLimit}, {unix.IPV6_MULTICAST_LOOP, 0},
		{unix.IPV6_RECVPKTINFO, 1}, {unix.IPV6_RECVHOPLIMIT, 1},
	} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option.name, option.value)
		}
	}
	if err == nil {
		filter := unix.ICMPv6Filter{} // a bit that is set blocks its type
		for i := range filter.Data {
			filter.Data[i] = ^uint32(0)
		}
		filter.Data[typeSolicitation/32] &^= 1 << (typeSolicitation % 32)
		err = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("open a socket for router advertisements in %s: %w", ns.Name(), err)
	}
	return os.NewFile(uintptr(fd), "icmpv6"), nil
}

// sendICMPv6 sends a message on the device, from its link-local address.
func sendICMPv6(f *os.File, index int, to netip.Addr, message []byte) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	address := &unix.SockaddrInet6{ZoneId: uint32(index), Addr: to.As16()}
	var sendErr error
	err = conn.Control(func(fd uintptr) { sendErr = unix.Sendto(int(fd), message, unix.MSG_DONTWAIT, address) })
	return errors.Join(err, sendErr)
}

// readSolicitations calls f for each solicitation until the socket is closed. from is unspecified when the sender
// has no address yet.
func readSolicitations(file *os.File, f func(index int, from netip.Addr)) {
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	buffer, control := make([]byte, 1500), make([]byte, 256)
	for {
		var n, controls int
		var from unix.Sockaddr
		var readErr error
		err := conn.Read(func(fd uintptr) bool {
			n, controls, _, from, readErr = unix.Recvmsg(int(fd), buffer, control, 0)
			return !errors.Is(readErr, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if readErr != nil || n < 8 || buffer[0] != typeSolicitation || buffer[1] != 0 {
			continue
		}
		source, ok := from.(*unix.SockaddrInet6)
		index, hops := parseControl(control[:controls])
		if ok && hops == hopLimit {
			f(index, netip.AddrFrom16(source.Addr))
		}
	}
}

// parseControl reads the device and the hop limit with which a message came.
func parseControl(control []byte) (index, hops int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, 0
	}
	for _, m := range messages {
		switch {
		case m.Header.Level != unix.IPPROTO_IPV6:
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			index = int(binary.NativeEndian.Uint32(m.Data[16:]))
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			hops = int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return index, hops
}

// openPacket opens a socket in the namespace that sends whole frames and hears nothing.
func openPacket(ns *netns.Handle) (*os.File, error) {
	fd := -1
	err := netns.Do(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a packet socket in %s: %w", ns.Name(), err)
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

// send tells the network who has the address: by gratuitous ARP, or by an unsolicited neighbour advertisement.
func (a announcement) send(f *os.File) error {
	ip := a.leg.prefix.Addr()
	frames := [][]byte{gratuitousARP(a.mac, ip, 1), gratuitousARP(a.mac, ip, 2)}
	if ip.Is6() {
		frames = [][]byte{neighbourAdvertisement(a.mac, ip)}
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errs []error
	out := &unix.SockaddrLinklayer{Ifindex: a.leg.index, Halen: 6}
	for _, frame := range frames {
		err := conn.Control(func(fd uintptr) { errs = append(errs, unix.Sendto(int(fd), frame, unix.MSG_DONTWAIT, out)) })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// gratuitousARP is an ARP message (RFC 826) about the sender's own address. Some hosts heed requests (operation 1)
// only, some replies (2).
func gratuitousARP(mac net.HardwareAddr, ip netip.Addr, operation byte) []byte {
	broadcast := []byte{255, 255, 255, 255, 255, 255}
	return slices.Concat(broadcast, mac, []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation},
		mac, ip.AsSlice(), broadcast, ip.AsSlice())
}

// neighbourAdvertisement is an unsolicited one (RFC 4861, section 7.2.6) to all nodes, from the address itself, which
// overrides what they know.
func neighbourAdvertisement(mac net.HardwareAddr, ip netip.Addr) []byte {
	const override, router = 0x20, 0x80
	body := slices.Concat(
		[]byte{typeNeighbour, 0, 0, 0, router | override, 0, 0, 0}, ip.AsSlice(), []byte{optionTarget, 1}, mac)
	header := slices.Concat(
		[]byte{0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, hopLimit}, ip.AsSlice(), allNodes.AsSlice())
	binary.BigEndian.PutUint16(body[2:], checksum(ip, allNodes, body))
	return slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, mac, []byte{0x86, 0xdd}, header, body)
}

// checksum is that of an ICMPv6 message (RFC 8200, section 8.1).
func checksum(from, to netip.Addr, body []byte) uint16 {
	pseudo := slices.Concat(
		from.AsSlice(), to.AsSlice(), []byte{0, 0, 0, byte(len(body)), 0, 0, 0, unix.IPPROTO_ICMPV6}, body)
	var sum uint32
	for i := 0; i+1 < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
