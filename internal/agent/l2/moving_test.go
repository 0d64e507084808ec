package l2_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// moving is the n-th port for the hosts that it moves between or is reached from.
func moving(network string, n int, hosts ...int) *sb.Document {
	d := neighbour(network, n, testkit.UnderlayIP(hosts[0]))
	d.GetNeighbour().Vtep = ""
	for _, h := range hosts {
		d.GetNeighbour().Vteps = append(d.GetNeighbour().Vteps, testkit.UnderlayIP(h).String())
	}
	return d
}

func TestAPortThatMovesIsFloodedAndNotProgrammed(t *testing.T) {
	bad := moving(networkA, 2, 1)
	bad.GetNeighbour().Vteps = append(bad.GetNeighbour().Vteps, "nowhere")
	w := convert(agent.NewView(1, vxlan(networkA, 10), port(networkA, 1), moving(networkA, 1, 0, 1, 2), bad))
	table := w.Forwarding["vxlan-10"]
	if len(table.Remotes) != 0 || len(w.Neighbours[bridgeA]) != 0 {
		t.Errorf("it is programmed: %v, %v", table.Remotes, w.Neighbours)
	}
	if len(table.Flood) != 2 || !table.Flood[testkit.UnderlayIP(1)] || !table.Flood[testkit.UnderlayIP(2)] {
		t.Errorf("frames for everybody go to %v, want the two other hosts", table.Flood)
	}
	if len(w.Problems) != 1 || !strings.Contains(w.Problems["neighbour/"+portID(2)], "nowhere") {
		t.Errorf("problems: %v", w.Problems)
	}
}

// mute has a workload neither hear nor say anything, or ends that.
func mute(w *testkit.Host, is bool) {
	if !is {
		w.Run("nft", "delete table netdev mute")
		return
	}
	w.Run("nft", `add table netdev mute
		add chain netdev mute in { type filter hook ingress device "eth0" priority 0; policy drop; }
		add chain netdev mute out { type filter hook egress device "eth0" priority 0; policy drop; }`)
}

// A port that moves is on two hosts, and mute on one of them. Workloads everywhere reach it where it speaks, the one beside
// the mute one, too, and follow it by one announcement, whatever they have learned before.
func TestWorkloadsFollowAPortThatMoves(t *testing.T) {
	hosts := testkit.Underlay(t, 3)
	workloads := make([]*testkit.Host, len(hosts))
	var gateways [2]*testkit.Host
	for i, h := range hosts {
		documents := []*sb.Document{vxlan(networkA, 10), moving(networkA, 1, 0, 1), port(networkA, 10+i)}
		for j := range hosts {
			if j != i {
				documents = append(documents, neighbour(networkA, 10+j, testkit.UnderlayIP(j)))
			}
		}
		workloads[i] = plug(h, 10+i)
		if i < len(gateways) {
			gateways[i] = h.Plug(device(1), mac(1), ip4(1)+"/16")
			mute(gateways[i], true)
			documents = append(documents, port(networkA, 1))
		}
		part, _ := newPart(t, h, i)
		apply(t, part, documents...)
	}
	place := func(host int) string { // what the host has learned of the MAC
		var seen []string
		for line := range strings.Lines(hosts[host].Run("bridge", "fdb", "show", "br", bridgeA)) {
			if strings.HasPrefix(line, mac(1)) && !strings.Contains(line, "permanent") {
				seen = append(seen, strings.TrimSpace(line))
			}
		}
		return strings.Join(seen, "; ")
	}
	for round := range 4 {
		active := round % 2
		if round > 0 {
			mute(gateways[1-active], true)
		}
		mute(gateways[active], false)
		gateways[active].Announce("eth0", mac(1), ip4(1))
		for i, w := range workloads {
			testkit.Eventually(t, 2*time.Second, fmt.Sprintf("round %d: reached from host %d", round, i), func() bool {
				return w.Ping(ip4(1), 1) == 1
			})
			want := "dst " + testkit.UnderlayIP(active).String()
			if i == active {
				want = "dev " + device(1)
			}
			if got := place(i); !strings.Contains(got, want) {
				t.Errorf("round %d: host %d has learned %q, want %q", round, i, got, want)
			}
		}
	}
}
