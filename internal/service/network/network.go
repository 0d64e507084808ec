// Package network holds the rules of networks: their segment, their MTU, what keeps them from being deleted, and what
// goes with them when they are.
//
// Who may do something is asked of the policy before; the rules say what must hold whoever asks. They run in a
// transaction, store what they make, and return a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - network.go: create, update, delete, as the API asks for them.
//   - segments.go: the segments that an administrator asks for, or that the network is given.
//   - follow.go: who has something to do when a network changes or goes.
//   - sharing.go: whom a network is shared with, or external for.
//   - availability.go: what a network shows of its subnets, and how many addresses these have left.
package network

import (
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/service/segment"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are the rules of networks.
type Rules struct {
	types     *typedriver.Manager
	followers []Follower
}

// New returns the rules. Segments come from types.
func New(types *typedriver.Manager) *Rules { return &Rules{types: types} }

// Create gives the network its segments and an MTU, and stores it.
func (s *Rules) Create(tx *state.Tx, c *auth.Caller, n *model.Network, given schema.Given) error {
	n.SubnetIDs = nil
	if err := s.setSegments(tx, n, given); err != nil {
		return err
	}
	if err := s.fitMTU(n); err != nil {
		return err
	}
	if err := checkTransparency(n); err != nil {
		return err
	}
	if err := checkZones(tx, n.AvailabilityZoneHints); err != nil {
		return err
	}
	if err := checkUse(tx, c, nil, n); err != nil {
		return err
	}
	share(tx, n)
	state.Networks.Put(tx, n)
	segment.Follow(tx, n)
	return nil
}

// Update checks the attributes that subnets and ports depend on, and stores the network.
func (s *Rules) Update(tx *state.Tx, c *auth.Caller, old, n *model.Network, given schema.Given) error {
	if err := s.updateSegments(tx, old, n, given); err != nil {
		return err
	}
	if given.Has("mtu") {
		if err := s.fitMTU(n); err != nil {
			return err
		}
		for sub := range state.SubnetsByNetwork.List(tx, n.ID) {
			if err := MTUCarries(n, sub.IPVersion); err != nil {
				return err
			}
		}
	}
	if err := unshared(tx, old, n); err != nil {
		return err
	}
	if err := checkUse(tx, c, old, n); err != nil {
		return err
	}
	for _, f := range s.followers {
		if err := f.NetworkChanged(tx, old, n); err != nil {
			return err
		}
	}
	share(tx, n)
	state.Networks.Put(tx, n)
	segment.Follow(tx, n)
	return nil
}

// Delete deletes the network, its subnets, and the ports that DHCP servers have on it. Other ports forbid it: the fault
// is NetworkInUse (409).
func (s *Rules) Delete(tx *state.Tx, _ *auth.Caller, n *model.Network) error {
	for _, f := range s.followers {
		if err := f.NetworkDeleted(tx, n); err != nil {
			return err
		}
	}
	var servers, users []string
	for p := range state.PortsByNetwork.List(tx, n.ID) {
		if p.DeviceOwner == model.DeviceOwnerDHCP {
			servers = append(servers, p.ID)
		} else {
			users = append(users, p.ID)
		}
	}
	if len(users) > 0 {
		return fault.New(fault.Conflict, "NetworkInUse", "Unable to complete operation on network %s. "+
			"There are one or more ports still in use on the network, id for these ports is: %s.", n.ID, few(users))
	}
	var bindings, subnets []string
	for b := range state.DHCPBindingsByNetwork.List(tx, n.ID) {
		bindings = append(bindings, b.ID)
	}
	for sub := range state.SubnetsByNetwork.List(tx, n.ID) {
		subnets = append(subnets, sub.ID)
	}
	for _, id := range bindings {
		state.DHCPBindings.Delete(tx, id)
	}
	for _, id := range servers {
		state.Ports.Delete(tx, id)
	}
	for _, id := range subnets {
		state.Subnets.Delete(tx, id)
	}
	segment.Follow(tx, &model.Network{Meta: model.Meta{ID: n.ID}})
	rbac.Forget(tx, RBACType, n.ID)
	state.Networks.Delete(tx, n.ID)
	return nil
}

// few lists ids, but no more than a person reads.
func few(ids []string) string {
	const most = 20
	if len(ids) > most {
		return strings.Join(ids[:most], ",") + ", …"
	}
	return strings.Join(ids, ",")
}

// fitMTU sets the MTU where none was given to the largest that the segments carry, and refuses one that they don't.
func (s *Rules) fitMTU(n *model.Network) error {
	most := schema.MaxMTU
	for _, segment := range n.Segments {
		most = min(most, s.types.MaxMTU(segment.NetworkType))
	}
	switch {
	case n.MTU == 0:
		n.MTU = most
	case n.MTU > most:
		return fault.Operation("Requested MTU is too big, maximum is %d", most)
	case n.MTU < schema.MinMTU:
		return fault.Operation("Requested MTU is too small, minimum is %d", schema.MinMTU)
	}
	return nil
}

// minIPv6MTU is the least MTU of a link that carries IPv6 (RFC 8200, section 5).
const minIPv6MTU = 1280

// MTUCarries checks that the network's MTU is enough for subnets of the IP version. The fault is
// NetworkMTUSubnetConflict (409).
func MTUCarries(n *model.Network, ipVersion int) error {
	if ipVersion == 6 && n.MTU < minIPv6MTU {
		return fault.New(fault.Conflict, "NetworkMTUSubnetConflict",
			"The MTU of network %s is %d, and subnets of IPv6 need at least %d.", n.ID, n.MTU, minIPv6MTU)
	}
	return nil
}

// Find returns the network, if the caller may know that it exists. The fault is NetworkNotFound (404).
func Find(r state.Reader, c *auth.Caller, id string) (*model.Network, error) {
	n, ok := state.Networks.Get(r, id)
	if !ok || !Visible(r, c, n) {
		return nil, fault.Missing("Network", id)
	}
	return n, nil
}

// Visible says whether the caller may know that the network exists: as an administrator, as a service of the cloud, as
// its owner, or because it is shared with the caller or external for it.
func Visible(r state.Reader, c *auth.Caller, n *model.Network) bool {
	return n.Shared || c.Admin() || c.HasRole("service") || c.ProjectID == n.ProjectID ||
		rbac.Shared(r, RBACType, n.ID, c.ProjectID) || external(r, c, n)
}
