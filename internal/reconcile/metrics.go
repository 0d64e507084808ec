package reconcile

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those that all parts of an agent share.
type Metrics struct {
	drift    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

// NewMetrics registers the metrics. Called again with the same registry it returns the same counters, so each part may
// ask for them by itself.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	return &Metrics{
		drift: register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_drift_repaired_total",
			Help: "Objects on the host that somebody else had changed or removed, and that were put right.",
		}, []string{"part", "kind"})),
		duration: register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "neutrino_reconcile_duration_seconds",
			Help:    "Time of a pass that compares the host with what is wanted and puts it right.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"part"})),
		failures: register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_reconcile_errors_total",
			Help: "Passes that ended with an error, or with a document that could not be applied.",
		}, []string{"part"})),
	}
}

// Drift counts one repaired object of a kind ("bridge", "fdb", …).
func (m *Metrics) Drift(part, kind string) { m.drift.WithLabelValues(part, kind).Inc() }

// Pass records a pass and whether something in it failed.
func (m *Metrics) Pass(part string, took time.Duration, failed bool) {
	m.duration.WithLabelValues(part).Observe(took.Seconds())
	if failed {
		m.failures.WithLabelValues(part).Inc()
	}
}

func register[C prometheus.Collector](registry prometheus.Registerer, collector C) C {
	err := registry.Register(collector)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		panic(err) // two different metrics of one name: a mistake in the program, found by its first run
	}
	return collector
}
