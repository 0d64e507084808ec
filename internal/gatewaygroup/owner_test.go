package gatewaygroup_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
)

// The world of the tests moves in ticks of 10 ms.
const (
	second      = 100
	advertEvery = second / 5
	// gossipEvery is how often hosts and the server tell the newest claim that they know.
	gossipEvery = second / 4
	// patience is how long a host that is opposed waits: longer than an election.
	patience = 5 * advertEvery
	members  = 3
	// server is the place of the server in what is reachable.
	server = members
)

// host is a member, its keepalived, and what is programmed in its kernel.
type host struct {
	up, agent bool
	agentBack int // the tick at which the agent is back
	member    gatewaygroup.Member
	serving   bool
	linkLost  bool

	master   bool
	bonus    uint8 // as the file of keepalived has it
	deadline int   // when the silence of the master has lasted too long
	opposed  int   // since which tick; 0: not
}

// message is a claim on its way.
type message struct {
	at, to int
	claim  gatewaygroup.Claim
}

// world is a group of three hosts and a server.
type world struct {
	now      int
	hosts    [members]*host
	known    gatewaygroup.Claim // by the server
	cut      [members + 1][members + 1]bool
	messages []message
	delay    func() int
}

func newWorld(delay func() int) *world {
	w := &world{delay: delay}
	for i := range w.hosts {
		w.hosts[i] = &host{}
		w.start(i)
	}
	return w
}

func (w *world) start(i int) {
	h := w.hosts[i]
	if h.up {
		return
	}
	*h = host{up: true, agent: true, member: gatewaygroup.NewMember(name(i), uint8(i), w.ask(i)), linkLost: h.linkLost}
	w.rest(i)
}

func name(i int) string { return fmt.Sprintf("host-%d", i) }

// ask is what an agent that starts is told by the server.
func (w *world) ask(i int) gatewaygroup.Claim {
	if w.cut[i][server] {
		return gatewaygroup.Claim{}
	}
	return w.known
}

func (w *world) crash(i int) {
	lost := w.hosts[i].linkLost
	*w.hosts[i] = host{linkLost: lost}
}

// killAgent leaves keepalived and the kernel as they are.
func (w *world) killAgent(i int) {
	if h := w.hosts[i]; h.up && h.agent {
		h.agent, h.agentBack = false, w.now+second/2
	}
}

func (w *world) agentStarts(i int) {
	h := w.hosts[i]
	h.agent, h.opposed = true, 0
	h.member = gatewaygroup.NewMember(name(i), uint8(i), w.ask(i))
	if h.master {
		h.member = h.member.Resumed()
	}
}

// killVRRP ends keepalived; the agent starts it again.
func (w *world) killVRRP(i int) {
	if h := w.hosts[i]; h.up && h.agent {
		h.master, h.member = false, h.member.Stopped()
		h.bonus, h.serving = 0, false
		w.rest(i)
	}
}

func (w *world) priority(i int) int {
	h := w.hosts[i]
	p := int(h.member.Priority()) + int(h.bonus)
	if h.linkLost {
		p -= gatewaygroup.LinkPenalty
	}
	return min(max(p, 1), 254)
}

// rest awaits the next advertisement (RFC 5798, section 6.1: Master_Down_Interval).
func (w *world) rest(i int) {
	w.hosts[i].deadline = w.now + 3*advertEvery + (256-w.priority(i))*advertEvery/256
}

func (w *world) tick() {
	w.now++
	w.deliver()
	for i, h := range w.hosts {
		if !h.up {
			continue
		}
		if !h.agent && w.now >= h.agentBack {
			w.agentStarts(i)
		}
		if !h.master && w.now >= h.deadline {
			h.master = true
		}
		if h.master && (w.now+i)%advertEvery == 0 {
			w.advertise(i)
		}
	}
	for i, h := range w.hosts {
		if h.up && h.agent {
			w.decide(i)
		}
	}
	if w.now%gossipEvery == 0 {
		w.gossip()
	}
}

// advertise has the others hear the master (section 6.4.2 and 6.4.3).
func (w *world) advertise(i int) {
	p := w.priority(i)
	for j, h := range w.hosts {
		if j == i || !h.up || w.cut[i][j] {
			continue
		}
		own := w.priority(j)
		switch {
		case h.master && (p > own || p == own && i > j): // the greater address
			h.master = false
			w.rest(j)
		case !h.master && p >= own:
			w.rest(j)
		}
	}
}

// decide is the agent: it hands events to the member and does what follows.
func (w *world) decide(i int) {
	h := w.hosts[i]
	before := h.member.Claim()
	if h.master {
		h.member = h.member.Elected()
	} else {
		h.member = h.member.Lost()
	}
	switch {
	case !h.member.Opposed():
		h.opposed = 0
	case h.opposed == 0:
		h.opposed = w.now
	case w.now-h.opposed > patience:
		h.member = h.member.Unopposed()
	}
	h.serving, h.bonus = h.member.Active(), h.member.Bonus()
	if h.member.Claim() != before {
		w.tell(i, h.member.Claim())
	}
}

// tell sends a claim to all that can be reached.
func (w *world) tell(from int, c gatewaygroup.Claim) {
	for to := range members + 1 {
		if to != from && !w.cut[from][to] {
			w.messages = append(w.messages, message{w.now + w.delay(), to, c})
		}
	}
}

func (w *world) gossip() {
	w.tell(server, w.known)
	for i, h := range w.hosts {
		if h.up && h.agent {
			w.tell(i, h.member.Claim())
		}
	}
}

func (w *world) deliver() {
	w.messages = slices.DeleteFunc(w.messages, func(m message) bool {
		if m.at > w.now {
			return false
		}
		if m.to == server {
			w.known = gatewaygroup.Newest(w.known, m.claim)
		} else if h := w.hosts[m.to]; h.up && h.agent {
			h.member = h.member.Heard(m.claim)
		}
		return true
	})
}

func (w *world) owners() (all []int) {
	for i, h := range w.hosts {
		if h.serving {
			all = append(all, i)
		}
	}
	return all
}

func (w *world) run(ticks int) {
	for range ticks {
		w.tick()
	}
}

func (w *world) divide(a, b int, is bool) { w.cut[a][b], w.cut[b][a] = is, is }

// fault does one of the things that go wrong.
func (w *world) fault(t *rapid.T) {
	i := rapid.IntRange(0, members-1).Draw(t, "host")
	switch rapid.SampledFrom([]string{
		"crash", "start", "cut", "mend", "alone", "link lost", "link back", "kill agent", "kill vrrp", "nothing",
	}).Draw(t, "fault") {
	case "crash":
		w.crash(i)
	case "start":
		w.start(i)
	case "cut", "mend":
		w.divide(i, rapid.IntRange(0, members).Draw(t, "from"), rapid.Bool().Draw(t, "cut"))
	case "alone":
		for j := range members + 1 {
			w.divide(i, j, i != j)
		}
	case "link lost":
		w.hosts[i].linkLost = true
	case "link back":
		w.hosts[i].linkLost = false
	case "kill agent":
		w.killAgent(i)
	case "kill vrrp":
		w.killVRRP(i)
	}
}

// heal ends all faults.
func (w *world) heal() {
	w.cut = [members + 1][members + 1]bool{}
	for i, h := range w.hosts {
		h.linkLost = false
		w.start(i)
		if !h.agent {
			w.agentStarts(i)
		}
	}
}

// Whatever has happened: from one advertisement interval and a second after healing on, there are no two owners, and soon
// after there is exactly one, for good, whom the server knows.
func TestAfterHealingThereIsOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(1, second/4), 8, 8).Draw(t, "delays")
		n := 0
		w := newWorld(func() int { n++; return delays[n%len(delays)] })
		for range rapid.IntRange(0, 25).Draw(t, "faults") {
			w.run(rapid.IntRange(1, 2*second).Draw(t, "after"))
			w.fault(t)
		}
		w.heal()
		w.run(advertEvery + second)
		for range 3 * second {
			w.tick()
			if all := w.owners(); len(all) > 1 {
				t.Fatalf("%d ticks: the group has the owners %v", w.now, all)
			}
		}
		last := w.owners()
		if len(last) != 1 {
			t.Fatalf("the group has the owners %v", last)
		}
		for range 5 * second {
			w.tick()
			if all := w.owners(); !slices.Equal(all, last) {
				t.Fatalf("%d ticks: the owner %v became %v without a reason", w.now, last, all)
			}
		}
		if w.known.Host != name(last[0]) {
			t.Fatalf("the owner is %v, the server knows %+v", last, w.known)
		}
	})
}

func TestAHostThatComesBackTakesNothingAway(t *testing.T) {
	w := newWorld(func() int { return 5 })
	w.run(3 * second)
	if got := w.owners(); !slices.Equal(got, []int{0}) {
		t.Fatalf("the owners are %v, not the first host", got)
	}
	first := w.known.Epoch
	for round := range 100 { // more than epochs have priorities of their own
		owner := w.owners()[0]
		w.crash(owner)
		w.run(second)
		next := w.owners()
		if len(next) != 1 || next[0] == owner {
			t.Fatalf("round %d: a second after the owner's death the owners are %v", round, next)
		}
		w.start(owner)
		for range 3 * second {
			w.tick()
			if got := w.owners(); !slices.Equal(got, next) {
				t.Fatalf("round %d: the owner %v became %v when host %d came back", round, next, got, owner)
			}
		}
		if want := first + uint64(round) + 1; w.known.Epoch != want {
			t.Fatalf("round %d: the epoch is %d, not %d", round, w.known.Epoch, want)
		}
	}
}

func TestOfTwoOwnersTheLaterOneStays(t *testing.T) {
	w := newWorld(func() int { return 5 })
	w.run(3 * second)
	for j := range members + 1 {
		w.divide(0, j, j != 0)
	}
	w.run(2 * second)
	if got := w.owners(); !slices.Equal(got, []int{0, 1}) {
		t.Fatalf("in a partition the owners are %v", got)
	}
	w.heal()
	w.run(advertEvery + 1)
	if got := w.owners(); !slices.Equal(got, []int{1}) {
		t.Fatalf("an interval after healing the owners are %v", got)
	}
}

func TestTheDeathOfTheAgentAloneChangesNothing(t *testing.T) {
	w := newWorld(func() int { return 5 })
	w.run(3 * second)
	claim := w.known
	w.killAgent(0)
	for range 3 * second {
		w.tick()
		if got := w.owners(); !slices.Equal(got, []int{0}) {
			t.Fatalf("the owners are %v", got)
		}
	}
	if w.known != claim {
		t.Errorf("the claim %+v became %+v", claim, w.known)
	}
}

func TestClaimsAreInOneOrder(t *testing.T) {
	claims := rapid.Custom(func(t *rapid.T) gatewaygroup.Claim {
		return gatewaygroup.Claim{
			Epoch: rapid.Uint64Range(0, 3).Draw(t, "epoch"), Rank: rapid.Uint8Range(0, 2).Draw(t, "rank"),
			Host: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "host"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := claims.Draw(t, "a"), claims.Draw(t, "b"), claims.Draw(t, "c")
		if a != b && a.Beats(b) == b.Beats(a) || a.Beats(a) {
			t.Fatalf("%+v and %+v are in no order", a, b)
		}
		if gatewaygroup.Newest(a, gatewaygroup.Newest(b, c)) != gatewaygroup.Newest(gatewaygroup.Newest(c, a), b) {
			t.Fatalf("the newest of %+v, %+v and %+v depends on who is heard first", a, b, c)
		}
	})
}

func TestPrioritiesFitIntoVRRP(t *testing.T) {
	for rank := range uint8(members) {
		m := gatewaygroup.NewMember("h", rank, gatewaygroup.Claim{})
		for range 200 {
			m = m.Stopped().Elected()
			if p := int(m.Priority()) + int(m.Bonus()); p > 254 || p-gatewaygroup.LinkPenalty >= 10 {
				t.Fatalf("epoch %d, rank %d: the priority %d", m.Claim().Epoch, rank, p)
			}
		}
	}
}
