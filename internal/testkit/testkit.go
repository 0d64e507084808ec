// Package testkit builds small networks out of namespaces for tests that need the real kernel.
//
// Everything that is made is removed when the test ends, also when it fails. Tests that use this package need root and
// say so.
package testkit

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// sequence makes the names of one test process differ; its process id makes those of several processes differ.
var sequence atomic.Int64

// Host is a network namespace with its netlink handle: a host, a workload, or the switch between hosts.
type Host struct {
	t testing.TB
	// Name is that of the namespace, for `ip netns exec`.
	Name string
	NS   *netns.Handle
	NL   *netlinkx.Handle
}

// RequireRoot ends the test with one clear sentence if it cannot make namespaces.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces and devices: run it as root")
	}
}

// NewHost makes a namespace with its loopback device up.
func NewHost(t testing.TB, role string) *Host {
	t.Helper()
	RequireRoot(t)
	name := fmt.Sprintf("nt-%d-%d-%s", os.Getpid(), sequence.Add(1), role)
	ns, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ns.Close()
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	nl, err := netlinkx.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	h := &Host{t: t, Name: name, NS: ns, NL: nl}
	h.Check(nl.SetUp(h.Link("lo").Index))
	return h
}

// Check ends the test if there is an error.
func (h *Host) Check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%s: %v", h.Name, err)
	}
}

// Link returns a device, and ends the test if there is none.
func (h *Host) Link(name string) *netlinkx.Link {
	h.t.Helper()
	l, err := h.NL.LinkByName(name)
	h.Check(err)
	return l
}

// Run runs a command inside and returns what it printed; a failure ends the test.
func (h *Host) Run(command string, args ...string) string {
	h.t.Helper()
	out, err := h.Try(command, args...)
	if err != nil {
		h.t.Fatalf("%s: %s %s: %v\n%s", h.Name, command, strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs a command inside and returns what it printed, on both outputs.
func (h *Host) Try(command string, args ...string) (string, error) {
	var out []byte
	err := netns.Do(h.NS, func() (err error) {
		// Cleanups run commands, too, when the test's context has ended.
		out, err = exec.CommandContext(context.Background(), command, args...).CombinedOutput()
		return err
	})
	return string(out), err
}

// Connect makes a veth pair between two hosts; both ends are up.
func Connect(a *Host, nameA string, b *Host, nameB string) {
	a.t.Helper()
	a.Check(a.NL.AddVeth(nameA, nameB, b.NS))
	a.Check(a.NL.SetUp(a.Link(nameA).Index))
	b.Check(b.NL.SetUp(b.Link(nameB).Index))
}

// Underlay makes a switch and n hosts that are connected to it by their eth0, with the addresses 192.0.2.1, 192.0.2.2
// and so on.
func Underlay(t testing.TB, n int) []*Host {
	t.Helper()
	_, hosts := SwitchedUnderlay(t, n)
	return hosts
}

// SwitchedUnderlay is Underlay with its switch, on which the hosts' ports are p1, p2 and so on.
func SwitchedUnderlay(t testing.TB, n int) (sw *Host, hosts []*Host) {
	t.Helper()
	sw = NewHost(t, "switch")
	sw.Check(sw.NL.AddBridge("br0", netlinkx.MAC{}, netlinkx.BridgeInfo{AgeingTime: 30000}))
	sw.Check(sw.NL.SetUp(sw.Link("br0").Index))
	hosts = make([]*Host, n)
	for i := range hosts {
		h := NewHost(t, fmt.Sprintf("host%d", i+1))
		port := fmt.Sprintf("p%d", i+1)
		Connect(h, "eth0", sw, port)
		sw.Check(sw.NL.SetMaster(sw.Link(port).Index, sw.Link("br0").Index))
		h.Check(h.NL.AddAddress(h.Link("eth0").Index, netip.PrefixFrom(UnderlayIP(i), 24)))
		hosts[i] = h
	}
	return sw, hosts
}

// UnderlayIP is the address of the i-th host of an underlay, counted from 0.
func UnderlayIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }

// Plug makes a workload on the host: a namespace whose eth0 has the MAC and the addresses, and whose other end is the
// device of that name on the host. The device is down and in no bridge: wiring it is the agent's work.
func (h *Host) Plug(device, mac string, addresses ...string) *Host {
	h.t.Helper()
	w := NewHost(h.t, "workload")
	w.Check(w.NL.AddVeth("eth0", device, h.NS))
	parsed, err := net.ParseMAC(mac)
	w.Check(err)
	index := w.Link("eth0").Index
	w.Check(w.NL.SetHardwareAddr(index, netlinkx.MAC(parsed)))
	w.Check(w.NL.SetUp(index))
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a)
		w.Check(err)
		w.Check(w.NL.AddAddress(index, prefix))
	}
	return w
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// Ping sends count pings, 20 ms apart, and returns how many were answered.
func (h *Host) Ping(address string, count int) (answered int) {
	h.t.Helper()
	// An unanswered ping is no failure here, so the error (exit code 1) says nothing.
	out, _ := h.Try("ping", "-n", "-c", strconv.Itoa(count), "-i", "0.02", "-W", "1", address)
	m := pingSummary.FindStringSubmatch(out)
	if m == nil {
		h.t.Fatalf("%s: ping %s: %s", h.Name, address, out)
	}
	answered, _ = strconv.Atoi(m[2])
	return answered
}

// ReceivedPackets is the counter of packets that came in on a device.
func (h *Host) ReceivedPackets(device string) int { return h.counter(device, "rx_packets") }

// SentPackets is the counter of packets that went out on a device.
func (h *Host) SentPackets(device string) int { return h.counter(device, "tx_packets") }

func (h *Host) counter(device, name string) int {
	h.t.Helper()
	// sysfs shows the namespace in which it was mounted, not that of the reader; the table in /proc is the thread's.
	var table []byte
	h.Check(netns.Do(h.NS, func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	}))
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 10 && fields[0] == device+":" {
			n, err := strconv.Atoi(fields[map[string]int{"rx_packets": 2, "tx_packets": 10}[name]])
			h.Check(err)
			return n
		}
	}
	h.t.Fatalf("%s: no counters of %s", h.Name, device)
	return 0
}

// busy is how much longer everything may take where other tests have the processors, too. What has to be fast is measured by
// benchmarks.
const busy = 3

// Eventually waits until the condition holds, and ends the test if it does not within several times the time that it is to
// take. In the virtual machine of test/vm, which says so in its environment, there is more: its processor is emulated.
func Eventually(t testing.TB, within time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	within *= busy
	if os.Getenv("VM") != "" {
		within *= 3
	}
	start := time.Now()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		if time.Since(start) > within {
			t.Fatalf("after %s: still not %s", within, what)
		}
		<-ticker.C
	}
	return time.Since(start)
}
