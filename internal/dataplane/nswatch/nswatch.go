// Package nswatch hears of changes inside many network namespaces, and of their names.
//
// It does not say what has changed, only where and of which kind: whoever hears of it looks. So nothing is parsed, and lost
// messages do no harm. Two sockets hear all namespaces that have a number in the one of the host (NETLINK_LISTEN_ALL_NSID):
// whenever the kernel tells something, anywhere on the host, it goes through the sockets of all namespaces, so one for each
// would make every change on the host the slower the more routers there are.
package nswatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// groupNFTables is NFNLGRP_NFTABLES: changes of tables, rules and elements.
const groupNFTables = 7

// routeGroups are what is heard of route netlink: devices, addresses, routes, and some of the settings of devices
// (whether they forward). Neighbours are not, since workloads make the kernel learn and forget them all the time.
const routeGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
	1<<(unix.RTNLGRP_IPV4_NETCONF-1) | 1<<(unix.RTNLGRP_IPV6_NETCONF-1)

// Kind is of what kind a change is.
type Kind uint8

// Tables: something in nftables. Network: devices, addresses, routes, settings, or the namespace as a whole.
const (
	Tables Kind = 1 << iota
	Network
)

// buffer is how much waits to be read at most, in bytes as the kernel counts them. If it is not enough, everything is said
// to have changed.
const buffer = 8 << 20

// Watcher hears of changes. Close ends it.
type Watcher struct {
	host    *netns.Handle
	changed func(name string, kind Kind)
	readers sync.WaitGroup

	mu      sync.Mutex
	sockets []*os.File
	names   map[int]string // of the namespaces that are watched, by the number that the host has for them
	numbers map[string]int // the other way round
	inotify *os.File       // of the directory of names
}

// New makes a watcher for namespaces of the host whose own one is given (nil: that of the process). It calls changed for
// each namespace in which something happened, from several goroutines; it must not block for long.
func New(host *netns.Handle, changed func(name string, kind Kind)) *Watcher {
	return &Watcher{host: host, changed: changed, names: map[int]string{}, numbers: map[string]int{}}
}

// Add watches a namespace, instead of one that had the same name.
func (w *Watcher) Add(ns *netns.Handle) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(ns.Name())
	err := w.open()
	number := 0
	if err == nil {
		number, err = w.number(ns)
	}
	if err != nil {
		return fmt.Errorf("watch the namespace %s: %w", ns.Name(), err)
	}
	w.names[number], w.numbers[ns.Name()] = ns.Name(), number
	return nil
}

// open opens the sockets if they are not open yet. The lock is held.
func (w *Watcher) open() error {
	if w.sockets != nil {
		return nil
	}
	files := map[Kind]*os.File{}
	err := w.within(func() error {
		for _, s := range []struct {
			kind     Kind
			protocol int
			groups   uint32
		}{{Network, unix.NETLINK_ROUTE, routeGroups}, {Tables, unix.NETLINK_NETFILTER, 1 << (groupNFTables - 1)}} {
			fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, s.protocol)
			if err != nil {
				return err
			}
			files[s.kind] = os.NewFile(uintptr(fd), "netlink")
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
				return err
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1); err != nil {
				return err
			}
			if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: s.groups}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return err
	}
	for kind, f := range files {
		w.sockets = append(w.sockets, f)
		w.readers.Go(func() { w.read(f, kind) })
	}
	return nil
}

func (w *Watcher) within(do func() error) error {
	if w.host == nil {
		return do()
	}
	return netns.Do(w.host, do)
}

// number is the one that the host has for a namespace; it gets one if it has none. It keeps it as long as it lives.
func (w *Watcher) number(ns *netns.Handle) (number int, err error) {
	host := vnetns.None()
	if w.host != nil {
		host = vnetns.NsHandle(w.host.Fd())
	}
	handle, err := netlink.NewHandleAt(host, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer handle.Close()
	const none = -1 // to ask for any
	number, err = handle.GetNetNsIdByFd(ns.Fd())
	if err != nil || number != none {
		return number, err
	}
	// Others may have given it one meanwhile.
	if err := handle.SetNetNsIdByFd(ns.Fd(), none); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	number, err = handle.GetNetNsIdByFd(ns.Fd())
	if err == nil && number == none {
		err = errors.New("it has no number")
	}
	return number, err
}

// read waits for messages: that there is one, and where, is all that matters.
func (w *Watcher) read(f *os.File, kind Kind) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	control := make([]byte, 64)
	for {
		var size int
		var failed error
		if err := conn.Read(func(fd uintptr) bool {
			_, size, _, _, failed = unix.Recvmsg(int(fd), nil, control, unix.MSG_TRUNC)
			return !errors.Is(failed, unix.EAGAIN)
		}); err != nil {
			return // closed
		}
		switch {
		case failed == nil:
			if name := w.nameOf(control[:size]); name != "" {
				w.changed(name, kind)
			}
		case errors.Is(failed, unix.ENOBUFS): // messages were lost
			for _, name := range w.all() {
				w.changed(name, kind)
			}
		case !errors.Is(failed, unix.EINTR):
			return
		}
	}
}

// nameOf is the namespace that a message comes from, by what comes with it; empty if it is none of ours.
func (w *Watcher) nameOf(control []byte) string {
	for len(control) >= unix.SizeofCmsghdr {
		head, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return ""
		}
		if head.Level == unix.SOL_NETLINK && head.Type == unix.NETLINK_LISTEN_ALL_NSID && len(data) >= 4 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.names[int(int32(binary.NativeEndian.Uint32(data)))]
		}
		control = rest
	}
	return ""
}

// all are the names of the namespaces that are watched.
func (w *Watcher) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.numbers))
}

// Drop ends the watching of a namespace.
func (w *Watcher) Drop(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(name)
}

func (w *Watcher) drop(name string) {
	number, known := w.numbers[name]
	if !known {
		return
	}
	delete(w.numbers, name)
	if w.names[number] == name { // and not one that has got the number since
		delete(w.names, number)
	}
}

// WatchNames also calls changed for names that begin with the prefix and are removed or moved. The directory of
// names has to be there.
func (w *Watcher) WatchNames(prefix string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inotify != nil {
		return nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the names of namespaces: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	mask := uint32(unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR)
	if _, err := unix.InotifyAddWatch(fd, netns.Dir, mask); err != nil {
		f.Close()
		return fmt.Errorf("watch %s: %w", netns.Dir, err)
	}
	w.inotify = f
	w.readers.Go(func() { w.readNames(f, prefix) })
	return nil
}

func (w *Watcher) readNames(f *os.File, prefix string) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := f.Read(buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		for b := buffer[:n]; len(b) >= unix.SizeofInotifyEvent; {
			end := min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			if strings.HasPrefix(name, prefix) {
				w.changed(name, Network)
			}
			b = b[end:]
		}
	}
}

// Close ends all watches and waits until nobody is called any more.
func (w *Watcher) Close() {
	w.mu.Lock()
	for _, f := range w.sockets {
		f.Close()
	}
	w.sockets = nil
	if w.inotify != nil {
		w.inotify.Close()
		w.inotify = nil
	}
	w.mu.Unlock()
	w.readers.Wait()
}
