package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/lifecycle"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/telemetry"
)

// memoryLog is a durable side that forgets.
type memoryLog struct {
	mu       sync.Mutex
	revision int64
}

func (l *memoryLog) Load(context.Context, func(state.Entry) error) (int64, error) { return 0, nil }

func (l *memoryLog) Append(context.Context, []state.Entry) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision++
	return l.revision, nil
}

// The callers, by their tokens.
const (
	admin = "admin" // administrator of the project "ops"
	alice = "alice" // member of the project "a"
	bob   = "bob"   // member of the project "b"
	// of the project "a", too
	manager = "manager"
	reader  = "reader"

	service = "service" // another OpenStack service
	nobody  = "nobody"  // a token without project and roles
)

type callers map[string]*auth.Caller

func (c callers) Authenticate(_ context.Context, token string) (*auth.Caller, error) {
	if caller := c[token]; caller != nil {
		return caller, nil
	}
	return nil, fault.New(fault.Unauthorized, "Unauthorized", "no such token")
}

// whole is the networking API as the server puts it together, on a state that is in memory only.
type whole struct {
	t       testing.TB
	server  *server
	handler http.Handler
	logged  *lockedBuffer
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

func newWhole(t testing.TB, change ...func(*ServerOptions)) *whole {
	t.Helper()
	w := &whole{t: t, logged: &lockedBuffer{}}
	logger := slog.New(slog.NewTextHandler(w.logged, nil))
	s := &server{
		ServerOptions: ServerOptions{
			DataDir: t.TempDir(), TenantNetworkTypes: []string{"vxlan"}, VNIRanges: "1:20000", FlatNetworks: []string{"physnet1"},
			VLANRanges: []string{"physnet1:100:200"}, Logger: logger,
		},
		stack: lifecycle.New(logger), registry: telemetry.NewRegistry(),
		authenticator: callers{
			admin:   {UserID: "u1", ProjectID: "ops", Roles: []string{"admin", "manager", "member", "reader"}},
			alice:   {UserID: "u2", ProjectID: "a", Roles: []string{"member", "reader"}},
			bob:     {UserID: "u3", ProjectID: "b", Roles: []string{"member", "reader"}},
			manager: {UserID: "u4", ProjectID: "a", Roles: []string{"manager", "member", "reader"}},
			reader:  {UserID: "u5", ProjectID: "a", Roles: []string{"reader"}},
			service: {UserID: "u6", ProjectID: "service", Roles: []string{"service"}},
			nobody:  {UserID: "u7"},
		},
	}
	for _, c := range change {
		c(&s.ServerOptions)
	}
	t.Cleanup(func() { s.stack.Close() })
	var err error
	if s.store, err = state.Open(t.Context(), state.Options{Log: &memoryLog{}, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.store.Close)
	for _, step := range []func(context.Context) error{s.makeRules, s.makeAPI} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.server, w.handler = s, s.rest.Handler()
	return w
}

// answer is what was answered, with its JSON decoded.
type answer struct {
	status int
	raw    []byte
	body   map[string]any
}

func (a *answer) errorType() string {
	e, _ := a.body["NeutronError"].(map[string]any)
	typ, _ := e["type"].(string)
	return typ
}

// do sends a request. body is a JSON text, or empty.
func (w *whole) do(token, method, path, body string) *answer {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, reader)
	r.Header.Set("X-Auth-Token", token)
	return w.send(r)
}

func (w *whole) send(r *http.Request) *answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := &answer{status: rec.Code, raw: rec.Body.Bytes()}
	if len(a.raw) > 0 && a.raw[0] == '{' {
		if err := json.Unmarshal(a.raw, &a.body); err != nil {
			w.t.Fatalf("%s %s: the answer is not JSON: %v\n%s", r.Method, r.URL, err, a.raw)
		}
	}
	return a
}

// must sends a request that has to be answered with the status.
func (w *whole) must(status int, token, method, path, body string) *answer {
	w.t.Helper()
	a := w.do(token, method, path, body)
	if a.status != status {
		w.t.Fatalf("%s %s by %s: status %d, want %d\n%s\n%s", method, path, token, a.status, status, a.raw, w.logged)
	}
	return a
}
