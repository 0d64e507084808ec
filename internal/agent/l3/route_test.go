package l3_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// expect asks until the host answers and sees the given address.
func expect(t *testing.T, from *testkit.Host, network, to, as string) {
	t.Helper()
	var last error
	var seen netip.AddrPort
	testkit.Eventually(t, patience, network+" to "+to+" answered", func() bool {
		seen, last = from.Ask(network, to)
		return last == nil
	})
	if seen.Addr().String() != as {
		t.Errorf("%s to %s: the far side sees %s, want %s", network, to, seen.Addr(), as)
	}
}

// refuse expects no answer.
func refuse(t *testing.T, from *testkit.Host, network, to string) {
	t.Helper()
	if seen, err := from.Ask(network, to); err == nil {
		t.Errorf("%s to %s: answered, and seen as %s", network, to, seen)
	}
}

// world is a router between two networks of tenants and an external one.
type world struct {
	*cloud
	red, blue, external      *network
	a1, a2, b, internet      *testkit.Host
	redLeg, blueLeg, gateway *sb.RouterLeg
	router                   *sb.Router
}

func newWorld(t testing.TB) *world {
	t.Helper()
	c := newCloud(t)
	w := &world{cloud: c, red: c.network(1450), blue: c.network(1450), external: c.network(1500)}
	w.a1 = via(w.red.workload("10.0.1.11/24"), "10.0.1.1")
	w.a2 = via(w.red.workload("10.0.1.12/24"), "10.0.1.1")
	w.b = via(w.blue.workload("10.0.2.10/24"), "10.0.2.1")
	w.internet = w.external.workload("203.0.113.254/24")
	for _, h := range []*testkit.Host{w.a1, w.a2, w.b, w.internet} {
		h.Serve(80)
	}
	w.redLeg, w.blueLeg = w.red.leg("10.0.1.1/24"), w.blue.leg("10.0.2.1/24")
	w.gateway = w.external.gateway("203.0.113.5/24", "203.0.113.6/24")
	w.router = c.router(w.redLeg, w.blueLeg, w.gateway)
	w.router.DefaultGateways = []string{"203.0.113.254"}
	return w
}

func TestTrafficIsSeenFromTheRightAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.b.Serve(6003)
	w.floating(w.router, "203.0.113.11", "10.0.1.11")
	w.floating(w.router, "203.0.113.12", "10.0.1.12")
	w.floating(w.router, "203.0.113.30", "")
	w.forward(w.router, &sb.PortForwarding{Address: "203.0.113.30", Protocol: "tcp", ExternalFirst: 8080, ExternalLast: 8080,
		InternalIp: "10.0.2.10", InternalFirst: 80, InternalLast: 80})
	w.forward(w.router, &sb.PortForwarding{Address: "203.0.113.30", Protocol: "udp", ExternalFirst: 5000, ExternalLast: 5010,
		InternalIp: "10.0.2.10", InternalFirst: 6000, InternalLast: 6010})
	w.forward(w.router, &sb.PortForwarding{Address: "203.0.113.30", Protocol: "tcp", ExternalFirst: 9000, ExternalLast: 9010,
		InternalIp: "10.0.2.10", InternalFirst: 80, InternalLast: 80})
	w.start()
	w.apply()
	w.allDone()
	for _, x := range []struct {
		what        string
		from        *testkit.Host
		network, to string
		as          string // empty: no answer
	}{
		{"between networks", w.a1, "tcp", "10.0.2.10:80", "10.0.1.11"},
		{"out by source NAT", w.b, "tcp", "203.0.113.254:80", "203.0.113.5"},
		{"out by source NAT, UDP", w.b, "udp", "203.0.113.254:80", "203.0.113.5"},
		{"out with a floating IP", w.a1, "tcp", "203.0.113.254:80", "203.0.113.11"},
		{"in by a floating IP", w.internet, "tcp", "203.0.113.11:80", "203.0.113.254"},
		{"in by a floating IP, UDP", w.internet, "udp", "203.0.113.12:80", "203.0.113.254"},
		{"between floating IPs of one network", w.a1, "tcp", "203.0.113.12:80", "203.0.113.11"},
		{"to its own floating IP", w.a1, "tcp", "203.0.113.11:80", "203.0.113.11"},
		{"to a floating IP without having one", w.b, "tcp", "203.0.113.11:80", "203.0.113.5"},
		{"by a forwarded port", w.internet, "tcp", "203.0.113.30:8080", "203.0.113.254"},
		{"by a range of ports to a range", w.internet, "udp", "203.0.113.30:5003", "203.0.113.254"},
		{"by a range of ports to one", w.internet, "tcp", "203.0.113.30:9007", "203.0.113.254"},
		{"by a forwarded port from inside", w.a1, "tcp", "203.0.113.30:8080", "203.0.113.11"},
		{"to itself by a forwarded port", w.b, "tcp", "203.0.113.30:8080", "203.0.113.5"},
		{"by a port that is not forwarded", w.internet, "tcp", "203.0.113.30:81", ""},
		{"by a forwarded port of another protocol", w.internet, "udp", "203.0.113.30:8080", ""},
	} {
		t.Run(x.what, func(t *testing.T) {
			if x.as == "" {
				refuse(t, x.from, x.network, x.to)
				return
			}
			expect(t, x.from, x.network, x.to, x.as)
		})
	}
}

func TestWithoutSourceNATAddressesStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.Run("ip", "route", "add", "10.0.0.0/16", "via", "203.0.113.5")
	w.router.EnableSnat = false
	w.floating(w.router, "203.0.113.11", "10.0.1.11")
	w.start()
	w.apply()
	w.allDone()
	expect(t, w.b, "tcp", "203.0.113.254:80", "10.0.2.10")
	expect(t, w.a1, "tcp", "203.0.113.254:80", "203.0.113.11")
	expect(t, w.internet, "tcp", "10.0.2.10:80", "203.0.113.254")
	expect(t, w.a2, "tcp", "203.0.113.11:80", "203.0.113.5") // a hairpin needs its translation all the same

	w.change(func(r *sb.Router) { r.EnableSnat = true })
	expect(t, w.b, "tcp", "203.0.113.254:80", "203.0.113.5")
}

func TestAddressScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.Run("ip", "route", "add", "10.0.0.0/16", "via", "203.0.113.5")
	w.redLeg.Scope4, w.gateway.Scope4, w.blueLeg.Scope4 = "one", "one", "two"
	w.start()
	w.apply()
	w.allDone()
	expect(t, w.a1, "tcp", "203.0.113.254:80", "10.0.1.11") // the scope of the gateway: as it is
	expect(t, w.internet, "tcp", "10.0.1.11:80", "203.0.113.254")
	expect(t, w.b, "tcp", "203.0.113.254:80", "203.0.113.5") // another scope: translated
	refuse(t, w.a1, "tcp", "10.0.2.10:80")
	refuse(t, w.b, "tcp", "10.0.1.11:80")
	refuse(t, w.internet, "tcp", "10.0.2.10:80")

	w.floating(w.router, "203.0.113.10", "10.0.2.10")
	w.apply()
	expect(t, w.internet, "tcp", "203.0.113.10:80", "203.0.113.254")
	expect(t, w.b, "tcp", "203.0.113.254:80", "203.0.113.10")
	expect(t, w.a1, "tcp", "203.0.113.10:80", "203.0.113.5")

	w.change(func(r *sb.Router) { r.EnableSnat = false })
	refuse(t, w.b, "tcp", "10.0.1.11:80")
	expect(t, w.b, "tcp", "203.0.113.254:80", "203.0.113.10")
}

func TestExtraRoutesLeadOnward(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// a2 is a router of the tenant's own, with another network behind it.
	w.a2.Run("ip", "addr", "add", "10.9.9.9/32", "dev", "lo")
	w.router.Routes = []*sb.Route{
		{Destination: "10.9.9.0/24", Nexthop: "10.0.1.12"},
		{Destination: "10.8.0.0/16", Nexthop: "192.0.2.1"},
	}
	w.start()
	w.apply()
	expect(t, w.b, "tcp", "10.9.9.9:80", "10.0.2.10")
	key := "router/" + w.router.RouterId
	if got := w.reason(key); !strings.Contains(got, "10.8.0.0/16") || !strings.Contains(got, "192.0.2.1") {
		t.Errorf("the route without a way to its next hop: %q", got)
	}
	w.change(func(r *sb.Router) { r.Routes = nil })
	w.allDone()
	refuse(t, w.b, "tcp", "10.9.9.9:80")
}
