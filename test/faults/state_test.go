// Package faults ends processes without warning and checks what they leave behind.
package faults

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/state/etcdlog"
)

const (
	roundsVariable = "NEUTRINO_KILL_ROUNDS" // how many rounds are run; 500 for a soak
	dirVariable    = "NEUTRINO_KILL_DIR"    // tells the child where the state is
	defaultRounds  = 20

	writers = 6
	window  = 10 // the objects of this many transactions of a writer are kept
)

// The writers of the child make transactions that belong together in every way that a torn commit could break:
// transaction n of writer w makes the objects w-n-0, w-n-1, … (how many depends on n), deletes all objects of its
// transaction n-window, and notes n in the object "last-w".

func objects(n int) int { return 1 + n%7 }

func objectID(writer, n, part int) string { return fmt.Sprintf("%d-%d-%d", writer, n, part) }

func lastID(writer int) string { return fmt.Sprint("last-", writer) }

// last is the newest transaction of a writer.
func last(r state.Reader, writer int) int {
	if n, ok := state.Networks.Get(r, lastID(writer)); ok {
		return n.MTU
	}
	return 0
}

func transaction(tx *state.Tx, writer, n int) {
	for part := range objects(n) {
		state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: objectID(writer, n, part), Name: "kept"}})
	}
	if old := n - window; old > 0 {
		for part := range objects(old) {
			state.Networks.Delete(tx, objectID(writer, old, part))
		}
	}
	state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: lastID(writer)}, MTU: n})
}

func openState(ctx context.Context, dir string) (s *state.Store, done func() error, err error) {
	quiet := slog.New(slog.DiscardHandler)
	e, err := etcdlog.StartEmbedded(ctx, etcdlog.EmbeddedOptions{Dir: dir, Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	l := etcdlog.New(e.LogOptions())
	s, err = state.Open(ctx, state.Options{Log: l, Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	return s, func() error {
		s.Close()
		l.Close()
		return e.Close()
	}, nil
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		fmt.Fprintln(os.Stderr, write(context.Background(), dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write is the child: it writes as fast as it can, tells on its standard output what was acknowledged, and never
// returns unless something is wrong.
func write(ctx context.Context, dir string) error {
	s, _, err := openState(ctx, dir)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range writers {
		go func() {
			for n := last(s.Read(), w) + 1; ; n++ {
				_, err := s.Update(ctx, func(tx *state.Tx) error { transaction(tx, w, n); return nil })
				if err == nil {
					_, err = fmt.Printf("%d %d\n", w, n)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// A process that writes is killed at a random moment, again and again: what it was told is durable is there afterwards,
// and no transaction is there in part.
func TestKilledWritersLoseNothingThatWasAcknowledged(t *testing.T) {
	rounds := defaultRounds
	if v := os.Getenv(roundsVariable); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil {
			t.Fatalf("%s: %v", roundsVariable, err)
		}
	}
	dir := filepath.Join(t.TempDir(), "etcd")
	acknowledged := make([]int, writers)
	total, unacknowledged := 0, 0
	for round := range rounds {
		before := append([]int(nil), acknowledged...)
		killedAfter := killRound(t, dir, acknowledged)
		made := check(t, dir, acknowledged)
		if t.Failed() {
			t.Fatalf("round %d, killed after %v", round, killedAfter)
		}
		for w := range writers {
			total += acknowledged[w] - before[w]
			unacknowledged += made[w] - acknowledged[w]
		}
		copy(acknowledged, made)
	}
	t.Logf("%d rounds, %d transactions acknowledged, %d more made but not acknowledged before the kill", rounds, total,
		unacknowledged)
	if total < 10*rounds {
		t.Errorf("%d transactions in %d rounds prove little", total, rounds)
	}
}

// killRound runs the child for a random time, kills it, and notes what it has acknowledged.
func killRound(t *testing.T, dir string, acknowledged []int) time.Duration {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), dirVariable+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	life := time.Duration(rand.Int64N(int64(1200 * time.Millisecond))) // some do not live to see the first commit
	killer := time.AfterFunc(life, func() { _ = child.Process.Kill() })
	defer killer.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var w, n int
		if _, err := fmt.Sscanf(lines.Text(), "%d %d", &w, &n); err != nil || w >= writers {
			t.Errorf("the child said %q", lines.Text())
			continue
		}
		if n != acknowledged[w]+1 {
			t.Errorf("writer %d went on with transaction %d after %d", w, n, acknowledged[w])
		}
		acknowledged[w] = n
	}
	// Wait's error tells how the child ended: it has to be our signal.
	if err := child.Wait(); err == nil || child.ProcessState.ExitCode() != -1 {
		t.Errorf("the child ended by itself: %v", err)
	}
	return life
}

// check opens the state and compares it with what was acknowledged. It returns the newest transaction of each writer.
func check(t *testing.T, dir string, acknowledged []int) (made []int) {
	t.Helper()
	s, done, err := openState(t.Context(), dir)
	if err != nil {
		t.Fatalf("opening the state that the killed process left: %v", err)
	}
	defer func() {
		if err := done(); err != nil {
			t.Errorf("closing the state: %v", err)
		}
	}()
	snap := s.Read()
	want := map[string]bool{}
	for w, told := range acknowledged {
		newest := last(snap, w)
		made = append(made, newest)
		if newest < told || newest > told+1 {
			t.Errorf("writer %d: transaction %d was acknowledged, the newest there is %d", w, told, newest)
		}
		if newest > 0 {
			want[lastID(w)] = true
		}
		for n := max(1, newest-window+1); n <= newest; n++ {
			for part := range objects(n) {
				want[objectID(w, n, part)] = true
			}
		}
	}
	for n := range state.Networks.All(snap) {
		if !want[n.ID] {
			t.Errorf("%s is there: a transaction was made, or undone, in part", n.ID)
		}
		delete(want, n.ID)
	}
	for id := range want {
		t.Errorf("%s is missing: a transaction was made in part", id)
	}
	return made
}
