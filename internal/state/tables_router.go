package state

import "github.com/neutrino-net/neutrino/internal/model"

// Routers, floating IPs, and what hangs on them.
var (
	Routers          = newTable[model.Router]("router")
	RoutersByProject = newIndex(Routers, func(r *model.Router) []string { return []string{r.ProjectID} })
	RoutersByName    = newIndex(Routers, func(r *model.Router) []string { return optional(r.Name) })
	RoutersByFlavor  = newIndex(Routers, func(r *model.Router) []string { return optional(r.FlavorID) })
	RoutersByHost    = newIndex(Routers, func(r *model.Router) []string { return r.Hosts })
	// RoutersByLeg finds the router that is attached by a port, as interface or gateway.
	RoutersByLeg = newIndex(Routers, func(r *model.Router) []string { return r.LegIDs() })
	// RoutersByNetwork finds the routers that have their gateway on an external network.
	RoutersByNetwork = newIndex(Routers, func(r *model.Router) []string {
		if r.Gateway == nil {
			return nil
		}
		return []string{r.Gateway.NetworkID}
	})
	// RoutersByQoSPolicy finds the routers whose gateway has the policy.
	RoutersByQoSPolicy = newIndex(Routers, func(r *model.Router) []string {
		if r.Gateway == nil {
			return nil
		}
		return optional(r.Gateway.QoSPolicyID)
	})

	// RouterInterfacesBySubnet finds the ports that look like interfaces of routers, by the subnets they have addresses of.
	RouterInterfacesBySubnet = newIndex(Ports, func(p *model.Port) []string {
		if !model.RouterInterfaceOwner(p.DeviceOwner) {
			return nil
		}
		keys := make([]string, 0, len(p.FixedIPs))
		for _, f := range p.FixedIPs {
			keys = append(keys, f.SubnetID)
		}
		return keys
	})

	FloatingIPs            = newTable[model.FloatingIP]("floatingip")
	FloatingIPsByProject   = newIndex(FloatingIPs, func(f *model.FloatingIP) []string { return []string{f.ProjectID} })
	FloatingIPsByAddress   = newIndex(FloatingIPs, func(f *model.FloatingIP) []string { return []string{f.Address.String()} })
	FloatingIPsByNetwork   = newIndex(FloatingIPs, func(f *model.FloatingIP) []string { return []string{f.NetworkID} })
	FloatingIPsByPort      = newIndex(FloatingIPs, func(f *model.FloatingIP) []string { return optional(f.PortID) })
	FloatingIPsByRouter    = newIndex(FloatingIPs, func(f *model.FloatingIP) []string { return optional(f.RouterID) })
	FloatingIPsByQoSPolicy = newIndex(FloatingIPs, func(f *model.FloatingIP) []string { return optional(f.QoSPolicyID) })

	PortForwardings             = newTable[model.PortForwarding]("port-forwarding")
	PortForwardingsByFloatingIP = newIndex(PortForwardings,
		func(p *model.PortForwarding) []string { return []string{p.FloatingIPID} })
	PortForwardingsByPort = newIndex(PortForwardings,
		func(p *model.PortForwarding) []string { return []string{p.InternalPortID} })

	ConntrackHelpers         = newTable[model.ConntrackHelper]("conntrack-helper")
	ConntrackHelpersByRouter = newIndex(ConntrackHelpers,
		func(h *model.ConntrackHelper) []string { return []string{h.RouterID} })

	NDPProxies          = newTable[model.NDPProxy]("ndp-proxy")
	NDPProxiesByProject = newIndex(NDPProxies, func(p *model.NDPProxy) []string { return []string{p.ProjectID} })
	NDPProxiesByRouter  = newIndex(NDPProxies, func(p *model.NDPProxy) []string { return []string{p.RouterID} })
	NDPProxiesByPort    = newIndex(NDPProxies, func(p *model.NDPProxy) []string { return []string{p.PortID} })
)
