// Package pki is the cluster's own certificate authority, and the tokens with which hosts join.
//
// Trust starts from one secret: the key of the authority, in DATA/pki on the server, made at first start. From it come
//   - the server's certificate, made anew at each start, under the name ServerName;
//   - one certificate a host, which carries the host's name (HostOf) and is good for clients only, so that a captured
//     host can pass for nothing but itself: neither for another host nor for the server;
//   - join tokens (token.go), signed with a key derived from the authority's. A token says for which host and how long
//     it is good, and the hash of the authority's certificate, by which the agent knows the server at first contact.
//
// The package imports the standard library only; server, agent and the command line share it. That a token is used once
// is not its business: the server keeps that in the state (package southbound).
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// ServerName is the name in the server's certificate. Agents ask for this name whatever address they dial.
const ServerName = "neutrino-server"

const (
	authorityLifetime = 20 * 365 * 24 * time.Hour
	hostLifetime      = 365 * 24 * time.Hour
	// skew is how far the clocks of server and hosts may be apart.
	skew = 5 * time.Minute

	uriScheme = "neutrino"
	uriHost   = "host"
)

// Options configure an Authority. The zero value is right for production.
type Options struct {
	// HostLifetime is how long a certificate of a host is good; default 1 year.
	HostLifetime time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Authority signs certificates and tokens. It is safe for concurrent use.
type Authority struct {
	opts        Options
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	tokenKey    []byte
}

// Open reads the authority in dataDir/pki, and makes it if there is none. Several processes may do so at once (a server
// that starts while `neutrino token create` runs): they end up with the same one.
func Open(dataDir string, opts Options) (*Authority, error) {
	if opts.HostLifetime == 0 {
		opts.HostLifetime = hostLifetime
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	a := &Authority{opts: opts}
	dir := filepath.Join(dataDir, "pki")
	if err := a.load(dir); err != nil {
		return nil, fmt.Errorf("opening the certificate authority in %s: %w", dir, err)
	}
	return a, nil
}

// Certificate returns the certificate of the authority.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// CertificatePEM returns the certificate of the authority in PEM.
func (a *Authority) CertificatePEM() []byte { return EncodeCertificate(a.certificate.Raw) }

// Pool returns the authority as the only root to trust.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// SignHost makes a client certificate (in PEM) for the host and its public key.
func (a *Authority) SignHost(host string, public crypto.PublicKey) ([]byte, error) {
	if err := ValidateHost(host); err != nil {
		return nil, err
	}
	switch public.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("a key of type %T is not accepted: ECDSA or Ed25519 is", public)
	}
	now := a.opts.Now()
	der, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName(host)},
		URIs:        []*url.URL{{Scheme: uriScheme, Host: uriHost, Path: "/" + host}},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(a.opts.HostLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, public)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for host %s: %w", host, err)
	}
	return EncodeCertificate(der), nil
}

// commonName is the host's name as the subject; X.509 allows 64 characters there. The name that counts is in the URI.
func commonName(host string) string { return host[:min(len(host), 64)] }

func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
}

// HostOf returns the name of the host that a verified client certificate was made for.
func HostOf(certificate *x509.Certificate) (string, error) {
	if len(certificate.URIs) != 1 {
		return "", errors.New("the certificate is not one of a host")
	}
	u := certificate.URIs[0]
	host, ok := strings.CutPrefix(u.Path, "/")
	if !ok || u.Scheme != uriScheme || u.Host != uriHost || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the certificate is not one of a host")
	}
	if err := ValidateHost(host); err != nil {
		return "", err
	}
	if certificate.Subject.CommonName != commonName(host) {
		return "", errors.New("the certificate names two hosts")
	}
	return host, nil
}

// ValidateHost says what is wrong with the name of a host: it has to be one of RFC 1123 (labels of 1 to 63 letters,
// digits and hyphens, no hyphen at the ends, joined by dots), at most 253 characters long.
func ValidateHost(host string) error {
	if host == "" || len(host) > 253 {
		return errors.New("the name of a host has 1 to 253 characters")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%q is no host name: its labels have 1 to 63 characters, no hyphen at the ends", host)
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return fmt.Errorf("%q is no host name: it has characters other than letters, digits, hyphens and dots", host)
			}
		}
	}
	return nil
}

// NewKey makes the key of a server or host: ECDSA P-256.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// Request makes the certificate request (PKCS #10, DER) by which a host shows its public key and that it has the other
// half.
func Request(key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// RequestedKey returns the public key of a certificate request. Nothing else of it is used.
func RequestedKey(der []byte) (crypto.PublicKey, error) {
	if len(der) > 8<<10 {
		return nil, errors.New("the certificate request is too large")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking the certificate request: %w", err)
	}
	return csr.PublicKey, nil
}

// Fingerprint is the SHA-256 hash by which a certificate, or a public key in PKIX form, is recognised.
func Fingerprint(der []byte) [sha256.Size]byte { return sha256.Sum256(der) }

// EncodeCertificate returns the certificate in PEM.
func EncodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// DecodeCertificate reads one certificate in PEM.
func DecodeCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("there is no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// EncodeKey returns the private key in PEM (PKCS #8).
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// DecodeKey reads a private key that EncodeKey wrote.
func DecodeKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("there is no private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the private key is a %T, not ECDSA", key)
	}
	return ec, nil
}

// addresses splits names into DNS names and IP addresses, as certificates tell them apart.
func addresses(names []string) (dns []string, ips []net.IP) {
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else if ValidateHost(n) == nil {
			dns = append(dns, n)
		}
	}
	return dns, ips
}
