package router

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Hosts are the hosts whose L3 agents serve the router: all of its gateway group where it has one.
func Hosts(r state.Reader, router *model.Router) []string {
	if g, ok := state.GatewayGroups.Get(r, router.GatewayGroup); ok {
		return g.Hosts
	}
	return router.Hosts
}

// Assign has the L3 agent serve the router, unless another one does: the fault is RouterHostedByL3Agent (409). An agent that
// serves it already goes on. The hosts of a highly available router are those of its gateway group, with all other routers
// of the group: another agent cannot be added, the fault is RouterSchedulingFailed (409).
func Assign(tx *state.Tx, r *model.Router, a *model.Agent) error {
	if a.Role != model.RoleL3 || !a.AdminStateUp {
		return fault.New(fault.NotFound, "InvalidL3Agent", "Agent %s is not a L3 Agent or has been disabled", a.ID)
	}
	if slices.Contains(Hosts(tx, r), a.Host) {
		return nil
	}
	if r.HA {
		return fault.New(fault.Conflict, "RouterSchedulingFailed", "Failed scheduling router %s to the L3 Agent %s: it is "+
			"highly available, and served by the hosts of its gateway group, which the routers of the group share. "+
			"To choose its host, set ha to false.", r.ID, a.ID)
	}
	if len(r.Hosts) > 0 {
		return fault.New(fault.Conflict, "RouterHostedByL3Agent",
			"The router %s has been already hosted by the L3 Agent of host %s.", r.ID, r.Hosts[0])
	}
	r = r.Clone()
	r.Hosts, r.ManualHosts = append(r.Hosts, a.Host), true
	state.Routers.Put(tx, r)
	return nil
}

// Unassign ends the service of the L3 agent for the router, which then waits for an operator to give it another. The
// fault, where there is none, is RouterNotHostedByL3Agent (409). A highly available router cannot be taken from one host of
// its gateway group: the fault is RouterReschedulingFailed (409). To turn the agent off has all groups leave its host.
func Unassign(tx *state.Tx, r *model.Router, a *model.Agent) error {
	if a.Role != model.RoleL3 || !slices.Contains(Hosts(tx, r), a.Host) {
		return fault.New(fault.Conflict, "RouterNotHostedByL3Agent",
			"The router %s is not hosted by the L3 Agent %s.", r.ID, a.ID)
	}
	if r.GatewayGroup != "" {
		return fault.New(fault.Conflict, "RouterReschedulingFailed", "Failed rescheduling router %s: it is highly available, "+
			"and served by the hosts of its gateway group, which the routers of the group share. To have all of them leave "+
			"the host, set admin_state_up of the L3 Agent %s to false.", r.ID, a.ID)
	}
	r = r.Clone()
	r.Hosts, r.ManualHosts = slices.DeleteFunc(r.Hosts, func(host string) bool { return host == a.Host }), true
	state.Routers.Put(tx, r)
	return nil
}

// ForgetHost ends the service of a host for all routers: its L3 agent is gone. The scheduler gives them to others.
func ForgetHost(tx *state.Tx, host string) {
	for _, r := range slices.Collect(state.RoutersByHost.List(tx, host)) {
		r = r.Clone()
		r.Hosts = slices.DeleteFunc(r.Hosts, func(h string) bool { return h == host })
		r.ManualHosts = r.ManualHosts && len(r.Hosts) > 0
		state.Routers.Put(tx, r)
	}
}
