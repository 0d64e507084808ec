package compile_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	legID     = "44444444-4444-4444-8444-444444444444"
	gatewayID = "55555555-5555-4555-8555-555555555555"
)

// exampleGroup adds to the example the gateway group 7 of gate1 and gate2, with a router between "net" and an external flat
// network, and a floating IP.
func exampleGroup(tx *state.Tx) {
	example(tx)
	state.Networks.Put(tx, &model.Network{
		Meta: model.Meta{ID: "ext"}, MTU: 1500, External: true,
		Segments: []model.Segment{{ID: "flat", NetworkType: model.TypeFlat, PhysicalNetwork: "physnet1"}},
	})
	for i, h := range []string{"gate1", "gate2"} {
		state.Agents.Put(tx, &model.Agent{
			Meta: model.Meta{ID: "agent-" + h}, Host: h, Role: model.RoleL2, TunnelIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 11)}),
		})
	}
	state.GatewayGroups.Put(tx, &model.GatewayGroup{
		Meta: model.Meta{ID: "7"}, Hosts: []string{"gate2", "gate1"},
		Claim: model.GatewayClaim{Epoch: 3, Rank: 1, Host: "gate1"},
	})
	leg := examplePort(legID, "", "10.0.0.1", model.DeviceOwnerRouterInterfaceHA)
	leg.Binding.GatewayGroup = "7"
	state.Ports.Put(tx, leg)
	gateway := examplePort(gatewayID, "", "203.0.113.5", model.DeviceOwnerRouterGateway)
	gateway.NetworkID, gateway.FixedIPs[0].SubnetID = "ext", "sub-ext"
	gateway.Binding.SegmentID, gateway.Binding.GatewayGroup = "flat", "7"
	state.Ports.Put(tx, gateway)
	state.Routers.Put(tx, &model.Router{
		Meta: model.Meta{ID: "r"}, AdminStateUp: true, HA: true, GatewayGroup: "7", InterfaceIDs: []string{legID},
		Gateway: &model.Gateway{NetworkID: "ext", PortID: gatewayID, EnableSNAT: true},
	})
	state.FloatingIPs.Put(tx, &model.FloatingIP{
		Meta: model.Meta{ID: "fip"}, RouterID: "r", Address: netip.MustParseAddr("203.0.113.9"),
		FixedIP: netip.MustParseAddr("10.0.0.3"),
	})
}

func keysOf(r state.Reader, host string) (keys []string) {
	for d := range compile.New(compile.Options{}).Documents(r, host) {
		keys = append(keys, d.Key)
	}
	slices.Sort(keys)
	return keys
}

func TestEachHostOfAGatewayGroupHasItsRouters(t *testing.T) {
	r := update(t, newStore(t), exampleGroup).Snapshot
	want := []string{
		"floating-ip/fip", "gateway-group/7", "neighbour/" + webID, "neighbour/" + dbID, "neighbour/" + dhcpID,
		"neighbour/" + legID, "port/" + legID, "port/" + gatewayID, "router/r", "segment/ext", "segment/net",
	}
	slices.Sort(want)
	for _, host := range []string{"gate1", "gate2"} {
		if diff := cmp.Diff(want, keysOf(r, host)); diff != "" {
			t.Errorf("%s:\n%s", host, diff)
		}
	}
	c := compile.New(compile.Options{})
	for _, tc := range []struct {
		host, key string
		want      *sb.Document
	}{
		{"gate1", "gateway-group/7", &sb.Document{Body: &sb.Document_GatewayGroup{GatewayGroup: &sb.GatewayGroup{
			Number: 7, Hosts: []*sb.GatewayHost{{Name: "gate2", Address: "192.0.2.12"}, {Name: "gate1", Address: "192.0.2.11"}},
			Claim: &sb.GatewayClaim{Epoch: 3, Rank: 1, Host: "gate1"}, IntervalMs: 500, Tracked: []string{"physnet1"},
		}}}},
		// To the rest of the network the router is behind both, to each of its hosts behind the other.
		{"compute2", "neighbour/" + legID, &sb.Document{Body: &sb.Document_Neighbour{Neighbour: &sb.Neighbour{
			PortId: legID, NetworkId: "net", Mac: "fa:16:3e:00:00:44", Ips: []string{"10.0.0.1"},
			Vteps: []string{"192.0.2.11", "192.0.2.12"},
		}}}},
		{"gate2", "neighbour/" + legID, &sb.Document{Body: &sb.Document_Neighbour{Neighbour: &sb.Neighbour{
			PortId: legID, NetworkId: "net", Mac: "fa:16:3e:00:00:44", Ips: []string{"10.0.0.1"}, Vteps: []string{"192.0.2.11"},
		}}}},
		{"compute1", "gateway-group/7", nil},
		{"compute1", "router/r", nil},
		{"compute1", "port/" + legID, nil},
	} {
		got := c.Document(r, tc.host, tc.key)
		if tc.want != nil {
			tc.want.Key = tc.key
		}
		if diff := cmp.Diff(tc.want, got, protocmp.Transform(), protocmp.IgnoreFields(&sb.Document{}, "hash")); diff != "" {
			t.Errorf("%s of %s:\n%s", tc.key, tc.host, diff)
		}
	}
	for _, host := range []string{"gate1", "gate2"} {
		doc := c.Document(r, host, "router/r").GetRouter()
		if doc.GetGatewayGroup() != "7" || len(doc.GetLegs()) != 2 || !doc.GetEnableSnat() {
			t.Errorf("%s has the router %v", host, doc)
		}
	}
}

// A takeover changes one document on each host of the group, whatever the number of its routers, and none elsewhere.
func TestATakeoverChangesTheGroupAlone(t *testing.T) {
	store := newStore(t)
	update(t, store, exampleGroup)
	commit := update(t, store, func(tx *state.Tx) {
		g, _ := state.GatewayGroups.Get(tx, "7")
		g = g.Clone()
		g.Claim = model.GatewayClaim{Epoch: 4, Host: "gate2"}
		state.GatewayGroups.Put(tx, g)
	})
	got := compile.New(compile.Options{}).Affected(commit)
	slices.SortFunc(got, func(a, b compile.HostKey) int { return slices.Compare([]string{a.Host}, []string{b.Host}) })
	want := []compile.HostKey{{Host: "gate1", Key: "gateway-group/7"}, {Host: "gate2", Key: "gateway-group/7"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A host that leaves loses everything at once; the others still count it among them, until it has let go.
func TestAHostThatLeavesAGroupHasNothingOfIt(t *testing.T) {
	store := newStore(t)
	update(t, store, exampleGroup)
	r := update(t, store, func(tx *state.Tx) {
		state.GatewayGroups.Put(tx, &model.GatewayGroup{
			Meta: model.Meta{ID: "7"}, Hosts: []string{"gate1"}, Leaving: []string{"gate2"},
		})
	}).Snapshot
	if keys := keysOf(r, "gate2"); len(keys) > 0 {
		t.Errorf("gate2 still has %v", keys)
	}
	doc := compile.New(compile.Options{}).Document(r, "gate1", "gateway-group/7").GetGatewayGroup()
	if len(doc.GetHosts()) != 2 || doc.GetHosts()[1].GetName() != "gate2" {
		t.Errorf("gate1 counts %v", doc.GetHosts())
	}
}
