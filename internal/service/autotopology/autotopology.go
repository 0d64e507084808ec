// Package autotopology makes a project its first network at its asking: with subnets from the default pools, and a
// router to the default external network. Nova asks for it when a server is made with "--nic auto".
//
// It is made once, in one transaction: a project has all of it or nothing, however many ask at the same time. The rules
// return a *fault.Error, after which the transaction is dropped.
package autotopology

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/subnetpool"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Creator makes and deletes objects of the API, as their rules do.
type Creator[T any] interface {
	Create(tx *state.Tx, c *auth.Caller, obj *T, given schema.Given) error
	Delete(tx *state.Tx, c *auth.Caller, obj *T) error
}

// Options are what topologies are made by. All are required.
type Options struct {
	Networks Creator[model.Network]
	Subnets  Creator[model.Subnet]
	Routers  Creator[model.Router]
	// Attach attaches the router to the subnet, Detach undoes that.
	Attach, Detach func(tx *state.Tx, c *auth.Caller, r *model.Router, subnetID string) error
	// Take counts n objects against a quota of the project. The fault is OverQuota (409).
	Take func(tx *state.Tx, projectID, resource string, n int) error
}

// Service makes topologies.
type Service struct{ opts Options }

// New returns the service.
func New(opts Options) *Service { return &Service{opts: opts} }

// Check says whether a topology could be made. The fault is AutoAllocationFailure (409).
func Check(r state.Reader) error {
	_, _, err := requirements(r)
	return err
}

// Get returns the network of the project's topology, and makes the topology when there is none. The faults are
// AutoAllocationFailure (409), and what the rules of networks, subnets and routers refuse.
func (s *Service) Get(tx *state.Tx, c *auth.Caller, projectID string) (networkID string, err error) {
	if t, ok := state.AutoTopologies.Get(tx, projectID); ok {
		if _, ok := state.Networks.Get(tx, t.NetworkID); ok {
			return t.NetworkID, nil
		}
	}
	outside, pools, err := requirements(tx)
	if err != nil {
		return "", err
	}
	for resource, n := range map[string]int{"network": 1, "subnet": len(pools), "router": 1} {
		if err := s.opts.Take(tx, projectID, resource, n); err != nil {
			return "", err
		}
	}
	n, subnets, err := s.network(tx, c, projectID, pools)
	if err != nil {
		return "", err
	}
	router := schema.Router.Defaults()
	router.Meta = model.Meta{ID: tx.NewID(), ProjectID: projectID, Name: "auto_allocated_router"}
	router.Gateway = &model.Gateway{NetworkID: outside.ID, EnableSNAT: true}
	if err := s.opts.Routers.Create(tx, c, router, schema.Given{"external_gateway_info": true}); err != nil {
		return "", err
	}
	for _, id := range subnets {
		// Read again: attaching stores the router anew.
		now, ok := state.Routers.Get(tx, router.ID)
		if !ok {
			return "", fault.Missing("Router", router.ID)
		}
		if err := s.opts.Attach(tx, c, now, id); err != nil {
			return "", err
		}
	}
	state.AutoTopologies.Put(tx, &model.AutoTopology{
		Meta: model.Meta{ID: projectID, ProjectID: projectID}, NetworkID: n.ID, RouterID: router.ID,
	})
	return n.ID, nil
}

// network makes the network with a subnet from each of the pools.
func (s *Service) network(tx *state.Tx, c *auth.Caller, projectID string, pools []*model.SubnetPool,
) (*model.Network, []string, error) {
	n := schema.Network.Defaults()
	n.Meta = model.Meta{ID: tx.NewID(), ProjectID: projectID, Name: "auto_allocated_network"}
	if err := s.opts.Networks.Create(tx, c, n, schema.Given{}); err != nil {
		return nil, nil, err
	}
	var ids []string
	for _, p := range pools {
		sub := schema.Subnet.Defaults()
		sub.Meta = model.Meta{ID: tx.NewID(), ProjectID: projectID, Name: "auto_allocated_subnet_v4"}
		if p.IPVersion == 6 {
			sub.Name = "auto_allocated_subnet_v6"
		}
		sub.NetworkID, sub.IPVersion, sub.SubnetPoolID = n.ID, p.IPVersion, p.ID
		if err := s.opts.Subnets.Create(tx, c, sub, schema.Given{"subnetpool_id": true}); err != nil {
			return nil, nil, err
		}
		ids = append(ids, sub.ID)
	}
	return n, ids, nil
}

// Delete deletes the project's topology, if it has one. What has been deleted of it already is no matter.
func (s *Service) Delete(tx *state.Tx, c *auth.Caller, projectID string) error {
	t, ok := state.AutoTopologies.Get(tx, projectID)
	if !ok {
		return nil
	}
	if _, ok := state.Routers.Get(tx, t.RouterID); ok {
		if err := s.deleteRouter(tx, c, t); err != nil {
			return err
		}
	}
	if n, ok := state.Networks.Get(tx, t.NetworkID); ok {
		if err := s.opts.Networks.Delete(tx, c, n); err != nil {
			return err
		}
	}
	state.AutoTopologies.Delete(tx, projectID)
	return nil
}

func (s *Service) deleteRouter(tx *state.Tx, c *auth.Caller, t *model.AutoTopology) error {
	for _, sub := range slices.Collect(state.SubnetsByNetwork.List(tx, t.NetworkID)) {
		r, ok := state.Routers.Get(tx, t.RouterID)
		if !ok {
			return nil
		}
		if err := s.opts.Detach(tx, c, r, sub.ID); err != nil && !fault.IsNotFound(err) {
			return err
		}
	}
	r, ok := state.Routers.Get(tx, t.RouterID)
	if !ok {
		return nil
	}
	return s.opts.Routers.Delete(tx, c, r)
}

// requirements finds the external network and the pools that a topology is made of.
func requirements(r state.Reader) (outside *model.Network, pools []*model.SubnetPool, err error) {
	outside, ok := network.DefaultExternal(r)
	if !ok {
		return nil, nil, failure("No default router:external network")
	}
	for _, version := range []int{4, 6} {
		if p, ok := subnetpool.Default(r, version); ok {
			pools = append(pools, p)
		}
	}
	if len(pools) == 0 {
		return nil, nil, failure("No default subnetpools defined")
	}
	return outside, pools, nil
}

func failure(why string) error {
	return fault.New(fault.Conflict, "AutoAllocationFailure", "Deployment error: %s.", why)
}
