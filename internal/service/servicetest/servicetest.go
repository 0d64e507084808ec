// Package servicetest gives tests a whole control plane in memory: a real state.Store on a log that keeps nothing, the
// rules of all resources, and shorthands that call the rules as the REST layer does.
package servicetest

import (
	"context"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/segment"
	"github.com/neutrino-net/neutrino/internal/service/subnet"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Member is an ordinary caller, of the project "p1"; Admin an administrator.
var (
	Member = &auth.Caller{ProjectID: "p1", Roles: []string{"member", "reader"}}
	Admin  = &auth.Caller{ProjectID: "admin", Roles: []string{"admin", "manager", "member", "reader"}}
)

// log is a state.Log that accepts everything and keeps nothing.
type log struct {
	mu       sync.Mutex
	revision int64
}

func (l *log) Load(context.Context, func(state.Entry) error) (int64, error) { return 0, nil }

func (l *log) Append(context.Context, []state.Entry) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision++
	return l.revision, nil
}

// Liveness is a mech.Liveness that tests control: hosts are alive but those that Down has named.
type Liveness struct {
	mu   sync.Mutex
	down map[string]time.Time
}

// Alive implements mech.Liveness.
func (l *Liveness) Alive(host string) (bool, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, down := l.down[host]
	return !down, since
}

// Down makes the host one that is down since then.
func (l *Liveness) Down(host string, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down == nil {
		l.down = map[string]time.Time{}
	}
	l.down[host] = since
}

// Up makes the host alive.
func (l *Liveness) Up(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.down, host)
}

// Options configure a World.
type Options struct {
	Types typedriver.Options
	// Random picks addresses and MACs; default: the same ones for each World.
	Random ipam.Random
}

// World is a control plane.
type World struct {
	Store    *state.Store
	Liveness *Liveness
	Networks *network.Rules
	Segments *segment.Rules
	Subnets  subnet.Rules
	Ports    *port.Rules
	Agents   *agent.Rules
	DHCP     *dhcp.Service
}

// New returns a world that ends with the test.
func New(t testing.TB, opts Options) *World {
	t.Helper()
	types, err := typedriver.New(opts.Types)
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), state.Options{Log: &log{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	w := &World{Store: store, Liveness: &Liveness{}, Networks: network.New(types), Segments: segment.New(types)}
	if opts.Random == nil { // by chance, a test would be given an address that it is about to ask for
		opts.Random = rand.New(rand.NewPCG(1, 1)).Uint64N
	}
	w.Ports = port.New(port.Options{Liveness: w.Liveness, Random: opts.Random})
	w.Agents = agent.New(w.Liveness)
	w.DHCP = dhcp.New(dhcp.Options{Ports: w.Ports, Liveness: w.Liveness})
	return w
}

// Update runs fn in a transaction and returns its error.
func (w *World) Update(fn func(tx *state.Tx) error) error {
	_, err := w.Store.Update(context.Background(), fn)
	return err
}

// Must takes the outcome of a call; what it returns gives the value, and fails the test if there was an error:
// Must(w.CreatePort(...))(t).
func Must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return v
	}
}

// WantFault fails the test unless err is a fault of the type.
func WantFault(t testing.TB, err error, kind fault.Kind, typ string) {
	t.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != kind || f.Type != typ {
		t.Fatalf("error is %#v (%v), want one of kind %d and type %s", err, err, kind, typ)
	}
}

// Given makes a set of attributes.
func Given(names ...string) schema.Given {
	g := schema.Given{}
	for _, n := range names {
		g[n] = true
	}
	return g
}

// rules is what the REST layer knows of the rules of a resource.
type rules[T any] interface {
	Create(tx *state.Tx, c *auth.Caller, obj *T, given schema.Given) error
	Update(tx *state.Tx, c *auth.Caller, old, obj *T, given schema.Given) error
	Delete(tx *state.Tx, c *auth.Caller, obj *T) error
}

// create decodes a body, as the REST layer does, and creates the object.
func create[T any](w *World, c *auth.Caller, res *schema.Resource[T], r rules[T], meta func(*T) *model.Meta,
	body map[string]any,
) (*T, error) {
	obj := new(T)
	given, err := res.Decode(obj, body, schema.Create)
	if err != nil {
		return nil, err
	}
	meta(obj).ID = uuid.NewString()
	if meta(obj).ProjectID == "" {
		meta(obj).ProjectID = c.ProjectID
	}
	err = w.Update(func(tx *state.Tx) error { return r.Create(tx, c, obj, given) })
	return obj, err
}

// update decodes a body into a copy of the object, and updates it.
func update[T any](w *World, c *auth.Caller, res *schema.Resource[T], r rules[T], table *state.Table[T],
	clone func(*T) *T, id string, body map[string]any,
) (*T, error) {
	var obj *T
	err := w.Update(func(tx *state.Tx) error {
		old, ok := table.Get(tx, id)
		if !ok {
			return fault.Missing(res.Kind, id)
		}
		obj = clone(old)
		given, err := res.Decode(obj, body, schema.Update)
		if err != nil {
			return err
		}
		return r.Update(tx, c, old, obj, given)
	})
	return obj, err
}

func remove[T any](w *World, c *auth.Caller, r rules[T], table *state.Table[T], kind, id string) error {
	return w.Update(func(tx *state.Tx) error {
		obj, ok := table.Get(tx, id)
		if !ok {
			return fault.Missing(kind, id)
		}
		return r.Delete(tx, c, obj)
	})
}

// Body is the body of a request.
type Body = map[string]any

// CreateNetwork creates a network of the body's attributes.
func (w *World) CreateNetwork(c *auth.Caller, b Body) (*model.Network, error) {
	return create(w, c, schema.Network, w.Networks, func(n *model.Network) *model.Meta { return &n.Meta }, b)
}

// UpdateNetwork updates a network.
func (w *World) UpdateNetwork(c *auth.Caller, id string, b Body) (*model.Network, error) {
	return update(w, c, schema.Network, w.Networks, state.Networks, (*model.Network).Clone, id, b)
}

// DeleteNetwork deletes a network.
func (w *World) DeleteNetwork(c *auth.Caller, id string) error {
	return remove(w, c, w.Networks, state.Networks, "Network", id)
}

// CreateSubnet creates a subnet of the body's attributes; ip_version follows from cidr.
func (w *World) CreateSubnet(c *auth.Caller, b Body) (*model.Subnet, error) {
	if _, given := b["ip_version"]; !given {
		b["ip_version"] = 4
		if s, ok := b["cidr"].(string); ok {
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is6() {
				b["ip_version"] = 6
			}
		}
	}
	return create(w, c, schema.Subnet, w.Subnets, func(s *model.Subnet) *model.Meta { return &s.Meta }, b)
}

// UpdateSubnet updates a subnet.
func (w *World) UpdateSubnet(c *auth.Caller, id string, b Body) (*model.Subnet, error) {
	return update(w, c, schema.Subnet, w.Subnets, state.Subnets, (*model.Subnet).Clone, id, b)
}

// DeleteSubnet deletes a subnet.
func (w *World) DeleteSubnet(c *auth.Caller, id string) error {
	return remove(w, c, w.Subnets, state.Subnets, "Subnet", id)
}

// CreatePort creates a port of the body's attributes.
func (w *World) CreatePort(c *auth.Caller, b Body) (*model.Port, error) {
	return create(w, c, schema.Port, w.Ports, func(p *model.Port) *model.Meta { return &p.Meta }, b)
}

// UpdatePort updates a port.
func (w *World) UpdatePort(c *auth.Caller, id string, b Body) (*model.Port, error) {
	return update(w, c, schema.Port, w.Ports, state.Ports, (*model.Port).Clone, id, b)
}

// DeletePort deletes a port.
func (w *World) DeletePort(c *auth.Caller, id string) error {
	return remove(w, c, w.Ports, state.Ports, "Port", id)
}

// Network returns the network as it is stored now; the test fails when it is not there.
func (w *World) Network(t testing.TB, id string) *model.Network { return get(t, w, state.Networks, id) }

// Subnet is like Network.
func (w *World) Subnet(t testing.TB, id string) *model.Subnet { return get(t, w, state.Subnets, id) }

// Port is like Network.
func (w *World) Port(t testing.TB, id string) *model.Port { return get(t, w, state.Ports, id) }

func get[T any](t testing.TB, w *World, table *state.Table[T], id string) *T {
	t.Helper()
	o, ok := table.Get(w.Store.Read(), id)
	if !ok {
		t.Fatalf("there is no %s %s", table.Kind(), id)
	}
	return o
}

// Connect lets the agent of a host that can do VXLAN connect, with both roles unless some are given.
func (w *World) Connect(t testing.TB, host string, roles ...model.Role) {
	t.Helper()
	if len(roles) == 0 {
		roles = []model.Role{model.RoleL2, model.RoleDHCP}
	}
	w.Hello(t, host, agent.Hello{
		Version: "1", Roles: roles, TunnelIP: tunnelIP(host), TunnelTypes: []string{"vxlan"},
		StartedAt: time.Unix(1, 0),
	})
}

// tunnelIP is an address of the host's own.
func tunnelIP(host string) netip.Addr {
	h := fnv.New32a()
	h.Write([]byte(host))
	sum := h.Sum32()
	return netip.AddrFrom4([4]byte{10, byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// Hello lets the agent of a host connect.
func (w *World) Hello(t testing.TB, host string, hello agent.Hello) {
	t.Helper()
	err := w.Update(func(tx *state.Tx) error {
		if err := w.Agents.Connected(tx, host, hello); err != nil {
			return err
		}
		w.Ports.Rebind(tx, host, "")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
