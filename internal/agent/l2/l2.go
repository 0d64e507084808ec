// Package l2 is the part of the agent that wires ports: it makes the networks' bridges and tunnels, puts the devices of
// ports into them, and programs where the ports of other hosts are.
//
// Read Convert first: it turns the documents of the view into tables of wanted devices and entries, without looking at
// the host. Then Part.pass, which holds the one order in which things come and go. The drivers in internal/dataplane
// (link, fdb, neigh, nft) read the kernel, compare and apply. guard.go says how the host is kept out of the workloads'
// reach.
//
// What ports may send and get is the work of package filter; here they are let in when that has closed them.
package l2

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/fdb"
	"github.com/neutrino-net/neutrino/internal/dataplane/link"
	"github.com/neutrino-net/neutrino/internal/dataplane/neigh"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// name is that of the part in logs and metrics.
const name = "l2"

// entriesInterval is how long the entries of a quiet host go without being compared; shorter than the pause between the
// passes that the agent makes without a reason.
const entriesInterval = 20 * time.Second

// maxRaces bounds how often a pass is repeated at once because a device went away while it ran.
const maxRaces = 3

// Options configure the part.
type Options struct {
	// Namespace is where the part works; nil: the namespace of the process.
	Namespace *netns.Handle
	// TunnelIP is the address of the host on the underlay; the zero Addr where it has none.
	TunnelIP netip.Addr
	// BridgeMappings has the interface of the host for each physical network that it is attached to.
	BridgeMappings map[string]string
	// NFT is the program; empty: nft, looked up in PATH.
	NFT string
	// Filters waits until it is known whether ports are closed before their filters are in, and says why they are not: then
	// no port is let in. Nil: nothing is filtered.
	Filters func(ctx context.Context) error
	// Metrics counts repaired drift. Required.
	Metrics *reconcile.Metrics
	// Logger is required.
	Logger *slog.Logger
}

// Part implements agent.Part.
type Part struct {
	options Options
	handle  *netlinkx.Handle
	links   *link.Driver
	fdb     *fdb.Driver
	neigh   *neigh.Driver
	nft     *nft.Client
	guard   *nft.Keeper
	mapped  map[string]bool // the interfaces of physical networks

	// unguarded is why the guard is not in place, or nil; guarded is when that was found out.
	unguarded error
	// unfiltered is why ports may not be let in, or nil.
	unfiltered error
	guarded    time.Time

	// bordered is what the border of distributed legs was last made for, unbordered why it is not in place, borderSeen when
	// that was found out.
	bordered   *Wanted
	unbordered error
	borderSeen time.Time

	// The conversion of the newest view, which never changes.
	view   *agent.View
	wanted *Wanted
	// entries is when forwarding entries and neighbours were last compared.
	entries time.Time

	// Watch runs beside Reconcile; the fields below are what they tell each other.
	//
	// watched are the devices on which entries of ours are.
	watched atomic.Pointer[map[int]bool]
	// stale says that entries may have changed since they were last compared; watching, that Watch would know.
	stale, watching atomic.Bool
	// guardStale and borderStale say that somebody may have changed the guard, or the border of distributed legs.
	guardStale, borderStale atomic.Bool
}

// New makes the part. Close gives its sockets back.
func New(options Options) (*Part, error) {
	handle, err := netlinkx.Open(options.Namespace)
	if err != nil {
		return nil, err
	}
	p := &Part{options: options, handle: handle}
	p.links = link.New(link.Options{Handle: handle, Drift: p.drift, Now: time.Now})
	p.fdb = fdb.New(fdb.Options{Handle: handle, Drift: p.drift, Now: time.Now})
	p.neigh = neigh.New(neigh.Options{Handle: handle, Drift: p.drift, Now: time.Now})
	p.nft = &nft.Client{Namespace: options.Namespace, Program: options.NFT}
	p.guard = nft.NewKeeper(p.nft, func(what string) { p.drift("guard", "nftables", what) }, guardTables()...)
	p.watched.Store(&map[int]bool{})
	p.mapped = Site{Mappings: options.BridgeMappings}.mapped()
	return p, nil
}

// Close gives the sockets back. Neither Reconcile nor Watch may run any more.
func (p *Part) Close() { p.handle.Close() }

// Name is "l2".
func (p *Part) Name() string { return name }

func (p *Part) drift(kind, object, difference string) {
	p.options.Metrics.Drift(name, kind)
	p.options.Logger.Warn("repaired drift", "part", name, "kind", kind, "object", object, "difference", difference)
}

// Reconcile makes the host as the view wants it.
func (p *Part) Reconcile(ctx context.Context, view *agent.View) ([]agent.Status, error) {
	if p.view != view {
		p.wanted, p.view = Convert(view, Site{p.options.TunnelIP, p.options.BridgeMappings}), view
		p.stale.Store(true)
	}
	p.ensureGuard(ctx)
	p.ensureAnycast(ctx, p.wanted)
	if p.unfiltered = nil; p.options.Filters != nil {
		p.unfiltered = p.options.Filters(ctx)
	}
	for range maxRaces {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		raced, err := p.pass(p.wanted)
		if err != nil {
			return nil, err
		}
		if !raced {
			return p.statuses(p.wanted), nil
		}
	}
	return p.statuses(p.wanted), fmt.Errorf("devices went away while they were being changed")
}

// pass compares and applies once. This is the order of everything:
// what is not to carry traffic any more is taken out first; then a network is made from the outside in, so that a port
// is let in when the way to its peers is complete; then what nobody needs any more is removed from the inside out.
// raced says that a device went away meanwhile.
func (p *Part) pass(w *Wanted) (raced bool, err error) {
	links := p.keptOff(w)
	links.Held, links.Closed = p.unguarded, p.unfiltered
	if err := p.links.Observe(links); err != nil {
		return false, err
	}
	p.links.DetachPorts()
	p.links.ApplyBridges()
	p.links.ApplyTunnels()
	p.links.ApplyUplinks()

	tables := make(map[int]fdb.Table, len(w.Forwarding))
	for device, table := range w.Forwarding {
		if index := p.links.Index(device); index != 0 && p.links.TunnelErr(device) == nil {
			tables[index] = table
		}
	}
	for _, l := range w.legs {
		if index := p.links.Member(l.device); index != 0 {
			tables[index] = fdb.Table{Local: []netlinkx.MAC{l.mac}}
		}
	}
	neighbours := make(map[int]neigh.Table, len(w.Neighbours))
	for bridge, table := range w.Neighbours {
		if index := p.links.Index(bridge); index != 0 && p.links.BridgeErr(bridge) == nil {
			neighbours[index] = table
		}
	}
	raced, err = p.applyEntries(tables, neighbours)
	if err != nil {
		return false, err
	}

	p.links.AttachPorts()
	p.links.DeleteTunnels()
	p.links.DetachUplinks()
	p.links.DeleteBridges()
	p.links.Settle()
	return raced || p.links.Raced(), nil
}

// applyEntries compares the entries on our devices. There may be ten thousand, so it is done only when there is a
// reason: the view or the devices changed, Watch saw or may have missed something, an entry failed, or time has passed.
func (p *Part) applyEntries(tables map[int]fdb.Table, neighbours map[int]neigh.Table) (raced bool, err error) {
	devices := make(map[int]bool, len(tables)+len(neighbours))
	for index := range tables {
		devices[index] = true
	}
	for index := range neighbours {
		devices[index] = true
	}
	// Cleared before reading: what changes from here on makes it stale again.
	stale := p.stale.Swap(false) || !p.watching.Load() || p.fdb.Failing() || p.neigh.Failing() ||
		!maps.Equal(devices, *p.watched.Load()) || time.Since(p.entries) > entriesInterval
	if !stale {
		return false, nil
	}
	// From here on Watch reports what happens on these devices.
	p.watched.Store(&devices)
	fdbRaced, err := p.fdb.Apply(tables)
	if err == nil {
		raced, err = p.neigh.Apply(neighbours)
	}
	if err != nil || fdbRaced || raced {
		p.stale.Store(true)
		return true, err
	}
	p.entries = time.Now()
	return false, nil
}

func (p *Part) statuses(w *Wanted) []agent.Status {
	all := make([]agent.Status, 0, len(w.Problems)+len(w.segments)+len(w.ports)+len(w.peers))
	add := func(key string, state sb.ObjectStatus_State, err error) {
		s := agent.Status{Key: key, State: state}
		if err != nil {
			s.State, s.Reason = sb.ObjectStatus_STATE_ERROR, err.Error()
		}
		all = append(all, s)
	}
	for key, reason := range w.Problems {
		all = append(all, agent.Status{Key: key, State: sb.ObjectStatus_STATE_ERROR, Reason: reason})
	}
	for network, s := range w.segments {
		if s.problem == "" {
			// A network that was put up before stays up without the guard, which is at least said.
			add(s.key, sb.ObjectStatus_STATE_DONE, cmp.Or(p.segmentErr(w, network), p.unguarded))
		}
	}
	for _, x := range w.ports {
		if !p.links.Exists(x.device) {
			add(x.key, sb.ObjectStatus_STATE_ABSENT, nil)
			continue
		}
		err := cmp.Or(p.segmentErr(w, x.network), p.links.PortErr(x.device))
		if x.distributed {
			err = cmp.Or(err, p.unbordered)
		}
		add(x.key, sb.ObjectStatus_STATE_DONE, err)
	}
	for _, x := range w.peers {
		add(x.key, sb.ObjectStatus_STATE_DONE, p.peerErr(w, x))
	}
	return all
}

func (p *Part) segmentErr(w *Wanted, network string) error {
	s := w.segments[network]
	if err := p.links.BridgeErr(s.bridge); err != nil {
		return err
	}
	return cmp.Or(p.links.TunnelErr(s.tunnel), p.links.UplinkErr(s.uplink))
}

func (p *Part) peerErr(w *Wanted, x peer) error {
	if err := p.segmentErr(w, x.network); err != nil {
		return err
	}
	s := w.segments[x.network]
	tunnel, bridge := p.links.Index(s.tunnel), p.links.Index(s.bridge)
	if len(x.vteps) > 0 {
		for _, vtep := range x.vteps {
			if err := p.fdb.FloodErr(tunnel, vtep); err != nil {
				return err
			}
		}
		return nil
	}
	if err := p.fdb.Err(tunnel, x.mac); err != nil {
		return err
	}
	if err := p.fdb.FloodErr(tunnel, x.vtep); err != nil {
		return err
	}
	for _, ip := range x.ips {
		if err := p.neigh.Err(bridge, ip); err != nil {
			return err
		}
	}
	return nil
}

// Watch announces devices that come, go and change, and changes of entries and of tables that may be ours.
func (p *Part) Watch(ctx context.Context, changed func()) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer p.watching.Store(false)
		told := ports{}
		return p.handle.Subscribe(ctx, func(e netlinkx.Event) {
			if news := told.hear(e); !news || !p.concerns(e) {
				return
			}
			if e.Link == nil {
				p.stale.Store(true)
				p.watching.Store(true)
			}
			changed()
		})
	})
	group.Go(func() error {
		return p.nft.Watch(ctx, func() {
			p.guardStale.Store(true)
			p.borderStale.Store(true)
			changed()
		}, append(guardTables(), nft.Table{Family: "bridge", Name: anycastTable})...)
	})
	return group.Wait()
}

// ports are what bridges have told of their ports, by the index of the device.
type ports map[int]netlinkx.PortInfo

// hear takes an event in, and says whether it tells anything new. When gateways move, bridges tell of thousands of ports that
// these are handed less or more from now on, which is none of our work.
func (p ports) hear(e netlinkx.Event) (news bool) {
	switch {
	case e.Neigh != nil:
	case e.Link == nil: // events were lost
		clear(p)
	case e.Deleted:
		delete(p, e.Link.Index)
	case e.OfPort && e.Link.Port != nil:
		before, known := p[e.Link.Index]
		p[e.Link.Index] = *e.Link.Port
		return !known || before != *e.Link.Port
	}
	return true
}

// concerns sorts out the noise: workloads make the kernel learn addresses all the time, and that is none of our work.
func (p *Part) concerns(e netlinkx.Event) bool {
	switch {
	case e.Link != nil:
		return strings.HasPrefix(e.Link.Name, "tap") || strings.HasPrefix(e.Link.Name, "brq") ||
			strings.HasPrefix(e.Link.Name, "vxlan-") || p.mapped[e.Link.Name]
	case e.Neigh != nil:
		// A forwarding entry of ours that was removed is still told as static; a neighbour is told as failed.
		return (*p.watched.Load())[e.Neigh.Index] && (e.Neigh.Family != unix.AF_BRIDGE || e.Neigh.Static())
	}
	return true // events were lost
}
