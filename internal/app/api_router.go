package app

import (
	"errors"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/agentsched"
	"github.com/neutrino-net/neutrino/internal/service/floatingip"
	"github.com/neutrino-net/neutrino/internal/service/router"
)

// routingAPI registers routers, floating IPs and what hangs on them.
func (s *server) routingAPI() error {
	ports := s.hosts.ports
	routers := router.New(router.Options{Ports: ports})
	addresses := floatingip.New(floatingip.Options{Ports: ports})
	ports.Follow(router.Guard{})
	ports.Follow(floatingip.Guard{})
	s.networks.Follow(addresses)
	s.networks.Follow(s.dhcp)
	return errors.Join(
		rest.Register(s.rest, rest.Routers(routers, rest.RouterActions[router.Interface]{
			AddInterface: routers.AddInterface, RemoveInterface: routers.RemoveInterface,
			AddRoutes: routers.AddRoutes, RemoveRoutes: routers.RemoveRoutes,
		}, router.View).With(rest.RouterAgents(s.placement()))),
		rest.Register(s.rest, rest.ConntrackHelpers(router.Helpers{})),
		rest.Register(s.rest, rest.NDPProxies(router.NDPProxies{})),
		rest.Register(s.rest, rest.FloatingIPs(addresses, floatingip.View)),
		rest.Register(s.rest, rest.PortForwardings(floatingip.Forwardings{})),
		rest.Register(s.rest, rest.FloatingIPPools(floatingip.Pools)),
		s.topologyAPI(routers),
	)
}

// placement shows and changes which agents serve what.
func (s *server) placement() rest.Placement { return agentsched.New(s.dhcp, s.hosts) }

// networkCollection is the collection of networks, with the agents that serve them.
func (s *server) networkCollection() rest.Collection[model.Network] {
	return rest.Networks(s.networks).With(rest.NetworkAgents(s.placement()))
}

// agentCollection is the collection of agents, with what they serve.
func (s *server) agentCollection() rest.Collection[model.Agent] {
	return rest.Agents(s.hosts.agents, s.hosts.decorate).With(rest.AgentPlacement(s.placement())...)
}
