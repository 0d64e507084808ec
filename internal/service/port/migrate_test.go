package port_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/port"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// bindings spells the bindings of a port: host, type, and a star for the one in force.
func (s *site) bindings(t *testing.T, id string) string {
	t.Helper()
	var out []string
	for _, b := range st.Must(s.Ports.Bindings(s.Port(t, id)))(t) {
		text := b.Host + "/" + string(b.VIFType)
		if b.Active {
			text += "*"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// hello is what a host of its own tunnel address says.
func hello(vtep string) agent.Hello {
	return agent.Hello{
		Roles: []model.Role{model.RoleL2}, TunnelIP: netip.MustParseAddr(vtep), TunnelTypes: []string{"vxlan"},
	}
}

func TestLiveMigration(t *testing.T) {
	s := newSite(t, false)
	s.Connect(t, "source")
	s.Hello(t, "target", hello("192.0.2.2"))
	p := s.port(t, st.Body{"binding:host_id": "source", "device_owner": "compute:nova"})
	wired := func(host string) {
		t.Helper()
		st.Must(0, s.Update(func(tx *state.Tx) error {
			s.Ports.Report(tx, host, []port.Status{{Key: "port/" + p.ID, State: port.Done}})
			return nil
		}))(t)
	}
	wired("source")
	do := func(fn func(tx *state.Tx, p *model.Port) error) error {
		return s.Update(func(tx *state.Tx) error {
			now, _ := state.Ports.Get(tx, p.ID)
			return fn(tx, now)
		})
	}
	add := func(host string) error {
		return do(func(tx *state.Tx, p *model.Port) error {
			_, err := s.Ports.AddBinding(tx, p, model.Binding{Host: host})
			return err
		})
	}
	activate := func(host string) error {
		return do(func(tx *state.Tx, p *model.Port) error { _, err := s.Ports.ActivateBinding(tx, p, host); return err })
	}
	remove := func(host string) error {
		return do(func(tx *state.Tx, p *model.Port) error { return s.Ports.RemoveBinding(tx, p, host) })
	}
	for i, step := range []struct {
		err   error
		kind  fault.Kind
		fault string
	}{
		{err: add("nowhere"), kind: fault.Conflict, fault: "PortBindingError"},
		{err: add("source"), kind: fault.Conflict, fault: "PortBindingAlreadyExists"},
		{err: add("a b"), kind: fault.Invalid, fault: "HTTPBadRequest"},
		{err: activate("target"), kind: fault.NotFound, fault: "PortBindingNotFound"},
		{err: activate("source"), kind: fault.Conflict, fault: "PortBindingAlreadyActive"},
		{err: remove("target"), kind: fault.NotFound, fault: "PortBindingNotFound"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { st.WantFault(t, step.err, step.kind, step.fault) })
	}
	want := func(bindings string, status model.PortStatus) {
		t.Helper()
		if got := s.bindings(t, p.ID); got != bindings || s.Port(t, p.ID).Status != status {
			t.Fatalf("the bindings are %q, the port is %s; want %q, %s", got, s.Port(t, p.ID).Status, bindings, status)
		}
	}
	want("source/bridge*", model.PortActive)
	st.Must(0, add("target"))(t)
	want("source/bridge* target/bridge", model.PortActive)
	st.WantFault(t, add("target"), fault.Conflict, "PortBindingAlreadyExists")
	st.Must(0, activate("target"))(t)
	want("target/bridge* source/unbound", model.PortDown)
	wired("target")
	want("target/bridge* source/unbound", model.PortActive)
	st.Must(0, remove("source"))(t)
	want("target/bridge*", model.PortActive)
	st.Must(0, remove("target"))(t)
	want("/unbound*", model.PortDown)
}

func TestBindingsChange(t *testing.T) {
	s := newSite(t, false)
	s.Connect(t, "source")
	s.Hello(t, "target", hello("192.0.2.2"))
	s.Hello(t, "third", hello("192.0.2.3"))
	p := s.port(t, st.Body{"binding:host_id": "source", "device_owner": "compute:nova"})
	change := func(host string, b model.Binding) error {
		return s.Update(func(tx *state.Tx) error {
			now, _ := state.Ports.Get(tx, p.ID)
			_, err := s.Ports.UpdateBinding(tx, now, host, b)
			return err
		})
	}
	st.Must(0, s.Update(func(tx *state.Tx) error {
		_, err := s.Ports.AddBinding(tx, s.Port(t, p.ID), model.Binding{Host: "target"})
		return err
	}))(t)
	st.WantFault(t, change("target", model.Binding{Host: "source"}), fault.Conflict, "PortBindingAlreadyExists")
	st.WantFault(t, change("target", model.Binding{Host: "target", VNICType: "direct"}), fault.Conflict, "PortBindingError")
	st.WantFault(t, change("third", model.Binding{Host: "third"}), fault.NotFound, "PortBindingNotFound")
	st.Must(0, change("target", model.Binding{Host: "third"}))(t)
	if got := s.bindings(t, p.ID); got != "source/bridge* third/bridge" {
		t.Error(got)
	}
	// The port as a whole goes to a host where a binding waits: that binding is the one in force then.
	st.Must(s.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": "third"}))(t)
	if got := s.bindings(t, p.ID); got != "third/bridge*" {
		t.Error(got)
	}
}

func TestOnlyWorkloadsMigrate(t *testing.T) {
	s := newSite(t, false)
	s.Connect(t, "target")
	for _, owner := range []string{"", "network:dhcp", "baremetal:none", "computer"} {
		p := s.port(t, st.Body{"device_owner": owner})
		_, err := s.Ports.Bindings(p)
		st.WantFault(t, err, fault.Invalid, "BadRequest")
		err = s.Update(func(tx *state.Tx) error {
			_, err := s.Ports.AddBinding(tx, p, model.Binding{Host: "target"})
			return err
		})
		st.WantFault(t, err, fault.Invalid, "BadRequest")
	}
}
