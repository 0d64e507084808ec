// Package typedriver gives segments to networks: a VNI, a VLAN of a physical network, or a whole physical network.
//
// Like package ipam it remembers nothing: a segment is taken when a network in the state has it (the index
// state.NetworksBySegment), so segments cannot leak. The functions read a transaction; that the network with the
// segment is stored in the same transaction makes the booking.
//
// Manager.Provider completes a segment that an administrator asked for, Manager.Tenant picks one for a network without
// provider attributes, Manager.MaxMTU says what the segment carries; ranges.go says where the ids come from.
package typedriver

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// The bounds of segmentation ids.
const (
	MinVLAN = 1
	MaxVLAN = 4094
	MinVNI  = 1
	MaxVNI  = 1<<24 - 1
)

// tenantTypes are those that a network without provider attributes may be of.
var tenantTypes = []model.NetworkType{model.TypeLocal, model.TypeVLAN, model.TypeVXLAN, model.TypeGRE, model.TypeGeneve}

// AnyPhysicalNetwork in Options.FlatNetworks allows flat networks on every physical network.
const AnyPhysicalNetwork = "*"

// Range is a range of segmentation ids, both ends included.
type Range struct{ Min, Max int }

func (r Range) size() int { return r.Max - r.Min + 1 }

// Options say which segments there are.
type Options struct {
	// TenantNetworkTypes are tried in this order for networks without provider attributes; default vxlan.
	TenantNetworkTypes []model.NetworkType
	// VNIRanges are where VNIs are taken from that nobody asked for; default 1 to 16777215.
	VNIRanges []Range
	// VLANRanges has the physical networks that VLANs may be asked of, each with the ranges (which may be none) where
	// VLAN ids are taken from that nobody asked for; default none.
	VLANRanges map[string][]Range
	// FlatNetworks are the physical networks that may be a flat network; default AnyPhysicalNetwork.
	FlatNetworks []string
	// UnderlayMTU is the MTU of the physical networks in bytes; default 1500.
	UnderlayMTU int
	// OverlayIPVersion is the IP version between the tunnel endpoints, 4 (default) or 6: it makes the overhead.
	OverlayIPVersion int
	// Random returns a number in [0, n); default rand.IntN.
	Random func(n int) int
}

// Manager gives segments. It is immutable.
type Manager struct {
	opts Options
	// physical are the names of the VLANRanges, in order.
	physical []string
}

// New checks the options and returns a manager.
func New(opts Options) (*Manager, error) {
	if len(opts.TenantNetworkTypes) == 0 {
		opts.TenantNetworkTypes = []model.NetworkType{model.TypeVXLAN}
	}
	if len(opts.VNIRanges) == 0 {
		opts.VNIRanges = []Range{{MinVNI, MaxVNI}}
	}
	if opts.FlatNetworks == nil {
		opts.FlatNetworks = []string{AnyPhysicalNetwork}
	}
	if opts.UnderlayMTU == 0 {
		opts.UnderlayMTU = 1500
	}
	if opts.OverlayIPVersion == 0 {
		opts.OverlayIPVersion = 4
	}
	if opts.Random == nil {
		opts.Random = rand.IntN
	}
	if opts.OverlayIPVersion != 4 && opts.OverlayIPVersion != 6 {
		return nil, fmt.Errorf("the overlay's IP version %d is neither 4 nor 6", opts.OverlayIPVersion)
	}
	for _, t := range opts.TenantNetworkTypes {
		if !slices.Contains(tenantTypes, t) {
			return nil, fmt.Errorf("networks of projects cannot be of the type %q", t)
		}
	}
	for _, r := range opts.VNIRanges {
		if r.Min < MinVNI || r.Max > MaxVNI || r.Max < r.Min {
			return nil, fmt.Errorf("the VNI range %d to %d is not within %d to %d", r.Min, r.Max, MinVNI, MaxVNI)
		}
	}
	for name, ranges := range opts.VLANRanges {
		if name == "" {
			return nil, errors.New("a physical network of the VLAN ranges has no name")
		}
		for _, r := range ranges {
			if r.Min < MinVLAN || r.Max > MaxVLAN || r.Max < r.Min {
				return nil, fmt.Errorf("the VLAN range %d to %d of %s is not within %d to %d",
					r.Min, r.Max, name, MinVLAN, MaxVLAN)
			}
		}
	}
	return &Manager{opts: opts, physical: slices.Sorted(maps.Keys(opts.VLANRanges))}, nil
}

// MaxMTU is the largest MTU that networks of the type carry, in bytes: that of the underlay, without the headers of the
// tunnel.
func (m *Manager) MaxMTU(t model.NetworkType) int {
	ip := 20
	if m.opts.OverlayIPVersion == 6 {
		ip = 40
	}
	switch t {
	case model.TypeVXLAN, model.TypeGeneve:
		return m.opts.UnderlayMTU - ip - 30 // UDP 8, VXLAN or Geneve 8, inner Ethernet 14
	case model.TypeGRE:
		return m.opts.UnderlayMTU - ip - 22 // GRE with a key 8, inner Ethernet 14
	}
	return m.opts.UnderlayMTU
}

// Tenant picks a segment for a network of the project that has no provider attributes. The fault is NoNetworkAvailable
// (503).
func (m *Manager) Tenant(r state.Reader, project string) (model.Segment, error) {
	for _, t := range m.opts.TenantNetworkTypes {
		switch t {
		case model.TypeLocal:
			return model.Segment{NetworkType: t}, nil
		case model.TypeVLAN:
			if s, ok := m.anyVLAN(r, m.physicalNetworks(r), project); ok {
				return s, nil
			}
		default:
			if id, ok := m.free(r, t, "", project); ok {
				return model.Segment{NetworkType: t, SegmentationID: id}, nil
			}
		}
	}
	return model.Segment{}, exhausted()
}

// Provider completes the segment that was asked for, for a network of the project: its type is required, what else is
// zero is picked where the type has it. The faults are InvalidInput (400), FlatNetworkInUse, VlanIdInUse, TunnelIdInUse (409), NoNetworkAvailable
// (503).
func (m *Manager) Provider(r state.Reader, want model.Segment, project string) (model.Segment, error) {
	var err error
	switch want.NetworkType {
	case "":
		return want, fault.Operation("network_type required")
	case model.TypeLocal:
		err = m.local(want)
	case model.TypeFlat:
		err = m.flat(r, want)
	case model.TypeVLAN:
		return m.vlan(r, want, project)
	case model.TypeVXLAN, model.TypeGRE, model.TypeGeneve:
		return m.tunnel(r, want, project)
	default:
		err = fault.Operation("network_type value '%s' not supported", want.NetworkType)
	}
	return want, err
}

func (m *Manager) local(want model.Segment) error {
	if want.PhysicalNetwork != "" {
		return fault.Operation("physical_network prohibited for local provider network")
	}
	if want.SegmentationID != 0 {
		return fault.Operation("segmentation_id prohibited for local provider network")
	}
	return nil
}

func (m *Manager) flat(r state.Reader, want model.Segment) error {
	switch {
	case want.PhysicalNetwork == "":
		return fault.Operation("physical_network required for flat provider network")
	case len(m.opts.FlatNetworks) == 0:
		return fault.Operation("Flat provider networks are disabled")
	case !slices.Contains(m.opts.FlatNetworks, AnyPhysicalNetwork) &&
		!slices.Contains(m.opts.FlatNetworks, want.PhysicalNetwork):
		return fault.Operation("physical_network '%s' unknown for flat provider network", want.PhysicalNetwork)
	case want.SegmentationID != 0:
		return fault.Operation("segmentation_id prohibited for flat provider network")
	case taken(r, want):
		return fault.New(fault.Conflict, "FlatNetworkInUse",
			"Unable to create the flat network. Physical network %s is in use.", want.PhysicalNetwork)
	}
	return nil
}

func (m *Manager) vlan(r state.Reader, want model.Segment, project string) (model.Segment, error) {
	if want.PhysicalNetwork == "" {
		if want.SegmentationID != 0 {
			return want, fault.Operation("segmentation_id requires physical_network for VLAN provider network")
		}
		if s, ok := m.anyVLAN(r, m.physicalNetworks(r), project); ok {
			return s, nil
		}
		return want, exhausted()
	}
	if !slices.Contains(m.physicalNetworks(r), want.PhysicalNetwork) {
		return want, fault.Operation("physical_network '%s' unknown for VLAN provider network", want.PhysicalNetwork)
	}
	switch id := want.SegmentationID; {
	case id == 0:
		if s, ok := m.anyVLAN(r, []string{want.PhysicalNetwork}, project); ok {
			return s, nil
		}
		return want, exhausted()
	case id < MinVLAN || id > MaxVLAN:
		return want, fault.Operation("segmentation_id out of range (%d through %d)", MinVLAN, MaxVLAN)
	case taken(r, want):
		return want, fault.New(fault.Conflict, "VlanIdInUse",
			"Unable to create the network. The VLAN %d on physical network %s is in use.", id, want.PhysicalNetwork)
	}
	return want, nil
}

func (m *Manager) tunnel(r state.Reader, want model.Segment, project string) (model.Segment, error) {
	switch id := want.SegmentationID; {
	case want.PhysicalNetwork != "":
		return want, fault.Operation("provider:physical_network specified for %s network", want.NetworkType)
	case id == 0:
		free, ok := m.free(r, want.NetworkType, "", project)
		if !ok {
			return want, exhausted()
		}
		want.SegmentationID = free
	case id < MinVNI || id > MaxVNI:
		return want, fault.Operation("segmentation_id out of range (%d through %d)", MinVNI, MaxVNI)
	case taken(r, want):
		return want, fault.New(fault.Conflict, "TunnelIdInUse",
			"Unable to create the network. The tunnel ID %d is in use.", id)
	}
	return want, nil
}

// anyVLAN takes a free VLAN of the first of the physical networks that has one.
func (m *Manager) anyVLAN(r state.Reader, physical []string, project string) (model.Segment, bool) {
	for _, name := range physical {
		if id, ok := m.free(r, model.TypeVLAN, name, project); ok {
			return model.Segment{NetworkType: model.TypeVLAN, PhysicalNetwork: name, SegmentationID: id}, true
		}
	}
	return model.Segment{}, false
}

func taken(r state.Reader, s model.Segment) bool {
	return state.NetworksBySegment.Has(r, state.SegmentKey(s.NetworkType, s.PhysicalNetwork, s.SegmentationID))
}

func exhausted() error {
	return fault.New(fault.Unavailable, "NoNetworkAvailable",
		"Unable to create the network. No tenant network is available for allocation.")
}
