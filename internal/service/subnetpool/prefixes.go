package subnetpool

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/state"
)

// AddPrefixes adds blocks to the pool, and returns all that it then has.
func (s Rules) AddPrefixes(tx *state.Tx, c *auth.Caller, p *model.SubnetPool, add []netip.Prefix) ([]netip.Prefix, error) {
	changed := p.Clone()
	changed.Prefixes = append(changed.Prefixes, add...)
	if err := s.Update(tx, c, p, changed, nil); err != nil {
		return nil, err
	}
	return changed.Prefixes, nil
}

// RemovePrefixes takes blocks out of the pool, and returns all that it then has. Blocks that are not in the pool do not
// matter; one that overlaps with a subnet of the pool cannot be taken: the fault is IllegalSubnetPoolPrefixUpdate (400).
func (Rules) RemovePrefixes(tx *state.Tx, _ *auth.Caller, p *model.SubnetPool, remove []netip.Prefix,
) ([]netip.Prefix, error) {
	if !ipam.Overlapping(p.Prefixes, remove) {
		return p.Prefixes, nil
	}
	if ipam.Overlapping(taken(tx, p), remove) {
		return nil, illegalPrefixes("One or more the prefixes to be removed is in use by a subnet.")
	}
	p = p.Clone()
	p.Prefixes = ipam.Without(p.Prefixes, remove)
	if len(p.Prefixes) > maxBlocks {
		return nil, illegalPrefixes("A subnet pool may have at most %d prefixes", maxBlocks)
	}
	state.SubnetPools.Put(tx, p)
	return p.Prefixes, nil
}

// Onboard takes the subnets of a network into the pool, with their blocks, and returns them. Only those who own the
// network may do this, also where they see it because it is shared: the subnets may be other projects'. The faults are
// NetworkNotFound (404), NotAuthorized (403), IllegalSubnetPoolUpdate (400), and those of Update.
func (s Rules) Onboard(tx *state.Tx, c *auth.Caller, p *model.SubnetPool, networkID string) ([]*model.Subnet, error) {
	n, err := network.Find(tx, c, networkID)
	if err != nil {
		return nil, err
	}
	if !c.Admin() && n.ProjectID != c.ProjectID {
		return nil, fault.New(fault.Forbidden, "NotAuthorized", "Not authorized.")
	}
	used := taken(tx, p)
	changed := p.Clone()
	var subnets []*model.Subnet
	for sub := range state.SubnetsByNetwork.List(tx, n.ID) {
		if sub.IPVersion != p.IPVersion {
			continue
		}
		if ipam.Overlapping(used, []netip.Prefix{sub.CIDR}) {
			return nil, illegalUpdate("Onboarding subnet %s: %s conflicts with allocated prefixes in subnet pool %s",
				sub.ID, sub.CIDR, p.ID)
		}
		changed.Prefixes = append(changed.Prefixes, sub.CIDR)
		subnets = append(subnets, sub)
	}
	if len(subnets) == 0 {
		return nil, nil
	}
	if err := s.Update(tx, c, p, changed, nil); err != nil {
		return nil, err
	}
	for i, sub := range slices.Clone(subnets) {
		sub = sub.Clone()
		sub.SubnetPoolID = p.ID
		state.Subnets.Put(tx, sub)
		subnets[i] = sub
	}
	return subnets, nil
}
