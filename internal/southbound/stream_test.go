package southbound_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.uber.org/goleak"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestViewIsSentAndFollowsTheState(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1", "compute2")
	c.port("p1", "compute1", mac(1))
	c.port("p2", "compute2", mac(2))
	a := c.startAgent("compute1", "", c.token("compute1"))
	eventually(t, "the first view", func() bool { return len(a.received()) > 0 })

	first := a.received()[0]
	slices.Sort(first.put)
	if want := []string{"neighbour/p2", "port/p1", "segment/net"}; !first.full || !slices.Equal(first.put, want) {
		t.Fatalf("first batch: %+v", first)
	}
	revision := c.port("p2", "compute2", mac(3))
	eventually(t, "the new MAC", func() bool { return a.document("neighbour/p2").GetNeighbour().GetMac() == mac(3) })
	eventually(t, "the acknowledgement", c.stepped("compute1", revision))

	c.update(func(tx *state.Tx) { state.Ports.Delete(tx, "p2") })
	eventually(t, "the neighbour to go", func() bool { return !a.has("neighbour/p2") })

	last := int64(0)
	for i, b := range a.received() {
		if b.revision < last || b.full != (i == 0) {
			t.Errorf("batch %d: %+v after revision %d", i, b, last)
		}
		last = b.revision
	}
}

// TestCommitsOfOthersAreNotSent: a host hears only what concerns it, and is in step all the same.
func TestCommitsOfOthersAreNotSent(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1", "compute2")
	c.port("p1", "compute1", mac(1))
	a := c.startAgent("compute2", "", c.token("compute2"))
	eventually(t, "the first view", func() bool { return len(a.received()) == 1 })
	var revision int64
	for i := range 20 {
		revision = c.port("p1", "compute1", mac(i))
	}
	eventually(t, "being in step", c.stepped("compute2", revision))
	if n := len(a.received()); n != 1 {
		t.Errorf("%d batches, with commits that do not concern the host", n)
	}
}

func TestAgentThatHasEverythingIsSentNothing(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1", "compute2")
	c.port("p1", "compute1", mac(1))
	c.port("p2", "compute2", mac(2))
	a := c.startAgent("compute1", "", c.token("compute1"))
	eventually(t, "the first view", func() bool { return a.has("port/p1") })
	a.stop()

	c.run(a, "")
	eventually(t, "the second stream", func() bool { return len(a.received()) == 2 })
	if b := a.received()[1]; !b.full || len(b.put)+len(b.del) != 0 {
		t.Errorf("an agent that has everything was sent %+v", b)
	}

	// What changed meanwhile is sent, and nothing else; what it should not have is deleted.
	a.stop()
	c.port("p1", "compute1", mac(9))
	a.mu.Lock()
	a.documents["port/stale"] = &sb.Document{Key: "port/stale", Hash: 1}
	a.mu.Unlock()
	c.run(a, "")
	eventually(t, "the third stream", func() bool { return len(a.received()) == 3 })
	if b := a.received()[2]; !slices.Equal(b.put, []string{"port/p1"}) || !slices.Equal(b.del, []string{"port/stale"}) {
		t.Errorf("the difference is %+v", b)
	}
}

func TestReconnectAfterServerRestart(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1")
	a := c.startAgent("compute1", "", c.token("compute1"))
	eventually(t, "the first stream", a.Connected)
	c.stop()
	eventually(t, "the loss to be noticed", func() bool { return !a.Connected() })
	c.port("p1", "compute1", mac(1))
	time.Sleep(1500 * time.Millisecond) //nolint:forbidigo // the agent tries in vain until its pause is at its longest
	start := time.Now()
	c.start()
	eventually(t, "what changed meanwhile", func() bool { return a.has("port/p1") })
	if took := time.Since(start); took > time.Second {
		t.Errorf("the restart was noticed after %s", took)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.connects != 2 {
		t.Errorf("OnConnect was called %d times", a.connects)
	}
}

func TestLargeViewComesInBoundedMessagesAsOneBatch(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1")
	const ports = 20_000
	eventually(t, "a stream of another host", c.startAgent("other", "", c.token("other")).Connected)
	var revision int64
	for start := 0; start < ports; start += 2000 {
		revision = c.update(func(tx *state.Tx) {
			for i := start; i < start+2000; i++ {
				putPort(tx, fmt.Sprintf("%08d-aaaa-4aaa-8aaa-aaaaaaaaaaaa", i), "compute1", mac(i))
			}
		})
	}
	// Streams start from the newest state that the server has looked at, which may be a little behind.
	eventually(t, "the server to have looked at all ports", c.stepped("other", revision))
	stream, err := c.raw(certificate(t, c.authority, "compute1")).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: &sb.Hello{}}})
	messages, documents := 0, 0
	for last := false; !last; messages++ {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		last = m.GetBatch().GetLast()
		documents += len(m.GetBatch().GetPut())
		if m.GetBatch().GetFull() != last {
			t.Error("full is not set on the last message alone")
		}
	}
	if messages < 2 || documents != ports+1 {
		t.Errorf("%d documents in %d messages", documents, messages)
	}
	a := c.startAgent("compute1", "", c.token("compute1"))
	eventually(t, "the view", func() bool { return len(a.received()) > 0 })
	if b := a.received()[0]; len(b.put) != ports+1 || !b.full {
		t.Errorf("the agent was given %d documents at first", len(b.put))
	}
}

// TestSlowHostCostsBoundedMemoryAndBlocksNobody: a host that takes nothing is held as a set of dirty keys, and is sent
// the newest state, not the history, when it gets going again.
func TestSlowHostCostsBoundedMemoryAndBlocksNobody(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("slow", "quick")
	for i := range 200 {
		c.port(fmt.Sprint("p", i), "slow", mac(0))
	}
	c.port("q", "quick", mac(0))
	slow := c.startAgent("slow", "", c.token("slow"))
	quick := c.startAgent("quick", "", c.token("quick"))
	eventually(t, "both views", func() bool { return len(slow.received()) == 1 && len(quick.received()) == 1 })

	slow.hold.Lock()
	before := heap()
	const rounds = 2000
	var revision int64
	for round := range rounds {
		revision = c.update(func(tx *state.Tx) {
			for i := range 20 {
				putPort(tx, fmt.Sprint("p", (round+i*10)%200), "slow", mac(round))
			}
		})
	}
	eventually(t, "the quick host to be in step", c.stepped("quick", revision))
	if h := c.hostState("slow"); h.LagSeconds <= 0 || h.AppliedRevision >= revision || !h.Connected {
		t.Errorf("the slow host: %+v", h)
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	slow.hold.Unlock()
	eventually(t, "the slow host to be in step", c.stepped("slow", revision))
	if n := len(slow.received()); n > rounds/2 {
		t.Errorf("the slow host was sent %d batches for %d commits", n, rounds)
	}
	if h := c.hostState("slow"); h.LagSeconds != 0 {
		t.Errorf("the slow host in step: %+v", h)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAcknowledgementIsTheAppliedRevision(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1")
	c.port("p1", "compute1", mac(1))
	stream := c.stream("compute1")
	sent := c.hostState("compute1").SentRevision
	ack := func(revision int64) {
		say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Ack{Ack: &sb.Ack{Revision: revision}}})
	}
	ack(sent + 1000) // what was not sent cannot have been applied
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Report{Report: &sb.Report{Statuses: []*sb.ObjectStatus{
		{Key: "port/p1", State: sb.ObjectStatus_STATE_DONE},
	}}}})
	eventually(t, "the report behind it", func() bool { _, ok := c.reporter.status("compute1", "port/p1"); return ok })
	if h := c.hostState("compute1"); h.AppliedRevision != 0 || h.LagSeconds <= 0 {
		t.Errorf("before an acknowledgement: %+v", h)
	}
	ack(sent)
	eventually(t, "the acknowledgement", func() bool { return c.hostState("compute1").AppliedRevision == sent })
	if h := c.hostState("compute1"); h.LagSeconds != 0 || h.Documents != 2 || !h.Connected {
		t.Errorf("in step: %+v", h)
	}
	next := c.port("p1", "compute1", mac(2))
	eventually(t, "the change to be sent", func() bool { return c.hostState("compute1").SentRevision == next })
	if h := c.hostState("compute1"); h.AppliedRevision != sent {
		t.Errorf("before the second acknowledgement: %+v", h)
	}
	ack(next)
	eventually(t, "the second acknowledgement", c.stepped("compute1", next))
}

func TestNewerStreamEndsTheOlder(t *testing.T) {
	c := newCluster(t, pki.Options{})
	older := c.stream("compute1")
	c.stream("compute1")
	if _, err := older.Recv(); status.Code(err) != codes.Aborted {
		t.Errorf("the older stream ended with %v", err)
	}
	if h := c.hostState("compute1"); !h.Connected {
		t.Errorf("the end of the older stream has taken the newer away: %+v", h)
	}
}

func TestLiveness(t *testing.T) {
	c := newCluster(t, pki.Options{})
	if alive, since := c.server.Alive("compute1"); alive || !since.IsZero() {
		t.Error("a host that nobody has heard of is alive")
	}
	a := c.startAgent("compute1", "", c.token("compute1"))
	eventually(t, "being alive", func() bool { alive, _ := c.server.Alive("compute1"); return alive })
	eventually(t, "the metric", func() bool { return c.metric("neutrino_southbound_connected_hosts") == 1 })
	a.stop()
	eventually(t, "the end of the stream", func() bool { return !c.hostState("compute1").Connected })
	if alive, since := c.server.Alive("compute1"); !alive || time.Since(since) > time.Minute {
		t.Error("a host that was heard a moment ago counts as dead")
	}
}

func TestReportsAreHandedOnAgainWhenTheStateCannotBeWritten(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1")
	c.port("p1", "compute1", mac(1))
	stream := c.stream("compute1")
	report := func(state sb.ObjectStatus_State, reason string) {
		say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Report{Report: &sb.Report{Statuses: []*sb.ObjectStatus{
			{Key: "port/p1", State: state, Reason: reason},
		}}}})
	}
	c.reporter.failNext(fmt.Errorf("disk: %w", state.ErrUnavailable), fmt.Errorf("disk: %w", state.ErrUnavailable))
	report(sb.ObjectStatus_STATE_ERROR, "two\nlines\x1b[31m"+strings.Repeat("é", 1000))
	eventually(t, "the report", func() bool { _, ok := c.reporter.status("compute1", "port/p1"); return ok })
	got, _ := c.reporter.status("compute1", "port/p1")
	if !strings.HasPrefix(got.Reason, "two lines [31mé") || len(got.Reason) > 512 {
		t.Errorf("reason %q", got.Reason)
	}
	report(sb.ObjectStatus_STATE_DONE, "")
	eventually(t, "the newer report", func() bool {
		s, _ := c.reporter.status("compute1", "port/p1")
		return s.State == sb.ObjectStatus_STATE_DONE
	})
}

func TestHostIsServedWhileItCannotBeRecorded(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1")
	c.port("p1", "compute1", mac(1))
	c.reporter.failNext(state.ErrUnavailable, state.ErrUnavailable)
	c.stream("compute1") // has its view
	eventually(t, "the host to be recorded", func() bool { return c.reporter.connects("compute1") == 1 })
}

func TestHostIsRefusedByAFault(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.reporter.failNext(fault.Input("tunnel_ip", "it is no address"))
	stream, err := c.raw(certificate(t, c.authority, "compute1")).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: &sb.Hello{}}})
	if _, err = stream.Recv(); !strings.Contains(status.Convert(err).Message(), "tunnel_ip") {
		t.Errorf("refused with %v", err)
	}
	eventually(t, "the stream to be forgotten", func() bool { return !c.hostState("compute1").Connected })
}

func TestClientSendsLargeReportsInParts(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("compute1")
	const ports = 2500
	statuses := make([]*sb.ObjectStatus, ports)
	c.update(func(tx *state.Tx) {
		for i := range ports {
			id := fmt.Sprint("p", i)
			putPort(tx, id, "compute1", mac(i))
			statuses[i] = &sb.ObjectStatus{Key: "port/" + id, State: sb.ObjectStatus_STATE_DONE}
		}
	})
	a := c.startAgent("compute1", "", c.token("compute1"))
	eventually(t, "the view", func() bool { return len(a.received()) == 1 })
	a.Report(statuses)
	eventually(t, "the reports", func() bool {
		c.reporter.mu.Lock()
		defer c.reporter.mu.Unlock()
		return len(c.reporter.statuses["compute1"]) == ports
	})
}

func TestServeEndsWithItsContext(t *testing.T) {
	c := newCluster(t, pki.Options{})
	a := c.startAgent("compute1", "", c.token("compute1"))
	eventually(t, "the stream", a.Connected)
	ended := make(chan struct{})
	go func() { c.stop(); close(ended) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatal("Serve goes on")
	}
}
