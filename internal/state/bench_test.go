package state_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/state/etcdlog"
)

// Updates on embedded etcd, each making one port: what an API request costs beside HTTP and rules.
func BenchmarkUpdate(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := open(b, embedded(b))
			var made atomic.Int64
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			if callers == 1 {
				for b.Loop() {
					makePorts(b, s, made.Add(1), 1)
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						makePorts(b, s, made.Add(1), 1)
					}
				})
			}
			b.ReportMetric(float64(made.Load())/b.Elapsed().Seconds(), "ports/s")
		})
	}
}

// One transaction with as many objects as a bulk request may have.
func BenchmarkUpdateBulk(b *testing.B) {
	s := open(b, embedded(b))
	var made int64
	for b.Loop() {
		makePorts(b, s, made, 1000)
		made += 1000
	}
}

// A start with a full state: its time, and its memory for each port.
func BenchmarkLoad(b *testing.B) {
	for _, ports := range []int64{10_000, 100_000} {
		b.Run(fmt.Sprintf("ports=%d", ports), func(b *testing.B) {
			log := embedded(b)
			fill(b, log, ports)
			for b.Loop() {
				b.StopTimer()
				before := heap()
				b.StartTimer()
				s, err := state.Open(ctx, state.Options{Log: log, Logger: quiet})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				b.ReportMetric((heap()-before)/float64(ports), "bytes/port")
				if n := state.Ports.Len(s.Read()); int64(n) != ports {
					b.Fatalf("%d ports, want %d", n, ports)
				}
				s.Close()
				b.StartTimer()
			}
		})
	}
}

func fill(b *testing.B, log state.Log, ports int64) {
	b.Helper()
	s, err := state.Open(ctx, state.Options{Log: log, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for n := int64(0); n < ports; n += 1000 {
		makePorts(b, s, n, 1000)
	}
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func embedded(b *testing.B) state.Log {
	b.Helper()
	e, err := etcdlog.StartEmbedded(ctx, etcdlog.EmbeddedOptions{Dir: b.TempDir(), Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	l := etcdlog.New(e.LogOptions())
	b.Cleanup(l.Close)
	return l
}

// makePorts makes ports as a cloud has them, in one transaction: numbers from first on, with 100 on a network.
func makePorts(b *testing.B, s *state.Store, first, count int64) {
	b.Helper()
	_, err := s.Update(ctx, func(tx *state.Tx) error {
		for n := first; n < first+count; n++ {
			state.Ports.Put(tx, benchPort(tx.NewID(), n))
		}
		return nil
	})
	if err != nil {
		b.Error(err)
	}
}

func benchPort(id string, n int64) *model.Port {
	net := fmt.Sprintf("6e1b3a52-0000-4000-8000-%012d", n/100)
	return &model.Port{
		Meta:         model.Meta{ID: id, ProjectID: fmt.Sprintf("project%025d", n/1000), Name: fmt.Sprint("port-", n)},
		NetworkID:    net,
		AdminStateUp: true,
		MAC:          fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", byte(n>>16), byte(n>>8), byte(n)),
		FixedIPs: []model.FixedIP{{
			SubnetID: net, IP: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}),
		}},
		DeviceID:            fmt.Sprintf("8a2c1d00-0000-4000-8000-%012d", n),
		DeviceOwner:         "compute:nova",
		Status:              model.PortActive,
		Binding:             model.Binding{Host: fmt.Sprint("compute", n%100), VIFType: model.VIFBridge, VNICType: "normal"},
		PortSecurityEnabled: true,
	}
}
