package state

import (
	"bytes"
	"context"
	"encoding/json"
)

// feedNode is one link in the chain of commits. Followers hold their own place in it; what all of them have passed is
// garbage.
type feedNode struct {
	ready  chan struct{} // closed when commit and next are set
	commit *Commit
	next   *feedNode
}

// Cursor follows the commits. It is for one goroutine.
type Cursor struct{ node *feedNode }

// Feed returns the newest snapshot and a cursor that yields exactly the commits after it.
func (s *Store) Feed() (*Snapshot, *Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Load(), &Cursor{s.tail}
}

// Next waits for the next commit.
func (c *Cursor) Next(ctx context.Context) (*Commit, error) {
	select {
	case <-c.node.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	commit := c.node.commit
	c.node = c.node.next
	return commit, nil
}

// Ready is closed when Next would not wait.
func (c *Cursor) Ready() <-chan struct{} { return c.node.ready }

func slotOf(t anyTable) int { return t.primary() }

// diff lists what is different between two snapshots of separate origin.
func diff(a, b *Snapshot) (changes []Change) {
	for _, t := range catalog.tables {
		slot := slotOf(t)
		it := b.trees[slot].Iterator()
		for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
			old, _, had := a.trees[slot].Get(k)
			if !had {
				changes = append(changes, Change{Kind: t.Kind(), ID: string(k), New: v})
			} else if !sameJSON(old, v) {
				changes = append(changes, Change{Kind: t.Kind(), ID: string(k), Old: old, New: v})
			}
		}
		it = a.trees[slot].Iterator()
		for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
			if _, _, has := b.trees[slot].Get(k); !has {
				changes = append(changes, Change{Kind: t.Kind(), ID: string(k), Old: v})
			}
		}
	}
	return changes
}

func sameJSON(a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}
