package lease_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/lease"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// contact is held or not, as the test wants it.
type contact struct{ atomic.Bool }

func (c *contact) Held(*agent.View, time.Time) bool { return c.Load() }

// seconds is the lease of the tests.
const seconds = 2

func device(n int) string  { return fmt.Sprintf("tap%08x-00", n) }
func address(n int) string { return fmt.Sprintf("10.0.0.%d", n) }

func port(n int, leaseSeconds uint32) *sb.Document {
	id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", n)
	return &sb.Document{Key: "port/" + id, Body: &sb.Document_Port{Port: &sb.Port{
		PortId: id, Device: device(n), LeaseSeconds: leaseSeconds,
	}}}
}

// bench is a host with two devices in a bridge: the first is to be held on a lease, the second is the one that it reaches.
type bench struct {
	*testkit.Host
	t             *testing.T
	leased, other *testkit.Host
	contact       *contact
	registry      *prometheus.Registry
}

func newBench(t *testing.T) *bench {
	b := &bench{Host: testkit.NewHost(t, "host"), t: t, contact: &contact{}, registry: prometheus.NewRegistry()}
	b.Run("ip", "link", "add", "br0", "type", "bridge")
	b.Run("ip", "link", "set", "br0", "up")
	for n, into := range []**testkit.Host{&b.leased, &b.other} {
		*into = b.Plug(device(n+1), fmt.Sprintf("02:00:00:00:00:0%d", n+1), address(n+1)+"/24")
		b.Run("ip", "link", "set", device(n+1), "up", "master", "br0")
	}
	testkit.Eventually(t, 10*time.Second, "the devices forward", b.passes)
	return b
}

func (b *bench) part() *lease.Part {
	return lease.New(lease.Options{
		Namespace: b.NS, Contact: b.contact, Metrics: reconcile.NewMetrics(prometheus.NewRegistry()),
		Logger: slog.New(slog.DiscardHandler),
	})
}

// pass reconciles once and expects every port to be done.
func (b *bench) pass(p *lease.Part, documents ...*sb.Document) {
	b.t.Helper()
	statuses, err := p.Reconcile(b.t.Context(), agent.NewView(1, documents...))
	b.Check(err)
	for _, s := range statuses {
		if s.State != sb.ObjectStatus_STATE_DONE {
			b.t.Errorf("%s: %s", s.Key, s.Reason)
		}
	}
}

// passes says whether what the first device sends arrives.
func (b *bench) passes() bool { return b.leased.Ping(address(2), 1) == 1 }

func TestALeaseRunsOutByItself(t *testing.T) {
	b := newBench(t)
	p := b.part()
	if !b.passes() {
		t.Fatal("nothing passes without a lease")
	}
	b.pass(p, port(1, seconds))
	if b.passes() {
		t.Error("without contact, the port sends")
	}
	b.contact.Store(true)
	b.pass(p, port(1, seconds))
	if !b.passes() {
		t.Error("with contact, the port sends nothing")
	}
	// Nobody does anything from here on: the agent is dead.
	took := testkit.Eventually(t, 10*time.Second, "the lease has run out", func() bool { return !b.passes() })
	// The ping that finds out waits for a second, and the machine may be busy.
	if limit := (seconds + 3) * time.Second; took > limit {
		t.Errorf("it took %v, more than %v", took, limit)
	}
	if b.other.Ping(address(1), 1) != 0 {
		t.Error("the port answers although its lease has run out")
	}
	b.pass(p, port(1, seconds))
	if !b.passes() {
		t.Error("a renewed lease does not count")
	}
}

func TestALeaseThatIsRenewedGoesOn(t *testing.T) {
	b := newBench(t)
	p := b.part()
	b.contact.Store(true)
	until := time.Now().Add(2 * seconds * time.Second)
	for b.pass(p, port(1, seconds)); time.Now().Before(until); b.pass(p, port(1, seconds)) {
		if !b.passes() {
			t.Fatal("a packet is lost while the lease is renewed")
		}
	}
	// A new agent renews what it finds.
	b.pass(b.part(), port(1, seconds))
	if !b.passes() {
		t.Error("a packet is lost with a new agent")
	}
}

func TestADeviceThatLosesItsPortSendsNothing(t *testing.T) {
	b := newBench(t)
	p := b.part()
	b.contact.Store(true)
	b.pass(p, port(1, seconds))
	b.pass(p)
	if b.passes() {
		t.Error("the port is another host's now, and the device sends")
	}
	b.pass(p, port(1, seconds))
	if !b.passes() {
		t.Error("the port is back, and the device sends nothing")
	}
}

func TestPortsWithoutALeaseAreLeftAlone(t *testing.T) {
	b := newBench(t)
	b.pass(b.part(), port(1, 0))
	if !b.passes() {
		t.Error("a port without a lease is stopped")
	}
	if out, err := b.Try("nft", "list", "tables"); err != nil || out != "" {
		t.Errorf("there are tables: %s", out)
	}
	p := b.part()
	b.pass(p, port(1, seconds), port(2, 0))
	if b.passes() || b.other.Ping(address(2), 1) != 1 {
		t.Error("the lease of one port is that of another")
	}
}

func TestAChangedTableIsRepaired(t *testing.T) {
	b := newBench(t)
	var ahead atomic.Int64
	p := lease.New(lease.Options{
		Namespace: b.NS, Contact: b.contact, Metrics: reconcile.NewMetrics(b.registry),
		Logger: slog.New(slog.DiscardHandler),
		Now:    func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	b.pass(p, port(1, seconds))
	b.Run("nft", "flush", "chain", "bridge", "neutrino-lease", "prerouting")
	if !b.passes() {
		t.Fatal("the table still stops the port")
	}
	ahead.Store(int64(time.Minute))
	b.pass(p, port(1, seconds))
	if b.passes() {
		t.Error("the table is not repaired")
	}
	families, err := b.registry.Gather()
	b.Check(err)
	drift := 0.0
	for _, f := range families {
		if f.GetName() == "neutrino_drift_repaired_total" {
			drift = f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	if drift != 1 {
		t.Errorf("%v repairs are counted", drift)
	}
}
