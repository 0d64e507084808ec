package filter

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/filter"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/testkit"
	"github.com/neutrino-net/neutrino/internal/verdict"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// host is a host with its agent's parts, and a workload for each slot of the cast.
type host struct {
	*testkit.Host
	t         testing.TB
	filters   *filter.Part
	wiring    agent.Part
	workloads []*workload
	number    int // of the next packet
}

// workload is where the frames of a port are sent and seen.
type workload struct {
	slot
	fd int
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{Host: testkit.NewHost(t, "filter"), t: t}
	logger := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	metrics := reconcile.NewMetrics(registry)
	wiring, err := l2.New(l2.Options{Namespace: h.NS, Metrics: metrics, Logger: logger})
	h.Check(err)
	t.Cleanup(wiring.Close)
	filters, err := filter.New(filter.Options{Namespace: h.NS, Metrics: metrics, Registry: registry, Logger: logger})
	h.Check(err)
	t.Cleanup(filters.Close)
	h.filters, h.wiring = filters, wiring
	h.watch()
	for _, s := range slots {
		ns := h.Plug(model.DeviceName(s.id), s.mac.String())
		// What the kernel of the workload says by itself is none of the test's packets, and in their way.
		ns.Check(netns.Do(ns.NS, func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644)
		}))
		h.workloads = append(h.workloads, &workload{s, open(t, ns)})
	}
	return h
}

// watch has the filters hear of devices that come, as in an agent.
func (h *host) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.filters.Watch(ctx, func() {}) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
}

// open returns a packet socket on the workload's device.
func open(t testing.TB, ns *testkit.Host) (fd int) {
	t.Helper()
	const every = 0x0300 // ETH_P_ALL in network byte order
	index := ns.Link("eth0").Index
	ns.Check(netns.Do(ns.NS, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, every)
		return err
	}))
	t.Cleanup(func() { unix.Close(fd) })
	ns.Check(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: index}))
	ns.Check(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	ns.Check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
	return fd
}

// program makes the host match the documents. The filters look again when the bridges are there, and at connections.
func (h *host) program(view *agent.View) error {
	for _, part := range []agent.Part{h.filters, h.wiring, h.filters} {
		statuses, err := part.Reconcile(h.t.Context(), view)
		if err != nil {
			return fmt.Errorf("%s: %w", part.Name(), err)
		}
		for _, s := range statuses {
			if s.State == sb.ObjectStatus_STATE_ERROR {
				return fmt.Errorf("%s: %s is %s: %s", part.Name(), s.Key, s.State, s.Reason)
			}
		}
	}
	return h.filters.Settle()
}

// family is the one in which the kernel tracks the connections of bridges.
func (h *host) family() string {
	h.t.Helper()
	for _, s := range slots {
		if view, err := h.filters.Show(s.id); err == nil {
			return view.Family
		}
	}
	h.t.Fatal("none of the ports is known")
	return ""
}

// settle waits until the bridges forward, which takes a moment after devices have come.
func (h *host) settle() {
	h.t.Helper()
	testkit.Eventually(h.t, 10*time.Second, "forwarding greetings", func() bool {
		return h.receive(h.greet(), 100*time.Millisecond, func(int, int) {}) == nil
	})
}

// forget makes the host forget all connections.
func (h *host) forget() {
	h.Check(netns.Do(h.NS, func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
}

// arrivals tells for each packet of a run, by its place there, at which workloads it has been seen.
type arrivals []map[int]bool

// run sends the packets, one after the other, and returns where they have arrived.
func (h *host) run(packets []sent) (arrivals, error) {
	// One processor: there the kernel handles the frames in the order in which they are sent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	h.Check(unix.SchedGetaffinity(0, &before))
	for cpu := range 1024 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	h.Check(unix.SchedSetaffinity(0, &one))
	defer func() { h.Check(unix.SchedSetaffinity(0, &before)) }()

	h.greet()
	first := h.number
	for _, p := range packets {
		for _, frame := range encode(h.number, p.packet, p.form) {
			h.send(p.from, frame)
		}
		h.number++
	}
	seen := make(arrivals, len(packets))
	for i := range seen {
		seen[i] = map[int]bool{}
	}
	greetings := h.greet()
	err := h.receive(greetings, 5*time.Second, func(number, at int) {
		if i := number - first; i >= 0 && i < len(packets) {
			seen[i][at] = true
		}
	})
	return seen, err
}

// greet sends a frame from every workload to all others of its network, which always passes: a neighbour solicitation
// from its link-local address. It tells the bridges where the workloads are, and the test that all before has arrived.
// It returns how many greetings each workload is to get, and the number of the first.
func (h *host) greet() (g greetings) {
	g = greetings{first: h.number, missing: make([]int, len(h.workloads))}
	for from, w := range h.workloads {
		local := linkLocal(w.mac)
		p := &verdict.Packet{
			Source: w.mac, EtherType: verdict.TypeIPv6, SourceIP: local, DestinationIP: allNodes,
			Protocol: verdict.ProtoICMPv6, ICMPType: verdict.NeighbourSolicit, Target: local,
		}
		for _, frame := range encode(h.number, p, form{to: allNodesMAC}) {
			h.send(from, frame)
		}
		h.number++
		for to, other := range h.workloads {
			if to != from && other.network == w.network {
				g.missing[to]++
			}
		}
	}
	return g
}

type greetings struct {
	first   int
	missing []int
}

func (h *host) send(from int, frame []byte) {
	if _, err := unix.Write(h.workloads[from].fd, frame); err != nil {
		h.t.Fatalf("send from %s: %v", h.workloads[from].name, err)
	}
}

// receive reads what has arrived, until all greetings are among it.
func (h *host) receive(g greetings, within time.Duration, arrived func(number, at int)) error {
	buffer := make([]byte, 4096)
	for end := time.Now().Add(within); ; {
		missing := ""
		for at, w := range h.workloads {
			for {
				n, _, err := unix.Recvfrom(w.fd, buffer, 0)
				if err != nil {
					break // EAGAIN: that was all
				}
				number, ok := numberIn(buffer[:n])
				switch {
				case !ok:
				case number >= g.first:
					g.missing[at]--
				default:
					arrived(number, at)
				}
			}
			if g.missing[at] > 0 {
				missing += fmt.Sprintf(" %d at %s", g.missing[at], w.name)
			}
		}
		if missing == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("greetings are missing:%s", missing)
		}
		runtime.Gosched()
	}
}
