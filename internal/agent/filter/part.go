// Package filter is the part of the agent that keeps the workloads' traffic to what their security groups and port
// security allow. What that is, is defined by package verdict; here it is told to the kernel.
//
// The way of a frame from one workload to another leads through the chains of the bridge family (skeleton.go, checks.go):
//
//	prerouting   who sends it? Source MAC, address, ARP: the identities of the device, in sets     (priority -300)
//	             connections are tracked by the kernel, fragments put together                     (-200)
//	leave        what is said inside: DHCP, neighbour discovery; and may the sender send it?
//	             device → chain of its port's groups → chain of each group                         (10)
//	firewall-…   may it leave and arrive? device → chain of its firewall group, see firewall.go (12, 15)
//	routed-…     the same of what distributed routers forward, see routed.go                   (13, 16)
//	arrive       may the receiver get it? likewise; packets of connections pass                    (20)
//
// What these chains ask nearly every packet, they look for by the index of its device first (present.go).
//
// Read documents.go for what the server says, then state.go: it turns each document that changes into changes of sets and
// chains. A rule of a group is one rule in the kernel, whatever the number of ports that have the group (groups.go), and
// the members of a remote group or an address group are elements of a set (members.go). zones.go keeps networks with the
// same addresses apart, cut.go and walk.go end connections that a change forbids, show.go tells what is in force. logs.go has
// packets recorded where a log asks for it, and records.go writes down what the kernel hands over then.
//
// Frames of devices that are not known, but have a port's name, are dropped in both directions, so that a workload whose
// device appears before its document is cut off until its filters are in. The tables belong to the agent's process: while
// it lives nobody else can change them, and they stay when it ends (package ruleset). Where the kernel cannot do that,
// gates.go has a second line behind them, which closes everything when they are flushed.
package filter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// name is that of the part in logs and metrics.
const name = "filter"

// Options configure the part.
type Options struct {
	// Namespace is where the part works; nil: the namespace of the process.
	Namespace *netns.Handle
	// Metrics counts repaired drift. Required.
	Metrics *reconcile.Metrics
	// Registry gets the counters of dropped packets. Required.
	Registry prometheus.Registerer
	// LogDir is where packets are recorded that logs ask for; each log's within LogLimit, which is 100 in a second and 25 at
	// once if it is not set, as in Neutron.
	LogDir   string
	LogLimit rs.Limit
	// Logger is required.
	Logger *slog.Logger
}

// Part implements agent.Part.
type Part struct {
	options Options
	handle  *netlinkx.Handle

	walker *walker

	// mu is held by Reconcile, by those who read counters, and for moments by the walker; it guards what follows.
	mu      sync.Mutex
	conn    *rs.Conn
	tracked *conntrack.Table
	filter  *rs.Table
	track   *rs.Table
	state   *state // nil before the first pass
	view    *agent.View
	// inHand is what the walker is going through connections for; nil: nothing.
	inHand *narrowed
	// changes is how many the last pass made in the tables.
	changes int
	// switched are the bridges, by index, that have been seen to be switched on.
	switched map[int]bool
	// followed are the bridges, by name, through which connections are followed.
	followed map[string]bool
	looked   time.Time // when bridges were last looked at
	// stale says that a bridge may have changed since.
	stale atomic.Bool

	// closed is why frames of unknown ports may pass, told once the first pass is over.
	closed  error
	decided chan struct{}
	decide  sync.Once

	recorder *recorder
	gates    gates
	presence presence
}

// New makes the part; the kernel is not touched before the first pass. Close gives its sockets back.
func New(options Options) (*Part, error) {
	if options.LogLimit == (rs.Limit{}) {
		options.LogLimit = rs.Limit{PerSecond: 100, Burst: 25}
	}
	p := &Part{options: options, decided: make(chan struct{})}
	p.recorder = newRecorder(p)
	var err error
	if p.handle, err = netlinkx.Open(options.Namespace); err != nil {
		return nil, err
	}
	if p.conn, err = rs.Open(options.Namespace); err != nil {
		p.handle.Close()
		return nil, err
	}
	if p.tracked, err = conntrack.Open(options.Namespace); err != nil {
		p.conn.Close()
		p.handle.Close()
		return nil, err
	}
	if p.walker, err = startWalker(p); err != nil {
		p.tracked.Close()
		p.conn.Close()
		p.handle.Close()
		return nil, err
	}
	if err := p.register(options.Registry); err != nil {
		p.Close()
		return nil, fmt.Errorf("register the counters of dropped packets: %w", err)
	}
	return p, nil
}

// Close gives the sockets back; the filters stay in force. Neither Reconcile nor Watch may run any more.
func (p *Part) Close() {
	p.walker.close()
	p.recorder.file.Close()
	p.tracked.Close()
	p.conn.Close()
	p.handle.Close()
}

// Name is "filter".
func (p *Part) Name() string { return name }

// Await waits until the filters have been put in place for the first time. The error is why ports that nobody knows may
// not be cut off yet: then no port should be let into a bridge.
func (p *Part) Await(ctx context.Context) error {
	select {
	case <-p.decided:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Changes is how many objects of the tables the last pass had to make, change or remove.
func (p *Part) Changes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// Reports says that the part tells of the documents that have keys of this kind.
func (p *Part) Reports(kind string) bool { return kind == "port" || kind == firewallKind }

// Reconcile makes the tables as the view wants them.
func (p *Part) Reconcile(ctx context.Context, view *agent.View) ([]agent.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.pass(view)
	p.closed = nil
	if err != nil {
		p.closed = fmt.Errorf("the filters are not in place: %w", err)
	}
	p.decide.Do(func() { close(p.decided) })
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		p.options.Logger.Error("the filters are not in place", "part", name, "error", err)
		return allClosed(view, p.closed), nil
	}
	return p.statuses(), nil
}

// allClosed tells of every port and firewall group that its filters are not in place.
func allClosed(view *agent.View, err error) (all []agent.Status) {
	for d := range view.All() {
		if d.GetPort() != nil || d.GetFirewallGroup() != nil {
			all = append(all, agent.Status{Key: d.Key, State: sb.ObjectStatus_STATE_ERROR, Reason: err.Error()})
		}
	}
	return all
}

func (p *Part) pass(view *agent.View) error {
	if p.state == nil {
		if err := p.begin(); err != nil {
			return err
		}
	}
	if err := p.findDevices(); err != nil {
		return err
	}
	p.take(view)
	if p.state.narrowed.newcomers {
		p.takeBack()
	}
	p.changes = 0
	if err := p.gates.devices(p); err != nil {
		return err
	}
	if err := p.apply(); err != nil {
		return err
	}
	if err := p.gates.keep(p); err != nil {
		return err
	}
	if err := p.switchBridges(); err != nil {
		return err
	}
	return p.cut()
}

// begin finds out what the kernel can do, and what a former process left there.
func (p *Part) begin() error {
	f, exposed, err := probeForm(p.conn)
	if err != nil {
		return err
	}
	p.filter = rs.NewTable(p.conn, rs.Bridge, filterTable)
	p.track = p.filter
	if f == formINet {
		p.track = rs.NewTable(p.conn, rs.INet, trackTable)
	}
	have, err := p.track.Actual(setZones)
	if err != nil {
		return err
	}
	if _, err := p.filter.Actual(setGated); err != nil {
		return err
	}
	p.state = newState(p.filter, p.track, f)
	p.state.zones = newZones(have)
	if p.filter.Exists() {
		exposed = p.filter.Exposed()
	}
	p.gates.begin(p.state, exposed)
	p.state.logs.limit = p.options.LogLimit
	p.state.logs.probe = func() error { return probeLogs(p.conn) }
	if err := p.state.adoptGone(); err != nil {
		p.state = nil
		return err
	}
	// What a former process allowed is not known.
	p.state.narrowed.all, p.state.narrowed.newcomers = true, true
	p.options.Logger.Info("connections through bridges are followed", "part", name, "family", f.String())
	return nil
}

// take has the state follow the view: the documents that differ from those of the view before.
func (p *Part) take(view *agent.View) {
	if p.view == view {
		return
	}
	keys := view.Changed(p.view)
	for _, key := range keys { // what goes makes room for what comes
		if p.view != nil && p.view.Document(key) != nil && view.Document(key) == nil {
			p.state.remove(p.view.Document(key))
		}
	}
	for _, key := range keys {
		if d := view.Document(key); d != nil && (p.view == nil || p.view.Document(key) != d) {
			p.state.put(d)
		}
	}
	p.state.merge()
	p.state.wantLogs()
	p.recorder.want(len(p.state.logs.ports) > 0)
	p.state.version++
	if p.view == nil {
		for _, zone := range p.state.zones.sweep() {
			p.state.narrowed.zone(zone)
		}
	}
	p.view = view
}

// apply makes the tables right.
func (p *Part) apply() error {
	tables := []*rs.Table{p.track, p.filter}
	if p.track == p.filter {
		tables = tables[1:]
	}
	for _, t := range tables {
		if t.Refusing() {
			t.Forget() // what was refused is tried again
		}
		n, err := t.Apply()
		if err != nil {
			return err
		}
		p.changes += n
		if t.Drifted() {
			p.drift("table", t.String(), "changed by somebody else")
		}
	}
	return nil
}

func (p *Part) drift(kind, object, difference string) {
	p.options.Metrics.Drift(name, kind)
	p.options.Logger.Warn("repaired drift", "part", name, "kind", kind, "object", object, "difference", difference)
}

// switchBridges has br_netfilter take the packets of our bridges, and of no others, where connections are followed so.
func (p *Part) switchBridges() error {
	if p.state.form != formINet || p.changes == 0 && !p.stale.Swap(false) && time.Since(p.looked) < bridgesInterval {
		return nil
	}
	links, err := p.handle.Links()
	if err != nil {
		return err
	}
	now, followed := map[int]bool{}, map[string]bool{}
	for _, bridge := range p.state.zones.bridges() {
		l := links[bridge]
		if l == nil || l.Bridge == nil {
			continue
		}
		if !l.Bridge.CallIPTables || !l.Bridge.CallIP6Tables {
			err := p.handle.SetBridgeNetfilter(l.Index, true)
			if netlinkx.Gone(err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("have connections through bridge %s followed: %w", bridge, err)
			}
			if p.switched[l.Index] {
				p.drift("bridge", bridge, "its packets were not followed any more")
			}
		}
		now[l.Index], followed[bridge] = true, true
	}
	p.switched, p.followed, p.looked = now, followed, time.Now()
	return nil
}

// bridgesInterval is how long bridges go without being looked at when nothing was heard of them; shorter than the pause
// between the passes that the agent makes without a reason.
const bridgesInterval = 20 * time.Second

// statuses tell of all ports, and of other documents in trouble.
func (p *Part) statuses() []agent.Status {
	s := p.state
	all := make([]agent.Status, 0, len(s.ports)+len(s.problems))
	all = append(all, p.firewallStatuses()...)
	for key, err := range s.problems {
		all = append(all, agent.Status{Key: key, State: sb.ObjectStatus_STATE_ERROR, Reason: err.Error()})
	}
	all = append(all, p.logTroubles()...)
	for key, port := range s.ports {
		if s.problems[key] != nil {
			continue
		}
		status := agent.Status{Key: key, State: sb.ObjectStatus_STATE_DONE}
		if err := p.portErr(port); err != nil {
			status.State, status.Reason = sb.ObjectStatus_STATE_ERROR, err.Error()
		} else if s.form == formINet && !p.followed[model.BridgeName(port.network)] {
			status.State = sb.ObjectStatus_STATE_ABSENT // until there is a bridge through which its answers would come
		}
		all = append(all, status)
	}
	for id := range s.groups {
		key := "security-group/" + id
		for _, egress := range []bool{true, false} {
			if err := p.filter.Err(groupChain(id, egress)); err != nil && s.problems[key] == nil {
				all = append(all, agent.Status{Key: key, State: sb.ObjectStatus_STATE_ERROR, Reason: err.Error()})
				break
			}
		}
	}
	return all
}

// portErr is why a port is not filtered as it is wanted. It is closed then, or less comes through than should.
func (p *Part) portErr(port *wiredPort) error {
	for e := range port.elements {
		if err := p.filter.Err(e.set); err != nil {
			return fmt.Errorf("its filters are not in place: %s: %w", e.set, err)
		}
	}
	for _, chain := range port.chains {
		if err := p.filter.Err(chain); err != nil {
			return fmt.Errorf("its filters are not in place: %s: %w", chain, err)
		}
	}
	if port.lacking != "" {
		return fmt.Errorf("security group %s is not known to this host", port.lacking)
	}
	return nil
}

// Watch announces bridges that come or change, and changes of tables of ours by somebody else.
func (p *Part) Watch(ctx context.Context, changed func()) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return p.handle.Subscribe(ctx, func(e netlinkx.Event) {
			if e.Neigh == nil && (e.Link == nil || strings.HasPrefix(e.Link.Name, "brq")) {
				p.stale.Store(true)
				changed()
			}
			p.gates.hear(e, changed)
			p.presence.hear(e, changed)
		})
	})
	group.Go(func() error {
		client := &nft.Client{Namespace: p.options.Namespace}
		return client.Watch(ctx, changed, nft.Table{Family: "bridge", Name: filterTable}, nft.Table{Family: "inet", Name: trackTable})
	})
	group.Go(func() error { return p.recorder.run(ctx) })
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
