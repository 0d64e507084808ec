package l2_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// bigHost is a host with many devices of ports and many peers, and the view that wants them wired.
func bigHost(t testing.TB, ports, peers int) (*testkit.Host, []*sb.Document) {
	h := testkit.Underlay(t, 1)[0]
	w := testkit.NewHost(t, "workloads")
	documents := []*sb.Document{vxlan(networkA, 10)}
	for n := 1; n <= ports; n++ {
		w.Check(w.NL.AddVeth(fmt.Sprintf("eth%d", n), device(n), h.NS))
		documents = append(documents, port(networkA, n))
	}
	for n := ports + 1; n <= ports+peers; n++ {
		documents = append(documents, neighbour(networkA, n, testkit.UnderlayIP(1+n%200)))
	}
	return h, documents
}

// BenchmarkPass measures a pass over a host that is already right. "full" compares everything, as after a change of the
// view or of an entry; "devices" is what the event of a device costs.
func BenchmarkPass(b *testing.B) {
	for _, size := range []struct{ ports, peers int }{{50, 500}, {500, 5000}} {
		b.Run(fmt.Sprintf("ports=%d/peers=%d", size.ports, size.peers), func(b *testing.B) {
			h, documents := bigHost(b, size.ports, size.peers)
			part, _ := newPart(b, h, 0)
			view := agent.NewView(1, documents...)
			start := time.Now()
			statusesOf(b, part, view)
			first := float64(time.Since(start).Milliseconds())
			b.Run("full", func(b *testing.B) {
				b.ReportMetric(first, "first-ms")
				measure(b, func() { statusesOf(b, part, view) })
			})
			b.Run("devices", func(b *testing.B) {
				ready := make(chan struct{})
				tell := sync.OnceFunc(func() { close(ready) })
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() { done <- part.Watch(ctx, tell) }()
				<-ready
				statusesOf(b, part, view)
				measure(b, func() { statusesOf(b, part, view) })
				cancel()
				<-done
			})
		})
	}
}

// measure runs f in the loop of the benchmark and reports the processor time of it, too: the clock's time says little on
// a machine that has other work.
func measure(b *testing.B, f func()) {
	used := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64((used()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func BenchmarkConvert(b *testing.B) {
	documents := []*sb.Document{vxlan(networkA, 10)}
	for n := 1; n <= 5500; n++ {
		documents = append(documents, neighbour(networkA, n, testkit.UnderlayIP(1+n%200)))
	}
	view := agent.NewView(1, documents...)
	measure(b, func() { convert(view) })
}
