// Package bench measures what the product promises, on the real program over loopback. `make bench` runs it; each figure
// is printed with its budget, and where there is a peer (bare etcd, the bare kernel) with the ratio to it in the same run.
package bench

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/test/cloud"
)

func TestMain(m *testing.M) {
	code := m.Run()
	cloud.Clean()
	os.Exit(code)
}

// percentile returns the p-th percentile of latencies in milliseconds.
func percentile(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(p/100*float64(len(d))))].Seconds() * 1000
}

func portBody(network, name string) map[string]any {
	return map[string]any{"port": map[string]any{"network_id": network, "name": name}}
}

// BenchmarkPortCreateOneClient: budget p50 < 5 ms.
func BenchmarkPortCreateOneClient(b *testing.B) {
	s := cloud.Start(b)
	c := s.Client("admin")
	network, _ := c.Network(b, "net", "10.0.0.0/8")
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c.Must(b, 201, "POST", "/ports", portBody(network, "p"), nil)
		took = append(took, time.Since(start))
	}
	b.ReportMetric(percentile(took, 50), "p50-ms(<5)")
	b.ReportMetric(percentile(took, 99), "p99-ms(<25)")
}

// BenchmarkPortCreateEightClients: budget > 1,500 ports a second.
func BenchmarkPortCreateEightClients(b *testing.B) {
	s := cloud.Start(b)
	c := s.Client("admin")
	network, _ := c.Network(b, "net", "10.0.0.0/8")
	const clients = 8
	start := time.Now()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if status, text, err := c.Do(b.Context(), "POST", "/ports", portBody(network, "p"), nil); err != nil || status != 201 {
					b.Errorf("creating a port: %d %s %v", status, text, err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "ports/s(>1500)")
}

// fill makes n ports in bulk.
func fill(b *testing.B, c *cloud.Client, network string, n int) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		var body []any
		for j := range min(1000, n-i) {
			body = append(body, map[string]any{"network_id": network, "name": fmt.Sprintf("p%d", i+j)})
		}
		c.Must(b, 201, "POST", "/ports", map[string]any{"ports": body}, nil)
	}
}

// BenchmarkTenThousandPorts: the list in full < 300 ms, one port < 1 ms, the server restarted < 4 s, and its memory.
func BenchmarkTenThousandPorts(b *testing.B) {
	s := cloud.Start(b)
	c := s.Client("admin")
	network, _ := c.Network(b, "net", "10.0.0.0/8")
	empty := cloud.Memory(b, s.Pid())
	ready := s.Ready
	fill(b, c, network, 10_000)
	full := cloud.Memory(b, s.Pid())

	b.Run("list", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			c.Must(b, http.StatusOK, "GET", "/ports", nil, nil)
			took = append(took, time.Since(start))
		}
		b.ReportMetric(percentile(took, 50), "p50-ms(<300)")
	})
	b.Run("listFilteredToOne", func(b *testing.B) {
		for b.Loop() {
			c.Must(b, http.StatusOK, "GET", "/ports?name=p77", nil, nil)
		}
	})
	b.Run("restart", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			s.Kill()
			s.Restart()
			took = append(took, s.Ready)
		}
		b.ReportMetric(percentile(took, 50), "p50-ms(<4000)")
	})
	b.ReportMetric(ready.Seconds()*1000, "emptyReady-ms(<1500)")
	b.ReportMetric(float64(empty)/(1<<20), "emptyMiB(<90)")
	b.ReportMetric(float64(full)/(1<<20), "fullMiB")
}
