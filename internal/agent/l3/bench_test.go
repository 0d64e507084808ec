package l3_test

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nswatch"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// within reports a figure, and fails when it is not below its budget.
func within(b *testing.B, name string, value, budget float64) {
	b.Helper()
	b.ReportMetric(value, name)
	if value >= budget {
		b.Errorf("%s is %.3f; the budget is %.3f", name, value, budget)
	}
}

// atLeast reports a share, and fails when it is below what is promised.
func atLeast(b *testing.B, name string, value, promised float64) {
	b.Helper()
	b.ReportMetric(value, name)
	if value < promised {
		b.Errorf("%s is %.3f; at least %.3f is promised", name, value, promised)
	}
}

// BenchmarkManyRouters: 200 routers with 3 legs and 5 floating IPs each, with the networks that they are in, by the
// whole agent: from nothing in under 20 s; found again by a restarted agent in under 3 s, with no change.
func BenchmarkManyRouters(b *testing.B) {
	const routers, floating = 200, 5
	for b.Loop() {
		c := newCloud(b)
		c.quiet = true
		external := c.network(1500)
		for i := range routers {
			subnet := func(n int) string { return fmt.Sprintf("10.%d.%d.1/24", i, n) }
			r := c.router(c.network(1450).leg(subnet(1)), c.network(1450).leg(subnet(2)),
				external.gateway(fmt.Sprintf("203.0.%d.%d/16", i>>8, i&255+1)))
			r.DefaultGateways = []string{"203.0.255.254"}
			for n := range floating {
				c.floating(r, fmt.Sprintf("203.0.%d.%d", 100+n, i+1), fmt.Sprintf("10.%d.1.%d", i, 10+n))
			}
		}
		c.start()
		start, used := time.Now(), cpuTime()
		c.applyWithin(time.Minute)
		within(b, "programmed-s", time.Since(start).Seconds(), 20)
		b.ReportMetric((cpuTime() - used).Seconds(), "programmed-cpu-s")
		c.allDone()
		c.settle(b)
		c.stop()

		var events atomic.Int64
		watcher := nswatch.New(nil, func(string, nswatch.Kind) { events.Add(1) })
		names, err := netns.List("qrouter-")
		c.host.Check(err)
		for _, name := range names {
			h := testkit.OpenHost(b, name)
			c.host.Check(watcher.Add(h.NS))
		}
		start, used = time.Now(), cpuTime()
		c.start()
		c.applyWithin(time.Minute)
		within(b, "adopted-s", time.Since(start).Seconds(), 3)
		b.ReportMetric((cpuTime() - used).Seconds(), "adopted-cpu-s")
		b.Logf("adopted with %v of the processors", cpuTime()-used)
		watcher.Close()
		if n := events.Load(); n != 0 || c.drift("") != 0 {
			b.Errorf("the restarted agent made %d changes, and counted %v times drift", n, c.drift(""))
		}
		b.ReportMetric(heapPerRouter(routers), "heap-KiB-per-router")
		for key, d := range c.documents {
			if d.GetSegment() == nil {
				delete(c.documents, key)
			}
		}
		start = time.Now()
		c.applyWithin(time.Minute)
		b.ReportMetric(time.Since(start).Seconds(), "removed-s")
		c.stop()
	}
}

func heapPerRouter(routers int) float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1024 / float64(routers)
}

// BenchmarkFloatingIP: from the document to the first packet in under 100 ms, on a host with one router of 200
// floating IPs.
func BenchmarkFloatingIP(b *testing.B) {
	w := newWorld(b)
	w.quiet = true
	for i := range 200 {
		w.floating(w.router, fmt.Sprintf("203.0.113.%d", 30+i), fmt.Sprintf("10.0.1.%d", 30+i))
	}
	w.start()
	w.apply()
	testkit.Eventually(b, patience, "wired", func() bool { return w.internet.Ping("203.0.113.5", 1) == 1 })
	testkit.Eventually(b, patience, "wired", func() bool { return w.b.Ping("10.0.2.1", 1) == 1 })
	var took []time.Duration
	for b.Loop() {
		key := w.floating(w.router, "203.0.113.10", "10.0.2.10")
		probe := dial(w.internet, "udp", "203.0.113.10:80")
		start := time.Now()
		w.send()
		answer := make([]byte, 100)
		testkit.Eventually(b, patience, "answered", func() bool {
			_, _ = probe.Write([]byte("?")) // refused until the address is there
			w.host.Check(probe.SetReadDeadline(time.Now().Add(time.Millisecond)))
			_, err := probe.Read(answer)
			return err == nil
		})
		took = append(took, time.Since(start))
		probe.Close()
		delete(w.documents, key)
		w.apply()
	}
	within(b, "p50-ms", milliseconds(median(took)), 100)
	b.ReportMetric(milliseconds(slices.Max(took)), "max-ms")
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func median[T float64 | time.Duration](values []T) T {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

func dial(h *testkit.Host, network, to string) (conn net.Conn) {
	h.Check(netns.Do(h.NS, func() (err error) {
		conn, err = net.Dial(network, to)
		return err
	}))
	return conn
}

// Rounds are many and short, and two ways are compared within a round, since the machine may have other things to do.
const (
	rounds    = 41
	roundTime = 60 * time.Millisecond
)

// cpuTime is the time that the processors have spent until now on this process and those that it has started, in the
// kernel, too: forwarding is done by the thread that sends. Unlike a clock, it does not see what else the machine does.
func cpuTime() (all time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err == nil {
			all += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return all
}

// packetRate sends small datagrams to the address for a while, and returns how many have arrived at the sink for a
// second of the processors.
func packetRate(from *testkit.Host, to string, s *sink) float64 {
	conn := dial(from, "udp", to)
	defer conn.Close()
	before, used, start := s.packets.Load(), cpuTime(), time.Now()
	payload := make([]byte, 64)
	for time.Since(start) < roundTime {
		for range 64 {
			_, _ = conn.Write(payload) // a full queue is what is measured
		}
	}
	return float64(s.packets.Load()-before) / (cpuTime() - used).Seconds()
}

// byteRate sends a stream to the address for a while, and returns the bytes that have arrived at the sink for a
// second of the processors.
func byteRate(from *testkit.Host, to string, s *sink) float64 {
	conn := dial(from, "tcp", to)
	defer conn.Close()
	before, used, start := s.bytes.Load(), cpuTime(), time.Now()
	payload := make([]byte, 128<<10)
	for time.Since(start) < roundTime {
		if _, err := conn.Write(payload); err != nil {
			return 0
		}
	}
	return float64(s.bytes.Load()-before) / (cpuTime() - used).Seconds()
}

// sink counts what arrives on a port.
type sink struct{ packets, bytes atomic.Int64 }

func newSink(b *testing.B, h *testkit.Host, port int) *sink {
	s := &sink{}
	var listener *net.TCPListener
	var packets *net.UDPConn
	h.Check(netns.Do(h.NS, func() (err error) {
		if listener, err = net.ListenTCP("tcp", &net.TCPAddr{Port: port}); err == nil {
			packets, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		}
		return err
	}))
	b.Cleanup(func() {
		listener.Close()
		packets.Close()
	})
	go func() {
		buffer := make([]byte, 2048)
		for {
			if _, _, err := packets.ReadFromUDP(buffer); err != nil {
				return
			}
			s.packets.Add(1)
		}
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.drain(conn)
		}
	}()
	return s
}

func (s *sink) drain(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 256<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		s.bytes.Add(int64(n))
	}
}

// share measures two ways in turn, and returns the second's rate as a share of the first's, and by itself; medians
// of the rounds.
func share(first, second func() float64) (ratio, rate float64) {
	var ratios, rates []float64
	for i := range rounds {
		var a, b float64
		if i%2 == 0 {
			a, b = first(), second()
		} else {
			b, a = second(), first()
		}
		ratios, rates = append(ratios, b/a), append(rates, b)
	}
	return median(ratios), median(rates)
}

// BenchmarkForwardingWithManyFloatingIPs: a router with 1,000 floating IPs forwards at the rate of one with 1,
// within 10 %: packets of one flow, and new connections.
func BenchmarkForwardingWithManyFloatingIPs(b *testing.B) {
	w := newWorld(b)
	w.quiet = true
	w.floating(w.router, "203.0.113.11", "10.0.1.11")
	crowded := w.network(1450)
	host := via(crowded.workload("10.3.0.10/16"), "10.3.0.1")
	other := w.cloud.router(crowded.leg("10.3.0.1/16"), w.external.gateway("203.0.113.7/24"))
	w.floating(other, "203.0.113.12", "10.3.0.10")
	for i := range 999 {
		w.floating(other, fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250+1), fmt.Sprintf("10.3.%d.%d", 1+i/250, i%250+1))
	}
	one, many := newSink(b, w.a1, 9), newSink(b, host, 9)
	host.Serve(80)
	w.start()
	w.apply()
	w.allDone()
	for _, to := range []string{"203.0.113.11", "203.0.113.12"} {
		testkit.Eventually(b, patience, "reached", func() bool { return w.internet.Ping(to, 1) == 1 })
	}
	for b.Loop() {
		ratio, rate := share(
			func() float64 { return packetRate(w.internet, "203.0.113.11:9", one) },
			func() float64 { return packetRate(w.internet, "203.0.113.12:9", many) })
		b.ReportMetric(rate, "packets/cpu-s")
		atLeast(b, "packets-of-1000-to-1", ratio, 0.9)
		ratio, rate = share(
			func() float64 { return connectRate(b, w.internet, "203.0.113.11:80") },
			func() float64 { return connectRate(b, w.internet, "203.0.113.12:80") })
		b.ReportMetric(rate, "connections/cpu-s")
		atLeast(b, "connections-of-1000-to-1", ratio, 0.9)
	}
}

// connectRate is how many connections can be made for a second of the processors, one after the other.
func connectRate(b *testing.B, from *testkit.Host, to string) float64 {
	n, used, start := 0, cpuTime(), time.Now()
	from.Check(netns.Do(from.NS, func() error {
		for ; time.Since(start) < roundTime; n++ {
			conn, err := net.Dial("tcp", to)
			if err != nil {
				return err
			}
			if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // no port is kept in TIME_WAIT
				return err
			}
			conn.Close()
		}
		return nil
	}))
	return float64(n) / (cpuTime() - used).Seconds()
}

// BenchmarkSourceNAT: what goes out through a router has at least 85 % of the throughput through a namespace with
// nothing but a masquerade rule.
func BenchmarkSourceNAT(b *testing.B) {
	w := newWorld(b)
	w.quiet = true
	plain := w.red.workload("10.0.1.2/24")
	second := w.external.port(w.mac(), "compute:nova", "203.0.113.7/24")
	plain.Check(plain.NL.AddVeth("eth1", second.Device, w.host.NS))
	plain.Run("sh", "-c", "ip link set eth1 address "+second.Mac+" mtu 1500 up; ip addr add 203.0.113.7/24 dev eth1; "+
		"sysctl -qw net.ipv4.ip_forward=1; nft add table ip nat; "+
		"nft add chain ip nat post '{ type nat hook postrouting priority 100; }'; nft add rule ip nat post oifname eth1 masquerade")
	via(w.a2, "10.0.1.2")
	s := newSink(b, w.internet, 9)
	w.start()
	w.apply()
	w.allDone()
	for _, h := range []*testkit.Host{w.a1, w.a2} {
		testkit.Eventually(b, patience, "reached", func() bool { return h.Ping("203.0.113.254", 1) == 1 })
	}
	for b.Loop() {
		ratio, rate := share(
			func() float64 { return byteRate(w.a2, "203.0.113.254:9", s) },
			func() float64 { return byteRate(w.a1, "203.0.113.254:9", s) })
		b.ReportMetric(rate/1e6, "MB/cpu-s")
		atLeast(b, "bytes-to-masquerade", ratio, 0.85)
		ratio, rate = share(
			func() float64 { return packetRate(w.a2, "203.0.113.254:9", s) },
			func() float64 { return packetRate(w.a1, "203.0.113.254:9", s) })
		b.ReportMetric(rate, "packets/cpu-s")
		atLeast(b, "packets-to-masquerade", ratio, 0.85)
	}
}
