package southbound

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/state"
)

// hub knows all hosts and their streams, and marks on them what each commit may have changed.
//
// A snapshot and the marks of the commits up to it change together under the lock. So what a sender takes is exact: the
// documents made of the marked keys on that snapshot bring the host to that snapshot's revision, with nothing missing.
type hub struct {
	compiler *compile.Compiler
	cursor   *state.Cursor // the run loop's

	mu       sync.Mutex
	snapshot *state.Snapshot
	hosts    map[string]*host
}

// host is what is kept of a host between its streams.
type host struct {
	conn      *conn // nil: not connected
	lastHeard time.Time
	// The last known figures of a stream that has ended.
	sent, applied int64
	documents     int
}

// progress is how far a stream is. The hub's lock guards it.
type progress struct {
	// dirty holds the keys to look at; all says that these are all keys of the host.
	dirty map[string]struct{}
	all   bool
	// dirtySince is when the oldest of them was marked; sendingSince the same of those that the sender works on.
	dirtySince, sendingSince time.Time
	// flights are the batches sent and not acknowledged, oldest first.
	flights       []flight
	sent, applied int64
	documents     int
}

type flight struct {
	revision int64
	since    time.Time
}

// maxFlights bounds the memory for batches that are not acknowledged. Beyond, the newest stands for those after it.
const maxFlights = 64

// work is what a sender has to do next.
type work struct {
	snapshot *state.Snapshot
	keys     map[string]struct{}
	all      bool
}

// errReplaced ends a stream whose host has opened another.
var errReplaced = errors.New("the host has opened a newer stream")

func newHub(store *state.Store, compiler *compile.Compiler) *hub {
	snapshot, cursor := store.Feed()
	return &hub{compiler: compiler, cursor: cursor, snapshot: snapshot, hosts: map[string]*host{}}
}

// run follows the feed until ctx ends.
func (h *hub) run(ctx context.Context) {
	for {
		commit, err := h.cursor.Next(ctx)
		if err != nil {
			return
		}
		h.follow(commit, h.compiler.Affected(commit))
	}
}

func (h *hub) follow(commit *state.Commit, affected []compile.HostKey) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshot = commit.Snapshot
	for _, a := range affected {
		if host := h.hosts[a.Host]; host != nil && host.conn != nil {
			host.conn.mark(a.Key, now)
		}
	}
}

// mark adds a key to the dirty ones, and wakes the sender. The hub's lock is held.
func (c *conn) mark(key string, now time.Time) {
	if c.dirtySince.IsZero() {
		c.dirtySince = now
	}
	switch {
	case c.all:
	case key == "" || len(c.dirty) >= maxDirty:
		c.all, c.dirty = true, nil
	default:
		if c.dirty == nil {
			c.dirty = map[string]struct{}{}
		}
		c.dirty[key] = struct{}{}
	}
	c.wakeUp()
}

func (c *conn) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default: // the sender has a call waiting
	}
}

// register makes c the stream of its host, dirty in full, and ends the one before; it returns that one, or nil.
func (h *hub) register(c *conn) (older *conn) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	entry := h.hosts[c.host]
	if entry == nil {
		entry = &host{}
		h.hosts[c.host] = entry
	}
	if older = entry.conn; older != nil {
		h.retire(entry)
		older.end(errReplaced)
	}
	entry.conn, entry.lastHeard = c, now
	c.mark("", now)
	return older
}

// end ends the stream of a host, if there is one.
func (h *hub) end(name string, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if entry := h.hosts[name]; entry != nil && entry.conn != nil {
		entry.conn.end(why)
	}
}

// unregister forgets c, unless another stream has taken its place.
func (h *hub) unregister(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if entry := h.hosts[c.host]; entry != nil && entry.conn == c {
		h.retire(entry)
	}
}

// retire keeps the figures of the host's stream and forgets the stream.
func (h *hub) retire(entry *host) {
	c := entry.conn
	entry.conn, entry.sent, entry.documents = nil, c.sent, c.documents
	entry.applied = max(c.appliedIn(h.snapshot), entry.applied)
}

// take gives the sender what is dirty, if anything is.
func (h *hub) take(c *conn) (w work, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.dirtySince.IsZero() {
		return work{}, false
	}
	w = work{snapshot: h.snapshot, keys: c.dirty, all: c.all}
	c.sendingSince = c.dirtySince
	c.dirty, c.all, c.dirtySince = nil, false, time.Time{}
	return w, true
}

// sentWork says that the work is done: its last message is about to leave, or there was nothing to send.
func (h *hub) sentWork(c *conn, w work, batch bool, documents int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if batch {
		revision := w.snapshot.Revision
		c.sent = revision
		if n := len(c.flights); n < maxFlights {
			c.flights = append(c.flights, flight{revision, c.sendingSince})
		} else {
			c.flights[n-1].revision = revision
		}
	}
	c.sendingSince, c.documents = time.Time{}, documents
}

// heard notes that the host has said something.
func (h *hub) heard(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts[c.host].lastHeard = time.Now()
}

// acknowledge notes what the host has applied. What it cannot have applied, since it was not sent, is passed over.
func (h *hub) acknowledge(c *conn, revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if revision > c.sent || revision < c.applied {
		return
	}
	c.applied = revision
	n := 0
	for n < len(c.flights) && c.flights[n].revision <= revision {
		n++
	}
	c.flights = slices.Delete(c.flights, 0, n)
}

// waiting is since when the oldest change that the host has not applied waits; zero: it is in step.
func (p *progress) waiting() time.Time {
	if len(p.flights) > 0 {
		return p.flights[0].since
	}
	if !p.sendingSince.IsZero() {
		return p.sendingSince
	}
	return p.dirtySince
}

// appliedIn is the revision of which everything that concerns the host is applied. Commits that concern other hosts are
// not sent and not acknowledged: a host in step has applied the newest revision.
func (p *progress) appliedIn(newest *state.Snapshot) int64 {
	if p.waiting().IsZero() {
		return newest.Revision
	}
	return p.applied
}

// appliedBy is the revision of which the host has applied everything that concerns it.
func (h *hub) appliedBy(name string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	entry := h.hosts[name]
	switch {
	case entry == nil:
		return 0
	case entry.conn == nil:
		return entry.applied
	}
	return entry.conn.appliedIn(h.snapshot)
}

func (h *hub) alive(name string, now time.Time) (bool, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	entry := h.hosts[name]
	if entry == nil {
		return false, time.Time{}
	}
	return entry.conn != nil || now.Sub(entry.lastHeard) < silence, entry.lastHeard
}

func (h *hub) states(now time.Time) []HostState {
	h.mu.Lock()
	defer h.mu.Unlock()
	states := make([]HostState, 0, len(h.hosts))
	for name, entry := range h.hosts {
		s := HostState{Host: name, LastHeard: entry.lastHeard}
		if c := entry.conn; c == nil {
			s.SentRevision, s.AppliedRevision, s.Documents = entry.sent, entry.applied, entry.documents
			s.LagSeconds = now.Sub(entry.lastHeard).Seconds()
		} else {
			s.Connected, s.SentRevision, s.Documents = true, c.sent, c.documents
			s.AppliedRevision = c.appliedIn(h.snapshot)
			if since := c.waiting(); !since.IsZero() {
				s.LagSeconds = now.Sub(since).Seconds()
			}
		}
		states = append(states, s)
	}
	return states
}
