package app

import (
	"context"
	"net/netip"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	agentrules "github.com/neutrino-net/neutrino/internal/service/agent"
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

// Reported implements southbound.Reporter. A report is entered in steps that fit a commit.
func (h *hosts) Reported(ctx context.Context, host string, statuses []southbound.Status) error {
	const step = 1000
	for len(statuses) > 0 {
		n := min(step, len(statuses))
		report := make([]port.Status, 0, n)
		for _, st := range statuses[:n] {
			if s, ok := states[st.State]; ok {
				report = append(report, port.Status{Key: st.Key, State: s, Reason: st.Reason})
			}
		}
		_, err := h.store.Update(ctx, func(tx *state.Tx) error {
			h.ports.Report(tx, host, report)
			l3.Report(tx, host, report)
			return nil
		})
		if err != nil {
			return err
		}
		statuses = statuses[n:]
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
