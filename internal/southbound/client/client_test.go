package client

import (
	"slices"
	"testing"
	"time"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

func documents(keys ...string) (list []*sb.Document) {
	for _, k := range keys {
		list = append(list, &sb.Document{Key: k})
	}
	return list
}

// TestDigestTooLargeForAMessage: the agent says that it has nothing, is sent everything, and works out itself what the
// server could not know to delete.
func TestDigestTooLargeForAMessage(t *testing.T) {
	hello := &sb.Hello{Version: "1", Have: []*sb.Digest{{Key: "a"}, {Key: "b"}, {Key: "c"}}}
	got, undisclosed := helloWithin(hello, 2)
	if len(got.Have) != 0 || got.Version != "1" {
		t.Fatalf("hello: %v", got)
	}
	in := inbox{undisclosed: undisclosed}
	if in.add(&sb.Batch{Put: documents("a", "x")}) {
		t.Fatal("a batch is whole before its last message")
	}
	if !in.add(&sb.Batch{Put: documents("c"), Delete: []string{"z"}, Last: true, Full: true}) {
		t.Fatal("the last message does not make the batch whole")
	}
	slices.Sort(in.del)
	if len(in.put) != 3 || !slices.Equal(in.del, []string{"b", "z"}) {
		t.Errorf("put %v, delete %v", in.put, in.del)
	}
	got, undisclosed = helloWithin(&sb.Hello{Have: []*sb.Digest{{Key: "a"}}}, 2)
	if len(got.Have) != 1 || undisclosed != nil {
		t.Error("a digest that fits is left out")
	}
}

func TestOutboxHoldsTheNewestOfEachDocument(t *testing.T) {
	o := outbox{wake: make(chan struct{}, 1)}
	o.report([]*sb.ObjectStatus{{Key: "lost"}}) // no stream
	o.ack(1)
	if got := o.take(); len(got) != 0 {
		t.Fatalf("without a stream it holds %v", got)
	}
	o.open()
	for range 3 {
		o.report([]*sb.ObjectStatus{{Key: "p", State: sb.ObjectStatus_STATE_ABSENT}, {Key: "q"}})
	}
	o.report([]*sb.ObjectStatus{{Key: "p", State: sb.ObjectStatus_STATE_DONE}})
	o.ack(4)
	o.ack(5)
	got := o.take()
	if len(got) != 2 {
		t.Fatalf("messages: %v", got)
	}
	statuses := got[0].GetReport().GetStatuses()
	if len(statuses) != 2 || statuses[0].Key != "p" || statuses[0].State != sb.ObjectStatus_STATE_DONE {
		t.Errorf("statuses: %v", statuses)
	}
	if got[1].GetAck().GetRevision() != 5 {
		t.Errorf("the acknowledgement does not come last: %v", got[1])
	}
	o.report([]*sb.ObjectStatus{{Key: "old"}})
	o.ack(6)
	o.open() // a new stream
	if got := o.take(); len(got) != 0 {
		t.Errorf("the new stream inherits %v", got)
	}
}

func TestBackoffNoticesAServerWithinASecond(t *testing.T) {
	for _, attempts := range []int{0, 1, 5, 100} {
		b := backoff{attempts: attempts}
		start := time.Now()
		b.wait(t.Context(), false)
		if took := time.Since(start); took > 950*time.Millisecond {
			t.Errorf("after %d attempts it waits %s", attempts, took)
		}
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	whole := Options{
		Server: "127.0.0.1:1", Host: "a", DataDir: "d", Hello: func() *sb.Hello { return nil },
		OnBatch: func([]*sb.Document, []string, int64, bool) {},
	}
	if _, err := New(whole); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no server": func(o *Options) { o.Server = "" }, "no directory": func(o *Options) { o.DataDir = "" },
		"no hello": func(o *Options) { o.Hello = nil }, "no batch": func(o *Options) { o.OnBatch = nil },
		"a bad host": func(o *Options) { o.Host = "a b" },
	} {
		o := whole
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
