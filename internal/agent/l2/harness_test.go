package l2_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// networkA and networkB are the ids of the networks of the tests; their bridges are brqaaaaaaaa-aa and brqbbbbbbbb-bb.
const (
	networkA = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	networkB = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	bridgeA  = "brqaaaaaaaa-aa"
)

func vxlan(network string, vni uint32) *sb.Document {
	return segment(&sb.Segment{NetworkId: network, NetworkType: "vxlan", SegmentationId: vni, Mtu: 1450})
}

func segment(s *sb.Segment) *sb.Document {
	return &sb.Document{Key: "segment/" + s.NetworkId, Body: &sb.Document_Segment{Segment: s}}
}

// portID is the id of the n-th port of the tests.
func portID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", n) }

// device is the name of its device, mac its MAC and ip4, ip6 its addresses.
func device(n int) string { return "tap" + portID(n)[:11] }
func mac(n int) string    { return fmt.Sprintf("fa:16:3e:00:%02x:%02x", n>>8, n&0xff) }
func ip4(n int) string    { return fmt.Sprintf("10.0.%d.%d", n>>8, n&0xff) }
func ip6(n int) string    { return fmt.Sprintf("fd00::%x", n) }

func port(network string, n int) *sb.Document {
	return &sb.Document{Key: "port/" + portID(n), Body: &sb.Document_Port{Port: &sb.Port{
		PortId: portID(n), NetworkId: network, Device: device(n), Mac: mac(n), Mtu: 1450, AdminStateUp: true,
		Ips: []string{ip4(n) + "/16", ip6(n) + "/64"},
	}}}
}

func neighbour(network string, n int, vtep netip.Addr) *sb.Document {
	return &sb.Document{Key: "neighbour/" + portID(n), Body: &sb.Document_Neighbour{Neighbour: &sb.Neighbour{
		PortId: portID(n), NetworkId: network, Mac: mac(n), Ips: []string{ip4(n), ip6(n)}, Vtep: vtep.String(),
	}}}
}

// plug makes the workload of the n-th port on the host.
func plug(h *testkit.Host, n int) *testkit.Host {
	return h.Plug(device(n), mac(n), ip4(n)+"/16", ip6(n)+"/64")
}

// newPart makes a part in the namespace of the host, whose tunnel address is that of the i-th host of an underlay.
func newPart(t testing.TB, h *testkit.Host, i int) (*l2.Part, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	part, err := l2.New(l2.Options{
		Namespace: h.NS, TunnelIP: testkit.UnderlayIP(i), Metrics: reconcile.NewMetrics(registry),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(part.Close)
	return part, registry
}

// statusesOf reconciles once and returns the statuses by key.
func statusesOf(t testing.TB, part *l2.Part, view *agent.View) map[string]agent.Status {
	t.Helper()
	statuses, err := part.Reconcile(t.Context(), view)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]agent.Status{}
	for _, s := range statuses {
		if _, twice := byKey[s.Key]; twice {
			t.Errorf("two statuses of %s", s.Key)
		}
		byKey[s.Key] = s
	}
	return byKey
}

// apply reconciles once and expects every document to be done, but for ports whose device is absent.
func apply(t testing.TB, part *l2.Part, documents ...*sb.Document) {
	t.Helper()
	for _, s := range statusesOf(t, part, agent.NewView(1, documents...)) {
		if s.State == sb.ObjectStatus_STATE_ERROR {
			t.Fatalf("%s: %s", s.Key, s.Reason)
		}
	}
}

// running is a whole agent with the part, on a host.
type running struct {
	*agent.Agent
	t        testing.TB
	registry *prometheus.Registry
	revision int64

	mu    sync.Mutex
	told  map[string]*sb.ObjectStatus
	acked int64
	stop  func()
}

// start runs an agent until the test ends or stop is called.
func start(t testing.TB, h *testkit.Host, i int) *running {
	t.Helper()
	part, registry := newPart(t, h, i)
	dir := t.TempDir()
	a, err := agent.New(agent.Options{
		Host: h.Name, DataDir: dir, Parts: []agent.Part{part}, Registry: registry,
		SocketPath: filepath.Join(dir, "s"), Logger: slog.New(slog.DiscardHandler),
		TunnelIP: testkit.UnderlayIP(i),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Agent: a, t: t, registry: registry, told: map[string]*sb.ObjectStatus{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, r) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { r.stop() })
	return r
}

// The agent's uplink.

func (r *running) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (r *running) Ack(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked = revision
}

func (r *running) ReportRoles([]*sb.GatewayRole) {}

func (r *running) Report(statuses []*sb.ObjectStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range statuses {
		r.told[s.Key] = s
	}
}

// send gives the agent the documents as a full batch and waits until they are acknowledged.
func (r *running) send(documents ...*sb.Document) {
	r.t.Helper()
	r.revision++
	revision := r.revision
	r.OnBatch(documents, nil, revision, true)
	testkit.Eventually(r.t, 5*time.Second, "acknowledged", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.acked == revision
	})
}

func (r *running) status(key string) sb.ObjectStatus_State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told[key].GetState()
}

// drift is how much drift of the kind has been counted.
func drift(t testing.TB, registry *prometheus.Registry, kind string) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "neutrino_drift_repaired_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "kind" && (kind == "" || l.GetValue() == kind) {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// kernel is the state of a host as text: what a person would look at, without what differs between runs.
func kernel(h *testkit.Host) string {
	var b strings.Builder
	links, err := h.NL.Links()
	h.Check(err)
	names := map[int]string{}
	for name, l := range links {
		names[l.Index] = name
	}
	var lines []string
	for name, l := range links {
		if name == "lo" || name == "eth0" {
			continue
		}
		line := fmt.Sprintf("%s %s mtu=%d up=%v", l.Kind, name, l.MTU, l.Up)
		if l.Master != 0 {
			line += " master=" + names[l.Master]
		}
		if l.VXLAN != nil {
			line += fmt.Sprintf(" vni=%d local=%s port=%d learning=%v", l.VXLAN.ID, l.VXLAN.Local, l.VXLAN.Port, l.VXLAN.Learning)
		}
		if l.Alias != "" {
			line += " alias=" + l.Alias
		}
		lines = append(lines, line)
	}
	lines = append(lines, entries(h, names)...)
	for _, line := range sorted(lines) {
		b.WriteString(line + "\n")
	}
	return b.String()
}
