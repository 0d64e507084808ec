package subnetpool_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/service/subnetpool"
	"github.com/neutrino-net/neutrino/internal/state"
)

var stranger = &auth.Caller{ProjectID: "p2", Roles: []string{"member", "reader"}}

func TestPoolIsCompletedOrRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		body st.Body
		want string // the type of the fault, or what the pool looks like
	}{
		{"IPv4", st.Body{"prefixes": []any{"10.0.1.0/24", "10.0.0.0/24"}}, "[10.0.0.0/23] 8 8 32"},
		{"IPv6", st.Body{"prefixes": []any{"2001:db8::/48"}}, "[2001:db8::/48] 64 64 128"},
		{"bounds", st.Body{"prefixes": []any{"10.0.0.0/8"}, "min_prefixlen": "16", "max_prefixlen": 28, "default_prefixlen": 24},
			"[10.0.0.0/8] 24 16 28"},
		{"no prefix", st.Body{"prefixes": []any{}}, "EmptySubnetPoolPrefixList"},
		{"two versions", st.Body{"prefixes": []any{"10.0.0.0/8", "2001:db8::/48"}}, "PrefixVersionMismatch"},
		{"min above max", st.Body{"prefixes": []any{"10.0.0.0/8"}, "min_prefixlen": 25, "max_prefixlen": 24}, "IllegalSubnetPoolPrefixBounds"},
		{"default below min", st.Body{"prefixes": []any{"10.0.0.0/8"}, "min_prefixlen": 25, "default_prefixlen": 24}, "IllegalSubnetPoolPrefixBounds"},
		{"default above max", st.Body{"prefixes": []any{"10.0.0.0/8"}, "max_prefixlen": 25, "default_prefixlen": 26}, "IllegalSubnetPoolPrefixBounds"},
		{"max above the address", st.Body{"prefixes": []any{"10.0.0.0/8"}, "max_prefixlen": 33}, "IllegalSubnetPoolPrefixBounds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := st.New(t, st.Options{}).CreateSubnetPool(st.Member, c.body)
			if err != nil {
				st.WantFault(t, err, fault.Invalid, c.want)
			} else if got := fmt.Sprint(p.Prefixes, p.DefaultPrefixLen, p.MinPrefixLen, p.MaxPrefixLen); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// world has a shared pool 10.0.0.0/16 of the member's, from /20 to /28, and a network of the member's.
func world(t *testing.T) (*st.World, *model.SubnetPool, *model.Network) {
	w := st.New(t, st.Options{})
	p := st.Must(w.CreateSubnetPool(st.Member, st.Body{
		"prefixes": []any{"10.0.0.0/16"}, "min_prefixlen": 20, "max_prefixlen": 28, "default_prefixlen": 24,
	}))(t)
	return w, p, st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
}

func TestSubnetsAreCarved(t *testing.T) {
	for _, c := range []struct {
		name   string
		caller *auth.Caller
		body   st.Body
		kind   fault.Kind
		want   string // the block, or the type of the fault
	}{
		{name: "of the default length", body: st.Body{}, want: "10.0.1.0/24"},
		{name: "of another length", body: st.Body{"prefixlen": 28}, want: "10.0.0.16/28"},
		{name: "a certain block", body: st.Body{"cidr": "10.0.128.0/24"}, want: "10.0.128.0/24"},
		{name: "too short", body: st.Body{"prefixlen": 19}, want: "MinPrefixSubnetAllocationError"},
		{name: "too long", body: st.Body{"prefixlen": 29}, want: "MaxPrefixSubnetAllocationError"},
		{name: "a block that is taken", body: st.Body{"cidr": "10.0.0.0/24"}, kind: fault.Conflict, want: "SubnetAllocationError"},
		{name: "a block from outside", body: st.Body{"cidr": "10.1.0.0/24"}, kind: fault.Conflict, want: "SubnetAllocationError"},
		{name: "a block and a length", body: st.Body{"cidr": "10.0.1.0/24", "prefixlen": 24}, want: "BadRequest"},
		{name: "another version", body: st.Body{"ip_version": 6, "prefixlen": 64}, want: "BadRequest"},
		{name: "pools of no block", body: st.Body{"allocation_pools": []any{}}, want: "BadRequest"},
		{name: "the default, too", body: st.Body{"use_default_subnetpool": true}, want: "BadRequest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, p, n := world(t)
			st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "subnetpool_id": p.ID, "prefixlen": 28}))(t)
			c.body["network_id"], c.body["subnetpool_id"] = n.ID, p.ID
			s, err := w.CreateSubnet(st.Member, c.body)
			if err != nil {
				st.WantFault(t, err, c.kind, c.want)
			} else if s.CIDR.String() != c.want || s.SubnetPoolID != p.ID {
				t.Errorf("got %v of %s", s.CIDR, s.SubnetPoolID)
			}
		})
	}
}

func TestOnlyThoseWhoSeeAPoolUseIt(t *testing.T) {
	w, p, _ := world(t)
	n := st.Must(w.CreateNetwork(stranger, st.Body{}))(t)
	_, err := w.CreateSubnet(stranger, st.Body{"network_id": n.ID, "subnetpool_id": p.ID})
	st.WantFault(t, err, fault.NotFound, "SubnetPoolNotFound")
	shared := st.Must(w.CreateSubnetPool(st.Admin, st.Body{
		"prefixes": []any{"192.168.0.0/16"}, "min_prefixlen": 24, "shared": true, "is_default": true,
	}))(t)
	s := st.Must(w.CreateSubnet(stranger, st.Body{"network_id": n.ID, "use_default_subnetpool": true}))(t)
	if s.SubnetPoolID != shared.ID || s.CIDR.String() != "192.168.0.0/24" {
		t.Errorf("the subnet is %v of %s", s.CIDR, s.SubnetPoolID)
	}
	_, err = w.CreateSubnetPool(st.Admin, st.Body{"prefixes": []any{"172.16.0.0/16"}, "is_default": true})
	st.WantFault(t, err, fault.Invalid, "InvalidInput")
	st.WantFault(t, w.DeleteSubnetPool(st.Admin, shared.ID), fault.Invalid, "SubnetPoolDeleteError")
	if err := w.DeleteSubnet(stranger, s.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteSubnetPool(st.Admin, shared.ID); err != nil {
		t.Fatal(err)
	}
}

func TestQuotaIsByProject(t *testing.T) {
	w := st.New(t, st.Options{})
	p := st.Must(w.CreateSubnetPool(st.Admin, st.Body{
		"prefixes": []any{"10.0.0.0/16"}, "min_prefixlen": 16, "default_quota": 512, "shared": true,
	}))(t)
	take := func(c *auth.Caller, bits int) error {
		n := st.Must(w.CreateNetwork(c, st.Body{}))(t)
		_, err := w.CreateSubnet(c, st.Body{"network_id": n.ID, "subnetpool_id": p.ID, "prefixlen": bits})
		return err
	}
	for _, bits := range []int{24, 25, 25} {
		if err := take(st.Member, bits); err != nil {
			t.Fatal(err)
		}
	}
	st.WantFault(t, take(st.Member, 30), fault.OverQuota, "SubnetPoolQuotaExceeded")
	st.WantFault(t, take(stranger, 22), fault.OverQuota, "SubnetPoolQuotaExceeded")
	if err := take(stranger, 23); err != nil {
		t.Error(err)
	}
}

func TestPrefixesComeAndGo(t *testing.T) {
	w, p, n := world(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "subnetpool_id": p.ID}))(t) // 10.0.0.0/24
	act := func(do func(*state.Tx, *auth.Caller, *model.SubnetPool, []netip.Prefix) ([]netip.Prefix, error), block string,
	) (got []netip.Prefix, err error) {
		err = w.Update(func(tx *state.Tx) (err error) {
			now, _ := state.SubnetPools.Get(tx, p.ID)
			got, err = do(tx, st.Member, now, []netip.Prefix{netip.MustParsePrefix(block)})
			return err
		})
		return got, err
	}
	var rules subnetpool.Rules
	if got, err := act(rules.AddPrefixes, "10.1.0.0/16"); err != nil || fmt.Sprint(got) != "[10.0.0.0/15]" {
		t.Errorf("added: %v, %v", got, err)
	}
	if got, err := act(rules.RemovePrefixes, "10.0.128.0/17"); err != nil || fmt.Sprint(got) != "[10.0.0.0/17 10.1.0.0/16]" {
		t.Errorf("removed: %v, %v", got, err)
	}
	_, err := act(rules.RemovePrefixes, "10.0.0.128/25")
	st.WantFault(t, err, fault.Invalid, "IllegalSubnetPoolPrefixUpdate")
	_, err = act(rules.AddPrefixes, "2001:db8::/48")
	st.WantFault(t, err, fault.Invalid, "PrefixVersionMismatch")
	_, err = w.UpdateSubnetPool(st.Member, p.ID, st.Body{"prefixes": []any{"10.0.0.0/17"}})
	st.WantFault(t, err, fault.Invalid, "IllegalSubnetPoolPrefixUpdate")
}

// Onboarding must not take the subnets of a network that is only shared with the caller.
func TestOnlyTheOwnerOfANetworkOnboardsIt(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Admin, st.Body{"shared": true}))(t)
	s := st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": n.ID, "cidr": "10.5.0.0/24"}))(t)
	onboard := func(c *auth.Caller, block string) (*model.SubnetPool, error) {
		p := st.Must(w.CreateSubnetPool(c, st.Body{"prefixes": []any{block}}))(t)
		err := w.Update(func(tx *state.Tx) error {
			_, err := subnetpool.Rules{}.Onboard(tx, c, p.Clone(), n.ID)
			return err
		})
		now, _ := state.SubnetPools.Get(w.Store.Read(), p.ID)
		return now, err
	}
	_, err := onboard(st.Member, "10.9.0.0/16")
	st.WantFault(t, err, fault.Forbidden, "NotAuthorized")
	p, err := onboard(st.Admin, "10.8.0.0/16")
	now, _ := state.Subnets.Get(w.Store.Read(), s.ID)
	if err != nil || now.SubnetPoolID != p.ID || fmt.Sprint(p.Prefixes) != "[10.5.0.0/24 10.8.0.0/16]" {
		t.Errorf("%v: subnet of %s, pool %v", err, now.SubnetPoolID, p.Prefixes)
	}
}

func TestPoolsOfAScopeDoNotOverlap(t *testing.T) {
	w := st.New(t, st.Options{})
	scope := st.Must(w.CreateAddressScope(st.Member, st.Body{"ip_version": 4}))(t)
	pool := func(c *auth.Caller, block string, more st.Body) (*model.SubnetPool, error) {
		b := st.Body{"prefixes": []any{block}, "address_scope_id": scope.ID}
		for k, v := range more {
			b[k] = v
		}
		return w.CreateSubnetPool(c, b)
	}
	p := st.Must(pool(st.Member, "10.0.0.0/16", nil))(t)
	_, err := pool(st.Member, "10.0.128.0/17", nil)
	st.WantFault(t, err, fault.Conflict, "AddressScopePrefixConflict")
	_, err = pool(st.Member, "2001:db8::/48", nil)
	st.WantFault(t, err, fault.Invalid, "IllegalSubnetPoolIpVersionAssociationToAddressScope")
	_, err = pool(stranger, "10.1.0.0/16", nil)
	st.WantFault(t, err, fault.NotFound, "AddressScopeNotFound")
	st.WantFault(t, w.DeleteAddressScope(st.Member, scope.ID), fault.Conflict, "AddressScopeInUse")

	// A network stays in one scope.
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "subnetpool_id": p.ID, "prefixlen": 24}))(t)
	_, err = w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "192.168.0.0/24"})
	st.WantFault(t, err, fault.Invalid, "NetworkAddressScopeAffinityError")
	q := st.Must(pool(st.Member, "10.1.0.0/16", nil))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "subnetpool_id": q.ID, "prefixlen": 24}))(t)
	_, err = w.UpdateSubnetPool(st.Member, q.ID, st.Body{"address_scope_id": nil})
	st.WantFault(t, err, fault.Invalid, "NetworkAddressScopeAffinityError")

	st.Must(w.UpdateAddressScope(st.Member, scope.ID, st.Body{"shared": true}))(t)
	_, err = w.UpdateAddressScope(st.Member, scope.ID, st.Body{"shared": false})
	st.WantFault(t, err, fault.Invalid, "AddressScopeUpdateError")
	foreign := st.Must(pool(stranger, "10.2.0.0/16", nil))(t)
	_, err = w.UpdateSubnetPool(stranger, foreign.ID, st.Body{"name": "x"})
	st.WantFault(t, err, fault.Invalid, "IllegalSubnetPoolUpdate")
}

func TestConcurrentSubnetsGetDifferentBlocks(t *testing.T) {
	w := st.New(t, st.Options{})
	p := st.Must(w.CreateSubnetPool(st.Member, st.Body{"prefixes": []any{"10.0.0.0/26"}, "min_prefixlen": 26}))(t)
	const callers, room = 64, 32 // 32 blocks of /31 are in a /26
	var wg sync.WaitGroup
	subnets, errs := make([]*model.Subnet, callers), make([]error, callers)
	for i := range callers {
		wg.Go(func() {
			var n *model.Network
			if n, errs[i] = w.CreateNetwork(st.Member, st.Body{}); errs[i] == nil {
				subnets[i], errs[i] = w.CreateSubnet(st.Member, st.Body{
					"network_id": n.ID, "subnetpool_id": p.ID, "prefixlen": 31, "enable_dhcp": false,
				})
			}
		})
	}
	wg.Wait()
	seen := map[netip.Prefix]bool{}
	for i, err := range errs {
		if err != nil {
			st.WantFault(t, err, fault.Conflict, "SubnetAllocationError")
			continue
		}
		if block := subnets[i].CIDR; seen[block] || !p.Prefixes[0].Contains(block.Addr()) {
			t.Errorf("%v is from outside or given twice", block)
		}
		seen[subnets[i].CIDR] = true
	}
	if len(seen) != room {
		t.Errorf("%d blocks were given, want %d", len(seen), room)
	}
}

// TestNoAddressIsTwiceInAScope lets pools of one scope come, grow, shrink and go, and subnets with them, at random.
func TestNoAddressIsTwiceInAScope(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := st.New(t, st.Options{})
		scope := st.Must(w.CreateAddressScope(st.Member, st.Body{"ip_version": 4}))(t)
		block := func() string {
			bits := rapid.IntRange(22, 26).Draw(rt, "bits")
			third := rapid.IntRange(0, 15).Draw(rt, "third")
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(third), 0}), bits).Masked().String()
		}
		one := func(pools []*model.SubnetPool) *model.SubnetPool {
			return pools[rapid.IntRange(0, len(pools)-1).Draw(rt, "which")]
		}
		for range rapid.IntRange(4, 14).Draw(rt, "steps") {
			r := w.Store.Read()
			pools := slices.Collect(state.SubnetPools.All(r))
			step := rapid.IntRange(0, 4).Draw(rt, "step")
			if len(pools) == 0 {
				step = 0
			}
			// Whatever is refused changes nothing, which is what is checked below.
			switch step {
			case 0:
				_, _ = w.CreateSubnetPool(st.Member, st.Body{
					"prefixes": []any{block()}, "address_scope_id": scope.ID, "min_prefixlen": 20,
				})
			case 1:
				n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
				_, _ = w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "subnetpool_id": one(pools).ID,
					"prefixlen": rapid.IntRange(22, 28).Draw(rt, "length")})
			case 2, 3:
				p, change := one(pools), []netip.Prefix{netip.MustParsePrefix(block())}
				_ = w.Update(func(tx *state.Tx) error {
					do := subnetpool.Rules{}.AddPrefixes
					if step == 3 {
						do = subnetpool.Rules{}.RemovePrefixes
					}
					_, err := do(tx, st.Member, p, change)
					return err
				})
			case 4:
				for s := range state.Subnets.All(r) {
					_ = w.DeleteSubnet(st.Member, s.ID)
					break
				}
			}
			subnets := slices.Collect(state.Subnets.All(w.Store.Read()))
			for i, a := range subnets {
				for _, b := range subnets[:i] {
					if a.CIDR.Overlaps(b.CIDR) {
						rt.Fatalf("%v and %v overlap in one scope", a.CIDR, b.CIDR)
					}
				}
			}
		}
	})
}
