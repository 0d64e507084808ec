package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakePart does what its function says and counts the passes.
type fakePart struct {
	mu      sync.Mutex
	passes  int
	do      func(view *agent.View) ([]agent.Status, error)
	changed func()
}

func (p *fakePart) Name() string { return "fake" }

func (p *fakePart) Reconcile(_ context.Context, view *agent.View) ([]agent.Status, error) {
	p.mu.Lock()
	p.passes++
	do := p.do
	p.mu.Unlock()
	if do != nil {
		return do(view)
	}
	var statuses []agent.Status
	for d := range view.All() {
		statuses = append(statuses, agent.Status{Key: d.Key, State: sb.ObjectStatus_STATE_DONE})
	}
	return statuses, nil
}

func (p *fakePart) Watch(ctx context.Context, changed func()) error {
	p.mu.Lock()
	p.changed = changed
	p.mu.Unlock()
	<-ctx.Done()
	return nil
}

// awaitWatch waits until the part can announce changes.
func (p *fakePart) awaitWatch(t *testing.T) {
	t.Helper()
	eventually(t, "watching", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.changed != nil })
}

func (p *fakePart) set(do func(view *agent.View) ([]agent.Status, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.do = do
}

func (p *fakePart) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passes
}

// fakeUplink notes what it is told, as text.
type fakeUplink struct {
	mu   sync.Mutex
	acks []int64
	told []string
	// about is the hash of the document that the last status was about, by key.
	about map[string]uint64
}

func (u *fakeUplink) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (u *fakeUplink) Ack(revision int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.acks = append(u.acks, revision)
}

func (u *fakeUplink) Report(statuses []*sb.ObjectStatus) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range statuses {
		if u.about == nil {
			u.about = map[string]uint64{}
		}
		u.about[s.Key] = s.Hash
		u.told = append(u.told, strings.TrimSpace(s.Key+" "+s.State.String()[len("STATE_"):]+" "+s.Reason))
	}
}

func (u *fakeUplink) ReportRoles(roles []*sb.GatewayRole) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range roles {
		u.told = append(u.told, fmt.Sprintf("group %d active=%v %s %d", r.Group, r.Active, r.Claim.GetHost(), r.Claim.GetEpoch()))
	}
}

func (u *fakeUplink) acked(revision int64) func() bool {
	return func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return slices.Contains(u.acks, revision)
	}
}

func (u *fakeUplink) heard(text string) func() bool {
	return func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return slices.Contains(u.told, text)
	}
}

func (u *fakeUplink) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.acks, u.told = nil, nil
}

type fixture struct {
	*agent.Agent
	*fakeUplink
	socket string
	stop   func()
}

// run starts an agent with the parts until the test ends or stop is called.
func run(t *testing.T, dir string, parts ...agent.Part) *fixture {
	t.Helper()
	f := &fixture{fakeUplink: &fakeUplink{}, socket: filepath.Join(dir, "s")}
	a, err := agent.New(agent.Options{
		Host: "host1", DataDir: dir, Parts: parts, Registry: prometheus.NewRegistry(), SocketPath: f.socket,
		Handlers: map[string]http.Handler{"GET /v1/extra/{x}": http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.PathValue("x")) })},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Agent = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, f.fakeUplink) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { f.stop() })
	return f
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	testkit.Eventually(t, 5*time.Second, what, condition)
}

func portDocument(id string) *sb.Document {
	return &sb.Document{Key: "port/" + id, Hash: uint64(len(id)), Body: &sb.Document_Port{Port: &sb.Port{
		PortId: id, Device: "tap" + id, Mac: "fa:16:3e:00:00:01", Ips: []string{"10.0.0.3/24"}, Mtu: 1450,
		Gateways: []string{"10.0.0.1"}, AdminStateUp: true,
	}}}
}

func TestNothingIsTouchedBeforeTheViewIsComplete(t *testing.T) {
	part := &fakePart{}
	f := run(t, t.TempDir(), part)
	f.OnConnect()
	f.OnBatch([]*sb.Document{portDocument("1")}, nil, 1, false)
	if have := f.Hello().Have; len(have) != 1 || have[0].Key != "port/1" || have[0].Hash != 1 {
		t.Errorf("Hello tells of %v; want the document that is held", have)
	}
	if n := part.count(); n != 0 {
		t.Fatalf("%d passes with half a view", n)
	}
	f.OnBatch([]*sb.Document{portDocument("2")}, nil, 2, true)
	eventually(t, "acknowledged", f.acked(2))
	if !f.heard("port/1 DONE")() || !f.heard("port/2 DONE")() {
		t.Errorf("told: %v", f.told)
	}
	if f.acked(1)() {
		t.Error("half a view was acknowledged")
	}
}

func TestOnlyWhatChangedIsReportedAndEverythingAfterConnecting(t *testing.T) {
	f := run(t, t.TempDir(), &fakePart{})
	f.OnConnect()
	f.OnBatch([]*sb.Document{portDocument("1"), portDocument("2")}, nil, 1, true)
	eventually(t, "acknowledged", f.acked(1))
	f.forget()
	f.OnBatch([]*sb.Document{portDocument("3")}, []string{"port/1"}, 2, false)
	eventually(t, "acknowledged", f.acked(2))
	if !slices.Equal(f.told, []string{"port/3 DONE"}) {
		t.Errorf("told %v, want only the new port", f.told)
	}
	f.forget()
	f.OnConnect()
	if !slices.Equal(f.told, []string{"port/2 DONE", "port/3 DONE"}) || !slices.Equal(f.acks, []int64{2}) {
		t.Errorf("after connecting told %v and acknowledged %v; want everything", f.told, f.acks)
	}
}

func TestARevisionIsAcknowledgedWhenAllPartsHaveIt(t *testing.T) {
	slow, release := &fakePart{}, make(chan struct{})
	slow.set(func(*agent.View) ([]agent.Status, error) {
		<-release
		return nil, nil
	})
	quick := &fakePart{}
	f := run(t, t.TempDir(), quick, slow)
	f.OnBatch([]*sb.Document{portDocument("1")}, nil, 7, true)
	eventually(t, "done by one part", f.heard("port/1 DONE"))
	if f.acked(7)() {
		t.Error("acknowledged while a part was at work")
	}
	close(release)
	eventually(t, "acknowledged", f.acked(7))
}

func TestARestoredServerMayGoBackInRevisions(t *testing.T) {
	f := run(t, t.TempDir(), &fakePart{})
	f.OnBatch(nil, nil, 100, true)
	eventually(t, "acknowledged", f.acked(100))
	f.OnBatch(nil, nil, 5, true)
	eventually(t, "acknowledged", f.acked(5))
}

func TestFailuresAndPanicsAreTriedAgain(t *testing.T) {
	for name, failure := range map[string]func(*agent.View) ([]agent.Status, error){
		"error": func(*agent.View) ([]agent.Status, error) { return nil, errors.New("no kernel today") },
		"panic": func(*agent.View) ([]agent.Status, error) { panic("no kernel today") },
		"status": func(*agent.View) ([]agent.Status, error) {
			return []agent.Status{{Key: "port/1", State: sb.ObjectStatus_STATE_ERROR, Reason: "bad mtu"}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			part := &fakePart{}
			part.set(failure)
			f := run(t, t.TempDir(), part)
			f.OnBatch([]*sb.Document{portDocument("1")}, nil, 1, true)
			eventually(t, "tried several times", func() bool { return part.count() >= 3 })
			if name == "status" {
				// A document that cannot be applied is reported, and holds up nothing.
				eventually(t, "acknowledged", f.acked(1))
				eventually(t, "told", f.heard("port/1 ERROR bad mtu"))
			} else if f.acked(1)() {
				t.Error("a pass that failed was acknowledged")
			} else if s := f.Status(); !strings.Contains(s.Parts[0].Error, "no kernel today") {
				t.Errorf("the status does not tell why: %+v", s.Parts[0])
			}
			part.set(nil)
			eventually(t, "healed", f.heard("port/1 DONE"))
			eventually(t, "acknowledged", f.acked(1))
		})
	}
}

// What is left of a document that is gone must hold up no other: the pass is repeated, but its statuses count.
func TestARetryIsNoFailureOfTheView(t *testing.T) {
	part := &fakePart{}
	part.set(func(*agent.View) ([]agent.Status, error) {
		left := fmt.Errorf("a pass: %w", &agent.Retry{Err: errors.New("the directory is busy")})
		return []agent.Status{{Key: "port/1", State: sb.ObjectStatus_STATE_DONE}}, left
	})
	f := run(t, t.TempDir(), part)
	f.OnBatch([]*sb.Document{portDocument("1")}, nil, 4, true)
	eventually(t, "acknowledged", f.acked(4))
	eventually(t, "told", f.heard("port/1 DONE"))
	eventually(t, "tried several times", func() bool { return part.count() >= 3 })
	if s := f.Status(); !strings.Contains(s.Parts[0].Error, "the directory is busy") {
		t.Errorf("the status does not tell what is left to do: %+v", s.Parts[0])
	}
}

func TestAnAnnouncedChangeIsReconciled(t *testing.T) {
	part := &fakePart{}
	f := run(t, t.TempDir(), part)
	f.OnBatch(nil, nil, 1, true)
	eventually(t, "acknowledged", f.acked(1))
	n := part.count()
	part.awaitWatch(t)
	part.changed()
	eventually(t, "reconciled", func() bool { return part.count() > n })
}

// A workload that makes and removes its device in a loop causes events without end.
func TestEventsWithoutEndDoNotKeepTheAgentBusy(t *testing.T) {
	for name, c := range map[string]struct {
		took time.Duration
		most int // passes in the time below
	}{
		"short passes": {0, 32},
		"long passes":  {50 * time.Millisecond, 4}, // half of the time
	} {
		t.Run(name, func(t *testing.T) {
			part := &fakePart{}
			part.set(func(*agent.View) ([]agent.Status, error) {
				<-time.After(c.took)
				return nil, nil
			})
			f := run(t, t.TempDir(), part)
			f.OnBatch(nil, nil, 1, true)
			eventually(t, "acknowledged", f.acked(1))
			part.awaitWatch(t)
			n, flapping, tick := part.count(), time.After(300*time.Millisecond), time.NewTicker(100*time.Microsecond)
			defer tick.Stop()
			for done := false; !done; {
				select {
				case <-flapping:
					done = true
				case <-tick.C:
					part.changed()
				}
			}
			if passes := part.count() - n; passes > c.most {
				t.Errorf("%d passes in 300 ms, want %d at most", passes, c.most)
			}
		})
	}
}

func TestAnAgentStartsWithItsLastView(t *testing.T) {
	dir := t.TempDir()
	f := run(t, dir, &fakePart{})
	f.OnBatch([]*sb.Document{portDocument("1"), portDocument("22")}, nil, 9, true)
	f.stop()

	part := &fakePart{}
	again := run(t, dir, part) // with a server that never answers
	eventually(t, "reconciled", again.heard("port/22 DONE"))
	if have := again.Hello().Have; len(have) != 2 {
		t.Errorf("Hello tells of %d documents, want 2", len(have))
	}
	again.stop()

	path := filepath.Join(dir, "view.cache")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string][]byte{
		"empty": {}, "cut short": content[:len(content)-3], "bit flipped": append(slices.Clone(content[:len(content)-1]), 0xff),
		"of another kind": []byte("hello"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, damage, 0o600); err != nil {
				t.Fatal(err)
			}
			damaged := &fakePart{}
			f := run(t, dir, damaged)
			if have := f.Hello().Have; len(have) != 0 {
				t.Errorf("Hello tells of %d documents of a damaged cache", len(have))
			}
			f.stop()
			if damaged.count() != 0 {
				t.Error("a damaged cache was reconciled")
			}
		})
	}
}

// An agent that is killed may have got something that is not on disk yet. The next one does not take it away again.
func TestANewAgentWaitsForTheServerBeforeItGoesByItsLastView(t *testing.T) {
	dir := t.TempDir()
	f := run(t, dir, &fakePart{})
	f.OnBatch([]*sb.Document{portDocument("1")}, nil, 9, true)
	f.stop()

	part := &fakePart{}
	part.set(func(view *agent.View) ([]agent.Status, error) {
		if view.Port("22") == nil {
			t.Error("the old view was reconciled")
		}
		return []agent.Status{{Key: "port/22", State: sb.ObjectStatus_STATE_DONE}}, nil
	})
	again := run(t, dir, part)
	again.OnBatch([]*sb.Document{portDocument("22")}, nil, 10, true)
	eventually(t, "reconciled", again.heard("port/22 DONE"))
	if have := again.Hello().Have; len(have) != 2 {
		t.Errorf("%d documents are held, want the old one and the new one", len(have))
	}
}

// get asks on the local socket.
func get(t *testing.T, socket, path string, into any) int {
	t.Helper()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", socket)
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://agent" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := into.(*string); ok {
		*s = string(body)
	} else if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%s: %s", err, body)
	}
	return response.StatusCode
}

func TestTheSocketAnswers(t *testing.T) {
	dir := t.TempDir()
	f := run(t, dir, &fakePart{})
	eventually(t, "listening", func() bool { _, err := os.Stat(f.socket); return err == nil })
	if info, err := os.Stat(f.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	var status agent.HostStatus
	if code := get(t, f.socket, "/v1/status", &status); code != 200 || status.Host != "host1" || status.Complete {
		t.Errorf("%d %+v", code, status)
	}
	var text string
	if code := get(t, f.socket, "/v1/ports/1?wait=10ms", &text); code != 404 {
		t.Errorf("unknown port: %d %s", code, text)
	}
	if code := get(t, f.socket, "/v1/ports/1?wait=soon", &text); code != 400 {
		t.Errorf("no duration: %d %s", code, text)
	}
	// Who waits is answered as soon as the document arrives.
	time.AfterFunc(20*time.Millisecond, func() { f.OnBatch([]*sb.Document{portDocument("1")}, nil, 3, true) })
	var port agent.PortInfo
	if code := get(t, f.socket, "/v1/ports/1?wait=10s", &port); code != 200 || port.Device != "tap1" ||
		port.IPs[0] != "10.0.0.3/24" || port.Gateways[0] != "10.0.0.1" || port.MTU != 1450 {
		t.Errorf("%d %+v", code, port)
	}
	eventually(t, "done", func() bool { return get(t, f.socket, "/v1/ports/1", &port) == 200 && port.Status == "DONE" })
	if code := get(t, f.socket, "/v1/extra/yes", &text); code != 200 || text != "yes" {
		t.Errorf("handler of a part: %d %s", code, text)
	}
	if code := get(t, f.socket, "/metrics", &text); code != 200 ||
		!strings.Contains(text, `neutrino_reconcile_duration_seconds_count{part="fake"}`) {
		t.Errorf("metrics: %d %s", code, text)
	}
	if get(t, f.socket, "/v1/status", &status); status.Revision != 3 || status.Documents != 1 || len(status.Parts) != 1 {
		t.Errorf("%+v", status)
	}
}

func TestTwoAgentsDoNotShareASocket(t *testing.T) {
	dir := t.TempDir()
	f := run(t, dir, &fakePart{})
	eventually(t, "listening", func() bool { _, err := os.Stat(f.socket); return err == nil })
	second, err := agent.New(agent.Options{
		Host: "host1", DataDir: t.TempDir(), Registry: prometheus.NewRegistry(), SocketPath: f.socket,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context(), &fakeUplink{}); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("second agent: %v", err)
	}
}

// gatewayPart is a part that knows what the host is for its gateway groups.
type gatewayPart struct {
	fakePart
	mu    sync.Mutex
	roles []*sb.GatewayRole
}

func (p *gatewayPart) Gateways() []*sb.GatewayRole {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.roles
}

// become sets the roles and has a pass made.
func (p *gatewayPart) become(roles ...*sb.GatewayRole) {
	p.mu.Lock()
	p.roles = roles
	p.mu.Unlock()
	p.fakePart.mu.Lock()
	changed := p.changed
	p.fakePart.mu.Unlock()
	changed()
}

func TestOnlyRolesThatHaveChangedAreReportedAndAllAfterConnecting(t *testing.T) {
	part := &gatewayPart{roles: []*sb.GatewayRole{
		{Group: 1, Active: true, Claim: &sb.GatewayClaim{Epoch: 4, Host: "host1"}}, {Group: 2, Claim: &sb.GatewayClaim{}},
	}}
	f := run(t, t.TempDir(), part)
	part.awaitWatch(t)
	f.OnConnect()
	f.OnBatch(nil, nil, 1, true)
	eventually(t, "all told", f.heard("group 2 active=false  0"))
	if !f.heard("group 1 active=true host1 4")() {
		t.Errorf("told: %v", f.told)
	}
	f.forget()
	part.become(part.roles[0], &sb.GatewayRole{Group: 2, Active: true, Claim: &sb.GatewayClaim{Epoch: 1, Host: "host1"}})
	eventually(t, "the change told", f.heard("group 2 active=true host1 1"))
	if len(f.told) != 1 {
		t.Errorf("told: %v", f.told)
	}
	if groups := f.Status().Groups; len(groups) != 2 || groups[0] != (agent.GroupStatus{Number: 1, Active: true, Owner: "host1", Epoch: 4}) {
		t.Errorf("the status shows %v", groups)
	}
	f.OnConnect()
	eventually(t, "all told again", f.heard("group 1 active=true host1 4"))
}
