package l3_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/agent/l3"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nswatch"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// patience is how long anything may take to be right.
const patience = 5 * time.Second

// cloud is a host with an agent that wires ports and routes, and the documents that it is given.
type cloud struct {
	t         testing.TB
	host      *testkit.Host
	data      string
	registry  *prometheus.Registry
	documents map[string]*sb.Document
	nextMAC   int
	quiet     bool // no log: what is measured is not the writing of it

	*agent.Agent
	routes   *l3.Part
	roles    *roles // nil: the host is in no gateway group
	nft      string // the program; empty: nft
	stop     func()
	revision int64

	mu    sync.Mutex
	told  map[string]*sb.ObjectStatus
	acked int64
}

// newCloud makes the host; start runs the agent.
func newCloud(t testing.TB) *cloud {
	t.Helper()
	c := &cloud{
		t: t, host: testkit.NewHost(t, "host"), data: t.TempDir(), documents: map[string]*sb.Document{},
		told: map[string]*sb.ObjectStatus{},
	}
	t.Cleanup(c.cleanup)
	return c
}

func (c *cloud) start() {
	c.t.Helper()
	c.registry = prometheus.NewRegistry()
	metrics, log := reconcile.NewMetrics(c.registry), slog.New(slog.NewTextHandler(testWriter{c.t}, nil))
	if c.quiet {
		log = slog.New(slog.DiscardHandler)
	}
	wires, err := l2.New(l2.Options{Namespace: c.host.NS, Metrics: metrics, Logger: log})
	c.host.Check(err)
	options := l3.Options{Namespace: c.host.NS, NFT: c.nft, Metrics: metrics, Logger: log}
	if c.roles != nil {
		options.Roles = c.roles
	}
	routes, err := l3.New(options)
	c.host.Check(err)
	c.routes = routes
	c.Agent, err = agent.New(agent.Options{
		Host: c.host.Name, DataDir: c.data, Parts: []agent.Part{wires, routes}, Registry: c.registry,
		SocketPath: filepath.Join(c.data, "s"), Logger: log,
	})
	c.host.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Agent.Run(ctx, uplink{c}) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		routes.Close()
		wires.Close()
	})
	c.t.Cleanup(c.stop)
}

// cleanup removes the namespaces of routers, which have names of their own.
func (c *cloud) cleanup() {
	if c.stop != nil {
		c.stop()
	}
	for _, d := range c.documents {
		if r := d.GetRouter(); r != nil {
			if err := netns.Delete("qrouter-" + r.GetRouterId()); err != nil {
				c.t.Error(err)
			}
		}
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(line), "\n"))
	return len(line), nil
}

var _ io.Writer = testWriter{}

// uplink is the stream to a server, as far as the test plays it.
type uplink struct{ *cloud }

func (u uplink) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (u uplink) Ack(revision int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.acked = revision
}

func (u uplink) ReportRoles([]*sb.GatewayRole) {}

func (u uplink) Report(statuses []*sb.ObjectStatus) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range statuses {
		u.told[s.Key] = s
	}
}

// put adds or replaces documents.
func (c *cloud) put(documents ...*sb.Document) {
	for _, d := range documents {
		c.documents[d.Key] = d
	}
}

// apply gives the agent all documents and waits until they are applied.
func (c *cloud) apply() {
	c.t.Helper()
	c.applyWithin(patience)
}

func (c *cloud) applyWithin(patience time.Duration) {
	c.t.Helper()
	revision := c.send()
	testkit.Eventually(c.t, patience, "acknowledged", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.acked == revision
	})
}

// send gives the agent all documents.
func (c *cloud) send() (revision int64) {
	c.revision++
	var gone []string
	for _, d := range c.Hello().Have {
		if c.documents[d.Key] == nil {
			gone = append(gone, d.Key)
		}
	}
	c.OnBatch(slices.Collect(maps.Values(c.documents)), gone, c.revision, true)
	return c.revision
}

// settle waits until all ports are wired and nothing happens in the routers' namespaces any more.
func (c *cloud) settle(t testing.TB) {
	t.Helper()
	var last atomic.Int64
	watcher := nswatch.New(nil, func(string, nswatch.Kind) { last.Store(time.Now().UnixNano()) })
	defer watcher.Close()
	for _, d := range c.documents {
		if r := d.GetRouter(); r != nil {
			c.host.Check(watcher.Add(testkit.OpenHost(t, "qrouter-"+r.RouterId).NS))
		}
	}
	testkit.Eventually(t, time.Minute, "wired", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.told {
			if s.State != sb.ObjectStatus_STATE_DONE {
				return false
			}
		}
		return true
	})
	last.Store(time.Now().UnixNano())
	testkit.Eventually(t, time.Minute, "quiet", func() bool { return time.Since(time.Unix(0, last.Load())) > time.Second/2 })
}

// reason is what the server was told is wrong with a document.
func (c *cloud) reason(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.told[key]; s.GetState() == sb.ObjectStatus_STATE_ERROR {
		return s.Reason
	}
	return ""
}

// allDone expects no document in error, and that all routers, floating IPs and forwardings are done.
func (c *cloud) allDone() {
	c.t.Helper()
	for key := range c.documents {
		if reason := c.reason(key); reason != "" {
			c.t.Errorf("%s: %s", key, reason)
		}
	}
}

// network is a network of the host.
type network struct {
	c   *cloud
	id  string
	mtu uint32
}

func (c *cloud) network(mtu uint32) *network {
	n := &network{c, uuid.NewString(), mtu}
	c.put(&sb.Document{Key: "segment/" + n.id, Body: &sb.Document_Segment{Segment: &sb.Segment{
		NetworkId: n.id, NetworkType: string(model.TypeLocal), Mtu: mtu,
	}}})
	return n
}

func (c *cloud) mac() string {
	c.nextMAC++
	return fmt.Sprintf("fa:16:3e:00:%02x:%02x", c.nextMAC>>8, c.nextMAC&255)
}

func (n *network) port(mac, owner string, ips ...string) *sb.Port {
	id := uuid.NewString()
	p := &sb.Port{
		PortId: id, NetworkId: n.id, Device: model.DeviceName(id), Mac: mac, Ips: ips, Mtu: n.mtu, AdminStateUp: true,
		DeviceOwner: owner,
	}
	n.c.put(&sb.Document{Key: "port/" + id, Body: &sb.Document_Port{Port: p}})
	return p
}

// workload is a namespace with a port in the network.
func (n *network) workload(ips ...string) *testkit.Host {
	n.c.t.Helper()
	p := n.port(n.c.mac(), "compute:nova", ips...)
	w := n.c.host.Plug(p.Device, p.Mac, ips...)
	n.c.host.Check(w.NL.SetMTU(w.Link("eth0").Index, int(n.mtu)))
	return w
}

// leg is a leg of a router in the network.
func (n *network) leg(ips ...string) *sb.RouterLeg {
	p := n.port(n.c.mac(), "network:router_interface", ips...)
	return &sb.RouterLeg{PortId: p.PortId, NetworkId: n.id, Mac: p.Mac, Ips: ips, Mtu: n.mtu}
}

func (n *network) gateway(ips ...string) *sb.RouterLeg {
	l := n.leg(ips...)
	l.Gateway = true
	return l
}

// router is a router document, changed by setting its fields and calling put.
func (c *cloud) router(legs ...*sb.RouterLeg) *sb.Router {
	r := &sb.Router{RouterId: uuid.NewString(), AdminStateUp: true, EnableSnat: true, Legs: legs}
	c.putRouter(r)
	return r
}

func (c *cloud) putRouter(r *sb.Router) {
	c.put(&sb.Document{Key: "router/" + r.RouterId, Body: &sb.Document_Router{Router: r}})
}

func (c *cloud) floating(r *sb.Router, address, fixed string) (key string) {
	id := uuid.NewString()
	c.put(&sb.Document{Key: "floating-ip/" + id, Body: &sb.Document_FloatingIp{FloatingIp: &sb.FloatingIp{
		FloatingIpId: id, RouterId: r.RouterId, Address: address, FixedIp: fixed,
	}}})
	return "floating-ip/" + id
}

func (c *cloud) forward(r *sb.Router, f *sb.PortForwarding) (key string) {
	f.PortForwardingId, f.RouterId = uuid.NewString(), r.RouterId
	c.put(&sb.Document{Key: "port-forwarding/" + f.PortForwardingId, Body: &sb.Document_PortForwarding{PortForwarding: f}})
	return "port-forwarding/" + f.PortForwardingId
}

// change gives the router's document another content and applies it. Documents never change, so it is a new one.
func (w *world) change(f func(r *sb.Router)) {
	w.t.Helper()
	w.router = w.clone()
	f(w.router)
	w.putRouter(w.router)
	w.apply()
}

func (w *world) clone() *sb.Router { return proto.Clone(w.router).(*sb.Router) }

// inside is the namespace of a router.
func (c *cloud) inside(r *sb.Router) *testkit.Host {
	c.t.Helper()
	return testkit.OpenHost(c.t, "qrouter-"+r.RouterId)
}

// via gives a workload its default route.
func via(w *testkit.Host, gateway string) *testkit.Host {
	w.Run("ip", "route", "replace", "default", "via", gateway)
	return w
}

// drift is how much drift of the kind has been counted.
func (c *cloud) drift(kind string) (n float64) {
	c.t.Helper()
	families, err := c.registry.Gather()
	c.host.Check(err)
	for _, f := range families {
		if f.GetName() != "neutrino_drift_repaired_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["part"] == "l3" && (kind == "" || labels["kind"] == kind) {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func cloneLeg(l *sb.RouterLeg) *sb.RouterLeg { return proto.Clone(l).(*sb.RouterLeg) }
