package l3

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/state"
)

// A distributed router has a part on every host with a bound port in one of its networks, if the host has an agent that
// routes. Each such part has all interfaces of the router, so that it forwards from any of the networks to any other: one
// DistributedBinding for each interface and host. Nothing has to move before another host may have them, since they all
// have the same.
//
// Its floating IPs are translated on the hosts of their ports, where the router is given a port in the external network
// for it; all others, and everything else, by the central part, which is placed like a router that is not distributed.

// distribute makes the parts of the router on hosts what they should be. An error says what could not be done; the rest
// is done, and stands.
func (p *Pass) distribute(r *model.Router) error {
	if !r.Distributed {
		return p.gather(r)
	}
	if err := p.unbindInterfaces(r); err != nil {
		return err
	}
	if err := router.EnsureSNAT(p.tx, p.s.opts.Ports, r); err != nil {
		return fmt.Errorf("its central part: %w", err)
	}
	hosts, lacking := p.localHosts(r)
	problems := p.bindDistributed(r, hosts)
	for _, host := range lacking {
		problems = append(problems, fmt.Sprintf("host %s has workloads behind it, and no agent that routes", host))
	}
	maps.DeleteFunc(r.LocalReasons, func(host, _ string) bool { return !hosts[host] })
	if err := p.ensureLocalGateways(r, hosts); err != nil {
		return err
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return fmt.Errorf("%w: %s", ErrNoHost, strings.Join(slices.Compact(problems), "; "))
	}
	return nil
}

// gather takes what is left of the time when the router was distributed away from the hosts.
func (p *Pass) gather(r *model.Router) error {
	r.LocalReasons = nil
	for _, b := range slices.Collect(state.DistributedBindingsByRouter.List(p.tx, r.ID)) {
		state.DistributedBindings.Delete(p.tx, b.ID)
	}
	return router.DropLocalGateways(p.tx, p.s.opts.Ports, r, func(string) bool { return false })
}

// unbindInterfaces has the interfaces be what those of a distributed router are: on many hosts, bound to none.
func (p *Pass) unbindInterfaces(r *model.Router) error {
	for _, id := range r.InterfaceIDs {
		old, ok := state.Ports.Get(p.tx, id)
		if !ok || old.Binding.VIFType == model.VIFDistributed {
			continue
		}
		now := old.Clone()
		now.Binding.Host = ""
		if err := p.s.opts.Ports.Update(p.tx, auth.System, old, now, schema.Given{"binding:host_id": true}); err != nil {
			return fmt.Errorf("unbinding its port %s: %w", id, err)
		}
	}
	return nil
}

// localHosts are the hosts that are to have a part of the router; lacking are those that would need one and have no agent
// for it.
func (p *Pass) localHosts(r *model.Router) (hosts map[string]bool, lacking []string) {
	hosts = map[string]bool{}
	networks := map[string]bool{}
	for _, id := range r.InterfaceIDs {
		i, ok := state.Ports.Get(p.tx, id)
		if !ok || networks[i.NetworkID] {
			continue
		}
		networks[i.NetworkID] = true
		for _, host := range p.othersHosts(r, i.NetworkID) {
			switch {
			case hosts[host] || slices.Contains(lacking, host):
			case routes(p.tx, host):
				hosts[host] = true
			default:
				lacking = append(lacking, host)
			}
		}
	}
	return hosts, lacking
}

// othersHosts are the hosts on which anybody but the router itself has a port of the network, by itself or by a gateway
// group.
func (p *Pass) othersHosts(r *model.Router, networkID string) (hosts []string) {
	other := func(o *model.Port) bool { return o.DeviceOwner != model.DeviceOwnerRouterSNAT || o.DeviceID != r.ID }
	for host := range state.PortsByNetworkHost.Parts(p.tx, networkID+"/") {
		for o := range state.PortsByNetworkHost.List(p.tx, networkID+"/"+host) {
			if other(o) {
				hosts = append(hosts, host)
				break
			}
		}
	}
	for id := range state.PortsByNetworkGatewayGroup.Parts(p.tx, networkID+"/") {
		for o := range state.PortsByNetworkGatewayGroup.List(p.tx, networkID+"/"+id) {
			if other(o) {
				hosts = append(hosts, state.PortHosts(p.tx, o)...)
				break
			}
		}
	}
	return hosts
}

// routes says whether the host has an agent that routes, be it connected or not.
func routes(r state.Reader, host string) bool {
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role.Routes() {
			return true
		}
	}
	return false
}

// bindDistributed makes the bindings of the interfaces to the hosts. It says which there cannot be, and why.
func (p *Pass) bindDistributed(r *model.Router, hosts map[string]bool) (problems []string) {
	have, touched := map[string]bool{}, map[string]bool{}
	for _, b := range slices.Collect(state.DistributedBindingsByRouter.List(p.tx, r.ID)) {
		key := b.PortID + "/" + b.Host
		if hosts[b.Host] && slices.Contains(r.InterfaceIDs, b.PortID) && !have[key] {
			have[key] = true
			continue
		}
		state.DistributedBindings.Delete(p.tx, b.ID)
		touched[b.PortID] = true
	}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		for _, id := range r.InterfaceIDs {
			i, ok := state.Ports.Get(p.tx, id)
			if !ok || have[id+"/"+host] {
				continue
			}
			wanted := &model.Port{NetworkID: i.NetworkID, Binding: model.Binding{Host: host}}
			bound, why := mech.Bind(p.tx, wanted, nil)
			if why != "" {
				problems = append(problems, why)
				continue
			}
			state.DistributedBindings.Put(p.tx, &model.DistributedBinding{
				Meta: model.Meta{ID: p.tx.NewID()}, PortID: id, RouterID: r.ID, NetworkID: i.NetworkID, Host: host,
				SegmentID: bound.SegmentID,
			})
			touched[id] = true
		}
	}
	for id := range touched {
		port.SettleDistributed(p.tx, id)
	}
	return problems
}

// ensureLocalGateways gives the router a way out on the hosts of ports with floating IPs, where these reach the external
// network.
func (p *Pass) ensureLocalGateways(r *model.Router, hosts map[string]bool) error {
	wanted := map[string]bool{}
	if r.Gateway != nil {
		for f := range state.FloatingIPsByRouter.List(p.tx, r.ID) {
			if o, ok := state.Ports.Get(p.tx, f.PortID); ok && f.FixedIP.IsValid() && o.Binding.Bound() && hosts[o.Binding.Host] {
				wanted[o.Binding.Host] = true
			}
		}
	}
	keep := func(host string) bool { return wanted[host] }
	if err := router.DropLocalGateways(p.tx, p.s.opts.Ports, r, keep); err != nil {
		return err
	}
	for _, host := range slices.Sorted(maps.Keys(wanted)) {
		if r.LocalGateway(host) != "" {
			continue
		}
		trial := &model.Port{NetworkID: r.Gateway.NetworkID, Binding: model.Binding{Host: host}}
		if _, why := mech.Bind(p.tx, trial, p.s.opts.Liveness); why != "" {
			continue // its floating IPs are translated by the central part
		}
		// It needs a MAC only: its addresses are the floating IPs.
		o := router.Port(p.tx, "", r.Gateway.NetworkID, r.ID, model.DeviceOwnerAgentGateway)
		o.Binding.Host = host
		given := schema.Given{"fixed_ips": true, "port_security_enabled": true}
		if err := p.s.opts.Ports.Create(p.tx, auth.System, o, given); err != nil {
			return fmt.Errorf("its way out on host %s: %w", host, err)
		}
		r.LocalGateways = append(r.LocalGateways, model.LocalGateway{Host: host, PortID: o.ID})
	}
	slices.SortFunc(r.LocalGateways, func(a, b model.LocalGateway) int { return strings.Compare(a.Host, b.Host) })
	return nil
}

// translatedLocally is the host that translates the floating IP by its local part of the router; empty: the central part
// does. Package compile sends it there.
func translatedLocally(r state.Reader, f *model.FloatingIP) (host string) {
	o, ok := state.Routers.Get(r, f.RouterID)
	if !ok || !o.Distributed || o.Gateway == nil || !f.FixedIP.IsValid() {
		return ""
	}
	p, ok := state.Ports.Get(r, f.PortID)
	if !ok || !p.Binding.Bound() {
		return ""
	}
	way, ok := state.Ports.Get(r, o.LocalGateway(p.Binding.Host))
	if !ok || !way.Binding.Bound() || !state.DistributedBindingsByRouterHost.Has(r, o.ID+"/"+p.Binding.Host) {
		return ""
	}
	return p.Binding.Host
}

// translatesFloating says whether the host speaks for the floating IP.
func translatesFloating(r state.Reader, host string, f *model.FloatingIP) bool {
	if local := translatedLocally(r, f); local != "" {
		return local == host
	}
	return translates(r, host, f.RouterID)
}

// reportLocal enters what a host says became of its part of a distributed router.
func reportLocal(tx *state.Tx, host, id string, st port.Status) {
	r, ok := state.Routers.Get(tx, id)
	if !ok || !r.Distributed || !state.DistributedBindingsByRouterHost.Has(tx, id+"/"+host) {
		return
	}
	reason := because(st)
	if reason == r.LocalReasons[host] {
		return
	}
	r = r.Clone()
	if r.LocalReasons == nil {
		r.LocalReasons = map[string]string{}
	}
	if r.LocalReasons[host] = reason; reason == "" {
		delete(r.LocalReasons, host)
	}
	state.Routers.Put(tx, r)
}
