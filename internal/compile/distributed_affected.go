package compile

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

func (a *affected) distributedBinding(old, now *model.DistributedBinding) {
	if old != nil && now != nil && old.PortID == now.PortID && old.RouterID == now.RouterID &&
		old.NetworkID == now.NetworkID && old.Host == now.Host && old.SegmentID == now.SegmentID {
		return
	}
	a.distributedBindingIn(a.before, old)
	a.distributedBindingIn(a.after, now)
}

// distributedBindingIn adds the documents that show the binding in the state r, which is before or after.
func (a *affected) distributedBindingIn(r state.Reader, b *model.DistributedBinding) {
	if b == nil {
		return
	}
	a.add(b.Host, kindPort, b.PortID)
	a.attachment(b.Host, b.NetworkID)
	if tunnelled(r, b.NetworkID) {
		for host := range networkHosts(r, b.NetworkID) {
			a.add(host, kindNeighbour, b.ID)
		}
	}
	a.router(b.RouterID)
	a.firewallsOf(b.NetworkID)
}

// distributedPort adds the documents of a port on the hosts that have it as the interface of a distributed router.
func (a *affected) distributedPort(r state.Reader, id string) {
	for b := range state.DistributedBindingsByPort.List(r, id) {
		a.add(b.Host, kindPort, id)
	}
}

// localRouters adds the documents of the router's local parts in the state r.
func (a *affected) localRouters(r state.Reader, id string) {
	for host := range state.DistributedBindingsByRouterHost.Parts(r, id+"/") {
		a.add(host, kindLocalRouter, id)
	}
}

// movedFloatingIPs adds the documents of the router's floating IPs that another host translates than before, or another
// part of the router.
func (a *affected) movedFloatingIPs(routerID string) {
	for _, r := range []state.Reader{a.before, a.after} {
		router, ok := state.Routers.Get(r, routerID)
		if !ok || !router.Distributed {
			continue
		}
		for _, from := range []state.Reader{a.before, a.after} {
			for f := range state.FloatingIPsByRouter.List(from, routerID) {
				old, now := translatingHosts(a.before, f), translatingHosts(a.after, f)
				if !slices.Equal(old, now) || translatedLocally(a.before, f) != translatedLocally(a.after, f) {
					a.translating(old, f.ID)
					a.translating(now, f.ID)
				}
			}
		}
		return
	}
}

func (a *affected) translating(hosts []string, floatingIPID string) {
	for _, host := range hosts {
		a.add(host, kindFloatingIP, floatingIPID)
	}
}

// floatingIPsOf adds the floating IPs of a port: where it is, is where they may be translated.
func (a *affected) floatingIPsOf(portID string) {
	for _, r := range []state.Reader{a.before, a.after} {
		for f := range state.FloatingIPsByPort.List(r, portID) {
			for _, s := range []state.Reader{a.before, a.after} {
				a.translating(translatingHosts(s, f), f.ID)
			}
		}
	}
}

// localGateways adds the distributed routers with a gateway on the external network: what is reached there without a
// gateway is in the documents of their local parts.
func (a *affected) localGateways(networkID string) {
	for _, r := range []state.Reader{a.before, a.after} {
		for router := range state.RoutersByNetwork.List(r, networkID) {
			if router.Distributed && len(router.LocalGateways) > 0 {
				a.router(router.ID)
			}
		}
	}
}
