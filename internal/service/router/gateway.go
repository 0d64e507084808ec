package router

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/state"
)

// setGateway makes the gateway of r, which has the one that is there, what is wanted; nil: none. Addresses that are
// wanted by name are given, or the request fails; without any, a gateway that stays on its network keeps those it has.
func (s *Rules) setGateway(tx *state.Tx, c *auth.Caller, r *model.Router, wanted *model.Gateway) error {
	have := r.Gateway
	if wanted != nil {
		if err := checkGateway(tx, c, have, wanted); err != nil {
			return err
		}
	}
	stays := have != nil && wanted != nil && have.NetworkID == wanted.NetworkID
	if have != nil && !stays {
		if err := s.removeGateway(tx, r); err != nil {
			return err
		}
	}
	if wanted == nil {
		return EnsureSNAT(tx, s.opts.Ports, r)
	}
	g := wanted.Clone()
	g.FixedIPs = nil
	if !stays {
		p, err := s.gatewayPort(tx, r, wanted)
		if err != nil {
			return err
		}
		g.PortID = p.ID
	} else {
		g.PortID = have.PortID
		if err := s.moveGateway(tx, g.PortID, wanted.FixedIPs); err != nil {
			return err
		}
	}
	r.Gateway = g
	return EnsureSNAT(tx, s.opts.Ports, r)
}

// checkGateway checks what does not depend on the router.
func checkGateway(tx *state.Tx, c *auth.Caller, have, wanted *model.Gateway) error {
	n, err := network.Find(tx, c, wanted.NetworkID)
	if err != nil {
		return err
	}
	if !n.External {
		return bad("Network %s is not an external network", n.ID)
	}
	for sub := range state.SubnetsByNetwork.List(tx, n.ID) {
		for _, f := range wanted.FixedIPs {
			if f.IP.IsValid() && f.IP == sub.GatewayIP {
				return bad("External IP %s is the same as the gateway IP", f.IP)
			}
		}
	}
	before := ""
	if have != nil {
		before = have.QoSPolicyID
	}
	return qos.CheckChange(tx, c, before, wanted.QoSPolicyID)
}

// gatewayPort makes the port of a new gateway.
func (s *Rules) gatewayPort(tx *state.Tx, r *model.Router, wanted *model.Gateway) (*model.Port, error) {
	subnets := slices.Collect(state.SubnetsByNetwork.List(tx, wanted.NetworkID))
	if err := checkOverlap(tx, r, subnets, ""); err != nil {
		return nil, err
	}
	// No tenant sees the port: its address is none of the project's network.
	p := Port(tx, "", wanted.NetworkID, r.ID, model.DeviceOwnerRouterGateway)
	p.Binding.Host, p.Binding.GatewayGroup = r.Serving()
	given := schema.Given{"port_security_enabled": true}
	if len(wanted.FixedIPs) > 0 {
		p.FixedIPs = slices.Clone(wanted.FixedIPs)
		given["fixed_ips"] = true
	}
	return p, s.opts.Ports.Create(tx, auth.System, p, given)
}

// moveGateway gives the port of a gateway other addresses, if any are wanted that it has not.
func (s *Rules) moveGateway(tx *state.Tx, portID string, wanted []model.FixedIP) error {
	old, ok := state.Ports.Get(tx, portID)
	if !ok || len(wanted) == 0 || slices.Equal(old.FixedIPs, wanted) {
		return nil
	}
	p := old.Clone()
	p.FixedIPs = slices.Clone(wanted)
	return s.opts.Ports.Update(tx, auth.System, old, p, schema.Given{"fixed_ips": true})
}

// removeGateway takes the gateway away. Floating IPs and NDP proxies that need it forbid it: the faults are
// RouterExternalGatewayInUseByFloatingIp and RouterGatewayInUseByNDPProxy (409).
func (s *Rules) removeGateway(tx *state.Tx, r *model.Router) error {
	if state.FloatingIPsByRouter.Has(tx, r.ID) {
		return fault.New(fault.Conflict, "RouterExternalGatewayInUseByFloatingIp", "Gateway cannot be updated for router %s, "+
			"since a gateway to external network %s is required by one or more floating IPs.", r.ID, r.Gateway.NetworkID)
	}
	if state.NDPProxiesByRouter.Has(tx, r.ID) {
		return fault.New(fault.Conflict, "RouterGatewayInUseByNDPProxy", "Unable to unset external gateway of router %s, "+
			"There are one or more ndp proxies still in use on the router.", r.ID)
	}
	if p, ok := state.Ports.Get(tx, r.Gateway.PortID); ok {
		if err := s.opts.Ports.Delete(tx, auth.System, p); err != nil {
			return err
		}
	}
	r.Gateway = nil
	return DropLocalGateways(tx, s.opts.Ports, r, func(string) bool { return false })
}
