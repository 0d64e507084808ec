package e2e

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/test/cloud"
)

// BenchmarkPortToPing: from the answer to POST /v2.0/ports to the first ping that a workload on another host answers, with
// `neutrino plug` between them as a user would type it: the starts of two processes are in the figure. Budgets: p50 under
// 150 ms without DHCP, under 1 s with it.
func BenchmarkPortToPing(b *testing.B) {
	w := start(b)
	within := func(b *testing.B, name string, value, budget float64) {
		b.ReportMetric(value, name)
		if value >= budget {
			b.Errorf("%s is %.1f; the budget is %.1f", name, value, budget)
		}
	}
	// At rest, with an empty cloud.
	memory := func(host, daemon string, budget float64) {
		b.Run("memory/"+host, func(b *testing.B) {
			p, _ := w.record.Process(host, daemon)
			within(b, "MiB", float64(cloud.Memory(b, p.PID))/(1<<20), budget)
		})
	}
	memory("control", "server", 90)
	for _, host := range []string{"network", "compute1", "compute2"} {
		memory(host, "agent", 40)
	}
	w.t = b
	n := w.network("blue", "10.1.0.0/16")
	peer := w.workload(n, "peer", "compute1")
	i := 0
	// A port comes to a host that has been at rest for a while, or that is still busy with the removal of another.
	const atRest, busy = 400 * time.Millisecond, 0
	measure := func(b *testing.B, budget float64, pause time.Duration, more ...string) {
		w.t = b
		var took []time.Duration
		for b.Loop() {
			i++
			p := w.port(n, fmt.Sprintf("vm%d", i), "compute2")
			begin := time.Now()
			w.plug(p, more...)
			w.reach(p, peer)
			took = append(took, time.Since(begin))
			b.StopTimer()
			w.run(p.Host, w.lab.Binary(), "unplug", p.ID)
			if err := w.client.DeletePort(b.Context(), p.ID); err != nil {
				b.Fatal(err)
			}
			time.Sleep(pause) //nolint:forbidigo // the host comes to rest
			b.StartTimer()
		}
		slices.Sort(took)
		within(b, "p50-ms", float64(took[len(took)/2].Milliseconds()), budget)
		b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
	}
	b.Run("static", func(b *testing.B) { measure(b, 150, atRest) })
	b.Run("dhcp", func(b *testing.B) { measure(b, 1000, atRest, "--dhcp") })
	b.Run("static-after-a-removal", func(b *testing.B) { measure(b, math.Inf(1), busy) })
}
