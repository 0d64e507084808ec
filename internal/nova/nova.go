// Package nova tells Nova what becomes of the ports of its servers: that one is plugged, so that the server may start,
// unplugged, deleted, or changed, so that Nova reads its addresses anew.
//
// It has two halves, with the queue in the state between them:
//
//   - The Outbox (outbox.go) looks at the changes of every transaction and writes the events that follow from them into
//     the table nova-event, in the same transaction. So a crash can neither lose an event nor invent one.
//   - The Notifier sends what is in the table, in order and in batches, to the external events API of Nova (client.go),
//     and deletes it when Nova has answered. While Nova is away the events wait, and the attempts become rarer.
//
// A crash between an answer and the deletion makes an event arrive twice. That is harmless: the events say what is, and
// Nova takes each as a reason to look.
//
// The token that Nova asks for comes from a TokenSource: the embedded identity service, or a Keystone (keystone.go).
package nova

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// TokenSource gives the tokens with which Nova is called.
type TokenSource interface {
	// Token returns a token that is valid for some time. Renew says that the last one was refused.
	Token(ctx context.Context, renew bool) (string, error)
}

// Options configure a Notifier. Store, URL and Tokens are required.
type Options struct {
	Store *state.Store
	// URL is Nova's API, with the version: http://nova:8774/v2.1.
	URL    string
	Tokens TokenSource
	// Client makes the calls; by default one with a timeout of 30 seconds.
	Client *http.Client
	// Linger is how long the first event of a batch waits for others; 50 ms if zero.
	Linger time.Duration
	// MinBackoff and MaxBackoff bound the pause after a failed call, which doubles; 1 s and 1 minute if zero.
	MinBackoff, MaxBackoff time.Duration
	Logger                 *slog.Logger          // default: slog.Default()
	Metrics                prometheus.Registerer // nil: none
}

// maxBatch is how many events go into one call.
const maxBatch = 100

// Notifier sends the queue. Run does the work.
type Notifier struct {
	opts Options
	sent *prometheus.CounterVec
}

// New makes a Notifier.
func New(opts Options) *Notifier {
	if opts.Client == nil {
		opts.Client = &http.Client{Timeout: 30 * time.Second}
	}
	if opts.Linger == 0 {
		opts.Linger = 50 * time.Millisecond
	}
	if opts.MinBackoff == 0 {
		opts.MinBackoff = time.Second
	}
	if opts.MaxBackoff == 0 {
		opts.MaxBackoff = time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	opts.URL = strings.TrimRight(opts.URL, "/")
	n := &Notifier{opts: opts, sent: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "neutrino_nova_events_total", Help: "Events that Nova has answered for, by what became of them.",
	}, []string{"result"})}
	if opts.Metrics != nil {
		opts.Metrics.MustRegister(n.sent, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "neutrino_nova_events_waiting", Help: "Events that Nova has still to be told.",
		}, func() float64 { return float64(state.NovaEvents.Len(opts.Store.Read())) }))
	}
	return n
}

// Run sends events until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	backoff := n.opts.MinBackoff
	for ctx.Err() == nil {
		batch, err := n.wait(ctx)
		if err == nil {
			err = n.deliver(ctx, batch)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if err == nil {
			backoff = n.opts.MinBackoff
			continue
		}
		// The pauses of several servers must not fall together.
		pause := backoff/2 + rand.N(backoff/2+1)
		n.opts.Logger.Warn("Nova was not told of changed ports", "error", err, "waiting",
			state.NovaEvents.Len(n.opts.Store.Read()), "again_in", pause)
		sleep(ctx, pause)
		backoff = min(2*backoff, n.opts.MaxBackoff)
	}
	return nil
}

// wait returns the first events of the queue as soon as there are any and they have waited for others.
func (n *Notifier) wait(ctx context.Context) ([]*model.NovaEvent, error) {
	snapshot, commits := n.opts.Store.Feed()
	for state.NovaEvents.Len(snapshot) == 0 {
		commit, err := commits.Next(ctx)
		if err != nil {
			return nil, err
		}
		snapshot = commit.Snapshot
	}
	sleep(ctx, n.opts.Linger)
	var batch []*model.NovaEvent
	for _, e := range state.NovaEventsBySequence.From(n.opts.Store.Read(), "") {
		if batch = append(batch, e); len(batch) == maxBatch {
			break
		}
	}
	return batch, ctx.Err()
}

// deliver sends the batch and takes it off the queue. On an error it stays there.
func (n *Notifier) deliver(ctx context.Context, batch []*model.NovaEvent) error {
	if len(batch) == 0 {
		return nil
	}
	token, err := n.opts.Tokens.Token(ctx, false)
	if err != nil {
		return err
	}
	results, err := n.post(ctx, token, batch)
	if errors.Is(err, errToken) {
		if token, err = n.opts.Tokens.Token(ctx, true); err != nil {
			return err
		}
		results, err = n.post(ctx, token, batch)
	}
	if err != nil {
		return err
	}
	if err := n.forget(ctx, batch); err != nil {
		return err
	}
	for i, e := range batch {
		n.sent.WithLabelValues(results[i].label()).Inc()
		log := n.opts.Logger.Info
		if !results[i].ok() {
			log = n.opts.Logger.Warn
		}
		log("Nova told", "event", e.Event, "status", e.Status, "server", e.ServerID, "port", e.PortID, "answer", int(results[i]))
	}
	return nil
}

// forget deletes the events from the queue, but for those that have been replaced by newer ones since they were read.
func (n *Notifier) forget(ctx context.Context, batch []*model.NovaEvent) error {
	_, err := n.opts.Store.Update(ctx, func(tx *state.Tx) error {
		for _, e := range batch {
			if now, ok := state.NovaEvents.Get(tx, e.ID); ok && now.Sequence == e.Sequence {
				state.NovaEvents.Delete(tx, e.ID)
			}
		}
		return nil
	})
	return err
}

// sleep waits for the time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
