// Package netlinkx is a thin, safe layer over netlink for what a network agent does all day: dump everything once,
// change single attributes, follow events.
//
// It differs from the library below it in four ways. Every dump that the kernel interrupted (because the table changed
// meanwhile) is repeated, so that a caller never works on half a table. What is read back are small comparable structs
// with netip addresses, parsed from one dump: links come with their bridge, vxlan, bridge-port and IPv6 attributes, which
// the library would fetch one by one or not at all. A handle is bound to one network namespace when it is opened. And
// a subscription that lost events says so instead of ending.
package netlinkx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// dumpAttempts bounds the repetitions of an interrupted dump. Each one is a chance of its own: a table that changes so
// fast that none succeeds is left to the next pass.
const dumpAttempts = 20

// Handle speaks route netlink in one network namespace. It may be used by several goroutines.
type Handle struct {
	// ns is nil for the namespace of the process.
	ns      *netns.Handle
	sockets map[int]*nl.SocketHandle
	lib     *netlink.Handle
}

// Open returns a handle bound to the namespace; nil stands for that of the process. The namespace's handle must stay
// open as long as this one is used. Close gives the sockets back.
func Open(ns *netns.Handle) (*Handle, error) {
	h := &Handle{ns: ns}
	err := h.within(func() error {
		lib, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		socket, err := nl.GetNetlinkSocketAt(vnetns.None(), vnetns.None(), unix.NETLINK_ROUTE)
		if err != nil {
			lib.Close()
			return err
		}
		h.lib = lib
		h.sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	// Extended acknowledgements carry the kernel's own sentence on what it refused.
	if err := h.sockets[unix.NETLINK_ROUTE].Socket.SetExtAck(true); err != nil {
		h.Close()
		return nil, fmt.Errorf("enable extended netlink acknowledgements: %w", err)
	}
	return h, nil
}

// within runs fn in the handle's namespace. Sockets stay in the namespace in which they were opened.
func (h *Handle) within(fn func() error) error {
	if h.ns == nil {
		return fn()
	}
	return netns.Do(h.ns, fn)
}

// Close gives the sockets back.
func (h *Handle) Close() {
	h.lib.Close()
	for _, s := range h.sockets {
		s.Close()
	}
}

// Namespace is the namespace to which the handle is bound; nil for that of the process.
func (h *Handle) Namespace() *netns.Handle { return h.ns }

// request begins a message on the handle's own socket.
func (h *Handle) request(kind, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = h.sockets
	return req
}

// do sends a change and waits for the kernel's word on it.
func (h *Handle) do(req *nl.NetlinkRequest) error {
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// dump sends the request that build makes and calls each for every message of the answer. When the kernel says that the
// dump was interrupted, reset is called and everything is read again.
func (h *Handle) dump(what string, build func() *nl.NetlinkRequest, reset func(), each func(m []byte) error) error {
	for range dumpAttempts {
		reset()
		var parseErr error
		err := build().ExecuteIter(unix.NETLINK_ROUTE, 0, func(m []byte) bool {
			if parseErr == nil {
				parseErr = each(m)
			}
			return true
		})
		switch {
		case errors.Is(err, netlink.ErrDumpInterrupted):
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", what, err)
		case parseErr != nil:
			return fmt.Errorf("read %s: %w", what, parseErr)
		}
		return nil
	}
	return fmt.Errorf("read %s: %w %d times", what, netlink.ErrDumpInterrupted, dumpAttempts)
}

// Gone says whether the error means that the object (or its device) does not exist: for a removal, that is success.
func Gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) ||
		errors.Is(err, unix.ENXIO)
}

// SetSysctlIPv6 writes a setting below /proc/sys/net/ipv6/conf/<device>. Netlink can read these settings but not write
// most of them; the file belongs to the namespace of the thread that opens it.
func (h *Handle) SetSysctlIPv6(device, setting string, value int) error {
	if device == "" || device == "." || device == ".." || strings.ContainsAny(device, "/\x00") {
		return fmt.Errorf("%q is no name for a device", device)
	}
	path := filepath.Join("/proc/sys/net/ipv6/conf", device, setting)
	return h.within(func() error { return os.WriteFile(path, []byte(strconv.Itoa(value)), 0o644) })
}
