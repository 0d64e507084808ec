// Package nswatch hears of changes inside many network namespaces, and of their names.
//
// It does not say what has changed, only where and of which kind: whoever hears of it looks. So nothing is parsed, and lost
// messages do no harm. Each namespace costs a few sockets, on which the runtime waits without threads.
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

// Watcher hears of changes. Close ends it.
type Watcher struct {
	changed func(name string, kind Kind)
	readers sync.WaitGroup

	mu      sync.Mutex
	sockets map[string][]*os.File // by name of the namespace
	names   *os.File              // the inotify of the directory of names
}

// New makes a watcher that watches nothing yet. changed is called with the name of the namespace, from several
// goroutines; it must not call the watcher.
func New(changed func(name string, kind Kind)) *Watcher {
	return &Watcher{changed: changed, sockets: map[string][]*os.File{}}
}

// Add watches a namespace, instead of an earlier one of its name.
func (w *Watcher) Add(ns *netns.Handle) error {
	w.Drop(ns.Name())
	files := map[Kind]*os.File{}
	err := netns.Do(ns, func() error {
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
		return fmt.Errorf("watch the namespace %s: %w", ns.Name(), err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets[ns.Name()] = slices.Collect(maps.Values(files))
	for kind, f := range files {
		w.readers.Go(func() { w.read(f, ns.Name(), kind) })
	}
	return nil
}

// read empties the socket until it is closed. A message that does not fit into the buffer is cut off, which is all
// the same.
func (w *Watcher) read(f *os.File, name string, kind Kind) {
	var buffer [16]byte
	for {
		_, err := f.Read(buffer[:])
		switch {
		case err == nil, errors.Is(err, unix.ENOBUFS): // the latter: messages were lost
			w.changed(name, kind)
		case errors.Is(err, unix.EINTR):
		default:
			return
		}
	}
}

// Drop ends the watch of the namespace of the name.
func (w *Watcher) Drop(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.sockets[name] {
		f.Close()
	}
	delete(w.sockets, name)
}

// WatchNames also calls changed for names that begin with the prefix and are removed or moved. The directory of
// names has to be there.
func (w *Watcher) WatchNames(prefix string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names != nil {
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
	w.names = f
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
	for name, files := range w.sockets {
		for _, f := range files {
			f.Close()
		}
		delete(w.sockets, name)
	}
	if w.names != nil {
		w.names.Close()
		w.names = nil
	}
	w.mu.Unlock()
	w.readers.Wait()
}
