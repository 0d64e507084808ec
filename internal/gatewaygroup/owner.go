package gatewaygroup

// Claim says that a host has taken over a group. The zero value says that nobody has.
//
// Claims are made by the hosts themselves, so that a takeover needs no server: who is elected by VRRP and has not the
// newest claim makes one with the next epoch. They are told to the server and to the other hosts of the group, in any
// order and as often as one likes.
type Claim struct {
	Epoch uint64
	// Rank is the place of the host in the group, 0 being the first. It decides between hosts that have made the same
	// epoch without hearing of each other.
	Rank uint8
	Host string
}

// Beats says whether the claim is newer than the other. It is a total order of all claims of a group.
func (c Claim) Beats(o Claim) bool {
	switch {
	case c.Epoch != o.Epoch:
		return c.Epoch > o.Epoch
	case c.Rank != o.Rank:
		return c.Rank < o.Rank
	}
	return c.Host < o.Host
}

// Newest is the one of two claims that holds. It is all that the server has to do with a claim that is reported.
func Newest(a, b Claim) Claim {
	if b.Beats(a) {
		return b
	}
	return a
}

// Member is what a host knows about a group of which it is a part, and decides whether the host may route for it. Its
// methods return the next value.
//
// The rule: who is elected by VRRP owns the group, unless a newer claim than its own is known. So of two hosts that were
// both elected, because they could not hear each other, the one that was elected later stays. Nobody takes a group from an
// owner that is well.
//
// VRRP knows nothing of claims. So Bonus puts them into the priority: once two owners hear each other again, VRRP itself
// prefers the newer one.
type Member struct {
	Host string
	Rank uint8

	newest  Claim
	elected bool
	// held says that the newest claim is ours, and that VRRP has not run anew since.
	held bool
}

// NewMember returns a member that knows the claim that the state has. A host that was restarted does not return to its own
// old claim: another one may have taken over in the meantime.
func NewMember(host string, rank uint8, known Claim) Member {
	return Member{Host: host, Rank: rank, newest: known}
}

// Elected is called when VRRP has made the host master of the group. The claim that it makes, if any, has to be told.
func (m Member) Elected() Member {
	if m.elected {
		return m
	}
	m.elected = true
	return m.Unopposed()
}

// Unopposed is called when the host has been master without being Active for as long as an election takes. The host with
// the newer claim would have taken over by now, if it were well: so this one makes a newer claim.
func (m Member) Unopposed() Member {
	if m.elected && !m.held {
		m.newest, m.held = Claim{Epoch: m.newest.Epoch + 1, Rank: m.Rank, Host: m.Host}, true
	}
	return m
}

// Resumed is Elected for an agent that was just started and finds that the host is master: nothing has changed, if the
// newest claim is its own.
func (m Member) Resumed() Member {
	m.held = m.newest.Host == m.Host && m.newest.Epoch > 0
	return m.Elected()
}

// Lost is called when the host is no longer master while VRRP goes on: another host has a higher priority.
func (m Member) Lost() Member {
	m.elected = false
	return m
}

// Stopped is called when VRRP has ended on the host. Its claim is forfeited, for nobody knows who has taken over.
func (m Member) Stopped() Member {
	m.elected, m.held = false, false
	return m
}

// Heard is called with each claim that another host or the server tells of.
func (m Member) Heard(c Claim) Member {
	if c.Beats(m.newest) {
		m.newest = c
		m.held = false
	}
	return m
}

// Opposed says whether the host is master and knows of a newer claim than its own. If that lasts, call Unopposed.
func (m Member) Opposed() bool { return m.elected && !m.held }

// Active says whether the host is to route for the group.
func (m Member) Active() bool { return m.elected && m.held }

// Claim is the newest claim that is known; it is the host's own while Active.
func (m Member) Claim() Claim { return m.newest }

// Priorities of VRRP. Those of members without a claim are below those of owners, and the penalty for a lost link is
// larger than both, so that an owner without a link is behind a member with all of them.
const (
	basePriority  = 10
	ownerPriority = 20
	epochsInRound = 60 // epochs that have a priority of their own
	ranks         = 3
	// LinkPenalty is what a lost link takes off the priority.
	LinkPenalty = 250
)

// Priority of the host in VRRP without a claim: the first host of the group has the highest.
func (m Member) Priority() uint8 { return basePriority + ranks - min(m.Rank, ranks) }

// Bonus is what the host adds to its priority: nothing without a claim, and the more the newer its claim is. After
// epochsInRound takeovers it begins anew. Should two owners meet just then, VRRP prefers the wrong one until claims are
// heard; that takes a little longer, and ends the same.
func (m Member) Bonus() uint8 {
	if !m.held {
		return 0
	}
	return uint8(ownerPriority + ranks*(m.newest.Epoch%epochsInRound))
}
