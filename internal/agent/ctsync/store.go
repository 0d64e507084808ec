package ctsync

import (
	"errors"
	"fmt"
	"sync"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	pb "github.com/neutrino-net/neutrino/proto/hostsync/v1"
)

// minTimeout is what a connection has left at least, in seconds, when it is put into the kernel. The active host tells of
// changes and not of each packet, so the timeout that it told was prolonged since.
const minTimeout = 60

// key identifies a connection in a namespace.
type key struct {
	original conntrack.Tuple
	zone     uint16
}

// entry is the rest of a connection.
type entry struct {
	reply                            conntrack.Tuple
	status, mark, timeout            uint32
	state, scaleOriginal, scaleReply uint8
	generation                       uint8
}

// source says who has told of connections, and of which router.
type source struct{ router, host string }

// table is what one host has told of one router.
type table struct {
	entries    map[key]entry
	generation uint8 // grows with each reset; entries of others are swept when all has been told
}

// store remembers what other hosts have told.
type store struct {
	max int

	mu      sync.Mutex
	tables  map[source]*table
	count   int
	refused int // connections for which there was no room
}

func newStore(most int) *store { return &store{max: most, tables: map[source]*table{}} }

// keep forgets all that is told by others than the peers of a router.
func (s *store) keep(peers map[string]map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for from, t := range s.tables {
		if !peers[from.router][from.host] {
			s.count -= len(t.entries)
			delete(s.tables, from)
		}
	}
}

// take remembers what a host tells of a router.
func (s *store) take(host string, b *pb.RouterBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := source{b.GetRouterId(), host}
	t := s.tables[from]
	if t == nil {
		t = &table{entries: map[key]entry{}}
		s.tables[from] = t
	}
	if b.GetReset_() {
		t.generation++
	}
	before := len(t.entries)
	for _, c := range b.GetGone() {
		if f, ok := fromWire(c); ok {
			delete(t.entries, key{f.Original, f.Zone})
		}
	}
	for _, c := range b.GetChanged() {
		if f, ok := fromWire(c); ok {
			s.put(t, f, s.count+len(t.entries)-before)
		}
	}
	if b.GetComplete() {
		for k, e := range t.entries {
			if e.generation != t.generation {
				delete(t.entries, k)
			}
		}
	}
	s.count += len(t.entries) - before
}

func (s *store) put(t *table, f conntrack.Flow, count int) {
	k := key{f.Original, f.Zone}
	old, known := t.entries[k]
	if !known && count >= s.max {
		s.refused++
		return
	}
	e := entry{
		f.Reply, f.Status, f.Mark, f.Timeout, f.State, f.ScaleOriginal, f.ScaleReply, t.generation,
	}
	if f.State == 0 && known { // the kernel told of something else, and not of TCP
		e.state, e.scaleOriginal, e.scaleReply = old.state, old.scaleOriginal, old.scaleReply
	}
	t.entries[k] = e
}

// Count is the number of connections that are remembered, and of those for which there was no room.
func (s *Sync) Count() (remembered, refused int) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.count, s.store.refused
}

// Inject puts all that is remembered of the router's connections into the kernel, in the namespace, and forgets it: the
// kernel has it now. It is called at a takeover, before the router answers for its addresses. It returns how many
// connections were put in; the error is of those that could not be, which hold up no others.
func (s *Sync) Inject(router string, ns *netns.Handle) (int, error) {
	flows := s.store.drain(router)
	if len(flows) == 0 {
		return 0, nil
	}
	kernel, err := conntrack.Open(ns)
	if err != nil {
		return 0, err
	}
	defer kernel.Close()
	var first error
	failed := 0
	for _, f := range flows {
		if err := kernel.Insert(f); err != nil {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	if failed > 0 {
		err = fmt.Errorf("%d of %d connections are lost: %w", failed, len(flows), errors.Unwrap(first))
	}
	return len(flows) - failed, err
}

func (s *store) drain(router string) []conntrack.Flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	var flows []conntrack.Flow
	for from, t := range s.tables {
		if from.router != router {
			continue
		}
		for k, e := range t.entries {
			flows = append(flows, conntrack.Flow{
				Zone: k.zone, Original: k.original, Reply: e.reply, Status: e.status, Mark: e.mark,
				Timeout: max(e.timeout, minTimeout), State: e.state,
				ScaleOriginal: e.scaleOriginal, ScaleReply: e.scaleReply,
			})
		}
		s.count -= len(t.entries)
		clear(t.entries)
	}
	return flows
}
