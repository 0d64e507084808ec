package ipam

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

// usable returns the first and the last address that ports may have in the block. Without are the network and the
// broadcast address of IPv4 (but not in a /31 and a /32, RFC 3021), and the subnet-router anycast address of IPv6 (but
// not in a /127 and a /128, RFC 6164).
func usable(cidr netip.Prefix) (first, last netip.Addr) {
	r := netipx.RangeOfPrefix(cidr)
	first, last = r.From(), r.To()
	switch single := cidr.Addr().BitLen() - cidr.Bits(); {
	case single <= 1:
	case first.Is4():
		first, last = first.Next(), last.Prev()
	default:
		first = first.Next()
	}
	return first, last
}

// Usable says whether the address may be that of a gateway or port, should it be in the block.
func Usable(cidr netip.Prefix, ip netip.Addr) bool {
	first, last := usable(cidr)
	return first.Compare(ip) <= 0 && ip.Compare(last) <= 0
}

// DefaultGateway is the first address of the block that ports may have; the zero Addr where the block has only one.
func DefaultGateway(cidr netip.Prefix) netip.Addr {
	first, last := usable(cidr)
	switch {
	case first == last:
		return netip.Addr{}
	case first == cidr.Addr(): // a /31 or /127: the second one, as in larger blocks
		return last
	}
	return first
}

// DefaultPools are all usable addresses of the block but the gateway (the zero Addr: none). They may be none.
func DefaultPools(cidr netip.Prefix, gateway netip.Addr) []model.AllocationPool {
	first, last := usable(cidr)
	pools := []model.AllocationPool{}
	if !gateway.IsValid() || gateway.Less(first) || last.Less(gateway) {
		return append(pools, model.AllocationPool{Start: first, End: last})
	}
	if first != gateway {
		pools = append(pools, model.AllocationPool{Start: first, End: gateway.Prev()})
	}
	if last != gateway {
		pools = append(pools, model.AllocationPool{Start: gateway.Next(), End: last})
	}
	return pools
}

// ValidatePools checks pools that a client gave: of the version of the block, in order, within the usable range, and
// without overlaps. The faults are InvalidAllocationPool (400), OutOfBoundsAllocationPool (400) and
// OverlappingAllocationPools (409).
func ValidatePools(cidr netip.Prefix, pools []model.AllocationPool) error {
	first, last := usable(cidr)
	for _, p := range pools {
		if !p.Start.IsValid() || p.Start.BitLen() != cidr.Addr().BitLen() || p.End.BitLen() != cidr.Addr().BitLen() ||
			p.End.Less(p.Start) {
			return fault.New(fault.Invalid, "InvalidAllocationPool", "The allocation pool %s is not valid.", show(p))
		}
		if p.Start.Less(first) || last.Less(p.End) {
			return fault.New(fault.Invalid, "OutOfBoundsAllocationPool",
				"The allocation pool %s spans beyond the subnet cidr %s.", show(p), cidr)
		}
	}
	sorted := slices.SortedFunc(slices.Values(pools), func(a, b model.AllocationPool) int {
		return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End))
	})
	for i := 1; i < len(sorted); i++ {
		if sorted[i].Start.Compare(sorted[i-1].End) <= 0 {
			return fault.New(fault.Conflict, "OverlappingAllocationPools",
				"Found overlapping allocation pools: %s %s for subnet %s.", show(sorted[i-1]), show(sorted[i]), cidr)
		}
	}
	return nil
}

// GatewayOutside checks that no pool has the gateway (the zero Addr: none). The fault is
// GatewayConflictWithAllocationPools (409).
func GatewayOutside(gateway netip.Addr, pools []model.AllocationPool) error {
	for _, p := range pools {
		if gateway.IsValid() && p.Start.Compare(gateway) <= 0 && gateway.Compare(p.End) <= 0 {
			return fault.New(fault.Conflict, "GatewayConflictWithAllocationPools",
				"Gateway ip %s conflicts with allocation pool %s.", gateway, show(p))
		}
	}
	return nil
}

func show(p model.AllocationPool) string { return p.Start.String() + "-" + p.End.String() }

// maxSize bounds the size of a pool as far as the random start goes, so that the sizes of all pools of a subnet can be
// added up. Larger pools are IPv6 ones; there the start is among the first 2^56 addresses.
const maxSize = 1 << 56

// size is the number of addresses of the pool, at most maxSize.
func size(p model.AllocationPool) uint64 {
	a, b := p.Start.As16(), p.End.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(a[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(a[:8]), borrow)
	if high > 0 || low >= maxSize {
		return maxSize
	}
	return low + 1
}

// add returns the address n after ip.
func add(ip netip.Addr, n uint64) netip.Addr {
	a := ip.As16()
	low, carry := bits.Add64(binary.BigEndian.Uint64(a[8:]), n, 0)
	binary.BigEndian.PutUint64(a[8:], low)
	binary.BigEndian.PutUint64(a[:8], binary.BigEndian.Uint64(a[:8])+carry)
	sum := netip.AddrFrom16(a)
	if ip.Is4() {
		return sum.Unmap()
	}
	return sum
}
