package state

import "github.com/neutrino-net/neutrino/internal/model"

// The hosts that have the interfaces of distributed routers.
var (
	DistributedBindings       = newTable[model.DistributedBinding]("distributed-binding")
	DistributedBindingsByHost = newIndex(DistributedBindings, func(b *model.DistributedBinding) []string { return []string{b.Host} })
	DistributedBindingsByPort = newIndex(DistributedBindings,
		func(b *model.DistributedBinding) []string { return []string{b.PortID} })
	DistributedBindingsByRouter = newIndex(DistributedBindings,
		func(b *model.DistributedBinding) []string { return []string{b.RouterID} })
	// DistributedBindingsByRouterHost has the key "<router id>/<host>".
	DistributedBindingsByRouterHost = newIndex(DistributedBindings,
		func(b *model.DistributedBinding) []string { return []string{b.RouterID + "/" + b.Host} })
	// DistributedBindingsByPortHost has the key "<port id>/<host>".
	DistributedBindingsByPortHost = newIndex(DistributedBindings,
		func(b *model.DistributedBinding) []string { return []string{b.PortID + "/" + b.Host} })
	// DistributedBindingsByNetworkHost has the key "<network id>/<host>".
	DistributedBindingsByNetworkHost = newIndex(DistributedBindings,
		func(b *model.DistributedBinding) []string { return []string{b.NetworkID + "/" + b.Host} })
	// DistributedBindingsByNetwork has the key "<network id>".
	DistributedBindingsByNetwork = newIndex(DistributedBindings,
		func(b *model.DistributedBinding) []string { return []string{b.NetworkID} })

	// DistributedInterfacesByNetwork finds the ports that look like interfaces of distributed routers.
	DistributedInterfacesByNetwork = newIndex(Ports, func(p *model.Port) []string {
		if p.DeviceOwner != model.DeviceOwnerRouterInterfaceDistributed {
			return nil
		}
		return []string{p.NetworkID}
	})
)
