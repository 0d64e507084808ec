// Package l3 decides which host serves a router, binds the router's ports to it, and enters what the host says became
// of routers and floating IPs.
//
// A router that has interfaces or a gateway is served by one host with the l3 role: the first of its Hosts. What the
// host is sent follows from where the router's ports are bound (package compile), so the bindings are what counts: a
// port of a router is bound to the serving host or to none.
//
// A highly available router is served by a gateway group instead: its ports are bound to the group, and all hosts of the
// group have them. Which of these is active they decide themselves (packages gatewaygroup and dataplane/keepalived) and
// report; the state then has one object changed, the group.
//
// Ensure makes it so, whatever was there before; it changes nothing when all is right. Package scheduler calls it for
// every router, and EnsureGroup for every gateway group, that a change may concern.
//
// Read in this order: Ensure here; choose.go, which host it is; join.go, which gateway group it is; group.go, which hosts
// are in a group; move.go, how a router leaves a host; claim.go, which host of a group is active; report.go, what hosts
// report; statuses.go, what those have reported that are not active.
//
// Distributed routers have parts on many hosts besides, see distribute.go: the one host, or group, serves what is central.
package l3

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/state"
)

// The reasons that pass by themselves: when another host connects, or when time has passed.
var (
	// ErrNoHost says that no connected host can serve the router.
	ErrNoHost = errors.New("no host can serve it")
	// ErrLeaving says that the host which served the router has not said yet that it no longer does.
	ErrLeaving = errors.New("it waits for the host that has served it")
)

// Options configure a Service.
type Options struct {
	Ports    *port.Rules   // required: they bind the ports of routers
	Liveness mech.Liveness // nil: all hosts are connected
	// MoveAfter is how long a host must not have been heard of before its routers move to others; 0: they never do by
	// themselves. See move.go for what keeps two hosts from serving one router.
	MoveAfter time.Duration
	// Groups say how gateway groups are formed.
	Groups gatewaygroup.Options
	// Started is since when hosts could have been heard of: the start of the server.
	Started time.Time
}

// Service gives routers their hosts.
type Service struct{ opts Options }

// New returns a service.
func New(opts Options) *Service { return &Service{opts: opts} }

// Released says whether a host has applied a state in which the router, or the gateway group, has left those hosts that it
// is leaving; and if the host is in a group, a state in which the group had the hosts that it has.
type Released func(id, host string) bool

// Pass looks after several routers in one transaction: it counts what the hosts have to do only once.
type Pass struct {
	s        *Service
	tx       *state.Tx
	released Released
	// load has the number of routers of each usable host; nil until needed.
	load map[string]int
	// gateways are the hosts that gateway groups are formed of, reach what was asked of them, and formed the groups over
	// sets of them; see group.go.
	gateways []string
	reach    map[[2]string]bool
	formed   map[string][]gatewaygroup.Group
}

// Pass begins a pass. A nil released says that no host ever says so.
func (s *Service) Pass(tx *state.Tx, released Released) *Pass {
	if released == nil {
		released = func(string, string) bool { return false }
	}
	return &Pass{s: s, tx: tx, released: released}
}

// Ensure makes the service of the router what it should be. An error says what could not be done; the rest is done, and
// stands. ErrNoHost and ErrLeaving pass by themselves.
func (p *Pass) Ensure(routerID string) error {
	old, ok := state.Routers.Get(p.tx, routerID)
	if !ok {
		return nil
	}
	now := old.Clone()
	var problems []error
	if err := p.distribute(now); err != nil {
		problems = append(problems, err)
	}
	legs := slices.Collect(router.Central(p.tx, now))
	if err := p.place(now, legs); err != nil {
		problems = append(problems, err)
	}
	target := destination(now)
	if err := p.leave(now, legs, target); err != nil {
		problems = append(problems, err)
		target = place{}
	}
	reason := placement(now, legs, errors.Join(problems...))
	if err := p.bind(now, legs, target); err != nil {
		problems = append(problems, err)
		reason = err.Error()
	}
	now.PlacementReason = sentence(reason)
	if !same(old, now) {
		state.Routers.Put(p.tx, now)
	}
	return errors.Join(problems...)
}

// same compares what a pass changes of a router.
func same(a, b *model.Router) bool {
	return slices.Equal(a.Hosts, b.Hosts) && a.ManualHosts == b.ManualHosts && slices.Equal(a.Leaving, b.Leaving) &&
		a.GatewayGroup == b.GatewayGroup &&
		a.PlacementReason == b.PlacementReason && a.HostReason == b.HostReason &&
		slices.Equal(a.SNATPorts, b.SNATPorts) && slices.Equal(a.LocalGateways, b.LocalGateways) &&
		maps.Equal(a.LocalReasons, b.LocalReasons)
}

// place is where a router is served: on a host, or by a gateway group. The zero value is nowhere.
type place struct{ host, group string }

func (p place) String() string {
	if p.group != "" {
		return "gateway group " + p.group
	}
	return "host " + p.host
}

// destination is where the router is to be served once it has left where it was.
func destination(r *model.Router) place {
	switch {
	case r.GatewayGroup != "":
		return place{group: r.GatewayGroup}
	case len(r.Hosts) > 0:
		return place{host: r.Hosts[0]}
	}
	return place{}
}

// placeOf is where the port is bound, or was to be bound where that has failed.
func placeOf(p *model.Port) place {
	if p.Binding.GatewayGroup != "" {
		return place{group: p.Binding.GatewayGroup}
	}
	return place{host: p.Binding.Host}
}

// bind binds the ports of the router to the place. What hosts have reported before is forgotten.
func (p *Pass) bind(r *model.Router, legs []*model.Port, to place) error {
	var problems []error
	for _, old := range legs {
		if placeOf(old) == to && !p.bindable(old) {
			continue
		}
		leg := old.Clone()
		leg.Binding.Host, leg.Binding.GatewayGroup = to.host, to.group
		if err := p.s.opts.Ports.Update(p.tx, auth.System, old, leg, schema.Given{"binding:host_id": true}); err != nil {
			problems = append(problems, fmt.Errorf("binding its port %s to %s: %w", old.ID, to, err))
			continue
		}
		r.HostReason = ""
		if r.Gateway != nil && r.Gateway.PortID == old.ID {
			p.forget(r.ID)
		}
	}
	return errors.Join(problems...)
}

// bindable says whether the port, whose binding to a gateway group has failed, can be bound there now. Those whose binding
// to a host has failed are bound again when that host connects.
func (p *Pass) bindable(leg *model.Port) bool {
	if leg.Binding.GatewayGroup == "" || leg.Binding.Bound() {
		return false
	}
	_, why := mech.Bind(p.tx, leg, p.s.opts.Liveness)
	return why == ""
}

// forget puts down the floating IPs of a router whose gateway has moved, until its host reports them.
func (p *Pass) forget(routerID string) {
	for _, f := range slices.Collect(state.FloatingIPsByRouter.List(p.tx, routerID)) {
		if f.Status == model.FloatingIPDown && f.HostReason == "" {
			continue
		}
		if translatedLocally(p.tx, f) != "" {
			continue // it has not moved
		}
		f = f.Clone()
		f.Status, f.HostReason = model.FloatingIPDown, ""
		state.FloatingIPs.Put(p.tx, f)
	}
}

// placement says in the words of the API why the router is not served, or not as it is wanted.
func placement(r *model.Router, legs []*model.Port, problem error) string {
	switch {
	case problem != nil:
		return problem.Error()
	case len(legs) == 0:
		return ""
	case r.GatewayGroup != "":
		return "" // what its group has to say is the group's Reason
	case len(r.Hosts) == 0:
		return "an operator has taken it from its host and has not given it another"
	}
	return ""
}

// maxReason bounds what the state holds of a reason, in bytes.
const maxReason = 240

// sentence makes a sentence of one line out of a reason.
func sentence(reason string) string {
	if reason == "" {
		return ""
	}
	reason = strings.Join(strings.Fields(reason), " ")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return strings.ToUpper(reason[:1]) + reason[1:] + "."
}
