// Package l3 is the part of the agent that routes: for each router document it keeps a network namespace that
// forwards between the networks of the router's legs, translates addresses, and sends router advertisements. The
// kernel does all of it: there is no process for a router, and what has been programmed goes on without the agent.
//
// Read in this order: convert.go turns documents into a wanted router, without touching the host, with translate.go
// for floating IPs and port forwardings and render.go for its nftables table; router.go makes one router real, step
// by step, with legs.go, settings.go and translation.go for its steps; part.go, here, decides which routers need
// work. speaker.go and advert.go hold what a router says by itself: announcements of addresses and router
// advertisements. standby.go keeps a router mute that another host forwards for.
//
// What one router consists of, all named after it or after the ports of its legs:
//
//	namespace qrouter-<router id>     its loopback has the alias neutrino:router:<router id>:<host>, by which it is ours
//	device    tap<11 of the port id>  on the host, marked neutrino:port:<port id>; the l2 part puts it into its bridge
//	device    qr-/qg-<11 …>           its peer inside, with the port's MAC and addresses
//	table     inet neutrino-router    all translation; floating IPs and forwarded ports are elements of its maps
//	table     inet neutrino-firewall  the firewall groups of its legs
//	routes                            of protocol number 78 (package neigh)
//
// A distributed router has a local part on many hosts, in qrouter-<router id>, and one central part, in
// snat-<router id>: distributed.go is about the former; the latter is a router as any other, whose legs inside are
// called sg-….
package l3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nswatch"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// name is that of the part in logs and metrics.
const name = "l3"

// auditAfter is how long a router that is right, and of which no event came, is believed to be right. It is shorter
// than the agent's own pause between passes without a reason, so each of those looks at everything.
const auditAfter = 20 * time.Second

// looksAtOnce is at how many routers that are believed to be right a pass looks; the next pass, after looksPause, looks at
// the others. So a change never waits for a look at all routers of the host, nor has that both processors for itself.
const (
	looksAtOnce = 50
	looksPause  = 100 * time.Millisecond
)

// Options are what a Part needs.
type Options struct {
	// Namespace is where the outer ends of the legs are; nil: the namespace of the process.
	Namespace *netns.Handle
	// NFT is the program; empty: nft, looked up in PATH.
	NFT string
	// Roles tells which gateway groups the host is active in; nil: it is in none. When that changes, Switch is to be
	// called.
	Roles Roles
	// Metrics counts repaired drift; nil: nobody counts.
	Metrics *reconcile.Metrics
	// Logger is required.
	Logger *slog.Logger
}

// Part implements agent.Part.
type Part struct {
	options Options
	host    *netlinkx.Handle
	// hostInode identifies the namespace of the host.
	hostInode uint64
	watcher   *nswatch.Watcher
	speaker   *speaker
	standbys  standbys
	flooded   chan *standby // for keepQuiet

	// routers is used by Reconcile only, which is never called twice at the same time; it lets each router be worked on by
	// one goroutine.
	routers map[string]*router
	loaded  bool
	// groups are the documents of view by router; Reconcile alone uses them.
	view   *agent.View
	groups map[string]documents

	mu      sync.Mutex
	changed func()                  // asks for a pass; nil while nobody watches
	dirty   map[string]nswatch.Kind // namespaces in which something happened
}

var _ agent.Part = (*Part)(nil)

// New makes the part. Nothing on the host is touched before the first Reconcile.
func New(options Options) (*Part, error) {
	host, err := netlinkx.Open(options.Namespace)
	if err != nil {
		return nil, err
	}
	inode, err := inodeOf(options.Namespace)
	if err != nil {
		host.Close()
		return nil, err
	}
	p := &Part{options: options, host: host, hostInode: inode, routers: map[string]*router{}, dirty: map[string]nswatch.Kind{}}
	p.standbys.byRouter, p.standbys.byGateway = map[string]*standby{}, map[string]*standby{}
	p.flooded = make(chan *standby, maxFlooded)
	p.watcher = nswatch.New(options.Namespace, p.touched)
	p.speaker = newSpeaker(options.Logger)
	return p, nil
}

// inodeOf identifies a namespace; nil: that of the process.
func inodeOf(ns *netns.Handle) (uint64, error) {
	if ns != nil {
		return ns.Inode()
	}
	own, err := netns.Current()
	if err != nil {
		return 0, err
	}
	defer own.Close()
	return own.Inode()
}

// Name implements agent.Part.
func (p *Part) Name() string { return name }

// Close gives all handles up. The routers go on: the next agent adopts them. Neither Reconcile nor Watch may be
// running.
func (p *Part) Close() {
	p.watcher.Close()
	p.speaker.close()
	for _, r := range p.routers {
		r.release()
	}
	p.routers = nil
	p.host.Close()
}

// Reconcile implements agent.Part.
func (p *Part) Reconcile(ctx context.Context, view *agent.View) ([]agent.Status, error) {
	if err := p.load(); err != nil {
		return nil, err
	}
	if p.view != view {
		p.view, p.groups = view, group(view)
	}
	groups := p.groups
	for id := range groups {
		if p.routers[id] == nil && isRouter(id) { // of the others, statuses says what is wrong
			p.routers[id] = p.newRouter(id)
		}
	}
	dirty := p.takeDirty()
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	var touched, due []*router
	for id, r := range p.routers {
		r.want(groups[id])
		switch {
		case r.todo || r.err != nil:
			work.Go(func() error { r.reconcile(ctx, true); return ctx.Err() })
		case dirty[Namespace(id)] != 0:
			touched = append(touched, r)
		case time.Since(r.audited) >= auditAfter:
			due = append(due, r)
		}
	}
	// The others are believed to be right.
	for n, r := range append(touched, due...) {
		event := dirty[Namespace(r.id)]
		if n >= looksAtOnce {
			p.keepDirty(Namespace(r.id), event)
			continue
		}
		work.Go(func() error {
			if p.speaker.holding() { // who follows a gateway group is not kept waiting
				p.keepDirty(Namespace(r.id), event)
				return nil
			}
			r.reconcile(ctx, event&nswatch.Network != 0 || time.Since(r.audited) >= auditAfter)
			return ctx.Err()
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	if len(touched)+len(due) > looksAtOnce && !p.speaker.holding() {
		time.AfterFunc(looksPause, p.again)
	}
	maps.DeleteFunc(p.routers, func(_ string, r *router) bool { return r.docs == nil && r.err == nil })
	return p.statuses(view, groups)
}

// load finds the routers that an earlier agent has left, by their namespaces.
func (p *Part) load() error {
	if p.loaded {
		return nil
	}
	for _, prefix := range []string{Namespace(""), central} {
		names, err := netns.List(prefix)
		if err != nil {
			return err
		}
		for _, n := range names {
			if name := strings.TrimPrefix(n, Namespace("")); isRouter(name) {
				p.routers[name] = p.newRouter(name)
			}
		}
	}
	p.loaded = true
	return nil
}

func (p *Part) newRouter(id string) *router {
	return &router{part: p, id: id, log: p.options.Logger.With("router", id), todo: true, directories: directories{}}
}

// statuses are those of all documents. What is wrong with a router that has no document any more is in the error.
func (p *Part) statuses(view *agent.View, groups map[string]documents) ([]agent.Status, error) {
	out := p.firewallStatuses(view, groups)
	for id, docs := range groups {
		r := p.routers[id]
		for key, d := range docs {
			if d.GetNeighbour() != nil || d.GetFirewallGroup() != nil {
				continue // the l2 part tells of the former, firewallStatuses of the latter
			}
			st := agent.Status{Key: key, State: sb.ObjectStatus_STATE_DONE}
			if r == nil {
				st.Reason = fmt.Sprintf("the router's id %.40q is not a UUID", id)
			} else {
				st.Reason = r.reason(key, routerOf(d) != nil)
			}
			if st.Reason != "" {
				st.State = sb.ObjectStatus_STATE_ERROR
			}
			out = append(out, st)
		}
	}
	var left []error
	for _, id := range slices.Sorted(maps.Keys(p.routers)) {
		if r := p.routers[id]; r.docs == nil && r.err != nil {
			left = append(left, fmt.Errorf("router %s: %w", id, r.err))
		}
	}
	if len(left) > 0 {
		return out, &agent.Retry{Err: errors.Join(left...)}
	}
	return out, nil
}

// Watch implements agent.Part: it hears of changes in the namespaces and of their names, and of bridges that take legs in,
// and lets the routers speak.
func (p *Part) Watch(ctx context.Context, changed func()) error {
	p.setChanged(changed)
	defer p.setChanged(nil)
	changed() // what happened before was not announced
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.speaker.run(ctx) })
	group.Go(func() error { return p.keepQuiet(ctx) })
	group.Go(func() error { return p.host.Subscribe(ctx, p.heard) })
	return group.Wait()
}

func (p *Part) setChanged(changed func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = changed
}

// touched notes that something happened in a namespace, and asks for a pass; if routers are being switched, Switch does
// so in the end.
func (p *Part) touched(namespace string, kind nswatch.Kind) {
	p.keepDirty(namespace, kind)
	if !p.speaker.holding() {
		p.again()
	}
}

// again asks for a pass.
func (p *Part) again() {
	p.mu.Lock()
	changed := p.changed
	p.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// keepDirty notes that something happened in a namespace.
func (p *Part) keepDirty(namespace string, kind nswatch.Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty[namespace] |= kind
}

func (p *Part) takeDirty() map[string]nswatch.Kind {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.dirty
	p.dirty = map[string]nswatch.Kind{}
	return taken
}

// drift notes that something that was right had been changed by somebody else, and was repaired.
func (p *Part) drift(log *slog.Logger, kind, what string) {
	log.Warn("repaired drift", "part", name, "kind", kind, "difference", what)
	if p.options.Metrics != nil {
		p.options.Metrics.Drift(name, kind)
	}
}

// guarded runs the work on one router; a panic in it becomes an error of that router.
func guarded(work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return work()
}
