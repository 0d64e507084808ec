package l3_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func (w *world) highlyAvailable() model.Router {
	r := w.outward()
	r.HA = true
	return r
}

func (w *world) group(id string) *model.GatewayGroup {
	w.t.Helper()
	g, ok := state.GatewayGroups.Get(w.Store.Read(), id)
	if !ok {
		w.t.Fatalf("there is no gateway group %q", id)
	}
	return g
}

// groupOf is the group that serves the router.
func (w *world) groupOf(id string) *model.GatewayGroup {
	w.t.Helper()
	return w.group(w.get(id).GatewayGroup)
}

// inGroup checks that all ports of the router are bound to its group; or to nothing.
func (w *world) inGroup(id, group string) {
	w.t.Helper()
	snap := w.Store.Read()
	for _, leg := range w.get(id).LegIDs() {
		if p, _ := state.Ports.Get(snap, leg); p.Binding.Group() != group || p.Binding.Host != "" {
			w.t.Errorf("%s is bound to %+v, want group %q", p.DeviceOwner, p.Binding, group)
		}
	}
}

// step looks after the group once; acknowledged are the hosts that have applied its last change.
func (w *world) step(id string, acknowledged ...string) (again bool) {
	w.t.Helper()
	st.Must(0, w.Update(func(tx *state.Tx) error {
		again = w.l3.Pass(tx, func(_, host string) bool { return slices.Contains(acknowledged, host) }).EnsureGroup(id)
		return nil
	}))(w.t)
	return again
}

// claim has the host say that it has taken over the group.
func (w *world) claim(group, host string) {
	w.t.Helper()
	g := w.group(group)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		l3.Claims(tx, host, []l3.Role{{Group: group, Claim: model.GatewayClaim{Epoch: g.Claim.Epoch + 1, Host: host}}})
		return nil
	}))(w.t)
}

func TestAHighlyAvailableRouterIsOnAllHostsOfItsGroup(t *testing.T) {
	w := newWorld(t, 0)
	for i := range 5 {
		w.host(fmt.Sprintf("host%d", i+1), true)
	}
	id := w.router(w.highlyAvailable(), true)
	w.settle(id)
	r, g := w.get(id), w.groupOf(id)
	if want := fmt.Sprint(gatewaygroup.Of(id, gatewaygroup.Options{})); r.GatewayGroup != want {
		t.Errorf("it is in group %s, want %s", r.GatewayGroup, want)
	}
	if len(g.Hosts) != 3 {
		t.Errorf("the group has the hosts %v", g.Hosts)
	}
	w.inGroup(id, g.ID)
	revision := w.Store.Read().Revision
	if w.settle(id); w.step(g.ID) || w.Store.Read().Revision != revision {
		t.Error("what is right is changed again")
	}
	// A further interface is bound at once.
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	s := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.1.0.0/24"}))(t)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		r, _ := state.Routers.Get(tx, id)
		_, err := w.routers.AddInterface(tx, st.Member, r, st.Body{"subnet_id": s.ID})
		return err
	}))(t)
	w.inGroup(id, g.ID)
}

func TestGroupsSpreadEvenly(t *testing.T) {
	w := newWorld(t, 0)
	const hosts, routers = 6, 400
	for i := range hosts {
		w.host(fmt.Sprintf("host%d", i+1), true)
	}
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": w.public.ID, "cidr": "198.51.0.0/16", "enable_dhcp": false}))(t)
	for range routers {
		w.settle(w.router(w.highlyAvailable(), false))
	}
	first, places := map[string]int{}, map[string]int{}
	snap := w.Store.Read()
	for g := range state.GatewayGroups.All(snap) {
		n := state.RoutersByGatewayGroup.Count(snap, g.ID)
		if n == 0 || len(g.Hosts) != 3 {
			t.Errorf("group %s has %d routers and the hosts %v", g.ID, n, g.Hosts)
		}
		first[g.Hosts[0]] += n
		for _, h := range g.Hosts {
			places[h] += n
		}
	}
	for h, n := range places {
		// Even to what chance makes of 400 routers in 192 groups: the mean is 67 and 200.
		if first[h] < 30 || first[h] > 105 || n < 150 || n > 250 {
			t.Errorf("%s is preferred for %d routers and has %d", h, first[h], n)
		}
	}
	if len(places) != hosts {
		t.Errorf("only %v have routers", places)
	}
}

func TestGroupsGoWhereTheNetworksAndZonesAre(t *testing.T) {
	w := newWorld(t, 0)
	for i := range 9 {
		w.host(fmt.Sprintf("host%d", i+1), i < 4) // four of nine are outside
	}
	st.Must(0, w.Update(func(tx *state.Tx) error {
		for _, h := range []string{"host1", "host2", "host3"} {
			a, _ := state.Agents.Get(tx, agent.ID(h, model.RoleL3))
			a = a.Clone()
			a.AvailabilityZone = "east"
			state.Agents.Put(tx, a)
		}
		return nil
	}))(t)
	outside, east := []string{"host1", "host2", "host3", "host4"}, []string{"host1", "host2", "host3"}
	inward := model.Router{HA: true}
	zoned := w.highlyAvailable()
	zoned.AvailabilityZoneHints = []string{"east"}
	where := map[string][]string{}
	for range 40 {
		where[w.router(w.highlyAvailable(), false)] = outside
		where[w.router(zoned, false)] = east
	}
	for id := range where {
		w.settle(id)
	}
	spread := w.router(inward, true)
	w.settle(spread)
	for range 3 { // and nothing that comes later changes it
		for g := range state.GatewayGroups.All(w.Store.Read()) {
			w.step(g.ID, outside...)
		}
	}
	for id, can := range where {
		g := w.groupOf(id)
		if len(g.Hosts) != 3 || slices.ContainsFunc(g.Hosts, func(h string) bool { return !slices.Contains(can, h) }) {
			t.Errorf("a router that can be on %v is on %v", can, g.Hosts)
		}
		w.inGroup(id, g.ID)
	}
}

func TestARouterLeavesAGroupWhoseHostsLackItsGateway(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", false)
	w.host("host2", false)
	id := w.router(model.Router{HA: true}, true)
	w.settle(id)
	before := w.groupOf(id).ID
	w.host("host3", true)
	w.host("host4", true)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		old, _ := state.Routers.Get(tx, id)
		r := old.Clone()
		r.Gateway = w.outward().Gateway
		return w.routers.Update(tx, st.Member, old, r, st.Given("external_gateway_info"))
	}))(t)
	if err := w.ensure(id); !errors.Is(err, l3.ErrLeaving) || !strings.Contains(err.Error(), "host1, host2") {
		t.Errorf("while host1 and host2 may serve it: %v", err)
	}
	w.inGroup(id, "")
	w.released["host1"] = true
	if err := w.ensure(id); !errors.Is(err, l3.ErrLeaving) {
		t.Errorf("while host2 may serve it: %v", err)
	}
	w.released["host2"] = true
	w.settle(id)
	g := w.groupOf(id)
	if g.ID == before || !sameSet(g.Hosts, "host3", "host4") {
		t.Errorf("it is in group %s of %v", g.ID, g.Hosts)
	}
	w.inGroup(id, g.ID)
}

func sameSet(hosts []string, want ...string) bool {
	return slices.Equal(slices.Sorted(slices.Values(hosts)), want)
}

func TestHighAvailabilityComesAndGoes(t *testing.T) {
	w := newWorld(t, 0)
	for i := range 3 {
		w.host(fmt.Sprintf("host%d", i+1), true)
	}
	id := w.router(w.outward(), true)
	w.settle(id)
	w.on(id, "host1")
	set := func(ha bool) {
		st.Must(0, w.Update(func(tx *state.Tx) error {
			old, _ := state.Routers.Get(tx, id)
			down := old.Clone()
			down.AdminStateUp = false
			if err := w.routers.Update(tx, st.Admin, old, down, st.Given("admin_state_up")); err != nil {
				return err
			}
			r := down.Clone()
			r.HA = ha
			return w.routers.Update(tx, st.Admin, down, r, st.Given("ha"))
		}))(t)
	}
	set(true)
	// Its host is in the group, and still has to let go: it would forward whoever is active there.
	if err := w.ensure(id); !errors.Is(err, l3.ErrLeaving) {
		t.Errorf("while host1 may serve it alone: %v", err)
	}
	w.inGroup(id, "")
	w.released["host1"] = true
	w.settle(id)
	w.inGroup(id, w.groupOf(id).ID)
	p, _ := state.Ports.Get(w.Store.Read(), w.get(id).InterfaceIDs[0])
	if p.DeviceOwner != model.DeviceOwnerRouterInterfaceHA {
		t.Errorf("its interface is a %s", p.DeviceOwner)
	}

	w.released = map[string]bool{}
	set(false)
	for _, host := range []string{"host1", "host2", "host3"} {
		if err := w.ensure(id); !errors.Is(err, l3.ErrLeaving) {
			t.Errorf("while %s may serve it: %v", host, err)
		}
		w.inGroup(id, "")
		w.released[host] = true
	}
	w.settle(id)
	if r := w.get(id); r.GatewayGroup != "" || len(r.Hosts) != 1 {
		t.Errorf("the router is %+v", r)
	}
	w.on(id, w.get(id).Hosts[0])
}

// respread is a world with a group on three hosts, which is to be on others of six.
func respread(t *testing.T, after time.Duration) (w *world, id string) {
	w = newWorld(t, after)
	for i := range 3 {
		w.host(fmt.Sprintf("host%d", i+1), true)
	}
	var router string
	for {
		router = w.router(w.highlyAvailable(), true)
		w.settle(router)
		r := w.get(router)
		target := gatewaygroup.Form([]string{"host1", "host2", "host3", "host4", "host5", "host6"}, gatewaygroup.Options{})
		number := gatewaygroup.Of(router, gatewaygroup.Options{})
		stale := 0
		for _, h := range []string{"host1", "host2", "host3"} {
			if !slices.Contains(target[number-1].Hosts, h) {
				stale++
			}
		}
		if stale == 2 {
			return w, r.GatewayGroup
		}
		w.subnet = st.Must(w.CreateSubnet(st.Member, st.Body{
			"network_id": st.Must(w.CreateNetwork(st.Member, st.Body{}))(t).ID, "cidr": "10.0.0.0/24",
		}))(t)
	}
}

func TestAGroupChangesOneHostAtATime(t *testing.T) {
	w, id := respread(t, 0)
	all := []string{"host1", "host2", "host3", "host4", "host5", "host6"}
	w.claim(id, w.group(id).Hosts[0])
	for _, h := range all[3:] {
		w.host(h, true)
	}
	target := gatewaygroup.Form(all, gatewaygroup.Options{})[gatewaygroup.Of(func() string {
		for r := range state.RoutersByGatewayGroup.List(w.Store.Read(), id) {
			return r.ID
		}
		return ""
	}(), gatewaygroup.Options{})-1].Hosts
	active := w.group(id).Active()
	for moves := 0; ; moves++ {
		if moves > 3 {
			t.Fatal("the group does not come to rest")
		}
		before := w.group(id)
		if !w.step(id) || !slices.Equal(w.group(id).Hosts, before.Hosts) {
			t.Fatalf("a host is taken from the group before its hosts are up to date: %+v", w.group(id))
		}
		// Everybody is up to date: one leaves, and has its place until it has said so.
		w.step(id, all...)
		g := w.group(id)
		if len(g.Hosts) != 2 || len(g.Leaving) != 1 {
			t.Fatalf("the group is %+v", g)
		}
		left := g.Leaving[0]
		if left == active && moves == 0 {
			t.Error("the active host leaves first")
		}
		others := slices.DeleteFunc(slices.Clone(all), func(h string) bool { return h == left })
		if w.step(id, others...); len(w.group(id).Hosts) != 2 || len(w.group(id).Leaving) != 1 {
			t.Fatalf("%s has not let go, and the group is %+v", left, w.group(id))
		}
		w.step(id, all...)
		if g := w.group(id); len(g.Hosts) != 3 || len(g.Leaving) != 0 {
			t.Fatalf("%s has let go, and the group is %+v", left, g)
		}
		if slices.Equal(w.group(id).Hosts, target) {
			break
		}
	}
	if w.step(id, all...) {
		t.Error("there is more to do")
	}
}

func TestNobodyLeavesAGroupForAHostThatIsDead(t *testing.T) {
	w, id := respread(t, 0)
	before := w.group(id).Hosts
	all := []string{"host1", "host2", "host3", "host4", "host5", "host6"}
	for _, h := range all[3:] {
		w.host(h, true)
		w.Liveness.Down(h, time.Now())
	}
	for range 6 {
		w.step(id, all...)
	}
	if g := w.group(id); !sameSet(g.Hosts, slices.Sorted(slices.Values(before))...) || len(g.Leaving) > 0 {
		t.Errorf("the group is %+v, and was %v", g, before)
	}
	for _, h := range all[3:] {
		w.Liveness.Up(h)
	}
	for range 6 {
		w.step(id, all...)
	}
	if g := w.group(id); sameSet(g.Hosts, slices.Sorted(slices.Values(before))...) {
		t.Errorf("the group is still %v", g.Hosts)
	}
}

func TestADeadHostKeepsItsPlaceInTheGroup(t *testing.T) {
	for name, c := range map[string]struct {
		after, ago time.Duration
		do         func(w *world, host string)
		leaves     bool
	}{
		"it is dead":      {},
		"for a while":     {after: moveAfter, ago: moveAfter / 2},
		"for long enough": {after: moveAfter, ago: 2 * moveAfter, leaves: true},
		"its agent is deleted": {leaves: true, do: func(w *world, host string) {
			a := w.agent(host)
			st.Must(0, w.Update(func(tx *state.Tx) error { return w.Agents.Delete(tx, st.Admin, a) }))(w.t)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.after)
			for i := range 4 {
				w.host(fmt.Sprintf("host%d", i+1), true)
			}
			id := w.router(w.highlyAvailable(), true)
			w.settle(id)
			g := w.groupOf(id)
			dead := g.Hosts[0]
			w.Liveness.Down(dead, time.Now().Add(-c.ago))
			if c.do != nil {
				c.do(w, dead)
			}
			for range 4 {
				w.step(g.ID, slices.DeleteFunc(slices.Clone(g.Hosts), func(h string) bool { return h == dead })...)
			}
			now := w.group(g.ID)
			if slices.Contains(now.Hosts, dead) == c.leaves || len(now.Hosts) != 3 || len(now.Leaving) != 0 {
				t.Errorf("the group is %+v, and was %v", now, g.Hosts)
			}
		})
	}
}

func TestAGroupSaysWhatItLacks(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	id := w.router(w.highlyAvailable(), true)
	w.settle(id)
	g := w.groupOf(id).ID
	w.step(g)
	expect := func(want string) {
		t.Helper()
		w.step(g, "host1", "host2", "host3")
		if reason := w.group(g).Reason; want == "" && reason != "" || !strings.Contains(reason, want) {
			t.Errorf("the reason is %q, want %q", reason, want)
		}
	}
	expect("It is served by host host1 alone, without a standby.")
	w.host("host2", true)
	expect("")
	w.Liveness.Down("host1", time.Now())
	expect("of the hosts of its gateway group only host2 is connected, and not host1.")
	w.host("host3", true)
	expect("")
	w.Liveness.Up("host1")
	st.Must(0, w.Update(func(tx *state.Tx) error {
		reportOf(tx, "host3", "gateway-group/"+g, "keepalived is not installed.")
		reportOf(tx, "host9", "gateway-group/"+g, "I am not in it.")
		return nil
	}))(t)
	expect("Host host3 cannot take part in its gateway group: Keepalived is not installed.")
	st.Must(0, w.Update(func(tx *state.Tx) error { reportOf(tx, "host3", "gateway-group/"+g, ""); return nil }))(t)
	expect("")
}

func TestAHighlyAvailableRouterSaysWhyNoHostServesIt(t *testing.T) {
	w := newWorld(t, 0)
	id := w.router(w.highlyAvailable(), true)
	if err := w.ensure(id); !errors.Is(err, l3.ErrNoHost) || !strings.Contains(err.Error(), "no L3 agent") {
		t.Errorf("without hosts: %v", err)
	}
	w.host("host1", false)
	if err := w.ensure(id); !errors.Is(err, l3.ErrNoHost) || !strings.Contains(err.Error(), "no mapping for physical network") {
		t.Errorf("without a host outside: %v", err)
	}
	w.Hello(t, "host2", agent.Hello{
		Version: "1", Roles: []model.Role{model.RoleL2, model.RoleL3}, BridgeMappings: map[string]string{"physnet1": "eth1"},
	})
	outside := w.router(w.highlyAvailable(), false)
	if err := w.ensure(outside); !errors.Is(err, l3.ErrNoHost) || !strings.Contains(err.Error(), "host2 has no tunnel address") {
		t.Errorf("without a tunnel address: %v", err)
	}
	w.inGroup(id, "")
	w.host("host2", true)
	w.settle(id)
	w.inGroup(id, w.groupOf(id).ID)
	if g := w.groupOf(id); !sameSet(g.Hosts, "host2") {
		t.Errorf("the group is on %v", g.Hosts)
	}
}

func TestTurningAnAgentOffEmptiesItsGroups(t *testing.T) {
	w := newWorld(t, 0)
	for i := range 4 {
		w.host(fmt.Sprintf("host%d", i+1), true)
	}
	id := w.router(w.highlyAvailable(), true)
	w.settle(id)
	g := w.groupOf(id)
	off := g.Hosts[0]
	st.Must(0, w.Update(func(tx *state.Tx) error {
		a, _ := state.Agents.Get(tx, agent.ID(off, model.RoleL3))
		a = a.Clone()
		a.AdminStateUp = false
		state.Agents.Put(tx, a)
		return nil
	}))(t)
	for range 4 {
		w.step(g.ID, "host1", "host2", "host3", "host4")
	}
	if now := w.group(g.ID); slices.Contains(now.Hosts, off) || len(now.Hosts) != 3 {
		t.Errorf("the group is %+v", now)
	}
}
