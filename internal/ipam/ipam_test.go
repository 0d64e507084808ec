package ipam_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func pools(ranges ...string) []model.AllocationPool {
	out := []model.AllocationPool{}
	for i := 0; i < len(ranges); i += 2 {
		out = append(out, model.AllocationPool{Start: addr(ranges[i]), End: addr(ranges[i+1])})
	}
	return out
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestDefaultPoolsAreAllButGatewayNetworkAndBroadcast(t *testing.T) {
	for _, c := range []struct {
		cidr, gateway string
		want          []model.AllocationPool
	}{
		{"10.0.0.0/24", "10.0.0.1", pools("10.0.0.2", "10.0.0.254")},
		{"10.0.0.0/24", "10.0.0.254", pools("10.0.0.1", "10.0.0.253")},
		{"10.0.0.0/24", "10.0.0.9", pools("10.0.0.1", "10.0.0.8", "10.0.0.10", "10.0.0.254")},
		{"10.0.0.0/24", "", pools("10.0.0.1", "10.0.0.254")},
		{"10.0.0.0/24", "192.168.0.1", pools("10.0.0.1", "10.0.0.254")},
		{"10.0.0.0/30", "10.0.0.1", pools("10.0.0.2", "10.0.0.2")},
		{"10.0.0.0/31", "10.0.0.1", pools("10.0.0.0", "10.0.0.0")},
		{"10.0.0.7/32", "", pools("10.0.0.7", "10.0.0.7")},
		{"10.0.0.7/32", "10.0.0.7", pools()},
		{"255.255.255.0/24", "255.255.255.254", pools("255.255.255.1", "255.255.255.253")},
		{"2001:db8::/64", "2001:db8::1", pools("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff")},
		{"2001:db8::/64", "2001:db8::", pools("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff")},
		{"2001:db8::/127", "2001:db8::1", pools("2001:db8::", "2001:db8::")},
		{"2001:db8::7/128", "", pools("2001:db8::7", "2001:db8::7")},
	} {
		var gateway netip.Addr
		if c.gateway != "" {
			gateway = addr(c.gateway)
		}
		got := ipam.DefaultPools(netip.MustParsePrefix(c.cidr), gateway)
		if d := cmp.Diff(c.want, got, compareAddrs); d != "" {
			t.Errorf("%s without %s: %s", c.cidr, c.gateway, d)
		}
	}
}

func TestDefaultGatewayIsTheFirstAddress(t *testing.T) {
	for cidr, want := range map[string]string{
		"10.0.0.0/24": "10.0.0.1", "10.0.0.0/31": "10.0.0.1", "10.0.0.0/32": "invalid IP",
		"2001:db8::/64": "2001:db8::1", "2001:db8::/127": "2001:db8::1", "2001:db8::/128": "invalid IP",
	} {
		if got := ipam.DefaultGateway(netip.MustParsePrefix(cidr)).String(); got != want {
			t.Errorf("%s: %s, want %s", cidr, got, want)
		}
	}
}

func TestPoolsAreValidated(t *testing.T) {
	const ok = ""
	for _, c := range []struct {
		cidr  string
		pools []model.AllocationPool
		want  string
	}{
		{"10.0.0.0/24", pools(), ok},
		{"10.0.0.0/24", pools("10.0.0.1", "10.0.0.254"), ok},
		{"10.0.0.0/24", pools("10.0.0.10", "10.0.0.20", "10.0.0.2", "10.0.0.9"), ok},
		{"10.0.0.0/31", pools("10.0.0.0", "10.0.0.1"), ok},
		{"2001:db8::/64", pools("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff"), ok},
		{"10.0.0.0/24", pools("10.0.0.20", "10.0.0.10"), "InvalidAllocationPool"},
		{"10.0.0.0/24", pools("2001:db8::1", "2001:db8::2"), "InvalidAllocationPool"},
		{"10.0.0.0/24", pools("10.0.0.1", "2001:db8::2"), "InvalidAllocationPool"},
		{"10.0.0.0/24", pools("10.0.0.0", "10.0.0.9"), "OutOfBoundsAllocationPool"},
		{"10.0.0.0/24", pools("10.0.0.9", "10.0.0.255"), "OutOfBoundsAllocationPool"},
		{"10.0.0.0/24", pools("10.0.0.9", "10.0.1.9"), "OutOfBoundsAllocationPool"},
		{"2001:db8::/64", pools("2001:db8::", "2001:db8::9"), "OutOfBoundsAllocationPool"},
		{"10.0.0.0/24", pools("10.0.0.5", "10.0.0.9", "10.0.0.2", "10.0.0.5"), "OverlappingAllocationPools"},
		{"10.0.0.0/24", pools("10.0.0.2", "10.0.0.9", "10.0.0.2", "10.0.0.9"), "OverlappingAllocationPools"},
	} {
		err := ipam.ValidatePools(netip.MustParsePrefix(c.cidr), c.pools)
		got := ok
		if f := fault.As(err); f != nil {
			got = f.Type
		}
		if got != c.want {
			t.Errorf("%v of %s: %q, want %q", c.pools, c.cidr, got, c.want)
		}
	}
	servicetest.WantFault(t, ipam.GatewayOutside(addr("10.0.0.5"), pools("10.0.0.5", "10.0.0.9")),
		fault.Conflict, "GatewayConflictWithAllocationPools")
}

func TestWhichAddressesFitASubnet(t *testing.T) {
	for _, c := range []struct {
		cidr, ip, owner string
		want            bool
	}{
		{"10.0.0.0/24", "10.0.0.1", "", true},
		{"10.0.0.0/24", "10.0.0.0", "", false},
		{"10.0.0.0/24", "10.0.0.255", "", false},
		{"10.0.0.0/24", "10.0.1.1", "", false},
		{"10.0.0.0/24", "2001:db8::1", "", false},
		{"10.0.0.0/31", "10.0.0.0", "", true},
		{"10.0.0.0/31", "10.0.0.1", "", true},
		{"10.0.0.0/32", "10.0.0.0", "", true},
		{"2001:db8::/64", "2001:db8::", "", false},
		{"2001:db8::/64", "2001:db8::", "network:router_interface", true},
		{"2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", "", true},
		{"2001:db8::/128", "2001:db8::", "", true},
	} {
		s := &model.Subnet{CIDR: netip.MustParsePrefix(c.cidr)}
		if got := ipam.Fits(s, addr(c.ip), c.owner); got != c.want {
			t.Errorf("%s in %s for %q: %v", c.ip, c.cidr, c.owner, got)
		}
	}
}

func TestEUI64(t *testing.T) {
	got, err := ipam.EUI64(netip.MustParsePrefix("2001:db8::/64"), "fa:16:3e:01:02:03")
	if err != nil || got != addr("2001:db8::f816:3eff:fe01:203") {
		t.Errorf("%s, %v", got, err)
	}
	for _, c := range [][2]string{{"10.0.0.0/24", "fa:16:3e:01:02:03"}, {"2001:db8::/63", "fa:16:3e:01:02:03"}, {"2001:db8::/64", "x"}} {
		if _, err := ipam.EUI64(netip.MustParsePrefix(c[0]), c[1]); err == nil {
			t.Errorf("%v has an address", c)
		}
	}
}

// errRollback ends a transaction of a test without changing anything.
var errRollback = errors.New("end of test")

func within(t testing.TB, w *servicetest.World, fn func(tx *state.Tx)) {
	t.Helper()
	if err := w.Update(func(tx *state.Tx) error { fn(tx); return errRollback }); !errors.Is(err, errRollback) {
		t.Fatal(err)
	}
}

// holder is a port that has the address.
func holder(s *model.Subnet, ip netip.Addr) *model.Port {
	return &model.Port{Meta: model.Meta{ID: "port-" + ip.String()}, FixedIPs: []model.FixedIP{{SubnetID: s.ID, IP: ip}}}
}

// Addresses come and go in random order. Each that is given is in the pools and free; one is refused only when all are
// taken; none is lost.
func TestAddressesNeverLeakNorRepeat(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		cidr := netip.MustParsePrefix(rapid.SampledFrom([]string{
			"10.0.0.0/27", "10.0.0.0/29", "10.0.0.0/30", "10.0.0.0/31", "10.0.0.0/32",
			"2001:db8::/124", "2001:db8::/127", "2001:db8::/128", "255.255.255.248/29",
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124",
		}).Draw(rt, "cidr"))
		full := ipam.DefaultPools(cidr, netip.Addr{})[0]
		all := between(full)
		gateway := rapid.SampledFrom(append(all, netip.Addr{})).Draw(rt, "gateway")
		s := &model.Subnet{Meta: model.Meta{ID: "s"}, CIDR: cidr, AllocationPools: ipam.DefaultPools(cidr, gateway)}
		var can []netip.Addr
		for _, p := range s.AllocationPools {
			can = append(can, between(p)...)
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		random := rand.New(rand.NewPCG(seed, seed)).Uint64N
		within(t, w, func(tx *state.Tx) {
			taken := map[netip.Addr]bool{}
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				if len(taken) > 0 && rapid.IntRange(0, 3).Draw(rt, "free") == 0 {
					for ip := range taken {
						state.Ports.Delete(tx, "port-"+ip.String())
						delete(taken, ip)
						break
					}
					continue
				}
				ip, err := ipam.Allocate(tx, s, random)
				if len(taken) == len(can) {
					if f := fault.As(err); f == nil || f.Type != "IpAddressGenerationFailure" {
						rt.Fatalf("the subnet is full, and the error is %v", err)
					}
					continue
				}
				if err != nil {
					rt.Fatalf("%d of %d are taken, and %v", len(taken), len(can), err)
				}
				if taken[ip] || !contains(can, ip) {
					rt.Fatalf("%s is given: taken %v, pools %v", ip, taken, s.AllocationPools)
				}
				taken[ip] = true
				state.Ports.Put(tx, holder(s, ip))
			}
		})
	})
}

func between(p model.AllocationPool) (ips []netip.Addr) {
	for ip := p.Start; ip.IsValid() && ip.Compare(p.End) <= 0; ip = ip.Next() {
		ips = append(ips, ip)
	}
	return ips
}

func contains(ips []netip.Addr, ip netip.Addr) bool {
	for _, x := range ips {
		if x == ip {
			return true
		}
	}
	return false
}

func TestAllocateFindsTheLastFreeAddressWherever(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	s := &model.Subnet{Meta: model.Meta{ID: "s"}, AllocationPools: pools("10.0.0.2", "10.0.0.5", "10.0.0.8", "10.0.0.9")}
	var all []netip.Addr
	for _, p := range s.AllocationPools {
		all = append(all, between(p)...)
	}
	for _, free := range all {
		for start := range uint64(len(all)) {
			within(t, w, func(tx *state.Tx) {
				for _, ip := range all {
					if ip != free {
						state.Ports.Put(tx, holder(s, ip))
					}
				}
				got, err := ipam.Allocate(tx, s, func(uint64) uint64 { return start })
				if err != nil || got != free {
					t.Errorf("from %d: %s, %v, want %s", start, got, err, free)
				}
				if _, err := ipam.Allocate(tx, s, func(uint64) uint64 { return start }, free); err == nil {
					t.Errorf("from %d: the exception was given", start)
				}
			})
		}
	}
}

func TestOtherSubnetsAddressesDoNotCount(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	within(t, w, func(tx *state.Tx) {
		s := &model.Subnet{Meta: model.Meta{ID: "s"}, CIDR: netip.MustParsePrefix("10.0.0.0/30"),
			AllocationPools: pools("10.0.0.2", "10.0.0.2")}
		for _, id := range []string{"r", "s1", "t", "s/"} {
			other := &model.Subnet{Meta: model.Meta{ID: id}}
			p := holder(other, addr("10.0.0.2"))
			p.ID = id
			state.Ports.Put(tx, p)
		}
		if ip, err := ipam.Allocate(tx, s, rand.Uint64N); err != nil || ip != addr("10.0.0.2") {
			t.Errorf("%s, %v", ip, err)
		}
	})
}

func TestClaimRefusesWhatAnotherPortHas(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	within(t, w, func(tx *state.Tx) {
		s := &model.Subnet{Meta: model.Meta{ID: "s"}, CIDR: netip.MustParsePrefix("10.0.0.0/24")}
		p := holder(s, addr("10.0.0.7"))
		state.Ports.Put(tx, p)
		if err := ipam.Claim(tx, s, addr("10.0.0.7"), p); err != nil {
			t.Errorf("the port's own address: %v", err)
		}
		other := &model.Port{Meta: model.Meta{ID: "other"}}
		servicetest.WantFault(t, ipam.Claim(tx, s, addr("10.0.0.7"), other), fault.Conflict, "IpAddressAlreadyAllocated")
		servicetest.WantFault(t, ipam.Claim(tx, s, addr("10.0.0.0"), other), fault.Invalid, "InvalidIpForSubnet")
	})
}

func BenchmarkAllocateInA16WithManyTaken(b *testing.B) {
	w := servicetest.New(b, servicetest.Options{})
	cidr := netip.MustParsePrefix("10.0.0.0/16")
	s := &model.Subnet{Meta: model.Meta{ID: "s"}, CIDR: cidr, AllocationPools: ipam.DefaultPools(cidr, netip.Addr{})}
	within(b, w, func(tx *state.Tx) {
		for i := range 32768 {
			ip, err := ipam.Allocate(tx, s, rand.Uint64N)
			if err != nil {
				b.Fatal(err)
			}
			p := holder(s, ip)
			p.ID = fmt.Sprint(i)
			state.Ports.Put(tx, p)
		}
		b.ResetTimer()
		for b.Loop() {
			if _, err := ipam.Allocate(tx, s, rand.Uint64N); err != nil {
				b.Fatal(err)
			}
		}
	})
}
