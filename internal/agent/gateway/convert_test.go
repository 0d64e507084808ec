package gateway

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/ctsync"
	"github.com/neutrino-net/neutrino/internal/dataplane/keepalived"
	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

func here() site {
	return site{
		host: "b", tunnelIP: netip.MustParseAddr("192.0.2.2"), device: "eth0", port: 9699,
		mappings: map[string]string{"physnet1": "eth1", "physnet2": "eth0"},
	}
}

func groupBody() *sb.GatewayGroup {
	return &sb.GatewayGroup{
		Number: 7, IntervalMs: 500, Tracked: []string{"physnet1", "physnet2"},
		Claim: &sb.GatewayClaim{Epoch: 3, Rank: 2, Host: "c"},
		Hosts: []*sb.GatewayHost{
			{Name: "a", Address: "192.0.2.1"}, {Name: "b", Address: "192.0.2.2"}, {Name: "c", Address: "192.0.2.3"}, {Name: "d"},
		},
	}
}

func document(key string, g *sb.GatewayGroup) *sb.Document {
	return &sb.Document{Key: key, Body: &sb.Document_GatewayGroup{GatewayGroup: g}}
}

func routerOf(id, group string) *sb.Document {
	return &sb.Document{Key: "router/" + id, Body: &sb.Document_Router{Router: &sb.Router{RouterId: id, GatewayGroup: group}}}
}

func TestAGroupIsAnElectionAndWhomToTell(t *testing.T) {
	w := convert(agent.NewView(1, document("gateway-group/7", groupBody()), routerOf("r1", "7"), routerOf("r2", "8"),
		routerOf("r3", ""), routerOf("r4", "x")), here())
	if diff := cmp.Diff(map[string]string{"gateway-group/7": ""}, w.problems); diff != "" {
		t.Fatal(diff)
	}
	want := group{
		key: "gateway-group/7", rank: 1, claim: gatewaygroup.Claim{Epoch: 3, Rank: 2, Host: "c"},
		vrrp: keepalived.Group{
			ID: 7, Interface: "eth0", Source: netip.MustParseAddr("192.0.2.2"), Interval: 500 * time.Millisecond,
			Peers:   []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.3")},
			Tracked: []keepalived.Tracked{{Interface: "eth1", Penalty: gatewaygroup.LinkPenalty}},
		},
	}
	options := cmp.Options{cmp.AllowUnexported(group{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(want, w.groups[7], options); diff != "" {
		t.Error(diff)
	}
	if len(w.sync.Groups) != 1 || len(w.sync.Groups[0].Peers) != 2 {
		t.Errorf("groups: %v", w.sync.Groups)
	}
	wantRouters := []ctsync.Router{{ID: "r1", Namespace: "qrouter-r1", Peers: w.sync.Groups[0].Peers}}
	if diff := cmp.Diff(wantRouters, w.sync.Routers); diff != "" {
		t.Error(diff)
	}
	wantAddresses := map[string]string{"a": "192.0.2.1:9699", "c": "192.0.2.3:9699"}
	if diff := cmp.Diff(wantAddresses, w.sync.Addresses); diff != "" {
		t.Error(diff)
	}
}

func TestAHostThatIsAloneNeedsNoElection(t *testing.T) {
	alone := groupBody()
	alone.Hosts = alone.Hosts[1:2]
	s := here()
	if w := convert(agent.NewView(1, document("gateway-group/7", alone)), s); w.groups[7].solo {
		t.Error("others that come find no election")
	}
	for _, s.tunnelIP = range []netip.Addr{{}, netip.MustParseAddr("127.0.0.1")} {
		w := convert(agent.NewView(1, document("gateway-group/7", alone)), s)
		if !w.groups[7].solo || w.problems["gateway-group/7"] != "" {
			t.Errorf("without an underlay: %q", w.problems["gateway-group/7"])
		}
	}
}

func TestAGroupThatCannotBeHasItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		key    string
		change func(g *sb.GatewayGroup, s *site)
		want   string
	}{
		"another number":   {change: func(g *sb.GatewayGroup, _ *site) { g.Number = 8 }, want: "number"},
		"no number":        {key: "gateway-group/x", change: func(*sb.GatewayGroup, *site) {}, want: "number"},
		"too large":        {key: "gateway-group/201", change: func(g *sb.GatewayGroup, _ *site) { g.Number = 201 }, want: "number"},
		"not of the group": {change: func(_ *sb.GatewayGroup, s *site) { s.host = "x" }, want: "not one of the group"},
		"no tunnel":        {change: func(_ *sb.GatewayGroup, s *site) { s.tunnelIP = netip.Addr{} }, want: "no tunnel address"},
		"no device":        {change: func(_ *sb.GatewayGroup, s *site) { s.device = "" }, want: "no device"},
		"no mapping":       {change: func(g *sb.GatewayGroup, _ *site) { g.Tracked = []string{"physnet9"} }, want: "--bridge-mappings"},
		"a bad address":    {change: func(g *sb.GatewayGroup, _ *site) { g.Hosts[0].Address = "a\n}" }, want: "no IP address"},
		"a host twice":     {change: func(g *sb.GatewayGroup, _ *site) { g.Hosts[0].Name = "c" }, want: "twice"},
		"no interval":      {change: func(g *sb.GatewayGroup, _ *site) { g.IntervalMs = 0 }, want: "interval"},
		"a bad device":     {change: func(_ *sb.GatewayGroup, s *site) { s.mappings["physnet1"] = "x y" }, want: "tracked"},
	} {
		t.Run(name, func(t *testing.T) {
			bad, s := proto.Clone(groupBody()).(*sb.GatewayGroup), here()
			c.change(bad, &s)
			key := c.key
			if key == "" {
				key = "gateway-group/7"
			}
			good := groupBody()
			good.Number, good.Tracked = 9, nil
			w := convert(agent.NewView(1, document(key, bad), document("gateway-group/9", good)), s)
			if !strings.Contains(w.problems[key], c.want) {
				t.Errorf("the reason is %q, want %q in it", w.problems[key], c.want)
			}
			if _, is := w.groups[7]; is {
				t.Error("it is taken part in")
			}
			if host := s.host == "b" && s.tunnelIP.IsValid() && s.device != ""; host && w.problems["gateway-group/9"] != "" {
				t.Errorf("it holds up another group: %s", w.problems["gateway-group/9"])
			}
		})
	}
}
