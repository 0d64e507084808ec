// Package nflog reads the packets that rules of nftables record (NFLOG): the copies that the kernel makes of them for a
// numbered group of its network namespace, together with what the rule says about them.
package nflog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// Of linux/netfilter/nfnetlink_log.h.
const (
	subsystem     = unix.NFNL_SUBSYS_ULOG << 8
	messagePacket = 0 // NFULNL_MSG_PACKET
	messageConfig = 1 // NFULNL_MSG_CONFIG

	configCommand   = 1 // NFULA_CFG_CMD
	configMode      = 2 // NFULA_CFG_MODE
	configTimeout   = 4 // NFULA_CFG_TIMEOUT
	commandBind     = 1 // NFULNL_CFG_CMD_BIND
	modeCopyPackets = 2 // NFULNL_COPY_PACKET

	attrHeader, attrMark, attrPayload, attrPrefix, attrLinkHeader = 1, 2, 9, 10, 16
	attrIn, attrOut, attrPortIn, attrPortOut                      = 4, 5, 6, 7 // NFULA_IFINDEX_…
)

const (
	// queueSize is that of the queue in the kernel, and bufferSize that of what is taken from it at once, in bytes.
	queueSize  = 1 << 20
	bufferSize = 256 << 10
	// hundredths is how long the kernel may collect packets before it hands them on.
	hundredths = 10
)

// Packet is a recorded packet. Its slices are valid until the function that gets it returns.
type Packet struct {
	// Prefix is what the rule says about it.
	Prefix string
	Mark   uint32
	// EtherType is what Payload is; behind a VLAN tag, if there is one.
	EtherType uint16
	// In and Out are the indexes of the devices that it comes from and goes to, of the ports where these are of a bridge;
	// 0: not known.
	In, Out int
	// Link is the link layer's header, and Payload what follows it; both may be cut.
	Link, Payload []byte
	// Lost: packets were lost before, because they were not read in time; the rest of this one is empty.
	Lost bool
}

// Follow calls f for every packet that is recorded for the group, with size bytes of its payload at most, until ctx ends;
// then it returns nil. ready is called when nothing is missed any more. A group has one reader in a namespace.
func Follow(ctx context.Context, ns *netns.Handle, group uint16, size uint32, ready func(), f func(Packet)) error {
	var fd int
	open := func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
		return err
	}
	var err error
	if ns == nil {
		err = open()
	} else {
		err = netns.Do(ns, open)
	}
	if err != nil {
		return fmt.Errorf("read recorded packets: %w", err)
	}
	file := os.NewFile(uintptr(fd), "recorded packets")
	stop := context.AfterFunc(ctx, func() { file.Close() })
	defer func() {
		if stop() {
			file.Close()
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueSize); err != nil {
		return fmt.Errorf("read recorded packets: set the buffer: %w", err)
	}
	conn, err := file.SyscallConn()
	if err == nil {
		err = bind(fd, group, size)
	}
	if err == nil {
		err = receive(conn, ready, f)
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("read recorded packets of group %d: %w", group, err)
}

// bind makes the socket the group's reader. The answer comes among the packets.
func bind(fd int, group uint16, size uint32) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	attributes := []*nl.RtAttr{
		nl.NewRtAttr(configCommand, []byte{commandBind}),
		nl.NewRtAttr(configMode, append(binary.BigEndian.AppendUint32(nil, size), modeCopyPackets, 0)),
		nl.NewRtAttr(configTimeout, binary.BigEndian.AppendUint32(nil, hundredths)),
	}
	request := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Type: subsystem | messageConfig, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK, Seq: 1,
	}}
	inNetworkOrder := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, group))
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: unix.NFNETLINK_V0, ResId: inNetworkOrder})
	for _, a := range attributes {
		request.AddData(a)
	}
	return unix.Sendto(fd, request.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func receive(conn syscall.RawConn, ready func(), f func(Packet)) error {
	buffer := make([]byte, bufferSize)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		if err := conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buffer, 0)
			return !errors.Is(failed, unix.EAGAIN)
		}); err != nil {
			return err
		}
		switch sender, ok := from.(*unix.SockaddrNetlink); {
		case errors.Is(failed, unix.ENOBUFS):
			f(Packet{Lost: true})
		case errors.Is(failed, unix.EINTR):
		case failed != nil:
			return failed
		case ok && sender.Pid == 0: // only the kernel's word counts
			if err := eachMessage(buffer[:n], ready, f); err != nil {
				return err
			}
		}
	}
}

func eachMessage(b []byte, ready func(), f func(Packet)) error {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return err
	}
	for _, m := range messages {
		switch {
		case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
			if errno := syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data))); errno != 0 {
				return errno
			}
			ready()
		case m.Header.Type == subsystem|messagePacket && len(m.Data) >= 4:
			p, err := parse(m.Data[4:])
			if err != nil {
				return err
			}
			f(p)
		}
	}
	return nil
}

func parse(b []byte) (Packet, error) {
	attributes, err := nl.ParseRouteAttr(b)
	if err != nil {
		return Packet{}, err
	}
	var p Packet
	for _, a := range attributes {
		v := a.Value
		index := func() int {
			if len(v) < 4 {
				return 0
			}
			return int(binary.BigEndian.Uint32(v))
		}
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case attrHeader:
			if len(v) >= 2 {
				p.EtherType = binary.BigEndian.Uint16(v)
			}
		case attrMark:
			p.Mark = uint32(index())
		case attrPrefix:
			prefix, _, _ := bytes.Cut(v, []byte{0})
			p.Prefix = string(prefix)
		case attrPayload:
			p.Payload = v
		case attrLinkHeader:
			p.Link = v
		// Of packets in bridges there are both the port and the bridge, the latter here; unless the kernel has no
		// br_netfilter, then the ports are here. The ports come last.
		case attrIn:
			if p.In == 0 {
				p.In = index()
			}
		case attrOut:
			if p.Out == 0 {
				p.Out = index()
			}
		case attrPortIn:
			p.In = index()
		case attrPortOut:
			p.Out = index()
		}
	}
	return p, nil
}
