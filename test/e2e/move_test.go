package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	agentrules "github.com/neutrino-net/neutrino/internal/service/agent"
)

// l3Agent is the id of the L3 agent of a host.
func l3Agent(host string) string { return agentrules.ID(host, model.RoleL3) }

// servedBy waits until the router's gateway is ACTIVE on the host.
func (r *routed) servedBy(limit time.Duration, host string) time.Duration {
	r.t.Helper()
	return r.eventually(limit, "the router is served by "+host, func() error {
		ports, err := r.client.Ports(r.t.Context(), map[string]string{"device_owner": "network:router_gateway"})
		if err != nil || len(ports) != 1 {
			return fmt.Errorf("gateways %v: %w", ports, err)
		}
		if p := ports[0]; p.Host != host || p.Status != "ACTIVE" {
			return fmt.Errorf("it is %s on %q; %v", p.Status, p.Host, r.show("routers", r.router)["status_reason"])
		}
		return nil
	})
}

// routers are the namespaces of routers on the host.
func (w *world) routers(host string) (names []string) {
	w.t.Helper()
	for line := range strings.Lines(w.run(host, "ip", "netns", "list")) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, "qrouter-") {
			names = append(names, name)
		}
	}
	return names
}

// TestAnOperatorMovesARouter: with the words of the agent scheduler, taken from one host and given to another. The router
// keeps its addresses, and nothing of it stays behind.
func TestAnOperatorMovesARouter(t *testing.T) {
	w := startRouted(t)
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	f := w.floating(a.ID)
	for _, p := range []place{at(a), out()} {
		w.serve(t, p, 80)
	}
	ways := func() {
		t.Helper()
		w.reach(a, b)
		w.expect(t, at(b), beyond+":80", w.gateway)
		w.expect(t, out(), f.str("floating_ip_address")+":80", outside)
		w.active(f.str("id"))
	}
	w.servedBy(5*time.Second, "network")
	ways()
	for _, move := range [][2]string{{"network", "network2"}, {"network2", "network"}} {
		from, to := move[0], move[1]
		w.s.Must(t, 204, "DELETE", "/agents/"+l3Agent(from)+"/l3-routers/"+w.router, nil, nil)
		w.s.Must(t, 201, "POST", "/agents/"+l3Agent(to)+"/l3-routers", object{"router_id": w.router}, nil)
		took := w.servedBy(10*time.Second, to)
		t.Logf("the router was on %s %v after the commands", to, took)
		ways()
		if left := w.routers(from); len(left) != 0 {
			t.Errorf("%s still has %v", from, left)
		}
	}
	if four, six := w.gatewayAddresses(); four != w.gateway || six != w.gateway6 {
		t.Errorf("the router has the addresses %s and %s now", four, six)
	}
}

// TestARouterLeavesADeadHost: the agent of the host is dead, its kernel lives on. It goes on to route for as long as its
// lease runs; then it is silent; then another host routes. No packet is ever answered twice, when the old host is back
// neither.
func TestARouterLeavesADeadHost(t *testing.T) {
	if os.Getenv("NEUTRINO_SOAK") == "" {
		t.Skip("it takes two minutes: NEUTRINO_SOAK is not set")
	}
	const after = 90 * time.Second
	w := startRouted(t, "--router-move-after", after.String())
	a := w.member(w.red, "a", "compute1")
	w.serve(t, out(), 80)
	w.servedBy(5*time.Second, "network")
	w.expect(t, at(a), beyond+":80", w.gateway)

	const pings = 1500 // ten a second
	heard := make(chan string, 1)
	go func() {
		out, _ := w.host(internet).Run(t.Context(), "ping", "-D", "-i", "0.1", "-c", fmt.Sprint(pings), w.gateway)
		heard <- out
	}()
	began := time.Now()
	w.kill("network", "agent")
	if took := w.servedBy(2*after, "network2"); took < after-15*time.Second {
		t.Errorf("the router has left after %v, before the host counted as dead", took)
	}
	w.expect(t, at(a), beyond+":80", w.gateway)
	t.Logf("the router was on network2 %v after the death of the agent", time.Since(began))
	if left := w.routers("network"); len(left) != 1 {
		t.Errorf("the dead host has the routers %v: the test shows nothing", left)
	}
	w.up()
	w.eventually(10*time.Second, "the old host has let go", func() error {
		if left := w.routers("network"); len(left) != 0 {
			return fmt.Errorf("it has %v", left)
		}
		return nil
	})
	w.expect(t, at(a), beyond+":80", w.gateway)
	text := <-heard
	if strings.Contains(text, "DUP!") {
		t.Errorf("two hosts have answered:\n%s", text)
	}
	t.Log(text[strings.LastIndex(text, "---"):])
}

// TestAServerThatIsKilledMovesNoRouter: the new server finds the router where it is, and changes nothing of it.
func TestAServerThatIsKilledMovesNoRouter(t *testing.T) {
	w := startRouted(t)
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	f := w.floating(a.ID)
	w.active(f.str("id"))
	w.reach(a, b)
	before := w.show("routers", w.router)
	const count = 400
	wait := w.background(a, b, count)
	w.kill("control", "server")
	w.up()
	w.s = w.login()
	if n := wait(); n != 0 {
		t.Errorf("%d of %d packets through the router were lost", n, count)
	}
	late := w.behind("late", "10.3.0.0/24") // what comes now is done after what the new server had to do
	w.reach(w.member(late, "c", "compute1"), b)
	w.active(f.str("id"))
	now := w.show("routers", w.router)
	// The interface is a change of its own.
	if n, was := now["revision_number"].(float64), before["revision_number"].(float64); n != was+1 {
		t.Errorf("the router has the revision %v, before %v: %v", n, was, now)
	}
	if repaired := w.drift("network"); repaired != 0 {
		t.Errorf("the agent has repaired %d things on a host that was right", repaired)
	}
}
