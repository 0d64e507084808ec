package compile_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// firewalled puts a group with a port on each of two hosts, and one on none.
func firewalled(tx *state.Tx) {
	for id, host := range map[string]string{"port-1": "host-a", "port-2": "host-a", "port-3": "host-b", "port-4": ""} {
		p := &model.Port{Meta: model.Meta{ID: id}, NetworkID: "net", MAC: "02:00:00:00:00:01", DeviceOwner: "compute:nova"}
		if host != "" {
			p.Binding = model.Binding{Host: host, VIFType: model.VIFBridge}
		}
		state.Ports.Put(tx, p)
	}
	state.FirewallRules.Put(tx, &model.FirewallRule{
		Meta: model.Meta{ID: "ssh"}, Enabled: true, IPVersion: 4, Protocol: "tcp", Action: model.FirewallAllow,
		Source:           model.FirewallAddress{Prefix: netip.MustParsePrefix("10.1.2.3/8")},
		DestinationPorts: model.PortRange{First: 22, Last: 23},
	})
	state.FirewallRules.Put(tx, &model.FirewallRule{
		Meta: model.Meta{ID: "ping"}, Enabled: true, IPVersion: 6, Protocol: "icmp", Action: model.FirewallReject,
		Destination: model.FirewallAddress{Prefix: netip.MustParsePrefix("::/0")},
	})
	state.FirewallRules.Put(tx, &model.FirewallRule{Meta: model.Meta{ID: "off"}, IPVersion: 4, Action: model.FirewallAllow})
	state.FirewallPolicies.Put(tx, &model.FirewallPolicy{Meta: model.Meta{ID: "in"}, RuleIDs: []string{"ssh", "off", "gone", "ping"}})
	state.FirewallGroups.Put(tx, &model.FirewallGroup{
		Meta: model.Meta{ID: "group"}, AdminStateUp: true, IngressPolicyID: "in",
		PortIDs: []string{"port-3", "port-2", "port-4", "port-1", "gone"},
	})
}

func TestFirewallGroupOfAHost(t *testing.T) {
	store := newStore(t)
	commit := update(t, store, firewalled)
	c := compile.New(compile.Options{})
	got := c.Document(commit.Snapshot, "host-a", "firewall-group/group").GetFirewallGroup()
	want := &sb.FirewallGroup{
		GroupId: "group", Ports: []string{"port-1", "port-2"},
		Ingress: []*sb.FirewallRule{
			{
				RuleId: "ssh", IpVersion: 4, Protocol: proto.Uint32(6), Source: "10.0.0.0/8",
				DestinationFirst: 22, DestinationLast: 23, Action: sb.FirewallRule_ACTION_ALLOW,
			},
			{RuleId: "ping", IpVersion: 6, Protocol: proto.Uint32(58), Action: sb.FirewallRule_ACTION_REJECT},
		},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("wanted against got:\n%s", diff)
	}
	if d := c.Document(commit.Snapshot, "host-c", "firewall-group/group"); d != nil {
		t.Errorf("a host without its ports has %v", d)
	}
	hosts, unplaced := c.FirewallHosts(commit.Snapshot, "group")
	if diff := cmp.Diff([][]string{{"host-a", "host-b"}, {"port-4"}}, [][]string{hosts, unplaced}); diff != "" {
		t.Errorf("hosts and ports without one:\n%s", diff)
	}
}

func TestASwitchedOffGroupClosesAndOneWithoutPoliciesIsNoConcernOfHosts(t *testing.T) {
	store := newStore(t)
	update(t, store, firewalled)
	c := compile.New(compile.Options{})
	change := func(how func(*model.FirewallGroup)) *sb.FirewallGroup {
		commit := update(t, store, func(tx *state.Tx) {
			g, _ := state.FirewallGroups.Get(tx, "group")
			g = g.Clone()
			how(g)
			state.FirewallGroups.Put(tx, g)
		})
		return c.Document(commit.Snapshot, "host-b", "firewall-group/group").GetFirewallGroup()
	}
	if d := change(func(g *model.FirewallGroup) { g.AdminStateUp = false }); !d.GetClosed() || len(d.Ingress) > 0 {
		t.Errorf("switched off, it is %v", d)
	}
	if d := change(func(g *model.FirewallGroup) { g.AdminStateUp, g.IngressPolicyID = true, "" }); d != nil {
		t.Errorf("without policies, it is %v", d)
	}
}

// TestARuleOfAFirewallCostsADocumentAHost: however many ports there are.
func TestARuleOfAFirewallCostsADocumentAHost(t *testing.T) {
	store := newStore(t)
	update(t, store, firewalled)
	commit := update(t, store, func(tx *state.Tx) {
		rule, _ := state.FirewallRules.Get(tx, "ssh")
		rule = rule.Clone()
		rule.Action = model.FirewallDeny
		state.FirewallRules.Put(tx, rule)
	})
	if documents, _ := sent(compile.New(compile.Options{}), commit); documents != 2 {
		t.Errorf("%d documents are sent, want 2", documents)
	}
}

// TestHostsAreToldWhatADistributedRouterForwards: the hosts of the network are told of the group of its interface, whether or
// not they have the interface, and how to tell the router from another one there.
func TestHostsAreToldWhatADistributedRouterForwards(t *testing.T) {
	store := newStore(t)
	other := &model.DistributedBinding{
		Meta: model.Meta{ID: "other"}, PortID: "other-leg", RouterID: "other-router", NetworkID: "net", Host: "compute2",
	}
	commit := update(t, store, func(tx *state.Tx) {
		example(tx)
		firewalled(tx)
		state.Ports.Put(tx, examplePort(legID, "", "10.0.0.1", model.DeviceOwnerRouterInterfaceDistributed))
		state.Ports.Put(tx, examplePort(gatewayID, "gate1", "10.0.0.7", model.DeviceOwnerRouterSNAT))
		state.Routers.Put(tx, &model.Router{
			Meta: model.Meta{ID: "r"}, Distributed: true, InterfaceIDs: []string{legID},
			SNATPorts: []model.SNATPort{{InterfaceID: legID, PortID: gatewayID}},
		})
		state.DistributedBindings.Put(tx, &model.DistributedBinding{
			Meta: model.Meta{ID: "here"}, PortID: legID, RouterID: "r", NetworkID: "net", Host: "compute1",
		})
		state.DistributedBindings.Put(tx, other)
		state.FirewallGroups.Put(tx, &model.FirewallGroup{
			Meta: model.Meta{ID: "group"}, AdminStateUp: true, IngressPolicyID: "in", PortIDs: []string{legID},
		})
	})
	c := compile.New(compile.Options{})
	leg, _ := state.Ports.Get(commit.Snapshot, legID)
	central, _ := state.Ports.Get(commit.Snapshot, gatewayID)
	macs := []string{leg.MAC, central.MAC}
	slices.Sort(macs)
	want := []*sb.RoutedNetwork{{
		PortId: legID, NetworkId: "net", Macs: macs, OtherMacs: []string{other.TunnelMAC()}, Ips: []string{"10.0.0.1", "10.0.0.7"},
		Blocks: []string{"10.0.0.0/24"},
	}}
	for _, host := range []string{"compute1", "compute2", "gate1"} {
		got := c.Document(commit.Snapshot, host, "firewall-group/group").GetFirewallGroup()
		if diff := cmp.Diff(want, got.GetRouted(), protocmp.Transform()); diff != "" || len(got.GetPorts()) > 0 {
			t.Errorf("%s: wanted against got:\n%s", host, diff)
		}
	}
	if d := c.Document(commit.Snapshot, "host-z", "firewall-group/group"); d != nil {
		t.Errorf("a host that is not on the network has %v", d)
	}
	if hosts, unplaced := c.FirewallHosts(commit.Snapshot, "group"); !slices.Contains(hosts, "gate1") || len(unplaced) > 0 {
		t.Errorf("hosts %v, without one %v", hosts, unplaced)
	}
}

var firewallKinds = []string{"firewall group", "firewall group", "firewall policy", "firewall rule"}

// randomFirewall makes, changes or deletes an object of the kind.
func randomFirewall(t *rapid.T, tx *state.Tx, kind string, drop bool) {
	policies, rules := []string{"fwp-1", "fwp-2"}, []string{"fwr-1", "fwr-2", "fwr-3"}
	switch kind {
	case "firewall group":
		putOrDrop(tx, state.FirewallGroups, &model.FirewallGroup{
			Meta:            model.Meta{ID: rapid.SampledFrom([]string{"fwg-1", "fwg-2"}).Draw(t, "id")},
			AdminStateUp:    rapid.IntRange(0, 3).Draw(t, "up") > 0,
			IngressPolicyID: rapid.SampledFrom(append(policies, "")).Draw(t, "ingress"),
			EgressPolicyID:  rapid.SampledFrom(append(policies, "")).Draw(t, "egress"),
			PortIDs:         rapid.SliceOfNDistinct(rapid.SampledFrom(ports), 0, 3, rapid.ID).Draw(t, "ports"),
		}, drop)
	case "firewall policy":
		putOrDrop(tx, state.FirewallPolicies, &model.FirewallPolicy{
			Meta:    model.Meta{ID: rapid.SampledFrom(policies).Draw(t, "id")},
			RuleIDs: rapid.SliceOfNDistinct(rapid.SampledFrom(rules), 0, 3, rapid.ID).Draw(t, "rules"),
			Audited: rapid.Bool().Draw(t, "audited"),
		}, drop)
	case "firewall rule":
		putOrDrop(tx, state.FirewallRules, &model.FirewallRule{
			Meta:      model.Meta{ID: rapid.SampledFrom(rules).Draw(t, "id")},
			Enabled:   rapid.IntRange(0, 3).Draw(t, "enabled") > 0,
			IPVersion: rapid.SampledFrom([]int{4, 6}).Draw(t, "version"),
			Protocol:  rapid.SampledFrom([]string{"", "tcp", "icmp"}).Draw(t, "protocol"),
			Action:    rapid.SampledFrom([]model.FirewallAction{model.FirewallAllow, model.FirewallDeny}).Draw(t, "action"),
		}, drop)
	}
}
