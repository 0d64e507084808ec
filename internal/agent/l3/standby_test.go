package l3_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// roles are the groups in which a host is active.
type roles struct {
	mu     sync.Mutex
	active map[string]bool
}

func (r *roles) Active(group string) (active, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	active, known = r.active[group]
	return active, known
}

// Prepare has nothing to prepare.
func (r *roles) Prepare(string, *netns.Handle) {}

// become makes the host active in the group, or not, and has the routers follow.
func (c *cloud) become(group string, active bool) {
	c.t.Helper()
	c.roles.mu.Lock()
	c.roles.active[group] = active
	c.roles.mu.Unlock()
	c.host.Check(c.routes.Switch())
}

// A router that becomes active while something else about it fails is announced when that is over.
func TestAnActiveRouterIsAnnouncedHoweverLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.firewall(&sb.FirewallGroup{Egress: []*sb.FirewallRule{fwRule(allow, 0, 0, 0)}}, w.redLeg)
	broken := filepath.Join(t.TempDir(), "broken")
	w.nft = filepath.Join(t.TempDir(), "nft")
	script := fmt.Sprintf("#!/bin/sh\nt=$(cat)\ncase $t in *neutrino-firewall*) [ ! -e %s ] || exit 1;; esac\necho \"$t\" | exec nft \"$@\"\n", broken)
	w.host.Check(os.WriteFile(w.nft, []byte(script), 0o755))
	w.roles = &roles{active: map[string]bool{"g1": false}}
	w.router.GatewayGroup = "g1"
	w.start()
	w.apply()
	w.allDone()

	outside := w.internet.Capture("eth0", "arp")
	w.host.Check(os.WriteFile(broken, nil, 0o600))
	w.roles.mu.Lock()
	w.roles.active["g1"] = true
	w.roles.mu.Unlock()
	w.inside(w.router).Run("nft", "delete", "table", "inet", "neutrino-firewall")
	testkit.Eventually(t, patience, "in trouble", func() bool { return strings.Contains(w.reason("router/"+w.router.RouterId), "firewalls") })
	w.host.Check(os.Remove(broken))
	w.change(func(*sb.Router) {})
	w.allDone()
	testkit.Eventually(t, patience, "announced", func() bool { return strings.Contains(outside.Seen(), "tell 203.0.113.5") })
}

func TestAStandbyIsMuteAndProgrammed(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.roles = &roles{active: map[string]bool{}}
	w.router.GatewayGroup = "g1"
	tenant, outside := w.a1.Capture("eth0", "ether src "+w.redLeg.Mac), w.internet.Capture("eth0", "ether src "+w.gateway.Mac)
	w.start()
	w.apply()
	w.allDone()
	refuse(t, w.internet, "tcp", "203.0.113.11:80")
	refuse(t, w.a1, "tcp", "10.0.2.10:80")
	for _, c := range []*testkit.Capture{tenant, outside} {
		if seen := c.Stop(); seen != "" {
			t.Errorf("the router was heard while another host forwards for it:\n%s", seen)
		}
	}

	// It is handed nothing that is for everybody, whoever wants that.
	leg := model.DeviceName(w.gateway.PortId)
	handed := func(want string) func() bool {
		return func() bool { return strings.Contains(w.host.Run("bridge", "-d", "link", "show", "dev", leg), want) }
	}
	testkit.Eventually(t, patience, "handed less", handed("bcast_flood off"))
	w.host.Run("bridge", "link", "set", "dev", leg, "flood", "on", "mcast_flood", "on", "bcast_flood", "on")
	testkit.Eventually(t, time.Second, "handed less again", handed("bcast_flood off"))

	// The networks learn where the router's MACs are now by what it says.
	tenant, outside = w.a1.Capture("eth0", "icmp6 and ip6[40] == 134"), w.internet.Capture("eth0", "arp")
	w.become("g1", true)
	testkit.Eventually(t, patience, "announced", func() bool { return strings.Contains(outside.Seen(), "tell 203.0.113.5") })
	testkit.Eventually(t, patience, "announced twice", func() bool {
		return strings.Count(outside.Seen(), "tell 203.0.113.5") > 1
	})
	expect(t, w.internet, "tcp", "203.0.113.11:80", "203.0.113.254")
	expect(t, w.a1, "tcp", "10.0.2.10:80", "10.0.1.11")
	testkit.Eventually(t, patience, "with an address of the prefix", func() bool { return slaac(w.a1) != "" })
	if tenant.Stop() == "" {
		t.Error("the router did not advertise itself")
	}

	// A restarted agent finds the router active, and changes nothing.
	inside := w.inside(w.router)
	before := kernel(inside)
	w.stop()
	delete(w.roles.active, "g1") // the new agent does not know yet
	w.start()
	w.apply()
	if after := kernel(inside); after != before {
		t.Errorf("before the restart:\n%s\nafter it:\n%s", before, after)
	}
	if n := w.drift(""); n != 0 {
		t.Errorf("changes of the role were counted as drift %v times", n)
	}

	w.become("g1", true)
	// A leg more does not silence the others.
	green := w.network(1450)
	more := green.leg("10.0.3.1/24")
	host := via(green.workload("10.0.3.10/24"), "10.0.3.1")
	w.change(func(r *sb.Router) { r.Legs = append(r.Legs, more) })
	expect(t, host, "tcp", "10.0.2.10:80", "10.0.3.10")

	outside = w.internet.Capture("eth0", "ether src "+w.gateway.Mac)
	w.become("g1", false)
	refuse(t, w.internet, "tcp", "203.0.113.11:80")
	refuse(t, w.a1, "tcp", "203.0.113.254:80")
	if seen := outside.Stop(); seen != "" {
		t.Errorf("the router was heard when it was mute again:\n%s", seen)
	}
	for _, l := range []*sb.RouterLeg{w.redLeg, w.gateway} {
		if known := w.host.Run("bridge", "fdb", "show"); strings.Contains(known, l.Mac) {
			t.Errorf("the host's bridge still leads to the mute leg with the MAC %s:\n%s", l.Mac, known)
		}
	}

	// Whoever makes it speak by hand is noticed; and a router that leaves its group forwards as any other.
	inside.Run("sh", "-c", "nft flush chain netdev neutrino-standby out")
	testkit.Eventually(t, patience, "counted as drift", func() bool { return w.drift("standby") > 0 })
	w.change(func(r *sb.Router) { r.GatewayGroup = "" })
	expect(t, w.internet, "tcp", "203.0.113.11:80", "203.0.113.254")
}

func TestAGroupThatTheHostIsNotInIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.router.GatewayGroup = "g1"
	w.start()
	w.apply()
	if got := w.reason("router/" + w.router.RouterId); !strings.Contains(got, "in no gateway group") {
		t.Errorf("the reason is %q", got)
	}
	refuse(t, w.a1, "tcp", "10.0.2.10:80")
}

// BenchmarkSwitch: 500 routers with 2,500 floating IPs become active in under 3 s, the time in which their group
// notices left out.
func BenchmarkSwitch(b *testing.B) {
	const routers, floating = 500, 5
	c := newCloud(b)
	c.quiet, c.roles = true, &roles{active: map[string]bool{}}
	external := c.network(1500)
	for i := range routers {
		r := c.router(c.network(1450).leg(fmt.Sprintf("10.%d.%d.1/24", i/250, i%250)),
			external.gateway(fmt.Sprintf("203.0.%d.%d/16", i/250, i%250+1)))
		r.GatewayGroup = fmt.Sprintf("g%d", i%4)
		for n := range floating {
			c.floating(r, fmt.Sprintf("203.0.%d.%d", 100+2*n+i/250, i%250+1), fmt.Sprintf("10.%d.%d.%d", i/250, i%250, 10+n))
		}
	}
	c.start()
	c.applyWithin(2 * time.Minute)
	c.allDone()
	all := func(active bool) time.Duration {
		for i := range 4 {
			c.roles.active[fmt.Sprintf("g%d", i)] = active
		}
		start := time.Now()
		c.host.Check(c.routes.Switch())
		return time.Since(start)
	}
	var took []time.Duration
	for b.Loop() {
		took = append(took, all(true))
		all(false)
	}
	within(b, "active-s", median(took).Seconds(), 3)
	before := cpuTime()
	all(true)
	b.ReportMetric((cpuTime() - before).Seconds(), "cpu-s")
}
