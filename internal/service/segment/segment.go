// Package segment holds the rules of segments as resources of their own: a network may have several, and its subnets may
// be tied to them, which makes it a routed network.
//
// The segments of a network stand in the network, where the data plane finds them. Each has besides an object of the
// table state.Segments, which the API shows, with a name and a description. Follow keeps the second like the first;
// whoever changes the segments of a network calls it.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped. ranges.go has the ranges of segmentation ids.
package segment

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// maxSegments bounds the segments of a network.
const maxSegments = 1000

// Rules are the rules of segments.
type Rules struct{ types *typedriver.Manager }

// New returns the rules. Segmentation ids come from types.
func New(types *typedriver.Manager) *Rules { return &Rules{types: types} }

// Create adds a segment to its network.
func (s *Rules) Create(tx *state.Tx, _ *auth.Caller, g *model.NetworkSegment, _ schema.Given) error {
	n, ok := state.Networks.Get(tx, g.NetworkID)
	if !ok {
		return fault.Missing("Network", g.NetworkID)
	}
	if len(n.Segments) >= maxSegments {
		return fault.Operation("A network has at most %d segments", maxSegments)
	}
	made, err := s.types.Provider(tx, g.Segment, n.ProjectID)
	if err != nil {
		return err
	}
	made.ID = g.ID
	g.Segment = made
	g.ProjectID = "" // a segment is part of the network, and counts for nobody
	state.Segments.Put(tx, g)
	n = n.Clone()
	n.Segments = append(n.Segments, made)
	state.Networks.Put(tx, n)
	return nil
}

// Update stores the segment, whose name and description may be changed.
func (*Rules) Update(tx *state.Tx, _ *auth.Caller, _, g *model.NetworkSegment, _ schema.Given) error {
	state.Segments.Put(tx, g)
	return nil
}

// Delete takes the segment away from its network. Subnets of the segment, and ports that are bound to it, forbid that: the
// fault is SegmentInUse (409).
func (*Rules) Delete(tx *state.Tx, _ *auth.Caller, g *model.NetworkSegment) error {
	var subnets, ports []string
	for s := range state.SubnetsBySegment.List(tx, g.ID) {
		subnets = append(subnets, s.ID)
	}
	if len(subnets) > 0 {
		return inUse(g, "associated with subnet(s)", subnets)
	}
	for p := range state.PortsByNetwork.List(tx, g.NetworkID) {
		if p.Binding.SegmentID == g.ID {
			ports = append(ports, p.ID)
		}
	}
	if len(ports) > 0 {
		return inUse(g, "bound with port(s)", ports)
	}
	if n, ok := state.Networks.Get(tx, g.NetworkID); ok {
		n = n.Clone()
		n.Segments = slices.DeleteFunc(n.Segments, func(o model.Segment) bool { return o.ID == g.ID })
		state.Networks.Put(tx, n)
	}
	state.Segments.Delete(tx, g.ID)
	return nil
}

// Follow makes the objects of the network's segments like the network's list. Gone is a network without segments.
func Follow(tx *state.Tx, n *model.Network) {
	var gone []string
	for g := range state.SegmentsByNetwork.List(tx, n.ID) {
		if !slices.ContainsFunc(n.Segments, func(o model.Segment) bool { return o.ID == g.ID }) {
			gone = append(gone, g.ID)
		}
	}
	for _, id := range gone {
		state.Segments.Delete(tx, id)
	}
	for _, o := range n.Segments {
		g, ok := state.Segments.Get(tx, o.ID)
		switch {
		case !ok:
			g = &model.NetworkSegment{Meta: model.Meta{ID: o.ID}, NetworkID: n.ID}
		case g.Segment == o:
			continue
		default:
			g = g.Clone()
		}
		g.Segment = o
		state.Segments.Put(tx, g)
	}
}

func inUse(g *model.NetworkSegment, how string, ids []string) error {
	const most = 20 // as many as a person reads
	return fault.New(fault.Conflict, "SegmentInUse", "Segment '%s' cannot be deleted: The segment is still %s %s.",
		g.ID, how, strings.Join(ids[:min(len(ids), most)], ", "))
}
