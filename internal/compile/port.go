package compile

import (
	"iter"
	"net/netip"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// port: the port is bound to the host and is to be wired there when its device appears.
func port(r state.Reader, host, id string) *sb.Port {
	p, ok := state.Ports.Get(r, id)
	if !ok || !boundTo(p, host) {
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
// else the network's first. There is none where the host has no bound port on the network.
func hostSegment(r state.Reader, networkID, host string) (model.Segment, bool) {
	n, ok := state.Networks.Get(r, networkID)
	if !ok {
		return model.Segment{}, false
	}
	present := false
	// Bindings of one host name the same segment, so this loop ends at the first port in all but odd states.
	for p := range state.PortsByNetworkHost.List(r, networkID+"/"+host) {
		present = true
		if s, named := namedSegment(n, p.Binding.SegmentID); named {
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

// neighbour: the port is bound to another host, and this host reaches it through a tunnel.
func neighbour(r state.Reader, host, id string) *sb.Neighbour {
	p, ok := state.Ports.Get(r, id)
	if !ok || !p.Binding.Bound() || p.Binding.Host == host {
		return nil
	}
	here, ok := hostSegment(r, p.NetworkID, host)
	if !ok || !here.NetworkType.Tunnel() {
		return nil
	}
	// Where a network has several segments, frames pass from one to another outside of our hosts: a host that is on
	// another segment is no peer of our tunnels.
	there, ok := hostSegment(r, p.NetworkID, p.Binding.Host)
	if !ok || there != here {
		return nil
	}
	vtep := tunnelIP(r, p.Binding.Host)
	if !vtep.IsValid() {
		return nil
	}
	doc := &sb.Neighbour{PortId: p.ID, NetworkId: p.NetworkID, Mac: p.MAC, Vtep: vtep.String()}
	for _, f := range p.FixedIPs {
		doc.Ips = append(doc.Ips, f.IP.String())
	}
	return doc
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
		if p.Binding.Bound() && p.Binding.Host != host && !yield(kindNeighbour+"/"+p.ID) {
			return false
		}
	}
	return true
}

// networkHosts iterates over the hosts that have bound ports on the network, each once, in order.
func networkHosts(r state.Reader, networkID string) iter.Seq[string] {
	return lastParts(r, state.PortsByNetworkHost, networkID+"/")
}

// lastParts iterates over what follows the prefix in the keys of an index, each once, in order. It costs one lookup a
// key, whatever the number of objects that have it.
func lastParts[T any](r state.Reader, ix *state.Index[T], prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		from := prefix
		for from != "" {
			next := ""
			for key := range ix.From(r, from) {
				part, ok := strings.CutPrefix(key, prefix)
				if !ok || !yield(part) {
					return
				}
				// In the index, keys end with a zero byte and the object's id: this is the least key behind all of them.
				next = key + "\x01"
				break
			}
			from = next
		}
	}
}
