package subnet

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// serviceRouted marks a subnet for addresses that are routed to a routed network as a whole. It is in no segment.
const serviceRouted = "network:routed"

// checkSegment checks the segment of a subnet that is made (old is nil) or changed: it is one of the network, and either
// all subnets of the network are in segments or none is. A subnet gets into a segment later only where it is the only
// subnet and the segment is the only segment, which turns a plain network into a routed one.
func checkSegment(r state.Reader, n *model.Network, old, s *model.Subnet) error {
	var in, out int
	for other := range state.SubnetsByNetwork.List(r, n.ID) {
		switch {
		case other.ID == s.ID || slices.Contains(other.ServiceTypes, serviceRouted):
		case other.SegmentID != "":
			in++
		default:
			out++
		}
	}
	routed := slices.Contains(s.ServiceTypes, serviceRouted)
	switch {
	case old != nil && in+out > 0,
		!routed && s.SegmentID != "" && out > 0,
		!routed && s.SegmentID == "" && in > 0:
		return fault.New(fault.Invalid, "SubnetsNotAllAssociatedWithSegments", "All of the subnets on network '%s' must "+
			"either all be associated with segments or all not associated with any segment.", n.ID)
	case old != nil && old.SegmentID != "":
		return fault.New(fault.Invalid, "SubnetSegmentAssociationChangeNotAllowed",
			"A subnet that is already associated with a segment cannot have its segment association changed.")
	case old != nil && len(n.Segments) > 1:
		return fault.New(fault.Invalid, "NoUpdateSubnetWhenMultipleSegmentsOnNetwork", "The network '%s' has multiple "+
			"segments, it is only possible to associate an existing subnet with a segment on networks with a single segment.",
			n.ID)
	case s.SegmentID == "":
		return nil
	}
	if slices.ContainsFunc(n.Segments, func(g model.Segment) bool { return g.ID == s.SegmentID }) {
		return nil
	}
	if _, ok := state.Segments.Get(r, s.SegmentID); !ok {
		return fault.Missing("Segment", s.SegmentID)
	}
	return fault.New(fault.Invalid, "NetworkIdsDontMatch",
		"The subnet's network id, '%s', doesn't match the network_id of segment '%s'", n.ID, s.SegmentID)
}

// peerRoutes returns the host routes of a subnet with those that the network makes: on a routed network each subnet
// reaches those of the other segments through its gateway. Routes that somebody gave are kept, and spare those to blocks
// which they cover. oldGateway is the gateway before, and gone a block that has been deleted: routes that were made
// for them are left out.
func peerRoutes(r state.Reader, s *model.Subnet, oldGateway netip.Addr, gone netip.Prefix) []model.HostRoute {
	if s.SegmentID == "" {
		return s.HostRoutes
	}
	routes := slices.Clone(s.HostRoutes)
	drop := func(route model.HostRoute) {
		routes = slices.DeleteFunc(routes, func(h model.HostRoute) bool { return h == route })
	}
	if gone.IsValid() {
		drop(model.HostRoute{Destination: gone, NextHop: s.GatewayIP})
	}
	// In the order of their blocks, so that the same subnets have the same routes.
	peers := slices.SortedFunc(state.SubnetsByNetwork.List(r, s.NetworkID), func(a, b *model.Subnet) int {
		return a.CIDR.Compare(b.CIDR)
	})
	for _, peer := range peers {
		if peer.ID == s.ID || peer.SegmentID == s.SegmentID || peer.IPVersion != s.IPVersion {
			continue
		}
		if oldGateway.IsValid() && oldGateway != s.GatewayIP {
			drop(model.HostRoute{Destination: peer.CIDR, NextHop: oldGateway})
		}
		covered := slices.ContainsFunc(routes, func(h model.HostRoute) bool {
			return h.Destination.Bits() <= peer.CIDR.Bits() && h.Destination.Contains(peer.CIDR.Addr())
		})
		if s.GatewayIP.IsValid() && !covered {
			routes = append(routes, model.HostRoute{Destination: peer.CIDR, NextHop: s.GatewayIP})
		}
	}
	return routes
}

// routePeers gives the other subnets of the routed network of s the routes that follow from a change of s. gone is its
// block, when it has been deleted.
func routePeers(tx *state.Tx, s *model.Subnet, gone netip.Prefix) {
	if s.SegmentID == "" {
		return
	}
	var changed []*model.Subnet
	for peer := range state.SubnetsByNetwork.List(tx, s.NetworkID) {
		if peer.ID == s.ID {
			continue
		}
		routes := peerRoutes(tx, peer, peer.GatewayIP, gone)
		if !slices.Equal(routes, peer.HostRoutes) {
			peer = peer.Clone()
			peer.HostRoutes = routes
			changed = append(changed, peer)
		}
	}
	for _, peer := range changed {
		state.Subnets.Put(tx, peer)
	}
}
