package state

import "github.com/neutrino-net/neutrino/internal/model"

// Subnet pools, address scopes, and the segments of networks.
var (
	SubnetPools          = newTable[model.SubnetPool]("subnetpool")
	SubnetPoolsByProject = newIndex(SubnetPools, func(p *model.SubnetPool) []string { return []string{p.ProjectID} })
	SubnetPoolsByName    = newIndex(SubnetPools, func(p *model.SubnetPool) []string { return []string{p.Name} })
	SubnetPoolsByScope   = newIndex(SubnetPools, func(p *model.SubnetPool) []string { return optional(p.AddressScope) })
	// SubnetPoolsFlagged finds the pools that all projects may use under "shared", and those that are the default of
	// their IP version under "default".
	SubnetPoolsFlagged = newIndex(SubnetPools, func(p *model.SubnetPool) []string {
		var keys []string
		if p.Shared {
			keys = append(keys, "shared")
		}
		if p.IsDefault {
			keys = append(keys, "default")
		}
		return keys
	})

	AddressScopes          = newTable[model.AddressScope]("address-scope")
	AddressScopesByProject = newIndex(AddressScopes, func(s *model.AddressScope) []string { return []string{s.ProjectID} })
	AddressScopesByName    = newIndex(AddressScopes, func(s *model.AddressScope) []string { return []string{s.Name} })
	// AddressScopesShared finds the scopes that all projects may use, under the key "shared".
	AddressScopesShared = newIndex(AddressScopes, func(s *model.AddressScope) []string {
		if !s.Shared {
			return nil
		}
		return []string{"shared"}
	})

	// SubnetsByPool finds the subnets that were carved from a pool.
	SubnetsByPool = newIndex(Subnets, func(s *model.Subnet) []string { return optional(s.SubnetPoolID) })
	// SubnetsBySegment finds the subnets of a segment of a routed network.
	SubnetsBySegment = newIndex(Subnets, func(s *model.Subnet) []string { return optional(s.SegmentID) })

	// AddressesBySubnet counts the addresses that ports have, by subnet.
	AddressesBySubnet = newTally(Ports, func(p *model.Port) []string {
		keys := make([]string, 0, len(p.FixedIPs))
		for _, f := range p.FixedIPs {
			keys = append(keys, f.SubnetID)
		}
		return keys
	})

	Segments          = newTable[model.NetworkSegment]("segment")
	SegmentsByNetwork = newIndex(Segments, func(s *model.NetworkSegment) []string { return []string{s.NetworkID} })

	SegmentRanges = newTable[model.SegmentRange]("segment-range")
	// SegmentRangesByType has the key SegmentRangeKey.
	SegmentRangesByType = newIndex(SegmentRanges, func(s *model.SegmentRange) []string {
		return []string{SegmentRangeKey(s.NetworkType, s.PhysicalNetwork)}
	})

	AutoTopologies = newTable[model.AutoTopology]("auto-topology")
)

// SegmentRangeKey identifies the ids that ranges of the type and physical network divide.
func SegmentRangeKey(t model.NetworkType, physicalNetwork string) string {
	return string(t) + "/" + physicalNetwork
}
