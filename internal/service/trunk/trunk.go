// Package trunk holds the rules of trunks: which ports can carry others, which can be carried, and with which tags.
//
// A trunk turns a port, its parent, into one that carries further ports, its subports, each with frames of its own VLAN
// tag. No port is in two trunks, or in one twice.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped. Hosts do not wire trunks in this version, so their
// status is DOWN.
package trunk

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are the rules of trunks.
type Rules struct{}

// Create checks the parent and the subports, and stores the trunk.
func (Rules) Create(tx *state.Tx, c *auth.Caller, t *model.Trunk, _ schema.Given) error {
	parent, err := find(tx, c, t, t.PortID)
	if err != nil {
		return err
	}
	if err := free(tx, parent.ID); err != nil {
		return err
	}
	wanted := t.SubPorts
	t.SubPorts, t.Status = nil, model.PortDown
	if err := add(tx, c, t, parent, wanted); err != nil {
		return err
	}
	state.Trunks.Put(tx, t)
	return nil
}

// Update stores the trunk; its name, description and admin_state_up can change.
func (Rules) Update(tx *state.Tx, _ *auth.Caller, _, t *model.Trunk, _ schema.Given) error {
	state.Trunks.Put(tx, t)
	return nil
}

// Delete deletes the trunk, and leaves its ports. One that is administratively down stays: TrunkDisabled (409).
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, t *model.Trunk) error {
	if err := enabled(t); err != nil {
		return err
	}
	state.Trunks.Delete(tx, t.ID)
	return nil
}

// AddSubPorts adds subports to the trunk, and returns it as it is stored then.
func (Rules) AddSubPorts(tx *state.Tx, c *auth.Caller, t *model.Trunk, wanted []model.SubPort) (*model.Trunk, error) {
	if err := enabled(t); err != nil {
		return nil, err
	}
	parent, ok := state.Ports.Get(tx, t.PortID)
	if !ok {
		return nil, fault.Missing("Port", t.PortID)
	}
	now := t.Clone()
	now.Status = model.PortDown
	if err := add(tx, c, now, parent, wanted); err != nil {
		return nil, err
	}
	state.Trunks.Put(tx, now)
	return now, nil
}

// RemoveSubPorts removes the ports from the trunk, and returns it as it is stored then. The fault, where one of them is
// no subport, is SubPortNotFound (404).
func (Rules) RemoveSubPorts(tx *state.Tx, t *model.Trunk, gone []model.SubPort) (*model.Trunk, error) {
	if err := enabled(t); err != nil {
		return nil, err
	}
	now := t.Clone()
	now.Status = model.PortDown
	for _, g := range gone {
		i := slices.IndexFunc(now.SubPorts, func(s model.SubPort) bool { return s.PortID == g.PortID })
		if i < 0 {
			return nil, fault.New(fault.NotFound, "SubPortNotFound",
				"SubPort %s on trunk %s could not be found.", g.PortID, t.ID)
		}
		now.SubPorts = slices.Delete(now.SubPorts, i, i+1)
	}
	state.Trunks.Put(tx, now)
	return now, nil
}

func enabled(t *model.Trunk) error {
	if t.AdminStateUp {
		return nil
	}
	return fault.New(fault.Conflict, "TrunkDisabled", "Trunk %s is currently disabled.", t.ID)
}

// find returns a port that is to be part of the trunk. Whoever makes a trunk decides where the frames of its ports go, so
// the ports have to be the trunk's project's own; to others they are missing, even where they could be seen.
func find(r state.Reader, c *auth.Caller, t *model.Trunk, id string) (*model.Port, error) {
	p, ok := state.Ports.Get(r, id)
	if !ok || !c.Admin() && p.ProjectID != t.ProjectID {
		return nil, fault.Missing("Port", id)
	}
	return p, nil
}

// free says whether the port is in no trunk. The faults are TrunkPortInUse and ParentPortInUse, both 409.
func free(r state.Reader, portID string) error {
	if state.TrunksBySubPort.Has(r, portID) {
		return fault.New(fault.Conflict, "TrunkPortInUse", "Port %s is in use by another trunk.", portID)
	}
	if state.TrunksByPort.Has(r, portID) {
		return parentInUse(portID)
	}
	return nil
}

func parentInUse(portID string) error {
	return fault.New(fault.Conflict, "ParentPortInUse",
		"Port %s is currently in use and is not eligible for use as a parent port.", portID)
}

// add appends the subports to a trunk that is not stored yet.
func add(r state.Reader, c *auth.Caller, t *model.Trunk, parent *model.Port, wanted []model.SubPort) error {
	used := make(map[string]bool, len(t.SubPorts)+len(wanted))
	for _, s := range t.SubPorts {
		used[s.SegmentKey()] = true
	}
	carrier, ok := state.Networks.Get(r, parent.NetworkID)
	if !ok {
		return fault.Missing("Network", parent.NetworkID)
	}
	for _, s := range wanted {
		s, err := check(r, c, t, carrier, s)
		if err != nil {
			return err
		}
		if used[s.SegmentKey()] {
			return fault.New(fault.Conflict, "DuplicateSubPort", "segmentation_type %s and segmentation_id %d already in "+
				"use on trunk %s.", s.SegmentationType, s.SegmentationID, t.ID)
		}
		used[s.SegmentKey()] = true
		t.SubPorts = append(t.SubPorts, s)
	}
	return nil
}

// check returns the subport as it is to be stored, or why it cannot be one. carrier is the network of the parent.
func check(r state.Reader, c *auth.Caller, t *model.Trunk, carrier *model.Network, s model.SubPort) (model.SubPort, error) {
	if s.PortID == t.PortID {
		return s, parentInUse(s.PortID)
	}
	p, err := find(r, c, t, s.PortID)
	if err != nil {
		return s, err
	}
	n, ok := state.Networks.Get(r, p.NetworkID)
	if !ok {
		return s, fault.Missing("Network", p.NetworkID)
	}
	if carrier.MTU > 0 && n.MTU > carrier.MTU {
		return s, fault.New(fault.Conflict, "SubPortMtuGreaterThanTrunkPortMtu", "MTU %d of subport %s cannot be greater "+
			"than MTU %d of trunk %s.", n.MTU, p.ID, carrier.MTU, t.PortID)
	}
	if s, err = segmentation(s, n); err != nil {
		return s, err
	}
	if err := free(r, p.ID); err != nil {
		return s, err
	}
	if p.DeviceID != "" {
		return s, fault.New(fault.Conflict, "PortInUse", "Unable to complete operation on port %s for network %s. Port "+
			"already has an attached device %s.", p.ID, p.NetworkID, p.DeviceID)
	}
	return s, nil
}

// segmentation fills in the tag of a subport that inherits it from its network, and checks it. The fault is InvalidInput
// (400).
func segmentation(s model.SubPort, n *model.Network) (model.SubPort, error) {
	if s.SegmentationType == schema.SegmentationInherit {
		if len(n.Segments) != 1 {
			return s, fault.Operation("Cannot accept segmentation type %s: network %s has %d segments",
				schema.SegmentationInherit, n.ID, len(n.Segments))
		}
		s.SegmentationType, s.SegmentationID = string(n.Segments[0].NetworkType), n.Segments[0].SegmentationID
	}
	switch {
	case s.SegmentationType == "" || s.SegmentationID == 0 && s.SegmentationType == schema.SegmentationVLAN:
		return s, fault.Operation("Invalid subport details '%s': missing segmentation information. Must specify both "+
			"segmentation_id and segmentation_type", s.PortID)
	case s.SegmentationType != schema.SegmentationVLAN:
		return s, fault.Operation("Unknown segmentation_type '%s'", s.SegmentationType)
	}
	return s, nil
}
