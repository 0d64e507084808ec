package filter

import (
	"errors"
	"slices"
	"strings"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/model"
)

// zones numbers the networks of this host, so that connections of two networks with the same addresses are not taken for
// one another. The numbers mean nothing elsewhere. They are kept in the kernel, by the name of the bridge: an agent that
// starts anew finds the connections of its networks where they were.
type zones struct {
	byBridge map[string]uint16
	used     map[uint16]bool
	users    map[string]int // by network
	next     uint16
}

// errNoZone says that the host has more networks than there are zones.
var errNoZone = errors.New("all zones of connection tracking are taken")

// newZones takes over the numbers that the kernel has, by the keys of the map of zones.
func newZones(have map[rs.Element]rs.Value) *zones {
	z := &zones{byBridge: map[string]uint16{}, used: map[uint16]bool{}, users: map[string]int{}}
	for e, v := range have {
		name := deviceOf(e)
		if strings.HasPrefix(name, "brq") && v.Zone != 0 && !z.used[v.Zone] {
			z.byBridge[name], z.used[v.Zone] = v.Zone, true
		}
	}
	return z
}

// deviceOf is the device with which a key begins.
func deviceOf(e rs.Element) string {
	for i, c := range []byte(e.First) {
		if c == 0 {
			return e.First[:i]
		}
	}
	return e.First
}

// join counts a user of the network's zone, which is never 0: that is the one of the host itself. It says whether the
// network has got it just now.
func (z *zones) join(network string) (zone uint16, fresh bool, err error) {
	z.users[network]++
	bridge := model.BridgeName(network)
	if n := z.byBridge[bridge]; n != 0 {
		return n, false, nil
	}
	for range 1<<16 - 1 {
		z.next++
		if z.next != 0 && !z.used[z.next] {
			z.byBridge[bridge], z.used[z.next] = z.next, true
			return z.next, true, nil
		}
	}
	return 0, false, errNoZone
}

// leave takes a user back; gone says that it was the last one, and that the zone is free.
func (z *zones) leave(network string) (zone uint16, gone bool) {
	z.users[network]--
	if z.users[network] > 0 {
		return 0, false
	}
	delete(z.users, network)
	bridge := model.BridgeName(network)
	zone = z.byBridge[bridge]
	delete(z.byBridge, bridge)
	delete(z.used, zone)
	return zone, zone != 0
}

// of is the zone of a network; 0 if it has none.
func (z *zones) of(network string) uint16 { return z.byBridge[model.BridgeName(network)] }

// sweep frees the zones of networks that were known to the kernel, and that nobody wants any more.
func (z *zones) sweep() (freed []uint16) {
	wanted := map[string]bool{}
	for network := range z.users {
		wanted[model.BridgeName(network)] = true
	}
	for bridge, zone := range z.byBridge {
		if !wanted[bridge] {
			delete(z.byBridge, bridge)
			delete(z.used, zone)
			freed = append(freed, zone)
		}
	}
	return freed
}

// bridges are the bridges of the networks that have a zone.
func (z *zones) bridges() []string {
	all := make([]string, 0, len(z.users))
	for network := range z.users {
		all = append(all, model.BridgeName(network))
	}
	slices.Sort(all)
	return all
}
