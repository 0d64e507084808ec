package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func TestCloseStopsTheNewestFirst(t *testing.T) {
	s := New(slog.Default())
	var order []string
	for _, name := range []string{"state", "southbound", "api"} {
		s.Push(name, func() { order = append(order, name) })
	}
	s.Close()
	if want := []string{"api", "southbound", "state"}; !slices.Equal(order, want) {
		t.Fatalf("stopped in order %v, want %v", order, want)
	}
}

func TestWaitReturnsTheErrorOfAPartThatFails(t *testing.T) {
	s := New(slog.Default())
	defer s.Close()
	s.Go("good", func(ctx context.Context) error { <-ctx.Done(); return nil })
	s.Go("bad", func(context.Context) error { return errors.New("no such device") })
	err := s.Wait(t.Context())
	if err == nil || !strings.Contains(err.Error(), "bad: no such device") {
		t.Fatalf("Wait returned %v", err)
	}
}

func TestAPartThatHangsDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(slog.New(slog.DiscardHandler))
		stopped, release := false, make(chan struct{})
		s.Push("first", func() { stopped = true })
		s.Push("hangs", func() { <-release })
		s.Close()
		if !stopped {
			t.Fatal("the part below the one that hangs was not stopped")
		}
		close(release)
	})
}
