package scheduler

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Hosts knows what no state tells of hosts.
type Hosts interface {
	// Applied is the revision up to which the host has applied everything that concerns it.
	Applied(host string) (revision int64)
}

// routers is the Work of giving routers their hosts, and gateway groups theirs. Both are subjects: the ids of routers are
// UUIDs, those of groups are numbers.
type routers struct {
	l3    *l3.Service
	hosts Hosts
	// leaving has, for each router that leaves hosts, the first revision at which it was seen to have no part there.
	leaving map[string]departure
	// members has the hosts of each gateway group, with those that leave it, since the revision at which it was first seen
	// to have them.
	members map[string]membership
	// moving are the gateway groups that wait for hosts to acknowledge a step.
	moving map[string]bool
	// down are the hosts that were down when it was last looked.
	down map[string]bool
}

type departure struct {
	hosts    []string
	revision int64
}

type membership struct {
	hosts, leaving []string
	revision       int64
}

// Routers has routers served by L3 agents. A nil hosts says that no host ever applies anything.
func Routers(service *l3.Service, hosts Hosts) Work {
	return &routers{
		l3: service, hosts: hosts, leaving: map[string]departure{}, members: map[string]membership{},
		moving: map[string]bool{}, down: map[string]bool{},
	}
}

func (*routers) Subject() string { return "router" }

func (*routers) Waits(problem error) bool {
	return errors.Is(problem, l3.ErrNoHost) || errors.Is(problem, l3.ErrLeaving)
}

func (w *routers) Ensure(tx *state.Tx, ids []string) map[string]error {
	pass, problems := w.l3.Pass(tx, w.released), map[string]error{}
	var groups []string
	for _, id := range ids {
		if _, ok := state.GatewayGroups.Get(tx, id); ok {
			groups = append(groups, id)
			continue
		}
		problems[id] = pass.Ensure(id)
	}
	// After the routers: what these ask of a group's hosts may have changed.
	for _, id := range groups {
		if delete(w.moving, id); pass.EnsureGroup(id) {
			w.moving[id] = true
		}
	}
	return problems
}

// released says whether the host has applied a state in which the router or group had left it; and in which the group,
// if the host is in it, had its present hosts.
func (w *routers) released(id, host string) bool {
	revision := int64(0)
	if d, ok := w.leaving[id]; ok && slices.Contains(d.hosts, host) {
		revision = d.revision
	}
	if m, ok := w.members[id]; ok && (slices.Contains(m.hosts, host) || slices.Contains(m.leaving, host)) {
		revision = m.revision
	}
	return revision > 0 && w.hosts != nil && w.hosts.Applied(host) >= revision
}

// note remembers since when the router leaves hosts. The state r is one that has been acknowledged.
func (w *routers) note(r state.Reader, routerID string, revision int64) {
	router, ok := state.Routers.Get(r, routerID)
	if !ok || len(router.Leaving) == 0 {
		delete(w.leaving, routerID)
		return
	}
	known := w.leaving[routerID].hosts
	if slices.ContainsFunc(router.Leaving, func(host string) bool { return !slices.Contains(known, host) }) {
		w.leaving[routerID] = departure{router.Leaving, revision}
	}
}

// noteGroup remembers since when the group has its hosts.
func (w *routers) noteGroup(g *model.GatewayGroup, revision int64) {
	if m, ok := w.members[g.ID]; !ok || !slices.Equal(m.hosts, g.Hosts) || !slices.Equal(m.leaving, g.Leaving) {
		w.members[g.ID] = membership{g.Hosts, g.Leaving, revision}
	}
}

func (w *routers) All(r state.Reader, book *Book) {
	for o := range state.Routers.All(r) {
		w.note(r, o.ID, book.Revision())
		book.Due(o.ID)
	}
	for g := range state.GatewayGroups.All(r) {
		w.noteGroup(g, book.Revision())
		book.Due(g.ID)
	}
}

// Tick tries again what waits, and looks at the routers of hosts that have come or gone: no commit tells of that.
func (w *routers) Tick(r state.Reader, book *Book) {
	book.DueAgain()
	for id := range w.moving {
		book.Due(id)
	}
	for a := range state.Agents.All(r) {
		if a.Role != model.RoleL3 {
			continue
		}
		if down, _ := w.l3.Down(a.Host, time.Now()); down != w.down[a.Host] {
			w.down[a.Host] = down
			for o := range state.RoutersByHost.List(r, a.Host) {
				book.Due(o.ID)
			}
			for g := range state.GatewayGroupsByHost.List(r, a.Host) {
				book.Due(g.ID)
			}
		}
	}
}

func (w *routers) Follow(c state.Change, r state.Reader, book *Book) {
	switch c.Kind {
	case state.Routers.Kind():
		w.note(r, c.ID, book.Revision())
		each(c, func(o *model.Router) {
			if o.GatewayGroup != "" {
				book.Due(o.GatewayGroup)
			}
		})
		if c.New == nil {
			book.Forget(c.ID)
			return
		}
		book.Due(c.ID)
	case state.GatewayGroups.Kind():
		w.followGroup(c, r, book)
	case state.Ports.Kind():
		each(c, func(o *model.Port) {
			if routerPort(o.DeviceOwner) {
				book.Due(o.DeviceID)
			}
		})
		followWorkload(c, r, book)
	case state.FloatingIPs.Kind():
		each(c, func(o *model.FloatingIP) { dueDistributed(r, o.RouterID, book) })
	case state.Agents.Kind():
		each(c, func(o *model.Agent) {
			if o.Role.Routes() || o.Role == model.RoleL2 {
				book.DueAgain()
				for b := range state.DistributedBindingsByHost.List(r, o.Host) {
					book.Due(b.RouterID)
				}
				for router := range state.RoutersByHost.List(r, o.Host) {
					book.Due(router.ID)
				}
				// A host that comes or goes may have its share of every group.
				for g := range state.GatewayGroups.All(r) {
					book.Due(g.ID)
				}
			}
		})
	}
}

// followGroup looks at a group that has changed, and at its routers where it has other hosts. A takeover is nothing that
// has to be looked at.
func (w *routers) followGroup(c state.Change, r state.Reader, book *Book) {
	now, _ := c.New.(*model.GatewayGroup)
	old, had := c.Old.(*model.GatewayGroup)
	if now == nil {
		delete(w.members, c.ID)
		delete(w.moving, c.ID)
		book.Forget(c.ID)
		return
	}
	w.noteGroup(now, book.Revision())
	if had && slices.Equal(old.Hosts, now.Hosts) && slices.Equal(old.Leaving, now.Leaving) &&
		maps.Equal(old.Failing, now.Failing) {
		return
	}
	book.Due(c.ID)
	for o := range state.RoutersByGatewayGroup.List(r, c.ID) {
		book.Due(o.ID)
	}
}
