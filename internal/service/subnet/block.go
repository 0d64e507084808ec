package subnet

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressscope"
	"github.com/neutrino-net/neutrino/internal/service/subnetpool"
	"github.com/neutrino-net/neutrino/internal/state"
)

// takeBlock gives a new subnet its block: the one that the request names, one that is carved from a pool, or both.
func takeBlock(r state.Reader, c *auth.Caller, s *model.Subnet, given schema.Given) error {
	if s.CIDR.IsValid() && given.Has("prefixlen") {
		return badRequest("cidr and prefixlen must not be supplied together")
	}
	p, err := pool(r, c, s)
	if err != nil {
		return err
	}
	if p == nil && !s.CIDR.IsValid() {
		return badRequest("a subnetpool must be specified in the absence of a cidr")
	}
	if p != nil && !s.CIDR.IsValid() && s.AllocationPools != nil {
		return badRequest("allocation_pools allowed only for specific subnet requests.")
	}
	if s.CIDR.IsValid() {
		s.CIDR = s.CIDR.Masked()
	}
	if p != nil {
		s.SubnetPoolID = p.ID
		if err := subnetpool.Carve(r, p, s); err != nil {
			return err
		}
	}
	s.PrefixLen, s.UseDefaultPool = 0, false
	return checkNeighbours(r, s, p)
}

// pool returns the pool that the request asks for, or nil.
func pool(r state.Reader, c *auth.Caller, s *model.Subnet) (*model.SubnetPool, error) {
	switch {
	case s.UseDefaultPool && s.SubnetPoolID != "":
		return nil, badRequest("subnetpool_id and use_default_subnetpool cannot both be specified")
	case s.UseDefaultPool:
		if p, ok := subnetpool.Default(r, s.IPVersion); ok {
			return p, nil
		}
		return nil, badRequest("No default subnetpool found for IPv%d", s.IPVersion)
	case s.SubnetPoolID != "":
		return subnetpool.Find(r, c, s.SubnetPoolID)
	}
	return nil, nil
}

// checkNeighbours checks that the subnets of one IP version on a network belong together: all are from pools of one
// address scope, or else all from the same pool, or none from any. p is the pool of the new subnet, or nil. The faults are
// NetworkAddressScopeAffinityError and NetworkSubnetPoolAffinityError (400).
func checkNeighbours(r state.Reader, s *model.Subnet, p *model.SubnetPool) error {
	if scope := addressscope.OfNetwork(r, s.NetworkID, s.IPVersion); scope != "" {
		if p == nil || p.AddressScope != scope {
			return fault.New(fault.Invalid, "NetworkAddressScopeAffinityError", "Subnets of the same address family "+
				"hosted on the same network must all participate in the same address scope.")
		}
		return nil
	}
	for other := range state.SubnetsByNetwork.List(r, s.NetworkID) {
		if other.IPVersion == s.IPVersion && other.SubnetPoolID != s.SubnetPoolID {
			return fault.New(fault.Invalid, "NetworkSubnetPoolAffinityError",
				"Subnets hosted on the same network must be allocated from the same subnet pool.")
		}
	}
	return nil
}

func badRequest(format string, args ...any) error {
	f := fault.New(fault.Invalid, "BadRequest", format, args...)
	f.Message = "Bad subnets request: " + f.Message + "."
	return f
}
