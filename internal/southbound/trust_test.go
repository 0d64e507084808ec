package southbound_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// TestCertificateOfAHostReadsAndReportsNothingOfAnother is what a captured host must not be able to do. Host A has a
// port on the network net; host B has one there, too, and one on a network where A has none.
func TestCertificateOfAHostReadsAndReportsNothingOfAnother(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("a", "b")
	c.port("port-a", "a", mac(1))
	c.port("port-b", "b", mac(2))
	c.update(func(tx *state.Tx) {
		n, _ := state.Networks.Get(tx, "net")
		secret := n.Clone()
		secret.ID = "secret"
		state.Networks.Put(tx, secret)
		p, _ := state.Ports.Get(tx, "port-b")
		hidden := p.Clone()
		hidden.ID, hidden.NetworkID = "port-hidden", "secret"
		state.Ports.Put(tx, hidden)
	})
	allowed := []string{"neighbour/port-b", "port/port-a", "segment/net"}

	// The digest asks for B's documents, by claiming old versions of them.
	stream, err := c.raw(certificate(t, c.authority, "a")).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := &sb.Hello{}
	for _, key := range []string{"port/port-b", "port/port-hidden", "neighbour/port-hidden", "segment/secret"} {
		hello.Have = append(hello.Have, &sb.Digest{Key: key, Hash: 1})
	}
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: hello}})
	keys := func() (put []string) {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range m.GetBatch().GetPut() {
			put = append(put, d.Key)
		}
		slices.Sort(put)
		return put
	}
	if got := keys(); !slices.Equal(got, allowed) {
		t.Errorf("a was sent %q", got)
	}

	// Changes of B's ports reach A only as its neighbour.
	c.update(func(tx *state.Tx) {
		for _, id := range []string{"port-b", "port-hidden"} {
			p, _ := state.Ports.Get(tx, id)
			p = p.Clone()
			p.MAC = mac(7)
			state.Ports.Put(tx, p)
		}
	})
	if got := keys(); !slices.Equal(got, []string{"neighbour/port-b"}) {
		t.Errorf("a was sent %q of the change", got)
	}

	// Reports on B's documents are dropped and counted; the one on A's own arrives.
	report := &sb.Report{}
	for _, key := range []string{
		"port/port-b", "port/port-hidden", "segment/secret", "dhcp-host/port-b", "nonsense", "port/port-a",
	} {
		report.Statuses = append(report.Statuses, &sb.ObjectStatus{Key: key, State: sb.ObjectStatus_STATE_DONE})
	}
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Report{Report: report}})
	eventually(t, "the report on a's port", func() bool { _, ok := c.reporter.status("a", "port/port-a"); return ok })
	c.reporter.mu.Lock()
	defer c.reporter.mu.Unlock()
	if len(c.reporter.statuses["a"]) != 1 || len(c.reporter.statuses["b"]) != 0 {
		t.Errorf("recorded: %v", c.reporter.statuses)
	}
	if got := c.metric("neutrino_southbound_reports_dropped_total"); got != 5 {
		t.Errorf("%v reports were counted as dropped", got)
	}
}

func request(t *testing.T) []byte {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestRenewKeepsTheName(t *testing.T) {
	c := newCluster(t, pki.Options{})
	own := certificate(t, c.authority, "a")
	raw := c.raw(own)
	csr, err := pki.Request(own.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := raw.Renew(t.Context(), &sb.RenewRequest{Csr: csr})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Renew(t.Context(), &sb.RenewRequest{Csr: request(t)}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("renewing for another key: %v", err)
	}
	renewed, err := pki.DecodeCertificate(answer.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if host, err := pki.HostOf(renewed); err != nil || host != "a" {
		t.Errorf("the certificate is for %q, %v", host, err)
	}
}

func TestCallsNeedACertificateOfThisCluster(t *testing.T) {
	c := newCluster(t, pki.Options{})
	other, err := pki.Open(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	expired, err := pki.Open(c.dir, pki.Options{
		Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }, HostLifetime: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name         string
		certificates []tls.Certificate
		want         codes.Code
	}{
		{"no certificate", nil, codes.Unauthenticated},
		// The handshake fails.
		{"of another authority", []tls.Certificate{certificate(t, other, "a")}, codes.Unavailable},
		{"expired", []tls.Certificate{certificate(t, expired, "a")}, codes.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := c.raw(tc.certificates...)
			stream, err := raw.Connect(t.Context())
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != tc.want {
				t.Errorf("Connect: %v", err)
			}
			if _, err := raw.Renew(t.Context(), &sb.RenewRequest{Csr: request(t)}); status.Code(err) != tc.want {
				t.Errorf("Renew: %v", err)
			}
		})
	}
}

func TestJoinRefuses(t *testing.T) {
	c := newCluster(t, pki.Options{})
	past, err := pki.Open(c.dir, pki.Options{Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	expired, err := past.Mint("a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.Open(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Mint("a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	used := c.token("a")
	raw := c.raw()
	first := request(t)
	if _, err := raw.Join(t.Context(), &sb.JoinRequest{Token: used, Csr: first, Host: "a"}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name        string
		token, host string
		csr         []byte
		want        codes.Code
	}{
		{"no token", "", "a", request(t), codes.Unauthenticated},
		{"a token of another cluster", foreign, "a", request(t), codes.Unauthenticated},
		{"an expired token", expired, "a", request(t), codes.Unauthenticated},
		{"another host's token", c.token("b"), "a", request(t), codes.PermissionDenied},
		{"a used token", used, "a", request(t), codes.PermissionDenied},
		{"the answer was lost: the same key again", used, "a", first, codes.OK},
		{"no certificate request", c.token("a"), "a", nil, codes.InvalidArgument},
		{"a large certificate request", c.token("a"), "a", make([]byte, 1<<20), codes.InvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := raw.Join(t.Context(), &sb.JoinRequest{Token: tc.token, Csr: tc.csr, Host: tc.host})
			if status.Code(err) != tc.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestConcurrentUseOfATokenSucceedsOnce(t *testing.T) {
	c := newCluster(t, pki.Options{})
	token := c.token("a")
	raw := c.raw()
	results := make(chan error, 8)
	for range cap(results) {
		csr := request(t)
		go func() {
			_, err := raw.Join(context.Background(), &sb.JoinRequest{Token: token, Csr: csr, Host: "a"})
			results <- err
		}()
	}
	accepted := 0
	for range cap(results) {
		if err := <-results; err == nil {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("the token was accepted %d times", accepted)
	}
}

func TestUsedTokensAreForgottenAfterTheirTime(t *testing.T) {
	now := time.Now().Add(-48 * time.Hour)
	c := newCluster(t, pki.Options{Now: func() time.Time { return now }})
	raw := c.raw()
	join := func(token string) {
		t.Helper()
		if _, err := raw.Join(t.Context(), &sb.JoinRequest{Token: token, Csr: request(t), Host: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	join(c.token("a")) // expires 47 hours ago, by the clock of the state
	if n := state.UsedTokens.Len(c.store.Read()); n != 1 {
		t.Fatalf("%d used tokens", n)
	}
	join(c.token("a"))
	if n := state.UsedTokens.Len(c.store.Read()); n != 1 {
		t.Errorf("%d used tokens: the expired one is kept", n)
	}
}

func TestBoundsOfHelloAndReports(t *testing.T) {
	c := newCluster(t, pki.Options{})
	long := strings.Repeat("k", 300)
	for name, hello := range map[string]*sb.Hello{
		"digest":       {Have: slices.Repeat([]*sb.Digest{{Key: "k"}}, 65_537)},
		"key":          {Have: []*sb.Digest{{Key: long}}},
		"version":      {Version: long},
		"roles":        {Roles: slices.Repeat([]string{"l2"}, 33)},
		"mapping":      {BridgeMappings: map[string]string{"p": long}},
		"tunnel types": {TunnelTypes: []string{long}},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := c.raw(certificate(t, c.authority, "a")).Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: hello}})
			if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
		})
	}
	for name, m := range map[string]*sb.FromAgent{
		"a second hello": {Message: &sb.FromAgent_Hello{Hello: &sb.Hello{}}},
		"a large report": {Message: &sb.FromAgent_Report{Report: &sb.Report{
			Statuses: slices.Repeat([]*sb.ObjectStatus{{Key: "k"}}, 10_001),
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			stream := c.stream("a")
			say(t, stream, m)
			if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAgentFilesAndRestartWithoutToken(t *testing.T) {
	c := newCluster(t, pki.Options{})
	a := c.startAgent("a", "", c.token("a"))
	eventually(t, "the stream", a.Connected)
	info, err := os.Stat(filepath.Join(a.dir, "host.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("host.key: %v, %v", info, err)
	}
	a.stop()
	c.run(a, "")
	eventually(t, "the stream without a token", a.Connected)
	a.stop()

	// The same directory with the token of a cluster made anew: the agent joins that one.
	anew := newCluster(t, pki.Options{})
	anew.run(a, anew.token("a"))
	eventually(t, "the stream to the new cluster", a.Connected)
}

func TestAgentSaysWhyItCannotJoin(t *testing.T) {
	c := newCluster(t, pki.Options{})
	used := c.token("a")
	eventually(t, "the stream", c.startAgent("a", "", used).Connected)
	for name, tc := range map[string]struct{ token, want string }{
		"used":           {used, "has been used"},
		"no token":       {"", "neutrino token create"},
		"another host's": {c.token("b"), "for host b"},
		"nonsense":       {"x", "not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			late := c.startAgent("a", "", tc.token)
			eventually(t, "the error", func() bool { return late.runError() != nil })
			if got := late.runError().Error(); !strings.Contains(got, tc.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestAgentWaitsForTheServerToJoin(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.stop()
	a := c.startAgent("a", "", c.token("a"))
	c.start()
	eventually(t, "the stream", a.Connected)
}

func TestAgentRenewsItsCertificate(t *testing.T) {
	// Certificates count from five minutes ago, so these are beyond two thirds of their time from the start.
	c := newCluster(t, pki.Options{HostLifetime: time.Minute})
	a := c.startAgent("a", "", c.token("a"))
	eventually(t, "the stream", a.Connected)
	serial := func() string {
		text, err := os.ReadFile(filepath.Join(a.dir, "host.crt"))
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := pki.DecodeCertificate(text)
		if err != nil {
			t.Fatal(err)
		}
		return certificate.SerialNumber.String()
	}
	first := serial()
	// The first renewal may have happened already; another start brings another.
	a.stop()
	c.run(a, "")
	eventually(t, "another certificate", func() bool { return serial() != first })
}

// A host that is set up anew joins with a new key; whoever has the old one is shut out. So is a host that was removed.
func TestOldKeysAreGoodForNothing(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("a", "b")
	old := c.startAgent("a", "", c.token("a"))
	eventually(t, "the first stream", old.Connected)
	again := c.startAgent("a", "", c.token("a"))
	eventually(t, "the stream with the new key", again.Connected)
	eventually(t, "the old key to be refused", func() bool { return !old.Connected() })

	there, err := c.server.Remove(t.Context(), "a")
	if err != nil || !there {
		t.Fatalf("removing the host: %v %v", there, err)
	}
	eventually(t, "the stream of the removed host to end", func() bool { return !again.Connected() })
	if there, _ := c.server.Remove(t.Context(), "a"); there {
		t.Error("the host was removed twice")
	}
}

// A captured compute host must not make itself a DHCP server of other people's networks.
func TestAHostPlaysOnlyTheRolesOfItsToken(t *testing.T) {
	c := newCluster(t, pki.Options{})
	token, err := c.authority.Mint("a", time.Hour, "l2")
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := c.raw().Join(t.Context(), &sb.JoinRequest{Token: token, Csr: csr, Host: "a"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.DecodeCertificate(joined.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	raw := c.raw(tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key})
	for roles, want := range map[string]codes.Code{"l2": codes.OK, "dhcp": codes.PermissionDenied, "l2,dhcp": codes.PermissionDenied} {
		stream, err := raw.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hello := &sb.Hello{Roles: strings.Split(roles, ",")}
		if err := stream.Send(&sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: hello}}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != want {
			t.Errorf("roles %s: %v, want %v", roles, err, want)
		}
	}
}

// A host of one gateway group cannot say who is active in another, nor in its own for a group without routers.
func TestAHostReportsRolesInItsOwnGroupsOnly(t *testing.T) {
	c := newCluster(t, pki.Options{})
	c.network("a", "b")
	c.update(func(tx *state.Tx) {
		for id, hosts := range map[string][]string{"1": {"a", "b"}, "2": {"b"}, "3": {"a", "b"}} {
			state.GatewayGroups.Put(tx, &model.GatewayGroup{Meta: model.Meta{ID: id}, Hosts: hosts})
		}
		for _, id := range []string{"1", "2"} {
			p := &model.Port{Meta: model.Meta{ID: "leg-" + id}, NetworkID: "net", Binding: model.Binding{
				VIFType: model.VIFBridge, GatewayGroup: id,
			}}
			state.Ports.Put(tx, p)
		}
	})
	stream, err := c.raw(certificate(t, c.authority, "a")).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: &sb.Hello{}}})
	claim := &sb.GatewayClaim{Epoch: 1, Host: "a"}
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Report{Report: &sb.Report{Roles: []*sb.GatewayRole{
		{Group: 2, Active: true, Claim: claim}, {Group: 3, Active: true, Claim: claim}, {Group: 9, Claim: claim}, {Group: 1},
		{Group: 1, Active: true, Claim: &sb.GatewayClaim{Epoch: 7, Host: strings.Repeat("x", 1000)}},
		{Group: 1, Active: true, Claim: claim},
	}}}})
	eventually(t, "the role", func() bool {
		c.reporter.mu.Lock()
		defer c.reporter.mu.Unlock()
		return len(c.reporter.roles) > 0
	})
	c.reporter.mu.Lock()
	defer c.reporter.mu.Unlock()
	if want := []string{"a: 1 a/1"}; !slices.Equal(c.reporter.roles, want) {
		t.Errorf("taken: %v, want %v", c.reporter.roles, want)
	}
}

func TestAReportOfTooManyRolesEndsTheStream(t *testing.T) {
	c := newCluster(t, pki.Options{})
	stream, err := c.raw(certificate(t, c.authority, "a")).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Hello{Hello: &sb.Hello{}}})
	say(t, stream, &sb.FromAgent{Message: &sb.FromAgent_Report{Report: &sb.Report{Roles: make([]*sb.GatewayRole, 256)}}})
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("the stream ends with %v", err)
	}
}
