package southbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// conn is one stream of a host. Three goroutines share it: the receiver, the sender and the reporter. The first that
// fails ends the stream.
type conn struct {
	host    string
	stream  sb.Southbound_ConnectServer
	end     context.CancelCauseFunc
	done    chan struct{} // closed when the reporter has ended: nothing of this stream reaches the state any more
	wake    chan struct{} // capacity 1: there is something dirty
	reports reports

	progress // guarded by the hub's lock

	// have holds the hash of each document that the host has. It is the sender's.
	have map[string]uint64
}

// Connect runs the stream of a host until either side ends it.
func (v *service) Connect(stream sb.Southbound_ConnectServer) error {
	s := v.server
	id, err := hostOf(stream.Context())
	if err != nil {
		return err
	}
	host, err := s.known(id)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	// The handshake has checked the certificate; a stream may outlive it.
	expiry := time.AfterFunc(time.Until(id.expires), func() { end(errExpired) })
	defer expiry.Stop()

	hello, err := s.receiveHello(ctx, stream)
	if err != nil {
		return err
	}
	for _, role := range hello.Roles {
		if len(host.Roles) > 0 && !slices.Contains(host.Roles, role) {
			return status.Errorf(codes.PermissionDenied, "the host %s may not play the role %s: its token was for %s",
				id.host, role, strings.Join(host.Roles, ", "))
		}
	}
	c := &conn{
		host: id.host, stream: stream, end: end,
		done: make(chan struct{}), wake: make(chan struct{}, 1),
		have: make(map[string]uint64, len(hello.Have)),
	}
	c.reports.init()
	for _, d := range hello.Have {
		c.have[d.Key] = d.Hash
	}
	hello.Have = nil
	older := s.hub.register(c)
	defer s.hub.unregister(c)
	if older != nil {
		// What the older stream has reported must not come after what this one reports.
		select {
		case <-older.done:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		close(c.done)
		return asStatus(context.Cause(ctx))
	}
	logger := s.opts.Logger.With("host", c.host)
	known, err := s.introduce(ctx, c.host, hello)
	if err != nil {
		close(c.done)
		logger.Warn("a host was refused", "error", err)
		return err
	}
	from := ""
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	logger.Info("host connected", "address", from, "version", hello.Version, "documents", len(c.have))
	s.streams.Go(func() { end(s.receive(ctx, c)) })
	s.streams.Go(func() { end(s.send(ctx, c)) })
	s.streams.Go(func() {
		defer close(c.done)
		if !known {
			s.introduceAgain(ctx, c.host, hello)
		}
		s.report(ctx, c)
	})
	<-ctx.Done()
	err = asStatus(context.Cause(ctx))
	logger.Info("host disconnected", "reason", status.Convert(err).Message())
	return err
}

var (
	errExpired = errors.New("the certificate of the host has expired")
	errSilent  = errors.New("the host has said nothing for too long")
	errSlow    = errors.New("the host has not accepted a message for too long")
)

// asStatus makes the answer of the stream out of why it ended.
func asStatus(err error) error {
	if _, ok := status.FromError(err); ok { // also nil
		return err
	}
	switch {
	case errors.Is(err, errReplaced):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, errExpired):
		return status.Error(codes.Unauthenticated, err.Error())
	case errors.Is(err, errSilent), errors.Is(err, errSlow):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, io.EOF):
		return status.Error(codes.Canceled, "the host has ended the stream")
	}
	return status.Error(codes.Unavailable, err.Error())
}

// receiveHello waits for the first message and checks its bounds.
func (s *Server) receiveHello(ctx context.Context, stream sb.Southbound_ConnectServer) (*sb.Hello, error) {
	type received struct {
		message *sb.FromAgent
		err     error
	}
	first := make(chan received, 1)
	s.streams.Go(func() { // ends when the message comes, or when the handler has returned
		m, err := stream.Recv()
		first <- received{m, err}
	})
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case r := <-first:
		if r.err != nil {
			return nil, r.err
		}
		hello := r.message.GetHello()
		if hello == nil {
			return nil, status.Error(codes.InvalidArgument, "the first message of a stream is Hello")
		}
		if err := checkHello(hello); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		return hello, nil
	case <-timeout.C:
		return nil, status.Error(codes.DeadlineExceeded, "the host has not said hello")
	case <-ctx.Done():
		return nil, asStatus(context.Cause(ctx))
	}
}

func checkHello(h *sb.Hello) error {
	if len(h.Have) > maxDigest {
		return fmt.Errorf("the digest has more than %d entries", maxDigest)
	}
	for _, d := range h.Have {
		if len(d.GetKey()) > maxKey {
			return fmt.Errorf("a key of the digest is longer than %d bytes", maxKey)
		}
	}
	if len(h.Roles) > 32 || len(h.TunnelTypes) > 32 || len(h.BridgeMappings) > 256 {
		return errors.New("there are more than 32 roles, 32 tunnel types or 256 bridge mappings")
	}
	texts := append([]string{h.Version, h.TunnelIp, h.AvailabilityZone}, h.Roles...)
	texts = append(texts, h.TunnelTypes...)
	for physical, device := range h.BridgeMappings {
		texts = append(texts, physical, device)
	}
	for _, t := range texts {
		if len(t) > 255 {
			return errors.New("a text is longer than 255 bytes")
		}
	}
	return nil
}

// introduce tells the reporter of the host. A fault is the host's; after any other error, known is false and the host
// is served all the same: a state that cannot be written must not keep hosts from their views.
func (s *Server) introduce(ctx context.Context, host string, hello *sb.Hello) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	err = s.opts.Reporter.AgentConnected(ctx, host, hello)
	if f := fault.As(err); f != nil && f.Kind != fault.Unavailable {
		return false, status.Error(codes.FailedPrecondition, f.Message)
	}
	if err != nil {
		s.opts.Logger.Warn("a host that connected could not be recorded, it is served and tried again",
			"host", host, "error", err)
	}
	return err == nil, nil
}

// introduceAgain goes on trying until the host is known or the stream ends.
func (s *Server) introduceAgain(ctx context.Context, host string, hello *sb.Hello) {
	for pause := 200 * time.Millisecond; sleep(ctx, pause); pause = min(2*pause, 5*time.Second) {
		if s.opts.Reporter.AgentConnected(ctx, host, hello) == nil {
			return
		}
	}
}

// sleep waits, and returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// receive takes what the host says until the stream ends or the host breaks the rules.
func (s *Server) receive(ctx context.Context, c *conn) error {
	watchdog := time.AfterFunc(silence, func() { c.end(errSilent) })
	defer watchdog.Stop()
	for {
		m, err := c.stream.Recv()
		if err != nil {
			return err
		}
		watchdog.Reset(silence)
		s.hub.heard(c)
		switch m := m.Message.(type) {
		case *sb.FromAgent_Ack:
			s.hub.acknowledge(c, m.Ack.GetRevision())
		case *sb.FromAgent_Report:
			if err := s.accept(c, m.Report); err != nil {
				return err
			}
		case *sb.FromAgent_Hello:
			return status.Error(codes.InvalidArgument, "Hello is said once, at the beginning")
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// send brings the host up to date, again and again, until the stream ends. The first batch is the difference between
// what the host has and its view, and is sent even when it is empty: it tells the host that its view is complete.
func (s *Server) send(ctx context.Context, c *conn) error {
	first := true
	for {
		w, ok := s.hub.take(c)
		if !ok {
			select {
			case <-c.wake:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		b := &batch{conn: c, revision: w.snapshot.Revision, metrics: s.metrics}
		var err error
		if w.all {
			err = s.sendView(ctx, c, b, w.snapshot)
		} else {
			err = s.sendKeys(c, b, w)
		}
		if err != nil {
			return err
		}
		// Noted before the last message leaves: the acknowledgement may come at once.
		s.hub.sentWork(c, w, first || b.used, len(c.have))
		if first || b.used {
			if err := b.close(first); err != nil {
				return err
			}
		}
		first = false
	}
}

// sendView sends the difference between what the host has and its whole view.
func (s *Server) sendView(ctx context.Context, c *conn, b *batch, snapshot *state.Snapshot) error {
	wanted := make(map[string]uint64, len(c.have))
	for d := range s.opts.Compiler.Documents(snapshot, c.host) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wanted[d.Key] = d.Hash
		if hash, has := c.have[d.Key]; has && hash == d.Hash {
			continue
		}
		if err := b.put(d); err != nil {
			return err
		}
	}
	for key := range c.have {
		if _, ok := wanted[key]; ok {
			continue
		}
		if err := b.drop(key); err != nil {
			return err
		}
	}
	c.have = wanted
	return nil
}

// sendKeys sends what is different in the documents of the dirty keys.
func (s *Server) sendKeys(c *conn, b *batch, w work) error {
	for key := range w.keys {
		d := s.opts.Compiler.Document(w.snapshot, c.host, key)
		hash, has := c.have[key]
		switch {
		case d == nil && !has, d != nil && has && hash == d.Hash:
		case d == nil:
			delete(c.have, key)
			if err := b.drop(key); err != nil {
				return err
			}
		default:
			c.have[key] = d.Hash
			if err := b.put(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// batch cuts what is sent into messages of bounded size.
type batch struct {
	conn     *conn
	revision int64
	metrics  *metrics
	message  *sb.Batch
	size     int
	used     bool
}

func (b *batch) put(d *sb.Document) error {
	if err := b.room(proto.Size(d)); err != nil {
		return err
	}
	b.message.Put = append(b.message.Put, d)
	b.metrics.documents.Inc()
	return nil
}

func (b *batch) drop(key string) error {
	if err := b.room(len(key)); err != nil {
		return err
	}
	b.message.Delete = append(b.message.Delete, key)
	return nil
}

// room makes sure that there is a message with room for size more bytes.
func (b *batch) room(size int) error {
	if b.message != nil && b.size+size > maxBatch {
		if err := b.flush(); err != nil {
			return err
		}
	}
	if b.message == nil {
		b.message, b.size = &sb.Batch{Revision: b.revision}, 0
	}
	b.size += size + 8 // the tag and length of the field
	b.used = true
	return nil
}

// close sends what is left as the last message of the batch.
func (b *batch) close(full bool) error {
	if b.message == nil {
		b.message = &sb.Batch{Revision: b.revision}
	}
	b.message.Last, b.message.Full = true, full
	b.metrics.batches.Inc()
	return b.flush()
}

func (b *batch) flush() error {
	slow := time.AfterFunc(sendTimeout, func() { b.conn.end(errSlow) })
	defer slow.Stop()
	err := b.conn.stream.Send(&sb.ToAgent{Message: &sb.ToAgent_Batch{Batch: b.message}})
	b.message = nil
	return err
}
