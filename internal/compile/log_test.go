package compile_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/neutrino-net/neutrino/internal/state"
)

// memoryLog is a state.Log that keeps nothing: a store in memory.
type memoryLog struct{ revision int64 }

func (l *memoryLog) Load(context.Context, func(state.Entry) error) (int64, error) {
	return l.revision, nil
}

func (l *memoryLog) Append(context.Context, []state.Entry) (int64, error) {
	l.revision++
	return l.revision, nil
}

// failer is what *testing.T, *testing.B and *rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func openStore(t failer) *state.Store {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	store, err := state.Open(context.Background(), state.Options{Log: &memoryLog{}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// newStore is openStore that closes with the test.
func newStore(t testing.TB) *state.Store {
	store := openStore(t)
	t.Cleanup(store.Close)
	return store
}

// update changes the store and returns the commit; nil if nothing was changed.
func update(t failer, store *state.Store, fn func(*state.Tx)) *state.Commit {
	t.Helper()
	_, cursor := store.Feed()
	if _, err := store.Update(context.Background(), func(tx *state.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-cursor.Ready():
	default:
		return nil
	}
	commit, err := cursor.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return commit
}
