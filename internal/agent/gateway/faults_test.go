package gateway_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/testkit"
)

// fault is one of the things that go wrong with a host, or become right again.
type fault struct {
	name string
	// possible says whether it changes anything.
	possible func(g *gatewayHost) bool
	do       func(w *world, g *gatewayHost)
}

func faults() []fault {
	up := func(g *gatewayHost) bool { return g.up }
	runs := func(g *gatewayHost) bool { return g.agent != nil }
	return []fault{
		{"dies", up, func(_ *world, g *gatewayHost) { g.die() }},
		{"boots", func(g *gatewayHost) bool { return !g.up }, func(_ *world, g *gatewayHost) { g.boot() }},
		{"loses its agent", runs, func(_ *world, g *gatewayHost) { g.kill() }},
		{"has its agent back", func(g *gatewayHost) bool { return g.up && !runs(g) }, func(_ *world, g *gatewayHost) { g.start() }},
		{"loses its keepalived", runs, func(_ *world, g *gatewayHost) { g.killKeepalived() }},
		{"loses agent and keepalived", runs, func(_ *world, g *gatewayHost) { g.killAll() }},
		{"is cut off from the others", up, func(w *world, g *gatewayHost) { w.cut(g, false); w.cut(g, true) }},
		{"is alone", up, func(w *world, g *gatewayHost) {
			w.cut(g, false)
			w.cut(g, true, testkit.UnderlayIP(w.gateways+1).String())
		}},
		{"hears the others again", func(g *gatewayHost) bool { return g.alone }, func(w *world, g *gatewayHost) { w.cut(g, false) }},
		{"loses the external link", up, func(w *world, g *gatewayHost) { w.externalLink(g, "down") }},
		{"has the external link back", up, func(w *world, g *gatewayHost) { w.externalLink(g, "up") }},
		{"loses the underlay", up, func(w *world, g *gatewayHost) { w.underlayLink(g, "down") }},
		{"has the underlay back", up, func(w *world, g *gatewayHost) { w.underlayLink(g, "up") }},
	}
}

// draw chooses a host, as often as not the active one, and something that can happen to it.
func (w *world) draw(random *rand.Rand) (*gatewayHost, fault) {
	g := w.hosts[random.IntN(w.gateways)]
	if owner := w.owner(); owner != nil && random.IntN(2) == 0 {
		g = owner
	}
	possible := slices.DeleteFunc(faults(), func(f fault) bool { return !f.possible(g) })
	return g, possible[random.IntN(len(possible))]
}

func (w *world) externalLink(g *gatewayHost, state string) {
	w.outside.Run("ip", "link", "set", "o"+strconv.Itoa(g.index+1), state)
}

func (w *world) underlayLink(g *gatewayHost, state string) {
	w.sw.Run("ip", "link", "set", "p"+strconv.Itoa(g.index+1), state)
}

// heal ends all faults.
func (w *world) heal() {
	for _, g := range w.gatewayHosts() {
		w.cut(g, false)
		if !g.up {
			g.boot()
			continue
		}
		w.externalLink(g, "up")
		w.underlayLink(g, "up")
		g.start()
	}
}

// schedules is how many there are; NEUTRINO_SOAK asks for many.
func schedules() int {
	if os.Getenv("NEUTRINO_SOAK") != "" {
		return 200
	}
	return 10
}

// Whatever goes wrong: when all is well again, one host is the active one, as the far side's ARP sees it, too, and stays it;
// and workloads of all hosts reach the outside, and are reached.
func TestNoScheduleOfFaultsEndsWrong(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("NEUTRINO_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("NEUTRINO_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, 3, fastInterval)
	w.build()
	w.internet.Serve(80)
	w.vm.Serve(80)
	for n := range schedules() {
		t.Logf("schedule %d", n)
		w.schedule(random)
	}
}

func (w *world) schedule(random *rand.Rand) {
	t, start := w.t, time.Now()
	for range 2 + random.IntN(6) {
		g, f := w.draw(random)
		t.Logf("%6d ms: %s %s", time.Since(start).Milliseconds(), g.name(), f.name)
		f.do(w, g)
		time.Sleep(time.Duration(random.Int64N(int64(time.Second)))) //nolint:forbidigo // the next fault comes at any moment
	}
	t.Logf("%6d ms: all is well again", time.Since(start).Milliseconds())
	w.heal()
	w.settle()
	time.Sleep(fastInterval + time.Second) //nolint:forbidigo // from now on it has to be quiet
	owner := w.owner()
	if owner == nil {
		t.Fatal("there is not one active host")
	}
	for range 5 {
		for _, address := range []string{"203.0.113.5", "203.0.113.10"} {
			if n := w.answers(addr(address)); n != 1 {
				t.Fatalf("%d hosts answer for %s", n, address)
			}
		}
	}
	for _, vm := range w.local {
		reaches(t, vm, "203.0.113.254:80", "203.0.113.5")
	}
	reaches(t, w.vm, "203.0.113.254:80", "203.0.113.10")
	reaches(t, w.internet, "203.0.113.10:80", "203.0.113.254")
	if now := w.owner(); now != owner {
		t.Fatalf("%s is not the active host any more", owner.name())
	}
	t.Logf("%6d ms: %s is the active host, by its claim %v", time.Since(start).Milliseconds(), owner.name(),
		w.server.role(owner.name(), groupNumber).GetClaim().GetEpoch())
}
