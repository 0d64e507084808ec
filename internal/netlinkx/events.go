package netlinkx

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// eventBuffer is the size of the socket's receive buffer, in bytes. Hosts that boot make thousands of events at once.
const eventBuffer = 4 << 20

// Event tells of a change in the namespace. Exactly one of Link and Neigh is set; none of them means that events were
// lost, and that anything may have changed.
type Event struct {
	Link    *Link
	Neigh   *Neigh
	Deleted bool
	// OfPort says that a bridge tells of the attributes of its port, or that the device is none any more. Most other attributes
	// of the device are not told then.
	OfPort bool
}

// Subscribe calls f, in order, for every change of a device, of a neighbour and of a forwarding entry, until ctx ends;
// then it returns nil. The first call, right after the subscription stands, is an empty event: what the caller has read
// before may be outdated. f must return soon, and must not keep what it is given.
func (h *Handle) Subscribe(ctx context.Context, f func(Event)) error {
	var socket *nl.NetlinkSocket
	err := h.within(func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH)
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribe to device and neighbour events: %w", err)
	}
	// Closing the socket is what wakes up the receiver below.
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	if err := socket.SetReceiveBufferSize(eventBuffer, true); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set the buffer for events: %w", err)
	}

	f(Event{})
	for {
		messages, from, err := socket.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			// The kernel dropped events; the socket goes on with the next ones.
			f(Event{})
			continue
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return fmt.Errorf("receive device and neighbour events: %w", err)
		case from.Pid != nl.PidKernel:
			continue // any process may send to the socket; only the kernel's word counts
		}
		for _, m := range messages {
			if e, ok := parseEvent(m.Header.Type, m.Data); ok {
				f(e)
			}
		}
	}
}

func parseEvent(kind uint16, data []byte) (Event, bool) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, err := parseLink(data); err == nil {
			return Event{Link: l, Deleted: kind == unix.RTM_DELLINK, OfPort: data[0] == unix.AF_BRIDGE}, true
		}
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if n, err := parseNeigh(data); err == nil {
			return Event{Neigh: &n, Deleted: kind == unix.RTM_DELNEIGH}, true
		}
	}
	return Event{}, false
}
