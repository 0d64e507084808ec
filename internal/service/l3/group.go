package l3

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/state"
)

// EnsureGroup makes the hosts of the gateway group what they should be, one step at a time: a host that is to leave loses
// its documents; when it has acknowledged that, another one gets its place; and when all hosts of the group are up to date,
// the next one leaves. So a group is never without a host, and no host serves its routers that the others do not know of.
//
// A host that is dead keeps its place, since nobody knows what its kernel does, until its agents are deleted or it has been
// silent for MoveAfter. again says that there is more to do, when hosts have acknowledged what is done.
func (p *Pass) EnsureGroup(id string) (again bool) {
	old, ok := state.GatewayGroups.Get(p.tx, id)
	if !ok {
		return false
	}
	now := old.Clone()
	now.Leaving = slices.DeleteFunc(now.Leaving, func(host string) bool { return p.letGo(id, host, false) })
	wanted := p.demandOf(id, "")
	if target := p.form(id, p.able(wanted)); len(target) > 0 {
		now.Hosts = p.admit(now, target)
		if leaver := p.leaver(now, target, slices.Equal(old.Hosts, now.Hosts)); leaver != "" {
			now.Hosts = slices.DeleteFunc(now.Hosts, func(host string) bool { return host == leaver })
			now.Leaving = append(now.Leaving, leaver)
		}
		again = len(now.Leaving) > 0 || !sameMembers(now.Hosts, target)
	}
	maps.DeleteFunc(now.Failing, func(host, _ string) bool { return !slices.Contains(now.Hosts, host) })
	now.Reason = p.groupReason(now, wanted)
	if len(now.Leaving) == 0 {
		now.Leaving = nil
	}
	if !slices.Equal(old.Hosts, now.Hosts) || !slices.Equal(old.Leaving, now.Leaving) || old.Reason != now.Reason ||
		!maps.Equal(old.Failing, now.Failing) {
		state.GatewayGroups.Put(p.tx, now)
	}
	return again
}

// admit returns the hosts of the group with those of target that there is room for, in the order of target; those that are
// not in target come last. A host that has not left yet has its place still, and comes back to it if it is in target again;
// one that is not connected gets none.
func (p *Pass) admit(g *model.GatewayGroup, target []string) []string {
	without := func(hosts, others []string) []string {
		return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return slices.Contains(others, host) })
	}
	placed := slices.Concat(g.Hosts, g.Leaving)
	stale := without(g.Hosts, target)
	g.Leaving = without(g.Leaving, target)
	newcomers := without(target, placed)
	stayers := without(target, newcomers)
	newcomers = slices.DeleteFunc(newcomers, func(host string) bool { return !p.s.connected(host) })
	if room := max(0, p.size()-len(stayers)-len(stale)-len(g.Leaving)); room < len(newcomers) {
		newcomers = newcomers[:room]
	}
	hosts := slices.DeleteFunc(slices.Clone(target), func(host string) bool {
		return !slices.Contains(stayers, host) && !slices.Contains(newcomers, host)
	})
	return append(hosts, stale...)
}

// leaver returns the host that is to leave the group next; empty: none, or not yet. settled says that nothing else changes.
// The host that is active is the last one to go: each takeover costs its routers a moment.
func (p *Pass) leaver(g *model.GatewayGroup, target []string, settled bool) string {
	if !settled || len(g.Leaving) > 0 {
		return ""
	}
	leaver := ""
	for _, host := range g.Hosts {
		down, _ := p.s.Down(host, p.tx.Now())
		switch {
		case slices.Contains(target, host):
		case p.givenUp(host, false):
			return host
		case down:
			// It could not say that it has left, and so would keep another one from its place for nothing.
		case leaver == "" || leaver == g.Active():
			leaver = host
		}
	}
	replaced := len(g.Hosts) > len(target) || slices.ContainsFunc(target, func(host string) bool {
		return !slices.Contains(g.Hosts, host) && p.s.connected(host)
	})
	if leaver == "" || !replaced {
		return ""
	}
	others := 0
	for _, host := range g.Hosts {
		if host == leaver || !p.s.connected(host) {
			continue
		}
		if others++; !p.released(g.ID, host) {
			return ""
		}
	}
	if others == 0 {
		return ""
	}
	return leaver
}

func sameMembers(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(host string) bool { return !slices.Contains(b, host) })
}

// active is the host that serves the group, as far as is known: while nobody has claimed it, the one that is preferred.
func active(g *model.GatewayGroup) string {
	switch host := g.Active(); {
	case host != "":
		return host
	case len(g.Hosts) > 0:
		return g.Hosts[0]
	}
	return ""
}

// groupReason says what the routers of the group lack to be highly available.
func (p *Pass) groupReason(g *model.GatewayGroup, wanted demand) string {
	if wanted.none() {
		return ""
	}
	var living, dead, reasons []string
	for _, host := range g.Hosts {
		if down, _ := p.s.Down(host, p.tx.Now()); down {
			dead = append(dead, host)
		} else {
			living = append(living, host)
		}
	}
	switch {
	case len(g.Hosts) == 0:
		reasons = append(reasons, "its gateway group has no hosts")
	case len(living) == 0:
		reasons = append(reasons, fmt.Sprintf("no host of its gateway group is connected: %s", strings.Join(dead, ", ")))
	case len(g.Hosts) == 1:
		reasons = append(reasons, fmt.Sprintf("it is served by host %s alone, without a standby", g.Hosts[0]))
	case len(living) == 1:
		reasons = append(reasons, fmt.Sprintf("it has no standby: of the hosts of its gateway group only %s is connected, and not %s",
			living[0], strings.Join(dead, ", ")))
	}
	for _, host := range g.Hosts {
		if why := g.Failing[host]; why != "" {
			reasons = append(reasons, fmt.Sprintf("host %s cannot take part in its gateway group: %s", host, why))
		}
	}
	return sentence(strings.Join(reasons, "; "))
}

// demand is what routers ask of the hosts that are to serve them.
type demand struct {
	networks map[string]bool
	// zones has the hints of each router that has any: a host has to be in one zone of each.
	zones [][]string
}

func (d *demand) none() bool { return len(d.networks) == 0 }

func (d *demand) add(r *model.Router, legs []*model.Port) {
	if d.networks == nil {
		d.networks = map[string]bool{}
	}
	for _, leg := range legs {
		d.networks[leg.NetworkID] = true
	}
	if len(r.AvailabilityZoneHints) > 0 && !slices.ContainsFunc(d.zones, func(have []string) bool {
		return slices.Equal(have, r.AvailabilityZoneHints)
	}) {
		d.zones = append(d.zones, r.AvailabilityZoneHints)
	}
}

// demandOf is what the routers of the group ask of its hosts, but for one router.
func (p *Pass) demandOf(id, except string) (d demand) {
	for r := range state.RoutersByGatewayGroup.List(p.tx, id) {
		if r.ID != except {
			d.add(r, slices.Collect(router.Attached(p.tx, r)))
		}
	}
	return d
}

// gatewayHosts are the hosts of which groups are formed: those with an L3 agent that is not turned off. To turn it off is
// to have the groups leave the host.
func (p *Pass) gatewayHosts() []string {
	if p.gateways == nil {
		p.gateways = []string{}
		for a := range state.Agents.All(p.tx) {
			if a.Role == model.RoleL3 && a.AdminStateUp && !p.gone(a.Host) {
				p.gateways = append(p.gateways, a.Host)
			}
		}
		slices.Sort(p.gateways)
	}
	return p.gateways
}

// able are the hosts that can serve what asks this, be they connected or not. Hosts of a group hear each other by their
// tunnel addresses, so one without is in none.
func (p *Pass) able(d demand) (hosts []string) {
	for _, host := range p.gatewayHosts() {
		can := hasTunnel(p.tx, host) &&
			!slices.ContainsFunc(d.zones, func(zones []string) bool { return !inZones(p.tx, host, zones) })
		for network := range d.networks {
			can = can && p.reaches(host, network)
		}
		if can {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// reaches says whether the host can wire a port on the network, while it is connected.
func (p *Pass) reaches(host, network string) bool {
	key := [2]string{host, network}
	can, known := p.reach[key]
	if !known {
		_, why := mech.Bind(p.tx, &model.Port{NetworkID: network, Binding: model.Binding{Host: host}}, nil)
		can = why == ""
		if p.reach == nil {
			p.reach = map[[2]string]bool{}
		}
		p.reach[key] = can
	}
	return can
}

func hasTunnel(r state.Reader, host string) bool {
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role == model.RoleL2 {
			return a.TunnelIP.IsValid()
		}
	}
	return false
}

// form returns the hosts that the group is to have of those that are able, in order.
func (p *Pass) form(id string, able []string) []string {
	number, err := strconv.Atoi(id)
	if err != nil || len(able) == 0 {
		return nil
	}
	key := strings.Join(able, "\n")
	groups, ok := p.formed[key]
	if !ok {
		groups = gatewaygroup.Form(able, p.s.opts.Groups)
		if p.formed == nil {
			p.formed = map[string][]gatewaygroup.Group{}
		}
		p.formed[key] = groups
	}
	if number < 1 || number > len(groups) {
		return nil
	}
	return slices.Clone(groups[number-1].Hosts)
}

// size is how many hosts a group has where there are enough.
func (p *Pass) size() int {
	if n := p.s.opts.Groups.Size; n > 0 {
		return n
	}
	return gatewaygroup.DefaultSize
}

// living is how many of the hosts are connected.
func (p *Pass) living(hosts []string) (n int) {
	for _, host := range hosts {
		if p.s.connected(host) {
			n++
		}
	}
	return n
}
