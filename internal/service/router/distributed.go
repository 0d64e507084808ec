package router

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// A distributed router with a gateway has a central part, for what its hosts cannot do by themselves. In each network of
// an interface that has a port of its own, of device owner network:router_centralized_snat, with an address in each of
// the interface's subnets: the interface's own addresses are on all hosts, so none of them leads to the central part.

// EnsureSNAT makes the ports of the central part what they should be, and enters them in r, which the caller stores. It
// changes nothing where all is right.
func EnsureSNAT(tx *state.Tx, ports *port.Rules, r *model.Router) error {
	kept := make([]model.SNATPort, 0, len(r.SNATPorts))
	wanted := r.Distributed && r.Gateway != nil
	for _, have := range r.SNATPorts {
		if wanted && slices.Contains(r.InterfaceIDs, have.InterfaceID) {
			kept = append(kept, have)
			continue
		}
		if p, ok := state.Ports.Get(tx, have.PortID); ok {
			if err := ports.Delete(tx, auth.System, p); err != nil {
				return err
			}
		}
	}
	if r.SNATPorts = kept; !wanted {
		r.SNATPorts = nil
		return nil
	}
	for _, id := range r.InterfaceIDs {
		if err := ensureSNATPort(tx, ports, r, id); err != nil {
			return err
		}
	}
	return nil
}

// ensureSNATPort makes the port beside one interface, or gives it the addresses that it lacks.
func ensureSNATPort(tx *state.Tx, ports *port.Rules, r *model.Router, interfaceID string) error {
	i, ok := state.Ports.Get(tx, interfaceID)
	if !ok {
		return nil
	}
	if old, ok := state.Ports.Get(tx, r.SNATPort(interfaceID)); ok {
		now := old.Clone()
		now.FixedIPs = besideAddresses(i, old.FixedIPs)
		if slices.Equal(now.FixedIPs, old.FixedIPs) {
			return nil
		}
		return ports.Update(tx, auth.System, old, now, schema.Given{"fixed_ips": true})
	}
	r.SNATPorts = slices.DeleteFunc(r.SNATPorts, func(s model.SNATPort) bool { return s.InterfaceID == interfaceID })
	// No tenant sees the port, as that of a gateway.
	p := Port(tx, "", i.NetworkID, r.ID, model.DeviceOwnerRouterSNAT)
	p.Binding.Host, p.Binding.GatewayGroup = r.Serving()
	p.FixedIPs = besideAddresses(i, nil)
	if err := ports.Create(tx, auth.System, p, schema.Given{"fixed_ips": true, "port_security_enabled": true}); err != nil {
		return err
	}
	r.SNATPorts = append(r.SNATPorts, model.SNATPort{InterfaceID: interfaceID, PortID: p.ID})
	return nil
}

// besideAddresses asks for an address in each subnet of the interface; those that are there stay.
func besideAddresses(i *model.Port, have []model.FixedIP) (wanted []model.FixedIP) {
	for _, f := range i.FixedIPs {
		if slices.ContainsFunc(wanted, func(w model.FixedIP) bool { return w.SubnetID == f.SubnetID }) {
			continue
		}
		at := slices.IndexFunc(have, func(h model.FixedIP) bool { return h.SubnetID == f.SubnetID })
		if at >= 0 {
			wanted = append(wanted, have[at])
		} else {
			wanted = append(wanted, model.FixedIP{SubnetID: f.SubnetID})
		}
	}
	return wanted
}

// besides makes the central part of the stored router fit its interfaces after these have changed.
func (s *Rules) besides(tx *state.Tx, routerID string) error {
	r, ok := state.Routers.Get(tx, routerID)
	if !ok || !r.Distributed {
		return nil
	}
	now := r.Clone()
	if err := EnsureSNAT(tx, s.opts.Ports, now); err != nil {
		return err
	}
	if !slices.Equal(now.SNATPorts, r.SNATPorts) {
		state.Routers.Put(tx, now)
	}
	return nil
}

// DropLocalGateways deletes the router's ports for the floating IPs of hosts but those of the hosts to keep, and enters
// that in r, which the caller stores.
func DropLocalGateways(tx *state.Tx, ports *port.Rules, r *model.Router, keep func(host string) bool) error {
	var kept []model.LocalGateway
	for _, g := range r.LocalGateways {
		if keep(g.Host) {
			kept = append(kept, g)
			continue
		}
		if p, ok := state.Ports.Get(tx, g.PortID); ok {
			if err := ports.Delete(tx, auth.System, p); err != nil {
				return err
			}
		}
	}
	r.LocalGateways = kept
	return nil
}

// dropBindings takes an interface from all hosts that have it.
func dropBindings(tx *state.Tx, portID string) {
	for _, b := range slices.Collect(state.DistributedBindingsByPort.List(tx, portID)) {
		state.DistributedBindings.Delete(tx, b.ID)
	}
}
