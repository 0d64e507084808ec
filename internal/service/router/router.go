// Package router holds the rules of routers: their gateway to an external network, their interfaces on subnets, extra
// routes, conntrack helpers, NDP proxies, and what all these forbid others to change.
//
// A router is attached to networks by ports that it owns: its interfaces, whose ids are in the router, and the port of
// its gateway. That a port looks like an interface, because it names the router as its device, makes it none.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and return
// a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - router.go: create, update, delete, as the API asks for them.
//   - gateway.go: the way out; interface.go: the way in, by subnet or by port; attach.go: what may be attached.
//   - routes.go: extra routes.
//   - distributed.go: the ports that distributed routers have besides.
//   - hosts.go: which hosts serve a router, as far as operators say so; the rest is package l3's.
//   - helper.go, ndp.go: conntrack helpers and NDP proxies.
//   - guard.go: what may not happen to ports while routers use them.
//   - view.go: how a router looks to those who read it.
package router

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/flavor"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Options are what the rules of routers need.
type Options struct {
	Ports *port.Rules // required: they make the ports of routers
}

// Rules are the rules of routers.
type Rules struct{ opts Options }

// New returns the rules.
func New(opts Options) *Rules { return &Rules{opts: opts} }

// Create stores the router, with the port of its gateway.
func (s *Rules) Create(tx *state.Tx, c *auth.Caller, r *model.Router, _ schema.Given) error {
	if err := checkZones(tx, r.AvailabilityZoneHints); err != nil {
		return err
	}
	if r.FlavorID != "" {
		if _, err := flavor.ProviderOf(tx, r.FlavorID); err != nil {
			return err
		}
	}
	wanted := r.Gateway
	r.Gateway = nil
	if err := s.setGateway(tx, c, r, wanted); err != nil {
		return err
	}
	if r.NDPProxy {
		if err := checkNDPGateway(tx, r); err != nil {
			return err
		}
	}
	state.Routers.Put(tx, r)
	return nil
}

// Update makes the changes and stores the router.
func (s *Rules) Update(tx *state.Tx, c *auth.Caller, old, r *model.Router, given schema.Given) error {
	if err := checkMode(old, r); err != nil {
		return err
	}
	if given.Has("external_gateway_info") {
		wanted := r.Gateway
		r.Gateway = old.Gateway.Clone()
		if err := s.setGateway(tx, c, r, wanted); err != nil {
			return err
		}
	}
	// Routes are checked against what the router has in the end: a gateway that goes takes its nexthops with it.
	if given.Any("routes", "external_gateway_info") {
		if err := checkRoutes(tx, r); err != nil {
			return err
		}
	}
	if r.NDPProxy && given.Any("enable_ndp_proxy", "external_gateway_info") {
		if err := checkNDPGateway(tx, r); err != nil {
			return err
		}
	}
	if old.InterfaceOwner() != r.InterfaceOwner() {
		if err := s.changeOwner(tx, r); err != nil {
			return err
		}
		if err := EnsureSNAT(tx, s.opts.Ports, r); err != nil {
			return err
		}
	}
	state.Routers.Put(tx, r)
	return nil
}

// Delete deletes the router, its gateway and its conntrack helpers. Interfaces and floating IPs forbid it: the faults are
// RouterInUse and RouterExternalGatewayInUseByFloatingIp (409).
func (s *Rules) Delete(tx *state.Tx, c *auth.Caller, r *model.Router) error {
	if len(r.InterfaceIDs) > 0 {
		return fault.New(fault.Conflict, "RouterInUse", "Router %s has ports still attached: %s", r.ID, few(r.InterfaceIDs))
	}
	gone := r.Clone()
	if err := s.setGateway(tx, c, gone, nil); err != nil {
		return err
	}
	for _, h := range slices.Collect(state.ConntrackHelpersByRouter.List(tx, r.ID)) {
		state.ConntrackHelpers.Delete(tx, h.ID)
	}
	state.Routers.Delete(tx, r.ID)
	return nil
}

// checkMode refuses to make a router of another kind while it is up: its interfaces would stop working at once.
func checkMode(old, r *model.Router) error {
	if !old.AdminStateUp {
		return nil
	}
	switch {
	case old.Distributed != r.Distributed && r.Distributed:
		return bad("Cannot upgrade active router to distributed. " +
			"Please set router admin_state_up to False prior to upgrade")
	case old.Distributed != r.Distributed:
		return bad("Cannot downgrade active router to centralized. " +
			"Please set router admin_state_up to False prior to downgrade")
	case old.HA != r.HA:
		return bad("Cannot change HA attribute of active routers. " +
			"Please set router admin_state_up to False prior to upgrade")
	}
	return nil
}

// changeOwner gives the interfaces the device owner that the router's kind asks for.
func (s *Rules) changeOwner(tx *state.Tx, r *model.Router) error {
	for _, id := range r.InterfaceIDs {
		old, ok := state.Ports.Get(tx, id)
		if !ok {
			continue
		}
		p := old.Clone()
		p.DeviceOwner = r.InterfaceOwner()
		p.Binding.Host, p.Binding.GatewayGroup = r.InterfaceServing()
		given := schema.Given{"device_owner": true, "binding:host_id": true}
		if err := s.opts.Ports.Update(tx, auth.System, old, p, given); err != nil {
			return err
		}
	}
	return nil
}

// checkZones says whether every availability zone has an L3 agent. The fault is AvailabilityZoneNotFound (404).
func checkZones(r state.Reader, zones []string) error {
	for _, zone := range zones {
		found := false
		for a := range state.Agents.All(r) {
			if found = a.Role == model.RoleL3 && a.AvailabilityZone == zone; found {
				break
			}
		}
		if !found {
			return fault.New(fault.NotFound, "AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", zone)
		}
	}
	return nil
}

// Port returns a new port that belongs to a router or a floating IP, as its rules are to be given it. An empty project
// means that no tenant sees it.
func Port(tx *state.Tx, project, networkID, deviceID, deviceOwner string) *model.Port {
	p := schema.Port.Defaults()
	p.ID, p.ProjectID, p.NetworkID = tx.NewID(), project, networkID
	p.DeviceID, p.DeviceOwner = deviceID, deviceOwner
	return p
}

// bad is the 400 of a request that does not fit the router.
func bad(format string, args ...any) error {
	return fault.New(fault.Invalid, "BadRequest", "Bad router request: %s.", fmt.Sprintf(format, args...))
}

// few lists ids, but no more than a person reads.
func few(ids []string) string {
	const most = 20
	if len(ids) > most {
		return strings.Join(ids[:most], ", ") + ", …"
	}
	return strings.Join(ids, ", ")
}
