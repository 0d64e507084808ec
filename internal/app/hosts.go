package app

import (
	"context"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	agentrules "github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/firewall"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/southbound"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// hosts joins the southbound and the rules, each of which needs the other: what hosts say goes into the state
// (southbound.Reporter), and which hosts are connected goes to the rules (mech.Liveness).
type hosts struct {
	*southbound.Server
	store  *state.Store
	ports  *port.Rules
	agents *agentrules.Rules
	// statuses are what the hosts of gateway groups have said, be they active or not. takeovers are those after which it has
	// still to be entered what the new active host said before.
	statuses  l3.Statuses
	mu        sync.Mutex
	takeovers map[string]bool
}

// AgentConnected implements southbound.Reporter.
func (h *hosts) AgentConnected(ctx context.Context, host string, hello *sb.Hello) error {
	said := agentrules.Hello{
		Version: hello.Version, TunnelTypes: hello.TunnelTypes, BridgeMappings: hello.BridgeMappings,
		AvailabilityZone: hello.AvailabilityZone, StartedAt: time.Unix(hello.StartedAt, 0).UTC(),
	}
	// An address that cannot be read is none: what needs it says so.
	said.TunnelIP, _ = netip.ParseAddr(hello.TunnelIp)
	for _, role := range hello.Roles {
		said.Roles = append(said.Roles, model.Role(role))
	}
	h.statuses.Forget(host) // it says everything again
	_, err := h.store.Update(ctx, func(tx *state.Tx) error { return h.agents.Connected(tx, host, said) })
	for after, more := "", true; more && err == nil; more = after != "" {
		_, err = h.store.Update(ctx, func(tx *state.Tx) error {
			after = h.ports.Rebind(tx, host, after)
			return nil
		})
	}
	return err
}

// states are the states of documents in the words of the rules.
var states = map[sb.ObjectStatus_State]port.State{
	sb.ObjectStatus_STATE_ABSENT: port.Absent,
	sb.ObjectStatus_STATE_DONE:   port.Done,
	sb.ObjectStatus_STATE_ERROR:  port.Failed,
}

// step is how many statuses are entered in one commit.
const step = 1000

// Reported implements southbound.Reporter: first who is active in gateway groups, since that decides whose statuses count.
func (h *hosts) Reported(ctx context.Context, host string, report southbound.Report) error {
	if err := h.claimed(ctx, host, report.Roles); err != nil {
		return err
	}
	for statuses := range slices.Chunk(report.Statuses, step) {
		list := make([]port.Status, 0, len(statuses))
		for _, st := range statuses {
			if s, ok := states[st.State]; ok {
				list = append(list, port.Status{Key: st.Key, State: s, Reason: st.Reason, Hash: st.Hash})
			}
		}
		h.statuses.Remember(h.store.Read(), host, list)
		if err := h.enter(ctx, func(*state.Tx) (string, []port.Status) { return host, list }); err != nil {
			return err
		}
	}
	return nil
}

// enter enters what a host has said, in one commit.
func (h *hosts) enter(ctx context.Context, said func(*state.Tx) (host string, statuses []port.Status)) error {
	_, err := h.store.Update(ctx, func(tx *state.Tx) error {
		host, statuses := said(tx)
		h.ports.Report(tx, host, statuses)
		l3.Report(tx, host, statuses)
		firewall.Report(tx, host, statuses)
		return nil
	})
	return err
}

// claimed enters what the host knows of who is active in its gateway groups. Where that is another host than before, what
// that one has said becomes the status of all that the group serves; mostly it is what the state has already.
func (h *hosts) claimed(ctx context.Context, host string, roles []southbound.Role) error {
	said := make([]l3.Role, 0, len(roles))
	for _, r := range roles {
		if r.Claim.GetRank() > math.MaxUint8 {
			continue
		}
		said = append(said, l3.Role{Group: strconv.FormatUint(uint64(r.Group), 10), Claim: model.GatewayClaim{
			Epoch: r.Claim.GetEpoch(), Rank: uint8(r.Claim.GetRank()), Host: r.Claim.GetHost(),
		}})
	}
	if len(said) > 0 {
		var taken []string
		_, err := h.store.Update(ctx, func(tx *state.Tx) error {
			taken = l3.Claims(tx, host, said)
			return nil
		})
		if err != nil {
			return err
		}
		h.mu.Lock()
		if h.takeovers == nil {
			h.takeovers = map[string]bool{}
		}
		for _, group := range taken {
			h.takeovers[group] = true
		}
		h.mu.Unlock()
	}
	return h.takeOver(ctx)
}

// takeOver enters the statuses of groups that were taken over. What fails is tried again with the next report.
func (h *hosts) takeOver(ctx context.Context) error {
	h.mu.Lock()
	groups := slices.Sorted(maps.Keys(h.takeovers))
	clear(h.takeovers)
	h.mu.Unlock()
	for i, group := range groups {
		for after, last := "", "-"; last != ""; after = last {
			err := h.enter(ctx, func(tx *state.Tx) (string, []port.Status) {
				last = ""
				g, ok := state.GatewayGroups.Get(tx, group)
				if !ok {
					return "", nil
				}
				// Read within the transaction: whoever says something newer enters that in a later one.
				list := h.statuses.Of(g.Active(), group, after, step)
				if len(list) == step {
					last = list[step-1].Key
				}
				return g.Active(), list
			})
			if err != nil {
				h.mu.Lock()
				for _, rest := range groups[i:] {
					h.takeovers[rest] = true
				}
				h.mu.Unlock()
				return err
			}
		}
	}
	return nil
}

// decorate adds to an agent what is not in the state.
func (h *hosts) decorate(a *model.Agent) *model.Agent {
	c := a.Clone()
	c.Alive, c.HeartbeatAt = h.Alive(a.Host)
	if c.HeartbeatAt.IsZero() {
		c.HeartbeatAt = a.UpdatedAt
	}
	return c
}
