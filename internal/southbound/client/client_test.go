package client

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/pki"
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

func TestPausesFitTheFailure(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		code     codes.Code
		attempts int
		min, max time.Duration
	}{
		"first":                             {codes.Unavailable, 0, 25 * ms, 50 * ms},
		"a server that is away for long":    {codes.Unavailable, 100, 350 * ms, 700 * ms},
		"a server that refuses":             {codes.PermissionDenied, 100, 7500 * ms, 15 * time.Second},
		"another agent has taken our place": {codes.Aborted, 0, 5 * time.Second, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				b := backoff{attempts: c.attempts}
				if pause := b.pause(status.Error(c.code, "")); pause < c.min || pause > c.max {
					t.Fatalf("it waits %s, want %s to %s", pause, c.min, c.max)
				}
			}
		})
	}
}

// fakeServer ends every stream at once, after it has accepted it.
type fakeServer struct {
	sb.UnimplementedSouthboundServer
	streams atomic.Int64
}

func (s *fakeServer) Connect(stream sb.Southbound_ConnectServer) error {
	s.streams.Add(1)
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&sb.ToAgent{Message: &sb.ToAgent_Batch{Batch: &sb.Batch{Last: true}}}); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "gone again")
}

// hostWithCertificate writes the files of a host that has joined, and returns its cluster.
func hostWithCertificate(t *testing.T, dir string, lifetime time.Duration) *pki.Authority {
	t.Helper()
	authority, err := pki.Open(t.TempDir(), pki.Options{HostLifetime: lifetime})
	if err != nil {
		t.Fatal(err)
	}
	i := identity{dir: dir, host: "a"}
	key, err := i.makeKey()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := authority.SignHost("a", &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.write(key, &sb.JoinResponse{Certificate: certificate, Ca: authority.CertificatePEM()}); err != nil {
		t.Fatal(err)
	}
	return authority
}

// A stream that ends right after it was up must not make the next attempts quick again.
func TestShortStreamsDoNotResetTheBackoff(t *testing.T) {
	dir := t.TempDir()
	authority := hostWithCertificate(t, dir, time.Hour)
	serverTLS, err := authority.ServerTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake, server := &fakeServer{}, grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS)))
	sb.RegisterSouthboundServer(server, fake)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	defer server.Stop()
	c, err := New(Options{
		Server: listener.Addr().String(), Host: "a", DataDir: dir, Logger: slog.New(slog.DiscardHandler),
		Hello: func() *sb.Hello { return &sb.Hello{} }, OnBatch: func([]*sb.Document, []string, int64, bool) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	// 25, 50, 100, 200, 350 ms are the shortest pauses.
	if n := fake.streams.Load(); n < 2 || n > 7 {
		t.Errorf("%d streams in a second, want 2 to 7", n)
	}
}

// The agent goes on with the view that it holds, so the client must not end, whatever token it has.
func TestAnExpiredCertificateDoesNotEndTheAgent(t *testing.T) {
	for name, withToken := range map[string]bool{"no token": false, "a token that the server refuses": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			authority := hostWithCertificate(t, dir, -time.Minute)
			log := &errorHandler{Handler: slog.DiscardHandler, logged: make(chan string, 100)}
			options := Options{
				Server: "127.0.0.1:1", Host: "a", DataDir: dir, Logger: slog.New(log),
				Hello: func() *sb.Hello { return &sb.Hello{} }, OnBatch: func([]*sb.Document, []string, int64, bool) {},
			}
			if withToken {
				var err error
				if options.Token, err = authority.Mint("a", time.Hour); err != nil {
					t.Fatal(err)
				}
				serverTLS, err := authority.ServerTLS(nil)
				if err != nil {
					t.Fatal(err)
				}
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				server := grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS)))
				// It implements no Join.
				sb.RegisterSouthboundServer(server, &fakeServer{})
				go func() { _ = server.Serve(listener) }() // ends with Stop
				defer server.Stop()
				options.Server = listener.Addr().String()
			}
			c, err := New(options)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			select {
			case line := <-log.logged:
				if !strings.Contains(line, "expired") {
					t.Errorf("logged %q", line)
				}
			case err := <-done:
				t.Fatalf("it ended: %v", err)
			case <-time.After(5 * time.Second):
				t.Fatal("it says nothing")
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// errorHandler passes on what is logged as an error.
type errorHandler struct {
	slog.Handler
	logged chan string
}

func (h *errorHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

func (h *errorHandler) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	h.logged <- line
	return nil
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

func TestOutboxHoldsTheNewestRoleInEachGroup(t *testing.T) {
	o := outbox{wake: make(chan struct{}, 1)}
	o.reportRoles([]*sb.GatewayRole{{Group: 1}}) // no stream
	o.open()
	o.reportRoles([]*sb.GatewayRole{{Group: 1}, {Group: 2}})
	o.reportRoles([]*sb.GatewayRole{{Group: 1, Active: true}})
	o.ack(3)
	got := o.take()
	if len(got) != 2 || len(got[0].GetReport().GetRoles()) != 2 || got[1].GetAck().GetRevision() != 3 {
		t.Fatalf("messages: %v", got)
	}
	for _, r := range got[0].GetReport().GetRoles() {
		if r.Active != (r.Group == 1) {
			t.Errorf("group %d: active=%v", r.Group, r.Active)
		}
	}
	if got := o.take(); len(got) != 0 {
		t.Errorf("told again: %v", got)
	}
}
