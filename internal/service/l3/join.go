package l3

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// join gives a highly available router its gateway group: the one that follows from its id, unless that one's hosts cannot
// serve it. It stays there, unless it comes to need what a host of the group lacks.
func (p *Pass) join(r *model.Router, legs []*model.Port) error {
	if len(legs) == 0 {
		return nil
	}
	if g, ok := state.GatewayGroups.Get(p.tx, r.GatewayGroup); ok && !p.outgrown(g, legs) {
		return nil
	}
	wanted := demand{}
	wanted.add(r, legs)
	able := p.able(wanted)
	if p.living(able) == 0 {
		return fmt.Errorf("%w: %s", ErrNoHost, p.unable(r, legs))
	}
	id := p.chooseGroup(r, able)
	if id == "" {
		return fmt.Errorf("%w: no gateway group has hosts that reach its networks besides those of the group's routers", ErrNoHost)
	}
	if _, ok := state.GatewayGroups.Get(p.tx, id); !ok {
		g := &model.GatewayGroup{Meta: model.Meta{ID: id}, Hosts: p.form(id, able)}
		state.GatewayGroups.Put(p.tx, g)
	}
	r.GatewayGroup = id
	return nil
}

// outgrown says whether a host of the group cannot wire a port of the router, and the router can leave the group: a host
// that is down would have to say that it has let go.
func (p *Pass) outgrown(g *model.GatewayGroup, legs []*model.Port) bool {
	if len(g.Leaving) > 0 {
		return false
	}
	lacks := len(g.Hosts) == 0
	for _, host := range g.Hosts {
		if !p.s.connected(host) {
			return false
		}
		lacks = lacks || len(p.lacks(host, legs)) > 0
	}
	return lacks
}

// How well a group fits a router.
const (
	unfit     = iota
	displaced // hosts of the group have to change first
	narrowed  // its routers can be on fewer hosts from then on
	fitting
)

// chooseGroup returns the number of the group that fits best; of equal ones, that which the router is in or prefers. able
// are the hosts that can serve the router.
func (p *Pass) chooseGroup(r *model.Router, able []string) (id string) {
	best := unfit
	if _, ok := state.GatewayGroups.Get(p.tx, r.GatewayGroup); ok {
		if best = p.fit(r.GatewayGroup, r, able); best > unfit {
			id = r.GatewayGroup
		}
	}
	for _, n := range gatewaygroup.Preferred(r.ID, p.s.opts.Groups) {
		number := strconv.Itoa(int(n))
		if fit := p.fit(number, r, able); fit > best {
			best, id = fit, number
		}
		if best == fitting {
			break
		}
	}
	return id
}

// fit says how well the group fits the router.
func (p *Pass) fit(id string, r *model.Router, able []string) int {
	enough := min(2, p.living(able))
	g, exists := state.GatewayGroups.Get(p.tx, id)
	if !exists {
		if p.living(p.form(id, able)) < enough {
			return displaced
		}
		return fitting
	}
	others := p.demandOf(id, r.ID)
	before := p.able(others)
	joint := slices.DeleteFunc(slices.Clone(able), func(host string) bool { return !slices.Contains(before, host) })
	can := len(g.Hosts) > 0 && !slices.ContainsFunc(g.Hosts, func(host string) bool { return !slices.Contains(able, host) })
	switch {
	case len(joint) == 0:
		return unfit
	case !can || p.living(g.Hosts) < enough:
		return displaced
	case !others.none() && len(joint) < len(before):
		return narrowed
	}
	return fitting
}

// unable says why no host can serve the router.
func (p *Pass) unable(r *model.Router, legs []*model.Port) string {
	var reasons []string
	for _, host := range p.gatewayHosts() {
		if !inZones(p.tx, host, r.AvailabilityZoneHints) {
			reasons = append(reasons, fmt.Sprintf("host %s is in none of the availability zones that it asks for", host))
			continue
		}
		if lacks := p.lacks(host, legs); len(lacks) > 0 || hasTunnel(p.tx, host) {
			reasons = append(reasons, lacks...)
			continue
		}
		reasons = append(reasons, fmt.Sprintf("host %s has no tunnel address, by which hosts of a gateway group hear each other", host))
	}
	if len(reasons) == 0 {
		return "no L3 agent is connected"
	}
	slices.Sort(reasons)
	return strings.Join(slices.Compact(reasons), "; ")
}
