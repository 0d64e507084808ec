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
	"github.com/neutrino-net/neutrino/internal/dataplane/veth"
)

// reloadPause is the shortest time between two reloads of one dnsmasq: changes that come faster share a reload.
const reloadPause = 20 * time.Millisecond

// server is the DHCP server of one network, as wanted and as it was last seen.
type server struct {
	part    *Part
	network string
	dir     string
	log     *slog.Logger

	docs       documents
	conversion conversion

	// err is why the last pass failed; audited when the last one succeeded.
	err     error
	audited time.Time
	// applied is what a pass of ours has seen to be right: whatever differs from it afterwards is drift. It is nil while
	// an agent is still finding out what the one before has left.
	applied *wanted
	removed bool

	ns      *netns.Handle
	inode   uint64
	process *dnsmasq.Process
	state   dnsmasq.State
	loaded  time.Time // when it was last told to read its files
	started time.Time
	deaths  int // in a row, each right after the start
}

// reconcile makes the server as its documents want it, and keeps the error.
func (s *server) reconcile(ctx context.Context) {
	w, before := s.conversion.server, s.err
	switch {
	case w != nil:
		s.err = s.ensure(ctx, w)
	case s.conversion.broken:
		s.err = nil // what runs goes on; the reasons say what is wrong
	default:
		s.err = s.remove()
		s.removed = false // the documents are still there
	}
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
	if s.ns != nil && s.inode == inode {
		return h.Close()
	}
	if s.ns != nil {
		s.drift("namespace", name+" was replaced")
		s.part.watcher.dropNamespace(s.network)
		s.ns.Close()
	}
	s.ns, s.inode = h, inode
	if err := veth.LoopbackUp(h); err != nil {
		return err
	}
	if err := s.part.watcher.addNamesDir(); err != nil {
		return err
	}
	return s.part.watcher.addNamespace(h, s.network)
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

// adopt takes hold of the dnsmasq that the state file names, if it is still that one.
func (s *server) adopt() bool {
	if s.process != nil {
		return s.process.Alive()
	}
	state := dnsmasq.ReadState(s.dir)
	p, err := dnsmasq.Open(state.PID, s.dir)
	if err != nil {
		return false
	}
	if !p.Is(state) {
		p.Close()
		return false
	}
	s.process, s.state = p, state
	return true
}

// ensureProcess lets a dnsmasq run that has read the files; if possible the one that runs already.
func (s *server) ensureProcess(ctx context.Context, w *wanted, index int) error {
	reason, err := s.restartReason(w, index)
	if err != nil {
		return err
	}
	if reason != "" {
		return s.restart(ctx, w, index, reason)
	}
	if err := s.part.watcher.addProcess(s.process, s.network); err != nil {
		return err
	}
	if s.state.Loaded != w.files.ReloadHash() {
		if err := s.reload(ctx, w); err != nil {
			return err
		}
	}
	if dnsmasq.ReadState(s.dir) != s.state {
		return dnsmasq.WriteState(s.dir, s.state)
	}
	return nil
}

// restartReason says why the running dnsmasq will not do, or "".
func (s *server) restartReason(w *wanted, index int) (string, error) {
	if !s.adopt() {
		s.drift("process", "dnsmasq had ended")
		return "it does not run", s.mayStart()
	}
	switch {
	case s.process.Namespace != s.inode:
		return "it is in another namespace", nil
	case s.state.Interface != index:
		return "the device is another", nil
	case s.state.Conf != w.files.ConfHash():
		return "its configuration has changed", nil
	}
	// dnsmasq goes on writing into files that were removed; only a new one sees the new files.
	for _, name := range []string{dnsmasq.LeasesFile, dnsmasq.LogFile} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); errors.Is(err, os.ErrNotExist) {
			s.drift("file", name)
			return "the file " + name + " was removed", nil
		}
	}
	if s.state.Loaded == w.files.ReloadHash() {
		return "", nil
	}
	_, stale, err := s.leases(w)
	if stale > 0 {
		return "an address has a new owner", err
	}
	return "", err
}

// mayStart refuses to start a dnsmasq over and over that ends at once; with the error, the caller makes a pause.
func (s *server) mayStart() error {
	if age := time.Since(s.started); age > 5*time.Second {
		s.deaths = 0
	} else if s.deaths++; s.deaths > 3 {
		return fmt.Errorf("dnsmasq has ended %d times, %v after its start", s.deaths, age.Round(time.Millisecond))
	}
	return nil
}

// leases reads the lease file without the leases of addresses that have a new owner.
func (s *server) leases(w *wanted) (kept []byte, stale int, err error) {
	text, err := os.ReadFile(filepath.Join(s.dir, dnsmasq.LeasesFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("reading the leases: %w", err)
	}
	kept, stale = dnsmasq.WithoutStaleLeases(text, w.config.Hosts)
	return kept, stale, nil
}

// restart stops whatever runs with these files and starts a new dnsmasq.
func (s *server) restart(ctx context.Context, w *wanted, index int, reason string) error {
	if err := s.stop(); err != nil {
		return err
	}
	kept, stale, err := s.leases(w)
	if err != nil {
		return err
	}
	if stale > 0 {
		if err := dnsmasq.ReplaceFile(s.dir, dnsmasq.LeasesFile, kept); err != nil {
			return err
		}
	}
	begun := time.Now()
	var p *dnsmasq.Process
	err = netns.Do(s.ns, func() (err error) {
		p, err = dnsmasq.Start(ctx, s.part.options.Dnsmasq, s.dir)
		return err
	})
	if err != nil {
		return err
	}
	s.process, s.loaded, s.started = p, time.Now(), time.Now()
	s.state = dnsmasq.State{
		PID: p.PID, StartTime: p.StartTime, Namespace: p.Namespace, Interface: index,
		Conf: w.files.ConfHash(), Loaded: w.files.ReloadHash(),
	}
	s.log.Info("started dnsmasq", "pid", p.PID, "because", reason, "hosts", len(w.config.Hosts), "took", time.Since(begun))
	if err := dnsmasq.WriteState(s.dir, s.state); err != nil {
		return err
	}
	return s.part.watcher.addProcess(p, s.network)
}

// reload makes the running dnsmasq read the hosts again. The state is written after the signal: if we end between, the
// next agent sends it once more.
func (s *server) reload(ctx context.Context, w *wanted) error {
	if wait := reloadPause - time.Since(s.loaded); wait > 0 {
		pause := time.NewTimer(wait)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.process.Reload(); err != nil {
		return err
	}
	s.loaded, s.state.Loaded = time.Now(), w.files.ReloadHash()
	return nil
}

// stop ends the dnsmasq that we hold, and any other that runs with these files: one whose state file was lost.
func (s *server) stop() error {
	var errs []error
	if s.process != nil {
		s.part.watcher.dropProcess(s.network)
		errs = append(errs, s.process.Stop())
		s.process = nil
	}
	for _, p := range dnsmasq.Find(s.dir) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// remove takes the server off the host, from the inside to the outside; the directory, our mark, goes last.
func (s *server) remove() error {
	s.applied = nil
	name := "qdhcp-" + s.network
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) && s.ns == nil {
		s.removed = true
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
	s.removed = true
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
	s.part.watcher.drop(s.network, s.dir)
	if s.process != nil {
		s.process.Close()
		s.process = nil
	}
	if s.ns != nil {
		s.ns.Close()
		s.ns = nil
	}
}
