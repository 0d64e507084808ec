// Package scheduler sees to it that networks and routers are served: it follows the state and calls the rules
// (service/dhcp, service/l3) for everything that a change may concern.
//
// The loop is here; what it works on is a Work: networks.go and routers.go. It is level-triggered: at its start, and every
// few minutes, it looks at all subjects; a commit only tells it where to look at once. What could not be done for a
// reason that passes by itself, as there is no host, is tried again all the time.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/neutrino-net/neutrino/internal/state"
)

// Work is what a scheduler sees to. Its methods are called by one goroutine.
type Work interface {
	// Subject says in the words of logs what the ids are of: "network".
	Subject() string
	// All makes every subject due.
	All(r state.Reader, book *Book)
	// Follow makes the subjects due that a change may concern; r is the state after it.
	Follow(c state.Change, r state.Reader, book *Book)
	// Tick makes due what has to be looked at again although no commit said so. It is called every Retry.
	Tick(r state.Reader, book *Book)
	// Ensure looks after some subjects and returns what could not be done for each; the rest is done. It may be called
	// again for a transaction that is dropped.
	Ensure(tx *state.Tx, ids []string) map[string]error
	// Waits says whether the problem passes by itself: the subject then waits, and DueAgain makes it due.
	Waits(problem error) bool
}

// Options configure a Scheduler.
type Options struct {
	Store  *state.Store // required
	Work   Work         // required
	Logger *slog.Logger // default: slog.Default()
	// Resync is how often all subjects are looked at; default 5 minutes.
	Resync time.Duration
	// Retry is how often it is tried again to do what could not be done; default 500 ms.
	Retry time.Duration
}

// perUpdate is how many subjects are looked after in one transaction, so that none holds up the API for long.
const perUpdate = 200

// Scheduler is the loop. It is used once.
type Scheduler struct {
	opts Options
	book Book
	// failing says that the last transaction failed.
	failing bool
}

// Book is what a scheduler has to look at, and what it knows of the problems.
type Book struct {
	due, waiting map[string]bool
	// said has what was logged last of a subject, so that a lasting problem is logged once.
	said     map[string]string
	revision int64
}

// Revision is that of the newest acknowledged state that the Work has been shown.
func (b *Book) Revision() int64 { return b.revision }

// Due makes a subject one to look at.
func (b *Book) Due(id string) { b.due[id] = true }

// DueAgain makes those due that wait.
func (b *Book) DueAgain() { maps.Copy(b.due, b.waiting) }

// Waiting says whether any subject waits.
func (b *Book) Waiting() bool { return len(b.waiting) > 0 }

// Troubled says whether the subject had a problem when it was last looked at.
func (b *Book) Troubled(id string) bool { return b.said[id] != "" }

// Forget drops what is known of the problems of a subject that is gone.
func (b *Book) Forget(id string) {
	delete(b.waiting, id)
	delete(b.said, id)
}

// New returns a scheduler. Run starts it.
func New(opts Options) *Scheduler {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Resync == 0 {
		opts.Resync = 5 * time.Minute
	}
	if opts.Retry == 0 {
		opts.Retry = 500 * time.Millisecond
	}
	return &Scheduler{opts: opts, book: Book{due: map[string]bool{}, waiting: map[string]bool{}, said: map[string]string{}}}
}

// Run follows the state until ctx ends, and returns its error.
func (s *Scheduler) Run(ctx context.Context) error {
	snap, cursor := s.opts.Store.Feed()
	s.show(snap)
	s.opts.Work.All(snap, &s.book)
	resync := time.NewTicker(s.opts.Resync)
	defer resync.Stop()
	retry := time.NewTicker(s.opts.Retry)
	defer retry.Stop()
	for {
		s.work(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-cursor.Ready():
		case <-resync.C:
			s.opts.Work.All(s.show(s.opts.Store.Read()), &s.book)
		case <-retry.C:
			s.opts.Work.Tick(s.show(s.opts.Store.Read()), &s.book)
		}
		if err := s.catchUp(ctx, cursor); err != nil {
			return err
		}
	}
}

// show enters the revision of the state that the Work is about to be shown.
func (s *Scheduler) show(r *state.Snapshot) *state.Snapshot {
	s.book.revision = max(s.book.revision, r.Revision)
	return r
}

// catchUp follows the commits that are there, so that one look covers all of them.
func (s *Scheduler) catchUp(ctx context.Context, cursor *state.Cursor) error {
	for {
		select {
		case <-cursor.Ready():
			commit, err := cursor.Next(ctx)
			if err != nil {
				return err
			}
			s.show(commit.Snapshot)
			for _, c := range commit.Changes {
				s.opts.Work.Follow(c, commit.Snapshot, &s.book)
			}
		default:
			return nil
		}
	}
}

// each calls f with the object before and after the change, as far as it was and is there.
func each[T any](c state.Change, f func(*T)) {
	for _, o := range []any{c.Old, c.New} {
		if o, ok := o.(*T); ok {
			f(o)
		}
	}
}

// work looks after the subjects that are due. Those of a transaction that failed stay due, until the next commit or the
// next tick; a transaction of several that failed by itself is done one by one, so that one subject holds up no other.
func (s *Scheduler) work(ctx context.Context) {
	ids := slices.Sorted(maps.Keys(s.book.due))
	for some := range slices.Chunk(ids, perUpdate) {
		err := s.ensure(ctx, some)
		if err != nil && !errors.Is(err, state.ErrUnavailable) && len(some) > 1 {
			err = nil
			for _, id := range some {
				err = errors.Join(err, s.ensure(ctx, []string{id}))
			}
		}
		if ctx.Err() != nil {
			return
		}
		s.complain(err)
		if errors.Is(err, state.ErrUnavailable) {
			return
		}
	}
}

// ensure looks after some subjects in one transaction.
func (s *Scheduler) ensure(ctx context.Context, ids []string) error {
	var problems map[string]error
	_, err := s.opts.Store.Update(ctx, func(tx *state.Tx) error {
		problems = s.opts.Work.Ensure(tx, ids) // the function may run again
		return nil
	})
	if err != nil {
		return fmt.Errorf("scheduling %d %ss: %w", len(ids), s.opts.Work.Subject(), err)
	}
	for _, id := range ids {
		s.note(id, problems[id])
	}
	return nil
}

// complain logs a failure when it begins.
func (s *Scheduler) complain(err error) {
	if err != nil && !s.failing {
		s.opts.Logger.Warn("the scheduler could not do its work and tries again", "error", err)
	}
	s.failing = err != nil
}

// note remembers and logs the outcome for a subject.
func (s *Scheduler) note(id string, problem error) {
	delete(s.book.due, id)
	if problem == nil {
		s.book.Forget(id)
		return
	}
	if s.opts.Work.Waits(problem) {
		s.book.waiting[id] = true
	} else {
		delete(s.book.waiting, id)
	}
	if text := problem.Error(); s.book.said[id] != text {
		s.book.said[id] = text
		s.opts.Logger.Warn("not served as it should be", s.opts.Work.Subject(), id, "error", text)
	}
}
