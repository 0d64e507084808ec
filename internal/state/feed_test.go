package state_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

func contents(s *state.Snapshot) map[string]*model.Network {
	all := map[string]*model.Network{}
	for n := range state.Networks.All(s) {
		all[n.ID] = n
	}
	return all
}

// follow reads commits until the revision and checks that each leads exactly from one snapshot to the next.
func follow(t *testing.T, from *state.Snapshot, cursor *state.Cursor, until int64) (commits int) {
	t.Helper()
	have, last := contents(from), from
	for last.Revision < until {
		c, err := cursor.Next(t.Context())
		if err != nil {
			t.Fatalf("at revision %d, on the way to %d: %v", last.Revision, until, err)
		}
		commits++
		if c.Before != last {
			t.Fatalf("the commit of revision %d follows revision %d, but %d was the last", c.Snapshot.Revision,
				c.Before.Revision, last.Revision)
		}
		if c.Snapshot.Revision <= last.Revision {
			t.Fatalf("revision %d after %d", c.Snapshot.Revision, last.Revision)
		}
		for _, ch := range c.Changes {
			apply(t, have, ch)
		}
		if d := cmp.Diff(contents(c.Snapshot), have); d != "" {
			t.Fatalf("revision %d: the changes do not give the snapshot (-snapshot +changes):\n%s", c.Snapshot.Revision, d)
		}
		last = c.Snapshot
	}
	return commits
}

func apply(t *testing.T, have map[string]*model.Network, ch state.Change) {
	t.Helper()
	if ch.Kind != state.Networks.Kind() {
		t.Fatalf("a change of the kind %s", ch.Kind)
	}
	old, had := have[ch.ID]
	if had != (ch.Old != nil) || had && !cmp.Equal(ch.Old.(*model.Network), old) {
		t.Fatalf("%s was %v, the change says %v", ch.ID, old, ch.Old)
	}
	if ch.New == nil {
		delete(have, ch.ID)
	} else {
		have[ch.ID] = ch.New.(*model.Network)
	}
}

func TestTheFeedYieldsExactlyTheCommitsAfterTheSnapshot(t *testing.T) {
	s := open(t, newMemory().log())
	const writers, each, followers = 4, 100, 4
	var wg, following sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				update(t, s, func(tx *state.Tx) error {
					for range 1 + r.IntN(3) {
						id := fmt.Sprint(r.IntN(30))
						if r.IntN(3) == 0 {
							state.Networks.Delete(tx, id)
						} else {
							state.Networks.Put(tx, network(id, fmt.Sprint(w, i)))
						}
					}
					return nil
				})
			}
		})
	}
	for range followers {
		following.Go(func() {
			snap, cursor := s.Feed() // somewhere in the middle
			<-done
			follow(t, snap, cursor, s.Read().Revision)
			select {
			case <-cursor.Ready():
				t.Error("there is a commit after the last")
			default:
			}
		})
	}
	wg.Wait()
	close(done)
	following.Wait()
}
