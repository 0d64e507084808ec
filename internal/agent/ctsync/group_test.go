package ctsync_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/agent/ctsync"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/testkit"
	pb "github.com/neutrino-net/neutrino/proto/hostsync/v1"
)

// ears remember what a host was told last by each other one.
type ears struct {
	mu    sync.Mutex
	heard map[string][]*pb.Group
	ended int
}

func (e *ears) hear(host string, groups []*pb.Group) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard[host] = groups; groups == nil {
		e.ended++
	}
}

// epochs are those told by the host, by group.
func (e *ears) epochs(host string) map[uint32]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[uint32]uint64{}
	for _, g := range e.heard[host] {
		all[g.Number] = g.Epoch
	}
	return all
}

// hearing is a peer that remembers what it hears.
func hearing(t *testing.T, ca *pki.Authority, name string) (*peer, *ears) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own, e := certificate(t, ca, name), &ears{heard: map[string][]*pb.Group{}}
	p := &peer{name: name, address: listener.Addr().String(), Sync: ctsync.New(ctsync.Options{
		Host: name, Heard: e.hear,
		Identity: func() (tls.Certificate, *x509.CertPool, error) { return own, ca.Pool(), nil },
		Logger:   slog.New(slog.NewTextHandler(testWriter{t}, nil)).With("host", name),
	})}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	running.Go(func() {
		if err := p.Serve(ctx, listener); err != nil {
			t.Error(err)
		}
	})
	p.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(p.stop)
	return p, e
}

func TestHostsTellWhatTheyAreForCommonGroups(t *testing.T) {
	ca := authority(t)
	a, _ := hearing(t, ca, "a")
	b, ears := hearing(t, ca, "b")
	share := func(p, other *peer, groups ...uint32) {
		w := ctsync.Wanted{Addresses: map[string]string{other.name: other.address}}
		for _, n := range groups {
			w.Groups = append(w.Groups, ctsync.Group{Number: n, Peers: []string{other.name, "c"}})
		}
		p.Want(w)
	}
	tell := func(epoch uint64) {
		var all []*pb.Group
		for n := range uint32(4) {
			all = append(all, &pb.Group{Number: n + 1, Epoch: epoch, Claimant: "a"})
		}
		a.Tell(all)
	}
	tell(7)
	// The first host takes the second one for a member of 1 and 2, and the second one the first for one of 2 and 3.
	share(a, b, 1, 2)
	share(b, a, 2, 3)
	is := func(epoch uint64) func() bool {
		return func() bool {
			got := ears.epochs("a")
			if len(got) > 1 || len(got) == 1 && got[2] == 0 {
				t.Fatalf("heard of %v", got)
			}
			return got[2] == epoch
		}
	}
	testkit.Eventually(t, patience, "the common group heard of", is(7))
	tell(8)
	took := testkit.Eventually(t, patience, "the change heard of", is(8))
	t.Logf("a change is heard of after %v", took)
	a.stop()
	testkit.Eventually(t, patience, "the end noticed", func() bool {
		ears.mu.Lock()
		defer ears.mu.Unlock()
		return ears.ended == 1 && ears.heard["a"] == nil
	})
}
