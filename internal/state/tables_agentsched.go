package state

import "github.com/neutrino-net/neutrino/internal/model"

// What operators have decided on the placement of DHCP servers.
var (
	DHCPExclusions          = newTable[model.DHCPExclusion]("dhcp-exclusion")
	DHCPExclusionsByNetwork = newIndex(DHCPExclusions, func(e *model.DHCPExclusion) []string { return []string{e.NetworkID} })
)
