// Package mech binds ports to hosts: it decides whether a host can wire a port, through which segment of the network,
// and as what, by what the host's agent has reported. Where a host cannot, it says why in a sentence that names the
// thing that is missing.
//
// There is one mechanism, the Linux bridge. It knows no I/O: agents are objects of the state, and whether they are
// alive is asked of a Liveness.
package mech

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Liveness knows which hosts are connected.
type Liveness interface {
	// Alive says whether the agent of the host is connected; where it is not, since is when it was last heard of. The
	// zero time: not within living memory.
	Alive(host string) (alive bool, since time.Time)
}

// wired are the network types that the hosts' Linux bridge driver can wire in this version.
var wired = []model.NetworkType{model.TypeLocal, model.TypeFlat, model.TypeVXLAN}

// Bind returns the binding of the port on the host that p.Binding asks for: bridge and the segment, or binding_failed
// and the reason why, or unbound where it asks for no host. A nil live takes every agent to be alive.
//
// A port may ask for a gateway group instead, and is bound if any host of the group can wire it. The interface of a
// distributed router is on many hosts, and bound to none by itself.
func Bind(r state.Reader, p *model.Port, live Liveness) (b model.Binding, reason string) {
	b = p.Binding
	b.SegmentID, b.VIFType = "", model.VIFUnbound
	var segment string
	switch {
	case p.DeviceOwner == model.DeviceOwnerRouterInterfaceDistributed:
		b.Host, b.GatewayGroup, b.VIFType = "", "", model.VIFDistributed
		return b, ""
	case b.GatewayGroup != "":
		segment, reason = anyOf(r, p, live)
	case b.Host == "":
		return b, ""
	default:
		segment, reason = bridge(r, p, b.Host, live)
	}
	if reason != "" {
		b.VIFType = model.VIFBindingFailed
		return b, reason
	}
	b.VIFType, b.SegmentID = model.VIFBridge, segment
	return b, ""
}

// anyOf returns the segment of the first host of the port's gateway group that can wire it.
func anyOf(r state.Reader, p *model.Port, live Liveness) (segment, reason string) {
	g, ok := state.GatewayGroups.Get(r, p.Binding.GatewayGroup)
	if !ok || len(g.Hosts) == 0 {
		return "", fmt.Sprintf("gateway group %s has no hosts", p.Binding.GatewayGroup)
	}
	var reasons []string
	for _, host := range g.Hosts {
		segment, why := bridge(r, p, host, live)
		if why == "" {
			return segment, ""
		}
		reasons = append(reasons, why)
	}
	return "", strings.Join(reasons, "; ")
}

// bridge returns the id of the segment through which the Linux bridge of the host can reach the port's network.
func bridge(r state.Reader, p *model.Port, host string, live Liveness) (segment, reason string) {
	if v := p.Binding.VNICType; v != "" && v != "normal" {
		return "", fmt.Sprintf("vnic_type %s is not supported", v)
	}
	agent := agentOf(r, host)
	if agent == nil {
		return "", fmt.Sprintf("host %s has no agent", host)
	}
	if live != nil {
		if alive, since := live.Alive(host); !alive {
			return "", down(host, since)
		}
	}
	n, ok := state.Networks.Get(r, p.NetworkID)
	if !ok || len(n.Segments) == 0 {
		return "", "the network has no segment"
	}
	var reasons []string
	for _, s := range n.Segments {
		why := missing(agent, s)
		if why == "" {
			return s.ID, ""
		}
		reasons = append(reasons, why)
	}
	return "", strings.Join(reasons, "; ")
}

// Reaches says whether the host can reach the segment, by what its agent has reported, be the agent alive or not.
func Reaches(r state.Reader, host string, s model.Segment) bool {
	agent := agentOf(r, host)
	return agent != nil && unreachable(agent, s) == ""
}

func agentOf(r state.Reader, host string) *model.Agent {
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role == model.RoleL2 {
			return a
		}
	}
	return nil
}

func down(host string, since time.Time) string {
	if since.IsZero() {
		return fmt.Sprintf("the agent of host %s is down", host)
	}
	return fmt.Sprintf("the agent of host %s is down since %s", host, since.UTC().Format(time.RFC3339))
}

// missing says what the host lacks to wire ports to the segment, or nothing.
func missing(a *model.Agent, s model.Segment) string {
	if why := unreachable(a, s); why != "" {
		return why
	}
	if !slices.Contains(wired, s.NetworkType) {
		return fmt.Sprintf("%s networks are not supported by the hosts of this version yet", s.NetworkType)
	}
	return ""
}

// unreachable says what the host lacks to reach the segment, or nothing.
func unreachable(a *model.Agent, s model.Segment) string {
	switch {
	case s.NetworkType.Tunnel() && !a.TunnelIP.IsValid():
		return fmt.Sprintf("the agent of host %s has no tunnel address, which a %s network needs", a.Host, s.NetworkType)
	case s.NetworkType.Tunnel() && !slices.Contains(a.TunnelTypes, string(s.NetworkType)):
		return fmt.Sprintf("the agent of host %s has no %s tunnels", a.Host, s.NetworkType)
	case s.PhysicalNetwork != "" && a.BridgeMappings[s.PhysicalNetwork] == "":
		return fmt.Sprintf("host %s has no mapping for physical network %s", a.Host, s.PhysicalNetwork)
	}
	return ""
}
