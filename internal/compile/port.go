package compile

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// port: the port is bound to the host, or to a gateway group of its, and is to be wired there when its device appears.
func port(r state.Reader, host, id string) *sb.Port {
	p, ok := state.Ports.Get(r, id)
	if !ok {
		return nil
	}
	distributed, is := distributedTo(r, id, host)
	if !is && !state.HasPort(r, p, host) {
		return nil
	}
	n, ok := state.Networks.Get(r, p.NetworkID)
	if !ok {
		return nil
	}
	doc := &sb.Port{
		PortId:       p.ID,
		NetworkId:    p.NetworkID,
		Device:       model.DeviceName(p.ID),
		Mac:          p.MAC,
		Mtu:          unsigned(n.MTU),
		AdminStateUp: p.AdminStateUp,
		DeviceOwner:  p.DeviceOwner,
		ProjectId:    p.ProjectID,

		BindingGeneration: p.BindingGeneration,
	}
	if is {
		doc.TunnelMac, doc.BindingGeneration = distributed.TunnelMAC(), distributed.Generation()
	}
	filters(doc, p)
	for _, f := range p.FixedIPs {
		s, ok := state.Subnets.Get(r, f.SubnetID)
		if !ok {
			continue
		}
		doc.Ips = append(doc.Ips, netip.PrefixFrom(f.IP, s.CIDR.Bits()).String())
		if s.GatewayIP.IsValid() {
			doc.Gateways = appendNew(doc.Gateways, s.GatewayIP.String())
		}
	}
	return doc
}

// appendNew appends s if it is not there: two addresses of one subnet have one gateway.
func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// segment: the host has a bound port on the network, and reaches it through this segment.
func segment(r state.Reader, host, networkID string) *sb.Segment {
	s, ok := hostSegment(r, networkID, host)
	if !ok {
		return nil
	}
	n, ok := state.Networks.Get(r, networkID)
	if !ok {
		return nil
	}
	return &sb.Segment{
		NetworkId:       networkID,
		NetworkType:     string(s.NetworkType),
		PhysicalNetwork: s.PhysicalNetwork,
		SegmentationId:  unsigned(s.SegmentationID),
		Mtu:             unsigned(n.MTU),
	}
}

// hostSegment returns the segment through which the host reaches the network: the one that its ports' bindings name,
// else the network's first. There is none where the host has no bound port on the network, nor the interface of a
// distributed router.
func hostSegment(r state.Reader, networkID, host string) (model.Segment, bool) {
	n, ok := state.Networks.Get(r, networkID)
	if !ok {
		return model.Segment{}, false
	}
	present := false
	// Bindings of one host name the same segment, so this loop ends at the first port in all but odd states.
	for p := range networkHostPorts(r, networkID, host) {
		present = true
		if s, named := namedSegment(n, p.Binding.SegmentID); named {
			return s, true
		}
	}
	for b := range state.DistributedBindingsByNetworkHost.List(r, networkID+"/"+host) {
		present = true
		if s, named := namedSegment(n, b.SegmentID); named {
			return s, true
		}
	}
	if !present || len(n.Segments) == 0 {
		return model.Segment{}, false
	}
	return n.Segments[0], true
}

// namedSegment finds a segment of the network by its id.
func namedSegment(n *model.Network, id string) (model.Segment, bool) {
	for _, s := range n.Segments {
		if id != "" && s.ID == id {
			return s, true
		}
	}
	return model.Segment{}, false
}

// neighbour: other hosts have the port, and this host reaches them through a tunnel. A host of a gateway group is told of
// the group's ports, too: they may be active on the others.
func neighbour(r state.Reader, host, id string) *sb.Neighbour {
	p, ok := state.Ports.Get(r, id)
	if !ok {
		return distributedNeighbour(r, host, id)
	}
	if !p.Binding.Bound() {
		return nil
	}
	doc := &sb.Neighbour{PortId: p.ID, NetworkId: p.NetworkID, Mac: p.MAC}
	for _, other := range state.PortHosts(r, p) {
		if other == host {
			continue
		}
		if vtep := reachedThrough(r, host, p.NetworkID, other); vtep != "" {
			doc.Vteps = append(doc.Vteps, vtep)
		}
	}
	switch {
	case len(doc.Vteps) == 0:
		return nil
	case p.Binding.Group() == "":
		doc.Vtep, doc.Vteps = doc.Vteps[0], nil
	}
	slices.Sort(doc.Vteps)
	for _, f := range p.FixedIPs {
		doc.Ips = append(doc.Ips, f.IP.String())
	}
	return doc
}

// reachedThrough is the VTEP by which the host reaches another one on the network; empty: it does not by a tunnel.
func reachedThrough(r state.Reader, host, networkID, other string) string {
	here, ok := hostSegment(r, networkID, host)
	if !ok || !here.NetworkType.Tunnel() {
		return ""
	}
	// Where a network has several segments, frames pass from one to another outside of our hosts: a host that is on
	// another segment is no peer of our tunnels.
	there, ok := hostSegment(r, networkID, other)
	if !ok || there != here {
		return ""
	}
	vtep := tunnelIP(r, other)
	if !vtep.IsValid() {
		return ""
	}
	return vtep.String()
}

// tunnelIP returns the address of the host's VTEP, or the zero Addr where it has none.
func tunnelIP(r state.Reader, host string) netip.Addr {
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role == model.RoleL2 && a.TunnelIP.IsValid() {
			return a.TunnelIP
		}
	}
	return netip.Addr{}
}

// neighbourKeys yields the keys of the network's ports on other hosts, where the host reaches the network through a
// tunnel. It returns false when yield does.
func neighbourKeys(r state.Reader, host, networkID string, yield func(string) bool) bool {
	if s, ok := hostSegment(r, networkID, host); !ok || !s.NetworkType.Tunnel() {
		return true
	}
	for p := range state.PortsByNetwork.List(r, networkID) {
		if seenFrom(p, host) && !yield(kindNeighbour+"/"+p.ID) {
			return false
		}
	}
	for b := range state.DistributedBindingsByNetwork.List(r, networkID) {
		if b.Host != host && !yield(kindNeighbour+"/"+b.ID) {
			return false
		}
	}
	return true
}

// seenFrom says whether the port may be a neighbour of the host's: whether another host has it.
func seenFrom(p *model.Port, host string) bool {
	return p.Binding.Bound() && (p.Binding.Group() != "" || p.Binding.Host != host)
}

// networkHosts iterates over the hosts that have ports on the network, or interfaces of distributed routers, each once.
func networkHosts(r state.Reader, networkID string) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for host := range state.PortsByNetworkHost.Parts(r, networkID+"/") {
			seen[host] = true
			if !yield(host) {
				return
			}
		}
		for id := range state.PortsByNetworkGatewayGroup.Parts(r, networkID+"/") {
			g, ok := state.GatewayGroups.Get(r, id)
			if !ok {
				continue
			}
			for _, host := range g.Hosts {
				if !seen[host] {
					seen[host] = true
					if !yield(host) {
						return
					}
				}
			}
		}
		for host := range state.DistributedBindingsByNetworkHost.Parts(r, networkID+"/") {
			if !seen[host] && !yield(host) {
				return
			}
		}
	}
}

// networkHostPorts iterates over the ports that the host has on the network, each once.
func networkHostPorts(r state.Reader, networkID, host string) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for p := range state.PortsByNetworkHost.List(r, networkID+"/"+host) {
			if !yield(p) {
				return
			}
		}
		for id := range state.PortsByNetworkGatewayGroup.Parts(r, networkID+"/") {
			if g, ok := state.GatewayGroups.Get(r, id); !ok || !slices.Contains(g.Hosts, host) {
				continue
			}
			for p := range state.PortsByNetworkGatewayGroup.List(r, networkID+"/"+id) {
				if !yield(p) {
					return
				}
			}
		}
	}
}
