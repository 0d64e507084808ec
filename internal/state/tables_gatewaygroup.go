package state

import (
	"iter"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
)

// Gateway groups, and what is bound to them.
var (
	GatewayGroups = newTable[model.GatewayGroup]("gateway-group")
	// GatewayGroupsByHost finds the groups that a host is in, or is leaving.
	GatewayGroupsByHost = newIndex(GatewayGroups, func(g *model.GatewayGroup) []string {
		return slices.Concat(g.Hosts, g.Leaving)
	})

	RoutersByGatewayGroup = newIndex(Routers, func(r *model.Router) []string { return optional(r.GatewayGroup) })

	// PortsByGatewayGroup finds the ports that are bound to a gateway group: "<group>/<network id>".
	PortsByGatewayGroup = newIndex(Ports, func(p *model.Port) []string {
		if g := p.Binding.Group(); g != "" {
			return []string{g + "/" + p.NetworkID}
		}
		return nil
	})
	// PortsByNetworkGatewayGroup finds the same by "<network id>/<group>".
	PortsByNetworkGatewayGroup = newIndex(Ports, func(p *model.Port) []string {
		if g := p.Binding.Group(); g != "" {
			return []string{p.NetworkID + "/" + g}
		}
		return nil
	})
)

// PortHosts are the hosts that have the port: the one that it is bound to, or all of its gateway group.
func PortHosts(r Reader, p *model.Port) []string {
	if id := p.Binding.Group(); id != "" {
		if g, ok := GatewayGroups.Get(r, id); ok {
			return g.Hosts
		}
		return nil
	}
	if p.Binding.Bound() {
		return []string{p.Binding.Host}
	}
	return nil
}

// HasPort says whether the host has the port; see PortHosts.
func HasPort(r Reader, p *model.Port, host string) bool {
	return slices.Contains(PortHosts(r, p), host)
}

// HostGroups iterates over the gateway groups that the host is in.
func HostGroups(r Reader, host string) iter.Seq[*model.GatewayGroup] {
	return func(yield func(*model.GatewayGroup) bool) {
		for g := range GatewayGroupsByHost.List(r, host) {
			if slices.Contains(g.Hosts, host) && !yield(g) {
				return
			}
		}
	}
}

// GroupPorts iterates over the ports that are bound to the gateway group.
func GroupPorts(r Reader, id string) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for key, p := range PortsByGatewayGroup.From(r, id+"/") {
			if !strings.HasPrefix(key, id+"/") || !yield(p) {
				return
			}
		}
	}
}

// HostPorts iterates over the ports that the host has, each once; see PortHosts.
func HostPorts(r Reader, host string) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for p := range PortsByHost.List(r, host) {
			if !yield(p) {
				return
			}
		}
		for g := range HostGroups(r, host) {
			for p := range GroupPorts(r, g.ID) {
				if !yield(p) {
					return
				}
			}
		}
	}
}
