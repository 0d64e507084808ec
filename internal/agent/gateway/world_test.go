package gateway_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// groupNumber is the group of the world's router.
const groupNumber = 7

// world is some gateway hosts and one compute host on an underlay, a network of tenants between them all, an external
// network that the gateway hosts are attached to, and a router of a gateway group between the two:
//
//	vm, on the compute host, 10.0.0.10 ── 10.0.0.1 router 203.0.113.5 ── 203.0.113.254 internet
//	                 floating IP 203.0.113.10
//	local[i], on gateway host i, 10.0.0.20+i
type world struct {
	t        testing.TB
	gateways int
	interval time.Duration
	quiet    bool
	prepare  func()        // before the agents start; nil: nothing is
	patience time.Duration // until all documents are done

	sw, outside *testkit.Host
	server      *server
	hosts       []*gatewayHost // the last one is the compute host
	internet    *testkit.Host
	vm          *testkit.Host
	local       []*testkit.Host

	tenant, external string // networks
	router           string
	inner, outer     *sb.RouterLeg
	nextMAC          int
}

// newWorld makes everything; start runs the agents.
func newWorld(t testing.TB, gateways int, interval time.Duration) *world {
	t.Helper()
	w := &world{
		t: t, gateways: gateways, interval: interval, patience: patience,
		tenant: uuid.NewString(), external: uuid.NewString(), router: uuid.NewString(),
	}
	var hosts []*testkit.Host
	w.sw, hosts = testkit.SwitchedUnderlay(t, gateways+2)
	w.outside = testkit.NewHost(t, "outside")
	w.outside.Check(w.outside.NL.AddBridge("brx", netlinkx.MAC{}, netlinkx.BridgeInfo{AgeingTime: 30000}))
	w.outside.Check(w.outside.NL.SetUp(w.outside.Link("brx").Index))
	w.internet = testkit.NewHost(t, "internet")
	w.plugOutside(w.internet, "eth0", "internet")
	w.internet.Run("ip", "address", "add", "203.0.113.254/16", "dev", "eth0")
	w.server = newServer(t, hosts[gateways+1], testkit.UnderlayIP(gateways+1).String())
	for i, h := range hosts[:gateways+1] {
		if i < gateways {
			w.plugOutside(h, "eth1", fmt.Sprintf("o%d", i+1))
		}
		w.hosts = append(w.hosts, newGatewayHost(w, h, i))
	}
	return w
}

func (w *world) plugOutside(h *testkit.Host, device, port string) {
	testkit.Connect(h, device, w.outside, port)
	w.outside.Check(w.outside.NL.SetMaster(w.outside.Link(port).Index, w.outside.Link("brx").Index))
}

func (w *world) mac() string {
	w.nextMAC++
	return fmt.Sprintf("fa:16:3e:00:%02x:%02x", w.nextMAC>>8, w.nextMAC&255)
}

func (w *world) gatewayHosts() []*gatewayHost { return w.hosts[:w.gateways] }

func document(key string, body any) *sb.Document {
	d := &sb.Document{Key: key}
	switch b := body.(type) {
	case *sb.Segment:
		d.Body = &sb.Document_Segment{Segment: b}
	case *sb.Port:
		d.Body = &sb.Document_Port{Port: b}
	case *sb.Neighbour:
		d.Body = &sb.Document_Neighbour{Neighbour: b}
	case *sb.Router:
		d.Body = &sb.Document_Router{Router: b}
	case *sb.FloatingIp:
		d.Body = &sb.Document_FloatingIp{FloatingIp: b}
	case *sb.GatewayGroup:
		d.Body = &sb.Document_GatewayGroup{GatewayGroup: b}
	}
	return d
}

func groupDocument(number uint32, hosts []*sb.GatewayHost, claim *sb.GatewayClaim, interval uint32) *sb.Document {
	return document(fmt.Sprintf("gateway-group/%d", number), &sb.GatewayGroup{
		Number: number, Hosts: hosts, Claim: claim, IntervalMs: interval, Tracked: []string{"physnet1"},
	})
}

// group gives the gateway hosts a group, in an order that begins with the first-th of them.
func (w *world) group(number uint32, first int) {
	var hosts []*sb.GatewayHost
	for i := range w.gateways {
		g := w.hosts[(first+i)%w.gateways]
		hosts = append(hosts, &sb.GatewayHost{Name: g.name(), Address: testkit.UnderlayIP(g.index).String()})
	}
	for _, g := range w.gatewayHosts() {
		w.server.put(g.name(), groupDocument(number, hosts, nil, uint32(w.interval.Milliseconds())))
	}
}

// network gives all hosts that may have it a network.
func (w *world) network(id string, s *sb.Segment) {
	s.NetworkId = id
	for _, g := range w.hosts {
		if s.NetworkType != string(model.TypeFlat) || g.index < w.gateways {
			w.server.put(g.name(), document("segment/"+id, s))
		}
	}
}

// leg is a leg of a router: on all gateway hosts, and a neighbour that moves to everybody who reaches its network.
func (w *world) leg(network string, mtu uint32, gateway bool, ips ...string) *sb.RouterLeg {
	l := w.onGateways(network, mtu, gateway, ips...)
	for _, g := range w.hosts {
		if gateway {
			continue
		}
		n := &sb.Neighbour{PortId: l.PortId, NetworkId: network, Mac: l.Mac, Ips: ips}
		for _, other := range w.gatewayHosts() {
			if other != g {
				n.Vteps = append(n.Vteps, testkit.UnderlayIP(other.index).String())
			}
		}
		w.server.put(g.name(), document("neighbour/"+l.PortId, n))
	}
	return l
}

// onGateways is a leg on all gateway hosts.
func (w *world) onGateways(network string, mtu uint32, gateway bool, ips ...string) *sb.RouterLeg {
	l := &sb.RouterLeg{PortId: uuid.NewString(), NetworkId: network, Gateway: gateway, Mac: w.mac(), Ips: ips, Mtu: mtu}
	for _, g := range w.gatewayHosts() {
		w.server.put(g.name(), document("port/"+l.PortId, &sb.Port{
			PortId: l.PortId, NetworkId: network, Device: model.DeviceName(l.PortId), Mac: l.Mac, Ips: ips, Mtu: mtu,
			AdminStateUp: true, DeviceOwner: "network:router_interface",
		}))
	}
	return l
}

// addRouter is a router of a group on all gateway hosts.
func (w *world) addRouter(id string, group uint32, legs ...*sb.RouterLeg) {
	r := &sb.Router{
		RouterId: id, AdminStateUp: true, Legs: legs, EnableSnat: true, GatewayGroup: fmt.Sprint(group),
		DefaultGateways: []string{"203.0.113.254"},
	}
	for _, g := range w.gatewayHosts() {
		w.server.put(g.name(), document("router/"+id, r))
	}
}

func (w *world) floating(router, address, fixed string) {
	f := &sb.FloatingIp{FloatingIpId: uuid.NewString(), RouterId: router, Address: address, FixedIp: fixed}
	for _, g := range w.gatewayHosts() {
		w.server.put(g.name(), document("floating-ip/"+f.FloatingIpId, f))
	}
}

// workload is one on a host of the network of tenants, for whom the router is the way out.
func (w *world) workload(at *gatewayHost, ip string) *testkit.Host {
	id, mac := uuid.NewString(), w.mac()
	for _, g := range w.hosts {
		if g == at {
			w.server.put(g.name(), document("port/"+id, &sb.Port{
				PortId: id, NetworkId: w.tenant, Device: model.DeviceName(id), Mac: mac, Ips: []string{ip + "/24"}, Mtu: 1450,
				AdminStateUp: true, DeviceOwner: "compute:nova",
			}))
			continue
		}
		w.server.put(g.name(), document("neighbour/"+id, &sb.Neighbour{
			PortId: id, NetworkId: w.tenant, Mac: mac, Ips: []string{ip + "/24"}, Vtep: testkit.UnderlayIP(at.index).String(),
		}))
	}
	vm := at.Plug(model.DeviceName(id), mac, ip+"/24")
	vm.Check(vm.NL.SetMTU(vm.Link("eth0").Index, 1450))
	vm.Run("ip", "route", "add", "default", "via", "10.0.0.1")
	return vm
}

// build makes the documents and starts the agents, and waits until there is a router.
func (w *world) build() {
	w.t.Helper()
	w.network(w.tenant, &sb.Segment{NetworkType: "vxlan", SegmentationId: 100, Mtu: 1450})
	w.network(w.external, &sb.Segment{NetworkType: "flat", PhysicalNetwork: "physnet1", Mtu: 1500})
	w.group(groupNumber, 0)
	w.inner = w.leg(w.tenant, 1450, false, "10.0.0.1/24")
	w.outer = w.leg(w.external, 1500, true, "203.0.113.5/16")
	w.addRouter(w.router, groupNumber, w.inner, w.outer)
	w.floating(w.router, "203.0.113.10", "10.0.0.10")
	w.vm = w.workload(w.hosts[w.gateways], "10.0.0.10")
	for i, g := range w.gatewayHosts() {
		w.local = append(w.local, w.workload(g, fmt.Sprintf("10.0.0.%d", 20+i)))
	}
	if w.prepare != nil {
		w.prepare()
	}
	w.hosts[0].start()
	if w.hosts[0].up { // the first host is the active one in all tests
		testkit.Eventually(w.t, w.patience, "the first host active", func() bool { return w.hosts[0].speaks(w.router) })
	}
	for _, g := range w.hosts[1:] {
		g.start()
	}
	w.settle()
}

// settle waits until all hosts that are up have done everything, and one of them is the active one, for everybody.
func (w *world) settle() {
	t := w.t
	t.Helper()
	what := ""
	defer func() {
		if t.Failed() {
			t.Log("waited for: " + what)
			for _, g := range w.hosts {
				t.Logf("%s: %s", g.name(), g.status())
			}
		}
	}()
	testkit.Eventually(t, w.patience, "all done", func() bool {
		for _, g := range w.hosts {
			if g.up && !w.server.applied(g.name()) {
				what = g.name() + ", which has acknowledged " + w.server.acked(g.name()) + ": " + strings.Join(w.server.wrong(g.name()), "\n")
				return false
			}
		}
		return true
	})
	testkit.Eventually(t, patience, "one active", func() bool { return w.owner() != nil })
}

// owner is the one host that is active, by what the kernels have; nil: none or several are.
func (w *world) owner() *gatewayHost {
	var owner *gatewayHost
	for _, g := range w.gatewayHosts() {
		if !g.up || !g.speaks(w.router) {
			continue
		}
		if owner != nil {
			return nil
		}
		owner = g
	}
	return owner
}

// answers is how many hosts answer one ARP request of the internet for the address.
func (w *world) answers(address netip.Addr) int {
	// Nobody else asks from this address, and announcements have another target.
	asker := addr("203.0.113.253")
	capture := w.internet.Capture("eth0", "arp[6:2] = 2 and arp[14:4] = 0x"+hex(address)+" and arp[24:4] = 0x"+hex(asker))
	w.internet.AskARP("eth0", "ff:ff:ff:ff:ff:ff", w.internet.Link("eth0").MAC.String(), asker.String(), address.String())
	return strings.Count(capture.Stop(), "Reply")
}

func hex(a netip.Addr) string { return fmt.Sprintf("%x", a.AsSlice()) }
