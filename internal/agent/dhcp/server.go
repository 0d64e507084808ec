package dhcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
	"github.com/neutrino-net/neutrino/internal/dataplane/veth"
)

// server is the DHCP server of one network, as wanted and as it was last seen.
type server struct {
	part    *Part
	network string
	dir     string
	log     *slog.Logger

	// What is wanted, and what is told of it; only Reconcile uses these.
	docs       documents
	conversion conversion
	todo       bool  // the documents are others than those that were last worked on
	shown      error // as far as is known: of the last job
	job        *job

	// The rest belongs to the job while one is under way.
	//
	// err is why the last job failed; audited when the last one succeeded.
	err     error
	audited time.Time
	// applied is what a pass of ours has seen to be right: whatever differs from it afterwards is drift. It is nil while
	// an agent is still finding out what the one before has left.
	applied *wanted
	removed bool

	ns      *netns.Handle
	inode   uint64
	watched bool // the namespace is, for changes inside
	process *proc.Process
	state   dnsmasq.State
	loaded  time.Time // when it was last told to read its files
	starts  starts
	// startErr is why the last start failed, or nil.
	startErr error
	// down: no dnsmasq runs, and that is our own doing. owed is drift that a start will have repaired.
	down  bool
	owed  drift
	alarm *time.Timer // for a start that has to wait
}

// drift is what somebody else had changed.
type drift struct{ kind, what string }

// errSlow is told while a job has not ended.
var errSlow = errors.New("the DHCP server of the network takes long: it is still being worked on")

// want takes the network's documents; nil: there are none any more.
func (s *server) want(docs documents) {
	if s.docs.same(docs) && (docs == nil) == (s.docs == nil) {
		return
	}
	s.docs, s.conversion, s.todo = docs, convert(docs, s.part.config), true
	if s.job.busy() {
		s.shown = errSlow
	}
}

// begin lets a job make the server as its documents want it now.
func (s *server) begin(awaited bool) {
	if s.todo {
		s.shown = errSlow
	}
	s.todo, s.removed = false, false
	c, gone := s.conversion, s.docs == nil
	s.job = s.part.launch(awaited, func(ctx context.Context) { s.reconcile(ctx, c, gone) })
}

// collect takes over what the job has found out, if it has ended.
func (s *server) collect() {
	if s.job != nil && !s.job.busy() && !s.todo {
		s.shown = s.err
	}
}

// reconcile makes the server as the documents want it, and keeps the error.
func (s *server) reconcile(ctx context.Context, c conversion, gone bool) {
	before := s.err
	s.err = guarded(func() error {
		switch {
		case !gone && c.server != nil:
			return s.ensure(ctx, c.server)
		case !gone && c.broken:
			return nil // what runs goes on; the reasons say what is wrong
		}
		return s.remove()
	})
	s.removed = gone && s.err == nil
	if s.err == nil {
		s.audited = time.Now()
	} else if before == nil || before.Error() != s.err.Error() { // it is tried again and again: said once
		s.log.Error("the DHCP server is not as it should be", "error", s.err)
	}
}

// ensure goes from the outside to the inside. Each step looks first, and does nothing if all is right.
func (s *server) ensure(ctx context.Context, w *wanted) error {
	_, err := os.Stat(s.dir)
	// The directory is the mark by which the namespace is ours, so it is made only once that is certain.
	if err := s.ensureNamespace(w, errors.Is(err, os.ErrNotExist)); err != nil {
		return err
	}
	if err := makeDir(s.dir); err != nil {
		return err
	}
	index, err := s.ensureDevices(w)
	if err != nil {
		return err
	}
	if err := s.ensureFiles(w); err != nil {
		return err
	}
	if err := s.ensureProcess(ctx, w, index); err != nil {
		return err
	}
	s.applied = w
	// A directory that was removed and made anew has to be watched anew; for one that is watched, this is nothing.
	return s.part.watcher.addDir(s.dir, s.network)
}

// drift counts a repair, unless there was no time at which all was right.
func (s *server) drift(kind, what string) {
	if s.applied != nil {
		s.part.drift(s.log, kind, what)
	}
}

// ensureNamespace makes or finds the namespace, and opens it. If only its name is gone, it gets the name back: whoever
// is served notices nothing.
func (s *server) ensureNamespace(w *wanted, fresh bool) error {
	name := w.namespace()
	h, err := netns.Open(name)
	if errors.Is(err, netns.ErrNotExist) {
		h, err = s.restoreNamespace(name)
	} else if err == nil && fresh && s.ns == nil {
		if err = claimable(h, w.mark()); err != nil {
			h.Close()
		}
	}
	if err != nil {
		return err
	}
	inode, err := h.Inode()
	if err != nil {
		h.Close()
		return err
	}
	if s.ns == nil || s.inode != inode {
		if s.ns != nil {
			s.drift("namespace", name+" was replaced")
			s.part.watcher.dropNamespace(s.network)
			s.ns.Close()
		}
		s.ns, s.inode, s.watched = h, inode, false
	} else if err := h.Close(); err != nil {
		return err
	}
	return s.watchNamespace()
}

// watchNamespace prepares the namespace, and has it watched, once for each.
func (s *server) watchNamespace() error {
	if s.watched {
		return nil
	}
	if err := veth.LoopbackUp(s.ns); err != nil {
		return err
	}
	if err := s.part.watcher.addNamesDir(); err != nil {
		return err
	}
	if err := s.part.watcher.addNamespace(s.ns, s.network); err != nil {
		return err
	}
	s.watched = true
	return nil
}

// restoreNamespace gives the name back to the namespace that we, or the dnsmasq of an earlier agent, still hold; if there
// is none, it makes a new one.
func (s *server) restoreNamespace(name string) (*netns.Handle, error) {
	var source string
	if s.ns != nil {
		source = fmt.Sprintf("/proc/self/fd/%d", s.ns.Fd())
	} else if s.adopt() {
		source = fmt.Sprintf("/proc/%d/ns/net", s.process.PID)
	}
	if source == "" {
		return netns.Create(name)
	}
	path := filepath.Join(netns.Dir, name)
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return nil, fmt.Errorf("give the namespace %s its name back: %w", name, err)
	}
	file.Close()
	if err := unix.Mount(source, path, "none", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("give the namespace %s its name back: %w", name, err)
	}
	s.drift("namespace", name+" had lost its name")
	return netns.Open(name)
}

// claimable refuses a namespace of our name in which somebody else has devices, for instance a Neutron agent which is
// still at work on this host.
func claimable(ns *netns.Handle, mark string) error {
	h, err := veth.Handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("look into the namespace %s: %w", ns.Name(), err)
	}
	for _, l := range links {
		if a := l.Attrs(); a.Name != "lo" && a.Alias != mark {
			return fmt.Errorf("the namespace %s exists and is not ours: it holds the device %s", ns.Name(), a.Name)
		}
	}
	return nil
}

// ensureDevices connects the namespace with the host and sets the server's addresses. It returns the index of the inner
// device.
func (s *server) ensureDevices(w *wanted) (int, error) {
	pair, err := veth.Ensure(s.ns, veth.Pair{
		Host: w.hostDevice(), Inside: w.insideDevice(), MAC: w.mac, MTU: w.mtu, Mark: w.mark(),
	})
	if err != nil {
		return 0, err
	}
	unchanged := s.applied == w
	if unchanged && (pair.Made || pair.Changed) {
		s.drift("link", w.hostDevice())
	}
	if !unchanged {
		// The DHCP port may be another than before.
		if err := removeDevices(s.ns, w.mark()); err != nil {
			return 0, err
		}
	}
	if pair.Made {
		if err := s.noAutoconf(w.insideDevice()); err != nil {
			return 0, err
		}
	}
	added, removed, err := veth.SetAddresses(s.ns, pair.Index, w.addresses)
	if err != nil {
		return 0, fmt.Errorf("the device %s: %w", w.insideDevice(), err)
	}
	if !pair.Made && unchanged && len(added)+len(removed) > 0 {
		s.drift("address", fmt.Sprintf("added %v, removed %v", added, removed))
	}
	return pair.Index, nil
}

// noAutoconf keeps the server from taking addresses and routes from router advertisements, which tenants can send.
func (s *server) noAutoconf(device string) error {
	return netns.Do(s.ns, func() error {
		for _, key := range []string{"accept_ra", "autoconf"} {
			path := filepath.Join("/proc/sys/net/ipv6/conf", device, key)
			err := os.WriteFile(path, []byte("0"), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
				return fmt.Errorf("switch off IPv6 autoconfiguration: %w", err)
			}
		}
		return nil
	})
}

// ensureFiles writes the files of dnsmasq that are not as they should be.
func (s *server) ensureFiles(w *wanted) error {
	var repaired []string
	for name, want := range map[string][]byte{
		dnsmasq.ConfFile: w.files.Conf, dnsmasq.HostsFile: w.files.Hosts,
		dnsmasq.OptionsFile: w.files.Options, dnsmasq.NamesFile: w.files.Names,
	} {
		have, err := os.ReadFile(filepath.Join(s.dir, name))
		if err == nil && bytes.Equal(have, want) {
			continue
		}
		if err := dnsmasq.ReplaceFile(s.dir, name, want); err != nil {
			return err
		}
		repaired = append(repaired, name)
	}
	if s.applied == w && len(repaired) > 0 {
		s.drift("file", strings.Join(repaired, ", "))
		// dnsmasq may have read what somebody else had written.
		s.state.Loaded = ""
	}
	return nil
}

// remove takes the server off the host, from the inside to the outside; the directory, our mark, goes last.
func (s *server) remove() error {
	s.applied = nil
	name := "qdhcp-" + s.network
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) && s.ns == nil {
		return nil // never made, or removed already
	}
	s.adopt()
	if err := s.stop(); err != nil {
		return err
	}
	ns, err := netns.Open(name)
	if err == nil {
		// The namespace itself lives on while anybody has it open, so its devices are not left to its end.
		err = removeDevices(ns, "")
		ns.Close()
	}
	if err != nil && !errors.Is(err, netns.ErrNotExist) {
		return err
	}
	s.release()
	if err := netns.Delete(name); err != nil {
		return err
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing the files of a DHCP server: %w", err)
	}
	s.log.Info("removed the DHCP server")
	return nil
}

// removeDevices removes the devices of ours from the namespace, but not those with the mark to keep. Their outer ends go
// with them.
func removeDevices(ns *netns.Handle, keep string) error {
	h, err := veth.Handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("look into the namespace %s: %w", ns.Name(), err)
	}
	for _, l := range links {
		if alias := l.Attrs().Alias; alias == keep || !strings.HasPrefix(alias, "neutrino:port:") {
			continue
		}
		if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove the device %s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// release gives all handles up; what runs goes on.
func (s *server) release() {
	if s.alarm != nil {
		s.alarm.Stop()
	}
	s.part.watcher.drop(s.network, s.dir)
	if s.process != nil {
		s.process.Close()
		s.process = nil
	}
	if s.ns != nil {
		s.ns.Close()
		s.ns, s.watched = nil, false
	}
}
