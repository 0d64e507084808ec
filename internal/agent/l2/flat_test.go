package l2_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// flat is networkA as the flat network of physnet1.
func flat(mtu uint32) *sb.Document {
	return segment(&sb.Segment{NetworkId: networkA, NetworkType: "flat", PhysicalNetwork: "physnet1", Mtu: mtu})
}

// onPhysnet is a part whose host has eth1 on physnet1.
func onPhysnet(t *testing.T, h *testkit.Host) (*l2.Part, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	part, err := l2.New(l2.Options{
		Namespace: h.NS, BridgeMappings: map[string]string{"physnet1": "eth1"}, Metrics: reconcile.NewMetrics(registry),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(part.Close)
	return part, registry
}

// master is the bridge in which the device is.
func master(h *testkit.Host, device string) string {
	links, err := h.NL.Links()
	h.Check(err)
	for name, l := range links {
		if l.Index == links[device].Master {
			return name
		}
	}
	return ""
}

// wire is a host with eth1, the other end of which is up in a namespace of its own.
func wire(t *testing.T) (host, outside *testkit.Host) {
	host, outside = testkit.NewHost(t, "host"), testkit.NewHost(t, "outside")
	testkit.Connect(host, "eth1", outside, "eth0")
	host.Run("ip", "link", "set", "eth1", "down")
	outside.Run("ip", "address", "add", ip4(99)+"/16", "dev", "eth0")
	return host, outside
}

func TestAFlatNetworkReachesThePhysicalOne(t *testing.T) {
	host, outside := wire(t)
	part, registry := onPhysnet(t, host)
	w := plug(host, 1)
	apply(t, part, flat(1450), port(networkA, 1))
	testkit.Eventually(t, 5*time.Second, "reachable", func() bool { return w.Ping(ip4(99), 1) == 1 })
	if outside.Ping(ip4(1), 1) != 1 {
		t.Error("the workload is not reached from outside")
	}

	stop := host.Monitor()
	again, _ := onPhysnet(t, host)
	apply(t, again, flat(1450), port(networkA, 1))
	if changes := stop(); len(changes) > 0 {
		t.Errorf("a new agent on a right host changes %v", changes)
	}

	host.Run("ip", "link", "set", "eth1", "nomaster")
	apply(t, part, flat(1450), port(networkA, 1))
	if master(host, "eth1") != bridgeA || drift(t, registry, "uplink") != 1 {
		t.Error("an uplink that was taken out of its bridge is not put back, or not as drift")
	}

	apply(t, part)
	if m := master(host, "eth1"); m != "" {
		t.Errorf("the network is gone, and the uplink is in %s", m)
	}
	if links, err := host.NL.Links(); err != nil || links[bridgeA] != nil {
		t.Error("the network is gone, its bridge is not")
	}
}

func TestAnInterfaceThatIsNotFreeIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  []string
		mend   []string
		reason string
	}{
		"an address": {
			[]string{"ip", "address", "add", "192.0.2.7/24", "dev", "eth1"},
			[]string{"ip", "address", "del", "192.0.2.7/24", "dev", "eth1"}, "has the address 192.0.2.7/24 of this host",
		},
		"a bridge of somebody else": {
			[]string{"ip", "link", "set", "eth1", "master", "br-ex"},
			[]string{"ip", "link", "set", "eth1", "nomaster"}, "is a member of br-ex already",
		},
		"too small": {
			[]string{"ip", "link", "set", "eth1", "mtu", "1400"},
			[]string{"ip", "link", "set", "eth1", "mtu", "1500"}, "packets of 1400 bytes, and the network has an MTU of 1450",
		},
		"missing": {
			[]string{"ip", "link", "set", "eth1", "name", "eth7"},
			[]string{"ip", "link", "set", "eth7", "name", "eth1"}, "there is no interface eth1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			host, _ := wire(t)
			host.Run("ip", "link", "add", "br-ex", "type", "bridge")
			host.Run(c.spoil[0], c.spoil[1:]...)
			part, _ := onPhysnet(t, host)
			plug(host, 1)
			view := agent.NewView(1, flat(1450), port(networkA, 1), vxlanless(), port(networkB, 2))
			got := statusesOf(t, part, view)
			for _, key := range []string{"segment/" + networkA, "port/" + portID(1)} {
				if s := got[key]; s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, c.reason) {
					t.Errorf("%s: %v %q, want %q", key, s.State, s.Reason, c.reason)
				}
			}
			if s := got["segment/"+networkB]; s.State != sb.ObjectStatus_STATE_DONE {
				t.Errorf("another network: %v %q", s.State, s.Reason)
			}
			host.Run(c.mend[0], c.mend[1:]...)
			testkit.Eventually(t, 5*time.Second, "mended", func() bool {
				return statusesOf(t, part, view)["segment/"+networkA].State == sb.ObjectStatus_STATE_DONE
			})
		})
	}
}

// vxlanless is networkB as one that is local to the host.
func vxlanless() *sb.Document {
	return segment(&sb.Segment{NetworkId: networkB, NetworkType: "local", Mtu: 1450})
}

func TestAFlatNetworkNeedsAMapping(t *testing.T) {
	w := l2.Convert(agent.NewView(1, flat(1500), port(networkA, 1)), l2.Site{})
	if reason := w.Problems["segment/"+networkA]; !strings.Contains(reason, "no interface on physical network \"physnet1\"") {
		t.Errorf("the reason is %q", reason)
	}
}
