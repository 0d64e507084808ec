package southbound

import (
	"context"
	"errors"
	"strconv"
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

// reports holds what a stream has reported until the reporter has taken it: the newest of each document and group. Since
// only documents of the host get in, there is at most as much as the host has documents.
type reports struct {
	mu      sync.Mutex
	waiting map[string]Status
	roles   map[uint32]Role
	arrived chan struct{} // capacity 1
}

func (r *reports) init() {
	r.waiting = map[string]Status{}
	r.roles = map[uint32]Role{}
	r.arrived = make(chan struct{}, 1)
}

func (r *reports) add(list Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range list.Statuses {
		r.waiting[s.Key] = s
	}
	for _, role := range list.Roles {
		r.roles[role.Group] = role
	}
	r.signal()
}

// giveBack puts back what could not be handed on, except for what has been reported anew since.
func (r *reports) giveBack(list Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range list.Statuses {
		if _, newer := r.waiting[s.Key]; !newer {
			r.waiting[s.Key] = s
		}
	}
	for _, role := range list.Roles {
		if _, newer := r.roles[role.Group]; !newer {
			r.roles[role.Group] = role
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

func (r *reports) take() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := Report{Statuses: make([]Status, 0, len(r.waiting))}
	for _, s := range r.waiting {
		list.Statuses = append(list.Statuses, s)
	}
	for _, role := range r.roles {
		list.Roles = append(list.Roles, role)
	}
	clear(r.waiting)
	clear(r.roles)
	return list
}

// accept checks what the host reports: what is said of anything but a document of its own view is dropped and counted.
func (s *Server) accept(c *conn, said *sb.Report) error {
	if len(said.GetStatuses()) > maxStatuses || len(said.GetRoles()) > maxRoles {
		return status.Errorf(codes.InvalidArgument, "a report has more than %d statuses or %d roles", maxStatuses, maxRoles)
	}
	snapshot := s.opts.Store.Read()
	list := Report{Statuses: make([]Status, 0, len(said.GetStatuses()))}
	for _, o := range said.GetStatuses() {
		known := o.GetState() >= sb.ObjectStatus_STATE_ABSENT && o.GetState() <= sb.ObjectStatus_STATE_ERROR
		if !known || len(o.GetKey()) > maxKey || s.opts.Compiler.Document(snapshot, c.host, o.GetKey()) == nil {
			s.metrics.dropped.Inc()
			continue
		}
		list.Statuses = append(list.Statuses, Status{
			Key: o.GetKey(), State: o.GetState(), Reason: oneLine(o.GetReason()), Hash: o.GetHash(),
		})
	}
	for _, role := range said.GetRoles() {
		key := "gateway-group/" + strconv.FormatUint(uint64(role.GetGroup()), 10)
		if len(role.GetClaim().GetHost()) > maxKey || s.opts.Compiler.Document(snapshot, c.host, key) == nil {
			s.metrics.dropped.Inc()
			continue
		}
		if role.GetClaim() != nil {
			list.Roles = append(list.Roles, Role{Group: role.GetGroup(), Claim: role.GetClaim()})
		}
	}
	if len(list.Statuses)+len(list.Roles) > 0 {
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
		n := len(list.Statuses) + len(list.Roles)
		if n == 0 {
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
				"host", c.host, "count", n, "error", err)
			s.metrics.dropped.Add(float64(n))
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}
