// Package etcdlog keeps the state in etcd: it is the durable side (state.Log) of package state.
//
// # Keys
//
// An object is one key, /neutrino/<kind>/<id>, with the object's JSON as value, so that
// "etcdctl get --prefix /neutrino" shows the truth. Beside them, under /neutrino/meta/:
//
//	head              {"server","sequence"} of the newest commit; every commit rewrites it
//	commits/<server>  {"server","sequence","time"} of the newest commit of one server process
//	schema            {"version"} in which the objects are written (schema.go)
//	history           a random id, made with an empty store and after a restore, when revisions go back
//
// # A commit
//
// A commit is one etcd transaction. It compares the ModRevision of head with the one that this process saw last; when
// they are equal it rewrites head and its own commit record, and puts and deletes the objects; else it reads head and
// the record. So commits of all servers form one chain, and the revision of a commit is the ModRevision of its head.
//
// # Lost answers
//
// A connection that breaks, or a timeout, leaves open whether the transaction was, or still will be, executed. The
// log then sends the same transaction again, with the same compare, until an answer comes. That is safe: whichever of
// the attempts reaches etcd first moves head, so the compare of every other fails. An attempt whose compare failed
// has read the commit record, in the same linearizable step: it has our sequence when an earlier attempt was
// executed, also if another server has written since, and has it not when another server was faster (ErrFenced).
package etcdlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/neutrino-net/neutrino/internal/state"
)

// The keys of the log.
const (
	root       = "/neutrino/"
	metaPrefix = root + "meta/"
	headKey    = metaPrefix + "head"
	schemaKey  = metaPrefix + "schema"
	historyKey = metaPrefix + "history"
	commitsKey = metaPrefix + "commits/"
)

// Times of the log.
const (
	defaultAttemptTimeout = 5 * time.Second
	defaultRetain         = 5 * time.Minute
	firstBackoff          = 20 * time.Millisecond
	lastBackoff           = 2 * time.Second
)

// Options configure a Log.
type Options struct {
	// Client is the connection to etcd. Required. The log does not close it. For an etcd that is not embedded,
	// ConfigureClient sets what the log needs.
	Client *clientv3.Client
	// Logger is told of lost answers and of space that has run out. Default: slog.Default().
	Logger *slog.Logger
	// Schema is the version of the objects. Default: CurrentSchema.
	Schema *Schema
	// Space, if set, is asked before each commit and says why nothing may be written now. Embedded.Space is one.
	Space func() error
	// Reclaim, if set, is called when etcd's quota is used up and old revisions have been compacted away, to give
	// their space back. Embedded.Reclaim is one. Without it the operator of the etcd has to defragment it.
	Reclaim func(context.Context) error
	// Lost, if set, is closed when etcd has stopped for good, so that no answer will ever come: Embedded.Stopped.
	Lost <-chan struct{}
	// AttemptTimeout is how long one attempt of a commit waits for its answer. Default: 5 s.
	AttemptTimeout time.Duration
	// Retain is for how long old revisions are kept. Default: 5 minutes; negative: compaction is left to etcd.
	Retain time.Duration
}

// Log is the state in etcd. Make one with New, load it, then append.
type Log struct {
	opts   Options
	kv     clientv3.KV
	server string // this process, random for each start

	stop      context.CancelFunc // ends the compaction
	compactor sync.WaitGroup

	mu       sync.Mutex // one Load or Append at a time
	ready    bool       // head and sequence are known; false until loaded, and after an outcome stayed unknown
	head     int64      // ModRevision of the head key as seen last
	sequence int64      // of our newest commit

	reclaimFailed time.Time // when space could not be reclaimed last

	info struct {
		sync.Mutex
		history string
	}
}

// position is the value of the head key and of the commit records.
type position struct {
	Server   string    `json:"server"`
	Sequence int64     `json:"sequence"`
	Time     time.Time `json:"time,omitzero"` // records only: tells which are of servers long gone
}

// New returns a log on the client's etcd and starts its background compaction. Close ends it. Nothing is read or
// written before Load.
func New(opts Options) *Log {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Schema == nil {
		opts.Schema = &CurrentSchema
	}
	if opts.AttemptTimeout == 0 {
		opts.AttemptTimeout = defaultAttemptTimeout
	}
	if opts.Retain == 0 {
		opts.Retain = defaultRetain
	}
	l := &Log{opts: opts, kv: opts.Client.KV, server: uuid.NewString()}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	if opts.Retain > 0 {
		l.compactor.Go(func() { l.compact(ctx) })
	}
	return l
}

// Close ends the background work of the log. The client stays open.
func (l *Log) Close() {
	l.stop()
	l.compactor.Wait()
}

// History returns the id of the store's history. It changes when revisions have gone back, after a restore. It is empty
// before Load.
func (l *Log) History() string {
	l.info.Lock()
	defer l.info.Unlock()
	return l.info.history
}

// Append implements state.Log.
func (l *Log) Append(ctx context.Context, batch []state.Entry) (revision int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ready {
		return 0, fmt.Errorf("%w, or a commit's outcome is not known", state.ErrFenced)
	}
	if err := l.space(); err != nil {
		return 0, err
	}
	ops, err := l.operations(batch)
	if err != nil {
		return 0, err
	}
	revision, err = l.commit(ctx, ops)
	switch {
	case err == nil:
		l.head = revision
		l.sequence++
	case errors.Is(err, state.ErrFenced), errors.Is(err, state.ErrUnavailable):
		l.ready = false
	}
	return revision, err
}

// operations are the puts and deletes of a commit.
func (l *Log) operations(batch []state.Entry) ([]clientv3.Op, error) {
	at := position{Server: l.server, Sequence: l.sequence + 1}
	head, err := json.Marshal(at)
	if err != nil {
		return nil, fmt.Errorf("writing the head: %w", err)
	}
	at.Time = time.Now().UTC().Truncate(time.Second)
	record, err := json.Marshal(at)
	if err != nil {
		return nil, fmt.Errorf("writing the commit record: %w", err)
	}
	ops := make([]clientv3.Op, 0, len(batch)+2)
	ops = append(ops, clientv3.OpPut(headKey, string(head)), clientv3.OpPut(commitsKey+l.server, string(record)))
	for _, e := range batch {
		if e.Value == nil {
			ops = append(ops, clientv3.OpDelete(objectKey(e.Kind, e.ID)))
		} else {
			ops = append(ops, clientv3.OpPut(objectKey(e.Kind, e.ID), string(e.Value)))
		}
	}
	return ops, nil
}

func objectKey(kind, id string) string { return root + kind + "/" + id }

// commit executes the operations on top of l.head, and does not return before the outcome is known: see the package
// comment. Errors are those of state.Log.
func (l *Log) commit(ctx context.Context, ops []clientv3.Op) (revision int64, err error) {
	backoff := firstBackoff
	open := false // an earlier attempt may have been, or may still be, executed
	for attempt := 1; ; attempt++ {
		revision, err = l.attempt(ctx, ops)
		if err == nil || errors.Is(err, state.ErrFenced) {
			if open {
				l.opts.Logger.Info("the outcome of the commit is known", "committed", err == nil, "attempts", attempt)
			}
			return revision, err
		}
		kind := classify(err)
		if kind == outOfSpace {
			l.reclaim(ctx)
			// A first refusal is tried once more, at once: that is when space may have been given back.
			if !open && attempt > 1 {
				return 0, fmt.Errorf("committing: %w", err)
			}
			if !open {
				continue
			}
		}
		if kind == refused && !open {
			return 0, fmt.Errorf("committing: %w", err)
		}
		if kind == unknown && !open {
			open = true
			l.opts.Logger.Warn("a commit was not answered, and is sent again", "error", err)
		}
		if err := l.pause(ctx, backoff); err != nil {
			return 0, fmt.Errorf("%w: the outcome of a commit is not known: %w", state.ErrUnavailable, err)
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

var errLost = errors.New("etcd has failed, and is not there any more")

// pause waits for d. Its error says that waiting is in vain.
func (l *Log) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.opts.Lost:
		return errLost
	}
}

// attempt sends the transaction once. Its error is state.ErrFenced when nothing was and nothing will be written, or
// etcd's.
func (l *Log) attempt(ctx context.Context, ops []clientv3.Op) (revision int64, err error) {
	ctx, cancel := l.attemptContext(ctx)
	defer cancel()
	resp, err := l.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(headKey), "=", l.head)).
		Then(ops...).
		Else(clientv3.OpGet(commitsKey + l.server)).
		Commit()
	if err != nil {
		return 0, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	for _, kv := range resp.Responses[0].GetResponseRange().GetKvs() {
		var at position
		if err := json.Unmarshal(kv.Value, &at); err != nil {
			return 0, fmt.Errorf("reading the commit record: %w", err)
		}
		if at.Sequence == l.sequence+1 {
			return kv.ModRevision, nil
		}
	}
	return 0, state.ErrFenced
}

// attemptContext is ctx with the timeout of an attempt; it also ends when etcd has stopped for good.
func (l *Log) attemptContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.AttemptTimeout)
	if l.opts.Lost == nil {
		return ctx, cancel
	}
	go func() {
		select {
		case <-l.opts.Lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// get reads from etcd. It ends when etcd has stopped for good, also where etcd's code does not: a read inside the
// process waits for locks that an etcd which has failed never gives back.
func (l *Log) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if l.opts.Lost == nil {
		return l.kv.Get(ctx, key, opts...)
	}
	type answer struct {
		resp *clientv3.GetResponse
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		resp, err := l.kv.Get(ctx, key, opts...)
		answers <- answer{resp, err}
	}()
	select {
	case a := <-answers:
		return a.resp, a.err
	case <-l.opts.Lost:
		return nil, errLost
	}
}

// split takes the key of an object apart. ok is false for the log's own keys.
func split(key string) (kind, id string, ok bool) {
	kind, id, ok = strings.Cut(strings.TrimPrefix(key, root), "/")
	return kind, id, ok && kind != "meta"
}
