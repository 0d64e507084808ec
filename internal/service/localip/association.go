package localip

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Associations are the rules of the ports that answer for a local IP. The zero value is ready.
type Associations struct{}

// Create stores the association. A port that is none of the caller's does not exist for it.
func (Associations) Create(tx *state.Tx, c *auth.Caller, a *model.LocalIPAssociation, _ schema.Given) error {
	l, ok := state.LocalIPs.Get(tx, a.LocalIPID)
	if !ok {
		return fault.Missing("LocalIP", a.LocalIPID)
	}
	p, err := ownPort(tx, c, "local_ip_port_association", a.PortID)
	if err != nil {
		return err
	}
	if a.FixedIP, err = fixedIP(p, a.FixedIP); err != nil {
		return err
	}
	if _, there := Find(tx, l.ID, p.ID); there {
		return fault.New(fault.Conflict, "LocalIPAssociationExists",
			"Local IP %s is already associated with port %s.", l.ID, p.ID)
	}
	a.ProjectID = l.ProjectID
	state.LocalIPAssociations.Put(tx, a)
	return nil
}

// Update is never asked for: the API cannot change associations. It stores the association.
func (Associations) Update(tx *state.Tx, _ *auth.Caller, _, a *model.LocalIPAssociation, _ schema.Given) error {
	state.LocalIPAssociations.Put(tx, a)
	return nil
}

// Delete deletes the association.
func (Associations) Delete(tx *state.Tx, _ *auth.Caller, a *model.LocalIPAssociation) error {
	state.LocalIPAssociations.Delete(tx, a.ID)
	return nil
}

// Find returns the association of a local IP with a port.
func Find(r state.Reader, localIPID, portID string) (*model.LocalIPAssociation, bool) {
	for a := range state.LocalIPAssociationsByPort.List(r, portID) {
		if a.LocalIPID == localIPID {
			return a, true
		}
	}
	return nil, false
}

// View returns a copy with what is not stored with the association: the address of the local IP, and the port's host.
func View(r state.Reader, a *model.LocalIPAssociation) *model.LocalIPAssociation {
	seen := *a
	if l, ok := state.LocalIPs.Get(r, a.LocalIPID); ok {
		seen.LocalIP = l.Address
	}
	if p, ok := state.Ports.Get(r, a.PortID); ok {
		seen.Host = p.Binding.Host
	}
	return &seen
}
