package keepalived

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
)

const (
	// auditAfter is the longest time for which the host is believed to be as it was.
	auditAfter = 5 * time.Second
	// settled is how long a keepalived has to run so that its end is not a failed start.
	settled = 10 * time.Second
	// maxLog is the size in bytes at which the log is emptied.
	maxLog = 1 << 20
)

// Role is what a host is for a group.
type Role int

// The roles. A group of which nothing is known is on standby.
const (
	Standby Role = iota
	Active
)

func (r Role) String() string {
	if r == Active {
		return "active"
	}
	return "standby"
}

// Transition is a change of the role of this host.
type Transition struct {
	Group uint8
	Role  Role
	// Ended says that there is no keepalived any more, so that it is not known whether another host is active.
	Ended bool
}

// Options are what a Daemon needs.
type Options struct {
	// Dir holds the files of the keepalived; absolute, and made if it is not there.
	Dir string
	// Binary is the program; empty: keepalived, looked up in PATH.
	Binary string
	// Namespace is where it runs; nil: the namespace of the process.
	Namespace *netns.Handle
	// Changed is told all roles that have changed since the last call: first those that end, so that nobody is active in
	// two groups for longer than needed. The first call tells those that were found, if only that there are none; and one
	// with nothing tells that Err says something else. It is called by Run's goroutine and may call Want, which is heeded before
	// anything else happens; so a host whose keepalived has died can take its bonus back before the next one starts.
	Changed func([]Transition)
	// Logger is required.
	Logger *slog.Logger
}

// Daemon keeps one keepalived running, and knows which groups are active here.
type Daemon struct {
	options Options
	links   *netlinkx.Handle
	inode   uint64
	wake    chan struct{}

	mu     sync.Mutex
	wanted map[uint8]Group
	roles  map[uint8]Role
	looked bool // the roles are known
	err    error

	// What follows is used by Run only.
	process *proc.Process
	running state
	started time.Time
	pause   time.Duration // after the next failure
	next    time.Time     // no start before
	failure error         // why: it is told until the next attempt
	idle    bool          // nothing is wanted, and it is certain that nothing runs
	readers sync.WaitGroup
}

// New makes a Daemon. Nothing is touched before Run.
func New(options Options) (*Daemon, error) {
	if err := checkDir(options.Dir); err != nil {
		return nil, err
	}
	if options.Binary == "" {
		options.Binary = "keepalived"
	}
	if options.Changed == nil {
		options.Changed = func([]Transition) {}
	}
	links, err := netlinkx.Open(options.Namespace)
	if err != nil {
		return nil, err
	}
	d := &Daemon{options: options, links: links, wake: make(chan struct{}, 1), roles: map[uint8]Role{}}
	if d.inode, err = d.namespaceInode(); err != nil {
		links.Close()
		return nil, err
	}
	return d, nil
}

func (d *Daemon) namespaceInode() (uint64, error) {
	if d.options.Namespace != nil {
		return d.options.Namespace.Inode()
	}
	own, err := netns.Current()
	if err != nil {
		return 0, err
	}
	defer own.Close()
	return own.Inode()
}

// Close gives all handles up. Run must have returned.
func (d *Daemon) Close() { d.links.Close() }

// Want sets the groups in which the host takes part. Those that cannot be are left out, and returned with the reason.
// Before the first call, a keepalived that runs is left as it is.
func (d *Daemon) Want(groups []Group) map[uint8]error {
	wanted, refused := make(map[uint8]Group, len(groups)), map[uint8]error{}
	for _, g := range groups {
		if err := g.Validate(); err != nil {
			refused[g.ID] = err
		} else if _, twice := wanted[g.ID]; twice {
			refused[g.ID] = badField("id", "the group %d is there twice", g.ID)
		} else {
			wanted[g.ID] = g
		}
	}
	d.mu.Lock()
	d.wanted = wanted
	d.mu.Unlock()
	d.poke()
	return refused
}

// Roles returns the groups that are active here.
func (d *Daemon) Roles() map[uint8]Role {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.roles)
}

// Err says what keeps the groups from being as wanted; nil: nothing.
func (d *Daemon) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *Daemon) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run does the work until ctx ends. keepalived goes on.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.readers.Wait()
	defer d.release()
	events, err := d.subscribe()
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		err := d.pass(ctx)
		if err != nil && ctx.Err() == nil && (d.Err() == nil || d.Err().Error() != err.Error()) {
			d.options.Logger.Error("keepalived is not as wanted", "error", err)
		}
		d.setErr(err)
		timer := time.NewTimer(d.rest(err))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-d.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// setErr keeps the error of a pass, and tells if it is another one.
func (d *Daemon) setErr(err error) {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	d.mu.Lock()
	same := text(d.err) == text(err)
	d.err = err
	looked := d.looked
	d.mu.Unlock()
	if !same && looked {
		d.options.Changed(nil)
	}
}

// subscribe has a pass follow each change of an IPv4 address. Close the socket to end that.
func (d *Daemon) subscribe() (*nl.NetlinkSocket, error) {
	var socket *nl.NetlinkSocket
	err := d.within(func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to changes of addresses: %w", err)
	}
	d.readers.Go(func() {
		for {
			// ENOBUFS means that events were lost: as with any other, the pass looks at all addresses.
			if _, _, err := socket.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) &&
				!errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
				return
			}
			d.poke()
		}
	})
	return socket, nil
}

// rest is how long to wait for an event before the next pass.
func (d *Daemon) rest(err error) time.Duration {
	if err == nil {
		return auditAfter
	}
	return min(auditAfter, max(reconcile.FirstPause, time.Until(d.next)))
}

// pass makes keepalived run as wanted, and says what the roles have become.
func (d *Daemon) pass(ctx context.Context) error {
	d.adopt()
	if d.process != nil && !d.process.Alive() {
		d.options.Logger.Warn("keepalived has ended", "pid", d.process.PID)
		d.process.Reap()
		d.release()
		if time.Since(d.started) < settled {
			_ = d.failed(errors.New("keepalived ended soon after its start")) // ensure tells it
		} else {
			d.pause = 0
		}
	}
	if err := d.look(); err != nil {
		return err
	}
	d.mu.Lock()
	wanted := d.wanted
	d.mu.Unlock()
	if wanted == nil {
		return nil
	}
	if err := d.ensure(ctx, wanted); err != nil {
		return err
	}
	return d.look()
}

// adopt takes hold of the keepalived that the state file names, if it is still that one.
func (d *Daemon) adopt() {
	if d.process != nil {
		return
	}
	s := readState(d.options.Dir)
	p, err := open(s.PID, d.options.Dir)
	if err != nil {
		return
	}
	if p.Identity != s.Identity || p.Namespace != d.inode {
		p.Close()
		return
	}
	d.hold(p, s)
}

// hold begins to wait for the end of the process.
func (d *Daemon) hold(p *proc.Process, s state) {
	d.process, d.running = p, s
	d.readers.Go(func() {
		p.AwaitEnd()
		d.poke()
	})
}

// release gives up the hold on the process, which goes on if it is alive.
func (d *Daemon) release() {
	if d.process != nil {
		d.process.Close()
		d.process = nil
	}
}

// look reads which groups are active, and tells of changes. Without a keepalived, none is: the marker addresses are what
// a dead one has left.
func (d *Daemon) look() error {
	now := map[uint8]Role{}
	if d.process != nil {
		addresses, err := d.links.Addresses()
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if ip := a.Prefix.Addr(); markers.Contains(ip) {
				now[ip.As4()[3]] = Active
			}
		}
	}
	d.mu.Lock()
	var changes []Transition
	for id := range d.roles {
		if now[id] == Standby {
			changes = append(changes, Transition{id, Standby, d.process == nil})
		}
	}
	for id := range now {
		if d.roles[id] == Standby {
			changes = append(changes, Transition{id, Active, false})
		}
	}
	first := !d.looked
	d.roles, d.looked = now, true
	d.mu.Unlock()
	if len(changes) == 0 && !first {
		return nil
	}
	slices.SortFunc(changes, func(a, b Transition) int {
		if a.Role != b.Role {
			return int(a.Role) - int(b.Role)
		}
		return int(a.Group) - int(b.Group)
	})
	for _, c := range changes {
		d.options.Logger.Info("role of a gateway group", "group", c.Group, "role", c.Role.String())
	}
	d.options.Changed(changes)
	return nil
}

// ensure lets a keepalived run that has read the configuration of the groups, if there are any.
func (d *Daemon) ensure(ctx context.Context, wanted map[uint8]Group) error {
	if len(wanted) == 0 {
		if d.idle {
			return nil
		}
		err := d.stop()
		d.idle = err == nil
		return err
	}
	d.idle = false
	if err := os.MkdirAll(d.options.Dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of keepalived: %w", err)
	}
	if err := d.writeBonuses(wanted); err != nil {
		return err
	}
	if err := d.boundLog(); err != nil {
		return err
	}
	conf := render(d.options.Dir, slices.Collect(maps.Values(wanted)))
	sum := sha256.Sum256(conf)
	hash := hex.EncodeToString(sum[:16])
	switch {
	case d.process == nil:
		return d.restart(ctx, conf, hash)
	case d.running.Conf != hash:
		return d.reload(ctx, conf, hash)
	}
	return nil
}

// writeBonuses writes the bonus of each group into its file, which keepalived watches.
func (d *Daemon) writeBonuses(wanted map[uint8]Group) error {
	for id, g := range wanted {
		want := strconv.Itoa(int(g.Bonus)) + "\n"
		if is, err := os.ReadFile(filepath.Join(d.options.Dir, bonusFile(id))); err == nil && string(is) == want {
			continue
		}
		if err := replaceFile(d.options.Dir, bonusFile(id), []byte(want)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Daemon) boundLog() error {
	path := filepath.Join(d.options.Dir, logFile)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		return os.Truncate(path, 0)
	}
	return nil
}

// replaceConf replaces the configuration with one that keepalived accepts.
func (d *Daemon) replaceConf(ctx context.Context, conf []byte) error {
	const candidate = confFile + ".new"
	if err := replaceFile(d.options.Dir, candidate, conf); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := d.within(func() error { return check(ctx, d.options.Binary, d.options.Dir, candidate) }); err != nil {
		return err
	}
	return os.Rename(filepath.Join(d.options.Dir, candidate), filepath.Join(d.options.Dir, confFile))
}

func (d *Daemon) within(fn func() error) error {
	if d.options.Namespace == nil {
		return fn()
	}
	return netns.Do(d.options.Namespace, fn)
}

// reload has keepalived read its configuration again: groups that stay keep their role. The state is written after the
// signal; if we end between, the next agent sends it once more.
func (d *Daemon) reload(ctx context.Context, conf []byte, hash string) error {
	if time.Now().Before(d.next) {
		return d.failure
	}
	if err := d.replaceConf(ctx, conf); err != nil {
		return d.failed(err)
	}
	if err := d.process.Signal(unix.SIGHUP); err != nil {
		return fmt.Errorf("telling keepalived to read its configuration again: %w", err)
	}
	d.running.Conf, d.pause = hash, 0
	return writeState(d.options.Dir, d.running)
}

// failed delays the next start or reload, each time longer, and returns the error.
func (d *Daemon) failed(err error) error {
	d.pause = min(max(reconcile.FirstPause, 2*d.pause), reconcile.LastPause)
	d.next, d.failure = time.Now().Add(d.pause), err
	return err
}

// restart stops whatever runs with these files and starts a new keepalived.
func (d *Daemon) restart(ctx context.Context, conf []byte, hash string) error {
	if time.Now().Before(d.next) {
		return d.failure
	}
	if err := d.stop(); err != nil {
		return err
	}
	if err := d.replaceConf(ctx, conf); err != nil {
		return d.failed(err)
	}
	var p *proc.Process
	err := d.within(func() (err error) {
		p, err = start(d.options.Binary, d.options.Dir)
		return err
	})
	if err != nil {
		return d.failed(err)
	}
	d.started = time.Now()
	d.hold(p, state{Identity: p.Identity, Conf: hash})
	d.options.Logger.Info("started keepalived", "pid", p.PID)
	return writeState(d.options.Dir, d.running)
}

// stop ends the keepalived that we hold, and any other that runs with these files, and removes what one that was killed
// has left behind.
func (d *Daemon) stop() error {
	var errs []error
	if d.process != nil {
		errs = append(errs, end(d.process))
		d.release()
	}
	for _, p := range find(d.options.Dir) {
		errs = append(errs, end(p))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	addresses, err := d.links.Addresses()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if markers.Contains(a.Prefix.Addr()) {
			if err := d.links.DeleteAddress(a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("removing the marker address %v: %w", a.Prefix, err)
			}
		}
	}
	return d.look()
}
