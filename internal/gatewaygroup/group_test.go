package gatewaygroup_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
)

// hosts draws names of hosts as they are in real clouds: alike.
func hosts(t *rapid.T, least int) []string {
	n := rapid.IntRange(least, 20).Draw(t, "hosts")
	first := rapid.IntRange(0, 1000).Draw(t, "first")
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("network-%d.example.org", first+i)
	}
	return all
}

func options(t *rapid.T) gatewaygroup.Options {
	return gatewaygroup.Options{
		Groups: rapid.SampledFrom([]int{100, 192, 200}).Draw(t, "groups"),
		Size:   rapid.IntRange(2, 3).Draw(t, "size"),
	}
}

func TestEachGroupHasItsNumberOfDifferentHosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, o := hosts(t, 0), options(t)
		groups := gatewaygroup.Form(all, o)
		if len(groups) != o.Groups {
			t.Fatalf("%d groups, want %d", len(groups), o.Groups)
		}
		for i, g := range groups {
			if int(g.Number) != i+1 {
				t.Fatalf("group %d has the number %d", i+1, g.Number)
			}
			different := slices.Compact(slices.Sorted(slices.Values(g.Hosts)))
			if len(g.Hosts) != min(o.Size, len(all)) || len(different) != len(g.Hosts) {
				t.Fatalf("group %d is on %v, of %d hosts", g.Number, g.Hosts, len(all))
			}
		}
	})
}

func TestNeitherOrderNorRepetitionMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, o := hosts(t, 1), options(t)
		other := append(rapid.Permutation(all).Draw(t, "order"), all[0])
		if diff := cmp.Diff(gatewaygroup.Form(all, o), gatewaygroup.Form(other, o)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestHostsHaveEvenSharesOfEachPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, o := hosts(t, 4), options(t)
		groups := gatewaygroup.Form(all, o)
		for place := range o.Size {
			count := map[string]int{}
			for _, g := range groups {
				count[g.Hosts[place]]++
			}
			// The first place is what a host carries while all are well. Which hosts are left for the others is not free.
			even := float64(o.Groups) / float64(len(all))
			least, most := even-1, even+1
			if place > 0 {
				least, most = even/8-1, even+8
			}
			for _, h := range all {
				if n := float64(count[h]); n > most || n < least {
					t.Fatalf("place %d: %s has %v groups, an even share is %.1f", place, h, n, even)
				}
			}
		}
	})
}

// What has to move when one of n hosts goes are its own places: an n-th of all.
func TestFewGroupsMoveWhenAHostComesOrGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, o := hosts(t, 5), options(t)
		without := slices.Delete(slices.Clone(all), 0, 1)
		before, after := gatewaygroup.Form(all, o), gatewaygroup.Form(without, o)
		needed, moved := 0, 0
		for i := range before {
			for _, h := range before[i].Hosts {
				if h == all[0] {
					needed++
				} else if !slices.Contains(after[i].Hosts, h) {
					moved++
				}
			}
		}
		if total := o.Groups * o.Size; moved > needed+total/10 {
			t.Fatalf("of %d places, %d had to move, and %d others did", total, needed, moved)
		}
	})
}

func TestRoutersAreSpreadOverAllGroups(t *testing.T) {
	o := gatewaygroup.Options{}
	count := map[uint8]int{}
	const routers = 192 * 50
	for range routers {
		id := uuid.NewString()
		n := gatewaygroup.Of(id, o)
		if n != gatewaygroup.Of(id, o) {
			t.Fatalf("router %s is in two groups", id)
		}
		count[n]++
	}
	for n := 1; n <= gatewaygroup.DefaultGroups; n++ {
		if c := count[uint8(n)]; c < 15 || c > 100 {
			t.Errorf("group %d has %d routers, about 50 are even", n, c)
		}
	}
	if len(count) != gatewaygroup.DefaultGroups {
		t.Errorf("%d groups have routers", len(count))
	}
}
