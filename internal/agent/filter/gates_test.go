package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/testkit"
)

// exposedLab is a lab on a kernel whose tables belong to nobody: those that are there already when the part starts, without
// an owner, cannot get one.
func exposedLab(t testing.TB) *lab {
	l := newLab(t, networkA)
	l.Run("nft", "add table bridge neutrino-filter; add table inet neutrino-track; add table arp neutrino-answers")
	return l
}

// gated says whether the device has a gate.
func (l *lab) gated(device string) bool {
	return strings.Contains(l.Run("tc", "filter", "show", "dev", device, "egress"), "bpf")
}

// TestAFlushedTableIsClosedAtOnce: without an owner of the table and without an agent, a flush lets nothing pass that was
// forbidden, and nothing else either; then the agent puts it right.
func TestAFlushedTableIsClosedAtOnce(t *testing.T) {
	for _, command := range []string{"flush ruleset", "flush table bridge neutrino-filter", "delete table bridge neutrino-filter"} {
		t.Run(command, func(t *testing.T) {
			l := exposedLab(t)
			l.apply(open("default", ingress(4, udpNumber, 5000)), portDocument(port(networkA, 1, "default")),
				portDocument(port(networkA, 2, "default")))
			a, b := l.workload(networkA, 1), l.workload(networkA, 2)
			l.reconcile()
			if !l.gated(device(1)) || !l.gated(device(2)) {
				t.Fatal("the devices have no gates")
			}
			allowed, forbidden := newFlow(t, a, b, ip4(2)+":5000"), newFlow(t, a, b, ip4(2)+":6000")
			testkit.Eventually(t, 5*time.Second, "flowing", func() bool {
				allowed.send()
				return allowed.arrived() > 0
			})
			stop := forbidden.keepSending()
			l.Run("nft", command)
			time.Sleep(300 * time.Millisecond) //nolint:forbidigo // nobody repairs it meanwhile
			before := allowed.arrived()
			for range 10 {
				allowed.send()
			}
			l.reconcile()
			stop()
			testkit.Eventually(t, 5*time.Second, "flowing again", func() bool {
				allowed.send()
				return allowed.arrived() > before+10
			})
			if n := forbidden.arrived(); n != 0 || forbidden.sent < 1000 {
				t.Errorf("%d of %d forbidden packets arrived", n, forbidden.sent)
			}
		})
	}
}

// TestTheRepairOfAFlushedTableLetsNothingThrough: a packet that has passed the emptied filters must not come to the mark of
// those that are put back.
func TestTheRepairOfAFlushedTableLetsNothingThrough(t *testing.T) {
	l := exposedLab(t)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	l.reconcile()
	forbidden := newFlow(t, a, b, ip4(2)+":6000")
	stop := forbidden.keepSending()
	for range 50 {
		l.Run("nft", "flush table bridge neutrino-filter")
		l.reconcile()
		if l.part.Changes() == 0 {
			t.Error("nothing was repaired")
		}
	}
	stop()
	if n := forbidden.arrived(); n != 0 || forbidden.sent < 1000 {
		t.Errorf("%d of %d forbidden packets arrived", n, forbidden.sent)
	}
}

// TestWithoutGatesAFlushOpens is what the gates are for: the same without them lets forbidden packets pass.
func TestWithoutGatesAFlushOpens(t *testing.T) {
	l := exposedLab(t)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	l.reconcile()
	for n := 1; n <= 2; n++ {
		l.Run("tc", "qdisc", "del", "dev", device(n), "clsact")
	}
	if reaches(a, ip4(2)) {
		t.Fatal("a ping is answered")
	}
	l.Run("nft", "flush ruleset")
	testkit.Eventually(t, 5*time.Second, "open", func() bool { return reaches(a, ip4(2)) })
}

func TestGatesAreFoundAgain(t *testing.T) {
	l := exposedLab(t)
	l.apply(open("default", ingress(4, icmp), ingress(6, icmpv6)), portDocument(port(networkA, 1, "default")),
		portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	l.reconcile()
	testkit.Eventually(t, 5*time.Second, "reaching", func() bool { return reaches(a, ip4(2)) && reaches(a, ip6(2)) })
	l.part.Close()
	if !answers(a, ip4(2)) {
		t.Error("without an agent nothing passes")
	}
	l.start()
	l.reconcile()
	if n := l.part.Changes(); n != 0 {
		t.Errorf("%d changes when the agent starts again", n)
	}
	if !answers(a, ip4(2)) {
		t.Error("when the agent starts again, nothing passes")
	}
}

// TestGatesGoWhenTheTableHasAnOwner: a table that is made anew belongs to the agent on this kernel.
func TestGatesGoWhenTheTableHasAnOwner(t *testing.T) {
	l := exposedLab(t)
	l.apply(open("default", ingress(4, icmp)), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	l.reconcile()
	l.Run("nft", "flush ruleset")
	l.reconcile()
	if l.gated(device(1)) || strings.Contains(l.Run("nft", "list", "ruleset"), "gate") {
		t.Errorf("there are gates for nothing\n%s\n%s", l.Run("tc", "filter", "show", "dev", device(1), "egress"), l.ruleset())
	}
	if !answers(a, ip4(2)) {
		t.Error("a ping is not answered")
	}
}

// TestADeviceThatLeavesLosesItsGate: an interface of the host is given back as it was, also when no agent ran meanwhile.
func TestADeviceThatLeavesLosesItsGate(t *testing.T) {
	l := exposedLab(t)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")))
	l.workload(networkA, 1)
	for _, uplink := range []string{"uplink0", "uplink1"} {
		l.Plug(uplink, mac(9))
		l.Run("ip", "link", "set", uplink, "master", bridge(networkA), "up")
	}
	l.reconcile()
	l.Run("ip", "link", "set", "uplink0", "nomaster")
	l.reconcile()
	if l.gated("uplink0") || !l.gated("uplink1") {
		t.Error("the wrong devices have gates")
	}
	if text := l.Run("nft", "list", "set", "bridge", "neutrino-filter", "gated"); strings.Contains(text, "uplink0") {
		t.Errorf("%s", text)
	}
	l.part.Close()
	l.Run("ip", "link", "set", "uplink1", "nomaster")
	l.Run("nft", "flush ruleset") // and what comes next has an owner
	l.start()
	l.reconcile()
	if l.gated("uplink1") || l.gated(device(1)) {
		t.Error("gates stay behind")
	}
}

func TestAnOwnedTableHasNoGates(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")))
	l.workload(networkA, 1)
	l.reconcile()
	if l.gated(device(1)) || strings.Contains(l.Run("nft", "list", "ruleset"), "gate") {
		t.Errorf("there are gates for nothing\n%s\n%s", l.Run("tc", "filter", "show", "dev", device(1), "egress"), l.ruleset())
	}
}

// TestTheBridgesOwnAnswersPassTheGate: it answers ARP for what is behind the tunnel by itself, past the filters.
func TestTheBridgesOwnAnswersPassTheGate(t *testing.T) {
	l := exposedLab(t)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")))
	a := l.workload(networkA, 1)
	l.Run("ip", "link", "add", "vxlan-7", "type", "vxlan", "id", "7", "dstport", "4789", "local", "127.0.0.1", "nolearning")
	l.Run("ip", "link", "set", "vxlan-7", "master", bridge(networkA), "up")
	l.Run("bridge", "link", "set", "dev", "vxlan-7", "learning", "off")
	l.Run("ip", "link", "set", "dev", "vxlan-7", "type", "bridge_slave", "proxy_arp_wifi", "on")
	l.Run("bridge", "fdb", "add", mac(9), "dev", "vxlan-7", "master", "static")
	l.Run("ip", "neigh", "add", ip4(9), "lladdr", mac(9), "dev", bridge(networkA), "nud", "permanent")
	l.reconcile()
	if !l.gated(device(1)) || !l.gated("vxlan-7") {
		t.Fatal("there are no gates")
	}
	testkit.Eventually(t, 5*time.Second, "an answer of the bridge", func() bool {
		reaches(a, ip4(9))
		text, _ := a.Try("ip", "neigh", "show", ip4(9))
		return strings.Contains(text, mac(9))
	})
}

// BenchmarkGates: behind gates, as on kernels before 6.9, at least 0.8 of what passes without them.
func BenchmarkGates(b *testing.B) {
	for b.Loop() {
		measured := func(name string, l *lab) *track {
			l.timed(benchPolicy(100)...)
			t := newTrack(b, name, l)
			l.timed()
			return t
		}
		without, with := newLab(b, networkA), exposedLab(b)
		tracks := []*track{measured("no gates", without), measured("gates", with)}
		if without.gated(device(1)) || !with.gated(device(1)) {
			b.Fatal("gates are not as they should be")
		}
		for range rounds {
			for _, t := range tracks {
				t.round(b)
			}
		}
		for _, t := range tracks {
			b.Logf("%-10s %5.1f Gbit/s, %7.0f packets/s", t.name, median(t.gigabits), median(t.packets))
		}
		atLeast(b, "of-throughput", median(tracks[1].gigabits)/median(tracks[0].gigabits), 0.8)
		atLeast(b, "of-packets", median(tracks[1].packets)/median(tracks[0].packets), 0.8)
	}
}
