package southbound

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// reports holds the statuses of a stream until the reporter has taken them: the newest of each document. Since only
// statuses of documents of the host get in, there are at most as many as the host has documents.
type reports struct {
	mu      sync.Mutex
	waiting map[string]Status
	arrived chan struct{} // capacity 1
}

func (r *reports) init() {
	r.waiting = map[string]Status{}
	r.arrived = make(chan struct{}, 1)
}

func (r *reports) add(list []Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range list {
		r.waiting[s.Key] = s
	}
	r.signal()
}

// giveBack puts back what could not be handed on, except for what has been reported anew since.
func (r *reports) giveBack(list []Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range list {
		if _, newer := r.waiting[s.Key]; !newer {
			r.waiting[s.Key] = s
		}
	}
	r.signal()
}

func (r *reports) signal() {
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

func (r *reports) take() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Status, 0, len(r.waiting))
	for _, s := range r.waiting {
		list = append(list, s)
	}
	clear(r.waiting)
	return list
}

// accept checks what the host reports: a status of anything but a document of its own view is dropped and counted.
func (s *Server) accept(c *conn, statuses []*sb.ObjectStatus) error {
	if len(statuses) > maxStatuses {
		return status.Errorf(codes.InvalidArgument, "a report has more than %d statuses", maxStatuses)
	}
	snapshot := s.opts.Store.Read()
	list := make([]Status, 0, len(statuses))
	for _, o := range statuses {
		known := o.GetState() >= sb.ObjectStatus_STATE_ABSENT && o.GetState() <= sb.ObjectStatus_STATE_ERROR
		if !known || len(o.GetKey()) > maxKey || s.opts.Compiler.Document(snapshot, c.host, o.GetKey()) == nil {
			s.metrics.dropped.Inc()
			continue
		}
		list = append(list, Status{Key: o.GetKey(), State: o.GetState(), Reason: oneLine(o.GetReason())})
	}
	if len(list) > 0 {
		c.reports.add(list)
	}
	return nil
}

// oneLine makes a text that a host has written fit for the API and for logs: printable, one line, bounded.
func oneLine(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason]
		for !utf8.ValidString(text) && text != "" {
			text = text[:len(text)-1]
		}
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text))
}

// report hands reports on until ctx ends.
func (s *Server) report(ctx context.Context, c *conn) {
	pause := reportPause
	for {
		select {
		case <-c.reports.arrived:
		case <-ctx.Done():
			return
		}
		list := c.reports.take()
		if len(list) == 0 {
			continue
		}
		err := s.opts.Reporter.Reported(ctx, c.host, list)
		switch {
		case err == nil:
			pause = reportPause
		case ctx.Err() != nil:
			return
		case errors.Is(err, state.ErrUnavailable):
			c.reports.giveBack(list)
			pause = min(4*pause, 5*time.Second)
		default:
			s.opts.Logger.Error("reports of a host could not be recorded",
				"host", c.host, "count", len(list), "error", err)
			s.metrics.dropped.Add(float64(len(list)))
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}
