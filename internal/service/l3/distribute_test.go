package l3_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	"github.com/neutrino-net/neutrino/internal/service/port"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// compute lets a host connect that routes for its own workloads only; outside: it has an interface on physnet1.
func (w *world) compute(name string, outside bool, roles ...model.Role) {
	w.t.Helper()
	hello := agent.Hello{
		Version: "1", Roles: append(roles, model.RoleL2), StartedAt: time.Unix(1, 0),
		TunnelTypes: []string{"vxlan"}, TunnelIP: netip.AddrFrom4([4]byte{198, 51, 100, name[len(name)-1]}),
	}
	if outside {
		hello.BridgeMappings = map[string]string{"physnet1": "eth1"}
	}
	w.Hello(w.t, name, hello)
}

// workload makes a port of the inside network on the host; empty: on none.
func (w *world) workload(host string) *model.Port {
	w.t.Helper()
	body := st.Body{"network_id": w.inside.ID}
	if host != "" {
		body["binding:host_id"] = host
	}
	return st.Must(w.CreatePort(st.Admin, body))(w.t)
}

func (w *world) floating(p *model.Port) string {
	w.t.Helper()
	f := &model.FloatingIP{Meta: model.Meta{ID: uuid.NewString(), ProjectID: p.ProjectID}, NetworkID: w.public.ID, PortID: p.ID}
	st.Must(0, w.Update(func(tx *state.Tx) error { return w.fips.Create(tx, st.Admin, f, nil) }))(w.t)
	return f.ID
}

// parts are the hosts that have the interfaces of the router.
func (w *world) parts(id string) (hosts []string) {
	for b := range state.DistributedBindingsByRouter.List(w.Store.Read(), id) {
		if !slices.Contains(hosts, b.Host) {
			hosts = append(hosts, b.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

func (w *world) expectParts(id string, want ...string) {
	w.t.Helper()
	if got := w.parts(id); !slices.Equal(got, want) {
		w.t.Errorf("the parts are on %v, want %v", got, want)
	}
}

func TestADistributedRouterIsWhereItsWorkloadsAre(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	w.compute("compute1", true, model.RoleDVR)
	w.compute("compute2", false, model.RoleDVR)
	r := w.outward()
	r.Distributed = true
	id := w.router(r, true)
	w.settle(id)
	w.expectParts(id)

	a := w.workload("compute1")
	w.workload("compute2")
	w.settle(id)
	w.expectParts(id, "compute1", "compute2")
	if got := w.get(id); !slices.Equal(got.Hosts, []string{"host1"}) || got.PlacementReason != "" {
		t.Errorf("the central part is on %v: %s", got.Hosts, got.PlacementReason)
	}
	snap := w.Store.Read()
	for _, leg := range w.get(id).CentralIDs() {
		if p, _ := state.Ports.Get(snap, leg); p.Binding.Host != "host1" || !p.Binding.Bound() {
			t.Errorf("%s is on %q as %s", p.DeviceOwner, p.Binding.Host, p.Binding.VIFType)
		}
	}
	face, _ := state.Ports.Get(snap, w.get(id).InterfaceIDs[0])
	if face.Binding.VIFType != model.VIFDistributed || face.Binding.Host != "" || face.Status != model.PortDown {
		t.Errorf("the interface is on %q as %s, %s", face.Binding.Host, face.Binding.VIFType, face.Status)
	}
	beside, ok := state.Ports.Get(snap, w.get(id).SNATPort(face.ID))
	if !ok || beside.ProjectID != "" || len(beside.FixedIPs) != 1 || beside.FixedIPs[0].IP == face.FixedIPs[0].IP {
		t.Errorf("beside the interface is %+v", beside)
	}

	report := func(host string, s port.State, reason string) {
		st.Must(0, w.Update(func(tx *state.Tx) error {
			w.Ports.Report(tx, host, []port.Status{{Key: "port/" + face.ID, State: s, Reason: reason}})
			return nil
		}))(t)
	}
	report("host1", port.Done, "") // which has no part of it
	report("compute1", port.Done, "")
	report("compute2", port.Failed, "no room")
	if p, _ := state.Ports.Get(w.Store.Read(), face.ID); p.Status != model.PortActive || p.StatusReason != "host compute2: no room" {
		t.Errorf("the interface is %s: %q", p.Status, p.StatusReason)
	}

	// The last workload of a host goes, and so does the part there.
	st.Must(0, w.Update(func(tx *state.Tx) error { return w.Ports.Delete(tx, st.Admin, a) }))(t)
	w.settle(id)
	w.expectParts(id, "compute2")

	// Without an interface nothing is left of it.
	st.Must(0, w.Update(func(tx *state.Tx) error {
		o, _ := state.Routers.Get(tx, id)
		_, err := w.routers.RemoveInterface(tx, st.Member, o, st.Body{"subnet_id": w.subnet.ID})
		return err
	}))(t)
	w.expectParts(id)
	if _, still := state.Ports.Get(w.Store.Read(), beside.ID); still || len(w.get(id).SNATPorts) != 0 {
		t.Error("the leg of the central part is still there")
	}
}

func TestAHostThatCannotRouteIsNamed(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	w.compute("compute1", false)
	id := w.router(model.Router{Distributed: true}, true)
	w.workload("compute1")
	if err := w.ensure(id); err == nil || !strings.Contains(w.get(id).PlacementReason, "compute1 has workloads behind it") {
		t.Errorf("%v: %q", err, w.get(id).PlacementReason)
	}
	w.compute("compute1", false, model.RoleDVR)
	w.settle(id)
	w.expectParts(id, "compute1")
	if reason := w.get(id).PlacementReason; reason != "" {
		t.Error(reason)
	}
}

func TestAFloatingIPIsTranslatedWhereItsPortIs(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	w.compute("compute1", true, model.RoleDVR)
	w.compute("compute2", false, model.RoleDVR)
	r := w.outward()
	r.Distributed = true
	id := w.router(r, true)
	here, there, nowhere := w.workload("compute1"), w.workload("compute2"), w.workload("")
	ids := []string{w.floating(here), w.floating(there), w.floating(nowhere)}
	w.settle(id)
	got := w.get(id).LocalGateways
	if len(got) != 1 || got[0].Host != "compute1" {
		t.Fatalf("it has ways out on %+v", got)
	}
	out, _ := state.Ports.Get(w.Store.Read(), got[0].PortID)
	if out.DeviceOwner != "network:floatingip_agent_gateway" || len(out.FixedIPs) != 0 || out.Binding.Host != "compute1" {
		t.Errorf("the way out is %+v", out)
	}
	report := func(host string) {
		for _, f := range ids {
			st.Must(0, w.Update(func(tx *state.Tx) error {
				l3.Report(tx, host, []port.Status{{Key: "floating-ip/" + f, State: port.Done}})
				return nil
			}))(t)
		}
	}
	active := func() (all []bool) {
		for _, id := range ids {
			f, _ := state.FloatingIPs.Get(w.Store.Read(), id)
			all = append(all, f.Status == model.FloatingIPActive)
		}
		return all
	}
	report("compute1")
	if got := active(); !slices.Equal(got, []bool{true, false, false}) {
		t.Errorf("compute1 translates %v", got)
	}
	report("compute2")
	report("host1")
	if got := active(); !slices.Equal(got, []bool{true, true, true}) {
		t.Errorf("all together translate %v", got)
	}
	// A floating IP that is taken away takes the way out with it.
	st.Must(0, w.Update(func(tx *state.Tx) error {
		f, _ := state.FloatingIPs.Get(tx, ids[0])
		return w.fips.Delete(tx, st.Admin, f)
	}))(t)
	w.settle(id)
	if _, still := state.Ports.Get(w.Store.Read(), out.ID); still || len(w.get(id).LocalGateways) != 0 {
		t.Error("the way out is still there")
	}
}

func TestARouterBecomesDistributedAndBack(t *testing.T) {
	w := newWorld(t, 0)
	w.host("host1", true)
	w.compute("compute1", true, model.RoleDVR)
	id := w.router(w.outward(), true)
	w.workload("compute1")
	w.settle(id)
	w.on(id, "host1")
	change := func(distributed bool) {
		t.Helper()
		st.Must(0, w.Update(func(tx *state.Tx) error {
			old, _ := state.Routers.Get(tx, id)
			down := old.Clone()
			down.AdminStateUp = false
			state.Routers.Put(tx, down)
			now := down.Clone()
			now.Distributed = distributed
			return w.routers.Update(tx, st.Admin, down, now, nil)
		}))(t)
		w.settle(id)
	}
	change(true)
	w.expectParts(id, "compute1")
	if r := w.get(id); len(r.SNATPorts) != 1 {
		t.Errorf("the central part has %v", r.SNATPorts)
	}
	change(false)
	w.expectParts(id)
	w.on(id, "host1")
	if r := w.get(id); len(r.SNATPorts)+len(r.LocalGateways) != 0 {
		t.Errorf("%v and %v are left", r.SNATPorts, r.LocalGateways)
	}
}
