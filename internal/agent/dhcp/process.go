package dhcp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
)

// reloadPause is the shortest time between two reloads of one dnsmasq: changes that come faster share a reload.
const reloadPause = 20 * time.Millisecond

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
	if p.Identity != state.Identity {
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
		if err := s.mayStart(w, reason); err != nil {
			return err
		}
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
		if !s.down {
			s.owe("process", "dnsmasq had ended")
		}
		return "it does not run", nil
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
			s.owe("file", name)
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

// owe notes drift that the next start repairs, unless there is no time at which all was right. It is counted then, and
// once, however often that is tried.
func (s *server) owe(kind, what string) {
	if s.applied != nil && s.owed == (drift{}) {
		s.owed = drift{kind, what}
	}
}

// mayStart refuses a start that comes too soon after others, and sees to it that there is a pass when its time has come.
// Until then, what runs goes on.
func (s *server) mayStart(w *wanted, reason string) error {
	wait := s.starts.wait(time.Now(), w.files.ConfHash())
	if wait <= 0 {
		return nil
	}
	s.wakeAfter(wait)
	if s.startErr != nil {
		return s.startErr
	}
	return fmt.Errorf("dnsmasq was started too often in a short time; the next start is delayed (%s)", reason)
}

// wakeAfter asks for a pass that looks at this server when the time has passed.
func (s *server) wakeAfter(wait time.Duration) {
	if s.alarm != nil {
		s.alarm.Stop()
	}
	part, network := s.part, s.network
	s.alarm = time.AfterFunc(wait, func() {
		part.setDirty(network)
		part.announce()
	})
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
	if err := ctx.Err(); err != nil {
		return err
	}
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
	p, err := s.start(ctx, w)
	if err != nil {
		return err
	}
	s.process, s.loaded = p, time.Now()
	s.state = dnsmasq.State{
		Identity: p.Identity, Interface: index,
		Conf: w.files.ConfHash(), Loaded: w.files.ReloadHash(),
	}
	s.log.Info("started dnsmasq", "pid", p.PID, "because", reason, "hosts", len(w.config.Hosts))
	if s.owed != (drift{}) {
		s.drift(s.owed.kind, s.owed.what)
	}
	s.down, s.owed = false, drift{}
	if err := dnsmasq.WriteState(s.dir, s.state); err != nil {
		return err
	}
	return s.part.watcher.addProcess(p, s.network)
}

// start starts a dnsmasq, and notes how that went.
func (s *server) start(ctx context.Context, w *wanted) (p *proc.Process, err error) {
	// The end of the agent leaves the network with a server, so it waits for this one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.part.options.StartTimeout)
	defer cancel()
	s.starts.begun(time.Now())
	err = netns.Do(s.ns, func() (err error) {
		p, err = dnsmasq.Start(ctx, s.part.options.Dnsmasq, s.dir)
		return err
	})
	s.starts.ended(time.Now(), w.files.ConfHash(), err)
	s.startErr = err
	if err != nil {
		s.wakeAfter(s.starts.wait(time.Now(), w.files.ConfHash()))
	}
	return p, err
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
	if err := dnsmasq.Reload(s.process); err != nil {
		return err
	}
	s.loaded, s.state.Loaded = time.Now(), w.files.ReloadHash()
	return nil
}

// stop ends the dnsmasq that we hold, and any other that runs with these files: one whose state file was lost.
func (s *server) stop() error {
	s.down = true
	var errs []error
	if s.process != nil {
		s.part.watcher.dropProcess(s.network)
		errs = append(errs, dnsmasq.Stop(s.process))
		s.process = nil
	}
	for _, p := range dnsmasq.Find(s.dir) {
		errs = append(errs, dnsmasq.Stop(p))
	}
	return errors.Join(errs...)
}
