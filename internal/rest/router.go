package rest

import (
	"encoding/json"
	"iter"
	"net/http"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// With returns the collection with further actions.
func (c Collection[T]) With(actions ...Action[T]) Collection[T] {
	c.Actions = append(c.Actions[:len(c.Actions):len(c.Actions)], actions...)
	return c
}

// actionRule is an action of the rules; what it returns is answered.
type actionRule[T, A any] = func(tx *state.Tx, c *auth.Caller, obj *T, body map[string]any) (A, error)

// ofRules makes an action of one of the rules. What it returns is answered as it is.
func ofRules[T, A any](name string, do actionRule[T, *A]) Action[T] {
	return Action[T]{Name: name, Do: func(tx *state.Tx, c *auth.Caller, obj *T, in Input) (any, error) {
		answer, err := do(tx, c, obj, in.Body)
		if err != nil {
			return nil, err
		}
		return answer, nil
	}}
}

// RouterActions are what the API can do with a router. Interface is the type of the answer when one comes or goes.
type RouterActions[Interface any] struct {
	AddInterface, RemoveInterface actionRule[model.Router, *Interface]
	AddRoutes, RemoveRoutes       actionRule[model.Router, *model.Router]
}

// Routers is the collection of routers. view makes them look as they are to be shown.
func Routers[I any](rules Rules[model.Router], actions RouterActions[I], view View[model.Router]) Collection[model.Router] {
	return Collection[model.Router]{
		Resource: schema.Router, Table: state.Routers, Rules: rules, Clone: (*model.Router).Clone,
		Indexes: []Indexed[model.Router]{
			{Filter: "name", Index: state.RoutersByName, NoEmpty: true},
			{Filter: "project_id", Index: state.RoutersByProject},
			{Filter: "tenant_id", Index: state.RoutersByProject},
		},
		Visible: func(r state.Reader, c *auth.Caller) iter.Seq[*model.Router] {
			return state.RoutersByProject.List(r, c.ProjectID)
		},
		For: view,
		Actions: []Action[model.Router]{
			ofRules("add_router_interface", actions.AddInterface), ofRules("remove_router_interface", actions.RemoveInterface),
			ofRules("add_extraroutes", actions.AddRoutes), ofRules("remove_extraroutes", actions.RemoveRoutes),
		},
	}
}

// View makes objects look as a caller may see them: the type of Collection.For.
type View[T any] = func(r state.Reader, c *auth.Caller) func(*T) *T

// ConntrackHelpers is the collection of the conntrack helpers of a router.
func ConntrackHelpers(rules Rules[model.ConntrackHelper]) Collection[model.ConntrackHelper] {
	return Collection[model.ConntrackHelper]{
		Resource: schema.ConntrackHelper, Table: state.ConntrackHelpers, Rules: rules, Clone: (*model.ConntrackHelper).Clone,
		Under: &Under[model.ConntrackHelper]{
			ParentID: func(h *model.ConntrackHelper) *string { return &h.RouterID }, Index: state.ConntrackHelpersByRouter,
		},
	}
}

// NDPProxies is the collection of NDP proxies.
func NDPProxies(rules Rules[model.NDPProxy]) Collection[model.NDPProxy] {
	return Collection[model.NDPProxy]{
		Resource: schema.NDPProxy, Table: state.NDPProxies, Rules: rules, Clone: (*model.NDPProxy).Clone,
		Indexes: []Indexed[model.NDPProxy]{
			{Filter: "router_id", Index: state.NDPProxiesByRouter},
			{Filter: "port_id", Index: state.NDPProxiesByPort},
			{Filter: "project_id", Index: state.NDPProxiesByProject},
		},
		Visible: func(r state.Reader, c *auth.Caller) iter.Seq[*model.NDPProxy] {
			return state.NDPProxiesByProject.List(r, c.ProjectID)
		},
	}
}

// FloatingIPs is the collection of floating IPs. view makes them look as they are to be shown.
func FloatingIPs(rules Rules[model.FloatingIP], view View[model.FloatingIP]) Collection[model.FloatingIP] {
	return Collection[model.FloatingIP]{
		Resource: schema.FloatingIP, Table: state.FloatingIPs, Rules: rules, Clone: (*model.FloatingIP).Clone,
		Indexes: []Indexed[model.FloatingIP]{
			{Filter: "port_id", Index: state.FloatingIPsByPort, NoEmpty: true},
			{Filter: "floating_ip_address", Index: state.FloatingIPsByAddress},
			{Filter: "router_id", Index: state.FloatingIPsByRouter, NoEmpty: true},
			{Filter: "project_id", Index: state.FloatingIPsByProject},
			{Filter: "tenant_id", Index: state.FloatingIPsByProject},
			{Filter: "floating_network_id", Index: state.FloatingIPsByNetwork},
		},
		Visible: func(r state.Reader, c *auth.Caller) iter.Seq[*model.FloatingIP] {
			return state.FloatingIPsByProject.List(r, c.ProjectID)
		},
		For: view,
	}
}

// PortForwardings is the collection of the port forwardings of a floating IP.
func PortForwardings(rules Rules[model.PortForwarding]) Collection[model.PortForwarding] {
	return Collection[model.PortForwarding]{
		Resource: schema.PortForwarding, Table: state.PortForwardings, Rules: rules, Clone: (*model.PortForwarding).Clone,
		Under: &Under[model.PortForwarding]{
			ParentID: func(p *model.PortForwarding) *string { return &p.FloatingIPID }, Index: state.PortForwardingsByFloatingIP,
		},
	}
}

// FloatingIPPools is the list of the blocks from which floating IPs can be had.
func FloatingIPPools(pools func(r state.Reader, c *auth.Caller) iter.Seq[*model.FloatingIPPool],
) Collection[model.FloatingIPPool] {
	return Collection[model.FloatingIPPool]{Resource: schema.FloatingIPPool, All: pools}
}

// Placement is what the API asks of the placement of services on agents.
type Placement interface {
	Networks(r state.Reader, a *model.Agent) []string
	AddNetwork(tx *state.Tx, a *model.Agent, body map[string]any) error
	RemoveNetwork(tx *state.Tx, a *model.Agent, id string) error
	DHCPAgents(r state.Reader, n *model.Network) []string
	Routers(r state.Reader, a *model.Agent) []string
	AddRouter(tx *state.Tx, a *model.Agent, body map[string]any) error
	RemoveRouter(tx *state.Tx, a *model.Agent, id string) error
	// L3Agents gives the ids of the agents that serve the router, and each of them with what it does for it.
	L3Agents(r state.Reader, router *model.Router) (ids []string, shown func(*model.Agent) *model.Agent)
}

// AgentPlacement are the actions that show and change what an agent serves.
func AgentPlacement(p Placement) []Action[model.Agent] {
	return append(
		placement("dhcp-network", schema.Network.Plural, p.Networks, p.AddNetwork, p.RemoveNetwork),
		placement("l3-router", schema.Router.Plural, p.Routers, p.AddRouter, p.RemoveRouter)...)
}

// placement are the actions on one kind of objects that agents serve: list, add, remove.
func placement(name, plural string, list func(state.Reader, *model.Agent) []string,
	add func(*state.Tx, *model.Agent, map[string]any) error, remove func(*state.Tx, *model.Agent, string) error,
) []Action[model.Agent] {
	return []Action[model.Agent]{
		{
			Name: name + "s", Policy: "get_" + name + "s",
			Show: func(r state.Reader, _ *auth.Caller, a *model.Agent, _ Input) (any, error) {
				return Listed{Plural: plural, IDs: list(r, a)}, nil
			},
		},
		{
			Name: name + "s", Method: http.MethodPost, Policy: "create_" + name,
			Do: func(tx *state.Tx, _ *auth.Caller, a *model.Agent, in Input) (any, error) {
				// Clients expect JSON even where there is nothing to say.
				return json.RawMessage("null"), add(tx, a, in.Body)
			},
		},
		{
			Name: name + "s/{served}", Method: http.MethodDelete, Policy: "delete_" + name,
			Do: func(tx *state.Tx, _ *auth.Caller, a *model.Agent, in Input) (any, error) {
				return nil, remove(tx, a, in.Path["served"])
			},
		},
	}
}

// NetworkAgents is the action that shows which agents serve a network with DHCP.
func NetworkAgents(p Placement) Action[model.Network] {
	return Action[model.Network]{
		Name: "dhcp-agents", Policy: "get_dhcp-agents",
		Show: func(r state.Reader, _ *auth.Caller, n *model.Network, _ Input) (any, error) {
			return Listed{Plural: schema.Agent.Plural, IDs: p.DHCPAgents(r, n)}, nil
		},
	}
}

// RouterAgents is the action that shows which agents serve a router.
func RouterAgents(p Placement) Action[model.Router] {
	return Action[model.Router]{
		Name: "l3-agents", Policy: "get_l3-agents",
		Show: func(r state.Reader, _ *auth.Caller, router *model.Router, _ Input) (any, error) {
			ids, shown := p.L3Agents(r, router)
			return Listed{schema.Agent.Plural, ids, func(obj any) any { return shown(obj.(*model.Agent)) }}, nil
		},
	}
}
