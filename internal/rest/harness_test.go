package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/service/subnet"
	"github.com/neutrino-net/neutrino/internal/service/trunk"
	"github.com/neutrino-net/neutrino/internal/state"
)

// memoryLog is a durable side that forgets. It can be made to fail.
type memoryLog struct {
	mu       sync.Mutex
	revision int64
	err      error
}

func (l *memoryLog) Load(context.Context, func(state.Entry) error) (int64, error) { return 0, nil }

func (l *memoryLog) Append(context.Context, []state.Entry) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	l.revision++
	return l.revision, nil
}

func (l *memoryLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// storing are rules that store everything, as long as the network is there.
type storing[T any] struct {
	table   *state.Table[T]
	network func(*T) string
}

func (s storing[T]) Create(tx *state.Tx, _ *auth.Caller, obj *T, _ schema.Given) error {
	switch meta(obj).Description {
	case "the rules refuse this":
		return fault.New(fault.Conflict, "Refused", "Refused by the rules.")
	case "the rules panic":
		panic("a bug in the rules, with a secret")
	}
	if s.network != nil {
		if _, ok := state.Networks.Get(tx, s.network(obj)); !ok {
			return fault.Missing("Network", s.network(obj))
		}
	}
	share(tx, obj)
	s.table.Put(tx, obj)
	return nil
}

// share makes the RBAC policies that say what the attributes of a network say.
func share(tx *state.Tx, obj any) {
	if n, ok := obj.(*model.Network); ok {
		rbac.Share(tx, network.RBACType, n.ID, model.AccessShared, n.ProjectID, n.Shared)
		rbac.Share(tx, network.RBACType, n.ID, model.AccessExternal, n.ProjectID, n.External)
	}
}

func (s storing[T]) Update(tx *state.Tx, _ *auth.Caller, _, obj *T, _ schema.Given) error {
	share(tx, obj)
	s.table.Put(tx, obj)
	return nil
}

func (s storing[T]) Delete(tx *state.Tx, _ *auth.Caller, obj *T) error {
	s.table.Delete(tx, meta(obj).ID)
	return nil
}

// The callers, by their tokens.
const (
	admin   = "admin"   // administrator of the project "a"
	alice   = "alice"   // member of the project "a"
	bob     = "bob"     // member of the project "b"
	reader  = "reader"  // reader of the project "a"
	service = "service" // another OpenStack service
	nobody  = "nobody"  // a token without project and roles
)

type callers map[string]*auth.Caller

func (c callers) Authenticate(_ context.Context, token string) (*auth.Caller, error) {
	switch token {
	case "unreachable":
		return nil, fault.New(fault.Unavailable, "ServiceUnavailable", "keystone is away")
	case "broken":
		return nil, errors.New("a file is gone")
	}
	if caller := c[token]; caller != nil {
		return caller, nil
	}
	return nil, fault.New(fault.Unauthorized, "Unauthorized", "no such token")
}

func testCallers() callers {
	return callers{
		admin:   {UserID: "u1", ProjectID: "a", Roles: []string{"admin", "manager", "member", "reader"}},
		alice:   {UserID: "u2", ProjectID: "a", Roles: []string{"member", "reader"}},
		bob:     {UserID: "u3", ProjectID: "b", Roles: []string{"member", "reader"}},
		reader:  {UserID: "u4", ProjectID: "a", Roles: []string{"reader"}},
		service: {UserID: "u5", ProjectID: "service", Roles: []string{"service"}},
		nobody:  {UserID: "u6"},
	}
}

// fixture is an API on an empty state.
type fixture struct {
	t       testing.TB
	api     *API
	handler http.Handler
	store   *state.Store
	log     *memoryLog
	metrics *prometheus.Registry
	logged  *lockedBuffer
	answers [6]int // to random requests, by the first digit of their status
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ruleSet has the rules of all collections.
type ruleSet struct {
	networks Rules[model.Network]
	subnets  Rules[model.Subnet]
	ports    Rules[model.Port]
	agents   Rules[model.Agent]
}

// simpleRules store what they are given.
func simpleRules() ruleSet {
	return ruleSet{
		networks: storing[model.Network]{table: state.Networks},
		subnets:  storing[model.Subnet]{state.Subnets, func(s *model.Subnet) string { return s.NetworkID }},
		ports:    storing[model.Port]{state.Ports, func(p *model.Port) string { return p.NetworkID }},
		agents:   storing[model.Agent]{table: state.Agents},
	}
}

// realRules are those of the product.
func realRules(t testing.TB) ruleSet {
	types, err := typedriver.New(typedriver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ports := port.New(port.Options{})
	return ruleSet{network.New(types), subnet.Rules{}, ports, agent.New(nil)}
}

// newFixture has an API with simple rules.
func newFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	return newFixtureWith(t, simpleRules(), change...)
}

func newFixtureWith(t testing.TB, rulesFor ruleSet, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, log: &memoryLog{}, metrics: prometheus.NewRegistry(), logged: &lockedBuffer{}}
	logger := slog.New(slog.NewTextHandler(f.logged, nil))
	var err error
	if f.store, err = state.Open(t.Context(), state.Options{Log: f.log, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.store.Close)
	rules, err := policy.New(policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Store: f.store, Authenticator: testCallers(), Policy: rules, Logger: logger, Registerer: f.metrics,
		IdentityURL: "http://identity:5000",
	}
	for _, c := range change {
		c(&o)
	}
	if f.api, err = New(o); err != nil {
		t.Fatal(err)
	}
	decorate := func(a *model.Agent) *model.Agent {
		c := a.Clone()
		c.Alive = a.Host == "compute1"
		return c
	}
	err = errors.Join(
		Register(f.api, Networks(rulesFor.networks)), Register(f.api, Subnets(rulesFor.subnets)),
		Register(f.api, portsWith(rulesFor.ports)), Register(f.api, Agents(rulesFor.agents, decorate)),
		Register(f.api, Trunks(trunk.Rules{})),
	)
	if err != nil {
		t.Fatal(err)
	}
	f.handler = f.api.Handler()
	return f
}

// portsWith is the collection of ports, with bindings where the rules know them.
func portsWith(rules Rules[model.Port]) Collection[model.Port] {
	c := Ports(rules)
	if full, ok := rules.(*port.Rules); ok {
		c.For = full.View
		c.Actions = BindingActions(full)
	}
	return c
}

// response is an answer with its body decoded.
type response struct {
	*http.Response
	raw  []byte
	body map[string]any
}

func (r *response) errorType() string {
	e, _ := r.body["NeutronError"].(map[string]any)
	typ, _ := e["type"].(string)
	return typ
}

// do sends a request. body is a JSON text, or empty.
func (f *fixture) do(token, method, path, body string, header ...string) *response {
	f.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, reader)
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return f.send(r)
}

func (f *fixture) send(r *http.Request) *response {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	res := &response{Response: w.Result(), raw: w.Body.Bytes()}
	if len(res.raw) > 0 && res.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(res.raw, &res.body); err != nil {
			f.t.Fatalf("%s %s: the answer is not JSON: %v\n%s", r.Method, r.URL, err, res.raw)
		}
	}
	return res
}

// must sends a request that has to be answered with the status.
func (f *fixture) must(status int, token, method, path, body string, header ...string) *response {
	f.t.Helper()
	res := f.do(token, method, path, body, header...)
	if res.StatusCode != status {
		f.t.Fatalf("%s %s by %q: status %d, want %d\n%s", method, path, token, res.StatusCode, status, res.raw)
	}
	return res
}

// fails sends a request that has to be answered with an error of the type, which has to leave the state alone.
func (f *fixture) fails(status int, typ, token, method, path, body string, header ...string) (message string) {
	f.t.Helper()
	before := f.store.Read()
	res := f.must(status, token, method, path, body, header...)
	if got := f.store.Read(); got != before {
		f.t.Errorf("%s %s failed, but the state changed", method, path)
	}
	e, _ := res.body["NeutronError"].(map[string]any)
	if e["type"] != typ {
		f.t.Errorf("%s %s: error type %v, want %s\n%s", method, path, e["type"], typ, res.raw)
	}
	message, _ = e["message"].(string)
	return message
}

// make creates an object and returns it.
func (f *fixture) make(token, plural, attributes string) map[string]any {
	f.t.Helper()
	name := strings.TrimSuffix(plural, "s")
	res := f.must(http.StatusCreated, token, "POST", "/v2.0/"+plural, `{"`+name+`":`+attributes+`}`)
	return res.body[name].(map[string]any)
}

func id(obj map[string]any) string { return obj["id"].(string) }

// list returns one attribute of all objects of a list, in order.
func (f *fixture) list(token, path, attribute string) []string {
	f.t.Helper()
	res := f.must(http.StatusOK, token, "GET", path, "")
	plural := strings.TrimPrefix(strings.Split(path, "?")[0], "/v2.0/")
	out := []string{}
	for _, o := range res.body[plural].([]any) {
		v, _ := o.(map[string]any)[attribute].(string)
		out = append(out, v)
	}
	return out
}
