package scheduler

import (
	"errors"
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

// routers is the Work of giving routers their hosts.
type routers struct {
	l3    *l3.Service
	hosts Hosts
	// leaving has, for each router that leaves a host, the first revision at which it was seen to have no part there.
	leaving map[string]departure
	// down are the hosts that were down when it was last looked.
	down map[string]bool
}

type departure struct {
	host     string
	revision int64
}

// Routers has routers served by L3 agents. A nil hosts says that no host ever applies anything.
func Routers(service *l3.Service, hosts Hosts) Work {
	return &routers{l3: service, hosts: hosts, leaving: map[string]departure{}, down: map[string]bool{}}
}

func (*routers) Subject() string { return "router" }

func (*routers) Waits(problem error) bool {
	return errors.Is(problem, l3.ErrNoHost) || errors.Is(problem, l3.ErrLeaving)
}

func (w *routers) Ensure(tx *state.Tx, ids []string) map[string]error {
	pass, problems := w.l3.Pass(tx, w.released), map[string]error{}
	for _, id := range ids {
		problems[id] = pass.Ensure(id)
	}
	return problems
}

// released says whether the host has applied a state in which the router had left it.
func (w *routers) released(routerID, host string) bool {
	d, ok := w.leaving[routerID]
	return ok && d.host == host && w.hosts != nil && w.hosts.Applied(host) >= d.revision
}

// note remembers since when the router leaves a host. The state r is one that has been acknowledged.
func (w *routers) note(r state.Reader, routerID string, revision int64) {
	router, ok := state.Routers.Get(r, routerID)
	switch {
	case !ok || router.Leaving == "":
		delete(w.leaving, routerID)
	case w.leaving[routerID].host != router.Leaving:
		w.leaving[routerID] = departure{router.Leaving, revision}
	}
}

func (w *routers) All(r state.Reader, book *Book) {
	for o := range state.Routers.All(r) {
		w.note(r, o.ID, book.Revision())
		book.Due(o.ID)
	}
}

// Tick tries again what waits, and looks at the routers of hosts that have come or gone: no commit tells of that.
func (w *routers) Tick(r state.Reader, book *Book) {
	book.DueAgain()
	for a := range state.Agents.All(r) {
		if a.Role != model.RoleL3 {
			continue
		}
		if down, _ := w.l3.Down(a.Host, time.Now()); down != w.down[a.Host] {
			w.down[a.Host] = down
			for o := range state.RoutersByHost.List(r, a.Host) {
				book.Due(o.ID)
			}
		}
	}
}

func (w *routers) Follow(c state.Change, r state.Reader, book *Book) {
	switch c.Kind {
	case state.Routers.Kind():
		w.note(r, c.ID, book.Revision())
		if c.New == nil {
			book.Forget(c.ID)
			return
		}
		book.Due(c.ID)
	case state.Ports.Kind():
		each(c, func(o *model.Port) {
			if model.RouterInterfaceOwner(o.DeviceOwner) || o.DeviceOwner == model.DeviceOwnerRouterGateway {
				book.Due(o.DeviceID)
			}
		})
	case state.Agents.Kind():
		each(c, func(o *model.Agent) {
			if o.Role == model.RoleL3 || o.Role == model.RoleL2 {
				book.DueAgain()
				for router := range state.RoutersByHost.List(r, o.Host) {
					book.Due(router.ID)
				}
			}
		})
	}
}
