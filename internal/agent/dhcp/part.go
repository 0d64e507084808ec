// Package dhcp is the part of the agent that answers DHCP: for each dhcp-network document it keeps a network namespace
// with a dnsmasq inside, and connects it with the host by the device of the network's DHCP port, which the l2 part wires
// like any other port.
//
// Read in this order: convert.go turns documents into a wanted server, without touching the host; server.go makes one
// server real, step by step, and repairs it, with process.go for its dnsmasq, which is not started more often than starts.go
// allows; watch.go hears of changes that somebody else made; part.go, here, decides which servers need work, and job.go
// lets it be done. log.go shows the exchanges of a port.
//
// A server belongs to one goroutine at a time: to that of its job while one is under way, and to Reconcile otherwise.
//
// What one server consists of, all named after the network or its DHCP port:
//
//	namespace qdhcp-<network id>          dnsmasq lives in it, and outlives the agent
//	device    tap<11 of the port id>      on the host, marked neutrino:port:<port id>
//	device    ns-<11 of the port id>      its peer inside, with the port's MAC and the server addresses
//	directory <data>/dhcp/<network id>    the files of dnsmasq; it is also the mark by which the namespace is ours
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// auditAfter is how long a server that is right, and of which no event came, is believed to be right. It is shorter than
// the agent's own pause between passes without a reason, so each of those looks at everything.
const auditAfter = 20 * time.Second

// startTimeout is how long a dnsmasq may take to be ready; in practice it takes some milliseconds.
const startTimeout = 5 * time.Second

// Options are what a Part needs.
type Options struct {
	// DataDir is the directory of the agent; required. The part uses "dhcp" in it.
	DataDir string
	// Logger is required.
	Logger *slog.Logger
	// Metrics counts repaired drift; nil: nobody counts.
	Metrics *reconcile.Metrics
	// Dnsmasq is the program; empty: dnsmasq, looked up in PATH.
	Dnsmasq string
	// User is whom dnsmasq becomes; empty: nobody.
	User string
	// StartTimeout is how long dnsmasq may take to be ready; 0: 5 s.
	StartTimeout time.Duration
}

// Part implements agent.Part.
type Part struct {
	options Options
	dir     string
	config  dnsmasq.Config // what all servers have in common
	watcher *watcher

	// servers is used by Reconcile only, which is never called twice at the same time.
	servers map[string]*server
	loaded  bool

	// The jobs, see job.go. stop ends ctx, and with it those that are under way.
	ctx   context.Context
	stop  context.CancelFunc
	jobs  sync.WaitGroup
	slots chan struct{}

	mu      sync.Mutex
	changed func()             // asks for a pass; nil while nobody watches
	dirty   map[string]bool    // networks of which an event came
	ports   map[string]portLog // for the handler of the log
}

var _ agent.Part = (*Part)(nil)

// New makes the part. Nothing on the host is touched before the first Reconcile.
func New(options Options) (*Part, error) {
	data, err := filepath.Abs(options.DataDir)
	if err != nil {
		return nil, fmt.Errorf("dhcp: the data directory: %w", err)
	}
	if options.Dnsmasq == "" {
		options.Dnsmasq = "dnsmasq"
	}
	if options.User == "" {
		options.User = "nobody"
	}
	if options.StartTimeout == 0 {
		options.StartTimeout = startTimeout
	}
	w, err := newWatcher()
	if err != nil {
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	dir := filepath.Join(data, "dhcp")
	ctx, stop := context.WithCancel(context.Background())
	return &Part{
		options: options, dir: dir, watcher: w, ctx: ctx, stop: stop, slots: make(chan struct{}, atOnce),
		// There is one server for a network, so it may speak with authority, see dnsmasq.Config.
		config:  dnsmasq.Config{Dir: dir, User: options.User, Authoritative: true},
		servers: map[string]*server{}, dirty: map[string]bool{}, ports: map[string]portLog{},
	}, nil
}

// Name implements agent.Part.
func (p *Part) Name() string { return "dhcp" }

// Close gives all handles up. The servers go on: the next agent adopts them. Neither Reconcile nor Watch may be running.
func (p *Part) Close() error {
	p.stop()
	p.jobs.Wait()
	for _, s := range p.servers {
		s.release()
	}
	p.servers = nil
	return p.watcher.close()
}

// Reconcile implements agent.Part. It returns when the work on each server is done, or takes too long to wait for.
func (p *Part) Reconcile(ctx context.Context, view *agent.View) ([]agent.Status, error) {
	if err := p.load(); err != nil {
		return nil, err
	}
	groups := group(view)
	for network := range groups {
		if isID(network) && p.servers[network] == nil { // of the others, statuses says what is wrong
			p.servers[network] = p.newServer(network)
		}
	}
	dirty := p.takeDirty()
	var awaited []*job
	for network, s := range p.servers {
		s.want(groups[network])
		if s.job.busy() {
			if dirty[network] {
				p.setDirty(network) // for the pass after the job
			}
			continue
		}
		if s.todo || s.err != nil || dirty[network] || time.Since(s.audited) >= auditAfter {
			// One that was slow the last time is not waited for again.
			awaits := s.job == nil || !s.job.late
			if s.begin(awaits); awaits {
				awaited = append(awaited, s.job)
			}
		}
	}
	for _, j := range awaited {
		select {
		case <-j.settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for network, s := range p.servers {
		if s.collect(); groups[network] == nil && !s.job.busy() && s.removed {
			delete(p.servers, network)
		}
	}
	p.notePorts()
	return p.statuses(groups)
}

func (p *Part) newServer(network string) *server {
	return &server{
		part: p, network: network, dir: filepath.Join(p.dir, network), log: p.options.Logger.With("network", network),
		todo: true,
	}
}

// load finds the servers that an earlier agent has left, by their directories.
func (p *Part) load() error {
	if p.loaded {
		return nil
	}
	if err := makeDir(p.dir); err != nil {
		return err
	}
	if p.config.User != "root" && !searchable(p.dir) {
		p.options.Logger.Warn("other users cannot enter the data directory, so dnsmasq keeps running as root",
			"dir", p.dir, "user", p.config.User)
		p.config.User = "root"
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("looking for DHCP servers: %w", err)
	}
	for _, e := range entries {
		if id := e.Name(); e.IsDir() && isID(id) {
			p.servers[id] = p.newServer(id)
		}
	}
	p.loaded = true
	return nil
}

func (p *Part) takeDirty() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.dirty
	p.dirty = map[string]bool{}
	return taken
}

func (p *Part) setDirty(network string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty[network] = true
}

// statuses are those of all documents. A host's is about its own content; that of the network tells of the server, too.
// What is wrong with a server that has no such document is in the error.
func (p *Part) statuses(groups map[string]documents) ([]agent.Status, error) {
	var out []agent.Status
	told := map[string]bool{}
	for network, docs := range groups {
		s := p.servers[network]
		reasons := convertedReasons(s, docs, p.config)
		for key, d := range docs {
			st := agent.Status{Key: key, State: sb.ObjectStatus_STATE_DONE, Reason: reasons[key]}
			if d.GetDhcpNetwork() != nil {
				told[network] = true
				if s != nil && s.shown != nil && st.Reason == "" {
					st.Reason = s.shown.Error()
				}
			}
			if st.Reason != "" {
				st.State = sb.ObjectStatus_STATE_ERROR
			}
			out = append(out, st)
		}
	}
	var left []error
	for _, network := range slices.Sorted(maps.Keys(p.servers)) {
		if s := p.servers[network]; !told[network] && s.shown != nil {
			left = append(left, fmt.Errorf("network %s: %w", network, s.shown))
		}
	}
	if len(left) > 0 {
		return out, &agent.Retry{Err: errors.Join(left...)}
	}
	return out, nil
}

// convertedReasons are those of the last conversion; a network whose id is unusable has no server and is converted here.
func convertedReasons(s *server, docs documents, base dnsmasq.Config) map[string]string {
	if s == nil {
		return convert(docs, base).reasons
	}
	return s.conversion.reasons
}

// drift notes that something that was right had been changed by somebody else, and was repaired.
func (p *Part) drift(log *slog.Logger, kind, what string) {
	log.Warn("repaired drift", "part", p.Name(), "kind", kind, "difference", what)
	if p.options.Metrics != nil {
		p.options.Metrics.Drift(p.Name(), kind)
	}
}

// makeDir makes a directory that everybody may enter, whatever the umask is: dnsmasq reads it after it gave up root.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of the DHCP servers: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of the DHCP servers: %w", err)
	}
	return nil
}

// searchable says whether every user may enter the directory.
func searchable(dir string) bool {
	parents := []string{dir}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		parents = append(parents, dir)
	}
	return !slices.ContainsFunc(parents, func(d string) bool {
		info, err := os.Stat(d)
		return err != nil || info.Mode()&0o001 == 0
	})
}
