package network

import (
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Follower has something to do before a network changes or goes, for instance to give up floating IPs that nobody uses.
// Its error forbids the change.
type Follower interface {
	NetworkChanged(tx *state.Tx, old, n *model.Network) error
	NetworkDeleted(tx *state.Tx, n *model.Network) error
}

// Follow adds a follower. It is called while the program is put together, before the rules are in use.
func (s *Rules) Follow(f Follower) { s.followers = append(s.followers, f) }
