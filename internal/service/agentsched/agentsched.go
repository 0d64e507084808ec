// Package agentsched answers what the API asks on the placement of services: which networks a DHCP agent serves and which
// routers an L3 agent, which agents serve a network or a router; and it lets operators change that.
//
// The placement itself is that of the packages service/dhcp and service/l3: what an operator decides here stands until
// another decides otherwise, and the scheduler fills in the rest.
package agentsched

import (
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Placement reads and changes what agents serve.
type Placement struct {
	dhcp *dhcp.Service
	live mech.Liveness
}

// New returns a Placement. live says which hosts are connected (nil: all).
func New(dhcp *dhcp.Service, live mech.Liveness) *Placement { return &Placement{dhcp, live} }

// Networks are the ids of the networks that the agent serves with DHCP; none, if it is no DHCP agent.
func (p *Placement) Networks(r state.Reader, a *model.Agent) []string {
	ids := []string{}
	if a.Role == model.RoleDHCP {
		for b := range state.DHCPBindingsByHost.List(r, a.Host) {
			ids = append(ids, b.NetworkID)
		}
	}
	return ids
}

// AddNetwork has the agent serve the network that the body names by network_id.
func (p *Placement) AddNetwork(tx *state.Tx, a *model.Agent, body map[string]any) error {
	id, err := named(body, "network_id")
	if err != nil {
		return err
	}
	n, ok := state.Networks.Get(tx, id)
	if !ok {
		return fault.Missing("Network", id)
	}
	return p.dhcp.Place(tx, a, n)
}

// RemoveNetwork ends the service of the agent for the network.
func (p *Placement) RemoveNetwork(tx *state.Tx, a *model.Agent, id string) error {
	return p.dhcp.TakeAway(tx, a, id)
}

// DHCPAgents are the ids of the agents that serve the network.
func (p *Placement) DHCPAgents(r state.Reader, n *model.Network) []string {
	ids := []string{}
	for b := range state.DHCPBindingsByNetwork.List(r, n.ID) {
		ids = append(ids, agent.ID(b.Host, model.RoleDHCP))
	}
	return ids
}

// Routers are the ids of the routers that the agent serves; none, if it is no L3 agent.
func (p *Placement) Routers(r state.Reader, a *model.Agent) []string {
	ids := []string{}
	if a.Role == model.RoleL3 {
		for o := range state.RoutersByHost.List(r, a.Host) {
			ids = append(ids, o.ID)
		}
		for g := range state.HostGroups(r, a.Host) {
			for o := range state.RoutersByGatewayGroup.List(r, g.ID) {
				ids = append(ids, o.ID)
			}
		}
	}
	return ids
}

// AddRouter has the agent serve the router that the body names by router_id.
func (p *Placement) AddRouter(tx *state.Tx, a *model.Agent, body map[string]any) error {
	id, err := named(body, "router_id")
	if err != nil {
		return err
	}
	r, ok := state.Routers.Get(tx, id)
	if !ok {
		return fault.Missing("Router", id)
	}
	return router.Assign(tx, r, a)
}

// RemoveRouter ends the service of the agent for the router.
func (p *Placement) RemoveRouter(tx *state.Tx, a *model.Agent, id string) error {
	r, ok := state.Routers.Get(tx, id)
	if !ok {
		return fault.Missing("Router", id)
	}
	return router.Unassign(tx, r, a)
}

// The states of an agent that serves a highly available router.
const (
	haActive  = "active"
	haStandby = "standby"
	haUnknown = "unknown" // its host is not connected
)

// L3Agents are the ids of the agents that serve the router. shown gives an agent with its part in it.
func (p *Placement) L3Agents(r state.Reader, o *model.Router) (ids []string, shown func(*model.Agent) *model.Agent) {
	ids = []string{}
	for _, host := range router.Hosts(r, o) {
		ids = append(ids, agent.ID(host, model.RoleL3))
	}
	group, grouped := state.GatewayGroups.Get(r, o.GatewayGroup)
	return ids, func(a *model.Agent) *model.Agent {
		a = a.Clone()
		a.Hosting = &model.Hosting{}
		if grouped {
			a.Hosting.HAState = p.haState(group, a.Host)
		}
		return a
	}
}

// haState is that of the host in the group. A host that nobody hears of may still be active, or may be dead.
func (p *Placement) haState(g *model.GatewayGroup, host string) string {
	if p.live != nil {
		if alive, _ := p.live.Alive(host); !alive {
			return haUnknown
		}
	}
	if g.Active() == host {
		return haActive
	}
	return haStandby
}

// named returns the id that the body gives under the name.
func named(body map[string]any, name string) (string, error) {
	id, err := schema.ParseID(body[name])
	if err != nil {
		return "", fault.Input(name, "%s", err)
	}
	return id, nil
}
