package dhcp

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// bindingID is the id of what concerns a network and a host: a DHCPBinding, a DHCPExclusion.
func bindingID(networkID, host string) string { return networkID + ":" + host }

// Place has the agent serve the network from now on, because an operator wants it, besides those that serve it already.
// The faults are InvalidDHCPAgent (404) and NetworkHostedByDHCPAgent (409).
func (s *Service) Place(tx *state.Tx, a *model.Agent, n *model.Network) error {
	if a.Role != model.RoleDHCP || !a.AdminStateUp {
		return fault.New(fault.NotFound, "InvalidDHCPAgent", "Agent %s is not a valid DHCP Agent or has been disabled.", a.ID)
	}
	id := bindingID(n.ID, a.Host)
	if _, serves := state.DHCPBindings.Get(tx, id); serves {
		return fault.New(fault.Conflict, "NetworkHostedByDHCPAgent",
			"The network %s has been already hosted by the DHCP Agent %s.", n.ID, a.ID)
	}
	state.DHCPExclusions.Delete(tx, id)
	state.DHCPBindings.Put(tx, &model.DHCPBinding{
		Meta: model.Meta{ID: id, ProjectID: n.ProjectID}, NetworkID: n.ID, Host: a.Host, Manual: true,
	})
	return nil
}

// TakeAway ends the service of the agent for the network, because an operator wants it: the scheduler does not give it
// back. The fault is NetworkNotHostedByDhcpAgent (409).
func (s *Service) TakeAway(tx *state.Tx, a *model.Agent, networkID string) error {
	id := bindingID(networkID, a.Host)
	b, serves := state.DHCPBindings.Get(tx, id)
	if !serves || a.Role != model.RoleDHCP {
		return fault.New(fault.Conflict, "NetworkNotHostedByDhcpAgent",
			"The network %s is not hosted by the DHCP Agent %s.", networkID, a.ID)
	}
	Remove(tx, b)
	state.DHCPExclusions.Put(tx, &model.DHCPExclusion{Meta: model.Meta{ID: id}, NetworkID: networkID, Host: a.Host})
	return nil
}

// NetworkChanged implements network.Follower: the scheduler sees to it.
func (s *Service) NetworkChanged(*state.Tx, *model.Network, *model.Network) error { return nil }

// NetworkDeleted implements network.Follower: what operators have decided for the network goes with it.
func (s *Service) NetworkDeleted(tx *state.Tx, n *model.Network) error {
	for _, e := range slices.Collect(state.DHCPExclusionsByNetwork.List(tx, n.ID)) {
		state.DHCPExclusions.Delete(tx, e.ID)
	}
	return nil
}
