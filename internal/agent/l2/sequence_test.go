package l2_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

const golden = "testdata/sequence.golden"

type step struct {
	name      string
	documents []*sb.Document
	// history: what the kernel looks like depends on the step before.
	history bool
}

func steps() []step {
	host2, host3 := testkit.UnderlayIP(1), testkit.UnderlayIP(2)
	a, p1 := vxlan(networkA, 10), port(networkA, 1)
	b := segment(&sb.Segment{NetworkId: networkB, NetworkType: "local", Mtu: 1500})
	down := port(networkA, 1)
	down.GetPort().AdminStateUp = false
	p4 := port(networkB, 4)
	p4.GetPort().Mtu = 1500
	poisoned := vxlan(networkA, 20)
	poisoned.GetSegment().Mtu = 10
	small := vxlan(networkA, 20)
	small.GetSegment().Mtu = 1400
	return []step{
		{name: "nothing"},
		{name: "a network with a port and a peer", documents: []*sb.Document{a, p1, neighbour(networkA, 2, host2)}},
		{name: "a second peer on another host",
			documents: []*sb.Document{a, p1, neighbour(networkA, 2, host2), neighbour(networkA, 3, host3)}},
		{name: "the first peer moves there",
			documents: []*sb.Document{a, p1, neighbour(networkA, 2, host3), neighbour(networkA, 3, host3)}},
		{name: "a network that is local to the host",
			documents: []*sb.Document{a, p1, neighbour(networkA, 3, host3), b, p4}},
		{name: "the port is administratively down", documents: []*sb.Document{a, down, neighbour(networkA, 3, host3)}},
		{name: "the network has another VNI",
			documents: []*sb.Document{vxlan(networkA, 20), p1, neighbour(networkA, 3, host3)}},
		{name: "the network has another MTU", documents: []*sb.Document{small, p1, neighbour(networkA, 3, host3)}},
		{name: "the network cannot be understood: what is there stays", history: true,
			documents: []*sb.Document{poisoned, p1, neighbour(networkA, 3, host3)}},
		{name: "nothing any more"},
	}
}

// Views are applied one after another to one host, and the whole kernel state after each is compared with a text that
// a person has read; then the other way round, so that every transition is made in both directions.
func TestSequenceOfViews(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	plug(h, 1)
	plug(h, 4)
	part, registry := newPart(t, h, 0)
	var got strings.Builder
	states := make([]string, len(steps()))
	for i, s := range steps() {
		statusesOf(t, part, agent.NewView(int64(i), s.documents...))
		states[i] = kernel(h)
		fmt.Fprintf(&got, "# %s\n%s\n", s.name, states[i])
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("kernel state (-want +got; -update writes it anew):\n%s", diff)
	}
	all := steps()
	for i := len(all) - 1; i > 0; i-- {
		if all[i].history {
			continue
		}
		statusesOf(t, part, agent.NewView(100, all[i].documents...))
		if diff := cmp.Diff(states[i], kernel(h)); diff != "" {
			t.Errorf("backwards to %q (-want +got):\n%s", all[i].name, diff)
		}
	}
	if n := drift(t, registry, ""); n != 0 {
		t.Errorf("changes of the view were counted as drift: %v", n)
	}
}

func TestABridgeOfSomebodyElseIsAdopted(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	plug(h, 1)
	// As Nova's os-vif makes it, with a device of its own in it, and with an ageing time that floods everything.
	h.Run("ip", "link", "add", bridgeA, "type", "bridge", "stp_state", "1", "ageing_time", "0")
	h.Run("sysctl", "-qw", "net.ipv6.conf."+bridgeA+".disable_ipv6=1")
	h.Run("ip", "link", "set", bridgeA, "up")
	h.Run("ip", "link", "add", "theirs", "type", "veth", "peer", "name", "theirs2")
	h.Run("ip", "link", "set", "theirs", "alias", "keep me")
	h.Run("ip", "link", "set", "theirs", "master", bridgeA)
	before := h.Link(bridgeA).Index

	part, _ := newPart(t, h, 0)
	apply(t, part, vxlan(networkA, 10), port(networkA, 1))
	b := h.Link(bridgeA)
	switch {
	case b.Index != before:
		t.Error("the bridge was made anew")
	case b.Alias != "":
		t.Errorf("the bridge got the mark %q", b.Alias)
	case b.Bridge.STP || b.Bridge.AgeingTime == 0 || b.Bridge.ForwardDelay != 0 || b.MTU != 1450:
		t.Errorf("attributes are not right: %+v %+v", b, b.Bridge)
	case h.Link(device(1)).Master != before:
		t.Error("our port is not in it")
	}
	apply(t, part)
	if h.Link(bridgeA).Index != before || h.Link("theirs").Master != before || h.Link("theirs").Alias != "keep me" {
		t.Error("the bridge or its foreign member did not stay as it was")
	}
	if h.Link(device(1)).Master != 0 {
		t.Error("our port is still in it")
	}
	if _, err := h.NL.LinkByName("vxlan-10"); err == nil {
		t.Error("our tunnel is still there")
	}
}

func TestABridgeWithAForeignMemberIsNotRemoved(t *testing.T) {
	h := testkit.Underlay(t, 1)[0]
	part, _ := newPart(t, h, 0)
	apply(t, part, vxlan(networkA, 10))
	h.Run("ip", "link", "add", "theirs", "type", "veth", "peer", "name", "theirs2")
	h.Run("ip", "link", "set", "theirs", "master", bridgeA)
	apply(t, part)
	if h.Link("theirs").Master != h.Link(bridgeA).Index {
		t.Error("the bridge with a foreign member was touched")
	}
	h.Run("ip", "link", "del", "theirs")
	apply(t, part)
	if _, err := h.NL.LinkByName(bridgeA); err == nil {
		t.Error("our empty bridge is still there")
	}
}
