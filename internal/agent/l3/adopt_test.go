package l3_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nswatch"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// kernel is what a person would look at in a namespace, with the handles of nftables: they tell a rule from a later one
// which says the same.
func kernel(h *testkit.Host) string {
	return strings.Join([]string{
		h.Run("ip", "-o", "link"), h.Run("ip", "-o", "addr"), h.Run("ip", "route", "show", "table", "all"),
		h.Run("ip", "-6", "route", "show", "table", "main"), h.Run("ip", "neigh", "show", "proxy"),
		h.Run("nft", "-nn", "-a", "list", "ruleset"), h.Run("sysctl", "-a", "-r", `^net\.ipv[46]\.(conf|ip_forward)`),
	}, "\n")
}

// full is a world with something of everything.
func full(t testing.TB) *world {
	w := newWorld(t)
	w.redLeg.Ips = append(w.redLeg.Ips, "2001:db8:1::1/64")
	w.redLeg.Advertised = []*sb.RouterPrefix{{Prefix: "2001:db8:1::/64", RaMode: "slaac"}}
	w.gateway.Ips = append(w.gateway.Ips, "2001:db8:f::5/64")
	w.router.DefaultGateways = append(w.router.DefaultGateways, "2001:db8:f::1")
	w.router.Routes = []*sb.Route{{Destination: "10.9.0.0/24", Nexthop: "10.0.1.12"}}
	w.router.NdpProxied = []string{"2001:db8:f::77"}
	w.router.ConntrackHelpers = []*sb.ConntrackHelper{{Protocol: "tcp", Port: 21, Helper: "ftp"}}
	w.floating(w.router, "203.0.113.11", "10.0.1.11")
	w.floating(w.router, "203.0.113.30", "")
	w.forward(w.router, &sb.PortForwarding{Address: "203.0.113.30", Protocol: "tcp", ExternalFirst: 8080, ExternalLast: 8080,
		InternalIp: "10.0.2.10", InternalFirst: 80, InternalLast: 80})
	return w
}

func TestARestartedAgentChangesNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.start()
	w.apply()
	w.allDone()
	expect(t, w.internet, "tcp", "203.0.113.11:80", "203.0.113.254")
	inside := w.inside(w.router)
	before := kernel(inside)
	w.stop()

	var events atomic.Int64
	watcher := nswatch.New(nil, func(string, nswatch.Kind) { events.Add(1) })
	defer watcher.Close()
	if err := watcher.Add(inside.NS); err != nil {
		t.Fatal(err)
	}
	stopMonitor := w.host.Monitor()
	answered := make(chan int)
	go func() { answered <- w.internet.Ping("203.0.113.11", 50) }()
	w.start()
	w.apply()
	w.allDone()
	if n := <-answered; n != 50 {
		t.Errorf("%d of 50 pings were answered while the agent started", n)
	}
	for _, e := range stopMonitor() {
		if strings.Contains(e, "tap") {
			t.Errorf("the restarted agent changed the host: %s", e)
		}
	}
	if n := events.Load(); n != 0 {
		t.Errorf("%d changes in the router's namespace", n)
	}
	if after := kernel(inside); after != before {
		t.Errorf("before the restart:\n%s\nafter it:\n%s", before, after)
	}
	if n := w.drift(""); n != 0 {
		t.Errorf("a restart found %v times drift", n)
	}
}

func TestDriftIsRepairedAndCounted(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.start()
	w.apply()
	w.allDone()
	expect(t, w.internet, "tcp", "203.0.113.11:80", "203.0.113.254") // all legs are up
	expect(t, w.a1, "tcp", "10.0.2.10:80", "10.0.1.11")
	inside := w.inside(w.router)
	red, gateway := "qr-"+w.redLeg.PortId[:11], "qg-"+w.gateway.PortId[:11]
	tap := "tap" + w.redLeg.PortId[:11]
	for _, x := range []struct {
		kind   string
		where  *testkit.Host
		change string
	}{
		{"address", inside, "ip addr del 10.0.1.1/24 dev " + red},
		{"address", inside, "ip addr add 10.0.1.77/24 dev " + red},
		{"address", inside, "ip addr del 203.0.113.11/32 dev " + gateway},
		{"address", inside, "ip -6 addr flush dev " + red},
		{"route", inside, "ip route del default"},
		{"route", inside, "ip -6 route del default"},
		{"route", inside, "ip route change 10.9.0.0/24 via 10.0.1.13 proto 78"},
		{"route", inside, "ip route add 10.99.0.0/24 via 10.0.1.13 proto 78"},
		{"link", inside, "ip link del " + red},
		{"link", inside, "ip link set " + red + " down"},
		{"link", inside, "ip link set " + red + " mtu 1300"},
		{"link", inside, "ip link set " + red + " address fa:16:3e:99:99:99"},
		{"link", inside, "ip link set " + red + " alias other"},
		{"link", w.host, "ip link del " + tap},
		{"setting", inside, "sysctl -w net.ipv4.ip_forward=0"},
		{"setting", inside, "sysctl -w net.ipv6.conf.all.forwarding=0"},
		{"setting", inside, "sysctl -w net.ipv4.conf." + red + ".rp_filter=1"},
		{"rules", inside, "nft flush ruleset"},
		{"rules", inside, "nft delete table inet neutrino-router"},
		{"rules", inside, "nft flush chain inet neutrino-router destination"},
		{"rules", inside, "nft insert rule inet neutrino-router outbound drop"},
		{"rules", inside, "nft add chain inet neutrino-router destination '{ policy drop; }'"},
		{"helpers", inside, "nft delete table inet neutrino-helpers"},
		{"translation", inside, "nft delete element inet neutrino-router fixed-of '{ 203.0.113.11 }'"},
		{"translation", inside, "nft add element inet neutrino-router floating-of '{ 10.0.1.12 : 203.0.113.6 }'"},
		{"translation", inside, "nft flush map inet neutrino-router forwarded"},
		{"namespace", w.host, "ip netns delete " + inside.Name + " || true"}, // it may be back at once
	} {
		t.Run(x.change, func(t *testing.T) {
			before, right := w.drift(x.kind), stable(inside)
			x.where.Run("sh", "-c", x.change)
			testkit.Eventually(t, patience, "counted as drift of "+x.kind, func() bool { return w.drift(x.kind) > before })
			testkit.Eventually(t, patience, "as before", func() bool { return stable(inside) == right })
		})
	}
	h, err := netns.Open("qrouter-" + w.router.RouterId)
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	expect(t, w.internet, "tcp", "203.0.113.11:80", "203.0.113.254")
}

// stable is the state of a router without what differs when a part of it was made anew.
func stable(inside *testkit.Host) string {
	return sortedLines(inside.Run("sh", "-c", `ip -br link | sed 's/@[^ ]*//'; `+
		`ip -br addr | sed 's/@[^ ]*//' | awk '{for (i = 3; i <= NF; i++) print $1, $i}'; ip route; ip -6 route show default; `+
		`nft -nn list ruleset; sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding`))
}

func TestOneBadRouterHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := w.router
	bad.Legs = append(bad.Legs, &sb.RouterLeg{PortId: "no-uuid", Mac: "fa:16:3e:01:01:01", Mtu: 1500})
	bad.ConntrackHelpers = []*sb.ConntrackHelper{{Protocol: "tcp", Port: 99, Helper: "nonexistent"}}
	occupied := w.cloud.router()
	worse := "router/not-a-uuid"
	w.put(&sb.Document{Key: worse, Body: &sb.Document_Router{Router: &sb.Router{RouterId: "not-a-uuid", AdminStateUp: true}}})
	foreign, err := netns.Create("qrouter-" + occupied.RouterId)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	testkit.OpenHost(t, foreign.Name()).Run("ip", "link", "add", "qr-foreign", "type", "bridge")
	lost := w.floating(&sb.Router{RouterId: "00000000-0000-4000-8000-000000000001"}, "203.0.113.99", "10.0.1.12")
	taken := w.floating(w.router, "203.0.113.5", "10.0.1.12")
	good := w.cloud.router(w.red.leg("10.0.1.2/24"), w.external.gateway("203.0.113.7/24"))
	key := w.floating(good, "203.0.113.11", "10.0.1.11")
	w.start()
	w.apply()
	for key, want := range map[string]string{
		"router/" + bad.RouterId:      "no-uuid",
		"router/" + occupied.RouterId: "not ours",
		worse:                         "not a UUID",
		lost:                          "does not forward",
		taken:                         "address of the router itself",
		key:                           "",
		"router/" + good.RouterId:     "",
	} {
		if got := w.reason(key); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: the reason is %q, want %q in it", key, got, want)
		}
	}
	if got := w.reason("router/" + bad.RouterId); !strings.Contains(got, "helpers") {
		t.Errorf("the helper that the kernel lacks is not told: %q", got)
	}
	expect(t, w.a1, "tcp", "10.0.2.10:80", "10.0.1.11") // what can be had of the bad one is there
	via(w.a1, "10.0.1.2")
	expect(t, w.a1, "tcp", "203.0.113.254:80", "203.0.113.11")
}

// A document that cannot be understood any more cuts nobody off.
func TestALegWithABadDocumentStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.apply()
	expect(t, w.a1, "tcp", "10.0.2.10:80", "10.0.1.11")
	w.change(func(r *sb.Router) { r.Legs[0].Mac = "?" })
	if got := w.reason("router/" + w.router.RouterId); !strings.Contains(got, "Ethernet") {
		t.Errorf("the reason is %q", got)
	}
	expect(t, w.a1, "tcp", "10.0.2.10:80", "10.0.1.11")
	w.change(func(r *sb.Router) { r.Legs = r.Legs[1:] })
	w.allDone()
	refuse(t, w.a1, "tcp", "10.0.2.10:80")
}

func TestARouterThatIsGoneLeavesNothing(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.start()
	w.apply()
	tap := "tap" + w.redLeg.PortId[:11]
	w.host.Link(tap)

	w.change(func(r *sb.Router) { r.AdminStateUp = false })
	w.gone(w.router.RouterId, tap)
	w.allDone()
	w.change(func(r *sb.Router) { r.AdminStateUp = true })
	expect(t, w.internet, "tcp", "203.0.113.11:80", "203.0.113.254")

	// It goes while the agent is away.
	w.stop()
	for key, d := range w.documents {
		if d.GetRouter() != nil || d.GetFloatingIp() != nil || d.GetPortForwarding() != nil {
			delete(w.documents, key)
		}
	}
	w.start()
	w.apply()
	w.gone(w.router.RouterId, tap)
}

func (w *world) gone(id, tap string) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, "removed", func() bool {
		h, err := netns.Open("qrouter-" + id)
		if err == nil {
			h.Close()
			return false
		}
		_, err = w.host.NL.LinkByName(tap)
		return err != nil
	})
}
