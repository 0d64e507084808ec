package network_test

import (
	"slices"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/network"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func TestNetworkGetsSegmentAndMTU(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{"name": "a"}))(t)
	if len(n.Segments) != 1 || n.Segments[0].NetworkType != model.TypeVXLAN || n.Segments[0].SegmentationID < 1 ||
		n.Segments[0].ID == "" || n.MTU != 1450 || !n.AdminStateUp || !n.PortSecurityEnabled {
		t.Errorf("%+v", n)
	}
	flat := st.Must(w.CreateNetwork(st.Admin, st.Body{
		"provider:network_type": "flat", "provider:physical_network": "physnet1", "mtu": 1400,
	}))(t)
	if flat.MTU != 1400 || flat.Segments[0].PhysicalNetwork != "physnet1" {
		t.Errorf("%+v", flat)
	}
	_, err := w.CreateNetwork(st.Admin, st.Body{"provider:network_type": "flat", "provider:physical_network": "physnet1"})
	st.WantFault(t, err, fault.Conflict, "FlatNetworkInUse")
}

func TestBadNetworksAreRefused(t *testing.T) {
	w := st.New(t, st.Options{Types: typedriver.Options{VLANRanges: map[string][]typedriver.Range{"physnet1": nil}}})
	for name, c := range map[string]struct {
		body st.Body
		want string
	}{
		"an MTU too big":                {st.Body{"mtu": 1451}, "InvalidInput"},
		"an MTU too small":              {st.Body{"mtu": 67}, "InvalidInput"},
		"a physical network alone":      {st.Body{"provider:physical_network": "physnet1"}, "InvalidInput"},
		"an id alone":                   {st.Body{"provider:segmentation_id": 5}, "InvalidInput"},
		"an unknown physical network":   {st.Body{"provider:network_type": "vlan", "provider:physical_network": "x", "provider:segmentation_id": 5}, "InvalidInput"},
		"a local with an id":            {st.Body{"provider:network_type": "local", "provider:segmentation_id": 5}, "InvalidInput"},
		"an MTU beyond the vlan's":      {st.Body{"provider:network_type": "vlan", "provider:physical_network": "physnet1", "provider:segmentation_id": 5, "mtu": 1501}, "InvalidInput"},
		"a vxlan on a physical network": {st.Body{"provider:network_type": "vxlan", "provider:physical_network": "physnet1"}, "InvalidInput"},
	} {
		_, err := w.CreateNetwork(st.Admin, c.body)
		t.Run(name, func(t *testing.T) { st.WantFault(t, err, fault.Invalid, c.want) })
	}
	if n := state.Networks.Len(w.Store.Read()); n != 0 {
		t.Errorf("%d networks are there", n)
	}
}

func TestNetworkUpdates(t *testing.T) {
	other := &auth.Caller{ProjectID: "p2"}
	for _, c := range []struct {
		name  string
		setup func(t *testing.T, w *st.World, id string)
		body  st.Body
		kind  fault.Kind
		want  string
		check func(n *model.Network) bool
	}{
		{name: "name", body: st.Body{"name": "b"}, check: func(n *model.Network) bool { return n.Name == "b" && n.RevisionNumber == 2 }},
		{name: "smaller MTU", body: st.Body{"mtu": 1300}, check: func(n *model.Network) bool { return n.MTU == 1300 }},
		{name: "MTU 0 is the largest", body: st.Body{"mtu": 0}, check: func(n *model.Network) bool { return n.MTU == 1450 }},
		{name: "MTU too big", body: st.Body{"mtu": 1451}, want: "InvalidInput"},
		{name: "MTU too small for IPv6", body: st.Body{"mtu": 1279}, kind: fault.Conflict, want: "NetworkMTUSubnetConflict",
			setup: func(t *testing.T, w *st.World, id string) {
				st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": id, "cidr": "2001:db8::/64"}))(t)
			}},
		{name: "another type", body: st.Body{"provider:network_type": "local"}, want: "InvalidInput"},
		{name: "the same type", body: st.Body{"provider:network_type": "vxlan"}, check: func(*model.Network) bool { return true }},
		{name: "another id", body: st.Body{"provider:segmentation_id": 77}, want: "InvalidInput"},
		{name: "not shared any more", body: st.Body{"shared": false}, check: func(n *model.Network) bool { return !n.Shared }},
		{name: "not shared any more, with its owner's port", body: st.Body{"shared": false},
			check: func(n *model.Network) bool { return !n.Shared },
			setup: func(t *testing.T, w *st.World, id string) {
				st.Must(w.CreatePort(st.Member, st.Body{"network_id": id}))(t)
			}},
		{name: "not shared any more, with another's port", body: st.Body{"shared": false},
			kind: fault.Conflict, want: "InvalidSharedSetting",
			setup: func(t *testing.T, w *st.World, id string) {
				st.Must(w.CreatePort(other, st.Body{"network_id": id}))(t)
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := st.New(t, st.Options{})
			n := st.Must(w.CreateNetwork(st.Member, st.Body{"shared": true}))(t)
			if c.setup != nil {
				c.setup(t, w, n.ID)
			}
			before := w.Network(t, n.ID)
			_, err := w.UpdateNetwork(st.Member, n.ID, c.body)
			after := w.Network(t, n.ID)
			if c.want != "" {
				st.WantFault(t, err, c.kind, c.want)
				if before != after {
					t.Error("the network was changed")
				}
				return
			}
			if err != nil || !c.check(after) {
				t.Errorf("%v: %+v", err, after)
			}
		})
	}
}

func TestNetworkWithPortsStaysAndOneWithoutGoesWithAll(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1")
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24"}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "2001:db8::/64"}))(t)
	p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t)
	if err := w.Update(func(tx *state.Tx) error { return w.DHCP.Ensure(tx, n.ID) }); err != nil {
		t.Fatal(err)
	}
	st.WantFault(t, w.DeleteNetwork(st.Member, n.ID), fault.Conflict, "NetworkInUse")
	if got := len(w.Network(t, n.ID).SubnetIDs); got != 2 {
		t.Errorf("%d subnets are left", got)
	}
	if err := w.DeletePort(st.Member, p.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteNetwork(st.Member, n.ID); err != nil {
		t.Fatal(err)
	}
	r := w.Store.Read()
	if left := []int{
		state.Networks.Len(r), state.Subnets.Len(r), state.Ports.Len(r), state.DHCPBindings.Len(r),
	}; !slices.Equal(left, []int{0, 0, 0, 0}) {
		t.Errorf("left are %v", left)
	}
}

func TestInvisibleNetworksAreNotFound(t *testing.T) {
	w := st.New(t, st.Options{})
	r := w.Store.Read()
	n := &model.Network{Meta: model.Meta{ProjectID: "p1"}}
	for _, c := range []struct {
		name    string
		caller  *auth.Caller
		network func() *model.Network
		want    bool
	}{
		{"its owner", st.Member, n.Clone, true},
		{"an administrator", st.Admin, n.Clone, true},
		{"a service", &auth.Caller{ProjectID: "x", Roles: []string{"service"}}, n.Clone, true},
		{"a stranger", &auth.Caller{ProjectID: "p2"}, n.Clone, false},
		{"a stranger, shared", &auth.Caller{ProjectID: "p2"}, func() *model.Network { c := n.Clone(); c.Shared = true; return c }, true},
	} {
		if got := network.Visible(r, c.caller, c.network()); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
