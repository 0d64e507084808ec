package app

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/southbound"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// A takeover of all groups, with 500 routers of five ports each, writes one object a group; and what the new active hosts
// have said before is the status then.
func TestATakeoverWritesNoMoreThanTheGroups(t *testing.T) {
	const groups, routers, legs = 192, 500, 5
	w := newWhole(t)
	h := w.server.hosts
	if _, err := w.server.store.Update(t.Context(), func(tx *state.Tx) error {
		fillGroups(tx, groups, routers, legs)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	claims := func(host string, epoch uint64) southbound.Report {
		var report southbound.Report
		for i := range groups {
			report.Roles = append(report.Roles, southbound.Role{Group: uint32(i + 1), Claim: &sb.GatewayClaim{Epoch: epoch, Host: host}})
		}
		return report
	}
	statuses := func(failing string) (report southbound.Report) {
		for p := range state.Ports.All(w.server.store.Read()) {
			s := southbound.Status{Key: "port/" + p.ID, State: sb.ObjectStatus_STATE_DONE}
			if p.ID == failing {
				s.State, s.Reason = sb.ObjectStatus_STATE_ERROR, "no room"
			}
			report.Statuses = append(report.Statuses, s)
		}
		return report
	}
	report := func(host string, r southbound.Report) {
		t.Helper()
		if err := h.Reported(t.Context(), host, r); err != nil {
			t.Fatal(err)
		}
	}
	active := func() (n int) {
		for p := range state.Ports.All(w.server.store.Read()) {
			if p.Status == model.PortActive {
				n++
			}
		}
		return n
	}
	report("b", statuses("leg7-3"))
	report("a", statuses("leg9-1"))
	if n := active(); n != 0 {
		t.Errorf("nobody is active, and %d ports are", n)
	}
	report("a", claims("a", 1))
	if n := active(); n != routers*legs-1 {
		t.Errorf("a is active, and %d ports are", n)
	}

	_, feed := w.server.store.Feed()
	report("b", claims("b", 2))
	written := map[string]int{}
	for more := true; more; {
		select {
		case <-feed.Ready():
			commit, err := feed.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range commit.Changes {
				written[c.Kind]++
			}
		default:
			more = false
		}
	}
	// Besides the groups, the two ports that one of the hosts could not wire.
	if written["gateway-group"] != groups || written["port"] != 2 || len(written) != 2 {
		t.Errorf("written: %v", written)
	}
	if p, _ := state.Ports.Get(w.server.store.Read(), "leg7-3"); p.Status == model.PortActive || p.StatusReason != "no room" {
		t.Errorf("what b cannot wire is %s %q", p.Status, p.StatusReason)
	}
	if p, _ := state.Ports.Get(w.server.store.Read(), "leg9-1"); p.Status != model.PortActive {
		t.Errorf("what a could not wire, and b can, is %s %q", p.Status, p.StatusReason)
	}
}

// fillGroups makes gateway groups of the hosts a and b, with routers on a network.
func fillGroups(tx *state.Tx, groups, routers, legs int) {
	state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: "net"}, MTU: 1450, Segments: []model.Segment{{ID: "seg", NetworkType: "vxlan"}}})
	for i, host := range []string{"a", "b"} {
		state.Agents.Put(tx, &model.Agent{
			Meta: model.Meta{ID: host}, Host: host, Role: model.RoleL2, TunnelIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}),
		})
	}
	for i := range groups {
		state.GatewayGroups.Put(tx, &model.GatewayGroup{Meta: model.Meta{ID: fmt.Sprint(i + 1)}, Hosts: []string{"a", "b"}})
	}
	for i := range routers {
		r := &model.Router{Meta: model.Meta{ID: fmt.Sprint("router", i)}, AdminStateUp: true, HA: true, GatewayGroup: fmt.Sprint(i%groups + 1)}
		for j := range legs {
			p := &model.Port{Meta: model.Meta{ID: fmt.Sprint("leg", i, "-", j)}, NetworkID: "net", AdminStateUp: true,
				DeviceOwner: model.DeviceOwnerRouterInterfaceHA,
				Binding:     model.Binding{VIFType: model.VIFBridge, SegmentID: "seg", GatewayGroup: r.GatewayGroup}}
			state.Ports.Put(tx, p)
			r.InterfaceIDs = append(r.InterfaceIDs, p.ID)
		}
		state.Routers.Put(tx, r)
	}
}
