package l2_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/dataplane/link"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

func convert(view *agent.View) *l2.Wanted {
	return l2.Convert(view, l2.Site{TunnelIP: testkit.UnderlayIP(0)})
}

func TestConvertMakesTablesOfDocuments(t *testing.T) {
	down := port(networkA, 3)
	down.GetPort().AdminStateUp = false
	local := segment(&sb.Segment{NetworkId: networkB, NetworkType: "local", Mtu: 1500})
	w := convert(agent.NewView(1, vxlan(networkA, 10), local, port(networkA, 1), port(networkB, 2), down,
		neighbour(networkA, 4, testkit.UnderlayIP(1)), neighbour(networkA, 5, testkit.UnderlayIP(1))))
	if len(w.Problems) != 0 {
		t.Fatalf("problems: %v", w.Problems)
	}
	if len(w.Links.Bridges) != 2 || len(w.Links.Tunnels) != 1 {
		t.Errorf("%d bridges and %d tunnels, want 2 and 1", len(w.Links.Bridges), len(w.Links.Tunnels))
	}
	wantPorts := []link.Port{
		{Device: device(1), Bridge: bridgeA, MTU: 1450},
		{Device: device(2), Bridge: "brqbbbbbbbb-bb", MTU: 1450},
		{Device: device(3), MTU: 1450},
	}
	if diff := cmp.Diff(wantPorts, w.Links.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	peer := testkit.UnderlayIP(1)
	table := w.Forwarding["vxlan-10"]
	wantRemotes := map[netlinkx.MAC]netip.Addr{
		{0xfa, 0x16, 0x3e, 0, 0, 4}: peer,
		{0xfa, 0x16, 0x3e, 0, 0, 5}: peer,
	}
	equalAddr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(wantRemotes, table.Remotes, equalAddr); diff != "" {
		t.Errorf("remotes (-want +got):\n%s", diff)
	}
	if len(table.Flood) != 1 || !table.Flood[peer] {
		t.Errorf("frames for everybody go to %v, want only %s", table.Flood, peer)
	}
	if got := w.Neighbours[bridgeA][netip.MustParseAddr(ip4(4))]; got.String() != mac(4) {
		t.Errorf("%s is at %s, want %s", ip4(4), got, mac(4))
	}
}

func TestAHostWithoutATunnelAddressSaysSo(t *testing.T) {
	w := l2.Convert(agent.NewView(1, vxlan(networkA, 10), port(networkA, 1)), l2.Site{})
	for _, key := range []string{"segment/" + networkA, "port/" + portID(1)} {
		if !strings.Contains(w.Problems[key], "no tunnel address") {
			t.Errorf("%s: %q", key, w.Problems[key])
		}
	}
	if !w.Links.Untouched[bridgeA] || !w.Links.Untouched["vxlan-10"] {
		t.Error("what the segment made before may be removed")
	}
}

func TestTheFirstOfTwoDocumentsThatExcludeEachOtherWins(t *testing.T) {
	at := testkit.UnderlayIP(1)
	twin := neighbour(networkA, 5, at)
	twin.GetNeighbour().Mac = mac(4)
	sameDevice := port(networkA, 2)
	sameDevice.GetPort().Device = device(1)
	w := convert(agent.NewView(1, vxlan(networkA, 10), port(networkA, 1), sameDevice, neighbour(networkA, 4, at), twin,
		neighbour(networkA, 1, at)))
	want := map[string]string{
		"port/" + portID(2):      "device " + device(1),
		"neighbour/" + portID(5): "mac " + mac(4),
		"neighbour/" + portID(1): "mac " + mac(1), // the port is on this host; a stale peer must not draw its traffic
	}
	for key, reason := range want {
		if !strings.Contains(w.Problems[key], reason) {
			t.Errorf("%s: %q, want %q in it", key, w.Problems[key], reason)
		}
	}
	if len(w.Problems) != len(want) {
		t.Errorf("problems: %v", w.Problems)
	}
}

// Whatever a document says, the conversion neither panics nor lets a value through that is no address, no MAC of a
// single device, or no name of a port's device.
func TestConvertTakesAnything(t *testing.T) {
	id := rapid.SampledFrom([]string{networkA, networkB, portID(1), portID(2), "", "../x", "a b", strings.Repeat("x", 300)})
	text := rapid.OneOf(rapid.SampledFrom([]string{mac(1), ip4(1), ip6(1), ip4(1) + "/24", "tap1", "eth0", "vxlan"}), rapid.String())
	document := rapid.Custom(func(t *rapid.T) *sb.Document {
		n, kind := id.Draw(t, "id"), rapid.IntRange(0, 3).Draw(t, "kind")
		switch kind {
		case 0:
			return segment(&sb.Segment{
				NetworkId: n, NetworkType: text.Draw(t, "type"), SegmentationId: rapid.Uint32().Draw(t, "vni"),
				Mtu: rapid.Uint32Range(0, 70000).Draw(t, "mtu"),
			})
		case 1:
			return &sb.Document{Key: "port/" + n, Body: &sb.Document_Port{Port: &sb.Port{
				PortId: n, NetworkId: id.Draw(t, "network"), Device: text.Draw(t, "device"), Mac: text.Draw(t, "mac"),
				Mtu: rapid.Uint32Range(0, 70000).Draw(t, "mtu"), AdminStateUp: true,
			}}}
		case 2:
			return &sb.Document{Key: "neighbour/" + n, Body: &sb.Document_Neighbour{Neighbour: &sb.Neighbour{
				PortId: n, NetworkId: id.Draw(t, "network"), Mac: text.Draw(t, "mac"),
				Ips: rapid.SliceOf(text).Draw(t, "ips"), Vtep: text.Draw(t, "vtep"),
			}}}
		}
		return &sb.Document{Key: rapid.SampledFrom([]string{"segment/", "port/", "neighbour/"}).Draw(t, "prefix") + n}
	})
	rapid.Check(t, func(t *rapid.T) {
		w := convert(agent.NewView(1, append(rapid.SliceOf(document).Draw(t, "documents"), vxlan(networkA, 10))...))
		for _, p := range w.Links.Ports {
			if !strings.HasPrefix(p.Device, "tap") || len(p.Device) > 15 {
				t.Fatalf("device %q", p.Device)
			}
		}
		for _, table := range w.Forwarding {
			for m := range table.Remotes {
				if m[0]&1 != 0 || m == (netlinkx.MAC{}) {
					t.Fatalf("mac %s", m)
				}
			}
		}
	})
}
