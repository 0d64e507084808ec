package tour

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestScreenColoursOnlyWhenAllowed(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		s := newScreen(&out, colour)
		s.introduce("/clouds.yaml")
		s.begin(1, "hosts", "why")
		s.typed("neutrino lab status")
		s.result("one\ntwo")
		s.end(3 * time.Millisecond)
		s.fail([]paragraph{{"expected", "an answer"}, {"seen", "silence\nfor long"}}, time.Second)
		s.summary([]stepTime{{"hosts", time.Second}}, nil)
		if got := strings.Contains(out.String(), "\x1b["); got != colour {
			t.Errorf("colour %v, escape sequences %v", colour, got)
		}
		for _, want := range []string{"$ neutrino lab status", "     one\n     two\n", "3 ms", "FAILED", "silence\n", "total"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in:\n%s", want, out.String())
			}
		}
	}
}

func TestShortTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		123 * time.Microsecond:  "0.12 ms",
		17 * time.Millisecond:   "17 ms",
		1234 * time.Millisecond: "1.23 s",
	} {
		if got := short(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestEventuallyStopsAtTheFactAndOnInterruption(t *testing.T) {
	calls := 0
	err := eventually(t.Context(), "", "three calls", func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%d calls, error %v", calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = eventually(ctx, "", "nothing", func(context.Context) error { return errors.New("never") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("an interruption is reported as %v", err)
	}
}
