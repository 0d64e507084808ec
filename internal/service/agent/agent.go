// Package agent holds the rules of agents: what the state knows of the hosts. An agent of the API is a role that a host
// plays; a host says which it plays, and what it can do, whenever it connects.
//
// Whether a host is alive is no part of the state: it is known to the southbound.
package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Hello is what a host says of itself when it connects.
type Hello struct {
	Version string
	Roles   []model.Role // unknown ones are passed over
	// TunnelIP is the address of the host's tunnel endpoint; the zero Addr where it has none.
	TunnelIP    netip.Addr
	TunnelTypes []string
	// BridgeMappings has the interface or bridge of each physical network that the host is attached to.
	BridgeMappings map[string]string
	// AvailabilityZone is that of the host; empty: the default zone.
	AvailabilityZone string
	StartedAt        time.Time
}

// Rules are the rules of agents.
type Rules struct{ live mech.Liveness }

// New returns the rules. live says which hosts are connected (nil: all).
func New(live mech.Liveness) *Rules { return &Rules{live: live} }

// ID is the id of the agent that plays the role on the host: always the same (a UUID of version 5).
func ID(host string, role model.Role) string {
	return uuid.NewSHA1(uuid.NameSpaceDNS, []byte(host+"/"+string(role))).String()
}

// Connected enters what the host says of itself: one agent for each of its roles, none for roles that it no longer
// plays. What is no news changes nothing. A tunnel address that is not one, or that another host has, is refused: what
// is sent to that host would come here. The caller then has the ports bound again whose binding to the host has failed.
func (s *Rules) Connected(tx *state.Tx, host string, hello Hello) error {
	if err := checkTunnelIP(tx, host, hello.TunnelIP); err != nil {
		return err
	}
	for _, role := range []model.Role{model.RoleL2, model.RoleDHCP, model.RoleL3, model.RoleDVR} {
		id := ID(host, role)
		old, had := state.Agents.Get(tx, id)
		if !slices.Contains(hello.Roles, role) {
			if had {
				remove(tx, old)
			}
			continue
		}
		now := &model.Agent{Meta: model.Meta{ID: id}, Host: host, Role: role, AdminStateUp: true}
		if had {
			now = old.Clone()
		}
		// Zones are for the services that are given to hosts; a workload is where Nova has put it.
		if role != model.RoleL2 {
			now.AvailabilityZone = cmp.Or(hello.AvailabilityZone, model.DefaultZone)
		}
		now.Version, now.StartedAt = hello.Version, hello.StartedAt.UTC().Truncate(time.Second)
		if role == model.RoleL2 {
			now.TunnelIP = hello.TunnelIP
			now.TunnelTypes = slices.Clone(hello.TunnelTypes)
			now.BridgeMappings = maps.Clone(hello.BridgeMappings)
		}
		if !had || !same(old, now) {
			state.Agents.Put(tx, now)
		}
	}
	return nil
}

func checkTunnelIP(r state.Reader, host string, ip netip.Addr) error {
	if !ip.IsValid() {
		return nil
	}
	if ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
		return fault.New(fault.Invalid, "InvalidInput", "The tunnel address %s is not one that other hosts can reach.", ip)
	}
	for a := range state.Agents.All(r) {
		if a.TunnelIP == ip && a.Host != host {
			return fault.New(fault.Conflict, "TunnelIPInUse",
				"The tunnel address %s is that of the host %s. If that host is gone, delete its agents.", ip, a.Host)
		}
	}
	return nil
}

// same compares what a host says of itself.
func same(a, b *model.Agent) bool {
	return a.Version == b.Version && a.StartedAt.Equal(b.StartedAt) && a.TunnelIP == b.TunnelIP &&
		a.AvailabilityZone == b.AvailabilityZone &&
		slices.Equal(a.TunnelTypes, b.TunnelTypes) && maps.Equal(a.BridgeMappings, b.BridgeMappings)
}

// remove deletes an agent. What it has served is given to others by the scheduler.
func remove(tx *state.Tx, a *model.Agent) {
	if a.Role == model.RoleDHCP {
		for _, b := range slices.Collect(state.DHCPBindingsByHost.List(tx, a.Host)) {
			dhcp.Remove(tx, b)
		}
	}
	if a.Role == model.RoleL3 {
		router.ForgetHost(tx, a.Host)
	}
	state.Agents.Delete(tx, a.ID)
}

// Create refuses: hosts make their agents by connecting.
func (s *Rules) Create(*state.Tx, *auth.Caller, *model.Agent, schema.Given) error {
	return fault.New(fault.Invalid, "BadRequest", "Bad agents request: agents are made by the hosts that connect.")
}

// Update stores the agent. An agent that is turned off is given no more networks, and keeps those that it has.
func (s *Rules) Update(tx *state.Tx, _ *auth.Caller, _, a *model.Agent, _ schema.Given) error {
	state.Agents.Put(tx, a)
	return nil
}

// Delete deletes the agent of a host that is gone for good. That of a connected host would be missing until the host
// connects again, and its tunnels with it: the fault is AgentInUse (409).
func (s *Rules) Delete(tx *state.Tx, _ *auth.Caller, a *model.Agent) error {
	if s.live != nil {
		if alive, _ := s.live.Alive(a.Host); alive {
			return fault.New(fault.Conflict, "AgentInUse",
				"Agent %s cannot be deleted: its host %s is connected.", a.ID, a.Host)
		}
	}
	remove(tx, a)
	return nil
}
