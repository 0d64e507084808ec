package subnetpool

import (
	"math"
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Carve gives the new subnet a block of the pool: the one that it asks for with CIDR, or a free one of the length that
// it asks for with PrefixLen (0: the pool's default). That the subnet is stored with it in the same transaction takes
// the block. The faults are BadRequest, MinPrefixSubnetAllocationError, MaxPrefixSubnetAllocationError (400),
// SubnetPoolQuotaExceeded and, when there is no such block, SubnetAllocationError (409).
func Carve(r state.Reader, p *model.SubnetPool, s *model.Subnet) error {
	if s.IPVersion != p.IPVersion {
		return fault.New(fault.Invalid, "BadRequest",
			"Bad subnets request: Cannot allocate IPv%d subnet from IPv%d subnet pool.", s.IPVersion, p.IPVersion)
	}
	bits := p.DefaultPrefixLen
	switch {
	case s.CIDR.IsValid():
		bits = s.CIDR.Bits()
	case s.PrefixLen != 0:
		bits = s.PrefixLen
	}
	switch {
	case bits > p.MaxPrefixLen:
		return fault.New(fault.Invalid, "MaxPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length "+
			"%d, maximum allowed prefix is %d.", bits, p.MaxPrefixLen)
	case bits < p.MinPrefixLen:
		return fault.New(fault.Invalid, "MinPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length "+
			"%d, minimum allowed prefix is %d.", bits, p.MinPrefixLen)
	}
	if err := checkQuota(r, p, s.ProjectID, bits); err != nil {
		return err
	}
	if !s.CIDR.IsValid() {
		block, ok := ipam.Carve(p.Prefixes, taken(r, p), bits)
		if !ok {
			return fault.New(fault.Conflict, "SubnetAllocationError",
				"Failed to allocate subnet: Insufficient prefix space to allocate subnet size /%d.", bits)
		}
		s.CIDR = block
		return nil
	}
	wanted := []netip.Prefix{s.CIDR}
	if !ipam.Covered(p.Prefixes, wanted) || ipam.Overlapping(taken(r, p), wanted) {
		return fault.New(fault.Conflict, "SubnetAllocationError",
			"Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.")
	}
	return nil
}

// checkQuota checks that the project may take a block of bits in length besides what it has.
func checkQuota(r state.Reader, p *model.SubnetPool, projectID string, bits int) error {
	if p.DefaultQuota == nil || *p.DefaultQuota == 0 {
		return nil
	}
	unit := 32
	if p.IPVersion == 6 {
		unit = 64
	}
	used := units(unit, bits)
	for s := range state.SubnetsByPool.List(r, p.ID) {
		if s.ProjectID == projectID {
			used += units(unit, s.CIDR.Bits())
		}
	}
	if used > float64(*p.DefaultQuota) {
		return fault.New(fault.OverQuota, "SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.")
	}
	return nil
}

// units is how many blocks of unit in length a block of bits in length is; a fraction where it is the smaller one.
func units(unit, bits int) float64 {
	return math.Ldexp(1, unit-bits)
}
