package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Pauses of the loop.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
	// resync is how often a part reconciles without a reason: what no event told of is found then.
	resync = 30 * time.Second
	// minPause is the shortest time between two passes, so that a device which comes and goes in a loop cannot keep the
	// agent busy: what happens meanwhile is one reason. A pass that took longer is followed by a pause of its own length, up
	// to maxPause: the first pass on a large host may take a minute, and nobody's change is to wait for another one.
	minPause, maxPause = 10 * time.Millisecond, 500 * time.Millisecond
)

// runner calls one part, and never twice at the same time.
type runner struct {
	agent *Agent
	index int
	part  Part
	woken chan struct{}
	last  atomic.Pointer[passResult]
}

// passResult is what the local socket shows of a part's last pass.
type passResult struct {
	at     time.Time
	took   time.Duration
	err    error
	failed int // documents in error
}

func newRunner(a *Agent, index int, part Part) *runner {
	return &runner{agent: a, index: index, part: part, woken: make(chan struct{}, 1)}
}

// wake asks for a pass. Several calls before the pass begins are one: the pass sees what is there when it begins.
func (r *runner) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// run is the loop: wait for a reason, reconcile, take breath; without a reason, pause longer after each failure.
func (r *runner) run(ctx context.Context) error {
	timer := time.NewTimer(resync)
	defer timer.Stop()
	retry := firstRetry
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.woken:
		case <-timer.C:
		}
		view, sequence := r.agent.current()
		if view == nil {
			continue // setView wakes us
		}
		start := time.Now()
		if r.pass(ctx, view, sequence) {
			retry = firstRetry
			timer.Reset(resync)
		} else {
			timer.Reset(retry)
			retry = min(2*retry, lastRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(breath(time.Since(start))):
		}
	}
}

// breath is the pause after a pass.
func breath(took time.Duration) time.Duration { return min(max(minPause, took), maxPause) }

// pass reconciles once and reports. It returns false if there is something to be tried again.
func (r *runner) pass(ctx context.Context, view *View, sequence int64) bool {
	start := time.Now()
	statuses, err := r.reconcile(ctx, view)
	if ctx.Err() != nil {
		return true // cut short by the end of the agent; that is no failure
	}
	result := &passResult{at: start, took: time.Since(start), err: err}
	for _, s := range statuses {
		if s.State == sb.ObjectStatus_STATE_ERROR {
			result.failed++
		}
	}
	ok := err == nil && result.failed == 0
	r.agent.metrics.Pass(r.part.Name(), result.took, !ok)
	r.logChange(r.last.Swap(result), result)
	if retry := (*Retry)(nil); errors.As(err, &retry) {
		err = nil // there is more to do, but the view is applied
	}
	r.agent.passed(r.index, view, sequence, statuses, err)
	return ok
}

// logChange logs an error when it begins, changes or ends, and not at every repetition.
func (r *runner) logChange(before, now *passResult) {
	text := func(p *passResult) string {
		if p == nil || p.err == nil {
			return ""
		}
		return p.err.Error()
	}
	switch {
	case text(now) == text(before):
	case now.err != nil:
		r.agent.log.Error("reconciling failed", "part", r.part.Name(), "error", now.err)
	default:
		r.agent.log.Info("reconciling works again", "part", r.part.Name())
	}
}

// reconcile calls the part. A panic in it becomes the error of this pass: the other parts, and the next pass, go on.
func (r *runner) reconcile(ctx context.Context, view *View) (statuses []Status, err error) {
	defer func() {
		if p := recover(); p != nil {
			statuses, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return r.part.Reconcile(ctx, view)
}

// watch lets the part announce what happens on the host, and starts it again when it fails.
func (r *runner) watch(ctx context.Context) error {
	retry := firstRetry
	for {
		start := time.Now()
		err := r.watchOnce(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		if time.Since(start) > lastRetry {
			retry = firstRetry
		}
		r.agent.log.Warn("watching the host failed", "part", r.part.Name(), "error", err, "retry_in", retry)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
		retry = min(2*retry, lastRetry)
		r.wake() // something may have happened meanwhile
	}
}

func (r *runner) watchOnce(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return r.part.Watch(ctx, r.wake)
}
