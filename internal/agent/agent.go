// Package agent is the core of the host's agent: it holds what the host has to do, lets the parts do it, and tells the
// server what became of it.
//
// The way of a change: the stream hands a batch of documents to OnBatch, which makes a new View (views never change;
// see part.go) and wakes the parts. Each part runs in a goroutine of its own (runner.go) and reconciles: when the view
// changed, when the part saw something happen on the host, after a failure, and every half minute for the sake of it.
// When every part has reconciled a view, its revision is acknowledged; statuses that changed are reported (report.go).
//
// The view is kept on disk (cache.go), so a host that boots without a server goes on with its last one. Before there is
// a complete view, from the cache or from the server, no part is run: an agent that knows nothing touches nothing.
//
// A local socket (socket.go) answers what people and tools on the host ask.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// DefaultSocket is where the agent answers local questions.
const DefaultSocket = "/run/neutrino/agent.sock"

// Options configure an Agent.
type Options struct {
	// Host is the name of the host. Required.
	Host string
	// DataDir keeps the cache of the view. Required; it is made if it does not exist.
	DataDir string
	// Version is told to the server.
	Version string
	// Roles are those that Parts play.
	Roles []model.Role
	// TunnelIP is the address of the host on the underlay; the zero Addr where it has none.
	TunnelIP netip.Addr
	// BridgeMappings: physical network → interface or bridge.
	BridgeMappings map[string]string
	// AvailabilityZone is that of the host; empty: the default zone.
	AvailabilityZone string
	// Parts do the work.
	Parts []Part
	// Contact is told whether the host hears from the server; nil: nobody asks.
	Contact *Contact
	// Registry collects the metrics of the agent, and is shown at /metrics. Required.
	Registry *prometheus.Registry
	// SocketPath is the local socket; DefaultSocket if empty.
	SocketPath string
	// Handlers are added to those of the local socket, by pattern as in http.ServeMux ("GET /v1/dhcp-log/{port}").
	Handlers map[string]http.Handler
	// Logger is required.
	Logger *slog.Logger
}

// Uplink is the stream to the server as the agent needs it. It calls back Hello, OnConnect and OnBatch.
type Uplink interface {
	// Run connects, and connects again, until ctx ends.
	Run(ctx context.Context) error
	// Ack tells that a revision has been applied. It does not block.
	Ack(revision int64)
	// Report tells what became of documents. It does not block; without a connection it may do nothing, because
	// everything is reported again after OnConnect.
	Report(statuses []*sb.ObjectStatus)
	// ReportRoles tells what the host is for its gateway groups. It does not block, and is as Report without a connection.
	ReportRoles(roles []*sb.GatewayRole)
}

// Agent is the core. Make it with New, then call Run once.
type Agent struct {
	options   Options
	log       *slog.Logger
	metrics   *reconcile.Metrics
	startedAt time.Time
	runners   []*runner
	gateway   Gateway // nil: the host is in no gateway group

	mu sync.Mutex
	// view is nil until there is a complete one; partial collects documents until then.
	view    *View
	cached  *View // from an earlier run, until it is used or the server has sent something
	partial map[string]*sb.Document
	// sequence grows with every view. Revisions need not: a restored server may start again at an older one.
	sequence int64
	// stream counts the streams to the server; completed says that the view was complete on the newest.
	stream    int64
	completed bool
	// changed is closed and replaced whenever the view or a status changes.
	changed chan struct{}
	report  reports
	uplink  Uplink
	dirty   chan struct{} // wakes the keeper of the cache
}

// New makes an agent, and loads the view that it held when it ran last.
func New(options Options) (*Agent, error) {
	if options.SocketPath == "" {
		options.SocketPath = DefaultSocket
	}
	if err := makeDataDir(options.DataDir); err != nil {
		return nil, fmt.Errorf("make the agent's data directory: %w", err)
	}
	a := &Agent{
		options:   options,
		log:       options.Logger,
		metrics:   reconcile.NewMetrics(options.Registry),
		startedAt: time.Now(),
		partial:   map[string]*sb.Document{},
		changed:   make(chan struct{}),
		dirty:     make(chan struct{}, 1),
	}
	a.report.init(options.Parts)
	for _, part := range options.Parts {
		if g, ok := part.(Gateway); ok {
			a.gateway = g
		}
	}
	for i, part := range options.Parts {
		a.runners = append(a.runners, newRunner(a, i, part))
	}
	switch view, err := loadCache(a.cachePath()); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		// Not fatal: the server will send everything, and until then nothing is touched.
		a.log.Warn("the cached view cannot be used", "error", err)
	default:
		a.log.Info("starting with the cached view", "documents", view.Len(), "revision", view.Revision)
		a.cached, a.partial = view, view.documents
	}
	return a, nil
}

// makeDataDir makes the directory so that other users can pass through it, and see nothing: dnsmasq, which gives up root,
// has its files below. Whatever is secret has a mode of its own.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()|0o111)
}

func (a *Agent) cachePath() string { return filepath.Join(a.options.DataDir, "view.cache") }

// Run works until ctx ends. What has been set up on the host stays as it is.
func (a *Agent) Run(ctx context.Context, uplink Uplink) error {
	a.mu.Lock()
	a.uplink = uplink
	a.mu.Unlock()

	listener, err := listen(ctx, a.options.SocketPath)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.serve(ctx, listener) })
	for _, r := range a.runners {
		group.Go(func() error { return r.run(ctx) })
		group.Go(func() error { return r.watch(ctx) })
	}
	group.Go(func() error { return a.useCache(ctx) })
	group.Go(func() error { return a.keepCache(ctx) })
	group.Go(func() error { return uplink.Run(ctx) })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Hello introduces the agent and says which documents it has; for the client of the stream.
func (a *Agent) Hello() *sb.Hello {
	hello := &sb.Hello{
		Version:        a.options.Version,
		BridgeMappings: a.options.BridgeMappings,
		StartedAt:      a.startedAt.Unix(),

		AvailabilityZone: a.options.AvailabilityZone,
	}
	for _, role := range a.options.Roles {
		hello.Roles = append(hello.Roles, string(role))
	}
	if a.options.TunnelIP.IsValid() {
		hello.TunnelIp = a.options.TunnelIP.String()
		hello.TunnelTypes = []string{string(model.TypeVXLAN)}
	}
	for key, d := range a.documents() {
		hello.Have = append(hello.Have, &sb.Digest{Key: key, Hash: d.Hash})
	}
	return hello
}

// documents returns what is held, complete or not. The map must not be changed.
func (a *Agent) documents() map[string]*sb.Document {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.view != nil {
		return a.view.documents
	}
	return a.partial
}

// OnConnect is for the client of the stream: a connection stands, and the server is to be told everything again.
func (a *Agent) OnConnect() {
	a.options.Contact.set(0) // until the view is complete
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stream++
	a.completed = false
	a.report.forget()
	a.tell()
}

// OnBatch is for the client of the stream: the step to the revision. full says that the view is complete after it. It
// must not be called twice at the same time.
func (a *Agent) OnBatch(put []*sb.Document, del []string, revision int64, full bool) {
	a.mu.Lock()
	a.cached = nil // what comes is newer
	held := a.view
	if held == nil {
		held = &View{documents: a.partial}
	}
	view := held.Next(revision, put, del)
	complete := full || a.view != nil
	a.completed = a.completed || full
	if a.completed {
		view.stream = a.stream
	}
	if !complete {
		a.partial = view.documents
	}
	a.mu.Unlock()
	if complete {
		a.setView(view)
		if full {
			a.options.Contact.set(view.stream)
			a.wake()
		}
		select {
		case a.dirty <- struct{}{}:
		default:
		}
	}
}

// OnDisconnect is for the client of the stream: the connection is lost.
func (a *Agent) OnDisconnect() { a.options.Contact.set(0) }

// wake has all parts look again.
func (a *Agent) wake() {
	for _, r := range a.runners {
		r.wake()
	}
}

// setView makes a view the one that is to be reconciled.
func (a *Agent) setView(view *View) {
	a.mu.Lock()
	a.adopt(view)
	a.mu.Unlock()
	a.wake()
}

// adopt is setView without waking the parts; the lock is held.
func (a *Agent) adopt(view *View) {
	a.sequence++
	a.view, a.partial = view, nil
	a.announce()
}

// announce wakes those who wait for a change; the lock is held.
func (a *Agent) announce() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// current returns the view and its sequence number; nil while there is none.
func (a *Agent) current() (*View, int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.view, a.sequence
}
