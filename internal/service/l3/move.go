package l3

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Two hosts must never both serve a router: both would answer for its addresses. So a router that moves has no host at
// first: its ports are bound to none, and Leaving names the host that has to let go of it. Only when that has happened
// is it bound to its next host. A host has let go when
//
//   - it has applied a state in which it had no part in the router (Released), or
//   - its agents have been deleted, or it is down and an operator has taken the router from it: a person vouches for
//     it, or
//   - it has not been heard of for MoveAfter.
//
// The last is safe because a host serves routers on a lease then: without a word from the server its own kernel stops
// the routers' ports before the time is over, whatever became of the agent (see LeaseFor, and package agent/lease).
// Without MoveAfter there are no leases: hosts go on without the server for as long as it takes, and a dead host's
// routers wait for it or for an operator.

// MinMoveAfter is the shortest MoveAfter: a host counts as alive for as long after its last word as it takes the
// southbound to give it up, and what is left after reserve has to be a lease worth the name.
const MinMoveAfter = 90 * time.Second

// reserve is how much shorter a lease is than MoveAfter. A host sends a heartbeat every 10 s, and it takes up to 20 s
// until it knows that its stream is lost and renews its lease no more; the rest is for slow machines.
const reserve = 45 * time.Second

// LeaseFor is the lease on which hosts are to hold the ports of routers that leave a dead host after the time; 0: none.
func LeaseFor(moveAfter time.Duration) time.Duration {
	if moveAfter == 0 {
		return 0
	}
	return moveAfter - reserve
}

// grace is how long after the start of the server a host that has not connected yet is not taken to be down. It is the
// time after which a silent host counts as dead (package southbound).
const grace = 75 * time.Second

// Down says whether the host is known to be down, and since when.
func (s *Service) Down(host string, now time.Time) (down bool, since time.Time) {
	if s.opts.Liveness == nil {
		return false, time.Time{}
	}
	alive, since := s.opts.Liveness.Alive(host)
	return !alive && (!since.IsZero() || now.Sub(s.opts.Started) >= grace), since
}

// connected says whether the host is known to be alive.
func (s *Service) connected(host string) bool {
	if s.opts.Liveness == nil {
		return true
	}
	alive, _ := s.opts.Liveness.Alive(host)
	return alive
}

// gone says whether the host has been down for so long that its routers are to move.
func (p *Pass) gone(host string) bool {
	after := p.s.opts.MoveAfter
	if after == 0 {
		return false
	}
	down, since := p.s.Down(host, p.tx.Now())
	if since.Before(p.s.opts.Started) {
		since = p.s.opts.Started
	}
	return down && p.tx.Now().Sub(since) >= after
}

// leave has the ports of the router leave all places but target. It returns ErrLeaving as long as a host may still serve
// the router that is not to. A host which is in the router's next gateway group has to let go of it, too: until it has, it
// forwards whoever is active in that group.
func (p *Pass) leave(r *model.Router, legs []*model.Port, target place) error {
	leaving := slices.DeleteFunc(slices.Clone(r.Leaving), func(host string) bool { return p.letGo(r.ID, host, r.ManualHosts) })
	for _, leg := range legs {
		if placeOf(leg) != target {
			// What such a host has applied was a state in which it had the port.
			leaving = append(leaving, slices.DeleteFunc(p.holders(leg), func(host string) bool {
				return p.givenUp(host, r.ManualHosts)
			})...)
		}
	}
	slices.Sort(leaving)
	leaving = slices.Compact(leaving)
	if len(leaving) == 1 && leaving[0] == target.host {
		leaving = nil // it comes back to where it was
	}
	if r.Leaving = leaving; len(leaving) == 0 {
		r.Leaving = nil
		return nil
	}
	return fmt.Errorf("%w, %s", ErrLeaving, strings.Join(leaving, ", "))
}

// holders are the hosts that may have the port: those of its binding, and those that have not left its group yet.
func (p *Pass) holders(leg *model.Port) []string {
	hosts := slices.Clone(state.PortHosts(p.tx, leg))
	if g, ok := state.GatewayGroups.Get(p.tx, leg.Binding.Group()); ok {
		hosts = append(hosts, g.Leaving...)
	}
	return hosts
}

// letGo says whether a host that the router or gateway group has left no longer serves it. vouched says that an operator has
// taken it from there.
func (p *Pass) letGo(id, host string, vouched bool) bool {
	return p.released(id, host) || p.givenUp(host, vouched)
}

// givenUp says whether the host serves nothing any more, by what is known without its word.
func (p *Pass) givenUp(host string, vouched bool) bool {
	if p.gone(host) {
		return true
	}
	down, _ := p.s.Down(host, p.tx.Now())
	return down && (vouched || !hasAgent(p.tx, host))
}
