package mech_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func TestBindingSaysWhyNot(t *testing.T) {
	vtep := netip.MustParseAddr("192.0.2.1")
	able := &model.Agent{Host: "compute1", Role: model.RoleL2, TunnelIP: vtep, TunnelTypes: []string{"vxlan"},
		BridgeMappings: map[string]string{"physnet1": "eth1"}}
	vxlan := model.Segment{ID: "s1", NetworkType: "vxlan", SegmentationID: 7}
	for _, c := range []struct {
		name     string
		agent    *model.Agent
		down     bool
		segments []model.Segment
		binding  model.Binding
		vif      model.VIFType
		segment  string
		reason   string
	}{
		{name: "no host", segments: []model.Segment{vxlan}, vif: "unbound"},
		{name: "vxlan", agent: able, segments: []model.Segment{vxlan}, binding: model.Binding{Host: "compute1"},
			vif: "bridge", segment: "s1"},
		{name: "local", agent: &model.Agent{Host: "compute1", Role: model.RoleL2},
			segments: []model.Segment{{ID: "s2", NetworkType: "local"}},
			binding:  model.Binding{Host: "compute1", VNICType: "normal"}, vif: "bridge", segment: "s2"},
		{name: "the second segment", agent: able, segments: []model.Segment{{ID: "s3", NetworkType: "gre"}, vxlan},
			binding: model.Binding{Host: "compute1"}, vif: "bridge", segment: "s1"},
		{name: "no agent", segments: []model.Segment{vxlan}, binding: model.Binding{Host: "compute9"},
			vif: "binding_failed", reason: "host compute9 has no agent"},
		{name: "no agent that wires", agent: &model.Agent{Host: "compute1", Role: model.RoleDHCP},
			segments: []model.Segment{vxlan}, binding: model.Binding{Host: "compute1"},
			vif: "binding_failed", reason: "host compute1 has no agent"},
		{name: "down", agent: able, down: true, segments: []model.Segment{vxlan}, binding: model.Binding{Host: "compute1"},
			vif: "binding_failed", reason: "the agent of host compute1 is down since 2026-01-02T03:04:05Z"},
		{name: "no tunnel address", agent: &model.Agent{Host: "compute1", Role: model.RoleL2, TunnelTypes: []string{"vxlan"}},
			segments: []model.Segment{vxlan}, binding: model.Binding{Host: "compute1"}, vif: "binding_failed",
			reason: "the agent of host compute1 has no tunnel address, which a vxlan network needs"},
		{name: "no such tunnels", agent: &model.Agent{Host: "compute1", Role: model.RoleL2, TunnelIP: vtep},
			segments: []model.Segment{vxlan}, binding: model.Binding{Host: "compute1"}, vif: "binding_failed",
			reason: "the agent of host compute1 has no vxlan tunnels"},
		{name: "no mapping", agent: able, segments: []model.Segment{{NetworkType: "flat", PhysicalNetwork: "physnet2"}},
			binding: model.Binding{Host: "compute1"}, vif: "binding_failed",
			reason: "host compute1 has no mapping for physical network physnet2"},
		{name: "flat", agent: able, segments: []model.Segment{{ID: "f", NetworkType: "flat", PhysicalNetwork: "physnet1"}},
			binding: model.Binding{Host: "compute1"}, vif: "bridge", segment: "f"},
		{name: "vlan", agent: able,
			segments: []model.Segment{{NetworkType: "vlan", PhysicalNetwork: "physnet1", SegmentationID: 7}},
			binding:  model.Binding{Host: "compute1"}, vif: "binding_failed",
			reason: "vlan networks are not supported by the hosts of this version yet"},
		{name: "direct", agent: able, segments: []model.Segment{vxlan},
			binding: model.Binding{Host: "compute1", VNICType: "direct"}, vif: "binding_failed",
			reason: "vnic_type direct is not supported"},
		{name: "no segment", agent: able, binding: model.Binding{Host: "compute1"}, vif: "binding_failed",
			reason: "the network has no segment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := servicetest.New(t, servicetest.Options{})
			if c.down {
				w.Liveness.Down("compute1", time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
			}
			servicetest.Must(0, w.Update(func(tx *state.Tx) error {
				state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: "n"}, Segments: c.segments})
				if c.agent != nil {
					a := c.agent.Clone()
					a.ID = "a"
					state.Agents.Put(tx, a)
				}
				p := &model.Port{NetworkID: "n", Binding: c.binding}
				got, reason := mech.Bind(tx, p, w.Liveness)
				if got.VIFType != c.vif || got.SegmentID != c.segment || got.Host != c.binding.Host || reason != c.reason {
					t.Errorf("got %+v, %q, want %s, %q, %q", got, reason, c.vif, c.segment, c.reason)
				}
				return nil
			}))(t)
		})
	}
}
