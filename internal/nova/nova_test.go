package nova

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	serverA = "aaaaaaaa-0000-4000-8000-000000000001"
	serverB = "bbbbbbbb-0000-4000-8000-000000000002"
)

// disk is a state.Log that keeps what it was given over a restart.
type disk struct {
	mu       sync.Mutex
	revision int64
	objects  map[[2]string][]byte
}

func (d *disk) Load(_ context.Context, each func(state.Entry) error) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, value := range d.objects {
		if err := each(state.Entry{Kind: key[0], ID: key[1], Value: value}); err != nil {
			return 0, err
		}
	}
	return d.revision, nil
}

func (d *disk) Append(_ context.Context, batch []state.Entry) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range batch {
		if e.Value == nil {
			delete(d.objects, [2]string{e.Kind, e.ID})
		} else {
			d.objects[[2]string{e.Kind, e.ID}] = e.Value
		}
	}
	d.revision++
	return d.revision, nil
}

// plane is a state with an outbox.
type plane struct {
	*state.Store
	t testing.TB
}

func open(t testing.TB, d *disk) *plane {
	t.Helper()
	store, err := state.Open(t.Context(), state.Options{Log: d, Logger: slog.New(slog.DiscardHandler), Derive: new(Outbox).Derive})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return &plane{store, t}
}

func newDisk() *disk { return &disk{objects: map[[2]string][]byte{}} }

func (p *plane) update(fn func(tx *state.Tx)) {
	p.t.Helper()
	if _, err := p.Update(p.t.Context(), func(tx *state.Tx) error { fn(tx); return nil }); err != nil {
		p.t.Fatal(err)
	}
}

// port changes the port, or makes it if it is not there.
func (p *plane) port(id string, change func(*model.Port)) {
	p.t.Helper()
	p.update(func(tx *state.Tx) {
		now := &model.Port{Meta: model.Meta{ID: id}, DeviceOwner: "compute:nova", DeviceID: serverA, Status: model.PortDown}
		if old, ok := state.Ports.Get(tx, id); ok {
			now = old.Clone()
		}
		change(now)
		state.Ports.Put(tx, now)
	})
}

// queue lists what waits, in order.
func (p *plane) queue() []string {
	waiting := []string{}
	for _, e := range state.NovaEventsBySequence.From(p.Read(), "") {
		waiting = append(waiting, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Event, e.PortID, e.ServerID[:1], e.Status)))
	}
	return waiting
}

func unchanged(*model.Port)                        {}
func becomes(s model.PortStatus) func(*model.Port) { return func(p *model.Port) { p.Status = s } }

func TestChangesOfPortsBecomeEvents(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before, change func(*model.Port) // before is nil: the port is new
		want           []string
	}{
		"plugged":         {unchanged, becomes(model.PortActive), []string{"network-vif-plugged p a completed"}},
		"plugged at once": {nil, becomes(model.PortActive), []string{"network-vif-plugged p a completed"}},
		"built":           {becomes(model.PortBuild), becomes(model.PortActive), []string{"network-vif-plugged p a completed"}},
		"failed":          {unchanged, becomes(model.PortError), []string{"network-vif-plugged p a failed"}},
		"unplugged":       {becomes(model.PortActive), becomes(model.PortDown), []string{"network-vif-unplugged p a completed"}},
		"never plugged":   {becomes(model.PortBuild), becomes(model.PortDown), []string{}},
		"failed later":    {becomes(model.PortActive), becomes(model.PortError), []string{}},
		"made":            {nil, unchanged, []string{}},
		"reported only":   {unchanged, func(p *model.Port) { p.Wired, p.DHCPReason = true, "no lease" }, []string{}},
		"another address": {unchanged, func(p *model.Port) {
			p.FixedIPs = []model.FixedIP{{SubnetID: "s", IP: netip.MustParseAddr("10.0.0.9")}}
		}, []string{"network-changed p a"}},
		"another MAC":       {unchanged, func(p *model.Port) { p.MAC = "fa:16:3e:00:00:01" }, []string{"network-changed p a"}},
		"bound":             {unchanged, func(p *model.Port) { p.Binding.Host = "host1" }, []string{"network-changed p a"}},
		"another server":    {unchanged, func(p *model.Port) { p.DeviceID = serverB }, []string{"network-changed p b"}},
		"moved and wired":   {unchanged, func(p *model.Port) { p.Name, p.Status = "x", model.PortActive }, []string{"network-changed p a", "network-vif-plugged p a completed"}},
		"let go":            {unchanged, func(p *model.Port) { p.DeviceID, p.DeviceOwner = "", "" }, []string{}},
		"of DHCP":           {nil, func(p *model.Port) { p.DeviceOwner, p.Status = "network:dhcp", model.PortActive }, []string{}},
		"device not a UUID": {nil, func(p *model.Port) { p.DeviceID, p.Status = "dhcp-1", model.PortActive }, []string{}},
		"without a device":  {nil, func(p *model.Port) { p.DeviceID, p.Status = "", model.PortActive }, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := open(t, newDisk())
			if row.before != nil {
				p.port("p", row.before)
				p.update(func(tx *state.Tx) {
					for e := range state.NovaEvents.All(tx) {
						state.NovaEvents.Delete(tx, e.ID)
					}
				})
			}
			p.port("p", row.change)
			if diff := cmp.Diff(row.want, p.queue()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeletedPortsBecomeEvents(t *testing.T) {
	t.Parallel()
	p := open(t, newDisk())
	p.port("p", unchanged)
	p.port("other", func(x *model.Port) { x.DeviceOwner = "network:dhcp" })
	p.update(func(tx *state.Tx) {
		state.Ports.Delete(tx, "p")
		state.Ports.Delete(tx, "other")
	})
	if diff := cmp.Diff([]string{"network-vif-deleted p a"}, p.queue()); diff != "" {
		t.Error(diff)
	}
}

func TestFloatingIPsChangeTheirPorts(t *testing.T) {
	t.Parallel()
	p := open(t, newDisk())
	p.port("p", unchanged)
	p.port("q", func(x *model.Port) { x.DeviceID = serverB })
	associate := func(port string) {
		p.update(func(tx *state.Tx) {
			state.FloatingIPs.Put(tx, &model.FloatingIP{Meta: model.Meta{ID: "f"}, PortID: port})
		})
	}
	for _, step := range []struct {
		port string
		want []string
	}{
		{"", []string{}},
		{"p", []string{"network-changed p a"}},
		{"q", []string{"network-changed p a", "network-changed q b"}},
		{"gone", []string{"network-changed q b"}},
	} {
		associate(step.port)
		if diff := cmp.Diff(step.want, p.queue()); diff != "" {
			t.Errorf("to %q: %s", step.port, diff)
		}
		p.update(func(tx *state.Tx) {
			for e := range state.NovaEvents.All(tx) {
				state.NovaEvents.Delete(tx, e.ID)
			}
		})
	}
}

func TestTheQueueHoldsNewsOnceInTheirLastOrder(t *testing.T) {
	t.Parallel()
	d := newDisk()
	p := open(t, d)
	p.port("p", unchanged)
	for range 5 {
		p.port("p", becomes(model.PortActive))
		p.port("p", becomes(model.PortDown))
	}
	p.port("p", becomes(model.PortActive))
	want := []string{"network-vif-unplugged p a completed", "network-vif-plugged p a completed"}
	if diff := cmp.Diff(want, p.queue()); diff != "" {
		t.Error(diff)
	}
	p.Close()
	p = open(t, d) // a restart: the queue is there, and goes on behind what is in it
	p.port("p", becomes(model.PortDown))
	want[0], want[1] = want[1], want[0]
	if diff := cmp.Diff(want, p.queue()); diff != "" {
		t.Error(diff)
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	p := open(t, newDisk())
	for first := 0; first < maxEvents+1000; first += 1000 {
		p.update(func(tx *state.Tx) {
			for i := range 1000 {
				state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: fmt.Sprintf("p%06d", first+i)}, DeviceOwner: "compute:nova",
					DeviceID: serverA, Status: model.PortActive})
			}
		})
	}
	queue := p.queue()
	if len(queue) != maxEvents || !strings.Contains(queue[0], "p001000") {
		t.Errorf("%d events wait, the first is %s", len(queue), queue[0])
	}
}

// TestAFailedTransactionTellsNothing: what is not committed is not told.
func TestAFailedTransactionTellsNothing(t *testing.T) {
	t.Parallel()
	p := open(t, newDisk())
	_, err := p.Update(t.Context(), func(tx *state.Tx) error {
		state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: "p"}, DeviceOwner: "compute:nova", DeviceID: serverA, Status: model.PortActive})
		return fmt.Errorf("no")
	})
	if err == nil || len(p.queue()) != 0 {
		t.Errorf("%v, and %v wait", err, p.queue())
	}
}

// fakeNova is Nova's API of external events. It answers what respond says, and with 200 and codes of 200 by default.
type fakeNova struct {
	*httptest.Server
	t testing.TB

	mu      sync.Mutex
	got     []string // "name tag status", in order of arrival
	calls   int
	respond func(call int, events []event) (status int, body string)
	arrived chan struct{}
}

func newNova(t testing.TB) *fakeNova {
	n := &fakeNova{t: t, arrived: make(chan struct{}, 1000)}
	n.Server = httptest.NewServer(n)
	t.Cleanup(n.Close)
	return n
}

func (n *fakeNova) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request struct{ Events []event }
	if r.Method != "POST" || r.URL.Path != "/v2.1/os-server-external-events" || r.Header.Get("Content-Type") != "application/json" {
		n.t.Errorf("unexpected %s %s", r.Method, r.URL)
	}
	if err := json.Unmarshal(body, &request); err != nil || len(request.Events) == 0 || len(request.Events) > maxBatch {
		n.t.Errorf("the body %s: %v", body, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	status, answer := http.StatusOK, ""
	if n.respond != nil {
		status, answer = n.respond(n.calls, request.Events)
	}
	if answer == "" {
		for i := range request.Events {
			request.Events[i].Code = 200
		}
		text, _ := json.Marshal(map[string]any{"events": request.Events})
		answer = string(text)
	}
	for _, e := range request.Events {
		n.got = append(n.got, strings.TrimSpace(fmt.Sprintf("%d %s %s %s", status, e.Name, e.Tag, e.Status)))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
	n.arrived <- struct{}{}
}

// received waits until Nova was called so many times, and returns the events with what Nova answered.
func (n *fakeNova) received(calls int) []string {
	n.t.Helper()
	for range calls {
		select {
		case <-n.arrived:
		case <-time.After(20 * time.Second):
			n.t.Fatal("Nova was not called")
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.got...)
}

// static is a TokenSource that counts.
type static struct {
	mu      sync.Mutex
	renewed int
}

func (s *static) Token(_ context.Context, renew bool) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if renew {
		s.renewed++
	}
	return fmt.Sprintf("token%d", s.renewed), nil
}

// run runs a notifier until stop is called.
func (p *plane) run(n *fakeNova, tokens TokenSource) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	notifier := New(Options{Store: p.Store, URL: n.URL + "/v2.1/", Tokens: tokens, Linger: time.Millisecond,
		MinBackoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	go func() {
		defer close(done)
		if err := notifier.Run(ctx); err != nil {
			p.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	p.t.Cleanup(stop)
	return stop
}

// drained waits until nothing is in the queue.
func (p *plane) drained() {
	p.t.Helper()
	snapshot, commits := p.Feed()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	for state.NovaEvents.Len(snapshot) > 0 {
		c, err := commits.Next(ctx)
		if err != nil {
			p.t.Fatalf("still waiting: %v", p.queue())
		}
		snapshot = c.Snapshot
	}
}

func TestNovaIsTold(t *testing.T) {
	t.Parallel()
	p, nova := open(t, newDisk()), newNova(t)
	p.run(nova, &static{})
	p.port("p", becomes(model.PortActive))
	nova.received(1)
	p.port("p", func(x *model.Port) { x.MAC = "fa:16:3e:00:00:02" })
	nova.received(1)
	p.update(func(tx *state.Tx) { state.Ports.Delete(tx, "p") })
	got := nova.received(1)
	want := []string{"200 network-vif-plugged p completed", "200 network-changed p", "200 network-vif-deleted p"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p.drained()
}

func TestEventsGoInBatches(t *testing.T) {
	t.Parallel()
	p, nova := open(t, newDisk()), newNova(t)
	p.update(func(tx *state.Tx) {
		for i := range 2*maxBatch + 1 {
			state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: fmt.Sprint(i)}, DeviceOwner: "compute:nova", DeviceID: serverA,
				Status: model.PortActive})
		}
	})
	p.run(nova, &static{})
	if got := nova.received(3); len(got) != 2*maxBatch+1 || got[0] != "200 network-vif-plugged 0 completed" {
		t.Errorf("%d events arrived, first %s", len(got), got[0])
	}
	p.drained()
}

// TestWhatNovaAnswers lists which answers settle an event, and which make it come again.
func TestWhatNovaAnswers(t *testing.T) {
	t.Parallel()
	partly := `{"events": [{"name": "network-vif-plugged", "server_uuid": "` + serverA + `", "tag": "p", "code": 404}]}`
	for name, row := range map[string]struct {
		status int
		body   string
		again  bool
		renew  int
	}{
		"partly":             {status: 207, body: partly},
		"no such server":     {status: 404, body: `{"itemNotFound": {}}`},
		"bad request":        {status: 400, body: `{}`},
		"an error":           {status: 500, body: `{}`, again: true},
		"unavailable":        {status: 503, body: `busy`, again: true},
		"forbidden":          {status: 403, body: `{}`, again: true},
		"not JSON":           {status: 200, body: `<html>`, again: true},
		"a token that ended": {status: 401, body: `{}`, again: true, renew: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, nova, tokens := open(t, newDisk()), newNova(t), &static{}
			nova.respond = func(call int, _ []event) (int, string) {
				if call == 1 {
					return row.status, row.body
				}
				return 200, ""
			}
			stop := p.run(nova, tokens)
			p.port("p", becomes(model.PortActive))
			want := []string{fmt.Sprintf("%d network-vif-plugged p completed", row.status)}
			calls := 1
			if row.again {
				calls, want = 2, append(want, "200 network-vif-plugged p completed")
			}
			got := nova.received(calls)
			p.drained()
			stop()
			if diff := cmp.Diff(want, got); diff != "" || len(nova.arrived) > 0 {
				t.Errorf("%d calls more; %s", len(nova.arrived), diff)
			}
			if tokens.renewed != row.renew {
				t.Errorf("%d new tokens, want %d", tokens.renewed, row.renew)
			}
		})
	}
}

// TestNothingIsLostWhenTheServerIsKilled stops the server between the change and the call, and between call and answer.
func TestNothingIsLostWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	d := newDisk()
	p := open(t, d)
	p.port("p", becomes(model.PortActive))
	p.Close() // before anybody was told

	nova := newNova(t)
	nova.respond = func(call int, _ []event) (int, string) {
		if call == 1 {
			return 500, "{}"
		}
		return 200, ""
	}
	p = open(t, d)
	stop := p.run(nova, &static{})
	nova.received(1)
	stop() // after the call that failed
	p.Close()

	p = open(t, d)
	p.run(nova, &static{})
	p.drained()
	if got := nova.received(1); got[len(got)-1] != "200 network-vif-plugged p completed" {
		t.Errorf("got %v", got)
	}
}

// TestNewsDuringACallAreToldToo changes the port while Nova takes its time: the answer is for the old news only.
func TestNewsDuringACallAreToldToo(t *testing.T) {
	t.Parallel()
	p, nova := open(t, newDisk()), newNova(t)
	nova.respond = func(call int, _ []event) (int, string) {
		if call == 1 {
			p.port("p", becomes(model.PortDown))
			p.port("p", becomes(model.PortActive))
		}
		return 200, ""
	}
	p.run(nova, &static{})
	p.port("p", becomes(model.PortActive))
	want := []string{"200 network-vif-plugged p completed", "200 network-vif-unplugged p completed", "200 network-vif-plugged p completed"}
	if diff := cmp.Diff(want, nova.received(2)); diff != "" {
		t.Error(diff)
	}
	p.drained()
}
