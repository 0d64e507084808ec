package compile_test

import (
	"net/netip"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// The routers of the random histories, and the kinds of objects that are about them.
var (
	routers      = []string{"router-1", "router-2"}
	floatings    = []string{"floating-1", "floating-2", "floating-3"}
	routingKinds = []string{
		"router", "router", "floating", "floating", "forwarding", "helper", "proxy", "pool", "everywhere", "everywhere",
		"gateway", "gateway",
	}
	// gatewayGroups are those that ports may be bound to.
	gatewayGroups = []string{"1", "12"}
)

// randomRouting makes, changes or deletes an object of the kind. As elsewhere, odd states are wanted: a port that is the
// gateway of two routers, a floating IP of a router that is gone.
func randomRouting(t *rapid.T, tx *state.Tx, kind string, drop bool) {
	switch kind {
	case "router":
		putOrDrop(tx, state.Routers, randomRouter(t), drop)
	case "floating":
		f := &model.FloatingIP{Meta: model.Meta{ID: rapid.SampledFrom(floatings).Draw(t, "id")}}
		f.RouterID = rapid.SampledFrom(append(routers, "")).Draw(t, "router")
		f.Address = netip.AddrFrom4([4]byte{203, 0, 113, byte(rapid.IntRange(5, 7).Draw(t, "address"))})
		f.Status = rapid.SampledFrom([]model.FloatingIPStatus{model.FloatingIPActive, model.FloatingIPDown}).Draw(t, "status")
		if rapid.Bool().Draw(t, "fixed") {
			f.PortID = rapid.SampledFrom([]string{"port-1", "port-2"}).Draw(t, "port")
			f.FixedIP = netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(2, 4).Draw(t, "ip"))})
		}
		putOrDrop(tx, state.FloatingIPs, f, drop)
	case "forwarding":
		first := rapid.IntRange(80, 82).Draw(t, "external")
		putOrDrop(tx, state.PortForwardings, &model.PortForwarding{
			Meta:         model.Meta{ID: rapid.SampledFrom([]string{"forwarding-1", "forwarding-2"}).Draw(t, "id")},
			FloatingIPID: rapid.SampledFrom(floatings).Draw(t, "floating"), Protocol: "tcp",
			External:   model.PortRange{First: first, Last: first},
			Internal:   model.PortRange{First: 22, Last: 22},
			InternalIP: netip.AddrFrom4([4]byte{10, 0, 0, 3}),
		}, drop)
	case "helper":
		putOrDrop(tx, state.ConntrackHelpers, &model.ConntrackHelper{
			Meta: model.Meta{ID: "helper"}, RouterID: rapid.SampledFrom(routers).Draw(t, "router"), Protocol: "tcp",
			Port: rapid.IntRange(21, 22).Draw(t, "port"), Helper: "ftp",
		}, drop)
	case "proxy":
		putOrDrop(tx, state.NDPProxies, &model.NDPProxy{
			Meta: model.Meta{ID: "proxy"}, RouterID: rapid.SampledFrom(routers).Draw(t, "router"),
			Address: netip.MustParseAddr(rapid.SampledFrom([]string{"2001:db8::5", "2001:db8::6"}).Draw(t, "address")),
		}, drop)
	case "everywhere":
		putOrDrop(tx, state.DistributedBindings, &model.DistributedBinding{
			Meta:      model.Meta{ID: rapid.SampledFrom([]string{"binding-1", "binding-2", "binding-3"}).Draw(t, "id")},
			PortID:    rapid.SampledFrom(ports).Draw(t, "port"),
			RouterID:  rapid.SampledFrom(routers).Draw(t, "router"),
			NetworkID: rapid.SampledFrom(networks).Draw(t, "network"),
			Host:      rapid.SampledFrom(hosts).Draw(t, "host"),
			SegmentID: rapid.SampledFrom([]string{"", "net-a-seg-0", "net-a-seg-1"}).Draw(t, "segment"),
			Wired:     rapid.Bool().Draw(t, "wired"),
		}, drop)
	case "gateway":
		g := &model.GatewayGroup{Meta: model.Meta{ID: rapid.SampledFrom(gatewayGroups).Draw(t, "id")}}
		g.Hosts = rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 0, 3, rapid.ID).Draw(t, "hosts")
		g.Leaving = rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 0, 1, rapid.ID).Draw(t, "leaving")
		g.Claim = model.GatewayClaim{Epoch: rapid.Uint64Range(0, 2).Draw(t, "epoch"), Host: rapid.SampledFrom(hosts).Draw(t, "owner")}
		g.Reason = rapid.SampledFrom([]string{"", "alone"}).Draw(t, "reason")
		putOrDrop(tx, state.GatewayGroups, g, drop)
	case "pool":
		putOrDrop(tx, state.SubnetPools, &model.SubnetPool{
			Meta: model.Meta{ID: "pool"}, AddressScope: rapid.SampledFrom([]string{"", "scope-1", "scope-2"}).Draw(t, "scope"),
		}, drop)
	}
}

func randomRouter(t *rapid.T) *model.Router {
	r := &model.Router{Meta: model.Meta{ID: rapid.SampledFrom(routers).Draw(t, "id")}}
	r.AdminStateUp, r.NDPProxy = rapid.Bool().Draw(t, "up"), rapid.Bool().Draw(t, "proxy")
	r.InterfaceIDs = rapid.SliceOfNDistinct(rapid.SampledFrom(ports), 0, 2, rapid.ID).Draw(t, "interfaces")
	if rapid.IntRange(0, 2).Draw(t, "gateway") > 0 {
		r.Gateway = &model.Gateway{
			NetworkID: "net-a", PortID: rapid.SampledFrom(ports).Draw(t, "port"), EnableSNAT: rapid.Bool().Draw(t, "snat"),
		}
	}
	if r.Distributed = rapid.Bool().Draw(t, "distributed"); r.Distributed {
		for _, id := range r.InterfaceIDs {
			r.SNATPorts = append(r.SNATPorts, model.SNATPort{InterfaceID: id, PortID: rapid.SampledFrom(ports).Draw(t, "snat")})
		}
		for _, host := range rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 0, 2, rapid.ID).Draw(t, "local gateways") {
			r.LocalGateways = append(r.LocalGateways,
				model.LocalGateway{Host: host, PortID: rapid.SampledFrom(ports).Draw(t, "local gateway")})
		}
	}
	if rapid.Bool().Draw(t, "route") {
		r.Routes = []model.HostRoute{{
			Destination: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("10.0.0.9"),
		}}
	}
	return r
}

// putOrDrop stores the object, or deletes the one of its id.
func putOrDrop[T any, P interface {
	*T
	model.Object
}](tx *state.Tx, table *state.Table[T], o P, drop bool) {
	if drop {
		table.Delete(tx, o.GetMeta().ID)
		return
	}
	table.Put(tx, o)
}
