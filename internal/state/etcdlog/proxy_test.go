package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/state/etcdlog"
)

// lossyProxy stands between a client and etcd. While it loses, it cuts connections at random: after a request has been
// forwarded and before its answer is, or before the request.
type lossyProxy struct {
	listener net.Listener
	target   string // a unix socket
	losing   atomic.Bool
	cuts     atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool // nil when the proxy is closed
	wg    sync.WaitGroup
}

func startProxy(t *testing.T, target string) *lossyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossyProxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *lossyProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.target)
		if err != nil || !p.track(client, server) {
			client.Close()
			continue
		}
		p.wg.Go(func() { p.forward(server, client, 0.02) })
		p.wg.Go(func() { p.forward(client, server, 0.2) })
	}
}

func (p *lossyProxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.conns == nil {
			c.Close()
			continue
		}
		p.conns[c] = true
	}
	return p.conns != nil
}

func (p *lossyProxy) forward(to, from net.Conn, loss float64) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for chunk := 0; ; chunk++ {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		// A connection that is cut before it is set up would only make the client wait.
		if chunk > 2 && p.losing.Load() && rand.Float64() < loss {
			p.cuts.Add(1)
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *lossyProxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// ledger is what callers were told of their transactions. Transaction n of worker w makes the networks w-n-0, w-n-1 and
// w-n-2, and counts itself in the network "counter".
type ledger struct {
	mu           sync.Mutex
	acknowledged []string
	unknown      int
	refused      int
}

func (l *ledger) write(ctx context.Context, s *state.Store, name string) {
	_, err := s.Update(ctx, func(tx *state.Tx) error {
		for part := range 3 {
			id := fmt.Sprint(name, "-", part)
			state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: id, Description: strings.Repeat("x", 300)}})
		}
		c := &model.Network{Meta: model.Meta{ID: "counter"}}
		if old, ok := state.Networks.Get(tx, "counter"); ok {
			c = old.Clone()
		}
		c.MTU++
		state.Networks.Put(tx, c)
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.acknowledged = append(l.acknowledged, name)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		l.unknown++
	default:
		l.refused++
	}
}

// check compares what is in the store with what callers were told.
func (l *ledger) check(t *testing.T, s *state.Snapshot) {
	t.Helper()
	parts := map[string]int{}
	for n := range state.Networks.All(s) {
		if i := strings.LastIndexByte(n.ID, '-'); i > 0 {
			parts[n.ID[:i]]++
		}
	}
	for name, n := range parts {
		if n != 3 {
			t.Errorf("of transaction %s there are %d of 3 objects", name, n)
		}
	}
	lost := 0
	for _, name := range l.acknowledged {
		if parts[name] == 0 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged transactions are lost", lost, len(l.acknowledged))
	}
	counter, ok := state.Networks.Get(s, "counter")
	if !ok || counter.MTU != len(parts) {
		t.Errorf("%d transactions are there, but %d were counted: one was made twice, or half", len(parts), counter.MTU)
	}
	if len(parts) > len(l.acknowledged)+l.unknown {
		t.Errorf("%d transactions are there; %d were acknowledged and of %d the outcome was left open", len(parts),
			len(l.acknowledged), l.unknown)
	}
}

func TestLostAnswersAreResolved(t *testing.T) {
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: dir, ClientSocket: true})
	proxy := startProxy(t, filepath.Join(dir, "client.sock"))
	client := dial(t, proxy.listener.Addr().String())
	s := openStore(t, newLog(t, etcdlog.Options{Client: client, AttemptTimeout: 300 * time.Millisecond, Retain: -1}))

	proxy.losing.Store(true)
	var book ledger
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for w := range 8 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				one, cancel := context.WithTimeout(ctx, time.Duration(20+rand.IntN(400))*time.Millisecond)
				book.write(one, s, fmt.Sprintf("%d-%d", w, n))
				cancel()
			}
		})
	}
	wg.Wait()
	proxy.losing.Store(false)
	// A last write comes after everything that was still under way.
	book.write(t.Context(), s, "last-0")

	t.Logf("%d connections cut, %d transactions acknowledged, %d left open, %d refused", proxy.cuts.Load(),
		len(book.acknowledged), book.unknown, book.refused)
	if proxy.cuts.Load() < 10 || len(book.acknowledged) < 10 {
		t.Errorf("%d cuts and %d acknowledged transactions prove little", proxy.cuts.Load(), len(book.acknowledged))
	}
	if book.refused > 0 {
		t.Errorf("%d transactions were refused: lost answers have to be resolved", book.refused)
	}
	book.check(t, s.Read())
	// What the store believes is what etcd has.
	book.check(t, openStore(t, newLog(t, e.LogOptions())).Read())
}

// An answer that is lost while another server writes: the commit is found by its record, although the head has moved.
func TestALostAnswerIsResolvedAfterAForeignCommit(t *testing.T) {
	for _, tc := range []struct {
		name      string
		executed  bool // whether our lost commit reached etcd before the foreign one
		want      error
		wantState string
	}{
		{"executed", true, nil, "mine"},
		{"overtaken", false, state.ErrFenced, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
			other := newLog(t, e.LogOptions())
			opts := e.LogOptions()
			lossy := &lossyKV{KV: opts.Client.KV, execute: tc.executed}
			opts.Client = clientv3.NewCtxClient(t.Context())
			opts.Client.KV = lossy
			mine := newLog(t, opts)
			entries(t, mine)
			lossy.lost = func() {
				entries(t, other)
				if _, err := other.Append(t.Context(), []state.Entry{put("theirs", `1`)}); err != nil {
					t.Error(err)
				}
			}
			rev, err := mine.Append(t.Context(), []state.Entry{put("mine", `1`)})
			if !errors.Is(err, tc.want) {
				t.Fatalf("the error is %v, want %v", err, tc.want)
			}
			got, head := entries(t, newLog(t, e.LogOptions()))
			if _, ok := got["network/theirs"]; !ok || (got["network/mine"] != "") != tc.executed {
				t.Errorf("etcd has %v", got)
			}
			if tc.executed && rev >= head {
				t.Errorf("our commit has revision %d, the later foreign one %d", rev, head)
			}
			if _, err := mine.Append(t.Context(), nil); !errors.Is(err, state.ErrFenced) {
				t.Errorf("the next commit does not notice the foreign one: %v", err)
			}
		})
	}
}

// What etcd refuses for good is not sent again, and does not stand in the way of the next commit.
func TestARefusedCommitIsNotSentAgain(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	opts := e.LogOptions()
	kv := &lossyKV{KV: opts.Client.KV}
	opts.Client = clientv3.NewCtxClient(t.Context())
	opts.Client.KV = kv
	l := newLog(t, opts)
	entries(t, l)
	for _, refusal := range []error{
		rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrPermissionDenied, rpctypes.ErrInvalidAuthToken,
		status.Error(codes.ResourceExhausted, "trying to send message larger than max (9 vs. 8)"),
	} {
		kv.refusal, kv.sent = refusal, 0
		_, err := l.Append(t.Context(), []state.Entry{put("a", `1`)})
		if !errors.Is(err, refusal) || errors.Is(err, state.ErrFenced) || errors.Is(err, state.ErrUnavailable) {
			t.Errorf("%v: the error is %v", refusal, err)
		}
		if kv.sent != 1 {
			t.Errorf("%v: sent %d times, want once", refusal, kv.sent)
		}
		kv.refusal = nil
		if _, err := l.Append(t.Context(), []state.Entry{put("b", `1`)}); err != nil {
			t.Errorf("after %v: %v", refusal, err)
		}
	}
	if got, _ := entries(t, l); !maps.Equal(got, map[string]string{"network/b": "1"}) {
		t.Errorf("etcd has %v", got)
	}
}

// When the context ends while the outcome is open, the caller is told so, and nothing more is written until the state
// has been loaded anew.
func TestAnOutcomeThatStaysOpenAsksForALoad(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	opts := e.LogOptions()
	kv := &lossyKV{KV: opts.Client.KV}
	opts.Client = clientv3.NewCtxClient(t.Context())
	opts.Client.KV = kv
	l := newLog(t, opts)
	entries(t, l)
	kv.refusal = status.Error(codes.Unavailable, "no connection")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, []state.Entry{put("a", `1`)}); !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("the error is %v", err)
	}
	kv.refusal = nil
	if _, err := l.Append(t.Context(), []state.Entry{put("b", `1`)}); !errors.Is(err, state.ErrFenced) {
		t.Errorf("without a load: %v", err)
	}
	entries(t, l)
	if _, err := l.Append(t.Context(), []state.Entry{put("b", `1`)}); err != nil {
		t.Errorf("after a load: %v", err)
	}
}
