package network

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/state"
)

// providerAttributes are those that name the only segment.
var providerAttributes = []string{"provider:network_type", "provider:physical_network", "provider:segmentation_id"}

// setSegments gives a new network the segments that it asks for, or else one of the type for projects.
func (s *Rules) setSegments(tx *state.Tx, n *model.Network, given schema.Given) error {
	wanted := n.Segments
	if given.Has("segments") && given.Any(providerAttributes...) {
		return fault.New(fault.Invalid, "SegmentsSetInConjunctionWithProviders",
			"Segments and provider values cannot both be set.")
	}
	if len(wanted) == 1 && wanted[0] == (model.Segment{}) {
		wanted = nil // provider attributes that are all null
	}
	for i, g := range wanted {
		complete := g.SegmentationID != 0 || g.NetworkType == model.TypeFlat || g.NetworkType == model.TypeLocal
		if complete && slices.Contains(wanted[:i], g) {
			return fault.New(fault.Invalid, "SegmentsContainDuplicateEntry", "Duplicate segment entry in request.")
		}
	}
	n.Segments = nil
	if len(wanted) == 0 {
		made, err := s.types.Tenant(tx, n.ProjectID)
		if err != nil {
			return err
		}
		made.ID = tx.NewID()
		n.Segments = []model.Segment{made}
		return nil
	}
	for i, want := range wanted {
		made, err := s.types.Provider(tx, want, n.ProjectID)
		if err != nil {
			return err
		}
		made.ID = tx.NewID()
		n.Segments = append(n.Segments, made)
		if i < len(wanted)-1 {
			state.Networks.Put(tx, n.Clone()) // so that the next segment is another one
		}
	}
	return nil
}

// updateSegments checks what an update does to the segments. Only the id of a network's only VLAN can change, and only
// while no port is bound through it.
func (s *Rules) updateSegments(tx *state.Tx, old, n *model.Network, given schema.Given) error {
	if slices.Equal(old.Segments, n.Segments) || !given.Has("segments") && !given.Any(providerAttributes...) {
		n.Segments = slices.Clone(old.Segments)
		return nil
	}
	if given.Has("segments") || len(old.Segments) != 1 || len(n.Segments) != 1 || !onlyVLAN(old.Segments[0], n.Segments[0]) {
		var changed []string
		for _, name := range append([]string{"segments"}, providerAttributes...) {
			if given.Has(name) {
				changed = append(changed, name)
			}
		}
		return fault.Operation("Plugin does not support updating the following provider network attributes: %s",
			strings.Join(changed, ", "))
	}
	for p := range state.PortsByNetwork.List(tx, n.ID) {
		if p.Binding.Bound() {
			return fault.Operation("Provider network attribute segmentation_id cannot be updated while ports are bound, "+
				"as port %s is", p.ID)
		}
	}
	made, err := s.types.Provider(tx, n.Segments[0], n.ProjectID)
	if err != nil {
		return err
	}
	made.ID = old.Segments[0].ID
	n.Segments[0] = made
	return nil
}

// onlyVLAN says whether the change is one of a VLAN's id.
func onlyVLAN(old, now model.Segment) bool {
	was := old.SegmentationID
	old.SegmentationID = now.SegmentationID
	return old == now && old.NetworkType == model.TypeVLAN && now.SegmentationID != 0 && now.SegmentationID != was
}

// checkTransparency refuses frames with VLAN tags of the workloads' own where the network's frames have tags themselves:
// the fault is VlanTransparencyDriverError (400).
func checkTransparency(n *model.Network) error {
	if n.VLANTransparent == nil || !*n.VLANTransparent {
		return nil
	}
	for _, g := range n.Segments {
		if g.NetworkType == model.TypeVLAN || g.NetworkType == model.TypeFlat {
			return fault.New(fault.Invalid, "VlanTransparencyDriverError", "Backend does not support VLAN Transparency.")
		}
	}
	return nil
}

// checkUse checks what the network refers to, old being the network as stored (nil: a new one): its QoS policy, and that
// there is one default external network. The faults are those of qos.CheckChange and DefaultExternalNetworkExists (409).
// A new network without a policy gets the default one of its project.
func checkUse(r state.Reader, c *auth.Caller, old, n *model.Network) error {
	before := ""
	if old != nil {
		before = old.QoSPolicyID
	}
	if err := qos.CheckChange(r, c, before, n.QoSPolicyID); err != nil {
		return err
	}
	if old == nil && n.QoSPolicyID == "" {
		n.QoSPolicyID = qos.Default(r, n.ProjectID)
	}
	if !n.IsDefault || !n.External {
		return nil
	}
	if other, ok := DefaultExternal(r); ok && other.ID != n.ID {
		return fault.New(fault.Conflict, "DefaultExternalNetworkExists",
			"A default external network already exists: %s.", other.ID)
	}
	return nil
}

// DefaultExternal returns the external network to which automatic topologies lead.
func DefaultExternal(r state.Reader) (*model.Network, bool) {
	for n := range state.NetworksShared.List(r, "external") {
		if n.IsDefault {
			return n, true
		}
	}
	return nil, false
}
