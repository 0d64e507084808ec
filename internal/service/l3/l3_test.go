package l3_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/floatingip"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/router"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// world has the external flat network of physnet1 and a network of the member's.
type world struct {
	*st.World
	t        *testing.T
	l3       *l3.Service
	routers  *router.Rules
	fips     *floatingip.Rules
	public   *model.Network
	subnet   *model.Subnet
	inside   *model.Network
	released map[string]bool // hosts that have let go of every router
}

// moveAfter is after how long routers leave a dead host, in the tests that want it.
const moveAfter = time.Minute

func newWorld(t *testing.T, after time.Duration) *world {
	w := &world{World: st.New(t, st.Options{}), t: t, released: map[string]bool{}}
	w.l3 = l3.New(l3.Options{Ports: w.Ports, Liveness: w.Liveness, MoveAfter: after})
	w.routers = router.New(router.Options{Ports: w.Ports})
	w.fips = floatingip.New(floatingip.Options{Ports: w.Ports})
	w.Ports.Follow(router.Guard{})
	w.Ports.Follow(floatingip.Guard{})
	w.public = st.Must(w.CreateNetwork(st.Admin, st.Body{
		"router:external": true, "provider:network_type": "flat", "provider:physical_network": "physnet1",
	}))(t)
	st.Must(w.CreateSubnet(st.Admin, st.Body{
		"network_id": w.public.ID, "cidr": "203.0.113.0/24", "enable_dhcp": false,
	}))(t)
	w.inside = st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	w.subnet = st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": w.inside.ID, "cidr": "10.0.0.0/24"}))(t)
	return w
}

// host lets a host connect that has both roles, and an interface on physnet1 if it is outside.
func (w *world) host(name string, outside bool) {
	w.t.Helper()
	hello := agent.Hello{
		Version: "1", Roles: []model.Role{model.RoleL2, model.RoleL3}, StartedAt: time.Unix(1, 0),
		TunnelTypes: []string{"vxlan"}, TunnelIP: netip.AddrFrom4([4]byte{192, 0, 2, name[len(name)-1]}),
	}
	if outside {
		hello.BridgeMappings = map[string]string{"physnet1": "eth1"}
	}
	w.Hello(w.t, name, hello)
}

// router makes a router of the member's; with a gateway, and attached to the inside network, if wanted.
func (w *world) router(r model.Router, attached bool) string {
	w.t.Helper()
	r.ID, r.ProjectID, r.AdminStateUp = uuid.NewString(), "p1", true
	err := w.Update(func(tx *state.Tx) error {
		if err := w.routers.Create(tx, st.Member, &r, nil); err != nil || !attached {
			return err
		}
		_, err := w.routers.AddInterface(tx, st.Member, &r, st.Body{"subnet_id": w.subnet.ID})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

func (w *world) outward() model.Router {
	return model.Router{Gateway: &model.Gateway{NetworkID: w.public.ID, EnableSNAT: true}}
}

// ensure looks after the router, and again if it leaves a host: what that host has applied counts from then on. It returns
// what could not be done.
func (w *world) ensure(id string) (problem error) {
	w.t.Helper()
	for range 2 {
		err := w.Update(func(tx *state.Tx) error {
			problem = w.l3.Pass(tx, func(_, host string) bool { return w.released[host] }).Ensure(id)
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if !errors.Is(problem, l3.ErrLeaving) {
			break
		}
	}
	return problem
}

// settle looks after a router with which nothing is wrong.
func (w *world) settle(id string) {
	w.t.Helper()
	if err := w.ensure(id); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(id string) *model.Router {
	w.t.Helper()
	r, ok := state.Routers.Get(w.Store.Read(), id)
	if !ok {
		w.t.Fatal("the router is gone")
	}
	return r
}

// on checks to which host the ports of the router are bound; empty: to none.
func (w *world) on(id, host string) {
	w.t.Helper()
	snap := w.Store.Read()
	for _, leg := range w.get(id).LegIDs() {
		p, _ := state.Ports.Get(snap, leg)
		if p.Binding.Host != host || p.Binding.Bound() != (host != "") {
			w.t.Errorf("%s is bound to %q as %s (%s), want %q",
				p.DeviceOwner, p.Binding.Host, p.Binding.VIFType, p.StatusReason, host)
		}
	}
}

func (w *world) agent(host string) *model.Agent {
	w.t.Helper()
	a, ok := state.Agents.Get(w.Store.Read(), agent.ID(host, model.RoleL3))
	if !ok {
		w.t.Fatalf("no agent on %s", host)
	}
	return a
}

// operator does what an operator asks of the agent scheduler: a router given to a host, or taken from it.
func (w *world) operator(do func(*state.Tx, *model.Router, *model.Agent) error, id, host string) {
	w.t.Helper()
	a := w.agent(host)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		r, _ := state.Routers.Get(tx, id)
		return do(tx, r, a)
	}))(w.t)
}

func TestARouterGoesToTheHostWithTheFewest(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	w.host("host2", true)
	for i, want := range []string{"host1", "host2", "host1"} {
		id := w.router(w.outward(), false)
		if err := w.ensure(id); err != nil {
			t.Fatalf("router %d: %v", i, err)
		}
		w.on(id, want)
		revision := w.Store.Read().Revision
		if err := w.ensure(id); err != nil || w.Store.Read().Revision != revision {
			t.Errorf("a router that is right is changed again: %v", err)
		}
	}
	idle := w.router(model.Router{}, false)
	if err := w.ensure(idle); err != nil || len(w.get(idle).Hosts) != 0 {
		t.Errorf("a router without ports has got hosts %v: %v", w.get(idle).Hosts, err)
	}
}

func TestARouterGoesWhereItsNetworksAre(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", false)
	id := w.router(w.outward(), true)
	err := w.ensure(id)
	if !errors.Is(err, l3.ErrNoHost) {
		t.Errorf("without a host on physnet1: %v", err)
	}
	lacks := "host1 has no mapping for physical network physnet1"
	if reason := w.get(id).PlacementReason; !strings.Contains(reason, lacks) {
		t.Errorf("the reason is %q", reason)
	}
	w.on(id, "")
	w.host("host2", true)
	if err := w.ensure(id); err != nil || w.get(id).PlacementReason != "" {
		t.Errorf("with one: %v, %q", err, w.get(id).PlacementReason)
	}
	w.on(id, "host2")
}

func TestARouterThatGetsAGatewayMovesToWhereThatCanBe(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", false)
	id := w.router(model.Router{}, true)
	w.settle(id)
	w.on(id, "host1")
	w.host("host2", true)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		old, _ := state.Routers.Get(tx, id)
		r := old.Clone()
		r.Gateway = w.outward().Gateway
		return w.routers.Update(tx, st.Member, old, r, st.Given("external_gateway_info"))
	}))(t)
	if err := w.ensure(id); !errors.Is(err, l3.ErrLeaving) {
		t.Errorf("while host1 may still serve it: %v", err)
	}
	w.on(id, "")
	w.released["host1"] = true
	w.settle(id)
	w.on(id, "host2")
}

func TestZonesAreAskedFor(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	w.host("host2", true)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		a, _ := state.Agents.Get(tx, agent.ID("host2", model.RoleL3))
		a = a.Clone()
		a.AvailabilityZone = "east"
		state.Agents.Put(tx, a)
		return nil
	}))(t)
	for range 2 {
		r := w.outward()
		r.AvailabilityZoneHints = []string{"east"}
		id := w.router(r, false)
		w.settle(id)
		w.on(id, "host2")
	}
}

func TestAnOperatorsChoiceStands(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	w.host("host2", true)
	id := w.router(w.outward(), true)
	w.settle(id)
	w.operator(router.Unassign, id, "host1")
	if err := w.ensure(id); !errors.Is(err, l3.ErrLeaving) {
		t.Errorf("just taken away: %v", err)
	}
	w.released["host1"] = true
	w.settle(id)
	w.on(id, "")
	if reason := w.get(id).PlacementReason; !strings.Contains(reason, "An operator has taken it") {
		t.Errorf("the reason is %q", reason)
	}
	w.operator(router.Assign, id, "host2")
	w.settle(id)
	w.on(id, "host2")
}

func TestTwoHostsNeverServeOneRouter(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		do    func(w *world, id string)
		// waits, if host1 is still believed to serve the router afterwards; else it is on host2.
		waits bool
	}{
		"the host is connected": {do: func(w *world, id string) {
			w.operator(router.Unassign, id, "host1")
			w.operator(router.Assign, id, "host2")
		}, waits: true},
		"the host is connected and has let go": {do: func(w *world, id string) {
			w.operator(router.Unassign, id, "host1")
			w.operator(router.Assign, id, "host2")
			w.released["host1"] = true
		}},
		"an operator takes it from a dead host": {do: func(w *world, id string) {
			w.Liveness.Down("host1", time.Now())
			w.operator(router.Unassign, id, "host1")
			w.operator(router.Assign, id, "host2")
		}},
		"the agents of a dead host are deleted": {do: func(w *world, id string) {
			w.Liveness.Down("host1", time.Now())
			a := w.agent("host1")
			st.Must(0, w.Update(func(tx *state.Tx) error { return w.Agents.Delete(tx, st.Admin, a) }))(w.t)
		}},
		"the host is dead for long enough": {after: moveAfter, do: func(w *world, _ string) {
			w.Liveness.Down("host1", time.Now().Add(-2*moveAfter))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.after)
			w.host("host1", true)
			id := w.router(w.outward(), true)
			w.settle(id)
			w.host("host2", true)
			c.do(w, id)
			err := w.ensure(id)
			if c.waits {
				if !errors.Is(err, l3.ErrLeaving) || !strings.Contains(w.get(id).PlacementReason, "host1") {
					t.Errorf("it does not wait for host1: %v", err)
				}
				w.on(id, "")
				return
			}
			if err != nil {
				t.Error(err)
			}
			w.on(id, "host2")
		})
	}
}

func TestADeadHostKeepsItsRouters(t *testing.T) {
	for name, after := range map[string]time.Duration{"nothing moves by itself": 0, "not yet": moveAfter} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, after)
			w.host("host1", true)
			id := w.router(w.outward(), true)
			w.settle(id)
			w.host("host2", true)
			w.Liveness.Down("host1", time.Now().Add(-moveAfter/2))
			if err := w.ensure(id); !errors.Is(err, l3.ErrNoHost) {
				t.Errorf("the problem is %v", err)
			}
			if reason := w.get(id).PlacementReason; !strings.Contains(reason, "host1, which serves it, is down since") {
				t.Errorf("the reason is %q", reason)
			}
			w.on(id, "host1")
			w.Liveness.Up("host1")
			if err := w.ensure(id); err != nil || w.get(id).PlacementReason != "" {
				t.Errorf("the host is back: %v, %q", err, w.get(id).PlacementReason)
			}
		})
	}
}

func TestAServerThatHasJustBeenStartedWaitsForTheHosts(t *testing.T) {
	w := newWorld(t, moveAfter)
	w.host("host1", true)
	id := w.router(w.outward(), true)
	w.settle(id)
	w.host("host2", true)
	w.Liveness.Down("host1", time.Time{}) // it has not been heard of
	for _, c := range []struct {
		name string
		ago  time.Duration
		host string
		err  error
	}{
		{"just now", 0, "host1", nil},
		{"for so long that the host counts as down", 80 * time.Second, "host1", l3.ErrNoHost},
		{"for so long that its routers move", 2 * time.Minute, "host2", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.l3 = l3.New(l3.Options{
				Ports: w.Ports, Liveness: w.Liveness, MoveAfter: 100 * time.Second, Started: time.Now().Add(-c.ago),
			})
			revision := w.get(id).RevisionNumber
			if err := w.ensure(id); !errors.Is(err, c.err) {
				t.Errorf("the problem is %v, want %v", err, c.err)
			}
			w.on(id, c.host)
			if c.ago == 0 && w.get(id).RevisionNumber != revision {
				t.Errorf("the router is changed: %+v", w.get(id))
			}
		})
	}
}

func TestStatusesFollowTheServingHost(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	id := w.router(w.outward(), true)
	w.settle(id)
	p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": w.inside.ID}))(t)
	f := &model.FloatingIP{Meta: model.Meta{ID: uuid.NewString(), ProjectID: "p1"}, NetworkID: w.public.ID, PortID: p.ID}
	st.Must(0, w.Update(func(tx *state.Tx) error { return w.fips.Create(tx, st.Member, f, nil) }))(t)

	report := func(host, key string, s port.State, reason string) {
		t.Helper()
		st.Must(0, w.Update(func(tx *state.Tx) error {
			l3.Report(tx, host, []port.Status{{Key: key, State: s, Reason: reason}})
			return nil
		}))(t)
	}
	expect := func(status model.FloatingIPStatus, fipReason, routerReason string) {
		t.Helper()
		got, _ := state.FloatingIPs.Get(w.Store.Read(), f.ID)
		if got.Status != status || got.HostReason != fipReason || w.get(id).HostReason != routerReason {
			t.Errorf("the floating IP is %s %q, the router %q", got.Status, got.HostReason, w.get(id).HostReason)
		}
	}
	report("host2", "floating-ip/"+f.ID, port.Done, "")
	expect("DOWN", "", "")
	report("host1", "floating-ip/"+f.ID, port.Done, "")
	expect("ACTIVE", "", "")
	report("host1", "floating-ip/"+f.ID, port.Failed, "no room")
	report("host1", "router/"+id, port.Failed, "")
	expect("DOWN", "No room.", "The host gave no reason.")
	report("host1", "floating-ip/"+f.ID, port.Done, "")
	report("host1", "router/"+id, port.Done, "")
	expect("ACTIVE", "", "")

	w.host("host2", true)
	w.operator(router.Unassign, id, "host1")
	w.operator(router.Assign, id, "host2")
	w.released["host1"] = true
	w.settle(id)
	w.on(id, "host2")
	expect("DOWN", "", "")
	report("host1", "floating-ip/"+f.ID, port.Done, "") // it comes late
	expect("DOWN", "", "")
}
