// Package gateway is the part of the agent by which routers are highly available: for each gateway group of which this
// host is one, it takes part in the election, decides whether the host is the active one, and has the routers of the group
// follow.
//
// It joins what others do. Read convert.go first: it turns documents into what these are to do, without looking at the
// host. elect.go holds the decisions: it hears of the election (package dataplane/keepalived) and of claims (from the
// documents, from the other hosts, from the file of claims.go), lets package gatewaygroup judge, and tells the routers
// (package agent/l3), the other hosts (package agent/ctsync) and the server. gateway.go, here, runs them.
//
// The way of a takeover: keepalived puts up a marker address → the member makes a claim and is active → Switch is called;
// for each router of the group, connections that others have told of are put into the kernel, then its legs speak → the
// claim raises the priority, and is told. To give way is the same the other way round, and is never kept waiting by a
// takeover.
//
// Nothing is believed that is not seen: an agent that is started again finds the roles by the marker addresses, and the
// routers as they are. While it does not know the roles, or the groups, the routers stay as they are; when it knows that
// there is no keepalived, or no group, the host is active in nothing.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/ctsync"
	"github.com/neutrino-net/neutrino/internal/dataplane/keepalived"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// name is that of the part in logs and metrics.
const name = "gateway"

// again is the pause before what has failed is tried once more.
const again = time.Second

// switchers is how many goroutines switch routers: while one is busy with the connections of a takeover, another one has
// routers give way.
const switchers = 2

// Routers are those that follow the roles; l3.Part is meant.
type Routers interface {
	// Switch makes routers active or mute, as Active tells now. It may be called by several goroutines.
	Switch() error
	// Announce announces the active routers of the groups again.
	Announce(groups map[string]bool)
}

// Options are what a Part needs.
type Options struct {
	// Host is the name of this host, as documents have it.
	Host string
	// TunnelIP is the address of the host on the underlay, by which the hosts of a group hear each other.
	TunnelIP netip.Addr
	// BridgeMappings has the interface for each physical network.
	BridgeMappings map[string]string
	// Dir holds the files of keepalived and the claims; absolute. It is made when there is a group.
	Dir string
	// Port is the TCP port at which the hosts of groups reach each other; 0: ctsync.DefaultPort.
	Port int
	// Identity returns the host's certificate, and the authority of the cluster.
	Identity func() (tls.Certificate, *x509.CertPool, error)
	// Namespace is that of the host; nil: the namespace of the process.
	Namespace *netns.Handle
	// Logger is required.
	Logger *slog.Logger
}

// Part implements agent.Part, agent.Gateway and l3.Roles. Follow has to be called before it is used.
type Part struct {
	options Options
	links   *netlinkx.Handle
	daemon  *keepalived.Daemon
	sync    *ctsync.Sync
	routers Routers
	// woken has routers switched, and what follows from it; opposition tells that a member is opposed.
	woken, opposition chan struct{}

	// device has the tunnel address, or had it last. Reconcile alone uses it.
	device string

	keeping sync.Mutex // lets one write the file of claims at a time

	mu      sync.Mutex
	changed func() // asks for a pass; nil while nobody watches
	election
}

var _ agent.Part = (*Part)(nil)

// New makes the part. Nothing is touched before Watch and Reconcile.
func New(options Options) (*Part, error) {
	if options.Port == 0 {
		options.Port = ctsync.DefaultPort
	}
	links, err := netlinkx.Open(options.Namespace)
	if err != nil {
		return nil, err
	}
	p := &Part{options: options, links: links, woken: make(chan struct{}, 1), opposition: make(chan struct{}, 1)}
	known, err := loadClaims(options.Dir)
	if err != nil {
		options.Logger.Warn("claims are made anew", "part", name, "error", err)
	}
	p.election = election{
		groups: map[uint8]*membership{}, master: map[uint8]bool{}, saved: known, peers: map[string]map[uint8]bool{},
	}
	p.daemon, err = keepalived.New(keepalived.Options{
		Dir: options.Dir, Namespace: options.Namespace, Changed: p.elected, Logger: options.Logger.With("part", name),
	})
	if err != nil {
		links.Close()
		return nil, err
	}
	p.sync = ctsync.New(ctsync.Options{
		Host: options.Host, Identity: options.Identity, Heard: p.heard, Logger: options.Logger.With("part", name),
	})
	return p, nil
}

// Follow sets the routers that follow the roles.
func (p *Part) Follow(routers Routers) { p.routers = routers }

// Close gives all handles up. Neither Reconcile nor Watch may be running.
func (p *Part) Close() {
	p.daemon.Close()
	p.links.Close()
}

// Name implements agent.Part.
func (p *Part) Name() string { return name }

// Reconcile implements agent.Part: it takes the groups of the view.
func (p *Part) Reconcile(_ context.Context, view *agent.View) ([]agent.Status, error) {
	if err := p.findDevice(); err != nil {
		return nil, err
	}
	w := convert(view, site{
		host: p.options.Host, tunnelIP: p.options.TunnelIP, device: p.device, mappings: p.options.BridgeMappings,
		port: p.options.Port,
	})
	if len(w.groups) > 0 {
		if err := os.MkdirAll(p.options.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the directory of gateway groups: %w", err)
		}
	}
	p.sync.Want(w.sync)
	refused := p.join(w.groups)
	failure := p.daemon.Err()
	var out []agent.Status
	for key, reason := range w.problems {
		n, _ := number(key[len(keyPrefix):])
		switch {
		case reason != "":
		case refused[n] != nil:
			reason = refused[n].Error()
		case failure != nil:
			reason = failure.Error()
		}
		st := agent.Status{Key: key, State: sb.ObjectStatus_STATE_DONE, Reason: reason}
		if reason != "" {
			st.State = sb.ObjectStatus_STATE_ERROR
		}
		out = append(out, st)
	}
	return out, nil
}

// findDevice finds the device that has the tunnel address. While none has it, the last one counts: an address that is gone
// for a moment is no reason to leave all groups.
func (p *Part) findDevice() error {
	addresses, err := p.links.Addresses()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if a.Prefix.Addr() != p.options.TunnelIP {
			continue
		}
		if known, err := p.links.LinkByName(p.device); err == nil && known.Index == a.Index {
			return nil // which is nearly always so, and there may be thousands of others
		}
		links, err := p.links.Links()
		if err != nil {
			return err
		}
		for device, l := range links {
			if l.Index == a.Index {
				p.device = device
			}
		}
	}
	return nil
}

// Watch implements agent.Part: it runs everything that goes on between the passes.
func (p *Part) Watch(ctx context.Context, changed func()) error {
	p.setChanged(changed)
	defer p.setChanged(nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.daemon.Run(ctx) })
	group.Go(func() error { p.sync.Run(ctx); return nil })
	group.Go(func() error { p.serve(ctx); return nil })
	for range switchers {
		group.Go(func() error { p.follow(ctx); return nil })
	}
	group.Go(func() error { p.watchOpposed(ctx); return nil })
	return group.Wait()
}

func (p *Part) setChanged(changed func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = changed
}

// serve answers the other hosts. What keeps it from that may end: the address may not be there yet.
func (p *Part) serve(ctx context.Context) {
	if !p.options.TunnelIP.IsValid() {
		return
	}
	address, told := net.JoinHostPort(p.options.TunnelIP.String(), strconv.Itoa(p.options.Port)), ""
	for ctx.Err() == nil {
		listener, err := p.listen(ctx, address)
		if err == nil {
			err = p.sync.Serve(ctx, listener)
		}
		if err != nil && err.Error() != told {
			told = err.Error()
			p.options.Logger.Error("other hosts cannot hear of connections", "part", name, "address", address, "error", err)
		}
		pause(ctx, again)
	}
}

func (p *Part) listen(ctx context.Context, address string) (listener net.Listener, err error) {
	listen := func() error {
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		return err
	}
	if p.options.Namespace == nil {
		return listener, listen()
	}
	err = netns.Do(p.options.Namespace, listen)
	return listener, err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Gateways implements agent.Gateway.
func (p *Part) Gateways() []*sb.GatewayRole {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*sb.GatewayRole, 0, len(p.groups))
	if !p.looked {
		return nil
	}
	for n, m := range p.groups {
		out = append(out, &sb.GatewayRole{Group: uint32(n), Active: m.Active(), Claim: claimDocument(m.Claim())})
	}
	return out
}

// Prepare implements l3.Roles: connections that other hosts have told of go on here.
func (p *Part) Prepare(router string, ns *netns.Handle) {
	start := time.Now()
	n, err := p.sync.Inject(router, ns)
	if err != nil {
		p.options.Logger.Warn("connections are lost", "part", name, "router", router, "error", err)
	}
	if n > 0 {
		p.options.Logger.Debug("connections go on here", "part", name, "router", router, "connections", n,
			"took", time.Since(start))
	}
}

func newMember(host string, g group, saved claims) gatewaygroup.Member {
	return gatewaygroup.NewMember(host, g.rank, gatewaygroup.Newest(g.claim, saved[g.vrrp.ID]))
}
