package gateway

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/keepalived"
	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	pb "github.com/neutrino-net/neutrino/proto/hostsync/v1"
)

// election is what is known of the groups. The part's lock guards it.
type election struct {
	// groups are those of the view; joined says that there was one.
	groups map[uint8]*membership
	joined bool
	// master are the groups for which keepalived has elected this host; looked says that it was seen.
	master map[uint8]bool
	looked bool
	// peers tell, for each host that is heard, in which groups it spoke.
	peers map[string]map[uint8]bool
	// told is what the other hosts and the server have been told last.
	told []role
	// saved is what the file of claims has.
	saved claims
}

// role is what the host is for a group, as it is told.
type role struct {
	group          uint8
	active, speaks bool
	claim          gatewaygroup.Claim
}

// membership is the host's part in a group.
type membership struct {
	gatewaygroup.Member
	group group
	// speaks says that routers of the group may be speaking here: until it is known that all are mute, and from before the
	// first one is not.
	speaks bool
	// opposed is since when the member has been; the zero Time: it is not.
	opposed time.Time
	// claimed is how often it has made a claim because nobody opposed it, since it became master.
	claimed int
}

// patience is how long the member is opposed until it makes a newer claim: for longer than an election takes. Where hosts
// hear of each other by the server and not by VRRP, each is opposed by the other's claim, in turn: each time for longer.
func (m *membership) patience() time.Duration {
	return 5 * m.group.vrrp.Interval << min(m.claimed, 7)
}

// Active implements l3.Roles.
func (p *Part) Active(group string) (active, known bool) {
	n, _ := number(group)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.looked || !p.joined {
		return false, false
	}
	m := p.groups[n]
	return m != nil && m.Active(), true
}

// join takes the groups of the view, and returns those that keepalived cannot have.
func (p *Part) join(groups map[uint8]group) map[uint8]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := range p.groups {
		if _, is := groups[n]; !is {
			delete(p.groups, n)
		}
	}
	for n, g := range groups {
		m := p.groups[n]
		if m == nil {
			m = &membership{Member: newMember(p.options.Host, g, p.saved), speaks: true}
			if g.solo || p.looked && p.master[n] {
				m.Member = m.Resumed()
			}
			p.groups[n] = m
		}
		switch {
		case g.solo:
			m.Member = m.Elected()
		case m.group.solo && !p.master[n]:
			m.Member = m.Lost() // others have come, and there is an election now
		}
		m.group, m.Rank = g, g.rank
		m.Member = m.Heard(g.claim)
	}
	p.joined = true
	return p.settle()
}

// elected is told by keepalived of what has changed.
func (p *Part) elected(changes []keepalived.Transition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	resumed := !p.looked
	p.looked = true
	for _, c := range changes {
		p.master[c.Group] = c.Role == keepalived.Active
		m := p.groups[c.Group]
		if m == nil {
			continue // join will see to it
		}
		m.claimed = 0
		switch {
		case c.Role == keepalived.Active && resumed:
			m.Member = m.Resumed()
		case c.Role == keepalived.Active:
			m.Member = m.Elected()
		case c.Ended:
			m.Member = m.Stopped()
		default:
			m.Member = m.Lost()
		}
	}
	p.settle()
	if p.changed != nil {
		p.changed() // it may be about what keeps keepalived from running
	}
}

// heard is told what another host is for common groups; nil: it is not heard any more.
//
// Two hosts that could not hear each other may both have spoken with the same MACs, and what the network has learned last
// may be the place of the one that gave way. So the active one announces itself again when it hears that the other is mute.
func (p *Part) heard(host string, groups []*pb.Group) {
	p.mu.Lock()
	if groups == nil {
		delete(p.peers, host)
		p.mu.Unlock()
		return
	}
	spoke := p.peers[host]
	if spoke == nil {
		spoke = map[uint8]bool{}
		p.peers[host] = spoke
	}
	announce, changed := map[string]bool{}, false
	for _, g := range groups {
		n := uint8(g.GetNumber())
		m := p.groups[n]
		if m == nil || g.GetNumber() > 255 {
			continue
		}
		old := m.Member
		m.Member = m.Heard(gatewaygroup.Claim{
			Epoch: g.GetEpoch(), Rank: uint8(min(g.GetRank(), 255)), Host: g.GetClaimant(),
		})
		changed = changed || m.Member != old
		before, known := spoke[n]
		spoke[n] = g.GetActive()
		if !g.GetActive() && (before || !known) && m.Active() {
			announce[strconv.Itoa(int(n))] = true
		}
	}
	if changed {
		p.settle()
	}
	p.mu.Unlock()
	if len(announce) > 0 {
		p.routers.Announce(announce)
	}
}

// settle does what follows from a change: the priorities, and the rest by those who are woken. The lock is held.
func (p *Part) settle() (refused map[uint8]error) {
	groups := make([]keepalived.Group, 0, len(p.groups))
	for _, m := range p.groups {
		g := m.group.vrrp
		g.Priority, g.Bonus = m.Priority(), m.Bonus()
		if !m.group.solo {
			groups = append(groups, g)
		}
		switch {
		case !m.Opposed():
			m.opposed = time.Time{}
		case m.opposed.IsZero():
			m.opposed = time.Now()
			select {
			case p.opposition <- struct{}{}:
			default:
			}
		}
		m.speaks = m.speaks || m.Active()
	}
	if p.joined {
		refused = p.daemon.Want(groups)
	}
	p.tell()
	p.wake()
	return refused
}

// wake has the routers follow.
func (p *Part) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// tell tells the other hosts what has changed, and has the agent tell the server. The lock is held.
func (p *Part) tell() {
	now := make([]role, 0, len(p.groups))
	for _, n := range slices.Sorted(maps.Keys(p.groups)) {
		m := p.groups[n]
		now = append(now, role{n, m.Active(), m.speaks, m.Claim()})
	}
	if slices.Equal(now, p.told) {
		return
	}
	p.told = now
	wire := make([]*pb.Group, 0, len(now))
	for _, r := range now {
		wire = append(wire, &pb.Group{
			Number: uint32(r.group), Active: r.speaks, Epoch: r.claim.Epoch, Rank: uint32(r.claim.Rank), Claimant: r.claim.Host,
		})
	}
	p.sync.Tell(wire)
	if p.changed != nil {
		p.changed()
	}
}

// follow switches the routers whenever it is woken.
func (p *Part) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.woken:
		}
		p.switchRouters(ctx)
	}
}

func (p *Part) switchRouters(ctx context.Context) {
	p.mu.Lock()
	known := p.looked && p.joined
	var mute []*membership // when the switch is done
	for _, m := range p.groups {
		if m.speaks && !m.Active() {
			mute = append(mute, m)
		}
	}
	p.mu.Unlock()
	if !known {
		return
	}
	start := time.Now()
	if err := p.routers.Switch(); err != nil {
		p.options.Logger.Error("routers do not follow their gateway group", "part", name, "error", err)
		pause(ctx, again)
		p.wake()
		return
	}
	p.options.Logger.Debug("routers follow their gateway groups", "part", name, "took", time.Since(start), "start", start)
	p.mu.Lock()
	changed := false
	for _, m := range mute {
		if !m.Active() {
			m.speaks, changed = false, true
		}
	}
	if changed {
		p.tell()
	}
	p.mu.Unlock()
	if err := p.keepClaims(); err != nil {
		p.options.Logger.Error("an agent that is started again will not know who is active", "part", name, "error", err)
	}
}

// keepClaims brings the file of claims up to date.
func (p *Part) keepClaims() error {
	p.keeping.Lock()
	defer p.keeping.Unlock()
	p.mu.Lock()
	before := p.saved
	now := maps.Clone(before)
	for n, m := range p.groups {
		if m.Claim() != (gatewaygroup.Claim{}) {
			now[n] = m.Claim()
		}
	}
	p.mu.Unlock()
	if err := now.save(p.options.Dir, before); err != nil {
		return err
	}
	p.mu.Lock()
	p.saved = now
	p.mu.Unlock()
	return nil
}

// watchOpposed has members that are opposed for too long make a newer claim.
func (p *Part) watchOpposed(ctx context.Context) {
	for {
		for ctx.Err() == nil && p.endOpposition() {
			pause(ctx, shortest)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.opposition:
		}
	}
}

// shortest is the time between two looks at members that are opposed.
const shortest = 50 * time.Millisecond

// endOpposition has those members claim that have been opposed for long enough, and says whether others still are.
func (p *Part) endOpposition() (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	over := false
	for _, m := range p.groups {
		switch {
		case m.opposed.IsZero():
		case time.Since(m.opposed) > m.patience():
			m.Member, over = m.Unopposed(), true
			m.claimed++
		default:
			more = true
		}
	}
	if over {
		p.settle()
	}
	return more
}
