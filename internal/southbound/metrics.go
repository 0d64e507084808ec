package southbound

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics collects the figures of the southbound. Those of the hosts are read from the hub when they are asked for.
type metrics struct {
	server *Server

	connected, lag, view        *prometheus.Desc
	batches, documents, dropped prometheus.Counter
	joins                       *prometheus.CounterVec
}

func newMetrics(s *Server) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "neutrino_southbound_" + name, Help: help})
	}
	perHost := []string{"host"}
	return &metrics{
		server:    s,
		connected: prometheus.NewDesc("neutrino_southbound_connected_hosts", "Hosts with a stream.", nil, nil),
		lag: prometheus.NewDesc("neutrino_southbound_lag_seconds",
			"How long the oldest change not applied by the host has waited; without a stream, since it was heard.",
			perHost, nil),
		view: prometheus.NewDesc("neutrino_southbound_documents",
			"Documents in the view of the host.", perHost, nil),
		batches:   counter("batches_total", "Batches sent."),
		documents: counter("documents_sent_total", "Documents sent."),
		dropped:   counter("reports_dropped_total", "Statuses dropped: not of the host's own documents, or refused."),
		joins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_southbound_joins_total", Help: "Requests to join, by result.",
		}, []string{"result"}),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.connected
	ch <- m.lag
	ch <- m.view
	for _, c := range []prometheus.Collector{m.batches, m.documents, m.dropped, m.joins} {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	connected := 0
	for _, h := range m.server.Hosts() {
		if h.Connected {
			connected++
		}
		ch <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, h.LagSeconds, h.Host)
		ch <- prometheus.MustNewConstMetric(m.view, prometheus.GaugeValue, float64(h.Documents), h.Host)
	}
	ch <- prometheus.MustNewConstMetric(m.connected, prometheus.GaugeValue, float64(connected))
	m.batches.Collect(ch)
	m.documents.Collect(ch)
	m.dropped.Collect(ch)
	m.joins.Collect(ch)
}
