package filter_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/filter"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The ids of the networks of the tests.
const (
	networkA = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	networkB = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
)

func bridge(network string) string { return "brq" + network[:11] }

// portID is the id of the n-th port; device, mac, ip4, ip6 are what it has.
func portID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", n) }
func device(n int) string { return "tap" + portID(n)[:11] }
func mac(n int) string    { return fmt.Sprintf("fa:16:3e:00:%02x:%02x", n>>8, n&0xff) }
func ip4(n int) string    { return fmt.Sprintf("10.0.%d.%d", n>>8, n&0xff) }
func ip6(n int) string    { return fmt.Sprintf("fd00::%x", n) }

// port is the document of the n-th port, filtered, with the groups.
func port(network string, n int, groups ...string) *sb.Port {
	return &sb.Port{
		PortId: portID(n), NetworkId: network, Device: device(n), Mac: mac(n), Mtu: 1500, AdminStateUp: true,
		Ips: []string{ip4(n) + "/16", ip6(n) + "/64"}, PortSecurity: true, SecurityGroups: groups,
	}
}

func portDocument(p *sb.Port) *sb.Document {
	return &sb.Document{Key: "port/" + p.PortId, Body: &sb.Document_Port{Port: p}}
}

func segmentDocument(network string) *sb.Document {
	return &sb.Document{Key: "segment/" + network, Body: &sb.Document_Segment{Segment: &sb.Segment{
		NetworkId: network, NetworkType: "local", Mtu: 1500,
	}}}
}

func groupDocument(id string, rules ...*sb.SecurityGroupRule) *sb.Document {
	for i, r := range rules {
		if r.RuleId == "" {
			r.RuleId = fmt.Sprintf("%s-rule-%d", id, i)
		}
	}
	return &sb.Document{Key: "security-group/" + id, Body: &sb.Document_SecurityGroup{SecurityGroup: &sb.SecurityGroup{
		GroupId: id, Stateful: true, Rules: rules,
	}}}
}

func memberDocument(set, member string, prefixes ...string) *sb.Document {
	return &sb.Document{Key: "set-member/" + set + "/" + member, Body: &sb.Document_SetMember{SetMember: &sb.SetMember{
		Set: set, Member: member, Prefixes: prefixes,
	}}}
}

// Rules.
func egress(version uint32) *sb.SecurityGroupRule {
	return &sb.SecurityGroupRule{Egress: true, IpVersion: version}
}

func ingress(version, protocol uint32, ports ...uint32) *sb.SecurityGroupRule {
	r := &sb.SecurityGroupRule{IpVersion: version}
	if protocol != 0 {
		r.Protocol = &protocol
	}
	if len(ports) > 0 {
		r.PortMin = &ports[0]
		r.PortMax = &ports[len(ports)-1]
	}
	return r
}

// open lets everything out.
func open(id string, rules ...*sb.SecurityGroupRule) *sb.Document {
	return groupDocument(id, append([]*sb.SecurityGroupRule{egress(4), egress(6)}, rules...)...)
}

// lab is a host with bridges, and the part.
type lab struct {
	t testing.TB
	*testkit.Host
	part     *filter.Part
	registry *prometheus.Registry
	docs     map[string]*sb.Document
	revision int64
	view     *agent.View // of benchmarks
	logDir   string
}

func newLab(t testing.TB, networks ...string) *lab {
	t.Helper()
	l := &lab{t: t, Host: testkit.NewHost(t, "host"), docs: map[string]*sb.Document{}, logDir: t.TempDir()}
	for _, network := range networks {
		l.addBridge(network)
		l.docs["segment/"+network] = segmentDocument(network)
	}
	l.start()
	return l
}

func (l *lab) addBridge(network string) {
	l.Check(l.NL.AddBridge(bridge(network), netlinkx.MAC{}, netlinkx.BridgeInfo{AgeingTime: 30000}))
	l.Check(l.NL.SetSysctlIPv6(bridge(network), "disable_ipv6", 1))
	l.Check(l.NL.SetUp(l.Link(bridge(network)).Index))
}

// start makes the part, as an agent that starts does.
func (l *lab) start() {
	l.t.Helper()
	l.registry = prometheus.NewRegistry()
	part, err := filter.New(filter.Options{
		Namespace: l.NS, Metrics: reconcile.NewMetrics(l.registry), Registry: l.registry,
		Logger: slog.New(slog.DiscardHandler), LogDir: l.logDir,
	})
	l.Check(err)
	l.part = part
	l.t.Cleanup(part.Close)
}

// apply adds the documents to those that there are, reconciles, has connections looked at, and expects no trouble.
func (l *lab) apply(documents ...*sb.Document) {
	l.t.Helper()
	for key, s := range l.try(documents...) {
		if s.State == sb.ObjectStatus_STATE_ERROR {
			l.t.Fatalf("%s: %s", key, s.Reason)
		}
	}
}

// try is apply without expectations.
func (l *lab) try(documents ...*sb.Document) map[string]agent.Status {
	l.t.Helper()
	for _, d := range documents {
		l.docs[d.Key] = d
	}
	return l.reconcile()
}

func (l *lab) reconcile() map[string]agent.Status {
	l.t.Helper()
	statuses := l.pass()
	l.Check(l.part.Settle())
	return statuses
}

// pass has the part reconcile, and leaves to it when it looks at connections.
func (l *lab) pass() map[string]agent.Status {
	l.t.Helper()
	l.revision++
	all := make([]*sb.Document, 0, len(l.docs))
	for _, d := range l.docs {
		all = append(all, d)
	}
	statuses, err := l.part.Reconcile(l.t.Context(), agent.NewView(l.revision, all...))
	if err != nil {
		l.t.Fatal(err)
	}
	byKey := map[string]agent.Status{}
	for _, s := range statuses {
		byKey[s.Key] = s
	}
	return byKey
}

// remove takes documents away.
func (l *lab) remove(keys ...string) {
	l.t.Helper()
	for _, key := range keys {
		delete(l.docs, key)
	}
	l.reconcile()
}

// workload makes the workload of the n-th port, and puts its device into the bridge of the network.
func (l *lab) workload(network string, n int) *testkit.Host {
	l.t.Helper()
	w := l.Plug(device(n), mac(n), ip4(n)+"/16", ip6(n)+"/64")
	l.attach(network, device(n))
	// The kernel has devices work some time after it was told that they are up; until then they drop everything.
	testkit.Eventually(l.t, 10*time.Second, "the device of the workload working", func() bool {
		return strings.Contains(w.Run("ip", "link", "show", "dev", "eth0"), "state UP") &&
			strings.Contains(l.Run("bridge", "link", "show", "dev", device(n)), "state forwarding")
	})
	return w
}

func (l *lab) attach(network, device string) {
	index := l.Link(device).Index
	l.Check(l.NL.SetSysctlIPv6(device, "disable_ipv6", 1))
	l.Check(l.NL.SetMaster(index, l.Link(bridge(network)).Index))
	l.Check(l.NL.SetUp(index))
}

// counters are what has been dropped, by reason, of one device.
func (l *lab) dropped(n int) map[string]uint64 {
	l.t.Helper()
	view, err := l.part.Show(portID(n))
	l.Check(err)
	all := map[string]uint64{}
	for _, d := range view.Drops {
		all[d.Direction+" "+d.Reason] = d.Packets
	}
	return all
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// reaches says whether a ping is answered soon.
func reaches(from *testkit.Host, address string) bool {
	_, err := from.Try("ping", "-n", "-c", "1", "-W", "0.3", address)
	return err == nil
}

// answers says whether a ping is answered, however busy the machine is.
func answers(from *testkit.Host, address string) bool {
	_, err := from.Try("ping", "-n", "-c", "1", "-W", "5", address)
	return err == nil
}

// ruleset is what the kernel has, with handles, but for what counts.
func (l *lab) ruleset() string {
	var lines []string
	for line := range strings.Lines(l.Run("nft", "-a", "list", "ruleset")) {
		if !strings.Contains(line, "flags owner") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// bridgeInfo is that of an ordinary bridge.
var bridgeInfo = netlinkx.BridgeInfo{AgeingTime: 30000}

// watch has the part hear of changes, as in an agent.
func watch(t testing.TB, l *lab) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	heard, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- l.part.Watch(ctx, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-heard
}

// drift is how much of a kind was repaired.
func (l *lab) drift(kind string) (n float64) {
	l.t.Helper()
	families, err := l.registry.Gather()
	l.Check(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if f.GetName() == "neutrino_drift_repaired_total" && label.GetName() == "kind" && label.GetValue() == kind {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}
