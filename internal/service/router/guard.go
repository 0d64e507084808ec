package router

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Guard sees to it that routers and their ports stay together. It is a port.Follower and a port.Watcher; the zero value is
// ready. What it forbids is allowed to auth.System, as which this package acts.
type Guard struct{}

var (
	_ port.Follower = Guard{}
	_ port.Watcher  = Guard{}
)

// PortChanged implements port.Watcher. An interface stays with its router; the subnets that are added to it or taken from
// it have to fit.
func (Guard) PortChanged(tx *state.Tx, c *auth.Caller, old, p *model.Port) error {
	if c == auth.System {
		return nil
	}
	r, ok := owner(tx, old)
	if !ok {
		dropProxies(tx, p.ID, func(n *model.NDPProxy) bool {
			return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP == n.Address })
		})
		return nil
	}
	if old.DeviceID != p.DeviceID || old.DeviceOwner != p.DeviceOwner {
		return fault.New(fault.Conflict, "PortInUse", "Unable to complete operation on port %s for network %s. "+
			"Port already has an attached device %s.", p.ID, p.NetworkID, old.DeviceID)
	}
	if r.Gateway != nil && r.Gateway.PortID == p.ID || slices.Equal(old.FixedIPs, p.FixedIPs) {
		return nil
	}
	for _, s := range subnetsOf(tx, old) {
		if slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID }) {
			continue
		}
		if err := interfaceUnused(tx, r, s); err != nil {
			return err
		}
	}
	return checkPortSubnets(tx, c, r, p, subnetsOf(tx, p))
}

// PortDeleted implements port.Follower: the NDP proxies for the port go with it.
func (Guard) PortDeleted(tx *state.Tx, p *model.Port) error {
	dropProxies(tx, p.ID, func(*model.NDPProxy) bool { return false })
	return nil
}

// owner returns the router that the port is an interface or the gateway of.
func owner(r state.Reader, p *model.Port) (*model.Router, bool) {
	if !model.RouterInterfaceOwner(p.DeviceOwner) && p.DeviceOwner != model.DeviceOwnerRouterGateway {
		return nil, false
	}
	router, ok := state.Routers.Get(r, p.DeviceID)
	if !ok {
		return nil, false
	}
	return router, slices.Contains(router.InterfaceIDs, p.ID) || router.Gateway != nil && router.Gateway.PortID == p.ID
}

// dropProxies deletes the NDP proxies for the port but those to keep.
func dropProxies(tx *state.Tx, portID string, keep func(*model.NDPProxy) bool) {
	for _, n := range slices.Collect(state.NDPProxiesByPort.List(tx, portID)) {
		if !keep(n) {
			state.NDPProxies.Delete(tx, n.ID)
		}
	}
}
