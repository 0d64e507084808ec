package conntrack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

const (
	// groups are the multicast groups NFNLGRP_CONNTRACK_NEW, _UPDATE and _DESTROY.
	groups = 1<<0 | 1<<1 | 1<<2
	// eventBuffer is the size in bytes of the queue in the kernel. It costs memory only while it fills.
	eventBuffer = 4 << 20
	// readBuffer holds as many messages as the kernel has at once; one message is about 250 bytes.
	readBuffer = 64 << 10
)

// alwaysEvents is the setting of the namespace by which the kernel also tells of connections that began while nobody
// listened; by default it never does.
const alwaysEvents = "/proc/sys/net/netfilter/nf_conntrack_events"

// Event is what the kernel tells of a flow.
type Event struct {
	Flow
	// Gone: the kernel has forgotten it.
	Gone bool
	// Lost: events were lost, and the rest of this one is empty. What the kernel remembers has to be read anew.
	Lost bool
}

// Follow calls f, in order, for every flow of the namespace that begins, changes or ends, until ctx ends; then it returns
// nil. The first call is a Lost event: from then on, nothing is missed. The queue is emptied by f, so it has to return
// soon.
func Follow(ctx context.Context, ns *netns.Handle, f func(Event)) error {
	var fd int
	open := func() (err error) {
		if err := os.WriteFile(alwaysEvents, []byte("1"), 0o644); err != nil {
			return err
		}
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
		return fmt.Errorf("follow the connections: %w", err)
	}
	file := os.NewFile(uintptr(fd), "conntrack events")
	stop := context.AfterFunc(ctx, func() { file.Close() })
	defer func() {
		if stop() {
			file.Close()
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer); err != nil {
		return fmt.Errorf("follow the connections: set the buffer: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return fmt.Errorf("follow the connections: %w", err)
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("follow the connections: %w", err)
	}
	f(Event{Lost: true})
	err = receive(conn, f)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("follow the connections: %w", err)
}

func receive(conn syscall.RawConn, f func(Event)) error {
	buffer := make([]byte, readBuffer)
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
			f(Event{Lost: true})
		case errors.Is(failed, unix.EINTR):
		case failed != nil:
			return failed
		case ok && sender.Pid == 0: // only the kernel's word counts
			eachMessage(buffer[:n], f)
		}
	}
}

func eachMessage(b []byte, f func(Event)) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		f(Event{Lost: true})
		return
	}
	for _, m := range messages {
		if flow, ok := parseFlow(m.Data); ok {
			f(Event{Flow: flow, Gone: m.Header.Type&0xff == msgDelete})
		}
	}
}
