package gateway_test

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// server is the southbound as far as the tests play it: it sends documents, and remembers what it is told. Like the real
// one, it takes the newest claim of a group into the documents of the group.
type server struct {
	sb.UnimplementedSouthboundServer
	ca      *pki.Authority
	address string

	mu    sync.Mutex
	hosts map[string]*told
}

// told is what a host is to do, and what it has told.
type told struct {
	documents map[string]*sb.Document
	revision  int64
	acked     int64
	statuses  map[string]*sb.ObjectStatus
	roles     map[uint32]*sb.GatewayRole
	changed   chan struct{} // has the stream look again
}

func newServer(t testing.TB, at *testkit.Host, address string) *server {
	t.Helper()
	ca, err := pki.Open(t.TempDir(), pki.Options{})
	at.Check(err)
	config, err := ca.ServerTLS([]string{pki.ServerName})
	at.Check(err)
	s := &server{ca: ca, address: address + ":9697", hosts: map[string]*told{}}
	var listener net.Listener
	at.Check(netns.Do(at.NS, func() (err error) {
		listener, err = net.Listen("tcp", s.address)
		return err
	}))
	// A host that is cut off is not waited for.
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 3 * time.Second, Timeout: 3 * time.Second}))
	sb.RegisterSouthboundServer(g, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(listener) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return s
}

func (s *server) host(name string) *told {
	h := s.hosts[name]
	if h == nil {
		h = &told{
			documents: map[string]*sb.Document{}, statuses: map[string]*sb.ObjectStatus{}, roles: map[uint32]*sb.GatewayRole{},
			changed: make(chan struct{}, 1),
		}
		s.hosts[name] = h
	}
	return h
}

// put gives a host more documents.
func (s *server) put(host string, documents ...*sb.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(host)
	for _, d := range documents {
		h.revision++
		d.Hash = uint64(h.revision) + 1<<40
		h.documents[d.Key] = d
	}
	h.poke()
}

func (h *told) poke() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Connect implements the service.
func (s *server) Connect(stream grpc.BidiStreamingServer[sb.FromAgent, sb.ToAgent]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	name, err := hostOf(stream.Context())
	if err != nil {
		return err
	}
	sent := map[string]uint64{}
	for _, d := range first.GetHello().GetHave() {
		sent[d.Key] = d.Hash
	}
	s.mu.Lock()
	h := s.host(name)
	h.poke()
	s.mu.Unlock()
	failed := make(chan error, 1)
	defer h.poke() // what this stream has taken is for the next one
	go func() { failed <- s.hear(stream, h) }()
	for {
		select {
		case err := <-failed:
			return err
		case <-h.changed:
		}
		s.mu.Lock()
		batch := &sb.Batch{Revision: h.revision, Last: true, Full: true}
		for key, d := range h.documents {
			if sent[key] != d.Hash {
				sent[key] = d.Hash
				batch.Put = append(batch.Put, d)
			}
		}
		s.mu.Unlock()
		for len(batch.Put) > 1000 { // within the length of a message
			part := &sb.Batch{Revision: batch.Revision, Put: batch.Put[:1000]}
			batch.Put = batch.Put[1000:]
			if err := stream.Send(&sb.ToAgent{Message: &sb.ToAgent_Batch{Batch: part}}); err != nil {
				return err
			}
		}
		if err := stream.Send(&sb.ToAgent{Message: &sb.ToAgent_Batch{Batch: batch}}); err != nil {
			return err
		}
	}
}

// hear takes what a host tells.
func (s *server) hear(stream grpc.BidiStreamingServer[sb.FromAgent, sb.ToAgent], h *told) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, st := range m.GetReport().GetStatuses() {
			h.statuses[st.Key] = st
		}
		for _, r := range m.GetReport().GetRoles() {
			h.roles[r.Group] = r
			s.spread(r)
		}
		if a := m.GetAck(); a != nil {
			h.acked = a.Revision
		}
		s.mu.Unlock()
	}
}

// spread puts the newest claim of a group into its documents.
func (s *server) spread(r *sb.GatewayRole) {
	for _, h := range s.hosts {
		for key, d := range h.documents {
			g := d.GetGatewayGroup()
			if g == nil || g.Number != r.Group || r.Claim.GetEpoch() <= g.Claim.GetEpoch() {
				continue
			}
			h.revision++
			h.documents[key] = groupDocument(g.Number, g.Hosts, r.Claim, g.IntervalMs)
			h.documents[key].Hash = uint64(h.revision) + 1<<40
			h.poke()
		}
	}
}

// forget is for a host whose agent is started again: what it has told does not count any more.
func (s *server) forget(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(host)
	h.acked, h.statuses, h.roles = -1, map[string]*sb.ObjectStatus{}, map[uint32]*sb.GatewayRole{}
}

// wrong are the documents of a host that are not done, and why.
func (s *server) wrong(host string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(host)
	for _, key := range slices.Sorted(maps.Keys(h.documents)) {
		if st := h.statuses[key]; st.GetState() != sb.ObjectStatus_STATE_DONE {
			all = append(all, key+": "+st.GetState().String()+" "+st.GetReason())
		}
	}
	return all
}

// acked is the revision that a host has acknowledged, and the newest one.
func (s *server) acked(host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d of %d", s.host(host).acked, s.host(host).revision)
}

// applied says whether a host has acknowledged all that there is, and it is done.
func (s *server) applied(host string) bool {
	s.mu.Lock()
	h := s.host(host)
	acked := h.acked == h.revision
	s.mu.Unlock()
	return acked && len(s.wrong(host)) == 0
}

// role is what a host has told last of a group.
func (s *server) role(host string, group uint32) *sb.GatewayRole {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host(host).roles[group]
}
