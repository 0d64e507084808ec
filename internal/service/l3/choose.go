package l3

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// place makes the Hosts of the router what they should be. Those that an operator has chosen stay while they live; a
// host that the scheduler has chosen is given up also for one that reaches networks which it does not.
func (p *Pass) place(r *model.Router, legs []*model.Port) error {
	if r.HA {
		r.Hosts, r.ManualHosts = nil, false
		return p.join(r, legs)
	}
	r.GatewayGroup = ""
	had := len(r.Hosts)
	r.Hosts = slices.DeleteFunc(r.Hosts, func(host string) bool { return !hasAgent(p.tx, host) || p.gone(host) })
	if had > 0 && len(r.Hosts) == 0 {
		r.ManualHosts = false
	}
	if r.ManualHosts || len(legs) == 0 {
		return p.serving(r, legs)
	}
	if len(r.Hosts) > 0 {
		host := r.Hosts[0]
		if !p.s.connected(host) || len(p.lacks(host, legs)) == 0 {
			return p.serving(r, legs)
		}
	}
	host, why := p.choose(r, legs)
	switch {
	case host != "":
		r.Hosts = []string{host}
	case len(r.Hosts) == 0:
		return fmt.Errorf("%w: %s", ErrNoHost, why)
	}
	return p.serving(r, legs)
}

// serving says why the host that the router has does not serve it as it should.
func (p *Pass) serving(r *model.Router, legs []*model.Port) error {
	if len(r.Hosts) == 0 || len(legs) == 0 {
		return nil
	}
	host := r.Hosts[0]
	down, since := p.s.Down(host, p.tx.Now())
	switch {
	case down && since.IsZero():
		return fmt.Errorf("%w: host %s, which serves it, is down", ErrNoHost, host)
	case down:
		return fmt.Errorf("%w: host %s, which serves it, is down since %s", ErrNoHost, host, since.UTC().Format(time.RFC3339))
	case !p.s.connected(host):
		return nil // the server has just been started, and the host is about to connect
	}
	if lacks := p.lacks(host, legs); len(lacks) > 0 {
		return fmt.Errorf("%w: %s", ErrNoHost, strings.Join(lacks, "; "))
	}
	return nil
}

// choose returns the host that is to serve the router: of those that can, the one with the fewest routers. Where there
// is none it says why.
func (p *Pass) choose(r *model.Router, legs []*model.Port) (host, why string) {
	if p.load == nil {
		p.load = map[string]int{}
		for a := range state.Agents.All(p.tx) {
			if a.Role != model.RoleL3 || !a.AdminStateUp {
				continue
			}
			if p.s.connected(a.Host) {
				p.load[a.Host] = state.RoutersByHost.Count(p.tx, a.Host)
			}
		}
		for g := range state.GatewayGroups.All(p.tx) {
			if _, usable := p.load[active(g)]; usable {
				p.load[active(g)] += state.RoutersByGatewayGroup.Count(p.tx, g.ID)
			}
		}
	}
	hosts := slices.SortedFunc(maps.Keys(p.load), func(a, b string) int {
		return cmp.Or(cmp.Compare(p.load[a], p.load[b]), strings.Compare(a, b))
	})
	reasons := []string{"no L3 agent is connected"}
	for i, host := range hosts {
		if i == 0 {
			reasons = nil
		}
		if !inZones(p.tx, host, r.AvailabilityZoneHints) {
			reasons = append(reasons, fmt.Sprintf("host %s is in none of the availability zones that it asks for", host))
			continue
		}
		if lacks := p.lacks(host, legs); len(lacks) > 0 {
			reasons = append(reasons, lacks...)
			continue
		}
		p.load[host]++
		return host, ""
	}
	slices.Sort(reasons)
	return "", strings.Join(slices.Compact(reasons), "; ")
}

// lacks says why the host cannot wire ports of the router, each reason once.
func (p *Pass) lacks(host string, legs []*model.Port) (reasons []string) {
	for _, leg := range legs {
		wanted := &model.Port{NetworkID: leg.NetworkID, Binding: model.Binding{Host: host}}
		if _, why := mech.Bind(p.tx, wanted, p.s.opts.Liveness); why != "" && !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	return reasons
}

// inZones says whether the L3 agent of the host is in one of the zones; without any, every host is.
func inZones(r state.Reader, host string, zones []string) bool {
	if len(zones) == 0 {
		return true
	}
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role == model.RoleL3 && slices.Contains(zones, a.AvailabilityZone) {
			return true
		}
	}
	return false
}

// hasAgent says whether the host has an L3 agent, be it connected or not.
func hasAgent(r state.Reader, host string) bool {
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role == model.RoleL3 {
			return true
		}
	}
	return false
}
