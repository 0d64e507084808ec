package scheduler_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/scheduler"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	"github.com/neutrino-net/neutrino/internal/service/router"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// applied is what all hosts have applied; -1: everything.
type applied struct{ revision atomic.Int64 }

func (a *applied) Applied(string) int64 {
	if n := a.revision.Load(); n >= 0 {
		return n
	}
	return 1 << 60
}

// moveAfter is after how long routers leave a dead host.
const moveAfter = time.Minute

// runRouters runs a scheduler of routers until the test ends.
func runRouters(t *testing.T, w *st.World, hosts scheduler.Hosts) {
	service := l3.New(l3.Options{Ports: w.Ports, Liveness: w.Liveness, MoveAfter: moveAfter})
	s := scheduler.New(scheduler.Options{
		Store: w.Store, Work: scheduler.Routers(service, hosts), Logger: slog.New(slog.DiscardHandler),
		Retry: 5 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// attachedRouter makes a router with an interface on a network of its own.
func attachedRouter(t *testing.T, w *st.World, id string) {
	t.Helper()
	attach(t, w, &model.Router{Meta: model.Meta{ID: id, ProjectID: "p1"}, AdminStateUp: true})
}

// attach makes the router with an interface on a network of its own.
func attach(t *testing.T, w *st.World, r *model.Router) {
	t.Helper()
	n := network(t, w, "10.0.0.0/24")
	subnet := w.Network(t, n.ID).SubnetIDs[0]
	rules := router.New(router.Options{Ports: w.Ports})
	st.Must(0, w.Update(func(tx *state.Tx) error {
		if err := rules.Create(tx, st.Member, r, nil); err != nil {
			return err
		}
		_, err := rules.AddInterface(tx, st.Member, r, st.Body{"subnet_id": subnet})
		return err
	}))(t)
}

// servedBy says whether all ports of the router are bound to the host; empty: to none.
func servedBy(id, host string) func(r *state.Snapshot) bool {
	return func(r *state.Snapshot) bool {
		o, ok := state.Routers.Get(r, id)
		if !ok {
			return false
		}
		for _, leg := range o.LegIDs() {
			if p, _ := state.Ports.Get(r, leg); p.Binding.Host != host || p.Binding.Bound() != (host != "") {
				return false
			}
		}
		return true
	}
}

const routerID = "99999999-9999-4999-8999-999999999999"

func TestRoutersWaitForAHost(t *testing.T) {
	w := st.New(t, st.Options{})
	runRouters(t, w, nil)
	attachedRouter(t, w, routerID)
	eventually(t, w, "it says why it is not served", func(r *state.Snapshot) bool {
		o, ok := state.Routers.Get(r, routerID)
		return ok && o.PlacementReason == "No host can serve it: no L3 agent is connected."
	})
	w.Connect(t, "host1", model.RoleL2, model.RoleL3)
	eventually(t, w, "host1 serves it", servedBy(routerID, "host1"))
}

func TestARouterWaitsUntilItsHostHasLetGo(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "host1", model.RoleL2, model.RoleL3)
	attachedRouter(t, w, routerID)
	hosts := &applied{}
	runRouters(t, w, hosts)
	eventually(t, w, "host1 serves it", servedBy(routerID, "host1"))
	hosts.revision.Store(w.Store.Read().Revision) // of a state in which it has the router
	w.Connect(t, "host2", model.RoleL2, model.RoleL3)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		r, _ := state.Routers.Get(tx, routerID)
		a, _ := state.Agents.Get(tx, agent.ID("host1", model.RoleL3))
		if err := router.Unassign(tx, r, a); err != nil {
			return err
		}
		r, _ = state.Routers.Get(tx, routerID)
		b, _ := state.Agents.Get(tx, agent.ID("host2", model.RoleL3))
		return router.Assign(tx, r, b)
	}))(t)
	eventually(t, w, "it leaves host1", servedBy(routerID, ""))
	never(t, w, "host2 serves it before host1 has let go of it", servedBy(routerID, "host2"))
	hosts.revision.Store(-1)
	eventually(t, w, "host2 serves it", servedBy(routerID, "host2"))
}

func TestRoutersLeaveADeadHost(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "host1", model.RoleL2, model.RoleL3)
	attachedRouter(t, w, routerID)
	runRouters(t, w, nil)
	eventually(t, w, "host1 serves it", servedBy(routerID, "host1"))
	w.Connect(t, "host2", model.RoleL2, model.RoleL3)
	// Its death makes no commit.
	w.Liveness.Down("host1", time.Now().Add(-moveAfter/2))
	eventually(t, w, "it says that its host is down", func(r *state.Snapshot) bool {
		o, _ := state.Routers.Get(r, routerID)
		return o.PlacementReason != "" && servedBy(routerID, "host1")(r)
	})
	w.Liveness.Down("host1", time.Now().Add(-moveAfter))
	eventually(t, w, "host2 serves it", servedBy(routerID, "host2"))
}

func TestAGroupMovesToNewHostsAsTheyAcknowledge(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "host1", model.RoleL2, model.RoleL3)
	hosts := &applied{}
	hosts.revision.Store(-1)
	runRouters(t, w, hosts)
	attach(t, w, &model.Router{Meta: model.Meta{ID: routerID, ProjectID: "p1"}, AdminStateUp: true, HA: true})
	group := func(r state.Reader) *model.GatewayGroup {
		o, _ := state.Routers.Get(r, routerID)
		g, ok := state.GatewayGroups.Get(r, o.GatewayGroup)
		if !ok {
			return &model.GatewayGroup{}
		}
		return g
	}
	eventually(t, w, "host1 serves it, without a standby", func(r *state.Snapshot) bool {
		return slices.Equal(group(r).Hosts, []string{"host1"}) && strings.Contains(group(r).Reason, "alone, without a standby")
	})
	for _, host := range []string{"host2", "host3"} {
		w.Connect(t, host, model.RoleL2, model.RoleL3)
	}
	eventually(t, w, "all three serve it", func(r *state.Snapshot) bool {
		return len(group(r).Hosts) == 3 && group(r).Reason == ""
	})

	// Nobody acknowledges any more: the host that is turned off does not even begin to leave, since the group has just changed.
	hosts.revision.Store(0)
	w.Connect(t, "host4", model.RoleL2, model.RoleL3)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		a, _ := state.Agents.Get(tx, agent.ID("host1", model.RoleL3))
		a = a.Clone()
		a.AdminStateUp = false
		state.Agents.Put(tx, a)
		return nil
	}))(t)
	never(t, w, "host1 leaves, and the others are not up to date", func(r *state.Snapshot) bool {
		return len(group(r).Hosts) != 3 || len(group(r).Leaving) > 0
	})
	hosts.revision.Store(w.Store.Read().Revision) // of a state in which host1 is in the group
	eventually(t, w, "a host leaves", func(r *state.Snapshot) bool { return len(group(r).Leaving) == 1 })
	never(t, w, "another one has its place already", func(r *state.Snapshot) bool { return len(group(r).Hosts) != 2 })
	hosts.revision.Store(-1)
	eventually(t, w, "the others serve it", func(r *state.Snapshot) bool {
		return slices.Equal(slices.Sorted(slices.Values(group(r).Hosts)), []string{"host2", "host3", "host4"}) &&
			len(group(r).Leaving) == 0
	})
	// A takeover is nothing for the scheduler.
	revision := w.Store.Read().Revision
	st.Must(0, w.Update(func(tx *state.Tx) error {
		l3.Claims(tx, "host2", []l3.Role{{Group: group(tx).ID, Claim: model.GatewayClaim{Epoch: 1, Host: "host2"}}})
		return nil
	}))(t)
	never(t, w, "the scheduler has written something", func(r *state.Snapshot) bool { return r.Revision > revision+1 })
}

// never fails the test if the state comes to be so within 50 ms.
func never(t *testing.T, w *st.World, what string, so func(*state.Snapshot) bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	r, cursor := w.Store.Feed()
	for {
		if so(r) {
			t.Fatal(what)
		}
		c, err := cursor.Next(ctx)
		if err != nil {
			return
		}
		r = c.Snapshot
	}
}
