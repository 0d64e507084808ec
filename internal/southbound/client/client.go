// Package client is the agent's side of the stream between server and hosts. The server's side is in package
// southbound.
//
// Run joins the cluster if the host has no certificate yet (identity.go), renews the certificate in time, and keeps a
// stream to the server: whenever it is lost, it is made again, quickly at first. Each time the agent says what it has,
// through Options.Hello, and gets the difference. What the server sends is handed to Options.OnBatch, one whole batch
// after the other.
//
// The package knows nothing of the control plane: it imports the contract and the handling of certificates.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/pki"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	// heartbeat is how often the agent says that it is there.
	heartbeat = 10 * time.Second
	// The pause before the next attempt doubles from the first to the last while the server cannot be reached. A
	// server that comes back is noticed within the last.
	firstPause, lastPause = 50 * time.Millisecond, 700 * time.Millisecond
	// refusedPause is the longest pause after the server has answered that it does not want this agent.
	refusedPause = 15 * time.Second
	// After another agent has taken the host's place, the pause is between these two. Two agents with one certificate
	// (a host that was cloned) would otherwise drive each other out all the time.
	replacedFirst, replacedLast = 5 * time.Second, 15 * time.Second
	// steady is how long a stream has to last before the next pauses are short again.
	steady = 30 * time.Second
	// expiredPause is between two looks at a certificate that has expired.
	expiredPause = time.Minute
	// dialTimeout bounds making a connection and the calls other than the stream.
	dialTimeout = 10 * time.Second
	// maxDigest is how many documents the agent says it has. Beyond, it says that it has none (see session).
	maxDigest = 50_000
	// maxStatuses is the number of statuses in one message.
	maxStatuses = 1000
	maxMessage  = 4 << 20
)

// Options configure a Client. The functions are called by one goroutine at a time. They may take their time: the server
// waits, and sends the newest state afterwards; but it gives up a stream whose agent accepts nothing for a minute.
type Options struct {
	Server  string // host:port of the server's southbound; required
	Token   string // to join with; needed until the host has a certificate
	Host    string // the name of this host; required
	DataDir string // where host.key, host.crt and ca.crt are kept; required

	// Hello is asked for at each connection, with the digest of the documents that the agent holds at that moment.
	Hello func() *sb.Hello // required
	// OnConnect is called when the server has accepted the stream, before the first OnBatch of the stream. Statuses
	// reported before are forgotten: the agent reports all of them anew.
	OnConnect func()
	// OnDisconnect is called when the stream of the last OnConnect is lost.
	OnDisconnect func()
	// OnBatch takes a whole batch. When full is set, the view is complete with it.
	OnBatch func(put []*sb.Document, del []string, revision int64, full bool) // required

	Logger *slog.Logger // default: slog.Default()
}

// Client is the agent's side of the stream. Its methods are safe for concurrent use.
type Client struct {
	opts      Options
	identity  *identity
	connected atomic.Bool
	out       outbox
}

// New makes a client. Run runs it.
func New(opts Options) (*Client, error) {
	if opts.Server == "" || opts.DataDir == "" || opts.Hello == nil || opts.OnBatch == nil {
		return nil, errors.New("a server, a data directory, Hello and OnBatch are needed")
	}
	if err := pki.ValidateHost(opts.Host); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.OnConnect == nil {
		opts.OnConnect = func() {}
	}
	if opts.OnDisconnect == nil {
		opts.OnDisconnect = func() {}
	}
	return &Client{
		opts:     opts,
		identity: &identity{dir: opts.DataDir, host: opts.Host, token: opts.Token},
		out:      outbox{wake: make(chan struct{}, 1)},
	}, nil
}

// Connected says whether the stream is up.
func (c *Client) Connected() bool { return c.connected.Load() }

// Ack tells the server that everything up to the revision has been applied, or reported with the reason why not.
func (c *Client) Ack(revision int64) { c.out.ack(revision) }

// Report tells the server what became of documents. While there is no stream it does nothing, since everything is
// reported anew on OnConnect.
func (c *Client) Report(statuses []*sb.ObjectStatus) { c.out.report(statuses) }

// ReportRoles tells the server what the host is for its gateway groups; without a stream it is as Report.
func (c *Client) ReportRoles(roles []*sb.GatewayRole) { c.out.reportRoles(roles) }

// Run joins if need be, and keeps the stream until ctx ends; then it returns nil. The error is for what trying again
// cannot mend: no certificate and no token, a token that the server refuses, files that cannot be read or written.
func (c *Client) Run(ctx context.Context) error {
	if err := c.stayJoined(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("joining as %s: %w", c.opts.Host, err)
	}
	var renewing sync.WaitGroup
	renewing.Go(func() { c.renew(ctx) })
	defer renewing.Wait()

	retry := backoff{}
	for ctx.Err() == nil {
		upSince, err := c.session(ctx)
		if ctx.Err() != nil {
			break
		}
		up := !upSince.IsZero()
		if up && time.Since(upSince) >= steady {
			retry = backoff{}
		}
		if up || retry.attempts == 0 {
			c.opts.Logger.Warn("no stream to the server, trying again", "server", c.opts.Server, "error", err)
		}
		if sleep(ctx, retry.pause(err)) != nil {
			break
		}
	}
	return nil
}

// refused says whether err is the server's no, and not a server that cannot be reached.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.OK:
		return false
	}
	return true
}

// backoff is how long to wait between attempts.
type backoff struct{ attempts int }

// pause is the time to wait after a failure. It is random in part: many agents lose a server at the same moment, and must
// not come back all at once.
func (b *backoff) pause(failure error) time.Duration {
	if status.Code(failure) == codes.Aborted {
		return replacedFirst + rand.N(replacedLast-replacedFirst)
	}
	limit := lastPause
	if refused(failure) {
		limit = refusedPause
	}
	pause := min(firstPause<<min(b.attempts, 20), limit)
	b.attempts++
	return pause/2 + rand.N(pause/2+1)
}

// sleep waits; the error is that of ctx if it ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial makes a connection to the server, lazily.
func (c *Client) dial(creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	// The address is given to the dialer as it is, and no proxy of the environment is asked.
	return grpc.NewClient("passthrough:///"+c.opts.Server,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			return d.DialContext(ctx, "tcp", address)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithReadBufferSize(8<<10),
	)
}

// session holds one stream, and says since when it was up; the zero time if it never was.
func (c *Client) session(ctx context.Context) (upSince time.Time, err error) {
	creds, err := c.identity.credentials()
	if err != nil {
		return upSince, err
	}
	conn, err := c.dial(creds)
	if err != nil {
		return upSince, err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := sb.NewSouthboundClient(conn).Connect(ctx)
	if err != nil {
		return upSince, err
	}
	hello, undisclosed := helloWithin(c.opts.Hello(), maxDigest)
	if err := stream.Send(&sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: hello}}); err != nil {
		_, err = stream.Recv() // the reason
		return upSince, err
	}

	in := inbox{undisclosed: undisclosed}
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	for {
		m, err := stream.Recv()
		if err != nil {
			return upSince, err
		}
		if upSince.IsZero() {
			upSince = time.Now()
			c.out.open()
			c.connected.Store(true)
			defer c.connected.Store(false)
			defer c.out.close()
			sending.Go(func() { c.send(ctx, stream) })
			c.opts.Logger.Info("connected to the server", "server", c.opts.Server)
			c.opts.OnConnect()
			defer c.opts.OnDisconnect()
		}
		if b := m.GetBatch(); b != nil && in.add(b) {
			c.opts.OnBatch(in.put, in.del, b.GetRevision(), b.GetFull())
			in = inbox{}
		}
	}
}

// helloWithin returns the hello to send. A digest that would not fit a message is left out whole: the server then sends
// everything. It cannot say what is to be deleted then, so that is worked out here, from the keys returned.
func helloWithin(hello *sb.Hello, limit int) (*sb.Hello, map[string]bool) {
	if len(hello.GetHave()) <= limit {
		return hello, nil
	}
	undisclosed := make(map[string]bool, len(hello.Have))
	for _, d := range hello.Have {
		undisclosed[d.GetKey()] = true
	}
	hello.Have = nil
	return hello, undisclosed
}

// inbox puts the messages of a batch together.
type inbox struct {
	put         []*sb.Document
	del         []string
	undisclosed map[string]bool
}

// add takes a message and says whether the batch is whole with it.
func (in *inbox) add(b *sb.Batch) (whole bool) {
	in.put = append(in.put, b.GetPut()...)
	in.del = append(in.del, b.GetDelete()...)
	if !b.GetLast() {
		return false
	}
	if b.GetFull() {
		for _, d := range in.put {
			delete(in.undisclosed, d.GetKey())
		}
		for key := range in.undisclosed {
			in.del = append(in.del, key)
		}
	}
	return true
}

// send sends what is in the outbox, and heartbeats, until ctx ends or the stream fails; then the receiver notices, too.
func (c *Client) send(ctx context.Context, stream sb.Southbound_ConnectClient) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var messages []*sb.FromAgent
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			messages = []*sb.FromAgent{{Message: &sb.FromAgent_Heartbeat{Heartbeat: &sb.Heartbeat{}}}}
		case <-c.out.wake:
			messages = c.out.take()
		}
		for _, m := range messages {
			if stream.Send(m) != nil {
				return
			}
		}
	}
}
