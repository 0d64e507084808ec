package dhcp_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/service/port"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// ensure calls Ensure, and again to see that it then has nothing to do.
func ensure(t *testing.T, w *st.World, networkID string) (problem error) {
	t.Helper()
	call := func() {
		st.Must(0, w.Update(func(tx *state.Tx) error { problem = w.DHCP.Ensure(tx, networkID); return nil }))(t)
	}
	call()
	before := w.Store.Read()
	call()
	if w.Store.Read() != before {
		t.Error("the second time, something was changed again")
	}
	return problem
}

// servers are the serving hosts of a network, with their ports.
func servers(w *st.World, networkID string) map[string]*model.Port {
	r := w.Store.Read()
	m := map[string]*model.Port{}
	for b := range state.DHCPBindingsByNetwork.List(r, networkID) {
		m[b.Host], _ = state.Ports.Get(r, b.PortID)
	}
	return m
}

func dhcpPorts(w *st.World) (n int) {
	for p := range state.Ports.All(w.Store.Read()) {
		if p.DeviceOwner == model.DeviceOwnerDHCP {
			n++
		}
	}
	return n
}

func TestServerFollowsTheSubnets(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1.example.org")
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(0, ensure(t, w, n.ID))(t)
	if len(servers(w, n.ID)) != 0 {
		t.Fatal("a network without subnets is served")
	}
	subnet := func(cidr string, more ...any) *model.Subnet {
		b := st.Body{"network_id": n.ID, "cidr": cidr}
		for i := 0; i < len(more); i += 2 {
			b[more[i].(string)] = more[i+1]
		}
		return st.Must(w.CreateSubnet(st.Member, b))(t)
	}
	a := subnet("10.0.0.0/24")
	subnet("10.0.1.0/24", "enable_dhcp", false)
	st.Must(0, ensure(t, w, n.ID))(t)
	p := servers(w, n.ID)["network1.example.org"]
	if p == nil || len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != a.ID || p.ProjectID != "p1" ||
		p.DeviceOwner != "network:dhcp" || p.DeviceID != dhcp.DeviceID(n.ID, "network1") ||
		p.Binding.VIFType != model.VIFBridge || p.PortSecurityEnabled {
		t.Fatalf("the server's port is %+v", p)
	}
	first := p.FixedIPs[0]
	b := subnet("10.0.2.0/24")
	auto := subnet("2001:db8::/64", "ipv6_address_mode", "slaac")
	st.Must(0, ensure(t, w, n.ID))(t)
	p = servers(w, n.ID)["network1.example.org"]
	if len(p.FixedIPs) != 3 || !slices.Contains(p.FixedIPs, first) {
		t.Fatalf("after more subnets: %+v", p.FixedIPs)
	}
	st.Must(w.UpdateSubnet(st.Member, a.ID, st.Body{"enable_dhcp": false}))(t)
	st.Must(0, ensure(t, w, n.ID))(t)
	p = servers(w, n.ID)["network1.example.org"]
	if len(p.FixedIPs) != 2 || slices.Contains(p.FixedIPs, first) {
		t.Fatalf("after one without DHCP: %+v", p.FixedIPs)
	}
	st.Must(0, w.DeleteSubnet(st.Member, b.ID))(t)
	st.Must(0, w.DeleteSubnet(st.Member, auto.ID))(t)
	st.Must(0, ensure(t, w, n.ID))(t)
	if len(servers(w, n.ID)) != 0 || dhcpPorts(w) != 0 {
		t.Error("the last subnet is gone, and the network is served")
	}
}

func TestServersAreSpreadOverTheHosts(t *testing.T) {
	w := st.New(t, st.Options{})
	for _, host := range []string{"a", "b", "c"} {
		w.Connect(t, host)
	}
	w.Connect(t, "compute1", model.RoleL2)
	w.Connect(t, "down")
	w.Liveness.Down("down", time.Now())
	w.Connect(t, "off")
	st.Must(0, w.Update(func(tx *state.Tx) error {
		for a := range state.AgentsByHost.List(tx, "off") {
			a = a.Clone()
			a.AdminStateUp = false
			state.Agents.Put(tx, a)
		}
		return nil
	}))(t)
	var ids []string
	for i := range 12 {
		n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
		st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": fmt.Sprintf("10.0.%d.0/24", i)}))(t)
		ids = append(ids, n.ID)
	}
	st.Must(0, w.Update(func(tx *state.Tx) error {
		pass := w.DHCP.Pass(tx)
		var problems []error
		for _, id := range ids {
			problems = append(problems, pass.Ensure(id))
		}
		return errors.Join(problems...)
	}))(t)
	for _, host := range []string{"a", "b", "c"} {
		if got := state.DHCPBindingsByHost.Count(w.Store.Read(), host); got != 4 {
			t.Errorf("host %s serves %d", host, got)
		}
	}
}

func TestServersAreInTheZonesThatTheNetworkAsksFor(t *testing.T) {
	w := st.New(t, st.Options{})
	for host, zone := range map[string]string{"a": "", "b": "cellar", "c": "attic"} {
		w.Hello(t, host, agent.Hello{Roles: []model.Role{model.RoleDHCP}, AvailabilityZone: zone})
	}
	for i, c := range []struct {
		zones []any
		hosts []string
	}{{[]any{"cellar"}, []string{"b"}}, {[]any{"nova"}, []string{"a"}}, {[]any{"attic", "cellar"}, []string{"b", "c"}}} {
		n := st.Must(w.CreateNetwork(st.Member, st.Body{"availability_zone_hints": c.zones}))(t)
		st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": fmt.Sprintf("10.0.%d.0/24", i)}))(t)
		st.Must(0, ensure(t, w, n.ID))(t)
		for host := range servers(w, n.ID) {
			if !slices.Contains(c.hosts, host) {
				t.Errorf("zones %v: served by %s", c.zones, host)
			}
		}
		if len(servers(w, n.ID)) != 1 {
			t.Errorf("zones %v: %d servers", c.zones, len(servers(w, n.ID)))
		}
	}
	n := st.Must(w.CreateNetwork(st.Member, st.Body{"availability_zone_hints": []any{"attic"}}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.9.0/24"}))(t)
	w.Liveness.Down("c", time.Now())
	if err := ensure(t, w, n.ID); !errors.Is(err, dhcp.ErrNoHost) {
		t.Errorf("the only host of the zone is away: %v", err)
	}
}

func TestWithoutAHostTheNetworkWaits(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24"}))(t)
	if err := ensure(t, w, n.ID); !errors.Is(err, dhcp.ErrNoHost) || w.DHCP.Available(w.Store.Read()) {
		t.Errorf("%v", err)
	}
	w.Connect(t, "network1")
	if !w.DHCP.Available(w.Store.Read()) {
		t.Error("the host is not available")
	}
	st.Must(0, ensure(t, w, n.ID))(t)
	w.Liveness.Down("network1", time.Now())
	st.Must(0, ensure(t, w, n.ID))(t)
	if len(servers(w, n.ID)) != 1 {
		t.Error("the network has lost its server, which may only be restarting")
	}
}

func TestAFullSubnetHoldsUpNoOther(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1")
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	full := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/30"}))(t)
	user := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t)
	ok := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.1.0/24"}))(t)
	err := ensure(t, w, n.ID)
	if err == nil || !strings.Contains(err.Error(), full.ID) {
		t.Errorf("%v", err)
	}
	if p := servers(w, n.ID)["network1"]; p == nil || len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != ok.ID {
		t.Errorf("%+v", p)
	}
	st.Must(0, w.DeletePort(st.Member, user.ID))(t)
	st.Must(0, ensure(t, w, n.ID))(t)
	if p := servers(w, n.ID)["network1"]; len(p.FixedIPs) != 2 {
		t.Errorf("%+v", p)
	}
}

func TestWhatSomebodyHasBrokenIsMended(t *testing.T) {
	for name, damage := range map[string]func(w *st.World, p *model.Port) error{
		"the port deleted": func(w *st.World, p *model.Port) error { return w.DeletePort(st.Admin, p.ID) },
		"the port moved": func(w *st.World, p *model.Port) error {
			_, err := w.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": "elsewhere"})
			return err
		},
		"the address taken": func(w *st.World, p *model.Port) error {
			_, err := w.UpdatePort(st.Admin, p.ID, st.Body{"fixed_ips": []any{}})
			return err
		},
		"the agent gone for another": func(w *st.World, p *model.Port) error {
			return w.Update(func(tx *state.Tx) error {
				for a := range state.AgentsByHost.List(tx, "network1") {
					defer state.Agents.Delete(tx, a.ID)
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := st.New(t, st.Options{})
			w.Connect(t, "network1")
			n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
			st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24"}))(t)
			st.Must(0, ensure(t, w, n.ID))(t)
			w.Connect(t, "network2")
			st.Must(0, damage(w, servers(w, n.ID)["network1"]))(t)
			st.Must(0, ensure(t, w, n.ID))(t)
			got := servers(w, n.ID)
			if len(got) != 1 || dhcpPorts(w) != 1 {
				t.Fatalf("%d servers, %d ports", len(got), dhcpPorts(w))
			}
			for host, p := range got {
				if p == nil || len(p.FixedIPs) != 1 || p.Binding.Host != host || !p.Binding.Bound() {
					t.Errorf("host %s: %+v", host, p)
				}
			}
		})
	}
}

func TestReasonsOfAServerGoWithIt(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1")
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24"}))(t)
	st.Must(0, ensure(t, w, n.ID))(t)
	p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t)
	st.Must(0, w.Update(func(tx *state.Tx) error {
		w.Ports.Report(tx, "network1", []port.Status{
			{Key: "dhcp-host/" + p.ID, State: port.Failed, Reason: "a"},
			{Key: "dhcp-network/" + n.ID, State: port.Failed, Reason: "b"},
		})
		return nil
	}))(t)
	if got := w.Port(t, p.ID).StatusReason + "; " + servers(w, n.ID)["network1"].StatusReason; got != "DHCP: a; DHCP: b" {
		t.Error(got)
	}
	w.Connect(t, "network1", model.RoleL2)
	if got := w.Port(t, p.ID).StatusReason; got != "" || len(servers(w, n.ID)) != 0 {
		t.Errorf("%q, %d servers", got, len(servers(w, n.ID)))
	}
}
