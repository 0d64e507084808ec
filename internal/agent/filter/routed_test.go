package filter_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The interface of a distributed router, and who is reached through it.
const (
	leg     = 9
	remote4 = "192.0.2.5"
	remote6 = "2001:db8::5"
	// elsewhere is the interface's MAC on another host.
	elsewhere = "4a:00:00:00:00:09"
)

// routedFirewall is a group with that interface.
func routedFirewall(ingress, egress []*sb.FirewallRule) *sb.Document {
	d := firewall("g", ingress, egress)
	d.GetFirewallGroup().Routed = []*sb.RoutedNetwork{{
		PortId: portID(leg), NetworkId: networkA, Macs: []string{mac(leg)}, Ips: []string{ip4(leg), ip6(leg)},
		Blocks: []string{"10.0.0.0/16", "fd00::/64"},
	}}
	return d
}

// throughARouter makes two workloads and a router that speaks for whoever is behind it.
func throughARouter(t *testing.T) (l *lab, a, b, router *testkit.Host) {
	l = newLab(t, networkA)
	interfacePort := port(networkA, leg)
	interfacePort.DeviceOwner, interfacePort.PortSecurity = "network:router_interface_distributed", false
	l.apply(open("default", ingress(4, 0), ingress(6, 0)), portDocument(port(networkA, 1, "default")),
		portDocument(port(networkA, 2, "default")), portDocument(interfacePort))
	a, b, router = l.workload(networkA, 1), l.workload(networkA, 2), l.workload(networkA, leg)
	for _, remote := range []string{remote4 + "/32", remote6 + "/128"} {
		router.Run("ip", "addr", "add", remote, "dev", "lo")
	}
	router.Run("ip", "link", "set", "lo", "up")
	router.Run("ip", "route", "replace", "10.0.0.0/16", "dev", "eth0", "src", remote4)
	router.Run("ip", "-6", "route", "replace", "fd00::/64", "dev", "eth0", "src", remote6, "metric", "1")
	for _, w := range []*testkit.Host{a, b} {
		w.Run("ip", "route", "add", "192.0.2.0/24", "via", ip4(leg))
		w.Run("ip", "route", "add", "2001:db8::/32", "via", ip6(leg))
	}
	for _, w := range []*testkit.Host{a, b, router} { // or it has no address from which to ask for MACs
		testkit.Eventually(t, 5*time.Second, "without tentative addresses", func() bool {
			return !strings.Contains(w.Run("ip", "-6", "addr"), "tentative")
		})
	}
	return l, a, b, router
}

func TestWhatIsRoutedMeetsTheFirewallOfTheInterface(t *testing.T) {
	l, a, b, router := throughARouter(t)
	for _, w := range []*testkit.Host{a, b, router} {
		w.Serve(22)
		w.Serve(80)
		w.Serve(443)
	}
	in := fwList(fw(fwAllow, 4, tcp, 80), fw(fwAllow, 6, tcp, 80))
	out := fwList(fw(fwAllow, 4, tcp, 443), fw(fwAllow, 6, tcp, 443))
	l.apply(routedFirewall(in, out))
	type way struct {
		name, address string
		from          *testkit.Host
		port          int
		want          bool
	}
	expect := func(t *testing.T, ways ...way) {
		t.Helper()
		for _, w := range ways {
			if got := asks(w.from, "tcp", w.address, w.port); got != w.want {
				t.Errorf("%s, to %s, port %d: reached: %v", w.name, w.address, w.port, got)
			}
		}
	}
	expect(t, []way{
		{"in, by a rule", ip4(1), router, 80, true}, {"in, by no rule", ip4(1), router, 443, false},
		{"in, by a rule", ip6(1), router, 80, true}, {"in, by no rule", ip6(1), router, 443, false},
		{"out, by a rule", remote4, a, 443, true}, {"out, by no rule", remote4, a, 80, false},
		{"out, by a rule", remote6, a, 443, true}, {"out, by no rule", remote6, a, 80, false},
		{"the router itself", ip4(leg), a, 22, true}, {"the router itself", ip6(leg), a, 22, true},
		{"within the network", ip4(1), b, 22, true}, {"within the network", ip6(1), b, 22, true},
	}...)
	if !answers(a, ip4(leg)) || !answers(a, ip6(leg)) {
		t.Error("the router does not answer")
	}
	if got := l.dropped(1); got["ingress firewall"] == 0 || got["egress firewall"] == 0 {
		t.Errorf("what was dropped: %v", got)
	}

	view, err := l.part.Show(portID(1))
	l.Check(err)
	var shown []string
	for _, r := range view.Firewalls {
		shown = append(shown, fmt.Sprintf("%s %s %s of %s: %v", r.Direction, r.Action, r.Rule, r.Interface, r.Packets > 0))
	}
	if want := []string{
		"egress allow g-2 of " + portID(leg) + ": true", "egress allow g-3 of " + portID(leg) + ": true",
		"ingress allow g-0 of " + portID(leg) + ": true", "ingress allow g-1 of " + portID(leg) + ": true",
	}; !slices.Equal(shown, want) {
		t.Errorf("shown as in force: %q", shown)
	}

	// The router speaks from another host, by the MAC that its interface has there.
	router.Run("ip", "link", "set", "eth0", "address", elsewhere)
	for _, w := range []*testkit.Host{a, b} {
		w.Run("ip", "neigh", "flush", "all")
	}
	expect(t, way{"in, from another host", ip4(1), router, 443, false}, way{"in, from another host", ip4(1), router, 80, true},
		way{"out, to another host", remote4, a, 80, false}, way{"out, to another host", remote4, a, 443, true})
	// There is the interface of another router, too, which has no firewall.
	both := routedFirewall(in, out)
	both.GetFirewallGroup().Routed[0].OtherMacs = []string{elsewhere}
	l.apply(both)
	expect(t, way{"in, by another router", ip4(1), router, 443, true}, way{"out, by another router", remote4, a, 80, true})
	router.Run("ip", "link", "set", "eth0", "address", mac(leg))
	a.Run("ip", "neigh", "flush", "all")

	// A workload that comes later has no moment without it, and one of another group meets both.
	l.apply(routedFirewall(in, out), portDocument(port(networkA, 3, "default")),
		firewall("own", fwList(fw(fwAllow, 4, tcp, 443), fw(fwAllow, 4, tcp, 22)), anything(), 3))
	c := l.workload(networkA, 3)
	c.Serve(80)
	c.Serve(443)
	c.Serve(22)
	expect(t, way{"the interface's only", ip4(3), router, 80, false}, way{"its own only", ip4(3), router, 443, false},
		way{"its own, within the network", ip4(3), b, 443, true})

	l.reconcile() // the last device has come since
	l.part.Close()
	l.start()
	l.reconcile()
	if n := l.part.Changes(); n != 0 {
		t.Errorf("a new agent changes %d objects", n)
	}
	l.remove("firewall-group/own", "firewall-group/g")
	expect(t, way{"in, without the firewall", ip4(1), router, 443, true}, way{"out, without it", remote4, a, 80, true})
	if rules := l.ruleset(); strings.Contains(rules, "chain routed-") || strings.Contains(rules, "chain firewall-") {
		t.Errorf("chains are left:\n%s", rules)
	}
}

func TestAChangedFirewallOfAnInterfaceCutsWhatItForbids(t *testing.T) {
	l, a, b, router := throughARouter(t)
	in := fwList(fw(fwAllow, 4, tcp, 80), fw(fwAllow, 4, tcp, 22))
	l.apply(routedFirewall(in, nil))
	ssh, web := connect(t, router, a, ip4(1)+":22"), connect(t, router, a, ip4(1)+":80")
	within := connect(t, b, a, ip4(1)+":22")
	works := working(t)
	works("at first", ssh, true)
	l.apply(routedFirewall(in[:1], nil))
	works("without its rule", ssh, false)
	works("with its rule", web, true)
	works("within the network", within, true)
	closed := proto.Clone(routedFirewall(in, nil)).(*sb.Document)
	closed.GetFirewallGroup().Closed = true
	l.apply(closed)
	works("closed", web, false)
	works("closed, within the network", within, true)
	l.remove("firewall-group/g")
	works("without the firewall, taken up again", web, true)
}
