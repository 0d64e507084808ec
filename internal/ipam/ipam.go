// Package ipam manages the addresses of subnets.
//
// It has no memory of its own: an address is taken when a port in the state has it, so an address can neither leak nor
// be given twice. The functions are pure over a state.Reader; whoever calls them in a transaction sees the addresses
// that the transaction has given.
//
// Read in this order:
//   - pool.go: which addresses a subnet may give: the usable range, the default pools, the check of given pools.
//   - ipam.go: Check says whether a port may have an address, Claim also whether it is free, Allocate finds a free one.
//   - carve.go: blocks of addresses as sets, and which block of a subnet pool is free.
//   - eui64.go: subnets whose addresses follow from the MAC of the port (SLAAC and stateless DHCPv6).
package ipam

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Random returns a number in [0, n), for n > 0. rand.Uint64N of math/rand/v2 is one.
type Random func(n uint64) uint64

// Check says whether a port of the device owner may have the address in the subnet at all, be it free or not. The
// address need not be in the allocation pools. The fault is InvalidIpForSubnet (400).
func Check(s *model.Subnet, ip netip.Addr, deviceOwner string) error {
	if !Fits(s, ip, deviceOwner) {
		return fault.New(fault.Invalid, "InvalidIpForSubnet",
			"IP address %s is not a valid IP for the specified subnet.", ip)
	}
	return nil
}

// Fits is Check as a yes or no.
func Fits(s *model.Subnet, ip netip.Addr, deviceOwner string) bool {
	if !ip.IsValid() || !s.CIDR.Contains(ip) {
		return false
	}
	if ip.Is6() && ip == s.CIDR.Addr() && RouterOwned(deviceOwner) {
		return true // the subnet-router anycast address of RFC 4291, section 2.6.1
	}
	first, last := usable(s.CIDR)
	return first.Compare(ip) <= 0 && ip.Compare(last) <= 0
}

// RouterOwned says whether the device owner is a router: its ports may have addresses that others may not.
func RouterOwned(deviceOwner string) bool { return strings.HasPrefix(deviceOwner, "network:router_") }

// Serves says whether ports of the device owner get addresses in the subnet. DHCP servers get one wherever there is DHCP.
func Serves(s *model.Subnet, deviceOwner string) bool {
	return len(s.ServiceTypes) == 0 || slices.Contains(s.ServiceTypes, deviceOwner) ||
		s.EnableDHCP && deviceOwner == model.DeviceOwnerDHCP
}

// Claim says whether the port may take the address: it fits the subnet and no other port has it. The faults are
// InvalidIpForSubnet (400) and IpAddressAlreadyAllocated (409).
func Claim(r state.Reader, s *model.Subnet, ip netip.Addr, p *model.Port) error {
	if err := Check(s, ip, p.DeviceOwner); err != nil {
		return err
	}
	for holder := range state.PortsByIP.List(r, state.IPKey(s.ID, ip)) {
		if holder.ID != p.ID {
			return fault.New(fault.Conflict, "IpAddressAlreadyAllocated",
				"IP address %s already allocated in subnet %s", ip, s.ID)
		}
	}
	return nil
}

// Allocate returns a free address of the subnet's pools that is not in except. It starts at a random address and takes
// the first free one from there on, so its cost is that of the run of taken addresses which it hits: small until the
// pools are nearly full. The fault, when no address is free, is IpAddressGenerationFailure (409).
func Allocate(r state.Reader, s *model.Subnet, random Random, except ...netip.Addr) (netip.Addr, error) {
	pools := slices.DeleteFunc(slices.Clone(s.AllocationPools), func(p model.AllocationPool) bool {
		return !p.Start.IsValid() || p.End.Less(p.Start)
	})
	if len(pools) > 0 {
		at, start := randomStart(pools, random)
		// The pool of the start, the other pools in turn, then what is before the start.
		parts := make([]model.AllocationPool, 0, len(pools)+1)
		parts = append(parts, model.AllocationPool{Start: start, End: pools[at].End})
		parts = append(parts, pools[at+1:]...)
		parts = append(parts, pools[:at]...)
		if start != pools[at].Start {
			parts = append(parts, model.AllocationPool{Start: pools[at].Start, End: start.Prev()})
		}
		for _, part := range parts {
			if ip, ok := firstFree(r, s.ID, part, except); ok {
				return ip, nil
			}
		}
	}
	return netip.Addr{}, fault.New(fault.Conflict, "IpAddressGenerationFailure",
		"No more IP addresses available for subnet %s.", s.ID)
}

// randomStart picks an address of the pools, each about equally likely. It says in which pool it is.
func randomStart(pools []model.AllocationPool, random Random) (int, netip.Addr) {
	total := uint64(0)
	for _, p := range pools {
		total += size(p)
	}
	n := random(total)
	for i, p := range pools {
		if n < size(p) {
			return i, add(p.Start, n)
		}
		n -= size(p)
	}
	return 0, pools[0].Start
}

// firstFree returns the lowest address of the range that no port has. It walks the taken addresses in order and stops
// at the first gap.
func firstFree(r state.Reader, subnetID string, pool model.AllocationPool, except []netip.Addr) (netip.Addr, bool) {
	free := pool.Start
	inPool := func() bool { return free.IsValid() && free.Compare(pool.End) <= 0 }
	skip := func() {
		for inPool() && slices.Contains(except, free) {
			free = free.Next()
		}
	}
	skip()
	for ip := range Taken(r, subnetID, pool.Start) {
		if !inPool() || free.Less(ip) {
			break
		}
		if ip == free {
			free = free.Next()
			skip()
		}
	}
	return free, inPool()
}

// Taken iterates over the addresses of the subnet that ports have, in order, from the given one on, each with its port.
func Taken(r state.Reader, subnetID string, from netip.Addr) func(yield func(netip.Addr, *model.Port) bool) {
	return func(yield func(netip.Addr, *model.Port) bool) {
		prefix := subnetID + "/"
		for key, p := range state.PortsByIP.From(r, state.IPKey(subnetID, from)) {
			digits, ok := strings.CutPrefix(key, prefix)
			if !ok {
				return
			}
			raw, err := hex.DecodeString(digits)
			if err != nil {
				continue
			}
			if ip, ok := netip.AddrFromSlice(raw); ok && !yield(ip, p) {
				return
			}
		}
	}
}
