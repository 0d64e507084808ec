// Package logging holds the rules of logs: of the packets that security groups accept or drop. It says what may be
// logged; the hosts do it.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
package logging

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Types are the types of resources whose packets can be logged.
func Types() []string { return []string{model.LogSecurityGroup} }

// Rules are the rules of logs. The zero value is ready.
type Rules struct{}

// Create checks that what is to be logged is there, and stores the log. A security group or port that is none of the
// caller's does not exist for it.
func (Rules) Create(tx *state.Tx, c *auth.Caller, l *model.Log, _ schema.Given) error {
	if !slices.Contains(Types(), l.ResourceType) {
		return fault.New(fault.Invalid, "InvalidLogResourceType", "Invalid log resource_type: %s.", l.ResourceType)
	}
	if l.ResourceID != "" {
		group, ok := state.SecurityGroups.Get(tx, l.ResourceID)
		if !ok || !owns(c, &group.Meta) {
			return fault.New(fault.NotFound, "ResourceNotFound", "Resource %s could not be found.", l.ResourceID)
		}
	}
	if l.TargetID != "" {
		if err := checkPort(tx, c, l); err != nil {
			return err
		}
	}
	state.Logs.Put(tx, l)
	return nil
}

func checkPort(r state.Reader, c *auth.Caller, l *model.Log) error {
	p, ok := state.Ports.Get(r, l.TargetID)
	if !ok || !owns(c, &p.Meta) {
		return fault.New(fault.NotFound, "TargetResourceNotFound", "Target resource %s could not be found.", l.TargetID)
	}
	// What a device of a guest's own does, the host cannot see.
	if vnic := p.Binding.VNICType; vnic != "" && vnic != "normal" {
		return fault.New(fault.Conflict, "LoggingTypeNotSupported",
			"Logging type %s is not supported on port %s.", l.ResourceType, l.TargetID)
	}
	if l.ResourceID != "" && !slices.Contains(p.SecurityGroupIDs, l.ResourceID) {
		return fault.New(fault.Invalid, "InvalidResourceConstraint",
			"Invalid resource constraint between resource (%s %s) and target resource (port %s).",
			l.ResourceType, l.ResourceID, l.TargetID)
	}
	return nil
}

// owns says whether the object is the caller's, or the caller an administrator.
func owns(c *auth.Caller, m *model.Meta) bool { return c.Admin() || m.ProjectID == c.ProjectID }

// Update stores the log.
func (Rules) Update(tx *state.Tx, _ *auth.Caller, _, l *model.Log, _ schema.Given) error {
	state.Logs.Put(tx, l)
	return nil
}

// Delete deletes the log.
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, l *model.Log) error {
	state.Logs.Delete(tx, l.ID)
	return nil
}

// Guard removes the logs of ports that are deleted; it is a port.Follower.
type Guard struct{}

// PortDeleted removes the logs of the port.
func (Guard) PortDeleted(tx *state.Tx, p *model.Port) error {
	Forget(tx, p.ID)
	return nil
}

// Forget removes the logs of a security group or of a port; the rules of security groups call it when one is deleted.
func Forget(tx *state.Tx, id string) {
	for _, l := range slices.Collect(state.LogsBySubject.List(tx, id)) {
		state.Logs.Delete(tx, l.ID)
	}
}
