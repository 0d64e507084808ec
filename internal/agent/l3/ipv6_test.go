package l3_test

import (
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// newWorld6 is a world with IPv6: the hosts in red are told their addresses by the router, those in blue know them.
func newWorld6(t *testing.T) *world {
	w := newWorld(t)
	w.redLeg.Ips = append(w.redLeg.Ips, "2001:db8:1::1/64")
	w.redLeg.Advertised = []*sb.RouterPrefix{{Prefix: "2001:db8:1::/64", RaMode: "slaac", DnsNameservers: []string{"2001:db8::53"}}}
	w.blueLeg.Ips = append(w.blueLeg.Ips, "fe80::1/64", "2001:db8:2::1/64")
	w.gateway.Ips = append(w.gateway.Ips, "2001:db8:f::5/64")
	w.router.DefaultGateways = append(w.router.DefaultGateways, "2001:db8:f::254")
	w.b.Run("ip", "addr", "add", "2001:db8:2::10/64", "dev", "eth0", "nodad")
	w.b.Run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
	w.internet.Run("ip", "addr", "add", "2001:db8:f::254/64", "dev", "eth0", "nodad")
	w.internet.Run("ip", "-6", "route", "add", "2001:db8::/32", "via", "2001:db8:f::5")
	return w
}

// slaac is the address that the host has made for itself; empty: none yet.
func slaac(h *testkit.Host) string {
	for line := range strings.Lines(h.Run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global", "-tentative")) {
		fields := strings.Fields(line)
		if address, _, found := strings.Cut(fields[3], "/"); found && strings.HasPrefix(address, "2001:db8:1:") {
			return address
		}
	}
	return ""
}

func TestHostsConfigureThemselvesAndIPv6IsRouted(t *testing.T) {
	t.Parallel()
	w := newWorld6(t)
	w.start()
	w.apply()
	w.allDone()
	testkit.Eventually(t, 2*patience, "with an address of the prefix", func() bool { return slaac(w.a1) != "" })
	own := slaac(w.a1)
	if route := w.a1.Run("ip", "-6", "route", "show", "default"); !strings.Contains(route, "proto ra") {
		t.Errorf("the default route is %q", route)
	}
	if mtu := w.a1.Run("sysctl", "-n", "net.ipv6.conf.eth0.mtu"); strings.TrimSpace(mtu) != "1450" {
		t.Errorf("the MTU for IPv6 is %s", mtu)
	}
	expect(t, w.a1, "tcp", "[2001:db8:2::10]:80", own)
	expect(t, w.b, "tcp", "["+own+"]:80", "2001:db8:2::10")
	expect(t, w.a1, "tcp", "[2001:db8:f::254]:80", own)
	expect(t, w.internet, "tcp", "[2001:db8:2::10]:80", "2001:db8:f::254")

	// The prefix is withdrawn: the hosts look for another router, and use their addresses no more.
	w.change(func(r *sb.Router) { r.Legs[0].Advertised = nil })
	testkit.Eventually(t, patience, "without the router", func() bool {
		return w.a1.Run("ip", "-6", "route", "show", "default") == "" &&
			strings.Contains(w.a1.Run("ip", "-6", "addr", "show", "dev", "eth0"), "deprecated")
	})
}

// What a host learns from advertisements in the other modes; addresses come by DHCPv6, from elsewhere.
func TestAdvertisementsSayHowAddressesAreGot(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		mode  string
		slaac bool
	}{{"slaac", true}, {"dhcpv6-stateless", true}, {"dhcpv6-stateful", false}} {
		t.Run(x.mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld6(t)
			w.redLeg.Advertised[0].RaMode = x.mode
			w.start()
			w.apply()
			testkit.Eventually(t, 2*patience, "with a default route", func() bool {
				return strings.Contains(w.a1.Run("ip", "-6", "route", "show", "default"), "proto ra")
			})
			if x.slaac {
				testkit.Eventually(t, patience, "with an address", func() bool { return slaac(w.a1) != "" })
			} else if own := slaac(w.a1); own != "" {
				t.Errorf("the host has made itself the address %s", own)
			}
		})
	}
}

func TestIPv6ScopesAreKeptApart(t *testing.T) {
	t.Parallel()
	w := newWorld6(t)
	w.redLeg.Scope6, w.gateway.Scope6 = "one", "one"
	w.start()
	w.apply()
	w.allDone()
	testkit.Eventually(t, 2*patience, "with an address of the prefix", func() bool { return slaac(w.a1) != "" })
	expect(t, w.a1, "tcp", "[2001:db8:f::254]:80", slaac(w.a1))
	refuse(t, w.a1, "tcp", "[2001:db8:2::10]:80")
	refuse(t, w.b, "tcp", "[2001:db8:f::254]:80")
	expect(t, w.b, "tcp", "203.0.113.254:80", "203.0.113.5") // of IPv4 there is one scope only
}

func TestSolicitationsForProxiedAddressesAreAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld6(t)
	// The external network believes that the tenants' blocks are on its link.
	w.internet.Run("ip", "-6", "route", "replace", "2001:db8::/32", "dev", "eth0")
	w.router.NdpProxied = []string{"2001:db8:2::10"}
	w.start()
	w.apply()
	w.allDone()
	expect(t, w.internet, "tcp", "[2001:db8:2::10]:80", "2001:db8:f::254")
	w.change(func(r *sb.Router) { r.NdpProxied = nil })
	w.internet.Run("ip", "-6", "neigh", "flush", "dev", "eth0")
	refuse(t, w.internet, "tcp", "[2001:db8:2::10]:80")
}

func TestSegmentsAndPacketsFitTheSmallerNetwork(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	wide, narrow := c.network(1500), c.network(1300)
	a := via(wide.workload("10.0.1.11/24"), "10.0.1.1")
	b := via(narrow.workload("10.0.2.10/24"), "10.0.2.1")
	a.Serve(80)
	b.Serve(80)
	c.router(wide.leg("10.0.1.1/24"), narrow.leg("10.0.2.1/24"))
	c.start()
	c.apply()
	expect(t, a, "tcp", "10.0.2.10:80", "10.0.1.11")
	capture := b.Capture("eth0", "tcp[tcpflags] & tcp-syn != 0")
	expect(t, a, "tcp", "10.0.2.10:80", "10.0.1.11")
	if seen := capture.Stop(); !strings.Contains(seen, "mss 1260") || strings.Contains(seen, "mss 1460") {
		t.Errorf("the segments that a is told of do not fit into 1300 bytes:\n%s", seen)
	}
	out, err := a.Try("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1400", "10.0.2.10")
	if err == nil || !strings.Contains(out, "From 10.0.1.1") || !strings.Contains(out, "mtu = 1300") {
		t.Errorf("a packet of 1428 bytes: %v\n%s", err, out)
	}
}
