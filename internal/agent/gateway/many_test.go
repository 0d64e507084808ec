package gateway_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// groupsOfMany is over how many groups many routers are spread; their numbers begin with the first one.
const (
	firstOfMany  = 20
	groupsOfMany = 20
)

// many adds routers, each with a network of its own, an address in the external network and some floating IPs.
func (w *world) many(routers, floating int) {
	for n := range uint32(groupsOfMany) {
		w.group(firstOfMany+n, 0)
	}
	for i := range routers {
		network := uuid.NewString()
		for _, g := range w.gatewayHosts() {
			w.server.put(g.name(), document("segment/"+network, &sb.Segment{NetworkId: network, NetworkType: "local", Mtu: 1450}))
		}
		id := uuid.NewString()
		w.addRouter(id, uint32(firstOfMany+i%groupsOfMany),
			w.onGateways(network, 1450, false, fmt.Sprintf("10.%d.%d.1/24", 1+i/250, i%250)),
			w.onGateways(w.external, 1500, true, fmt.Sprintf("203.0.%d.%d/16", i/250, i%250+1)))
		for n := range floating {
			w.floating(id, fmt.Sprintf("203.0.%d.%d", 100+2*n+i/250, i%250+1), fmt.Sprintf("10.%d.%d.%d", 1+i/250, i%250, 10+n))
		}
	}
}

var announced = regexp.MustCompile(`(?m)tell (203\.0\.[01]\.\d+)`)

// moves has all routers move from the first host to the second, and returns how long it took until the first one and all of
// them were announced to the external network.
func (w *world) moves(t testing.TB, routers int, cause func(g *gatewayHost)) (first, all time.Duration) {
	t.Helper()
	capture := w.internet.Capture("eth0", "arp")
	defer capture.Stop()
	start := time.Now()
	cause(w.hosts[0])
	seen := map[string]bool{}
	defer func() {
		if t.Failed() {
			t.Logf("of %d routers were announced: %v; %s", routers, slices.Sorted(maps.Keys(seen)), capture.Dropped())
		}
	}()
	testkit.Eventually(t, time.Minute, "all routers announced by the second host", func() bool {
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // to look is work, too
		text := capture.Seen()
		if first == 0 && strings.Contains(text, "tell 203.0.") {
			first = time.Since(start)
		}
		if strings.Count(text, "tell 203.0.") < routers {
			return false // which is seen faster than which of them are there
		}
		for _, m := range announced.FindAllStringSubmatch(text, -1) {
			seen[m[1]] = true
		}
		return len(seen) == routers
	})
	return first, time.Since(start)
}

// manyMove lets routers move twice, each time for another reason, and returns the longer time. memory is what all processes
// of a host have, in MiB for each router.
func manyMove(t testing.TB, routers, floating int) (longest time.Duration, memory float64) {
	w := newWorld(t, 2, fastInterval)
	w.quiet, w.patience = true, 20*time.Minute
	w.prepare = func() { w.many(routers, floating) }
	w.build()
	s := newStream(t, w.vm, w.internet, "203.0.113.254:7")
	memory = w.hosts[0].memory() / float64(routers)
	for n, c := range []struct {
		name  string
		cause func(g *gatewayHost)
	}{
		{"keepalived is killed", (*gatewayHost).killKeepalived},
		{"the host dies", (*gatewayHost).die},
	} {
		time.Sleep(time.Second) //nolint:forbidigo // what was announced a second time is over
		s.mark()
		before := w.hosts[1].cpuTime()
		first, took := w.moves(t, routers, c.cause)
		testkit.Eventually(t, patience, "the stream flowing", s.flows)
		t.Logf("%s: all %d routers with %d floating IPs moved after %v, the first after %v; a packet stream had an outage of %v; "+
			"the agent used %v of a processor", c.name, routers, routers*floating, took, first, s.outage(), w.hosts[1].cpuTime()-before)
		longest = max(longest, took)
		if n == 0 { // back, by the same way
			w.settle()
			w.hosts[1].killKeepalived()
			testkit.Eventually(t, time.Minute, "back on the first host", func() bool { return w.holds(w.hosts[0]) })
			w.settle()
		}
	}
	return longest, memory
}

// holds says whether the host has told that it is the active one of all groups.
func (w *world) holds(g *gatewayHost) bool {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	roles := w.server.host(g.name()).roles
	for _, r := range roles {
		if !r.GetActive() {
			return false
		}
	}
	return len(roles) == groupsOfMany+1
}

func TestManyRoutersMoveAtOnce(t *testing.T) {
	if took, _ := manyMove(t, 40, 5); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// BenchmarkMove: 500 routers with 2,500 floating IPs move to another host in under 3 s, the time in which it notices
// included; all processes of a host have less than 0.5 MiB for each router.
func BenchmarkMove(b *testing.B) {
	var longest time.Duration
	var memory float64
	for range b.N {
		took, each := manyMove(b, 500, 5)
		longest, memory = max(longest, took), max(memory, each)
	}
	b.ReportMetric(longest.Seconds(), "moved-s")
	b.ReportMetric(memory, "MiB-per-router")
	if longest > 3*time.Second {
		b.Errorf("it took %v, more than 3 s", longest)
	}
	if memory > 0.5 {
		b.Errorf("the processes have %.2f MiB for each router, more than 0.5", memory)
	}
}
