package state_test

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/neutrino-net/neutrino/internal/state"
)

// memory is an etcd in memory: what memLogs on it have committed.
type memory struct {
	mu       sync.Mutex
	revision int64
	objects  map[[2]string]string
	batches  int
}

func newMemory() *memory { return &memory{objects: map[[2]string]string{}} }

// memLog is a state.Log that behaves like the real one and fails on demand.
type memLog struct {
	m    *memory
	head int64
	// before, if set, is called with each batch before it is committed. Its error refuses the batch.
	before func(batch []state.Entry) error
}

func (m *memory) log() *memLog { return &memLog{m: m, head: -1} }

func (l *memLog) Load(_ context.Context, each func(state.Entry) error) (int64, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	for key, value := range l.m.objects {
		if err := each(state.Entry{Kind: key[0], ID: key[1], Value: []byte(value)}); err != nil {
			return 0, err
		}
	}
	l.head = l.m.revision
	return l.head, nil
}

func (l *memLog) Append(ctx context.Context, batch []state.Entry) (int64, error) {
	if l.before != nil {
		if err := l.before(batch); err != nil {
			return 0, err
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.head != l.m.revision {
		return 0, state.ErrFenced
	}
	named := map[[2]string]bool{}
	for _, e := range batch {
		key := [2]string{e.Kind, e.ID}
		if named[key] {
			panic("a batch names a key twice, which etcd refuses")
		}
		named[key] = true
		if e.Value == nil {
			delete(l.m.objects, key)
		} else {
			l.m.objects[key] = string(e.Value)
		}
	}
	l.m.revision++
	l.m.batches++
	l.head = l.m.revision
	return l.head, nil
}

// ids are the ids of the objects of a kind, sorted.
func (m *memory) ids(kind string) (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range maps.Keys(m.objects) {
		if key[0] == kind {
			ids = append(ids, key[1])
		}
	}
	slices.Sort(ids)
	return ids
}
