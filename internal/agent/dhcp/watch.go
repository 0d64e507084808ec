package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
)

// logCheck is how often the sizes of the logs are looked at. Events would come with each line.
const logCheck = 5 * time.Second

// Watch implements agent.Part: it hears of the end of a dnsmasq, of changes of devices and addresses in the namespaces,
// of names of namespaces and of files. It also keeps the logs short.
func (p *Part) Watch(ctx context.Context, changed func()) error {
	p.setChanged(changed)
	defer p.setChanged(nil)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return p.watcher.run(ctx, func(network string) {
			p.setDirty(network)
			changed()
		})
	})
	g.Go(func() error {
		ticker := time.NewTicker(logCheck)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
				p.boundLogs()
			}
		}
	})
	return g.Wait()
}

func (p *Part) setChanged(changed func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = changed
}

func (p *Part) boundLogs() {
	for _, dir := range p.watcher.dirs() {
		if err := dnsmasq.BoundLog(dir); err != nil {
			p.options.Logger.Error("a DHCP log cannot be kept short", "dir", dir, "error", err)
		}
	}
}

// watcher waits for everything at once with one epoll: processes (pidfd), namespaces (a netlink socket inside each) and
// directories (one inotify). Sources are added and dropped by Reconcile while run waits.
type watcher struct {
	epoll, inotify, wake int

	mu         sync.Mutex
	sources    map[int32]source
	generation int32          // of the newest source
	processes  map[string]int // network → pidfd
	sockets    map[string]int // network → netlink socket
	watches    map[int32]watchedDir
	byDir      map[string]int32
}

// source is what a descriptor is about. Numbers of descriptors are given out again, and an event may have been on its way
// when one was closed; so each source has a generation, which comes with the event.
type source struct {
	network    string
	process    bool
	generation int32
}

// watchedDir belongs to one network, or (empty) is the directory of the names of namespaces.
type watchedDir struct {
	path    string
	network string
}

func newWatcher() (*watcher, error) {
	w := &watcher{
		epoll: -1, inotify: -1, wake: -1,
		sources: map[int32]source{}, processes: map[string]int{}, sockets: map[string]int{},
		watches: map[int32]watchedDir{}, byDir: map[string]int32{},
	}
	var err error
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		w.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	}
	if err == nil {
		w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	for _, fd := range []int{w.inotify, w.wake} {
		if err == nil {
			err = w.poll(fd, source{})
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare to watch the host: %w", err), w.close())
	}
	return w, nil
}

// poll has events of the descriptor told; the epoll keeps 64 bits of ours for it, of which Pad is the upper half.
func (w *watcher) poll(fd int, src source) error {
	w.generation++
	src.generation = w.generation
	event := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd), Pad: src.generation}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, event); err != nil {
		return err
	}
	w.sources[int32(fd)] = src
	return nil
}

func (w *watcher) unpoll(fd int) {
	// The descriptor may have been taken out when its process ended; then this fails, and nothing is wrong.
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	delete(w.sources, int32(fd))
}

func (w *watcher) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fd := range w.sockets {
		unix.Close(fd)
	}
	var errs []error
	for _, fd := range []int{w.epoll, w.inotify, w.wake} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	w.epoll, w.inotify, w.wake, w.sockets = -1, -1, -1, map[string]int{}
	return errors.Join(errs...)
}

// addProcess watches for the end of the network's dnsmasq, instead of an earlier one.
func (w *watcher) addProcess(p *proc.Process, network string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fd, have := w.processes[network]; have {
		if fd == p.FD() {
			return nil
		}
		w.unpoll(fd)
	}
	if err := w.poll(p.FD(), source{network: network, process: true}); err != nil {
		return fmt.Errorf("watch dnsmasq: %w", err)
	}
	w.processes[network] = p.FD()
	return nil
}

// dropProcess has to be called before the pidfd is closed.
func (w *watcher) dropProcess(network string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fd, have := w.processes[network]; have {
		w.unpoll(fd)
		delete(w.processes, network)
	}
}

// addNamespace watches the devices and addresses in the namespace.
func (w *watcher) addNamespace(ns *netns.Handle, network string) error {
	w.dropNamespace(network)
	var fd int
	err := netns.Do(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("watch the namespace %s: %w", ns.Name(), err)
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		err = w.poll(fd, source{network: network})
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("watch the namespace %s: %w", ns.Name(), err)
	}
	w.sockets[network] = fd
	return nil
}

func (w *watcher) dropNamespace(network string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fd, have := w.sockets[network]; have {
		w.unpoll(fd)
		unix.Close(fd)
		delete(w.sockets, network)
	}
}

// addDir watches the files of a network's dnsmasq.
func (w *watcher) addDir(dir, network string) error {
	return w.watchDir(dir, watchedDir{dir, network}, unix.IN_CLOSE_WRITE|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF)
}

// addNamesDir watches the names of the namespaces.
func (w *watcher) addNamesDir() error {
	return w.watchDir(netns.Dir, watchedDir{path: netns.Dir}, 0)
}

func (w *watcher) watchDir(dir string, entry watchedDir, mask uint32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	mask |= unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR
	wd, err := unix.InotifyAddWatch(w.inotify, dir, mask) // for a directory that is watched, the same number again
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	if old, have := w.byDir[dir]; have && old != int32(wd) {
		delete(w.watches, old)
	}
	w.watches[int32(wd)], w.byDir[dir] = entry, int32(wd)
	return nil
}

// drop forgets everything of the network. The process's handle must still be open.
func (w *watcher) drop(network, dir string) {
	w.dropProcess(network)
	w.dropNamespace(network)
	w.mu.Lock()
	defer w.mu.Unlock()
	if wd, have := w.byDir[dir]; have {
		_, _ = unix.InotifyRmWatch(w.inotify, uint32(wd)) // it ended by itself if the directory is gone
		delete(w.watches, wd)
		delete(w.byDir, dir)
	}
}

func (w *watcher) dirs() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, d := range w.watches {
		if d.network != "" {
			out = append(out, d.path)
		}
	}
	return out
}

// run calls changed with the network of each event until ctx ends.
func (w *watcher) run(ctx context.Context, changed func(network string)) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		// Cannot fail: the counter is far from full.
		_, _ = unix.Write(w.wake, binary.NativeEndian.AppendUint64(nil, 1))
	})
	defer func() {
		if !stop() {
			<-woken
			var count [8]byte
			_, _ = unix.Read(w.wake, count[:]) // for the next run
		}
	}()

	events := make([]unix.EpollEvent, 64)
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("watch the DHCP servers: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		touched := map[string]bool{}
		for _, e := range events[:n] {
			w.handle(e, buffer, touched)
		}
		for network := range touched {
			changed(network)
		}
	}
}

// handle empties the descriptor of the event and notes the networks that it is about.
func (w *watcher) handle(e unix.EpollEvent, buffer []byte, touched map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fd := int(e.Fd)
	src, known := w.sources[e.Fd]
	if !known || src.generation != e.Pad {
		return // dropped meanwhile
	}
	if fd == w.inotify {
		w.readInotify(buffer, touched)
		return
	}
	if fd == w.wake {
		return // the end, which run sees by its context
	}
	touched[src.network] = true
	if src.process {
		// A process ends once, and its descriptor stays readable.
		w.unpoll(fd)
		return
	}
	for {
		// What has changed does not matter, only that something has; so lost messages (ENOBUFS) do no harm either.
		_, _, err := unix.Recvfrom(fd, buffer, unix.MSG_DONTWAIT)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return
		}
	}
}

func (w *watcher) readInotify(buffer []byte, touched map[string]bool) {
	for {
		n, err := unix.Read(w.inotify, buffer)
		if err != nil || n <= 0 {
			return
		}
		for b := buffer[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			end := min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			b = b[end:]
			w.noteFile(wd, mask, name, touched)
		}
	}
}

func (w *watcher) noteFile(wd int32, mask uint32, name string, touched map[string]bool) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		for network := range w.sockets {
			touched[network] = true
		}
		return
	}
	dir, known := w.watches[wd]
	switch {
	case !known:
	case dir.network == "":
		if network, ours := strings.CutPrefix(name, "qdhcp-"); ours {
			touched[network] = true
		}
	case !ownNoise(name, mask):
		touched[dir.network] = true
	}
	if known && mask&unix.IN_IGNORED != 0 {
		delete(w.watches, wd)
		delete(w.byDir, dir.path)
	}
}

// ownNoise tells the writing of our own temporary and log files, and of the state, which is written after each change.
func ownNoise(name string, mask uint32) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, dnsmasq.LogFile+".") ||
		name == dnsmasq.StateFile && mask&unix.IN_MOVED_TO != 0 ||
		name == dnsmasq.PIDFile
}
