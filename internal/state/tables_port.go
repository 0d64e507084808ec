package state

import "github.com/neutrino-net/neutrino/internal/model"

// Trunks.
var (
	Trunks          = newTable[model.Trunk]("trunk")
	TrunksByProject = newIndex(Trunks, func(t *model.Trunk) []string { return []string{t.ProjectID} })
	TrunksByName    = newIndex(Trunks, func(t *model.Trunk) []string { return optional(t.Name) })
	// TrunksByPort finds the trunk whose parent a port is.
	TrunksByPort = newIndex(Trunks, func(t *model.Trunk) []string { return []string{t.PortID} })
	// TrunksBySubPort finds the trunk that carries a port.
	TrunksBySubPort = newIndex(Trunks, func(t *model.Trunk) []string {
		keys := make([]string, len(t.SubPorts))
		for i, s := range t.SubPorts {
			keys[i] = s.PortID
		}
		return keys
	})
)
