package dhcp

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// jobPatience is how long a pass waits for the work on one server. A dnsmasq that hangs must not hold up the servers of the
// other networks: the work on it goes on beside the passes.
const jobPatience = time.Second

// atOnce bounds the servers that are worked on at the same time, without those of which patience has run out; each may be
// starting a process.
const atOnce = 4

// job is the work on one server, by a goroutine of its own.
type job struct {
	// settled is closed when the job is done, or when patience has run out.
	settled chan struct{}
	// done is closed when the job is done; from then on the server belongs to Reconcile again.
	done chan struct{}
	late bool // done only after patience had run out; to be read after done
}

// busy says whether the job is under way; a server that was never worked on has none (nil).
func (j *job) busy() bool {
	if j == nil {
		return false
	}
	select {
	case <-j.done:
		return false
	default:
		return true
	}
}

// launch begins a job. If nobody waits for its end, or not that long, it asks for a pass then.
func (p *Part) launch(awaited bool, work func(ctx context.Context)) *job {
	j := &job{settled: make(chan struct{}), done: make(chan struct{})}
	p.jobs.Go(func() {
		select {
		case p.slots <- struct{}{}:
		case <-p.ctx.Done():
			close(j.done)
			close(j.settled)
			return
		}
		settle := func() {
			<-p.slots
			close(j.settled)
		}
		timer := time.AfterFunc(jobPatience, settle)
		work(p.ctx)
		j.late = !timer.Stop()
		late := j.late
		close(j.done) // first: whoever waited until it is settled looks whether it is done
		if !late {
			settle()
		}
		if late || !awaited {
			p.announce()
		}
	})
	return j
}

// guarded runs a job's work; a panic in it becomes an error of that server.
func guarded(work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return work()
}

// announce asks for a pass.
func (p *Part) announce() {
	p.mu.Lock()
	changed := p.changed
	p.mu.Unlock()
	if changed != nil {
		changed()
	}
}
