package filter

import (
	"github.com/prometheus/client_golang/prometheus"
)

// collector tells how much was dropped of each port, and why, when the metrics are asked for: the kernel counts.
type collector struct {
	part    *Part
	dropped *prometheus.Desc
}

func (p *Part) register(registry prometheus.Registerer) error {
	return registry.Register(&collector{part: p, dropped: prometheus.NewDesc("neutrino_port_dropped_packets_total",
		"Packets of a port that its filters have dropped, by the direction seen from the workload and the reason.",
		[]string{"port", "device", "direction", "reason"}, nil)})
}

// Describe sends the descriptions.
func (c *collector) Describe(all chan<- *prometheus.Desc) { all <- c.dropped }

// Collect reads the counters. Those of devices that are no port's any more are left out.
func (c *collector) Collect(all chan<- prometheus.Metric) {
	p := c.part
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return
	}
	drops, err := p.drops()
	if err != nil {
		p.options.Logger.Warn("counters cannot be read", "part", name, "error", err)
		return
	}
	for _, d := range drops {
		port := p.state.ports[p.state.devices[d.device]]
		if port == nil {
			continue
		}
		all <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, float64(d.Packets),
			port.id, d.device, d.reason.direction(), d.reason.name)
	}
}
