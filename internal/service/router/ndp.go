package router

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// maxNDPProxies is how many NDP proxies a router may have.
const maxNDPProxies = 256

// NDPProxies are the rules of NDP proxies. The zero value is ready.
type NDPProxies struct{}

// Create checks that the router can hand packets for the address to the port, and stores the proxy.
func (NDPProxies) Create(tx *state.Tx, c *auth.Caller, n *model.NDPProxy, _ schema.Given) error {
	p, ok := state.Ports.Get(tx, n.PortID)
	if !ok || !PortVisible(tx, c, p) {
		return fault.Missing("Port", n.PortID)
	}
	r, ok := state.Routers.Get(tx, n.RouterID)
	if !ok || r.ProjectID != c.ProjectID && !c.Admin() {
		return fault.Missing("Router", n.RouterID)
	}
	conflict := func(typ, format string, args ...any) error { return fault.New(fault.Conflict, typ, format, args...) }
	if !r.NDPProxy || r.Gateway == nil {
		return conflict("RouterNDPProxyNotEnable", "The enable_ndp_proxy parameter of router %s must be set as True while "+
			"create ndp proxy entry on it.", r.ID)
	}
	if state.NDPProxiesByRouter.Count(tx, r.ID) >= maxNDPProxies {
		return conflict("OverQuota", "Router %s has %d ndp proxies, which is the most it may have.", r.ID, maxNDPProxies)
	}
	if err := proxyAddress(tx, r, p, n); err != nil {
		return err
	}
	outside, inside := addressScope(tx, r.Gateway.NetworkID), addressScope(tx, p.NetworkID)
	if outside != inside {
		return conflict("AddressScopeConflict", "The IPv6 address scope %s of external network conflict with internal "+
			"network's IPv6 address scope %s.", outside, inside)
	}
	for o := range state.NDPProxiesByRouter.List(tx, r.ID) {
		if o.Address == n.Address {
			return conflict("NDPProxyExists", "There is an ndp proxy for the address %s on router %s.", n.Address, r.ID)
		}
	}
	state.NDPProxies.Put(tx, n)
	return nil
}

// proxyAddress checks the address of the proxy, or chooses the first of the port that the router reaches.
func proxyAddress(r state.Reader, router *model.Router, p *model.Port, n *model.NDPProxy) error {
	if !hasIPv6(p) {
		return fault.New(fault.Invalid, "BadRequest",
			"Bad ndp_proxy request: Requested port %s must allocate one IPv6 address at least.", p.ID)
	}
	reaches := map[string]bool{}
	for _, id := range router.InterfaceIDs {
		if i, ok := state.Ports.Get(r, id); ok {
			for _, f := range i.FixedIPs {
				reaches[f.SubnetID] = f.IP.Is6()
			}
		}
	}
	if !n.Address.IsValid() {
		at := slices.IndexFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP.Is6() && reaches[f.SubnetID] })
		if at < 0 {
			return fault.New(fault.Conflict, "PortUnreachableRouter",
				"The port %s cannot reach the router %s by IPv6 subnet.", p.ID, router.ID)
		}
		n.Address = p.FixedIPs[at].IP
		return nil
	}
	at := slices.IndexFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP == n.Address })
	invalid := func(ip netip.Addr, reason, id string) error {
		return fault.New(fault.Invalid, "InvalidAddress", "The address %s is invalid, reason: %s %s.", ip, reason, id)
	}
	switch {
	case at < 0 || !n.Address.Is6():
		return invalid(n.Address, "This address not belong to the port", p.ID)
	case !reaches[p.FixedIPs[at].SubnetID]:
		return invalid(n.Address, "This address cannot reach the router", router.ID)
	}
	return nil
}

// Update stores the proxy.
func (NDPProxies) Update(tx *state.Tx, _ *auth.Caller, _, n *model.NDPProxy, _ schema.Given) error {
	state.NDPProxies.Put(tx, n)
	return nil
}

// Delete deletes the proxy.
func (NDPProxies) Delete(tx *state.Tx, _ *auth.Caller, n *model.NDPProxy) error {
	state.NDPProxies.Delete(tx, n.ID)
	return nil
}

// checkNDPGateway says whether NDP proxies can be made at the gateway. The fault is RouterGatewayNotValid (409).
func checkNDPGateway(r state.Reader, router *model.Router) error {
	if router.Gateway != nil && addressScope(r, router.Gateway.NetworkID) != "" {
		if p, ok := state.Ports.Get(r, router.Gateway.PortID); ok && hasIPv6(p) {
			return nil
		}
	}
	return fault.New(fault.Conflict, "RouterGatewayNotValid", "Can not enable ndp proxy on router %s, The router has no "+
		"external gateway or the external gateway port has no IPv6 address or IPv6 address scope.", router.ID)
}

// addressScope is the address scope of the network's IPv6 subnets, or empty.
func addressScope(r state.Reader, networkID string) string {
	for s := range state.SubnetsByNetwork.List(r, networkID) {
		if s.IPVersion != 6 || s.SubnetPoolID == "" {
			continue
		}
		if pool, ok := state.SubnetPools.Get(r, s.SubnetPoolID); ok && pool.AddressScope != "" {
			return pool.AddressScope
		}
	}
	return ""
}
