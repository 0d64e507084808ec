package southbound_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/southbound"
	"github.com/neutrino-net/neutrino/internal/southbound/client"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// memoryLog is a state.Log that keeps nothing: a store in memory.
type memoryLog struct{ revision int64 }

func (l *memoryLog) Load(context.Context, func(state.Entry) error) (int64, error) {
	return l.revision, nil
}

func (l *memoryLog) Append(context.Context, []state.Entry) (int64, error) {
	l.revision++
	return l.revision, nil
}

// recorder is a Reporter that remembers.
type recorder struct {
	mu       sync.Mutex
	hellos   map[string][]*sb.Hello
	statuses map[string]map[string]southbound.Status
	// roles are those reported, as in "host1: 7 host2/5".
	roles []string
	calls int
	// failures are returned by the next calls of either method, one each.
	failures []error
}

func (r *recorder) fail() error {
	if len(r.failures) == 0 {
		return nil
	}
	err := r.failures[0]
	r.failures = r.failures[1:]
	return err
}

func (r *recorder) failNext(errs ...error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = errs
}

func (r *recorder) AgentConnected(_ context.Context, host string, hello *sb.Hello) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fail(); err != nil {
		return err
	}
	r.hellos[host] = append(r.hellos[host], hello)
	return nil
}

func (r *recorder) Reported(_ context.Context, host string, report southbound.Report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if err := r.fail(); err != nil {
		return err
	}
	if r.statuses[host] == nil {
		r.statuses[host] = map[string]southbound.Status{}
	}
	for _, s := range report.Statuses {
		r.statuses[host][s.Key] = s
	}
	for _, role := range report.Roles {
		r.roles = append(r.roles, fmt.Sprintf("%s: %d %s/%d", host, role.Group, role.Claim.GetHost(), role.Claim.GetEpoch()))
	}
	return nil
}

func (r *recorder) status(host, key string) (southbound.Status, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.statuses[host][key]
	return s, ok
}

func (r *recorder) connects(host string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.hellos[host])
}

// cluster is a server with its state, on a loopback address that stays the same over restarts.
type cluster struct {
	t         *testing.T
	dir       string
	store     *state.Store
	authority *pki.Authority
	reporter  *recorder
	address   string
	registry  *prometheus.Registry

	server *southbound.Server
	stop   func()
}

func newCluster(t *testing.T, opts pki.Options) *cluster {
	t.Helper()
	store, err := state.Open(t.Context(), state.Options{Log: &memoryLog{}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	dir := t.TempDir()
	authority, err := pki.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		t: t, dir: dir, store: store, authority: authority, address: "127.0.0.1:0",
		reporter: &recorder{hellos: map[string][]*sb.Hello{}, statuses: map[string]map[string]southbound.Status{}},
	}
	c.start()
	t.Cleanup(func() { c.stop() })
	return c
}

var quiet = slog.New(slog.DiscardHandler)

// start starts the server; stop ends it and waits.
func (c *cluster) start() {
	c.t.Helper()
	c.registry = prometheus.NewPedanticRegistry()
	var err error
	c.server, err = southbound.NewServer(southbound.Options{
		Store: c.store, Authority: c.authority, Reporter: c.reporter, Logger: quiet, Metrics: c.registry,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := net.Listen("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.server.Serve(ctx, l); err != nil {
			c.t.Errorf("Serve: %v", err)
		}
	}()
	c.stop = func() { cancel(); <-done }
}

func (c *cluster) update(fn func(tx *state.Tx)) int64 {
	c.t.Helper()
	revision, err := c.store.Update(context.Background(), func(tx *state.Tx) error { fn(tx); return nil })
	if err != nil {
		c.t.Fatal(err)
	}
	return revision
}

// network makes the network "net" and VTEPs for the hosts.
func (c *cluster) network(hosts ...string) {
	c.update(func(tx *state.Tx) {
		state.Networks.Put(tx, &model.Network{
			Meta: model.Meta{ID: "net"}, MTU: 1450,
			Segments: []model.Segment{{ID: "seg", NetworkType: model.TypeVXLAN, SegmentationID: 7}},
		})
		for i, h := range hosts {
			state.Agents.Put(tx, &model.Agent{
				Meta: model.Meta{ID: h}, Host: h, Role: model.RoleL2,
				TunnelIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}),
			})
		}
	})
}

// port binds a port to a host; another mac changes it.
func (c *cluster) port(id, host, mac string) int64 {
	return c.update(func(tx *state.Tx) { putPort(tx, id, host, mac) })
}

func putPort(tx *state.Tx, id, host, mac string) {
	state.Ports.Put(tx, &model.Port{
		Meta: model.Meta{ID: id}, NetworkID: "net", MAC: mac, AdminStateUp: true,
		Binding: model.Binding{Host: host, VIFType: model.VIFBridge, SegmentID: "seg"},
	})
}

func (c *cluster) token(host string) string {
	c.t.Helper()
	token, err := c.authority.Mint(host, time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

func (c *cluster) hostState(host string) southbound.HostState {
	for _, h := range c.server.Hosts() {
		if h.Host == host {
			return h
		}
	}
	return southbound.HostState{}
}

// agent is a client that keeps what it is sent, and acknowledges it.
type agent struct {
	*client.Client
	host, dir string
	stop      func()
	// hold, while locked, keeps OnBatch from returning: the agent is stuck.
	hold sync.Mutex

	mu        sync.Mutex
	documents map[string]*sb.Document
	batches   []received
	connects  int
	err       error
}

type received struct {
	put, del []string
	revision int64
	full     bool
}

// startAgent runs an agent in dir (made if empty) until the test ends.
func (c *cluster) startAgent(host, dir, token string) *agent {
	c.t.Helper()
	if dir == "" {
		dir = c.t.TempDir()
	}
	a := &agent{host: host, dir: dir, documents: map[string]*sb.Document{}}
	c.run(a, token)
	return a
}

// run runs the agent with what it holds in memory.
func (c *cluster) run(a *agent, token string) {
	c.t.Helper()
	var err error
	a.Client, err = client.New(client.Options{
		Server: c.address, Token: token, Host: a.host, DataDir: a.dir, Logger: quiet,
		Hello: a.hello, OnBatch: a.onBatch,
		OnConnect: func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.connects++
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := a.Run(ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.err = err
	}()
	a.stop = func() { cancel(); <-done }
	c.t.Cleanup(a.stop)
}

func (a *agent) hello() *sb.Hello {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := &sb.Hello{Version: "test", Roles: []string{"l2"}}
	for key, d := range a.documents {
		h.Have = append(h.Have, &sb.Digest{Key: key, Hash: d.Hash})
	}
	return h
}

func (a *agent) onBatch(put []*sb.Document, del []string, revision int64, full bool) {
	a.hold.Lock()
	defer a.hold.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	r := received{revision: revision, full: full, del: del}
	for _, d := range put {
		a.documents[d.Key] = d
		r.put = append(r.put, d.Key)
	}
	for _, key := range del {
		delete(a.documents, key)
	}
	a.batches = append(a.batches, r)
	a.Ack(revision)
}

func (a *agent) has(key string) bool { return a.document(key) != nil }

func (a *agent) document(key string) *sb.Document {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.documents[key]
}

func (a *agent) received() []received {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]received(nil), a.batches...)
}

func (a *agent) runError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// stepped says whether the host has applied everything up to the revision.
func (c *cluster) stepped(host string, revision int64) func() bool {
	return func() bool { return c.hostState(host).AppliedRevision >= revision }
}

// eventually polls until ok, or fails.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, what, ok)
}

// certificate makes a host's certificate without joining.
func certificate(t *testing.T, a *pki.Authority, host string) tls.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.SignHost(host, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.DecodeCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

// raw is a client that says what it likes. The hosts of its certificates have joined with these last.
func (c *cluster) raw(certificates ...tls.Certificate) sb.SouthboundClient {
	c.t.Helper()
	for _, certificate := range certificates {
		leaf, err := x509.ParseCertificate(certificate.Certificate[0])
		if err != nil {
			c.t.Fatal(err)
		}
		host, err := pki.HostOf(leaf)
		if err != nil {
			continue
		}
		hash := pki.Fingerprint(leaf.RawSubjectPublicKeyInfo)
		c.update(func(tx *state.Tx) {
			if h, ok := state.Hosts.Get(tx, host); !ok || h.KeyHash != hex.EncodeToString(hash[:]) {
				state.Hosts.Put(tx, &model.Host{Meta: model.Meta{ID: host}, KeyHash: hex.EncodeToString(hash[:])})
			}
		})
	}
	c.t.Helper()
	conn, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		ServerName: pki.ServerName, RootCAs: c.authority.Pool(), Certificates: certificates,
	})), grpc.WithNoProxy())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return sb.NewSouthboundClient(conn)
}

// stream connects a raw client and reads the first batch.
func (c *cluster) stream(host string) sb.Southbound_ConnectClient {
	c.t.Helper()
	stream, err := c.raw(certificate(c.t, c.authority, host)).Connect(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	say(c.t, stream, &sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: &sb.Hello{}}})
	if _, err := stream.Recv(); err != nil {
		c.t.Fatal(err)
	}
	return stream
}

func say(t *testing.T, stream sb.Southbound_ConnectClient, m *sb.FromAgent) {
	t.Helper()
	if err := stream.Send(m); err != nil {
		t.Fatal(err)
	}
}

func mac(i int) string { return fmt.Sprintf("fa:16:3e:00:%02x:%02x", i>>8&255, i&255) }

// metric is the sum of a metric over its labels.
func (c *cluster) metric(name string) float64 {
	c.t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
