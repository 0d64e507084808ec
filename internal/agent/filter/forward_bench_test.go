package filter_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// How a pair of workloads is measured: so many times, each form after the other, so that what else the machine does
// weighs on all of them alike.
const (
	rounds    = 7
	roundTime = time.Second
)

// BenchmarkForwarding: with 500 and with 1,000 ports of realistic policy on the host, at least 0.85 of the plain bridge's
// throughput and half of its packets; with 500, at least 3 times the throughput and 8 times the packets of the chains that
// Neutron's iptables driver writes.
func BenchmarkForwarding(b *testing.B) {
	for _, ports := range []int{1, 50, 500, 1000} {
		b.Run(fmt.Sprintf("%d-ports", ports), func(b *testing.B) {
			for b.Loop() {
				compareForms(b, max(ports, 2))
			}
		})
	}
}

func compareForms(b *testing.B, ports int) {
	plain := newTrack(b, "plain bridge", newLab(b, networkA))
	without := newLab(b, networkA)
	switchOff(b, without)
	bare := newTrack(b, "no br_netfilter", without)
	filtered := newLab(b, networkA)
	filtered.timed(benchPolicy(ports)...)
	ours := newTrack(b, "filtered", filtered)
	filtered.timed() // which an agent does by itself when it hears of the devices
	chained := newLab(b, networkA)
	chained.Check(chained.NL.SetBridgeNetfilter(chained.Link(bridge(networkA)).Index, true))
	form := restore(b, chained, neutronChains(ports))
	chains := newTrack(b, "iptables ("+form+")", chained)

	tracks := []*track{plain, bare, ours, chains}
	for n := range rounds {
		for i := range tracks {
			tracks[(n+i)%len(tracks)].round(b) // none is always the one after the slowest
		}
	}
	for _, t := range tracks {
		t.log(b)
	}
	var throughput, packets, overThroughput, overPackets float64 // what is promised; for few ports, nothing
	if ports >= 500 {
		throughput, packets = 0.85, 0.5
	}
	if ports == 500 {
		overThroughput, overPackets = 3, 8
	}
	compare(b, "of-plain-throughput", ours.gigabits, plain.gigabits, throughput)
	compare(b, "of-plain-packets", ours.packets, plain.packets, packets)
	compare(b, "times-iptables-throughput", ours.gigabits, chains.gigabits, overThroughput)
	compare(b, "times-iptables-packets", ours.packets, chains.packets, overPackets)
	compare(b, "of-bare-throughput", ours.gigabits, bare.gigabits, 0)
	compare(b, "of-bare-packets", ours.packets, bare.packets, 0)
	compare(b, "times-plain-cost-of-bytes", ours.byteCosts, plain.byteCosts, 0)
	compare(b, "times-plain-cost-of-packets", ours.packetCost, plain.packetCost, 0)
}

// switchOff makes the host one of those where br_netfilter takes nobody's packets. By default it takes those of all bridges
// where the kernel has it, also of the plain one, and has them pass by hooks where nobody waits for them.
func switchOff(b *testing.B, l *lab) {
	b.Helper()
	l.Check(netns.Do(l.NS, func() error {
		for _, family := range []string{"ip", "ip6", "arp"} {
			if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+family+"tables", []byte("0"), 0o644); err != nil {
				return err
			}
		}
		return nil
	}))
}

// compare reports the median of the shares in each round: what the machine does besides changes from round to round, but
// little within one.
func compare(b *testing.B, name string, mine, theirs []float64, promised float64) {
	b.Helper()
	shares := make([]float64, rounds)
	for i := range shares {
		shares[i] = mine[i] / theirs[i]
	}
	share := median(shares)
	if promised > 0 {
		atLeast(b, name, share, promised)
	} else {
		b.ReportMetric(share, name)
	}
	b.Logf("%-27s %.3f (%.3f to %.3f)", name, share, shares[0], shares[rounds-1])
}

// benchPolicy is many ports, of which the second lets iperf3 in.
func benchPolicy(ports int) []*sb.Document {
	documents := append(manyPorts(ports, 50), open("iperf", ingress(4, tcp, 5201), ingress(4, udpNumber, 5201)))
	for _, d := range documents {
		if p := d.GetPort(); p.GetPortId() == portID(2) {
			p.SecurityGroups[0] = "iperf"
		}
	}
	return documents
}
