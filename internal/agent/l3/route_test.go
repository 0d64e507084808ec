package l3_test

import (
	"net/netip"
	"testing"

	"github.com/neutrino-net/neutrino/internal/testkit"
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

func TestTwoNetworksMeetAndReachTheInternet(t *testing.T) {
	c := newCloud(t)
	red, blue, external := c.network(1450), c.network(1450), c.network(1500)
	a := via(red.workload("10.0.1.10/24"), "10.0.1.1")
	b := via(blue.workload("10.0.2.10/24"), "10.0.2.1")
	internet := external.workload("203.0.113.254/24")
	for _, h := range []*testkit.Host{a, b, internet} {
		h.Serve(80)
	}
	r := c.router(red.leg("10.0.1.1/24"), blue.leg("10.0.2.1/24"), external.gateway("203.0.113.5/24"))
	r.DefaultGateways = []string{"203.0.113.254"}
	key := c.floating(r, "203.0.113.20", "10.0.2.10")
	c.start()
	c.apply()
	c.allDone()

	expect(t, a, "tcp", "10.0.2.10:80", "10.0.1.10")
	expect(t, a, "tcp", "203.0.113.254:80", "203.0.113.5")
	expect(t, b, "tcp", "203.0.113.254:80", "203.0.113.20")
	expect(t, internet, "tcp", "203.0.113.20:80", "203.0.113.254")
	expect(t, a, "tcp", "203.0.113.20:80", "203.0.113.5")

	delete(c.documents, key)
	c.apply()
	refuse(t, internet, "tcp", "203.0.113.20:80")
	expect(t, b, "tcp", "203.0.113.254:80", "203.0.113.5")
}
