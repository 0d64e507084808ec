package filter_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	xipv4 "golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// track is a pair of workloads on a host of its own, and what was measured between them.
type track struct {
	name           string
	client, server *testkit.Host
	results
}

// results are one figure for each round. The costs are processor time, with that of everything between the ends: the
// kernel carries a packet through the bridge on the account of whoever sent it. Unlike the rates they hardly depend on
// what else the machine does.
type results struct {
	gigabits   []float64 // a second, by TCP
	byteCosts  []float64 // milliseconds for a gibibyte, by TCP, of the end that has more to do
	packets    []float64 // thousands a second, of small datagrams
	packetCost []float64 // nanoseconds for a datagram
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

func (t *track) round(b *testing.B) {
	b.Helper()
	t.stream(b)
	t.datagrams(b)
}

// stream has TCP carry as much as it can.
func (t *track) stream(b *testing.B) {
	b.Helper()
	// Reno sends as fast as it may; others pace themselves by what they measure, which on a busy machine is anything.
	args := []string{"-J", "-c", ip4(2), "-t", fmt.Sprint(roundTime.Seconds()), "-C", "reno"}
	if runtime.NumCPU() > 1 {
		args = append(args, "-A", "0,1") // the ends on the same processors each time
	}
	out := t.client.Run("iperf3", args...)
	var result struct {
		End struct {
			Received struct {
				Bytes   float64 `json:"bytes"`
				Bits    float64 `json:"bits_per_second"`
				Seconds float64 `json:"seconds"`
			} `json:"sum_received"`
			CPU struct {
				Client float64 `json:"host_total"`
				Server float64 `json:"remote_total"`
			} `json:"cpu_utilization_percent"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		b.Fatalf("%s: %v\n%s", t.name, err, out)
	}
	r := result.End.Received
	busy := max(result.End.CPU.Client, result.End.CPU.Server) / 100 * r.Seconds
	t.gigabits = append(t.gigabits, r.Bits/1e9)
	t.byteCosts = append(t.byteCosts, busy*1000/(r.Bytes/(1<<30)))
}

// datagramSize is that of their content, batch how many are handed to the kernel at once.
const (
	datagramSize = 64
	batch        = 64
)

// datagrams sends small datagrams of one conversation from one thread as fast as it can, and counts those that come out
// at the other workload's device. Nobody reads them there, so that nothing but their way is measured.
func (t *track) datagrams(b *testing.B) {
	b.Helper()
	server := t.listen(b)
	defer server.Close()
	client := t.converse(b, server)
	defer client.Close()
	messages := make([]xipv4.Message, batch)
	content := make([]byte, datagramSize)
	for i := range messages {
		messages[i].Buffers = [][]byte{content}
	}
	conn := xipv4.NewPacketConn(client)

	runtime.LockOSThread()
	defer unpin(b, pin(b))
	before, busy, start := t.server.ReceivedPackets("eth0"), threadTime(b), time.Now()
	for time.Since(start) < roundTime {
		if _, err := conn.WriteBatch(messages, 0); err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(start).Seconds()
	busy = threadTime(b) - busy
	arrived := float64(t.server.ReceivedPackets("eth0") - before)
	t.packets = append(t.packets, arrived/took/1000)
	t.packetCost = append(t.packetCost, float64(busy.Nanoseconds())/arrived)
}

func (t *track) listen(b *testing.B) *net.UDPConn {
	b.Helper()
	var server *net.UDPConn
	t.server.Check(netns.Do(t.server.NS, func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 5201})
		return err
	}))
	return server
}

// converse begins a conversation, and goes on until both sides have said something twice: from then on the kernel takes
// its packets for those of a connection.
func (t *track) converse(b *testing.B, server *net.UDPConn) *net.UDPConn {
	b.Helper()
	var client *net.UDPConn
	t.client.Check(netns.Do(t.client.NS, func() (err error) {
		client, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(ip4(2)), Port: 5201})
		return err
	}))
	buffer := make([]byte, datagramSize)
	for range 2 {
		_, err := client.Write([]byte("hello"))
		t.client.Check(err)
		_, from, err := server.ReadFromUDP(buffer)
		t.server.Check(err)
		_, err = server.WriteToUDP([]byte("hello"), from)
		t.server.Check(err)
		_, err = client.Read(buffer)
		t.client.Check(err)
	}
	return client
}

// pin keeps the thread on the first of the processors that it may use, and says which these are.
func pin(b *testing.B) unix.CPUSet {
	b.Helper()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatal(err)
	}
	for cpu := range len(before) * 64 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatal(err)
	}
	return before
}

func unpin(b *testing.B, before unix.CPUSet) {
	b.Helper()
	if err := unix.SchedSetaffinity(0, &before); err != nil {
		b.Error(err)
	}
	runtime.UnlockOSThread()
}

// threadTime is the processor time of the thread, which includes what the kernel does for its packets.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// spread is the median of the rounds, and between what they were.
func spread(values []float64) string {
	sorted := slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%6.4g (%.4g to %.4g)", median(sorted), sorted[0], sorted[len(sorted)-1])
}

func (t *track) log(b *testing.B) {
	b.Helper()
	b.Logf("%-17s Gbit/s %s, ms/GiB %s, 1000 packets/s %s, ns/packet %s", t.name, spread(t.gigabits),
		spread(t.byteCosts), spread(t.packets), spread(t.packetCost))
}
