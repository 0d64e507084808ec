package e2e

import (
	"fmt"
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
	n := w.network("blue", "10.1.0.0/16")
	peer := w.workload(n, "peer", "compute1")
	i := 0
	measure := func(b *testing.B, more ...string) {
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
			b.StartTimer()
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
	}
	b.Run("static(p50<150ms)", func(b *testing.B) { measure(b) })
	b.Run("dhcp(p50<1000ms)", func(b *testing.B) { measure(b, "--dhcp") })
	w.t = b
	for _, host := range []string{"network", "compute1", "compute2"} {
		p, _ := w.record.Process(host, "agent")
		b.Logf("agent of %s: %.1f MiB (budget 40)", host, float64(cloud.Memory(b, p.PID))/(1<<20))
	}
	p, _ := w.record.Process("control", "server")
	b.Logf("server: %.1f MiB (budget 90)", float64(cloud.Memory(b, p.PID))/(1<<20))
}
