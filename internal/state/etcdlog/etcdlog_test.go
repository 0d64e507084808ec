package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/state/etcdlog"
)

var quiet = slog.New(slog.DiscardHandler)

func startEtcd(t testing.TB, opts etcdlog.EmbeddedOptions) *etcdlog.Embedded {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	e, err := etcdlog.StartEmbedded(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func newLog(t testing.TB, opts etcdlog.Options) *etcdlog.Log {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	l := etcdlog.New(opts)
	t.Cleanup(l.Close)
	return l
}

func openStore(t testing.TB, log state.Log) *state.Store {
	t.Helper()
	s, err := state.Open(context.Background(), state.Options{Log: log, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// putNetwork puts a network with a name and returns its id.
func putNetwork(t testing.TB, s *state.Store, name string) string {
	t.Helper()
	var id string
	_, err := s.Update(context.Background(), func(tx *state.Tx) error {
		id = tx.NewID()
		state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: id, Name: name}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func entries(t testing.TB, l state.Log) (map[string]string, int64) {
	t.Helper()
	all := map[string]string{}
	rev, err := l.Load(context.Background(), func(e state.Entry) error {
		all[e.Kind+"/"+e.ID] = string(e.Value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, rev
}

func put(id, value string) state.Entry {
	return state.Entry{Kind: "network", ID: id, Value: []byte(value)}
}

func TestARestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: filepath.Join(dir, "etcd")})
	l := newLog(t, e.LogOptions())
	s := openStore(t, l)
	var ids []string
	for i := range 20 {
		ids = append(ids, putNetwork(t, s, fmt.Sprint("net", i)))
	}
	if _, err := s.Update(context.Background(), func(tx *state.Tx) error {
		state.Networks.Delete(tx, ids[0])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	revision, history := s.Read().Revision, l.History()
	s.Close()
	l.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = startEtcd(t, etcdlog.EmbeddedOptions{Dir: filepath.Join(dir, "etcd")})
	l = newLog(t, e.LogOptions())
	s = openStore(t, l)
	if got := s.Read().Revision; got != revision {
		t.Errorf("revision %d after the restart, %d before", got, revision)
	}
	if l.History() == "" || l.History() != history {
		t.Errorf("history %q after the restart, %q before", l.History(), history)
	}
	if n := state.Networks.Len(s.Read()); n != 19 {
		t.Errorf("%d networks after the restart, 19 before", n)
	}
	if n, ok := state.Networks.Get(s.Read(), ids[7]); !ok || n.Name != "net7" {
		t.Errorf("network %s is %+v after the restart", ids[7], n)
	}
	putNetwork(t, s, "one more")
}

func TestLoadReadsManyPages(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	l := newLog(t, e.LogOptions())
	entries(t, l)
	want := map[string]string{}
	var last int64
	for range 3 {
		var batch []state.Entry
		for range 4000 {
			id := fmt.Sprintf("%06d", len(want))
			batch = append(batch, put(id, `{"n":`+id+`}`))
			want["network/"+id] = `{"n":` + id + `}`
		}
		var err error
		if last, err = l.Append(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
	}
	got, revision := entries(t, l)
	if !maps.Equal(got, want) {
		t.Errorf("loaded %d entries that differ from the %d written", len(got), len(want))
	}
	if revision != last {
		t.Errorf("loaded revision %d, the last commit was %d", revision, last)
	}
}

func TestTheDataDirectoryIsPrivateAndUsedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	startEtcd(t, etcdlog.EmbeddedOptions{Dir: dir})
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the data directory has the mode %v (%v)", fi.Mode(), err)
	}
	_, err := etcdlog.StartEmbedded(context.Background(), etcdlog.EmbeddedOptions{Dir: dir, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("a second etcd in the directory: %v", err)
	}
}

func TestEtcdctlSeesTheObjectsThroughTheSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "etcd") // short: the path of a socket has 107 characters at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: dir, ClientSocket: true})
	id := putNetwork(t, openStore(t, newLog(t, e.LogOptions())), "blue")
	c := dial(t, "unix://"+filepath.Join(dir, "client.sock"))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := c.Get(ctx, "/neutrino/network/"+id)
	if err != nil || len(resp.Kvs) != 1 || !strings.Contains(string(resp.Kvs[0].Value), `"blue"`) {
		t.Errorf("through the socket: %v, %v", resp, err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "client.sock")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket has the mode %v (%v)", fi.Mode(), err)
	}
}

func dial(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	config := clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second}
	etcdlog.ConfigureClient(&config)
	c, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAnotherWriterFences(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	ctx := context.Background()
	mine, other := newLog(t, e.LogOptions()), newLog(t, e.LogOptions())
	entries(t, mine)
	entries(t, other)
	if _, err := other.Append(ctx, []state.Entry{put("a", `1`)}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it stays fenced until it has loaded
		if _, err := mine.Append(ctx, []state.Entry{put("b", `2`)}); !errors.Is(err, state.ErrFenced) {
			t.Fatalf("after another commit: %v", err)
		}
	}
	if got, _ := entries(t, mine); !maps.Equal(got, map[string]string{"network/a": "1"}) {
		t.Errorf("the store has %v", got)
	}
	if _, err := mine.Append(ctx, []state.Entry{put("b", `2`)}); err != nil {
		t.Errorf("after loading: %v", err)
	}
}

func TestTwoStoresShareOneEtcd(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	stores := []*state.Store{openStore(t, newLog(t, e.LogOptions())), openStore(t, newLog(t, e.LogOptions()))}
	var wg sync.WaitGroup
	const each = 20
	for i, s := range stores {
		wg.Go(func() {
			for n := range each {
				// Five fences in a row are an error: a caller that is told so may try again.
				for {
					_, err := s.Update(context.Background(), func(tx *state.Tx) error {
						state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: fmt.Sprintf("%d-%d", i, n)}})
						return nil
					})
					if err == nil {
						break
					}
					if !errors.Is(err, state.ErrFenced) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if got, _ := entries(t, newLog(t, e.LogOptions())); len(got) != 2*each {
		t.Errorf("%d networks, want %d", len(got), 2*each)
	}
}

func TestNothingRunsAfterClose(t *testing.T) {
	ignored := goleak.IgnoreCurrent()
	dir := t.TempDir()
	e, err := etcdlog.StartEmbedded(context.Background(), etcdlog.EmbeddedOptions{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	l := etcdlog.New(e.LogOptions())
	entries(t, l)
	l.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, ignored)
}

func BenchmarkStartEmpty(b *testing.B) {
	for b.Loop() {
		e := startEtcd(b, etcdlog.EmbeddedOptions{Dir: b.TempDir()})
		b.StopTimer()
		e.Close()
		b.StartTimer()
	}
}
