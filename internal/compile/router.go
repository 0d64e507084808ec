package compile

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The kinds of documents of routers. A host serves a router as far as the router's ports are bound to it, or to a gateway
// group of its: they are the legs in its document. Addresses are translated where the port of the gateway is.
const (
	kindRouter         = "router"
	kindFloatingIP     = "floating-ip"
	kindPortForwarding = "port-forwarding"
)

// legs iterates over the ports of the router that are there and that one host at a time has: interfaces (of a distributed
// router, those of its central part), then the gateway.
func legs(r state.Reader, router *model.Router) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for _, id := range router.CentralIDs() {
			if p, ok := state.Ports.Get(r, id); ok && !yield(p) {
				return
			}
		}
	}
}

// routerPort says whether ports of the device owner are those that routers have on one host at a time.
func routerPort(owner string) bool {
	switch owner {
	case model.DeviceOwnerRouterGateway, model.DeviceOwnerRouterSNAT, model.DeviceOwnerAgentGateway:
		return true
	case model.DeviceOwnerRouterInterfaceDistributed:
		return false
	}
	return model.RouterInterfaceOwner(owner)
}

// gatewayHosts are the hosts that have the gateway of the router.
func gatewayHosts(r state.Reader, routerID string) []string {
	router, ok := state.Routers.Get(r, routerID)
	if !ok || router.Gateway == nil {
		return nil
	}
	if p, ok := state.Ports.Get(r, router.Gateway.PortID); ok {
		return state.PortHosts(r, p)
	}
	return nil
}

// router: ports of the router are bound to the host, which forwards between them.
func router(r state.Reader, host, id string) *sb.Router {
	router, ok := state.Routers.Get(r, id)
	if !ok {
		return nil
	}
	doc := &sb.Router{RouterId: router.ID, AdminStateUp: router.AdminStateUp, Central: router.Distributed}
	for p := range legs(r, router) {
		if !state.HasPort(r, p, host) {
			continue
		}
		doc.GatewayGroup = cmp.Or(doc.GatewayGroup, p.Binding.Group())
		gateway := router.Gateway != nil && router.Gateway.PortID == p.ID
		doc.Legs = append(doc.Legs, leg(r, p, gateway))
		if gateway {
			doc.EnableSnat = router.Gateway.EnableSNAT
			doc.DefaultGateways = defaultGateways(r, p)
		}
	}
	if len(doc.Legs) == 0 {
		return nil
	}
	slices.SortFunc(doc.Legs, func(a, b *sb.RouterLeg) int { return cmp.Compare(a.PortId, b.PortId) })
	for _, route := range router.Routes {
		doc.Routes = append(doc.Routes, &sb.Route{Destination: route.Destination.String(), Nexthop: route.NextHop.String()})
	}
	for h := range state.ConntrackHelpersByRouter.List(r, id) {
		doc.ConntrackHelpers = append(doc.ConntrackHelpers,
			&sb.ConntrackHelper{Protocol: h.Protocol, Port: unsigned(h.Port), Helper: h.Helper})
	}
	if router.NDPProxy {
		for n := range state.NDPProxiesByRouter.List(r, id) {
			doc.NdpProxied = append(doc.NdpProxied, n.Address.String())
		}
		slices.Sort(doc.NdpProxied)
	}
	return doc
}

// leg is a port of a router as its host is to have it.
func leg(r state.Reader, p *model.Port, gateway bool) *sb.RouterLeg {
	l := &sb.RouterLeg{PortId: p.ID, NetworkId: p.NetworkID, Gateway: gateway, Mac: p.MAC}
	if n, ok := state.Networks.Get(r, p.NetworkID); ok {
		l.Mtu = unsigned(n.MTU)
	}
	for _, f := range p.FixedIPs {
		s, ok := state.Subnets.Get(r, f.SubnetID)
		if !ok {
			continue
		}
		l.Ips = append(l.Ips, netip.PrefixFrom(f.IP, s.CIDR.Bits()).String())
		scope := &l.Scope4
		if f.IP.Is6() {
			scope = &l.Scope6
		}
		if pool, ok := state.SubnetPools.Get(r, s.SubnetPoolID); ok && *scope == "" {
			*scope = pool.AddressScope
		}
		if !gateway && f.IP.Is6() && s.IPv6RAMode != "" {
			prefix := &sb.RouterPrefix{Prefix: s.CIDR.String(), RaMode: s.IPv6RAMode}
			for _, a := range s.DNSNameservers {
				prefix.DnsNameservers = append(prefix.DnsNameservers, a.String())
			}
			l.Advertised = append(l.Advertised, prefix)
		}
	}
	return l
}

// defaultGateways are the ways out by the port of a gateway: those of its subnets, the first of each IP version.
func defaultGateways(r state.Reader, p *model.Port) (hops []string) {
	var has4, has6 bool
	for _, f := range p.FixedIPs {
		s, ok := state.Subnets.Get(r, f.SubnetID)
		if !ok || !s.GatewayIP.IsValid() {
			continue
		}
		has := &has4
		if s.GatewayIP.Is6() {
			has = &has6
		}
		if !*has {
			*has = true
			hops = append(hops, s.GatewayIP.String())
		}
	}
	return hops
}

// floatingIP: the host has the part of the router that translates the address.
func floatingIP(r state.Reader, host, id string) *sb.FloatingIp {
	f, ok := state.FloatingIPs.Get(r, id)
	if !ok {
		return nil
	}
	local := translatedLocally(r, f) != ""
	if !slices.Contains(translatingHosts(r, f), host) {
		return nil
	}
	doc := &sb.FloatingIp{FloatingIpId: f.ID, RouterId: f.RouterID, Address: f.Address.String(), Local: local}
	switch {
	case f.FixedIP.IsValid():
		doc.FixedIp = f.FixedIP.String()
	case !state.PortForwardingsByFloatingIP.Has(r, f.ID):
		return nil
	}
	return doc
}

// portForwarding: the host has the gateway of the router that translates the address of its floating IP.
func portForwarding(r state.Reader, host, id string) *sb.PortForwarding {
	fw, ok := state.PortForwardings.Get(r, id)
	if !ok {
		return nil
	}
	f, ok := state.FloatingIPs.Get(r, fw.FloatingIPID)
	if !ok || !slices.Contains(gatewayHosts(r, f.RouterID), host) {
		return nil
	}
	return &sb.PortForwarding{
		PortForwardingId: fw.ID,
		RouterId:         f.RouterID,
		Address:          f.Address.String(),
		Protocol:         fw.Protocol,
		ExternalFirst:    unsigned(fw.External.First),
		ExternalLast:     unsigned(fw.External.Last),
		InternalIp:       fw.InternalIP.String(),
		InternalFirst:    unsigned(fw.Internal.First),
		InternalLast:     unsigned(fw.Internal.Last),
	}
}

// routerKeys yields the keys of the routers that the port, which the host has, is a leg of, as far as they are not seen
// yet; with that of its gateway, those of the addresses it translates. It returns false when yield does.
func routerKeys(r state.Reader, p *model.Port, seen map[string]bool, yield func(string) bool) bool {
	for router := range state.RoutersByLeg.List(r, p.ID) {
		if key := kindRouter + "/" + router.ID; !seen[key] {
			seen[key] = true
			if !yield(key) {
				return false
			}
		}
		if router.Gateway == nil || router.Gateway.PortID != p.ID {
			continue
		}
		for key := range translationKeys(r, router.ID) {
			if seen[key] {
				continue
			}
			seen[key] = true
			if !yield(key) {
				return false
			}
		}
	}
	return true
}

// translationKeys iterates over the keys of the addresses that a router translates.
func translationKeys(r state.Reader, routerID string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for f := range state.FloatingIPsByRouter.List(r, routerID) {
			if !yield(kindFloatingIP + "/" + f.ID) {
				return
			}
			for fw := range state.PortForwardingsByFloatingIP.List(r, f.ID) {
				if !yield(kindPortForwarding + "/" + fw.ID) {
					return
				}
			}
		}
	}
}
