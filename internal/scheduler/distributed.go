package scheduler

import (
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// routerPort says whether the port of the device owner may be that of a router.
func routerPort(owner string) bool {
	switch owner {
	case model.DeviceOwnerRouterGateway, model.DeviceOwnerRouterSNAT, model.DeviceOwnerAgentGateway:
		return true
	}
	return model.RouterInterfaceOwner(owner)
}

// followWorkload makes the distributed routers of a network due when a port of it has come to a host, or left one: these
// hosts may need a part of them, or no longer.
func followWorkload(c state.Change, r state.Reader, book *Book) {
	old, now := boundPort(c.Old), boundPort(c.New)
	if old != nil && now != nil && old.Binding.Host == now.Binding.Host && old.Binding.Group() == now.Binding.Group() {
		return
	}
	for _, p := range []*model.Port{old, now} {
		if p == nil {
			continue
		}
		for i := range state.DistributedInterfacesByNetwork.List(r, p.NetworkID) {
			for router := range state.RoutersByLeg.List(r, i.ID) {
				book.Due(router.ID)
			}
		}
	}
}

// boundPort is the port, if it is one that is bound; else nil.
func boundPort(o any) *model.Port {
	if p, ok := o.(*model.Port); ok && p != nil && p.Binding.Bound() {
		return p
	}
	return nil
}

// dueDistributed makes a router due if it is distributed: where its floating IPs are, it has a way out.
func dueDistributed(r state.Reader, id string, book *Book) {
	if router, ok := state.Routers.Get(r, id); ok && router.Distributed {
		book.Due(id)
	}
}
