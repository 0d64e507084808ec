package compile

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// router adds the documents of a router on all hosts that it had or has, and those of the addresses that it translates
// if its gateway has moved.
func (a *affected) router(id string) {
	once := HostKey{Key: kindRouter + "/" + id}
	if a.checked[once] {
		return
	}
	a.checked[once] = true
	a.movedFloatingIPs(id)
	for _, r := range []state.Reader{a.before, a.after} {
		a.localRouters(r, id)
		router, ok := state.Routers.Get(r, id)
		if !ok {
			continue
		}
		if router.Distributed {
			for _, id := range router.InterfaceIDs {
				a.firewallPort(id)
			}
		}
		for p := range legs(r, router) {
			for _, host := range state.PortHosts(r, p) {
				a.add(host, kindRouter, id)
			}
		}
	}
	old, now := gatewayHosts(a.before, id), gatewayHosts(a.after, id)
	if sameHosts(old, now) {
		return
	}
	for _, r := range []state.Reader{a.before, a.after} {
		for key := range translationKeys(r, id) {
			for _, host := range slices.Concat(old, now) {
				a.keys[HostKey{host, key}] = struct{}{}
			}
		}
	}
}

// leg adds the documents of the routers that the port is, or was, a leg of.
func (a *affected) leg(portID string) {
	for _, r := range []state.Reader{a.before, a.after} {
		for router := range state.RoutersByLeg.List(r, portID) {
			a.router(router.ID)
		}
	}
}

func (a *affected) routerChange(old, now *model.Router) {
	if old != nil && now != nil && sameRouter(old, now) {
		return
	}
	a.router(present(old, now).ID)
}

// sameRouter compares what documents show of a router.
func sameRouter(a, b *model.Router) bool {
	if (a.Gateway == nil) != (b.Gateway == nil) {
		return false
	}
	if a.Gateway != nil && (a.Gateway.PortID != b.Gateway.PortID || a.Gateway.EnableSNAT != b.Gateway.EnableSNAT) {
		return false
	}
	return a.Distributed == b.Distributed && slices.Equal(a.SNATPorts, b.SNATPorts) &&
		slices.Equal(a.LocalGateways, b.LocalGateways) && a.AdminStateUp == b.AdminStateUp && a.NDPProxy == b.NDPProxy &&
		slices.Equal(a.InterfaceIDs, b.InterfaceIDs) && slices.Equal(a.Routes, b.Routes)
}

func (a *affected) conntrackHelper(old, now *model.ConntrackHelper) {
	for _, h := range []*model.ConntrackHelper{old, now} {
		if h != nil {
			a.router(h.RouterID)
		}
	}
}

func (a *affected) ndpProxy(old, now *model.NDPProxy) {
	for _, n := range []*model.NDPProxy{old, now} {
		if n != nil {
			a.router(n.RouterID)
		}
	}
}

func (a *affected) floatingIP(old, now *model.FloatingIP) {
	if old != nil && now != nil &&
		old.RouterID == now.RouterID && old.Address == now.Address && old.FixedIP == now.FixedIP &&
		old.PortID == now.PortID {
		return
	}
	a.floatingIPIn(a.before, old)
	a.floatingIPIn(a.after, now)
}

// floatingIPIn adds the documents of the floating IP in the state r, which is before or after.
func (a *affected) floatingIPIn(r state.Reader, f *model.FloatingIP) {
	if f == nil {
		return
	}
	a.translating(translatingHosts(r, f), f.ID)
	for _, host := range gatewayHosts(r, f.RouterID) {
		for fw := range state.PortForwardingsByFloatingIP.List(r, f.ID) {
			a.add(host, kindPortForwarding, fw.ID)
		}
	}
}

func (a *affected) portForwarding(old, now *model.PortForwarding) {
	if old != nil && now != nil && old.FloatingIPID == now.FloatingIPID && old.Protocol == now.Protocol &&
		old.External == now.External && old.Internal == now.Internal && old.InternalIP == now.InternalIP {
		return
	}
	a.portForwardingIn(a.before, old)
	a.portForwardingIn(a.after, now)
}

// portForwardingIn adds the documents of the forwarding in the state r, and that of its floating IP, which is there
// only for forwardings.
func (a *affected) portForwardingIn(r state.Reader, fw *model.PortForwarding) {
	if fw == nil {
		return
	}
	f, ok := state.FloatingIPs.Get(r, fw.FloatingIPID)
	if !ok {
		return
	}
	a.translating(translatingHosts(r, f), f.ID)
	for _, host := range gatewayHosts(r, f.RouterID) {
		a.add(host, kindPortForwarding, fw.ID)
	}
}

// subnetPool: the address scope of a pool is that of the legs with addresses of its subnets.
func (a *affected) subnetPool(old, now *model.SubnetPool) {
	if old != nil && now != nil && old.AddressScope == now.AddressScope {
		return
	}
	for s := range state.SubnetsByPool.List(a.after, present(old, now).ID) {
		a.localGateways(s.NetworkID)
		for p := range subnetPorts(a.after, s.ID) {
			a.leg(p.ID)
		}
	}
}

// legsOfSubnet adds the routers with a leg in a changed subnet.
func (a *affected) legsOfSubnet(old, now *model.Subnet) {
	if old != nil && now != nil && old.CIDR == now.CIDR && old.GatewayIP == now.GatewayIP &&
		old.SubnetPoolID == now.SubnetPoolID && old.IPv6RAMode == now.IPv6RAMode &&
		slices.Equal(old.DNSNameservers, now.DNSNameservers) {
		return
	}
	for p := range subnetPorts(a.after, present(old, now).ID) {
		a.leg(p.ID)
	}
}
