package dhcp

import (
	"errors"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/reconcile"
)

func TestStartsAreBounded(t *testing.T) {
	var b starts
	now := time.Unix(1000, 0)
	for i := range startBurst {
		if wait := b.wait(now, "a"); wait != 0 {
			t.Fatalf("start %d waits %s", i, wait)
		}
		b.begun(now)
		b.ended(now, "a", nil)
	}
	begun := 0
	for range 6000 { // ten minutes of a tenant who never rests
		now = now.Add(100 * time.Millisecond)
		if b.wait(now, "another each time") <= 0 {
			b.begun(now)
			begun++
		}
	}
	if begun != 300 {
		t.Errorf("%d starts in ten minutes, want one each %s", begun, startInterval)
	}
	now = now.Add(time.Hour)
	for range startBurst {
		if wait := b.wait(now, "a"); wait != 0 {
			t.Errorf("after a rest: it waits %s", wait)
		}
		b.begun(now)
	}
	if wait := b.wait(now, "a"); wait != startInterval {
		t.Errorf("after the burst it waits %s, want %s", wait, startInterval)
	}
}

func TestFailedStartsHaveALongerAndLongerPause(t *testing.T) {
	var b starts
	now := time.Unix(1000, 0)
	refused := errors.New("refused")
	var before time.Duration
	for range 20 {
		b.begun(now)
		b.ended(now, "bad", refused)
		wait := b.wait(now, "bad")
		if wait < before || wait > reconcile.LastPause {
			t.Fatalf("it waits %s after %s", wait, before)
		}
		if other := b.wait(now, "mended"); other > startInterval {
			t.Fatalf("another configuration waits %s", other)
		}
		before, now = wait, now.Add(wait)
	}
	if before != reconcile.LastPause {
		t.Errorf("the longest pause is %s", before)
	}
	b.begun(now)
	b.ended(now, "bad", nil)
	if wait := b.wait(now, "bad"); wait != 0 {
		t.Errorf("after a start that went well it waits %s", wait)
	}
}
