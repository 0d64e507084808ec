package l2_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// legNumber is the port that every host has in these tests.
const legNumber = 1

// tunnelMAC is that of the leg on the i-th host.
func tunnelMAC(i int) string { return fmt.Sprintf("4a:00:00:00:00:%02x", i+1) }

// everywhere is the leg of a distributed router, as the i-th host is sent it.
func everywhere(i int) *sb.Document {
	d := proto.Clone(port(networkA, legNumber)).(*sb.Document)
	d.GetPort().DeviceOwner, d.GetPort().TunnelMac = "network:router_interface_distributed", tunnelMAC(i)
	return d
}

// elsewhere is the leg of the i-th host, as the others are sent it.
func elsewhere(i int) *sb.Document {
	id := portID(100 + i)
	return &sb.Document{Key: "neighbour/" + id, Body: &sb.Document_Neighbour{Neighbour: &sb.Neighbour{
		PortId: id, NetworkId: networkA, Mac: tunnelMAC(i), Vtep: testkit.UnderlayIP(i).String(),
	}}}
}

// distributed are two hosts with the leg, and a workload each, of which the other host is told nothing.
func distributed(t *testing.T) (hosts, legs, workloads []*testkit.Host, parts []*l2.Part, documents [][]*sb.Document) {
	hosts = testkit.Underlay(t, 2)
	for i, h := range hosts {
		legs = append(legs, plug(h, legNumber))
		workloads = append(workloads, plug(h, 10+i))
		documents = append(documents, []*sb.Document{
			vxlan(networkA, 7), everywhere(i), port(networkA, 10+i), elsewhere(1 - i),
		})
		part, _ := newPart(t, h, i)
		parts = append(parts, part)
	}
	for range 2 { // the leg is in its bridge before its MAC can be tied to it
		for i := range hosts {
			apply(t, parts[i], documents[i]...)
		}
	}
	return hosts, legs, workloads, parts, documents
}

func lladdr(h *testkit.Host, ip string) string {
	_, rest, _ := strings.Cut(h.Run("ip", "neigh", "show", ip), "lladdr ")
	mac, _, _ := strings.Cut(rest, " ")
	return mac
}

func TestALegThatIsOnManyHostsIsEachHostsOwn(t *testing.T) {
	hosts, legs, workloads, parts, documents := distributed(t)
	gateway := ip4(legNumber)
	for i, w := range workloads {
		if n := w.Ping(gateway, 5); n < 4 {
			t.Errorf("the leg of host %d has answered %d of 5 pings of its workload", i, n)
		}
		if got := lladdr(w, gateway); got != mac(legNumber) {
			t.Errorf("the workload of host %d takes %s for its gateway", i, got)
		}
	}

	// A leg finds a workload that nobody has told of, on the other host, and that takes nobody else for its gateway.
	for i, leg := range legs {
		other := 11 - i
		testkit.Eventually(t, 10*time.Second, "found", func() bool {
			leg.Ping(ip4(other), 1) // the answer goes to the leg of the other host
			return lladdr(leg, ip4(other)) == mac(other)
		})
		if got := lladdr(workloads[1-i], gateway); got != mac(legNumber) {
			t.Errorf("after that, its gateway is %s", got)
		}
	}
	for _, h := range hosts {
		for line := range strings.Lines(h.Run("bridge", "fdb", "show")) {
			if strings.HasPrefix(line, mac(legNumber)) && !strings.Contains(line, device(legNumber)) {
				t.Errorf("%s has seen the leg of the other host: %s", h.Name, line)
			}
		}
	}

	// It speaks, asks and announces as loudly as it can: nothing comes to the other host from its MAC.
	capture := hosts[1].Capture("vxlan-7", "ether src "+mac(legNumber)+" or ether dst "+mac(legNumber))
	legs[0].Announce("eth0", mac(legNumber), gateway)
	legs[0].AskARP("eth0", "ff:ff:ff:ff:ff:ff", mac(legNumber), gateway, ip4(200))
	legs[0].Ping(ip6(200), 1)
	workloads[0].AskARP("eth0", "ff:ff:ff:ff:ff:ff", mac(10), ip4(10), gateway)
	if seen := capture.Stop(); seen != "" {
		t.Errorf("the other host has seen:\n%s", seen)
	}

	// With its own leg gone, no other one answers.
	legs[0].Run("ip", "link", "set", "eth0", "down")
	workloads[0].Run("ip", "neigh", "flush", "all")
	if n := workloads[0].Ping(gateway, 3); n != 0 {
		t.Errorf("the leg of the other host has answered %d pings", n)
	}

	// Rules that somebody takes away come back, and what is right is left alone.
	before := hosts[1].Run("nft", "list", "table", "bridge", "neutrino-anycast")
	hosts[1].Run("nft", "delete", "table", "bridge", "neutrino-anycast")
	again, _ := newPart(t, hosts[1], 1)
	apply(t, again, documents[1]...)
	if after := hosts[1].Run("nft", "list", "table", "bridge", "neutrino-anycast"); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	stop := hosts[1].Monitor()
	once, _ := newPart(t, hosts[1], 1)
	apply(t, once, documents[1]...)
	if events := stop(); len(events) > 0 {
		t.Errorf("a new agent has changed %v", events)
	}

	// The table goes with the last leg.
	apply(t, parts[0], vxlan(networkA, 7), port(networkA, 10))
	if _, err := hosts[0].Try("nft", "list", "table", "bridge", "neutrino-anycast"); err == nil {
		t.Error("the table is there without a leg")
	}
}

func TestALegWithoutAMACForTheTunnelIsKeptOff(t *testing.T) {
	hosts := testkit.Underlay(t, 1)
	plug(hosts[0], legNumber)
	plug(hosts[0], 10)
	part, _ := newPart(t, hosts[0], 0)
	bad := everywhere(0)
	bad.GetPort().TunnelMac = "01:00:00:00:00:00"
	statuses := statusesOf(t, part, agent.NewView(1, vxlan(networkA, 7), bad, port(networkA, 10)))
	if s := statuses["port/"+portID(legNumber)]; s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, "tunnel_mac") {
		t.Errorf("the leg is %v: %s", s.State, s.Reason)
	}
	if hosts[0].Link(device(legNumber)).Master != 0 || hosts[0].Link(device(10)).Master == 0 {
		t.Error("the leg is in its bridge, or the workload is not")
	}
}
