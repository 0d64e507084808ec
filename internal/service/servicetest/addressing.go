package servicetest

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressscope"
	"github.com/neutrino-net/neutrino/internal/service/segment"
	"github.com/neutrino-net/neutrino/internal/service/subnetpool"
	"github.com/neutrino-net/neutrino/internal/state"
)

// CreateAddressScope creates an address scope.
func (w *World) CreateAddressScope(c *auth.Caller, b Body) (*model.AddressScope, error) {
	return create(w, c, schema.AddressScope, addressscope.Rules{},
		func(s *model.AddressScope) *model.Meta { return &s.Meta }, b)
}

// UpdateAddressScope updates an address scope.
func (w *World) UpdateAddressScope(c *auth.Caller, id string, b Body) (*model.AddressScope, error) {
	return update(w, c, schema.AddressScope, addressscope.Rules{}, state.AddressScopes, (*model.AddressScope).Clone, id, b)
}

// DeleteAddressScope deletes an address scope.
func (w *World) DeleteAddressScope(c *auth.Caller, id string) error {
	return remove(w, c, addressscope.Rules{}, state.AddressScopes, "AddressScope", id)
}

// CreateSubnetPool creates a subnet pool; without a name it is called "pool".
func (w *World) CreateSubnetPool(c *auth.Caller, b Body) (*model.SubnetPool, error) {
	if _, given := b["name"]; !given {
		b["name"] = "pool"
	}
	return create(w, c, schema.SubnetPool, subnetpool.Rules{}, func(p *model.SubnetPool) *model.Meta { return &p.Meta }, b)
}

// UpdateSubnetPool updates a subnet pool.
func (w *World) UpdateSubnetPool(c *auth.Caller, id string, b Body) (*model.SubnetPool, error) {
	return update(w, c, schema.SubnetPool, subnetpool.Rules{}, state.SubnetPools, (*model.SubnetPool).Clone, id, b)
}

// DeleteSubnetPool deletes a subnet pool.
func (w *World) DeleteSubnetPool(c *auth.Caller, id string) error {
	return remove(w, c, subnetpool.Rules{}, state.SubnetPools, "SubnetPool", id)
}

// CreateSegment adds a segment to a network.
func (w *World) CreateSegment(c *auth.Caller, b Body) (*model.NetworkSegment, error) {
	return create(w, c, schema.Segment, w.Segments, func(s *model.NetworkSegment) *model.Meta { return &s.Meta }, b)
}

// DeleteSegment deletes a segment.
func (w *World) DeleteSegment(c *auth.Caller, id string) error {
	return remove(w, c, w.Segments, state.Segments, "Segment", id)
}

// CreateSegmentRange creates a range of segmentation ids.
func (w *World) CreateSegmentRange(c *auth.Caller, b Body) (*model.SegmentRange, error) {
	return create(w, c, schema.SegmentRange, segment.Ranges{}, func(s *model.SegmentRange) *model.Meta { return &s.Meta }, b)
}

// UpdateSegmentRange updates a range of segmentation ids.
func (w *World) UpdateSegmentRange(c *auth.Caller, id string, b Body) (*model.SegmentRange, error) {
	return update(w, c, schema.SegmentRange, segment.Ranges{}, state.SegmentRanges, (*model.SegmentRange).Clone, id, b)
}

// DeleteSegmentRange deletes a range of segmentation ids.
func (w *World) DeleteSegmentRange(c *auth.Caller, id string) error {
	return remove(w, c, segment.Ranges{}, state.SegmentRanges, "NetworkSegmentRange", id)
}
