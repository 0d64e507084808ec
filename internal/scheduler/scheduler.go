// Package scheduler sees to it that networks are served: it follows the state and calls the rules of package
// service/dhcp for every network that a change may concern.
//
// It is level-triggered. At its start, and every few minutes, it looks at all networks; a commit only tells it where to
// look at once. What it could not do, since no host with a DHCP agent was connected, it tries again when one is.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Options configure a Scheduler.
type Options struct {
	Store  *state.Store  // required
	DHCP   *dhcp.Service // required
	Logger *slog.Logger  // default: slog.Default()
	// Resync is how often all networks are looked at; default 5 minutes.
	Resync time.Duration
	// Retry is how often it is tried again to do what could not be done; default 500 ms.
	Retry time.Duration
}

// perUpdate is how many networks are looked after in one transaction, so that none holds up the API for long.
const perUpdate = 200

// Scheduler is the loop. It is used once.
type Scheduler struct {
	opts Options
	// due are the networks to look at.
	due map[string]bool
	// unserved are those that wait for a host.
	unserved map[string]bool
	// said has what was logged last of a network, so that a lasting problem is logged once.
	said map[string]string
	// failing says that the last transaction failed.
	failing bool
}

// New returns a scheduler. Run starts it.
func New(opts Options) *Scheduler {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Resync == 0 {
		opts.Resync = 5 * time.Minute
	}
	if opts.Retry == 0 {
		opts.Retry = 500 * time.Millisecond
	}
	return &Scheduler{opts: opts, due: map[string]bool{}, unserved: map[string]bool{}, said: map[string]string{}}
}

// Run follows the state until ctx ends, and returns its error.
func (s *Scheduler) Run(ctx context.Context) error {
	snap, cursor := s.opts.Store.Feed()
	s.all(snap)
	resync := time.NewTicker(s.opts.Resync)
	defer resync.Stop()
	retry := time.NewTicker(s.opts.Retry)
	defer retry.Stop()
	for {
		s.work(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-cursor.Ready():
		case <-resync.C:
			s.all(s.opts.Store.Read())
		case <-retry.C:
			if len(s.unserved) > 0 && s.opts.DHCP.Available(s.opts.Store.Read()) {
				maps.Copy(s.due, s.unserved)
			}
		}
		if err := s.catchUp(ctx, cursor); err != nil {
			return err
		}
	}
}

// catchUp follows the commits that are there, so that one look covers all of them.
func (s *Scheduler) catchUp(ctx context.Context, cursor *state.Cursor) error {
	for {
		select {
		case <-cursor.Ready():
			commit, err := cursor.Next(ctx)
			if err != nil {
				return err
			}
			s.follow(commit)
		default:
			return nil
		}
	}
}

// all makes every network due, and those that bindings are left of.
func (s *Scheduler) all(r state.Reader) {
	for n := range state.Networks.All(r) {
		s.due[n.ID] = true
	}
	for b := range state.DHCPBindings.All(r) {
		s.due[b.NetworkID] = true
	}
}

// follow makes the networks due that a commit may concern.
func (s *Scheduler) follow(commit *state.Commit) {
	for _, c := range commit.Changes {
		switch c.Kind {
		case state.Networks.Kind():
			if c.New == nil {
				delete(s.unserved, c.ID)
				delete(s.said, c.ID)
			}
		case state.Subnets.Kind():
			each(c, func(o *model.Subnet) { s.due[o.NetworkID] = true })
		case state.DHCPBindings.Kind():
			each(c, func(o *model.DHCPBinding) { s.due[o.NetworkID] = true })
		case state.Ports.Kind():
			each(c, func(o *model.Port) {
				// A port of a network with a problem counts whatever it is: it may have freed an address.
				if o.DeviceOwner == model.DeviceOwnerDHCP || s.said[o.NetworkID] != "" {
					s.due[o.NetworkID] = true
				}
			})
		case state.Agents.Kind():
			each(c, func(o *model.Agent) {
				if o.Role == model.RoleDHCP {
					maps.Copy(s.due, s.unserved)
				}
			})
		}
	}
}

// each calls f with the object before and after the change, as far as it was and is there.
func each[T any](c state.Change, f func(*T)) {
	for _, o := range []any{c.Old, c.New} {
		if o, ok := o.(*T); ok {
			f(o)
		}
	}
}

// work looks after the networks that are due. Those of a transaction that failed stay due, until the next commit or the
// next tick; a transaction of several that failed by itself is done network by network, so that one holds up no other.
func (s *Scheduler) work(ctx context.Context) {
	ids := slices.Sorted(maps.Keys(s.due))
	for some := range slices.Chunk(ids, perUpdate) {
		err := s.ensure(ctx, some)
		if err != nil && !errors.Is(err, state.ErrUnavailable) && len(some) > 1 {
			err = nil
			for _, id := range some {
				err = errors.Join(err, s.ensure(ctx, []string{id}))
			}
		}
		if ctx.Err() != nil {
			return
		}
		s.complain(err)
		if errors.Is(err, state.ErrUnavailable) {
			return
		}
	}
}

// ensure looks after some networks in one transaction.
func (s *Scheduler) ensure(ctx context.Context, ids []string) error {
	problems := make(map[string]error)
	_, err := s.opts.Store.Update(ctx, func(tx *state.Tx) error {
		clear(problems) // the function may run again
		pass := s.opts.DHCP.Pass(tx)
		for _, id := range ids {
			if err := pass.Ensure(id); err != nil {
				problems[id] = err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("giving %d networks their DHCP servers: %w", len(ids), err)
	}
	for _, id := range ids {
		s.note(id, problems[id])
	}
	return nil
}

// complain logs a failure when it begins.
func (s *Scheduler) complain(err error) {
	if err != nil && !s.failing {
		s.opts.Logger.Warn("the scheduler could not do its work and tries again", "error", err)
	}
	s.failing = err != nil
}

// note remembers and logs the outcome for a network.
func (s *Scheduler) note(id string, problem error) {
	delete(s.due, id)
	if problem == nil {
		delete(s.unserved, id)
		delete(s.said, id)
		return
	}
	if errors.Is(problem, dhcp.ErrNoHost) {
		s.unserved[id] = true
	} else {
		delete(s.unserved, id)
	}
	if text := problem.Error(); s.said[id] != text {
		s.said[id] = text
		s.opts.Logger.Warn("a network is not served with DHCP as it should be", "network", id, "error", text)
	}
}
