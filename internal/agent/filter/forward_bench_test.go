package filter_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// How a pair of workloads is measured: so many times, each form after the other, so that what else the machine does
// weighs on all of them alike.
const (
	rounds    = 7
	roundTime = time.Second
)

// track is a pair of workloads on a host of its own, and what is between them.
type track struct {
	name           string
	client, server *testkit.Host
	gigabits       []float64
	packets        []float64 // a second
}

func newTrack(b *testing.B, name string, l *lab) *track {
	b.Helper()
	t := &track{name: name, client: l.workload(networkA, 1), server: l.workload(networkA, 2)}
	var cmd *exec.Cmd
	t.server.Check(netns.Do(t.server.NS, func() error {
		cmd = exec.Command("iperf3", "-s")
		return cmd.Start()
	}))
	b.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	testkit.Eventually(b, 10*time.Second, name+" is ready", func() bool {
		_, err := t.client.Try("iperf3", "-c", ip4(2), "-n", "1K")
		return err == nil
	})
	return t
}

// measure runs iperf3 and returns bits and packets a second that have arrived.
func (t *track) measure(b *testing.B, args ...string) (bits, packets float64) {
	b.Helper()
	args = append([]string{"-J", "-c", ip4(2), "-t", fmt.Sprint(roundTime.Seconds())}, args...)
	out := t.client.Run("iperf3", args...)
	var result struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			Sum struct {
				Packets float64 `json:"packets"`
				Lost    float64 `json:"lost_packets"`
				Seconds float64 `json:"seconds"`
			} `json:"sum"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		b.Fatalf("%s: %v\n%s", t.name, err, out)
	}
	sum := result.End.Sum
	return result.End.Received.Bits, (sum.Packets - sum.Lost) / max(sum.Seconds, roundTime.Seconds())
}

func (t *track) round(b *testing.B) {
	b.Helper()
	bits, _ := t.measure(b)
	t.gigabits = append(t.gigabits, bits/1e9)
	_, packets := t.measure(b, "-u", "-b", "0", "-l", "64")
	t.packets = append(t.packets, packets)
}

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
	filtered := newLab(b, networkA)
	filtered.timed(benchPolicy(ports)...)
	ours := newTrack(b, "filtered", filtered)
	chained := newLab(b, networkA)
	chained.Check(chained.NL.SetBridgeNetfilter(chained.Link(bridge(networkA)).Index, true))
	restore(b, chained, neutronChains(ports))
	chains := newTrack(b, "iptables chains", chained)

	tracks := []*track{plain, ours, chains}
	for range rounds {
		for _, t := range tracks {
			t.round(b)
		}
	}
	for _, t := range tracks {
		b.Logf("%4d ports, %-15s  %5.1f Gbit/s (%.1f to %.1f)  %7.0f packets/s (%.0f to %.0f)", ports, t.name,
			median(t.gigabits), t.gigabits[0], t.gigabits[rounds-1], median(t.packets), t.packets[0], t.packets[rounds-1])
	}
	throughput, rate := median(ours.gigabits)/median(plain.gigabits), median(ours.packets)/median(plain.packets)
	if ports >= 500 {
		atLeast(b, "of-plain-throughput", throughput, 0.85)
		atLeast(b, "of-plain-packets", rate, 0.5)
	} else {
		b.ReportMetric(throughput, "of-plain-throughput")
		b.ReportMetric(rate, "of-plain-packets")
	}
	throughput, rate = median(ours.gigabits)/median(chains.gigabits), median(ours.packets)/median(chains.packets)
	if ports == 500 {
		atLeast(b, "times-iptables-throughput", throughput, 3)
		atLeast(b, "times-iptables-packets", rate, 8)
	} else {
		b.ReportMetric(throughput, "times-iptables-throughput")
		b.ReportMetric(rate, "times-iptables-packets")
	}
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

// neutronChains is what Neutron's iptables driver writes for so many ports: two rules for each port in the chain that all
// bridged packets go through, two more in the one behind it, and two chains for the port. The ports that are measured are
// those in the middle.
func neutronChains(ports int) string {
	var chains, rules bytes.Buffer
	rule := func(format string, args ...any) { fmt.Fprintf(&rules, format+"\n", args...) }
	for _, name := range []string{"top", "FORWARD", "sg-chain", "sg-fallback"} {
		fmt.Fprintf(&chains, ":neutron-%s - [0:0]\n", name)
	}
	rule("-A FORWARD -j neutron-top")
	rule("-A FORWARD -j neutron-FORWARD")
	rule("-A neutron-sg-fallback -j DROP")
	for i := range ports {
		n := 100000 + i
		if i == ports/2 || i == ports/2-1 {
			n = i - ports/2 + 2 // the first and the second
		}
		name := device(n)[3:]
		for _, d := range []struct{ match, chain string }{{"--physdev-out", "i" + name}, {"--physdev-in", "o" + name}} {
			fmt.Fprintf(&chains, ":neutron-%s - [0:0]\n", d.chain)
			physical := fmt.Sprintf("-m physdev %s %s --physdev-is-bridged", d.match, device(n))
			rule("-A neutron-FORWARD %s -j neutron-sg-chain", physical)
			rule("-A neutron-sg-chain %s -j neutron-%s", physical, d.chain)
		}
		fmt.Fprintf(&chains, ":neutron-s%s - [0:0]\n", name)
		rule("-A neutron-s%s -s %s/32 -m mac --mac-source %s -j RETURN", name, ip4(n&0xffff), mac(n&0xffff))
		rule("-A neutron-s%s -j DROP", name)
		rule("-A neutron-o%s -s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67 -j RETURN", name)
		rule("-A neutron-o%s -j neutron-s%s", name, name)
		rule("-A neutron-o%s -p udp -m udp --sport 68 --dport 67 -j RETURN", name)
		rule("-A neutron-o%s -p udp -m udp --sport 67 --dport 68 -j DROP", name)
		for _, direction := range []string{"i", "o"} {
			rule("-A neutron-%s%s -m state --state RELATED,ESTABLISHED -j RETURN", direction, name)
		}
		rule("-A neutron-o%s -j RETURN", name)
		for _, port := range []int{22, 80, 443, 5201} {
			rule("-A neutron-i%s -p tcp -m tcp --dport %d -j RETURN", name, port)
			rule("-A neutron-i%s -p udp -m udp --dport %d -j RETURN", name, port)
		}
		for _, direction := range []string{"i", "o"} {
			rule("-A neutron-%s%s -m state --state INVALID -j DROP", direction, name)
			rule("-A neutron-%s%s -j neutron-sg-fallback", direction, name)
		}
	}
	rule("-A neutron-sg-chain -j ACCEPT")
	return "*filter\n" + chains.String() + rules.String() + "COMMIT\n"
}

func restore(b *testing.B, l *lab, text string) {
	b.Helper()
	l.Check(netns.Do(l.NS, func() error {
		cmd := exec.Command("iptables-restore")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("iptables-restore: %w: %s", err, out)
		}
		return nil
	}))
}
