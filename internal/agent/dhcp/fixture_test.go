package dhcp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/plug"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// patience is how long anything may take to be right: the promise for drift is two seconds.
const patience = 2 * time.Second

// host is a host with the part, a network that it serves, and clients.
type host struct {
	t        *testing.T
	data     string
	registry *prometheus.Registry
	network  *sb.DhcpNetwork
	hosts    []*sb.DhcpHost
	part     *Part
	dnsmasq  string // the program; empty: the real one

	mu       sync.Mutex
	view     *agent.View
	statuses map[string]agent.Status
	passes   int
	changed  chan struct{}
	stop     func()
}

// newHost makes a host with one network of two clients, not running yet. All that it leaves on the machine is removed
// at the end of the test.
func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	h := &host{t: t, data: t.TempDir(), registry: prometheus.NewRegistry()}
	// dnsmasq gives up root, as in the product, and then has to reach its files.
	for _, dir := range []string{h.data, filepath.Dir(h.data)} {
		must(t, os.Chmod(dir, 0o755))
	}
	h.network = &sb.DhcpNetwork{
		NetworkId: uuid.NewString(), PortId: uuid.NewString(), Mac: "fa:16:3e:aa:00:02", Mtu: 1450, DnsDomain: "example.org.",
		Subnets: []*sb.DhcpSubnet{{
			SubnetId: "s1", Cidr: "10.77.0.0/24", ServerIp: "10.77.0.2", GatewayIp: "10.77.0.1", LeaseSeconds: 3600,
			EnableDhcp: true,
			HostRoutes: []*sb.Route{{Destination: "10.99.0.0/16", Nexthop: "10.77.0.9"}},
		}},
	}
	h.hosts = []*sb.DhcpHost{h.client(3, "web"), h.client(4, "")}
	t.Cleanup(h.cleanup)
	return h
}

// client is the document of a port with the address 10.77.0.n.
func (h *host) client(n int, name string) *sb.DhcpHost {
	return &sb.DhcpHost{
		PortId: uuid.NewString(), NetworkId: h.network.GetNetworkId(), Mac: fmt.Sprintf("fa:16:3e:bb:%02x:%02x", n>>8, n&255),
		Hostname: name, Addresses: []*sb.DhcpAddress{{SubnetId: "s1", Ip: fmt.Sprintf("10.77.%d.%d", n>>8, n&255)}},
	}
}

func (h *host) namespace() string    { return "qdhcp-" + h.network.GetNetworkId() }
func (h *host) dir() string          { return filepath.Join(h.data, "dhcp", h.network.GetNetworkId()) }
func (h *host) hostDevice() string   { return "tap" + h.network.GetPortId()[:11] }
func (h *host) insideDevice() string { return "ns-" + h.network.GetPortId()[:11] }
func (h *host) networkKey() string   { return "dhcp-network/" + h.network.GetNetworkId() }

func (h *host) documents() []*sb.Document {
	docs := []*sb.Document{{Key: h.networkKey(), Body: &sb.Document_DhcpNetwork{DhcpNetwork: h.network}}}
	for _, c := range h.hosts {
		docs = append(docs, &sb.Document{Key: "dhcp-host/" + c.GetPortId(), Body: &sb.Document_DhcpHost{DhcpHost: c}})
	}
	return docs
}

// start runs a new part on the host, as the agent's loop does: a pass after each change and each event.
func (h *host) start() {
	h.t.Helper()
	part, err := New(Options{
		DataDir: h.data, Metrics: reconcile.NewMetrics(h.registry),
		Logger: slog.New(slog.NewTextHandler(testWriter{h.t}, nil)), Dnsmasq: h.dnsmasq,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.part, h.changed = part, make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() {
		if err := part.Watch(ctx, h.trigger); err != nil {
			h.t.Errorf("Watch: %v", err)
		}
	})
	loops.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-h.changed:
				h.pass(ctx)
			}
		}
	})
	h.stop = func() {
		cancel()
		loops.Wait()
		if err := part.Close(); err != nil {
			h.t.Errorf("Close: %v", err)
		}
		h.stop = nil
	}
	h.apply(h.documents()...)
}

func (h *host) trigger() {
	select {
	case h.changed <- struct{}{}:
	default: // a pass is due already
	}
}

func (h *host) pass(ctx context.Context) {
	h.mu.Lock()
	view := h.view
	h.mu.Unlock()
	statuses, err := h.part.Reconcile(ctx, view)
	if err != nil && ctx.Err() == nil {
		h.t.Errorf("Reconcile: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passes++
	h.statuses = map[string]agent.Status{}
	for _, s := range statuses {
		h.statuses[s.Key] = s
	}
}

// apply gives the part other documents and waits for the pass.
func (h *host) apply(docs ...*sb.Document) {
	h.t.Helper()
	h.mu.Lock()
	h.view = agent.NewView(1, docs...)
	before := h.passes
	h.mu.Unlock()
	h.trigger()
	// The pass under way may have begun before the change; the second one has not.
	h.eventually("a pass over the documents", func() bool {
		h.trigger()
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.passes >= before+2
	})
}

func (h *host) status(key string) agent.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.statuses[key]
}

// eventually polls until the condition holds; the test ends if it does not.
func (h *host) eventually(what string, condition func() bool) {
	h.t.Helper()
	testkit.Eventually(h.t, patience, what, condition)
}

// pid is that of the running dnsmasq, 0 if none runs.
func (h *host) pid() int {
	s := dnsmasq.ReadState(h.dir())
	p, err := dnsmasq.Open(s.PID, h.dir())
	if err != nil {
		return 0
	}
	p.Close()
	return p.PID
}

// drift is the value of the counter.
func (h *host) drift(kind string) float64 {
	h.t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "neutrino_drift_repaired_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "kind" && l.GetValue() == kind {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// workload is a namespace that is connected with the network: what the l2 part does for both ends in the product.
type workload struct {
	h  *host
	ns *netns.Handle
}

func (h *host) workload(mac string) *workload {
	h.t.Helper()
	suffix := h.network.GetPortId()[:6]
	name := fmt.Sprintf("dhcptest-%s-%s", suffix, strings.ReplaceAll(mac, ":", "")[8:])
	ns, err := netns.Create(name)
	must(h.t, err)
	bridgeName, outer := "brt"+suffix, "cl"+suffix+strings.ReplaceAll(mac, ":", "")[8:]
	h.t.Cleanup(func() {
		if l, err := netlink.LinkByName(outer); err == nil {
			must(h.t, netlink.LinkDel(l))
		}
		ns.Close()
		must(h.t, netns.Delete(name))
	})
	bridge := h.bridge(bridgeName)
	hw, err := net.ParseMAC(mac)
	must(h.t, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = outer
	must(h.t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: hw, PeerNamespace: netlink.NsFd(ns.Fd()),
	}))
	for _, port := range []string{outer, h.hostDevice()} {
		link, err := netlink.LinkByName(port)
		must(h.t, err)
		must(h.t, netlink.LinkSetMaster(link, bridge))
		must(h.t, netlink.LinkSetUp(link))
	}
	must(h.t, netns.Do(ns, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(eth0)
	}))
	return &workload{h, ns}
}

func (h *host) bridge(name string) netlink.Link {
	h.t.Helper()
	if l, err := netlink.LinkByName(name); err == nil {
		return l
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	must(h.t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	h.t.Cleanup(func() {
		if l, err := netlink.LinkByName(name); err == nil {
			must(h.t, netlink.LinkDel(l))
		}
	})
	l, err := netlink.LinkByName(name)
	must(h.t, err)
	must(h.t, netlink.LinkSetUp(l))
	return l
}

// ask gets a lease or fails the test.
func (w *workload) ask() plug.Lease {
	w.h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lease, err := plug.Ask(ctx, w.ns, "eth0")
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(w.h.dir(), dnsmasq.LogFile))
		w.h.t.Fatalf("%v\n%s", err, log)
	}
	return lease
}

// cleanup removes what the test has left, also when the part failed to.
func (h *host) cleanup() {
	if h.stop != nil {
		h.stop()
	}
	for _, p := range dnsmasq.Find(h.dir()) {
		must(h.t, dnsmasq.Stop(p))
	}
	if l, err := netlink.LinkByName(h.hostDevice()); err == nil {
		must(h.t, netlink.LinkDel(l))
	}
	must(h.t, netns.Delete(h.namespace()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testWriter sends the log to the test's own, which is shown if it fails.
type testWriter struct{ t *testing.T }

var _ io.Writer = testWriter{}

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(line), "\n"))
	return len(line), nil
}

func agentView(docs ...*sb.Document) *agent.View { return agent.NewView(1, docs...) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// reboot asks for an address as a client does that had it before its restart (RFC 2131, INIT-REBOOT): without choosing
// a server.
func (w *workload) reboot(address netip.Addr) *dhcpv4.DHCPv4 {
	w.h.t.Helper()
	var client *nclient4.Client
	must(w.h.t, netns.Do(w.ns, func() (err error) {
		client, err = nclient4.New("eth0", nclient4.WithTimeout(patience/4), nclient4.WithRetry(4))
		return err
	}))
	defer client.Close()
	request, err := dhcpv4.New(
		dhcpv4.WithHwAddr(client.InterfaceAddr()), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithBroadcast(true), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(address.AsSlice())))
	must(w.h.t, err)
	answer, err := client.SendAndRead(context.Background(), client.RemoteAddr(), request, nil)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(w.h.dir(), dnsmasq.LogFile))
		w.h.t.Fatalf("%v\n%s", err, log)
	}
	return answer
}
