package keepalived

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/testkit"
)

const (
	interval = 100 * time.Millisecond
	patience = 10 * time.Second
)

// member is a host of the groups, with the keepalived of an agent.
type member struct {
	*testkit.Host
	t   testing.TB
	dir string

	*Daemon
	groups []Group
	stop   func()

	mu   sync.Mutex
	told []Transition
}

// pair makes two hosts that share group 1, with an uplink that is tracked.
func pair(t testing.TB) []*member {
	t.Helper()
	hosts := testkit.Underlay(t, 2)
	outside := testkit.NewHost(t, "outside")
	var out []*member
	for i, h := range hosts {
		testkit.Connect(h, "eth1", outside, "up"+strconv.Itoa(i))
		m := &member{Host: h, t: t, dir: t.TempDir()}
		m.groups = []Group{{
			ID: 1, Interface: "eth0", Source: testkit.UnderlayIP(i), Peers: []netip.Addr{testkit.UnderlayIP(1 - i)},
			Priority: uint8(60 - 10*i), Interval: interval, Tracked: []Tracked{{"eth1", 150}},
		}}
		t.Cleanup(m.kill)
		out = append(out, m)
	}
	return out
}

// start runs the agent's half; keepalived goes on when it is stopped.
func (m *member) start() {
	m.t.Helper()
	d, err := New(Options{
		Dir: m.dir, Namespace: m.NS, Changed: m.changed,
		Logger: slog.New(slog.NewTextHandler(m, nil)).With("host", m.Name),
	})
	m.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
		d.Close()
	})
	m.t.Cleanup(m.stop)
	m.Daemon = d
	m.mu.Lock()
	groups := slices.Clone(m.groups)
	m.mu.Unlock()
	for id, err := range d.Want(groups) {
		m.t.Errorf("group %d: %v", id, err)
	}
}

func (m *member) Write(line []byte) (int, error) {
	m.t.Log(strings.TrimRight(string(line), "\n"))
	return len(line), nil
}

// changed does what an agent does: who is active has a bonus.
func (m *member) changed(all []Transition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, all...)
	for _, c := range all {
		for i := range m.groups {
			if m.groups[i].ID == c.Group {
				m.groups[i].Bonus = map[Role]uint8{Active: 90, Standby: 0}[c.Role]
			}
		}
	}
	if m.Daemon != nil {
		m.Want(slices.Clone(m.groups))
	}
}

func (m *member) active() bool { return m.Roles()[1] == Active }

// kill ends the parent and the child with SIGKILL, as if at once: the child would tell the others that its parent is gone, and
// the parent would start another child.
func (m *member) kill() {
	all := find(m.dir)
	for _, signal := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		for _, p := range all {
			_ = p.Signal(signal)
		}
	}
	for _, p := range all {
		if !p.Ended(patience) {
			m.t.Errorf("process %d does not end", p.PID)
		}
		p.Reap()
		p.Close()
	}
}

func (m *member) pid() string {
	text, _ := os.ReadFile(filepath.Join(m.dir, pidFile))
	return strings.TrimSpace(string(text))
}

// elected starts both and waits until the first is the active one and has its bonus, and the second listens to it: one
// that is still reading its configuration would take over later.
func elected(t testing.TB) (a, b *member) {
	t.Helper()
	all := pair(t)
	a, b = all[0], all[1]
	a.start()
	testkit.Eventually(t, patience, "the first active", a.active)
	b.start()
	testkit.Eventually(t, patience, "the second there", func() bool {
		log, _ := os.ReadFile(filepath.Join(b.dir, logFile))
		return strings.Contains(string(log), "Entering BACKUP STATE") && a.hasBonus()
	})
	return a, b
}

func (m *member) hasBonus() bool {
	text, _ := os.ReadFile(filepath.Join(m.dir, bonusFile(1)))
	return string(text) == "90\n"
}

func TestAnotherTakesOverFromOneThatIsDead(t *testing.T) {
	a, b := elected(t)
	a.stop()
	killed := time.Now()
	a.kill()
	testkit.Eventually(t, patience, "the second active", b.active)
	took := time.Since(killed)
	t.Logf("taken over after %v, with an interval of %v", took, interval)
	if took < 2*interval || took > time.Second {
		t.Errorf("taken over after %v: three intervals of silence are meant, and less than a second", took)
	}

	// The dead one comes back with the higher priority and the marker address that it has left, and does not take the
	// group away again.
	testkit.Eventually(t, patience, "the bonus of the second", b.hasBonus)
	a.groups[0].Bonus = 0
	a.start()
	testkit.Eventually(t, patience, "the first back", func() bool { return a.pid() != "" && a.Err() == nil })
	stays(t, b, a)
}

// stays fails when the owner is not the only active one for as long as an election may take.
func stays(t *testing.T, owner, other *member) {
	t.Helper()
	for end := time.Now().Add(10 * interval); time.Now().Before(end); {
		if !owner.active() || other.active() {
			t.Fatalf("the owner is active: %v, the other one: %v", owner.active(), other.active())
		}
		time.Sleep(interval / 10) //nolint:forbidigo // it is the time itself that is tested
	}
}

func TestAnotherTakesOverAtOnceFromOneThatLeaves(t *testing.T) {
	a, b := elected(t)
	a.Want(nil)
	took := testkit.Eventually(t, patience, "the second active", b.active)
	t.Logf("taken over after %v", took)
	testkit.Eventually(t, patience, "the first stopped", func() bool { return !a.active() && len(find(a.dir)) == 0 })
}

func TestTheLossOfATrackedInterfaceMovesTheGroup(t *testing.T) {
	a, b := elected(t)
	a.Host.Run("ip", "link", "set", "eth1", "down")
	took := testkit.Eventually(t, patience, "the second alone active", func() bool { return b.active() && !a.active() })
	t.Logf("moved after %v", took)
	testkit.Eventually(t, patience, "the bonus of the second", b.hasBonus)
	a.Host.Run("ip", "link", "set", "eth1", "up")
	stays(t, b, a)

	// When both have lost it, somebody goes on.
	a.Host.Run("ip", "link", "set", "eth1", "down")
	b.Host.Run("ip", "link", "set", "eth1", "down")
	testkit.Eventually(t, patience, "one of them active", func() bool { return a.active() != b.active() })
}

func TestAfterAPartitionOneGivesWay(t *testing.T) {
	a, b := elected(t)
	a.Host.Run("nft", "add table ip cut; add chain ip cut in { type filter hook input priority 0; policy drop; }")
	a.Host.Run("nft", "add chain ip cut out { type filter hook output priority 0; policy drop; }")
	testkit.Eventually(t, patience, "both active", func() bool { return a.active() && b.active() })
	b.mu.Lock()
	b.groups[0].Bonus = 120 // who has taken over later has the right
	b.Want(slices.Clone(b.groups))
	b.mu.Unlock()
	testkit.Eventually(t, patience, "the bonus of the second", func() bool {
		text, _ := os.ReadFile(filepath.Join(b.dir, bonusFile(1)))
		return string(text) == "120\n"
	})
	healed := time.Now()
	a.Host.Run("nft", "delete table ip cut")
	testkit.Eventually(t, patience, "the later one alone active", func() bool { return b.active() && !a.active() })
	took := time.Since(healed)
	t.Logf("one owner after %v", took)
	if bound := interval + time.Second; took > bound {
		t.Errorf("it took %v, more than %v", took, bound)
	}
}

func TestTheNextAgentFindsTheRoles(t *testing.T) {
	a, b := elected(t)
	a.stop()
	b.stop()
	pidA, pidB := a.pid(), b.pid()
	a.Host.Run("ip", "link", "set", "eth1", "down") // the group moves while no agent looks
	testkit.Eventually(t, patience, "the marker of the second", func() bool {
		return strings.Contains(b.Host.Run("ip", "addr", "show", "lo"), marker(1).String())
	})
	a.told, b.told = nil, nil
	a.start()
	b.start()
	testkit.Eventually(t, patience, "the second known to be active", func() bool { return b.active() && !a.active() })
	if a.pid() != pidA || b.pid() != pidB {
		t.Errorf("keepalived was started again: %s → %s, %s → %s", pidA, a.pid(), pidB, b.pid())
	}
}

func TestAKeepalivedThatIsKilledComesBack(t *testing.T) {
	a, b := elected(t)
	before := a.pid()
	a.kill()
	testkit.Eventually(t, patience, "the first known to be on standby", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return slices.Contains(a.told, Transition{1, Standby, true})
	})
	testkit.Eventually(t, patience, "a new keepalived", func() bool { return a.pid() != "" && a.pid() != before })
	testkit.Eventually(t, patience, "one owner", func() bool { return a.active() != b.active() })
}

func TestGroupsComeAndGoWithoutARestart(t *testing.T) {
	a, b := elected(t)
	pid := a.pid()
	for _, m := range []*member{b, a} {
		m.mu.Lock()
		second := m.groups[0]
		second.ID, second.Bonus, second.Priority = 2, 0, 110-second.Priority
		m.groups = append(m.groups, second)
		m.Want(slices.Clone(m.groups))
		m.mu.Unlock()
		testkit.Eventually(t, patience, "the second group on the second host", func() bool { return b.Roles()[2] == Active })
	}
	testkit.Eventually(t, patience, "each host active for one group", func() bool {
		return maps.Equal(a.Roles(), map[uint8]Role{1: Active}) && maps.Equal(b.Roles(), map[uint8]Role{2: Active})
	})
	bad := a.groups[1]
	bad.Interface = "missing0"
	for id, err := range a.Want([]Group{a.groups[0], bad}) {
		t.Errorf("group %d: %v", id, err)
	}
	nobody := &member{Daemon: &Daemon{}}
	refused := a.Want([]Group{a.groups[0], {ID: 9}})
	var field *FieldError
	if len(refused) != 1 || !errors.As(refused[9], &field) {
		t.Errorf("a group without anything: %v", refused)
	}
	stays(t, a, nobody)
	if a.pid() != pid {
		t.Errorf("keepalived was started again: %s → %s", pid, a.pid())
	}
	if err := a.Err(); err != nil {
		t.Error(err)
	}
}

// Passes between the attempts know nothing better: who asks at any time learns the reason, not that it was not tried.
func TestTheReasonIsToldUntilTheNextAttempt(t *testing.T) {
	h := testkit.NewHost(t, "a")
	d, err := New(Options{
		Dir: t.TempDir(), Namespace: h.NS, Binary: "no-such-keepalived", Logger: slog.New(slog.DiscardHandler),
	})
	h.Check(err)
	t.Cleanup(d.Close)
	d.Want([]Group{{ID: 1, Interface: "eth0", Source: testkit.UnderlayIP(0), Peers: []netip.Addr{testkit.UnderlayIP(1)},
		Priority: 50, Interval: interval,
	}})
	for range 5 {
		if err := d.pass(t.Context()); err == nil || !strings.Contains(err.Error(), "not installed") {
			t.Errorf("%v", err)
		}
	}
}
