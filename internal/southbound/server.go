// Package southbound is the server's side of the stream between server and hosts. The agent's side is package client.
//
// Each host holds one stream (proto/southbound/v1). When it connects, it says what it has, and is sent the difference
// to its view; from then on it is sent what changes. Who does what:
//   - the hub (hub.go), one goroutine, follows the state's feed once for all hosts. For each commit it asks package
//     compile what the commit may have changed, and marks these keys dirty on the streams of the hosts concerned;
//   - the sender of a stream (stream.go) takes the dirty keys together with the snapshot that they belong to, makes the
//     documents of that snapshot, and sends those whose hash is not the one sent last;
//   - the receiver of a stream takes acknowledgements, heartbeats and reports; reports (report.go) are checked against
//     the view of the host and handed on in batches;
//   - Join and Renew (join.go) give hosts their certificates.
//
// A stream holds a set of dirty keys, never a queue of messages: a slow host costs bounded memory, and when it gets
// going again it is sent the newest state, not the history.
//
// The host's name is taken from its certificate and nowhere else. What a host is sent, and what it may report on, are
// the documents that package compile makes for that name.
package southbound

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The bounds of what a host can make the server hold or do.
const (
	// maxMessage is the size of the largest message that is accepted.
	maxMessage = 4 << 20
	// maxBatch is the size from which a batch goes on in another message.
	maxBatch = 1 << 20
	// maxDigest is the number of documents that a host may say it has.
	maxDigest = 65_536
	// maxKey is the length of the longest key that a host may name.
	maxKey = 128
	// maxStatuses is the number of statuses in one report, maxRoles that of roles: of more gateway groups there are none.
	maxStatuses = 10_000
	maxRoles    = 255
	// maxReason is the length to which the reason of a status is cut.
	maxReason = 512
	// maxDirty is the number of dirty keys from which a stream counts as dirty in full.
	maxDirty = 20_000
	// reportPause lies between two batches of reports of one host, so that a host cannot keep the state's writer busy.
	reportPause = 10 * time.Millisecond
)

// The times of a stream.
const (
	// silence is how long a host may say nothing before it counts as dead, and its stream is ended. It is the
	// agent_down_time that operators of Neutron know.
	silence = 75 * time.Second
	// helloTimeout is how long a stream may take to say hello, and the Reporter to hear of it.
	helloTimeout = 10 * time.Second
	// sendTimeout is how long a host may take to accept one message before its stream is ended.
	sendTimeout = 60 * time.Second
)

// Status is what became of a document on its host.
type Status struct {
	Key    string
	State  sb.ObjectStatus_State
	Reason string // one line, at most 512 bytes
	Hash   uint64 // of the document that it is about; 0: not known
}

// Role is what the host is for a gateway group.
type Role struct {
	Group uint32
	Claim *sb.GatewayClaim // the newest that the host knows; not nil
}

// Report is what a host has said since it was last taken: the newest of each document and of each group.
type Report struct {
	Statuses []Status
	Roles    []Role
}

// Reporter takes what hosts say into the state.
type Reporter interface {
	// AgentConnected is called when a host has connected; by then Alive is true for it. A *fault.Error refuses the
	// host with its message. After any other error it is called again while the stream goes on.
	AgentConnected(ctx context.Context, host string, hello *sb.Hello) error
	// Reported is called with what the host said of documents that were in its view when it came in, one call at a time for
	// a host. It has to check in its transaction that they still are. After an error that wraps state.ErrUnavailable it is
	// called again; after any other error the report is dropped.
	Reported(ctx context.Context, host string, report Report) error
}

// Options configure a Server.
type Options struct {
	Store     *state.Store          // required
	Authority *pki.Authority        // required
	Reporter  Reporter              // required
	Compiler  *compile.Compiler     // default: compile.New(compile.Options{})
	Logger    *slog.Logger          // default: slog.Default()
	Metrics   prometheus.Registerer // default: none
	// Names are addresses and host names for the server's certificate, besides that of the listener. Agents do not
	// need them.
	Names []string
}

// Server is the southbound of one server.
type Server struct {
	opts    Options
	hub     *hub
	metrics *metrics
	started time.Time
	// streams counts the goroutines of streams, which may outlive their handlers for a moment.
	streams sync.WaitGroup
}

// NewServer makes a server. Serve runs it.
func NewServer(opts Options) (*Server, error) {
	if opts.Store == nil || opts.Authority == nil || opts.Reporter == nil {
		return nil, errors.New("the southbound needs a store, an authority and a reporter")
	}
	if opts.Compiler == nil {
		opts.Compiler = compile.New(compile.Options{})
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s := &Server{opts: opts, hub: newHub(opts.Store, opts.Compiler), started: time.Now()}
	s.metrics = newMetrics(s)
	if opts.Metrics != nil {
		if err := opts.Metrics.Register(s.metrics); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Serve accepts hosts until ctx ends, and returns nil then. It may be called once. It owns the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	names := s.opts.Names
	if host, _, err := net.SplitHostPort(listener.Addr().String()); err == nil {
		names = append([]string{host}, names...)
	}
	config, err := s.opts.Authority.ServerTLS(names)
	if err != nil {
		listener.Close()
		return err
	}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(config)),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(8),
		grpc.WaitForHandlers(true),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.ReadBufferSize(8<<10),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: time.Minute, // of connections without a stream
			Time:              10 * time.Second,
			Timeout:           20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: 5 * time.Second, PermitWithoutStream: true,
		}),
	)
	sb.RegisterSouthboundServer(server, &service{server: s})

	ctx, cancel := context.WithCancel(ctx)
	var hub sync.WaitGroup
	hub.Go(func() { s.hub.run(ctx) })
	unhook := context.AfterFunc(ctx, server.Stop)
	err = server.Serve(listener)
	if ctx.Err() != nil {
		err = nil // it was told to end
	}
	cancel()
	unhook()
	server.Stop()
	s.streams.Wait()
	hub.Wait()
	return err
}

// HostState is what the server knows of a host that has connected since the server started.
type HostState struct {
	Host      string
	Connected bool
	LastHeard time.Time
	// SentRevision is the revision of the newest batch sent on the present or last stream.
	SentRevision int64
	// AppliedRevision is the newest revision of the state of which the host has applied everything that concerns it,
	// or has reported why not.
	AppliedRevision int64
	// LagSeconds is for how long the oldest change that the host has not applied has been waiting; 0: it is in step.
	// For a host that is not connected it is the time since the host was heard.
	LagSeconds float64
	// Documents is the number of documents in its view.
	Documents int
}

// Hosts returns the state of all hosts, in order of their names.
//
// A host that has not come back since the server started is there, too: it was heard last when the server started, as
// far as the server knows.
func (s *Server) Hosts() []HostState {
	now := time.Now()
	hosts := s.hub.states(now)
	known := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		known[h.Host] = true
	}
	for a := range state.Agents.All(s.opts.Store.Read()) {
		if !known[a.Host] {
			known[a.Host] = true
			hosts = append(hosts, HostState{Host: a.Host, LastHeard: s.started, LagSeconds: now.Sub(s.started).Seconds()})
		}
	}
	slices.SortFunc(hosts, func(a, b HostState) int { return cmp.Compare(a.Host, b.Host) })
	return hosts
}

// Alive says whether the host's agent is alive (its stream is up, or it was heard in the last 75 seconds), and when it
// was heard last. The time is zero for a host that has not connected since the server started.
func (s *Server) Alive(host string) (alive bool, lastHeard time.Time) {
	return s.hub.alive(host, time.Now())
}

// Applied is the revision up to which the host has applied everything that concerns it; 0 for a host that has not
// connected since the server started.
func (s *Server) Applied(host string) int64 { return s.hub.appliedBy(host) }
