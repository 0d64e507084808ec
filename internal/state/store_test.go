package state_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctx   = context.Background()
	quiet = slog.New(slog.DiscardHandler)
)

func open(t testing.TB, log state.Log) *state.Store {
	t.Helper()
	s, err := state.Open(ctx, state.Options{Log: log, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func update(t testing.TB, s *state.Store, fn func(tx *state.Tx) error) int64 {
	t.Helper()
	rev, err := s.Update(ctx, fn)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func network(id, name string) *model.Network {
	return &model.Network{Meta: model.Meta{ID: id, Name: name, ProjectID: "p"}}
}

func names(r state.Reader) (all []string) {
	for n := range state.Networks.All(r) {
		all = append(all, n.ID+"="+n.Name)
	}
	return all
}

// eventually polls until ok says true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, what, ok)
}

func TestATransactionSeesItsOwnChanges(t *testing.T) {
	s := open(t, newMemory().log())
	update(t, s, func(tx *state.Tx) error {
		state.Networks.Put(tx, network("a", "red"))
		state.Networks.Put(tx, network("b", "red"))
		if n := state.NetworksByName.Count(tx, "red"); n != 2 {
			t.Errorf("%d networks named red, want 2", n)
		}
		// An iteration goes on over what was there when it began.
		for n := range state.NetworksByName.List(tx, "red") {
			c := n.Clone()
			c.Name = "blue"
			state.Networks.Put(tx, c)
		}
		state.Networks.Delete(tx, "b")
		if state.NetworksByName.Has(tx, "red") || state.NetworksByName.Count(tx, "blue") != 1 {
			t.Errorf("after renaming and deleting: %v", names(tx))
		}
		if state.Networks.Len(s.Read()) != 0 {
			t.Error("a reader sees the changes before they are committed")
		}
		return nil
	})
	if got := names(s.Read()); !slices.Equal(got, []string{"a=blue"}) {
		t.Errorf("committed: %v", got)
	}
}

func TestAFunctionThatFailsLeavesNothing(t *testing.T) {
	refusal := errors.New("no")
	for name, fail := range map[string]func(){
		"error": func() {},
		"panic": func() { panic("unforeseen") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			s := open(t, m.log())
			update(t, s, func(tx *state.Tx) error { state.Networks.Put(tx, network("a", "red")); return nil })
			_, err := s.Update(ctx, func(tx *state.Tx) error {
				state.Networks.Put(tx, network("a", "blue"))
				state.Networks.Put(tx, network("b", "green"))
				fail()
				return refusal
			})
			var p *state.PanicError
			if name == "error" && !errors.Is(err, refusal) || name == "panic" && !errors.As(err, &p) {
				t.Errorf("the error is %v", err)
			}
			if p != nil && (strings.Contains(err.Error(), "goroutine") || len(p.Stack) == 0) {
				t.Errorf("the stack belongs beside the message: %v", err)
			}
			update(t, s, func(tx *state.Tx) error { state.Networks.Put(tx, network("c", "red")); return nil })
			want := []string{"a=red", "c=red"}
			if got := names(s.Read()); !slices.Equal(got, want) {
				t.Errorf("in memory: %v, want %v", got, want)
			}
			if got := m.ids("network"); !slices.Equal(got, []string{"a", "c"}) {
				t.Errorf("durable: %v", got)
			}
			if got := state.NetworksByName.Count(s.Read(), "red"); got != 2 {
				t.Errorf("%d networks named red, want 2", got)
			}
		})
	}
}

func TestPutSetsRevisionAndTimes(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	s, err := state.Open(ctx, state.Options{Log: newMemory().log(), Logger: quiet, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	update(t, s, func(tx *state.Tx) error { state.Networks.Put(tx, network("a", "1")); return nil })
	created := now.Truncate(time.Second)
	now = now.Add(time.Hour)
	update(t, s, func(tx *state.Tx) error {
		state.Networks.Put(tx, network("a", "2"))
		state.Networks.Put(tx, network("a", "3")) // one transaction, one revision
		return nil
	})
	n, _ := state.Networks.Get(s.Read(), "a")
	if n.RevisionNumber != 2 || !n.CreatedAt.Equal(created) || !n.UpdatedAt.Equal(now.Truncate(time.Second)) {
		t.Errorf("revision %d, created %v, updated %v", n.RevisionNumber, n.CreatedAt, n.UpdatedAt)
	}
}

func TestThoseThatWaitAreCommittedTogether(t *testing.T) {
	m := newMemory()
	log := m.log()
	release, waiting := make(chan struct{}), make(chan struct{}, 1)
	log.before = func([]state.Entry) error {
		select {
		case waiting <- struct{}{}:
			<-release
		default:
		}
		return nil
	}
	s := open(t, log)
	const callers = 50
	refusal := errors.New("no")
	var wg sync.WaitGroup
	run := func(i int) {
		wg.Go(func() {
			_, err := s.Update(ctx, func(tx *state.Tx) error {
				// Every function sees what those before it have left.
				n := network("counter", "")
				if old, ok := state.Networks.Get(tx, "counter"); ok {
					n.MTU = old.MTU
				}
				n.MTU++
				state.Networks.Put(tx, n)
				if i%10 == 9 {
					return refusal
				}
				return nil
			})
			if want := i%10 == 9; errors.Is(err, refusal) != want || err != nil && !want {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	run(0)
	<-waiting // the first commit is under way: the others gather behind it
	for i := 1; i < callers; i++ {
		run(i)
	}
	eventually(t, "all wait", func() bool { return s.Waiting() == callers-1 })
	close(release)
	wg.Wait()
	n, _ := state.Networks.Get(s.Read(), "counter")
	if want := callers - callers/10; n.MTU != want || int(n.RevisionNumber) != want {
		t.Errorf("counted %d (revision number %d), want %d", n.MTU, n.RevisionNumber, want)
	}
	if m.batches != 2 {
		t.Errorf("%d callers took %d commits, want 2: the first, and all that waited for it", callers, m.batches)
	}
}

func TestARefusedCommitLeavesNothingAndTheNextWorks(t *testing.T) {
	log := newMemory().log()
	var refusal error
	log.before = func([]state.Entry) error { return refusal }
	s := open(t, log)
	update(t, s, func(tx *state.Tx) error { state.Networks.Put(tx, network("a", "red")); return nil })
	refusal = errors.New("the disk is full")
	for range 3 { // the same base several times
		_, err := s.Update(ctx, func(tx *state.Tx) error { state.Networks.Put(tx, network("b", "red")); return nil })
		if !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, refusal) {
			t.Fatalf("the error is %v", err)
		}
		if s.Err() == nil {
			t.Error("Err does not say so")
		}
		if got := names(s.Read()); !slices.Equal(got, []string{"a=red"}) {
			t.Errorf("readers see %v", got)
		}
	}
}

func TestErrEndsByItselfWhenTheLogRecovers(t *testing.T) {
	log := newMemory().log()
	var mu sync.Mutex
	refusal := errors.New("the disk is full")
	log.before = func([]state.Entry) error {
		mu.Lock()
		defer mu.Unlock()
		return refusal
	}
	s := open(t, log)
	_, err := s.Update(ctx, func(tx *state.Tx) error { state.Networks.Put(tx, network("a", "")); return nil })
	if err == nil {
		t.Fatal("the update was acknowledged")
	}
	mu.Lock()
	refusal = nil
	mu.Unlock()
	eventually(t, "Err is nil", func() bool { return s.Err() == nil })
}

func TestUpdateEndsWithItsContext(t *testing.T) {
	log := newMemory().log()
	release, waiting := make(chan struct{}), make(chan struct{}, 10)
	log.before = func([]state.Entry) error { waiting <- struct{}{}; <-release; return nil }
	s := open(t, log)
	short, cancel := context.WithCancel(ctx)
	result := make(chan error, 2)
	write := func(ctx context.Context, id string) {
		_, err := s.Update(ctx, func(tx *state.Tx) error { state.Networks.Put(tx, network(id, "")); return nil })
		result <- err
	}
	go write(short, "under way")
	<-waiting
	go write(short, "behind it")
	cancel()
	for range 2 {
		if err := <-result; !errors.Is(err, state.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	}
	close(release)
	// What was under way is committed all the same; what waited behind it is not begun.
	eventually(t, "the commit under way is visible", func() bool { return state.Networks.Len(s.Read()) > 0 })
	update(t, s, func(tx *state.Tx) error { state.Networks.Put(tx, network("later", "")); return nil })
	if _, ok := state.Networks.Get(s.Read(), "behind it"); ok {
		t.Error("a function ran although its caller had gone")
	}
}

func TestCloseEndsUpdatesThatWait(t *testing.T) {
	log := newMemory().log()
	s, err := state.Open(ctx, state.Options{Log: log, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = s.Update(ctx, func(tx *state.Tx) error { state.Networks.Put(tx, network("a", "")); return nil })
	if !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAForeignCommitIsLoadedBeforeTheFunctionRunsAgain(t *testing.T) {
	m := newMemory()
	mine, other := open(t, m.log()), open(t, m.log())
	snap, cursor := mine.Feed()
	update(t, mine, func(tx *state.Tx) error { state.Networks.Put(tx, network("a", "red")); return nil })
	// A write notices the fence, loads, and runs again on the newest state.
	update(t, other, func(tx *state.Tx) error {
		name := "first"
		if old, ok := state.Networks.Get(tx, "a"); ok {
			name = old.Name + "der"
		}
		state.Networks.Put(tx, network("b", name))
		return nil
	})
	if got := names(other.Read()); !slices.Equal(got, []string{"a=red", "b=redder"}) {
		t.Errorf("the other server has %v", got)
	}
	update(t, mine, func(tx *state.Tx) error { state.Networks.Put(tx, network("c", "")); return nil })
	follow(t, snap, cursor, mine.Read().Revision)
}

func TestATransactionThatIsTooLargeIsRefusedAlone(t *testing.T) {
	tests := map[string]func(tx *state.Tx){
		"objects": func(tx *state.Tx) {
			for i := range state.MaxBatchEntries + 1 {
				state.Networks.Put(tx, network(fmt.Sprint(i), ""))
			}
		},
		"bytes": func(tx *state.Tx) {
			for i := range 8 {
				state.Networks.Put(tx, network(fmt.Sprint(i), strings.Repeat("x", 1<<20)))
			}
		},
	}
	for name, fill := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, newMemory().log())
			if _, err := s.Update(ctx, func(tx *state.Tx) error { fill(tx); return nil }); !errors.Is(err, state.ErrTooLarge) {
				t.Errorf("the error is %v", err)
			}
			update(t, s, func(tx *state.Tx) error { state.Networks.Put(tx, network("small", "")); return nil })
			if n := state.Networks.Len(s.Read()); n != 1 {
				t.Errorf("%d networks, want 1", n)
			}
		})
	}
}

func TestTransactionsThatDoNotFitOneCommitGetSeveral(t *testing.T) {
	m := newMemory()
	log := m.log()
	release, waiting := make(chan struct{}), make(chan struct{}, 1)
	log.before = func(batch []state.Entry) error {
		size := 0
		for _, e := range batch {
			size += len(e.Value)
		}
		if len(batch) > state.MaxBatchEntries || size > state.MaxBatchBytes {
			t.Errorf("a batch of %d entries and %d bytes", len(batch), size)
		}
		select {
		case waiting <- struct{}{}:
			<-release
		default:
		}
		return nil
	}
	s := open(t, log)
	var wg sync.WaitGroup
	write := func(i int) {
		wg.Go(func() {
			update(t, s, func(tx *state.Tx) error {
				for j := range 1500 {
					state.Networks.Put(tx, network(fmt.Sprintf("%d/%d", i, j), strings.Repeat("x", 2000)))
				}
				return nil
			})
		})
	}
	write(0)
	<-waiting
	for i := 1; i < 6; i++ {
		write(i)
	}
	eventually(t, "all wait", func() bool { return s.Waiting() == 5 })
	close(release)
	wg.Wait()
	if n := len(m.ids("network")); n != 6*1500 || state.Networks.Len(s.Read()) != n {
		t.Errorf("%d networks are durable, %d in memory, want %d", n, state.Networks.Len(s.Read()), 6*1500)
	}
}

func TestAnIndexKeepsKeysWithZeroBytesApart(t *testing.T) {
	s := open(t, newMemory().log())
	all := []string{"", "a", "a\x00", "a\x00b", "a\x01", "a\x01\x01", "a\x01\x02b", "b"}
	update(t, s, func(tx *state.Tx) error {
		for i, name := range all {
			state.Networks.Put(tx, network(fmt.Sprint(i), name))
		}
		return nil
	})
	for i, name := range all {
		var got []string
		for n := range state.NetworksByName.List(s.Read(), name) {
			got = append(got, n.ID)
		}
		if !slices.Equal(got, []string{fmt.Sprint(i)}) {
			t.Errorf("networks named %q: %v, want %d", name, got, i)
		}
	}
	var order []string
	for key := range state.NetworksByName.From(s.Read(), "a\x00") {
		order = append(order, key)
	}
	if !slices.Equal(order, all[2:]) {
		t.Errorf("from a\\x00: %q, want %q", order, all[2:])
	}
}

func TestAStateOfUnknownKindsIsRefused(t *testing.T) {
	m := newMemory()
	m.objects[[2]string{"wormhole", "1"}] = "{}"
	_, err := state.Open(ctx, state.Options{Log: m.log(), Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), `"wormhole"`) {
		t.Errorf("the error is %v", err)
	}
}
