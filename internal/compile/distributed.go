package compile

import (
	"cmp"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Interfaces of distributed routers are bound to no host by themselves: their DistributedBindings say which hosts have
// them. Such a host is on the interface's network like one with a bound port, so it gets its segment and neighbours. To
// others it is a neighbour without addresses, by the MAC under which the interface is seen outside of that host.
const kindLocalRouter = "local-router"

// distributedTo returns the binding of the port to the host.
func distributedTo(r state.Reader, portID, host string) (*model.DistributedBinding, bool) {
	return state.DistributedBindingsByPortHost.First(r, portID+"/"+host)
}

// localRouter: the host has a part of the distributed router, which forwards for the workloads there.
func localRouter(r state.Reader, host, id string) *sb.Router {
	router, ok := state.Routers.Get(r, id)
	if !ok || !router.Distributed {
		return nil
	}
	doc := &sb.Router{RouterId: router.ID, AdminStateUp: router.AdminStateUp}
	for _, portID := range router.InterfaceIDs {
		p, ok := state.Ports.Get(r, portID)
		if !ok {
			continue
		}
		if b, here := distributedTo(r, portID, host); !here || b.RouterID != id {
			continue
		}
		l := leg(r, p, false)
		if router.Gateway != nil {
			l.DefaultGateways = centralAddresses(r, router, portID)
		}
		doc.Legs = append(doc.Legs, l)
	}
	if len(doc.Legs) == 0 {
		return nil
	}
	if p := localGateway(r, router, host); p != nil {
		doc.Legs = append(doc.Legs, localGatewayLeg(r, p))
		if gateway, ok := state.Ports.Get(r, router.Gateway.PortID); ok {
			doc.DefaultGateways = defaultGateways(r, gateway)
		}
	}
	slices.SortFunc(doc.Legs, func(a, b *sb.RouterLeg) int { return cmp.Compare(a.PortId, b.PortId) })
	for _, route := range router.Routes {
		// A next hop outside is reached by the central part, which has the route, too.
		if insideNextHop(r, router, route) {
			doc.Routes = append(doc.Routes, &sb.Route{Destination: route.Destination.String(), Nexthop: route.NextHop.String()})
		}
	}
	return doc
}

// centralAddresses are those of the central part beside an interface: the first of each IP version.
func centralAddresses(r state.Reader, router *model.Router, interfaceID string) (hops []string) {
	p, ok := state.Ports.Get(r, router.SNATPort(interfaceID))
	if !ok {
		return nil
	}
	var has4, has6 bool
	for _, f := range p.FixedIPs {
		has := &has4
		if f.IP.Is6() {
			has = &has6
		}
		if !*has {
			*has = true
			hops = append(hops, f.IP.String())
		}
	}
	return hops
}

// localGateway is the router's port for floating IPs on the host; nil: there is none.
func localGateway(r state.Reader, router *model.Router, host string) *model.Port {
	if !router.Distributed || router.Gateway == nil {
		return nil
	}
	p, ok := state.Ports.Get(r, router.LocalGateway(host))
	if !ok || !p.Binding.Bound() || p.Binding.Host != host {
		return nil
	}
	return p
}

// localGatewayLeg has no addresses: the floating IPs are those of the leg. What is in the blocks of the external network
// is reached without its gateway.
func localGatewayLeg(r state.Reader, p *model.Port) *sb.RouterLeg {
	l := leg(r, p, true)
	l.Ips, l.Scope4, l.Scope6 = nil, "", ""
	for s := range state.SubnetsByNetwork.List(r, p.NetworkID) {
		if s.CIDR.Addr().Is4() {
			l.OnLink = append(l.OnLink, s.CIDR.Masked().String())
		}
		if pool, ok := state.SubnetPools.Get(r, s.SubnetPoolID); ok && s.CIDR.Addr().Is4() && l.Scope4 == "" {
			l.Scope4 = pool.AddressScope
		}
	}
	slices.Sort(l.OnLink)
	return l
}

// insideNextHop says whether the next hop of the route is in a subnet of an interface.
func insideNextHop(r state.Reader, router *model.Router, route model.HostRoute) bool {
	for _, id := range router.InterfaceIDs {
		p, ok := state.Ports.Get(r, id)
		if !ok {
			continue
		}
		for _, f := range p.FixedIPs {
			if s, ok := state.Subnets.Get(r, f.SubnetID); ok && s.CIDR.Contains(route.NextHop) {
				return true
			}
		}
	}
	return false
}

// translatedLocally is the host that translates the floating IP by its local part of the router: that is where the port of
// a distributed router is, if the router has a way out there. Empty: the central part does.
func translatedLocally(r state.Reader, f *model.FloatingIP) (host string) {
	router, ok := state.Routers.Get(r, f.RouterID)
	if !ok {
		return ""
	}
	if p, ok := state.Ports.Get(r, f.PortID); ok && f.FixedIP.IsValid() && p.Binding.Bound() &&
		localGateway(r, router, p.Binding.Host) != nil && localLegs(r, router.ID, p.Binding.Host) {
		return p.Binding.Host
	}
	return ""
}

// translatingHosts are those that translate the floating IP.
func translatingHosts(r state.Reader, f *model.FloatingIP) []string {
	if host := translatedLocally(r, f); host != "" {
		return []string{host}
	}
	return gatewayHosts(r, f.RouterID)
}

// localLegs says whether the host has any interface of the router.
func localLegs(r state.Reader, routerID, host string) bool {
	return state.DistributedBindingsByRouterHost.Has(r, routerID+"/"+host)
}

// distributedNeighbour: another host has an interface of a distributed router.
func distributedNeighbour(r state.Reader, host, id string) *sb.Neighbour {
	b, ok := state.DistributedBindings.Get(r, id)
	if !ok || b.Host == host {
		return nil
	}
	vtep := reachedThrough(r, host, b.NetworkID, b.Host)
	if vtep == "" {
		return nil
	}
	return &sb.Neighbour{PortId: b.ID, NetworkId: b.NetworkID, Mac: b.TunnelMAC(), Vtep: vtep}
}

// distributedKeys yields the keys of the documents that the host has for its part in distributed routers. It returns
// false when yield does.
func distributedKeys(r state.Reader, host string, seen map[string]bool, yield func(string) bool) bool {
	for b := range state.DistributedBindingsByHost.List(r, host) {
		port := kindPort + "/" + b.PortID
		if !seen[port] {
			seen[port] = true
			if !yield(port) {
				return false
			}
		}
		if !networkKeys(r, host, b.NetworkID, seen, yield) {
			return false
		}
		key := kindLocalRouter + "/" + b.RouterID
		if seen[key] {
			continue
		}
		seen[key] = true
		if !yield(key) {
			return false
		}
		for key := range translationKeys(r, b.RouterID) {
			if !seen[key] {
				seen[key] = true
				if !yield(key) {
					return false
				}
			}
		}
	}
	return true
}
