package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/pki"
)

func openAuthority(t *testing.T, dir string, opts pki.Options) *pki.Authority {
	t.Helper()
	a, err := pki.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenMakesOneAuthorityWhoeverIsFirst(t *testing.T) {
	dir := t.TempDir()
	prints := make([][32]byte, 8)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			if a, err := pki.Open(dir, pki.Options{}); err != nil {
				t.Error(err)
			} else {
				prints[i] = pki.Fingerprint(a.Certificate().Raw)
			}
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] {
			t.Fatal("two processes made two authorities")
		}
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, "ca.key": 0o600, "ca.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, "pki", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%q has mode %o, not %o", name, info.Mode().Perm(), mode)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "pki")); err != nil || len(files) != 2 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func TestOpenRefusesToReplaceALostKey(t *testing.T) {
	dir := t.TempDir()
	openAuthority(t, dir, pki.Options{})
	if err := os.Remove(filepath.Join(dir, "pki", "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(dir, pki.Options{}); err == nil {
		t.Error("a new key was made for the certificate of the lost one")
	}
}

func hostCertificate(t *testing.T, a *pki.Authority, host string) tls.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.SignHost(host, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pki.DecodeCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{certificate.Raw, a.Certificate().Raw}, PrivateKey: key}
}

// handshake runs a handshake over loopback and returns what both sides said, and whom the server saw.
func handshake(t *testing.T, server, client *tls.Config) (host string, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer c.Close()
		conn := tls.Server(c, server)
		if serverErr = conn.Handshake(); serverErr != nil {
			return
		}
		if chains := conn.ConnectionState().VerifiedChains; len(chains) > 0 {
			host, serverErr = pki.HostOf(chains[0][0])
		}
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		clientErr = err
	} else {
		conn.Close()
	}
	<-done
	return host, serverErr, clientErr
}

func TestHandshakes(t *testing.T) {
	ours, theirs := openAuthority(t, t.TempDir(), pki.Options{}), openAuthority(t, t.TempDir(), pki.Options{})
	server, err := ours.ServerTLS([]string{"127.0.0.1", "control"})
	if err != nil {
		t.Fatal(err)
	}
	host := hostCertificate(t, ours, "compute1")
	captured := &tls.Config{Certificates: []tls.Certificate{host}}
	token := func(a *pki.Authority) *tls.Config {
		text, err := a.Mint("compute1", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		token, err := pki.ReadToken(text)
		if err != nil {
			t.Fatal(err)
		}
		return token.FirstContactTLS()
	}
	with := func(a *pki.Authority, certificates ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: a.Pool(), ServerName: pki.ServerName, Certificates: certificates}
	}
	for _, tc := range []struct {
		name                 string
		server, client       *tls.Config
		host                 string
		serverOK, clientSees bool
	}{
		{"a host with its certificate", server, with(ours, host), "compute1", true, true},
		{"nobody", server, with(ours), "", true, true},
		{"first contact with the token's cluster", server, token(ours), "", true, true},
		{"first contact with another cluster", server, token(theirs), "", false, false},
		{"a host of another cluster", server, with(ours, hostCertificate(t, theirs, "compute1")), "", false, true},
		{"a host that trusts another cluster", server, with(theirs, host), "", false, false},
		{"a host that plays the server", captured, with(ours), "", false, false},
		{"a host that plays the server at first contact", captured, token(ours), "", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, serverErr, clientErr := handshake(t, tc.server, tc.client)
			if got != tc.host || (serverErr == nil) != tc.serverOK || (clientErr == nil) != tc.clientSees {
				t.Errorf("host %q, server: %v, client: %v", got, serverErr, clientErr)
			}
		})
	}
}

func TestServerCertificateIsNoHost(t *testing.T) {
	a := openAuthority(t, t.TempDir(), pki.Options{})
	server, err := a.ServerTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := server.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, serverErr, _ := handshake(t, server, &tls.Config{
		RootCAs: a.Pool(), ServerName: pki.ServerName, Certificates: []tls.Certificate{*certificate},
	})
	if serverErr == nil {
		t.Error("the server's certificate is accepted as a client's")
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if host, err := pki.HostOf(leaf); err == nil {
		t.Errorf("the server's certificate names the host %q", host)
	}
}

func TestServerCertificateIsRenewed(t *testing.T) {
	now := time.Now()
	a := openAuthority(t, t.TempDir(), pki.Options{Now: func() time.Time { return now }})
	server, err := a.ServerTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := server.GetCertificate(nil)
	if again, _ := server.GetCertificate(nil); again != first {
		t.Error("a new certificate for each connection")
	}
	now = now.Add(300 * 24 * time.Hour)
	if again, _ := server.GetCertificate(nil); again == first {
		t.Error("the certificate of a server that runs for 300 days is not renewed")
	}
}

func TestSignHostRefuses(t *testing.T) {
	a := openAuthority(t, t.TempDir(), pki.Options{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.SignHost("a/b", key.Public()); err == nil {
		t.Error("a host name with a slash is accepted")
	}
	if _, err := a.SignHost("a", &rsa.PublicKey{}); err == nil {
		t.Error("an RSA key is accepted")
	}
}

func TestValidateHost(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, host := range []string{"a", "Compute-1", "compute1.example.org", "1", long + "." + long} {
		if err := pki.ValidateHost(host); err != nil {
			t.Error(err)
		}
	}
	for _, host := range []string{
		"", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a/b", "a\x00", "a\nb", "é", "@", "[", "`", "{",
		long + "a",
		strings.Repeat(long+".", 4) + "a",
	} {
		if pki.ValidateHost(host) == nil {
			t.Errorf("%q is accepted", host)
		}
	}
}

func TestLongHostNamesSurvive(t *testing.T) {
	a := openAuthority(t, t.TempDir(), pki.Options{})
	host := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63)
	leaf, err := x509.ParseCertificate(hostCertificate(t, a, host).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pki.HostOf(leaf); err != nil || got != host {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTokens(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	a := openAuthority(t, dir, pki.Options{Now: func() time.Time { return now }})
	other := openAuthority(t, t.TempDir(), pki.Options{})
	good, err := pki.Mint(dir, "compute1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Mint("compute1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// The payload of one token with the signature of another.
	second, err := a.Mint("compute2", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, mac, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(second, ".")

	token, err := a.Verify(good + "\n")
	if err != nil || token.Host != "compute1" {
		t.Errorf("a good token: %+v, %v", token, err)
	}
	for name, text := range map[string]string{
		"empty": "", "no signature": payload, "another's signature": payload + "." + mac,
		"another cluster": foreign,
		"not base64":      "?.?", "not JSON": "AAAA.AAAA", "too long": strings.Repeat("A", 3000) + ".AAAA",
	} {
		if _, err := a.Verify(text); !errors.Is(err, pki.ErrTokenInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	now = now.Add(time.Hour)
	if _, err := a.Verify(good); !errors.Is(err, pki.ErrTokenExpired) {
		t.Errorf("after its time: %v", err)
	}
	for _, ttl := range []time.Duration{0, -1, pki.MaxTokenTTL + 1} {
		if _, err := a.Mint("compute1", ttl); err == nil {
			t.Errorf("a token for %s is made", ttl)
		}
	}
	if _, err := a.Mint("compute1;reboot", time.Hour); err == nil {
		t.Error("a token for a bad name is made")
	}
}

func FuzzReadToken(f *testing.F) {
	f.Add("eyJ2IjoxfQ.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := pki.ReadToken(text); err == nil && pki.ValidateHost(token.Host) != nil {
			t.Errorf("a token for the host %q was read", token.Host)
		}
	})
}
