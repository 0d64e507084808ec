package agent_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func agents(w *st.World) map[model.Role]*model.Agent {
	m := map[model.Role]*model.Agent{}
	for a := range state.Agents.All(w.Store.Read()) {
		m[a.Role] = a
	}
	return m
}

func TestAHostHasAnAgentForEachOfItsRoles(t *testing.T) {
	w := st.New(t, st.Options{})
	hello := agent.Hello{
		Version: "1", Roles: []model.Role{model.RoleL2, model.RoleDHCP, "dance"},
		TunnelIP: netip.MustParseAddr("192.0.2.1"), TunnelTypes: []string{"vxlan"},
		BridgeMappings: map[string]string{"physnet1": "eth1"}, StartedAt: time.Unix(1, 5),
	}
	w.Hello(t, "compute1", hello)
	got := agents(w)
	l2 := got[model.RoleL2]
	if len(got) != 2 || l2.ID != agent.ID("compute1", model.RoleL2) || l2.TunnelIP != hello.TunnelIP || !l2.AdminStateUp ||
		l2.BridgeMappings["physnet1"] != "eth1" || got[model.RoleDHCP].TunnelIP.IsValid() {
		t.Errorf("%+v", got)
	}
	before := w.Store.Read()
	w.Hello(t, "compute1", hello)
	if w.Store.Read() != before {
		t.Error("the same again was written again")
	}
	st.Must(0, w.Update(func(tx *state.Tx) error {
		off := l2.Clone()
		off.AdminStateUp = false
		return w.Agents.Update(tx, st.Admin, l2, off, nil)
	}))(t)
	hello.Roles, hello.Version = []model.Role{model.RoleL2}, "2"
	w.Hello(t, "compute1", hello)
	got = agents(w)
	if len(got) != 1 || got[model.RoleL2].Version != "2" || got[model.RoleL2].AdminStateUp {
		t.Errorf("%+v", got)
	}
}

func TestOnlyAgentsOfHostsThatAreGoneCanBeDeleted(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1")
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24"}))(t)
	st.Must(0, w.Update(func(tx *state.Tx) error { return w.DHCP.Ensure(tx, n.ID) }))(t)
	remove := func() error {
		return w.Update(func(tx *state.Tx) error { return w.Agents.Delete(tx, st.Admin, agents(w)[model.RoleDHCP]) })
	}
	st.WantFault(t, remove(), fault.Conflict, "AgentInUse")
	w.Liveness.Down("network1", time.Now())
	st.Must(0, remove())(t)
	r := w.Store.Read()
	if len(agents(w)) != 1 || state.DHCPBindings.Len(r) != 0 || state.Ports.Len(r) != 0 {
		t.Errorf("left are %d agents, %d bindings, %d ports", len(agents(w)), state.DHCPBindings.Len(r), state.Ports.Len(r))
	}
}

func TestAgentsCannotBeMade(t *testing.T) {
	w := st.New(t, st.Options{})
	err := w.Update(func(tx *state.Tx) error { return w.Agents.Create(tx, st.Admin, &model.Agent{}, nil) })
	st.WantFault(t, err, fault.Invalid, "BadRequest")
}
