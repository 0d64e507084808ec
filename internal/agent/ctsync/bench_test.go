package ctsync_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/testkit"
)

// below reports a figure, and fails when it is not below its bound.
func below(b *testing.B, name string, value, bound float64) {
	b.Helper()
	b.ReportMetric(value, name)
	if value >= bound {
		b.Errorf("%s is %.2f; the bound is %.2f", name, value, bound)
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkManyConnections: what 20,000 connections cost, when they begin as fast as the kernel can be told of them, are
// remembered by another host, and are put into its kernel. Both hosts are in this process.
func BenchmarkManyConnections(b *testing.B) {
	const flows, patience = 20_000, time.Minute
	for b.Loop() {
		one, kernel := table(b)
		two, _ := table(b)
		_, other := pair(b, one.Name, two.Name)
		one.Check(kernel.Insert(flow(0)))
		testkit.Eventually(b, patience, "the first known", other.remembers(1))

		empty, start, used := heap(), time.Now(), cpuTime()
		for n := range flows {
			one.Check(kernel.Insert(flow(n)))
		}
		made := cpuTime() - used
		testkit.Eventually(b, patience, "all known", other.remembers(flows))
		b.ReportMetric(flows/time.Since(start).Seconds(), "told/s")
		below(b, "cpu-us/connection", float64((cpuTime()-used).Microseconds())/flows, 200)
		b.ReportMetric(float64(made.Microseconds())/flows, "cpu-us/connection-until-all-had-begun")
		below(b, "heap-bytes/connection", (heap()-empty)/flows, 400)

		start, used = time.Now(), cpuTime()
		n, err := other.Inject(router, two.NS)
		if n != flows || err != nil {
			b.Fatalf("%d connections were put in: %v", n, err)
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/flows, "put-in-us/connection")
		below(b, "put-in-cpu-us/connection", float64((cpuTime()-used).Microseconds())/flows, 80)
	}
}
