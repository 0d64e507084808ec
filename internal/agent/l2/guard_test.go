package l2_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The address of the host in the tests of the guard, beside that on the underlay.
const hostIP6 = "fd01::1"

// sockets are what listens on the host: on all devices, as most servers do.
type sockets struct {
	udp net.PacketConn
	tcp net.Listener
}

func listen(t *testing.T, h *testkit.Host) *sockets {
	t.Helper()
	s := &sockets{}
	h.Check(netns.Do(h.NS, func() (err error) {
		if s.udp, err = net.ListenPacket("udp", ":7777"); err == nil {
			s.tcp, err = net.Listen("tcp", ":7777")
		}
		return err
	}))
	t.Cleanup(func() {
		s.udp.Close()
		s.tcp.Close()
	})
	return s
}

// hears says whether a datagram that the workload sends to the address arrives.
func (s *sockets) hears(t *testing.T, from *testkit.Host, address string) bool {
	t.Helper()
	from.Check(netns.Do(from.NS, func() error {
		conn, err := net.Dial("udp", net.JoinHostPort(address, "7777"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("from a tenant"))
		return err
	}))
	if err := s.udp.SetReadDeadline(time.Now().Add(150 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.udp.ReadFrom(make([]byte, 100))
	return err == nil
}

// accepts says whether the workload can connect to the address.
func (s *sockets) accepts(from *testkit.Host, address string) bool {
	err := netns.Do(from.NS, func() error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, "7777"), 150*time.Millisecond)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return err == nil
}

// ping says whether one ping is answered soon.
func ping(from *testkit.Host, address string) bool {
	_, err := from.Try("ping", "-n", "-c", "1", "-W", "0.2", address)
	return err == nil
}

// A workload does what it can to reach the host: it knows its addresses, and the MAC of the bridge. Every way is shown
// to be open without the guard, or the test would prove nothing.
func TestAWorkloadCannotReachTheHost(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	h.Check(h.NL.AddAddress(h.Link("eth0").Index, netip.MustParsePrefix(hostIP6+"/64")))
	h.Run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
	workload, other := plug(h, 1), plug(h, 2)
	part, _ := newPart(t, h, 0)
	apply(t, part, vxlan(networkA, 10), port(networkA, 1), port(networkA, 2))
	host := testkit.UnderlayIP(0).String()
	s := listen(t, h)
	workload.Run("ip", "route", "add", host, "dev", "eth0")
	workload.Run("ip", "route", "add", hostIP6, "dev", "eth0")
	h.Run("ip", "route", "add", "10.0.0.0/16", "dev", bridgeA) // for the answers, which are out of reach otherwise

	static := func(address, mac string) {
		workload.Run("ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent")
	}
	bridgeMAC := h.Link(bridgeA).MAC.String()
	ways := []struct {
		name string
		open func() bool
		// closed: the way is closed by other means, too.
		closed bool
	}{
		{"ARP", func() bool {
			_, _ = workload.Try("ip", "neigh", "del", host, "dev", "eth0") // there may be none
			return strings.Contains(captured(t, workload, "eth0", "arp", func() { ping(workload, host) }), "is-at")
		}, false},
		{"UDP to the MAC of the bridge", func() bool {
			static(host, bridgeMAC)
			return s.hears(t, workload, host)
		}, false},
		{"UDP to everybody", func() bool {
			static(host, "ff:ff:ff:ff:ff:ff")
			return s.hears(t, workload, host)
		}, false},
		{"UDP to LLDP's group", func() bool {
			static(host, "01:80:c2:00:00:0e")
			return s.hears(t, workload, host)
		}, false},
		{"UDP to another group that bridges do not forward", func() bool {
			static(host, "01:80:c2:00:00:03")
			return s.hears(t, workload, host)
		}, false},
		{"ARP to such a group", func() bool {
			// Answered, it would be as the announcement of an address is: to the asking MAC.
			return strings.Contains(captured(t, workload, "eth0", "arp", func() {
				workload.AskARP("eth0", "01:80:c2:00:00:0e", mac(1), ip4(1), host)
			}), "is-at")
		}, false},
		{"TCP", func() bool {
			static(host, bridgeMAC)
			return s.accepts(workload, host)
		}, false},
		{"ping", func() bool {
			static(host, bridgeMAC)
			return ping(workload, host)
		}, false},
		{"IPv6", func() bool {
			static(hostIP6, bridgeMAC)
			return s.hears(t, workload, hostIP6) || s.accepts(workload, hostIP6)
		}, true},
		{"through the host", func() bool {
			workload.Run("ip", "route", "replace", "192.0.2.77", "dev", "eth0")
			static("192.0.2.77", bridgeMAC)
			return strings.Contains(captured(t, h, "eth0", "arp or icmp", func() { ping(workload, "192.0.2.77") }), "192.0.2.77")
		}, false},
	}
	for _, w := range ways {
		if w.open() {
			t.Errorf("%s: open", w.name)
		}
	}
	// The bridge still lets workloads speak to each other, also where netfilter looks at bridged frames.
	for _, setting := range []string{"0", "1"} {
		// There are no such settings where br_netfilter is not loaded.
		_, _ = h.Try("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables="+setting,
			"net.bridge.bridge-nf-call-ip6tables="+setting, "net.bridge.bridge-nf-call-arptables="+setting)
		for _, address := range []string{ip4(2), ip6(2)} {
			workload.Run("ip", "neigh", "flush", "dev", "eth0", "nud", "reachable", "nud", "stale", "nud", "failed")
			if n := workload.Ping(address, 2); n != 2 {
				t.Errorf("%d of 2 pings of %s answered, with bridge netfilter %s", n, address, setting)
			}
		}
	}
	if other.Ping(ip6(1), 1) != 1 {
		t.Error("IPv6 does not work the other way round")
	}

	for _, family := range []string{"inet", "arp"} {
		h.Run("nft", "delete", "table", family, "neutrino-guard")
	}
	for _, w := range ways {
		if !w.closed && !soon(w.open) {
			t.Errorf("%s: closed without the guard, so this test proves nothing", w.name)
		}
	}
}

// soon tries a few times: on a busy machine a capture may begin too late for the one frame that it waits for.
func soon(open func() bool) bool {
	for range 5 {
		if open() {
			return true
		}
	}
	return false
}

func TestTheGuardIsPutBack(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	a := start(t, h, 0)
	a.send(vxlan(networkA, 10))
	right := h.Run("nft", "list", "ruleset")
	if strings.Count(right, "table ") != 2 {
		t.Fatalf("the guard is not complete:\n%s", right)
	}
	for _, command := range []string{
		"flush table inet neutrino-guard", "delete table arp neutrino-guard", "flush ruleset",
		"insert rule inet neutrino-guard forward accept",
	} {
		before := drift(t, a.registry, "guard")
		h.Run("nft", command)
		took := testkit.Eventually(t, 10*time.Second, "put back and counted after: "+command, func() bool {
			return drift(t, a.registry, "guard") == before+1 && h.Run("nft", "list", "ruleset") == right
		})
		t.Logf("put back after %s", took.Round(time.Millisecond))
	}
}

func TestWithoutTheGuardNoNetworkIsPutUp(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	plug(h, 1)
	make := func(program string) *l2.Part {
		part, err := l2.New(l2.Options{
			Namespace: h.NS, TunnelIP: testkit.UnderlayIP(0), Metrics: reconcile.NewMetrics(prometheus.NewRegistry()),
			Logger: slog.New(slog.DiscardHandler), NFT: program,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(part.Close)
		return part
	}
	view := agent.NewView(1, vxlan(networkA, 10), port(networkA, 1))
	part := make("no-such-nft")
	check := func(what string) {
		t.Helper()
		for _, key := range []string{"segment/" + networkA, "port/" + portID(1)} {
			s := statusesOf(t, part, view)[key]
			if s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, "install the package nftables") {
				t.Errorf("%s: %s: %s %q", what, key, s.State, s.Reason)
			}
		}
		if l, err := h.NL.LinkByName(bridgeA); err == nil && l.Up || h.Link(device(1)).Up {
			t.Errorf("%s: the network is up", what)
		}
	}
	check("a fresh host")
	h.Run("ip", "link", "add", bridgeA, "type", "bridge")
	for range 2 { // later passes, after the pause that follows a failure, hold back as well
		check("a bridge that is down")
		time.Sleep(200 * time.Millisecond) //nolint:forbidigo // the pause that follows a failure
	}
	h.Run("ip", "link", "del", bridgeA)

	apply(t, make(""), vxlan(networkA, 10), port(networkA, 1))
	part = make("no-such-nft")
	statuses := statusesOf(t, part, view)
	if s := statuses["segment/"+networkA]; s.State != sb.ObjectStatus_STATE_ERROR || !h.Link(bridgeA).Up {
		t.Errorf("a network that is up: up %v, %s %q", h.Link(bridgeA).Up, s.State, s.Reason)
	}
	if s := statuses["port/"+portID(1)]; s.State != sb.ObjectStatus_STATE_DONE {
		t.Errorf("a port that is up: %s %q", s.State, s.Reason)
	}
}

// The guard is watched beside the devices: the end of one subscription ends the other.
func TestWatchEndsWithItsContext(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	part, _ := newPart(t, h, 0)
	ctx, cancel := context.WithCancel(t.Context())
	done, told := make(chan error, 1), make(chan struct{}, 100)
	go func() { done <- part.Watch(ctx, func() { told <- struct{}{} }) }()
	<-told
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
