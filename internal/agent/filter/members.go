package filter

import (
	"net/netip"

	"go4.org/netipx"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
)

// members are the addresses of a set that rules refer to, counted: two members may have the same one.
type members struct {
	count map[netip.Prefix]int
	// rules is how many rules ask the set.
	rules int
	// blocks are the intervals that the kernel was told last, for each IP version.
	blocks [2]map[rs.Element]bool
	// merged are the same as a set of addresses; nil before there were any.
	merged [2]*netipx.IPSet
	// unmerged says that they have changed since.
	unmerged [2]bool
}

func newMembers() *members { return &members{count: map[netip.Prefix]int{}} }

func version(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// single says whether a block is one address.
func single(p netip.Prefix) bool { return p.Bits() == p.Addr().BitLen() }

func addressElement(a netip.Addr) rs.Element { return rs.Element{First: string(a.AsSlice())} }

// change adds addresses (n = 1) or takes them away (n = -1).
func (s *state) changeMembers(set string, prefixes []netip.Prefix, n int) {
	m := s.memberSet(set)
	for _, p := range prefixes {
		before := m.count[p]
		m.count[p] += n
		v6 := p.Addr().Is6()
		name, _ := memberSets(set, v6)
		switch {
		case m.count[p] == 0:
			delete(m.count, p)
			if single(p) {
				s.filter.Remove(name, addressElement(p.Addr()))
			}
		case before == 0 && single(p):
			s.filter.Put(name, addressElement(p.Addr()), rs.Value{})
		}
		if !single(p) && (before == 0) != (m.count[p] == 0) {
			m.unmerged[version(v6)] = true
			s.unmerged[set] = true
		}
	}
	s.releaseMembers(set, m)
}

// merge brings the blocks of the sets up to date whose members have changed, and the firewalls: once, however many these are.
func (s *state) merge() {
	for set := range s.unmerged {
		m := s.members[set]
		for _, v6 := range []bool{false, true} {
			if m != nil && m.unmerged[version(v6)] {
				s.mergeBlocks(set, m, v6)
				m.unmerged[version(v6)] = false
			}
		}
	}
	clear(s.unmerged)
	s.settleFirewalls()
}

// mergeBlocks makes intervals that neither overlap nor touch of the blocks, as the kernel wants them.
func (s *state) mergeBlocks(set string, m *members, v6 bool) {
	var b netipx.IPSetBuilder
	for p := range m.count {
		if p.Addr().Is6() == v6 && !single(p) {
			b.AddPrefix(p)
		}
	}
	_, name := memberSets(set, v6)
	wanted, merged := intervals(&b)
	for e := range m.blocks[version(v6)] {
		if !wanted[e] {
			s.filter.Remove(name, e)
		}
	}
	for e := range wanted {
		s.filter.Put(name, e, rs.Value{})
	}
	m.blocks[version(v6)], m.merged[version(v6)] = wanted, merged
}

// intervals are the blocks of a builder as elements of a set, and as a set of addresses.
func intervals(b *netipx.IPSetBuilder) (map[rs.Element]bool, *netipx.IPSet) {
	all := map[rs.Element]bool{}
	// The builder is only given valid blocks, which is all that it could complain about.
	set, err := b.IPSet()
	if err != nil {
		return all, nil
	}
	for _, r := range set.Ranges() {
		all[rs.Element{First: string(r.From().AsSlice()), Last: string(r.To().AsSlice())}] = true
	}
	return all, set
}

// memberSet returns the members of a set, and declares it.
func (s *state) memberSet(set string) *members {
	m := s.members[set]
	if m != nil {
		return m
	}
	m = newMembers()
	s.members[set] = m
	for _, v6 := range []bool{false, true} {
		field := rs.IPv4
		if v6 {
			field = rs.IPv6
		}
		one, blocks := memberSets(set, v6)
		s.filter.WantSet(one, rs.Set{Key: []rs.Field{field}})
		s.filter.WantSet(blocks, rs.Set{Key: []rs.Field{field}, Intervals: true})
	}
	return m
}

// releaseMembers removes a set that has neither members nor rules.
func (s *state) releaseMembers(set string, m *members) {
	if len(m.count) > 0 || m.rules > 0 {
		return
	}
	delete(s.members, set)
	for _, v6 := range []bool{false, true} {
		one, blocks := memberSets(set, v6)
		s.filter.DropSet(one)
		s.filter.DropSet(blocks)
	}
}

// has says whether an address is in the set.
func (m *members) has(a netip.Addr) bool {
	if m == nil {
		return false
	}
	merged := m.merged[version(a.Is6())]
	return m.count[netip.PrefixFrom(a, a.BitLen())] > 0 || merged != nil && merged.Contains(a)
}
