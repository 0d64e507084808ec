// Package state is the memory of the control plane: tables of immutable objects with indexes, in immutable snapshots,
// made durable in etcd before anyone sees them.
//
// Reading: Store.Read returns the newest acknowledged Snapshot; tables and indexes (tables.go) are read from it.
// Writing: Store.Update runs a function on a transaction. One goroutine, the writer, runs the waiting functions one
// after the other, each on the state that its predecessors left, commits all of them as one batch to the Log, and only
// then publishes the new snapshot and answers the callers. So the API is strictly serialisable, a function that fails
// leaves nothing, and nothing is acknowledged before it is durable.
// Following: Store.Feed gives a cursor over the commits, in order, each with its changes (old and new object).
//
// The tables are persistent radix trees (statedb's part package), not statedb itself: a snapshot is then a slice of
// roots, a transaction that failed is simply dropped, and readers hold the state that etcd has acknowledged while the
// writer already works on its successor.
package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Entry is one object in a batch. A nil Value deletes it.
type Entry struct {
	Kind  string
	ID    string
	Value []byte
}

// Log is the durable side: package etcdlog.
type Log interface {
	// Load reads the whole state, in any order, and returns the revision it is of.
	Load(ctx context.Context, each func(Entry) error) (revision int64, err error)
	// Append commits the batch as one transaction on top of the head that Load or Append saw last, and returns its
	// revision when it is durable. It does not return before it knows whether the batch was committed, unless ctx
	// ends or the log is lost for good. ErrFenced: nothing of the batch is there, the state must be loaded anew.
	// ErrUnavailable: the outcome is not known, and every further Append fails with ErrFenced until the state has been
	// loaded anew. Any other error: nothing of the batch is there and never will be.
	// An empty batch only moves the head: it finds out whether the log can be written.
	Append(ctx context.Context, batch []Entry) (revision int64, err error)
}

var (
	// ErrFenced says that another writer has moved the head.
	ErrFenced = errors.New("another server has written")
	// ErrUnavailable says that the state cannot be written now: no quorum, a full disk, a server that is stopping.
	ErrUnavailable = errors.New("the state cannot be written now")
	// ErrTooLarge says that a single transaction is larger than a commit may be.
	ErrTooLarge = errors.New("the request changes more than fits one commit")
)

// The bounds of a commit. The log has to accept a transaction of this size.
const (
	MaxBatchEntries = 4096
	MaxBatchBytes   = 6 << 20
	maxTxEntries    = 4000
)

// Change is what a commit did to one object. Old is nil for a new object, New for a deleted one; both point to the
// struct of the kind (for instance *model.Port).
type Change struct {
	Kind     string
	ID       string
	Old, New any
}

// Commit is one step of the state.
type Commit struct {
	// Snapshot is the state after the commit, Before the one it came from.
	Before, Snapshot *Snapshot
	// Changes leads from Before to Snapshot, in order. An object that several transactions of the commit have changed
	// is in it several times, each time with what the transaction before had left as Old. It may be empty.
	Changes []Change
}

// Options configure a Store.
type Options struct {
	Log    Log              // required
	Logger *slog.Logger     // default: slog.Default()
	Now    func() time.Time // default: time.Now; for tests
	// Derive, if set, is called at the end of every transaction that has changed something, and may change more in it:
	// what follows from the changes is then durable exactly if they are. An error fails the transaction. The writer
	// calls it, one call at a time.
	Derive func(tx *Tx, changes []Change) error
	// Observe is told of every commit: how many functions it held, how long running them and appending took.
	Observe func(functions int, ran, appended time.Duration)
}

// Store is the state. Open makes one.
type Store struct {
	opts     Options
	current  atomic.Pointer[Snapshot]
	requests chan *request

	stop context.CancelFunc
	done chan struct{}
	ctx  context.Context

	mu      sync.Mutex
	tail    *feedNode // where the next commit will be put; current changes together with it
	problem error     // why writes fail at present; nil when they work
	appends int       // how many appends have ended
}

// patience is how long an Update waits for its outcome at most.
const patience = 30 * time.Second

// stallAfter is how long a commit may take until Err says that the state cannot be written; probeEvery is how often the
// writer then looks whether it can be written again, when nobody asks for a write.
const (
	stallAfter = 3 * time.Second
	probeEvery = time.Second
)

type request struct {
	ctx  context.Context
	fn   func(*Tx) error
	err  error
	rev  int64
	done chan struct{}
}

// Open loads the state from the log and starts the writer. Close ends it.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{opts: opts, requests: make(chan *request, 1024), done: make(chan struct{})}
	snap, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	s.current.Store(snap)
	s.tail = &feedNode{ready: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	go s.write()
	return s, nil
}

// Close stops the writer. Updates that wait fail with ErrUnavailable.
func (s *Store) Close() {
	s.stop()
	<-s.done
}

// Read returns the newest acknowledged snapshot: it has every write acknowledged before the call.
func (s *Store) Read() *Snapshot { return s.current.Load() }

// Waiting is how many updates wait for the writer; for metrics.
func (s *Store) Waiting() int { return len(s.requests) }

// Err says why writes fail at present, or nil.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

func (s *Store) setProblem(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setProblemLocked(err)
}

func (s *Store) setProblemLocked(err error) {
	if err != nil && s.ctx.Err() != nil {
		return // the store is being closed: that writes fail is no news
	}
	if (err == nil) != (s.problem == nil) {
		if err != nil {
			s.opts.Logger.Error("the state cannot be written", "error", err)
		} else {
			s.opts.Logger.Info("the state can be written again")
		}
	}
	s.problem = err
}

// Update runs fn on a transaction and commits what it changed. An error of fn is returned as it is and nothing is
// changed; otherwise Update returns when the changes are durable and visible to Read, with their revision. fn may run
// more than once (when another server has written meanwhile) and must not wait for anything.
// When ctx ends before the outcome is known, the error wraps ErrUnavailable: the changes may still be made.
// A panic of fn becomes a *PanicError.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) (revision int64, err error) {
	if problem := s.Err(); problem != nil && s.Waiting() > 0 {
		// Somebody waits already for the state to come back; more of them would only pile up.
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, problem)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := &request{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case <-s.ctx.Done():
		return 0, fmt.Errorf("%w: the server is stopping", ErrUnavailable)
	}
	select {
	case <-r.done:
		return r.rev, r.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: the outcome is not known yet: %w", ErrUnavailable, ctx.Err())
	case <-s.done:
		select {
		case <-r.done:
			return r.rev, r.err
		default:
			return 0, fmt.Errorf("%w: the server is stopping", ErrUnavailable)
		}
	}
}

func (s *Store) load(ctx context.Context) (*Snapshot, error) {
	tx := newTx(emptySnapshot(), s.opts.Now().UTC())
	rev, err := s.opts.Log.Load(ctx, func(e Entry) error {
		t := catalog.byKind[e.Kind]
		if t == nil {
			return fmt.Errorf("the state has objects of the unknown kind %q: it was written by a newer version", e.Kind)
		}
		obj, err := t.decode(e.Value)
		if err != nil {
			return err
		}
		t.put(tx, obj)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("loading the state: %w", err)
	}
	snap := tx.snapshot()
	snap.Revision = rev
	return snap, nil
}

// write is the writer's loop.
func (s *Store) write() {
	defer close(s.done)
	probe := time.NewTicker(probeEvery)
	defer probe.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case r := <-s.requests:
			s.commit(s.gather(r))
		case <-probe.C:
			if s.Err() != nil {
				s.probe()
			}
		}
	}
}

// probe makes an empty commit, so that Err tells the truth also when nobody writes.
func (s *Store) probe() {
	before := s.current.Load()
	rev, err := s.append(nil)
	switch {
	case errors.Is(err, ErrFenced):
		if err := s.reload(); err != nil {
			s.setProblem(err)
		}
	case err == nil:
		snap := *before
		snap.Revision = rev
		s.publish(&Commit{Before: before, Snapshot: &snap})
	}
}

// append commits to the log and keeps Err up to date, also while the log takes its time.
func (s *Store) append(entries []Entry) (revision int64, err error) {
	s.mu.Lock()
	mine := s.appends
	s.mu.Unlock()
	stalled := time.AfterFunc(stallAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.appends == mine {
			s.setProblemLocked(fmt.Errorf("a commit has not been answered for %v", stallAfter))
		}
	})
	defer stalled.Stop()
	revision, err = s.opts.Log.Append(s.ctx, entries)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appends++
	if !errors.Is(err, ErrFenced) {
		s.setProblemLocked(err)
	}
	return revision, err
}

// gather takes all requests that wait: they are committed together.
func (s *Store) gather(first *request) []*request {
	batch := []*request{first}
	for len(batch) < 512 {
		select {
		case r := <-s.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// commit runs the functions and commits what they changed, in as many commits as their size asks for.
func (s *Store) commit(batch []*request) {
	for attempt := 0; len(batch) > 0; {
		n, err := s.commitSome(batch)
		if errors.Is(err, ErrFenced) && attempt < 5 && s.ctx.Err() == nil {
			attempt++
			err = s.reload()
			if err == nil {
				continue
			}
		}
		if err != nil {
			s.setProblem(err)
			if !errors.Is(err, ErrUnavailable) {
				err = fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			for _, r := range batch {
				r.answer(0, err)
			}
			return
		}
		batch = batch[n:]
	}
}

func (r *request) answer(rev int64, err error) {
	r.rev, r.err = rev, err
	close(r.done)
}

// commitSome runs functions until a commit is full, commits, publishes, answers, and says how many were dealt with.
func (s *Store) commitSome(batch []*request) (n int, err error) {
	before := s.current.Load()
	snap := before
	var entries []Entry
	var changes []Change
	size := 0
	start := time.Now()
	now := s.opts.Now().UTC().Truncate(time.Second)
	for _, r := range batch {
		if r.err = r.ctx.Err(); r.err != nil {
			r.err = fmt.Errorf("%w: %w", ErrUnavailable, r.err)
			n++
			continue
		}
		tx := newTx(snap, now)
		r.err = run(r.fn, tx)
		if r.err == nil && len(tx.writes) > 0 && s.opts.Derive != nil {
			r.err = run(func(tx *Tx) error { return s.opts.Derive(tx, tx.changes(nil)) }, tx)
		}
		if r.err == nil && len(tx.writes) > maxTxEntries {
			r.err = ErrTooLarge
		}
		if r.err != nil || len(tx.writes) == 0 {
			n++
			continue
		}
		had := len(entries)
		entries, r.err = tx.entries(entries)
		if r.err != nil {
			entries = entries[:had]
			n++
			continue
		}
		grown := size
		for _, e := range entries[had:] {
			grown += len(e.Kind) + len(e.ID) + len(e.Value) + 32
		}
		if grown > MaxBatchBytes || len(entries) > MaxBatchEntries {
			entries = entries[:had]
			if had > 0 {
				break // it opens the next commit
			}
			r.err = ErrTooLarge
			n++
			continue
		}
		size = grown
		snap = tx.snapshot()
		changes = tx.changes(changes)
		n++
	}
	ran := time.Since(start)
	rev := before.Revision
	if len(entries) > 0 {
		start = time.Now()
		rev, err = s.append(squash(entries))
		if err != nil {
			return 0, err
		}
		if s.opts.Observe != nil {
			s.opts.Observe(n, ran, time.Since(start))
		}
		snap.Revision = rev
		s.publish(&Commit{Before: before, Snapshot: snap, Changes: changes})
	}
	for _, r := range batch[:n] {
		r.answer(rev, r.err)
	}
	return n, nil
}

// squash leaves only the last entry of each key: etcd refuses a transaction that names a key twice.
func squash(entries []Entry) []Entry {
	last := make(map[[2]string]int, len(entries))
	for i, e := range entries {
		last[[2]string{e.Kind, e.ID}] = i
	}
	if len(last) == len(entries) {
		return entries
	}
	kept := entries[:0:0]
	for i, e := range entries {
		if last[[2]string{e.Kind, e.ID}] == i {
			kept = append(kept, e)
		}
	}
	return kept
}

// PanicError says that the function of a transaction panicked. The stack is for the log and not part of the message.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in a transaction: %v", e.Value) }

// run calls fn and turns a panic into an error, so that one bad request does not end the server.
func run(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return fn(tx)
}

func (s *Store) publish(c *Commit) {
	next := &feedNode{ready: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.Store(c.Snapshot)
	s.tail.commit, s.tail.next = c, next
	close(s.tail.ready)
	s.tail = next
}

// reload replaces the state by what the log has, and tells the followers what is different.
func (s *Store) reload() error {
	before := s.current.Load()
	snap, err := s.load(s.ctx)
	if err != nil {
		return err
	}
	s.publish(&Commit{Before: before, Snapshot: snap, Changes: diff(before, snap)})
	s.opts.Logger.Info("the state was loaded anew: another server has written", "revision", snap.Revision)
	return nil
}
