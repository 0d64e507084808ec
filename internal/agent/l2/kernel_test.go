package l2_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}

// entries are the static forwarding entries of VXLAN devices and the permanent neighbours, as text.
func entries(h *testkit.Host, names map[int]string) (lines []string) {
	for index, name := range names {
		if !strings.HasPrefix(name, "vxlan") {
			continue
		}
		forwarding, err := h.NL.Forwarding(index, func(n netlinkx.Neigh) bool {
			return n.Index == index && n.Static() && (n.Master == 0 || n.State&netlink.NUD_PERMANENT == 0)
		})
		h.Check(err)
		for _, n := range forwarding {
			where := "to " + n.IP.String()
			if n.Master != 0 {
				where = "on " + names[n.Master]
			}
			lines = append(lines, fmt.Sprintf("fdb %s %s %s", name, n.MAC, where))
		}
	}
	neighbours, err := h.NL.Neighbours(unix.AF_INET, func(n netlinkx.Neigh) bool {
		return n.State&netlink.NUD_PERMANENT != 0
	})
	h.Check(err)
	for _, n := range neighbours {
		lines = append(lines, fmt.Sprintf("neigh %s %s %s", names[n.Index], n.IP, n.MAC))
	}
	// A kernel with VLAN filtering has each entry of a bridge twice, once for the bridge's own VLAN.
	slices.Sort(lines)
	return slices.Compact(lines)
}

// twoHosts are two hosts with a workload each on networkA, applied and reachable.
func twoHosts(t *testing.T) (hosts, workloads []*testkit.Host, documents [][]*sb.Document) {
	hosts = testkit.Underlay(t, 2)
	for i, h := range hosts {
		workloads = append(workloads, plug(h, i+1))
		peer := 1 - i
		documents = append(documents, []*sb.Document{
			vxlan(networkA, 10), port(networkA, i+1), neighbour(networkA, peer+1, testkit.UnderlayIP(peer)),
		})
	}
	return hosts, workloads, documents
}

func TestTwoHostsReachEachOtherAndTheThirdHearsNothing(t *testing.T) {
	hosts := testkit.Underlay(t, 3)
	w1, w2 := plug(hosts[0], 1), plug(hosts[1], 2)
	plug(hosts[2], 3)
	part1, _ := newPart(t, hosts[0], 0)
	part2, _ := newPart(t, hosts[1], 1)
	part3, _ := newPart(t, hosts[2], 2)
	apply(t, part1, vxlan(networkA, 10), port(networkA, 1), neighbour(networkA, 2, testkit.UnderlayIP(1)))
	apply(t, part2, vxlan(networkA, 10), port(networkA, 2), neighbour(networkA, 1, testkit.UnderlayIP(0)))
	// The third host has a port of another network only.
	apply(t, part3, vxlan(networkB, 11), port(networkB, 3))
	testkit.Eventually(t, 5*time.Second, "reachable", func() bool { return w1.Ping(ip4(2), 1) == 1 })

	// Requests for a known address are answered on the host and do not enter the tunnel.
	w1.Run("ip", "neigh", "flush", "dev", "eth0")
	sent := captured(t, hosts[0], "vxlan-10", "arp", func() {
		if n := w1.Ping(ip4(2), 5); n != 5 {
			t.Errorf("%d of 5 pings answered", n)
		}
	})
	if sent != "" {
		t.Errorf("ARP for a known address entered the tunnel:\n%s", sent)
	}
	if n := w1.Ping(ip6(2), 5); n != 5 {
		t.Errorf("%d of 5 IPv6 pings answered", n)
	}

	// Broadcast reaches the peer, and not the host without a port of the network.
	heard := captured(t, hosts[2], "eth0", "udp port 4789", func() {
		w1.Ping("10.0.200.1", 1)                                                        // nobody has the address: broadcast ARP
		_, _ = w2.Try("ping", "-b", "-c", "3", "-i", "0.05", "-W", "1", "10.0.255.255") // nobody answers
	})
	if heard != "" {
		t.Errorf("the host without a port got frames of the network:\n%s", heard)
	}
}

// captured returns what tcpdump saw on a device of the host while f ran.
func captured(t *testing.T, h *testkit.Host, device, filter string, f func()) string {
	t.Helper()
	c := h.Capture(device, filter)
	f()
	return c.Stop()
}

func TestAnAddressThatMovesIsLearned(t *testing.T) {
	hosts, workloads, documents := twoHosts(t)
	third := plug(hosts[0], 3)
	documents[0] = append(documents[0], port(networkA, 3))
	documents[1] = append(documents[1], neighbour(networkA, 3, testkit.UnderlayIP(0)))
	for i, h := range hosts {
		part, _ := newPart(t, h, i)
		apply(t, part, documents[i]...)
	}
	// A virtual address with a MAC of its own, known to nobody, is first on host 1 ...
	virtual := func(h *testkit.Host) {
		h.Run("ip", "link", "add", "link", "eth0", "name", "vip", "type", "macvlan", "mode", "bridge")
		h.Run("ip", "link", "set", "vip", "address", "02:00:00:00:00:99")
		h.Run("ip", "addr", "add", "10.0.0.99/16", "dev", "vip")
		h.Run("ip", "link", "set", "vip", "up")
		h.Run("ip", "route", "replace", "10.0.0.0/16", "dev", "vip", "src", "10.0.0.99")
		_, _ = h.Try("ping", "-c", "1", "-W", "1", "-I", "vip", "10.0.200.1") // makes itself heard; nobody answers
	}
	virtual(third)
	testkit.Eventually(t, 5*time.Second, "reachable on host 1", func() bool {
		return workloads[1].Ping("10.0.0.99", 1) == 1
	})
	third.Run("ip", "link", "del", "vip")
	// ... and then on host 2; host 1 follows.
	virtual(workloads[1])
	testkit.Eventually(t, 5*time.Second, "reachable on host 2", func() bool {
		return workloads[0].Ping("10.0.0.99", 1) == 1
	})
}

// Gratuitous ARP tells the workloads of all hosts that an address has moved (VRRP). It must enter the tunnel although
// requests are answered locally.
func TestGratuitousARPCrossesTheTunnel(t *testing.T) {
	hosts, workloads, documents := twoHosts(t)
	for i, h := range hosts {
		part, _ := newPart(t, h, i)
		apply(t, part, documents[i]...)
	}
	testkit.Eventually(t, 5*time.Second, "reachable", func() bool { return workloads[0].Ping(ip4(2), 1) == 1 })
	heard := captured(t, workloads[1], "eth0", "arp", func() { workloads[0].Announce("eth0", mac(1), "10.0.0.99") })
	if !strings.Contains(heard, "10.0.0.99") {
		t.Errorf("the announcement of 10.0.0.99 did not arrive; heard: %q", heard)
	}
}

func TestDriftHealsAndIsCounted(t *testing.T) {
	hosts, workloads, documents := twoHosts(t)
	var agents []*running
	for i, h := range hosts {
		agents = append(agents, start(t, h, i))
		agents[i].send(documents[i]...)
	}
	h, a := hosts[0], agents[0]
	testkit.Eventually(t, 5*time.Second, "reachable", func() bool { return workloads[0].Ping(ip4(2), 1) == 1 })
	right := kernel(h)

	for _, c := range []struct {
		name, kind string
		command    []string
	}{
		{"bridge deleted", "bridge", []string{"ip", "link", "del", bridgeA}},
		{"bridge down", "bridge", []string{"ip", "link", "set", bridgeA, "down"}},
		{"bridge without mark", "bridge", []string{"ip", "link", "set", bridgeA, "alias", ""}},
		{"member taken out", "member", []string{"ip", "link", "set", device(1), "nomaster"}},
		{"member down", "member", []string{"ip", "link", "set", device(1), "down"}},
		{"member with another mtu", "member", []string{"ip", "link", "set", device(1), "mtu", "1400"}},
		{"tunnel deleted", "vxlan", []string{"ip", "link", "del", "vxlan-10"}},
		{"tunnel out of its bridge", "vxlan", []string{"ip", "link", "set", "vxlan-10", "nomaster"}},
		{"forwarding entry deleted", "fdb", []string{"bridge", "fdb", "del", mac(2), "dev", "vxlan-10", "self"}},
		{"bridge entry deleted", "fdb", []string{"bridge", "fdb", "del", mac(2), "dev", "vxlan-10", "master"}},
		{"flooding entry deleted", "fdb",
			[]string{"bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "vxlan-10", "dst", "192.0.2.2"}},
		{"flooding entry added", "fdb",
			[]string{"bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vxlan-10", "dst", "192.0.2.77"}},
		{"neighbour deleted", "neighbour", []string{"ip", "neigh", "del", ip4(2), "dev", bridgeA}},
		{"neighbour changed", "neighbour",
			[]string{"ip", "neigh", "replace", ip4(2), "lladdr", "02:00:00:00:00:01", "dev", bridgeA, "nud", "permanent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := drift(t, a.registry, c.kind)
			h.Run(c.command[0], c.command[1:]...)
			took := testkit.Eventually(t, 2*time.Second, "healed and counted", func() bool {
				return drift(t, a.registry, c.kind) > before && kernel(h) == right
			})
			t.Logf("healed in %s", took.Round(time.Millisecond))
			if n := workloads[0].Ping(ip4(2), 1); n != 1 {
				t.Error("healed, but the other host cannot be reached")
			}
		})
	}
}

func TestARestartedAgentChangesNothing(t *testing.T) {
	hosts, workloads, documents := twoHosts(t)
	for i, h := range hosts {
		part, _ := newPart(t, h, i)
		apply(t, part, documents[i]...)
	}
	testkit.Eventually(t, 5*time.Second, "reachable", func() bool { return workloads[0].Ping(ip4(2), 1) == 1 })
	events := hosts[0].Monitor()
	part, registry := newPart(t, hosts[0], 0)
	apply(t, part, documents[0]...)
	apply(t, part, documents[0]...)
	if seen := events(); len(seen) != 0 {
		t.Errorf("a second agent made changes:\n%s", strings.Join(seen, "\n"))
	}
	if n := drift(t, registry, ""); n != 0 {
		t.Errorf("a fresh start counted %v drift", n)
	}
}

func TestATapThatAppearsIsWiredAtOnce(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	a := start(t, h, 0)
	a.send(vxlan(networkA, 10), port(networkA, 1))
	if s := a.status("port/" + portID(1)); s != sb.ObjectStatus_STATE_ABSENT {
		t.Fatalf("status before the device is there: %s", s)
	}
	testkit.Eventually(t, 5*time.Second, "quiet", func() bool { return a.status("segment/"+networkA) != 0 })
	plug(h, 1)
	took := testkit.Eventually(t, 2*time.Second, "reported as done", func() bool {
		return a.status("port/"+portID(1)) == sb.ObjectStatus_STATE_DONE
	})
	t.Logf("done %s after the workload was complete", took)
	h.Run("ip", "link", "del", device(1))
	testkit.Eventually(t, 2*time.Second, "reported as absent", func() bool {
		return a.status("port/"+portID(1)) == sb.ObjectStatus_STATE_ABSENT
	})
	if n := drift(t, a.registry, ""); n != 0 {
		t.Errorf("a workload that comes and goes was counted as drift: %v", n)
	}
}

// Below an MTU of 1280 the kernel takes IPv6 off a device, and above it makes it anew: on, with an address, and open to
// the router advertisements of the workloads.
func TestTheHostHasNoIPv6OnANetworkWhateverTheMTUWas(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	plug(h, 1)
	part, registry := newPart(t, h, 0)
	for _, mtu := range []uint32{1450, 1200, 1450, 1279, 1280} {
		s, p := vxlan(networkA, 10), port(networkA, 1)
		s.GetSegment().Mtu, p.GetPort().Mtu = mtu, mtu
		apply(t, part, s, p)
		for _, device := range []string{bridgeA, device(1), "vxlan-10"} {
			l := h.Link(device)
			if out := h.Run("ip", "-6", "-o", "addr", "show", "dev", device); l.MTU != int(mtu) || out != "" {
				t.Errorf("%s with mtu %d, wanted %d, has the addresses %q", device, l.MTU, mtu, out)
			}
			if l.IPv6 != nil && !l.IPv6.Disabled {
				t.Errorf("IPv6 of %s is on with mtu %d", device, mtu)
			}
		}
		apply(t, part, s, p)
	}
	if n := drift(t, registry, ""); n != 0 {
		t.Errorf("changes of the view were counted as drift: %v", n)
	}
	apply(t, part, vxlan(networkA, 10), port(networkA, 1))
	h.Run("sysctl", "-qw", "net.ipv6.conf."+bridgeA+".disable_ipv6=0")
	h.Run("ip", "addr", "add", "fd00::66/64", "dev", bridgeA)
	apply(t, part, vxlan(networkA, 10), port(networkA, 1))
	if out := h.Run("ip", "-6", "-o", "addr", "show", "dev", bridgeA); out != "" || drift(t, registry, "bridge") != 1 {
		t.Errorf("addresses %q, drift %v", out, drift(t, registry, "bridge"))
	}
}

// A document that cannot be understood protects its network, and the ports whose own documents want them there.
func TestAPortThatIsGoneLeavesABrokenNetwork(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	for n := 1; n <= 3; n++ {
		plug(h, n)
	}
	part, _ := newPart(t, h, 0)
	apply(t, part, vxlan(networkA, 10), port(networkA, 1), port(networkA, 2), port(networkA, 3))
	broken, down := vxlan(networkA, 10), port(networkA, 3)
	broken.GetSegment().Mtu = 10
	down.GetPort().AdminStateUp = false
	statusesOf(t, part, agent.NewView(2, broken, port(networkA, 1), down))
	bridge := h.Link(bridgeA)
	for n, stays := range map[int]bool{1: true, 2: false, 3: false} {
		if l := h.Link(device(n)); l.Up != stays || (l.Master == bridge.Index) != stays {
			t.Errorf("port %d: up %v, in the bridge %v; want both %v", n, l.Up, l.Master == bridge.Index, stays)
		}
	}
}

func TestPoisonedDocumentsHoldUpNoOther(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	part, _ := newPart(t, h, 0)
	documents := []*sb.Document{vxlan(networkA, 10)}
	for n := 1; n <= 480; n++ {
		documents = append(documents, neighbour(networkA, n, testkit.UnderlayIP(1+n%20)))
	}
	poison := map[string]string{} // key → a word that the reason must name
	add := func(word string, d *sb.Document, change func(*sb.Document)) {
		change(d)
		poison[d.Key] = word
		documents = append(documents, d)
	}
	at := testkit.UnderlayIP(1)
	add("mac", neighbour(networkA, 1001, at), func(d *sb.Document) { d.GetNeighbour().Mac = "01:00:5e:00:00:01" })
	add("mac", neighbour(networkA, 1002, at), func(d *sb.Document) { d.GetNeighbour().Mac = "00:00:00:00:00:00" })
	add("mac", neighbour(networkA, 1003, at), func(d *sb.Document) { d.GetNeighbour().Mac = "nonsense\nmore" })
	add("ip", neighbour(networkA, 1004, at), func(d *sb.Document) { d.GetNeighbour().Ips = []string{"10.0.0.256"} })
	add("ip", neighbour(networkA, 1005, at), func(d *sb.Document) { d.GetNeighbour().Ips = []string{"224.0.0.1"} })
	add("vtep", neighbour(networkA, 1006, at), func(d *sb.Document) { d.GetNeighbour().Vtep = "239.1.1.1" })
	add("vtep", neighbour(networkA, 1007, at), func(d *sb.Document) { d.GetNeighbour().Vtep = "192.0.2.1" })
	add("mac", neighbour(networkA, 1008, at), func(d *sb.Document) { d.GetNeighbour().Mac = mac(1) })
	add("segment", neighbour(networkB, 1009, at), func(*sb.Document) {})
	add("body", neighbour(networkA, 1010, at), func(d *sb.Document) { d.Body = nil })
	add("device", port(networkA, 1011), func(d *sb.Document) { d.GetPort().Device = "tap-much-too-long-a-name" })
	add("device", port(networkA, 1012), func(d *sb.Document) { d.GetPort().Device = "eth0" })
	add("mtu", port(networkA, 1013), func(d *sb.Document) { d.GetPort().Mtu = 10 })
	network := func(n int) string { return fmt.Sprintf("cccccc%02x-cc00-4000-8000-000000000000", n) }
	add("mtu", vxlan(network(1), 21), func(d *sb.Document) { d.GetSegment().Mtu = 10 })
	add("segmentation_id", vxlan(network(2), 1<<24), func(*sb.Document) {})
	add("segmentation_id", vxlan(network(3), 10), func(*sb.Document) {})
	add("vlan", vxlan(network(4), 10), func(d *sb.Document) { d.GetSegment().NetworkType = "vlan" })
	// This one the kernel itself refuses: a bridge cannot be a member of a bridge.
	h.Check(h.NL.AddBridge(device(1014), netlinkx.MAC{}, netlinkx.BridgeInfo{}))
	add("put "+device(1014)+" into bridge", port(networkA, 1014), func(*sb.Document) {})

	statuses := statusesOf(t, part, agent.NewView(1, documents...))
	if len(statuses) != len(documents) {
		t.Errorf("%d statuses of %d documents", len(statuses), len(documents))
	}
	for key, s := range statuses {
		word, poisoned := poison[key]
		switch {
		case poisoned && (s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, word)):
			t.Errorf("%s: %s, reason %q; want an error that names %q", key, s.State, s.Reason, word)
		case !poisoned && s.State == sb.ObjectStatus_STATE_ERROR:
			t.Errorf("%s is good, but in error: %s", key, s.Reason)
		}
	}
	if n := strings.Count(kernel(h), "neigh "); n != 480 {
		t.Errorf("%d neighbours in the kernel, want 480", n)
	}
}

// TestWhatBridgesTellOfTheirPortsIsHeardOnce: gateways that move change what thousands of ports are handed, and nobody else
// has to look for that.
func TestWhatBridgesTellOfTheirPortsIsHeardOnce(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	part, _ := newPart(t, h, 0)
	plug(h, 1)
	apply(t, part, vxlan(networkA, 100), port(networkA, 1))
	var heard atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- part.Watch(ctx, func() { heard.Add(1) }) }()
	set := func(attribute, value string) {
		h.Run("bridge", "link", "set", "dev", device(1), attribute, value)
	}
	since := func() int32 {
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // it is the silence that is tested
		return heard.Swap(0)
	}
	testkit.Eventually(t, 5*time.Second, "watching", func() bool { return heard.Load() > 0 })
	set("flood", "off")
	since()
	set("flood", "on")
	set("bcast_flood", "off")
	set("mcast_flood", "off")
	if n := since(); n != 0 {
		t.Errorf("what a port is handed was heard %d times", n)
	}
	set("neigh_suppress", "on")
	if since() == 0 {
		t.Error("what the part keeps right was changed, and not heard of")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
