// Package gatewaygroup holds the rules of gateway groups, by which routers are highly available. It is pure: no I/O, no
// clock.
//
// A router is in one of a fixed number of groups, a group is on two or three hosts, and one of these is active for all
// routers of the group. So the number of elections on the wire does not grow with the number of routers, and a host that
// dies is replaced by several others, each taking over some of its groups.
//
//   - group.go, here: which routers are in which group, and which hosts are in it.
//   - owner.go: which host owns a group; the rule by which hosts that could not talk to each other agree afterwards.
package gatewaygroup

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"
)

const (
	// MaxGroups is how many groups there can be on one VRRP segment; identifiers end at 255.
	MaxGroups = 200
	// DefaultGroups is a number that 2, 3, 4, 6, 8, 12 and 16 hosts share without a remainder.
	DefaultGroups = 192
	// DefaultSize is how many hosts a group has, where there are enough.
	DefaultSize = 3
)

// Options say how groups are formed. They are the same for the whole life of a cluster: another number of groups moves
// nearly all routers.
type Options struct {
	// Groups is their number, 1 to MaxGroups; 0: DefaultGroups.
	Groups int
	// Size is the number of hosts of a group, 2 or 3; 0: DefaultSize.
	Size int
}

func (o Options) normal() Options {
	if o.Groups <= 0 {
		o.Groups = DefaultGroups
	}
	if o.Size <= 0 {
		o.Size = DefaultSize
	}
	o.Groups = min(o.Groups, MaxGroups)
	return o
}

// Group is a group and its hosts.
type Group struct {
	// Number is 1 to MaxGroups; it is the virtual router identifier, too.
	Number uint8
	// Hosts in the order in which they are preferred while nobody owns the group.
	Hosts []string
}

// Of returns the number of the router's group. It depends on nothing but the router's id and the number of groups.
func Of(routerID string, o Options) uint8 {
	o = o.normal()
	return uint8(1 + score(routerID, "")%uint64(o.Groups))
}

// Preferred are the numbers of all groups in the order in which the router would have them: that of Of, and then those to
// fall back on where the hosts of a group cannot serve the router.
func Preferred(routerID string, o Options) []uint8 {
	o = o.normal()
	first := Of(routerID, o)
	rank := make(map[uint8]uint64, o.Groups)
	numbers := make([]uint8, 0, o.Groups)
	for i := range o.Groups {
		n := uint8(i + 1)
		numbers = append(numbers, n)
		rank[n] = score(routerID, strconv.Itoa(int(n)))>>1 + 1
	}
	rank[first] = 0
	slices.SortFunc(numbers, func(a, b uint8) int { return cmp.Compare(rank[a], rank[b]) })
	return numbers
}

// Form spreads the groups over the hosts: each group takes the hosts with the highest scores for it (rendezvous hashing),
// leaving out those that have their share of first or of all places. The order and repetitions of hosts do not matter.
//
// While hosts come and go, a group keeps those of its hosts that stay, but for the few that move to keep the shares even.
func Form(hosts []string, o Options) []Group {
	o = o.normal()
	hosts = slices.Compact(slices.Sorted(slices.Values(hosts)))
	size := min(o.Size, len(hosts))
	groups := make([]Group, o.Groups)
	for i := range groups {
		groups[i].Number = uint8(i + 1)
	}
	preferred := make([][]string, o.Groups)
	for i, g := range groups {
		preferred[i] = byScore(hosts, g.Number)
	}
	for range size {
		// Each place is given out with shares of its own, so that hosts are even as first, as second and as third.
		s := newShares(o.Groups, len(hosts))
		for i := range groups {
			h := s.choose(groups[i].Hosts, preferred[i])
			groups[i].Hosts = append(groups[i].Hosts, h)
		}
	}
	return groups
}

// shares gives out n places evenly: each host has the same number, and as many as the remainder says have one more. To
// allow some more would move fewer places when hosts come and go, and leave some hosts with a third of what others have to
// carry.
type shares struct {
	used  map[string]int
	each  int
	extra int // places that are left for hosts which have their number already
}

func newShares(n, hosts int) *shares {
	return &shares{used: make(map[string]int, hosts), each: n / hosts, extra: n % hosts}
}

// byScore returns the hosts in the order of their scores for the group.
func byScore(hosts []string, group uint8) []string {
	number := strconv.Itoa(int(group))
	scores := make(map[string]uint64, len(hosts))
	for _, h := range hosts {
		scores[h] = score(h, number)
	}
	return slices.SortedStableFunc(slices.Values(hosts), func(a, b string) int { return cmp.Compare(scores[b], scores[a]) })
}

// choose gives a place to the most preferred host that is not taken and has room. Where only full ones are left, as with
// few hosts in the last place, it is the least used of them.
func (s *shares) choose(taken, preferred []string) string {
	least := ""
	for _, h := range preferred {
		switch {
		case slices.Contains(taken, h):
		case s.used[h] < s.each:
			s.used[h]++
			return h
		case s.used[h] == s.each && s.extra > 0:
			s.extra--
			s.used[h]++
			return h
		case least == "" || s.used[h] < s.used[least]:
			least = h
		}
	}
	s.used[least]++
	return least
}

// score is a hash of two strings whose bits are all equally good.
func score(a, b string) uint64 {
	h := fnv.New64a()
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(a)))
	h.Write(length[:])
	h.Write([]byte(a))
	h.Write([]byte(b))
	// FNV leaves the low bits of similar strings similar; this mixes them (the finaliser of SplitMix64).
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
