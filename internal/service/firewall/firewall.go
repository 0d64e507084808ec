// Package firewall holds the rules of firewall groups, of their policies, and of the rules in these: the default group of
// every project, who may use what, and what a group's status says.
//
// Who may do something is asked of the policy of the API before. The rules run in a transaction, store what they make,
// and return a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - firewall.go: firewall groups, and which ports may be in them.
//   - policy.go: policies, and the order of rules in them.
//   - rule.go: which values of a rule fit together.
//   - default.go: what a project has without asking.
//   - status.go: what hosts say of groups, and the status that follows from it.
package firewall

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Groups are the rules of firewall groups. The zero value is ready.
type Groups struct{}

// Create stores the group. A project that makes a group of its own gets its default group first.
func (Groups) Create(tx *state.Tx, c *auth.Caller, g *model.FirewallGroup, _ schema.Given) error {
	EnsureDefault(tx, g.ProjectID)
	g.Default = false
	if err := checkGroup(tx, c, g, &model.FirewallGroup{}); err != nil {
		return err
	}
	state.FirewallGroups.Put(tx, g)
	return nil
}

// Update stores the group. Of a default group only its ports can be changed, by administrators all but its name: the fault
// is FirewallDefaultObjectUpdateRestricted (409).
func (Groups) Update(tx *state.Tx, c *auth.Caller, old, g *model.FirewallGroup, given schema.Given) error {
	fixed := []string{
		"name", "description", "admin_state_up", "ingress_firewall_policy_id", "egress_firewall_policy_id",
	}
	if c.Admin() {
		fixed = fixed[:1]
	}
	if old.Default && given.Any(fixed...) {
		return restricted("Firewall Group", g.ID)
	}
	if err := checkGroup(tx, c, g, old); err != nil {
		return err
	}
	state.FirewallGroups.Put(tx, g)
	return nil
}

// Delete deletes the group. One that has ports forbids it: the fault is FirewallGroupInUse (409). A default group is deleted
// by administrators only, together with its policies, and comes back when it is needed.
func (Groups) Delete(tx *state.Tx, c *auth.Caller, g *model.FirewallGroup) error {
	if len(g.PortIDs) > 0 {
		return fault.New(fault.Conflict, "FirewallGroupInUse", "Firewall group %s is still active.", g.ID)
	}
	if g.Default && !c.Admin() {
		return fault.New(fault.Conflict, "FirewallGroupCannotRemoveDefault", "Deleting default firewall group not allowed.")
	}
	state.FirewallGroups.Delete(tx, g.ID)
	for _, r := range slices.Collect(state.FirewallReportsByGroup.List(tx, g.ID)) {
		state.FirewallReports.Delete(tx, r.ID)
	}
	if g.Default {
		return removeDefaults(tx, g)
	}
	return nil
}

// checkGroup says whether the group may have its policies and its ports; what it had before is not looked at again.
func checkGroup(r state.Reader, c *auth.Caller, g, old *model.FirewallGroup) error {
	for _, of := range [][2]string{{g.IngressPolicyID, old.IngressPolicyID}, {g.EgressPolicyID, old.EgressPolicyID}} {
		if of[0] == "" || of[0] == of[1] {
			continue
		}
		if err := checkPolicy(r, c, of[0], g.ProjectID); err != nil {
			return err
		}
	}
	var taken []string
	for _, id := range g.PortIDs {
		if slices.Contains(old.PortIDs, id) {
			continue
		}
		if err := checkPort(r, c, g, id); err != nil {
			return err
		}
		if other, ok := state.FirewallGroupsByPort.First(r, id); ok && other.ID != g.ID {
			taken = append(taken, "'"+id+"'")
		}
	}
	if len(taken) > 0 {
		return fault.New(fault.Conflict, "FirewallGroupPortInUse",
			"Port(s) [%s] provided already associated with other firewall group(s).", strings.Join(taken, ", "))
	}
	return nil
}

// checkPort says whether a port may be in the group. One that is none of the caller's does not exist for it; of another
// project than the group, it may be for administrators only.
func checkPort(r state.Reader, c *auth.Caller, g *model.FirewallGroup, id string) error {
	p, ok := state.Ports.Get(r, id)
	if !ok || p.ProjectID != c.ProjectID && !c.Admin() {
		return fault.Missing("Port", id)
	}
	if !model.FirewallPort(p.DeviceOwner) {
		return fault.New(fault.Conflict, "FirewallGroupPortInvalid", "Port %s of firewall group is invalid.", id)
	}
	if p.ProjectID != g.ProjectID && !c.Admin() {
		return fault.New(fault.Conflict, "FirewallGroupPortInvalidProject",
			"Operation cannot be performed as port %s is in an invalid project %s.", id, p.ProjectID)
	}
	return nil
}

func restricted(resource, id string) error {
	return fault.New(fault.Conflict, "FirewallDefaultObjectUpdateRestricted",
		"Operation cannot be performed on default object '%s' of type %s.", id, resource)
}

// usable says whether the caller may know of what is of a project or shared.
func usable(c *auth.Caller, m *model.Meta, shared bool) bool {
	return shared || c.Admin() || m.ProjectID == c.ProjectID
}

// Guard takes ports that are deleted, or become something else, out of their groups; it is a port.Watcher. The zero value
// is ready.
type Guard struct{}

// PortDeleted takes the port out of its group.
func (Guard) PortDeleted(tx *state.Tx, p *model.Port) error {
	leave(tx, p.ID)
	return nil
}

// PortChanged takes a port out of its group that is no longer of a kind that may be in one.
func (Guard) PortChanged(tx *state.Tx, _ *auth.Caller, _, p *model.Port) error {
	if !model.FirewallPort(p.DeviceOwner) {
		leave(tx, p.ID)
	}
	return nil
}

func leave(tx *state.Tx, portID string) {
	for _, g := range slices.Collect(state.FirewallGroupsByPort.List(tx, portID)) {
		g = g.Clone()
		g.PortIDs = slices.DeleteFunc(g.PortIDs, func(id string) bool { return id == portID })
		state.FirewallGroups.Put(tx, g)
	}
}
