package pki

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The files of the authority in DATA/pki.
const (
	keyFile         = "ca.key"
	certificateFile = "ca.crt"
)

// load reads the authority's files and makes those that are missing: first the key, then the certificate of that key.
func (a *Authority) load(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := readOrCreate(filepath.Join(dir, keyFile), 0o600, func() ([]byte, error) {
		// A certificate without its key is what is left of an authority whose key was lost. A new key must not take
		// its place silently: all hosts would be cut off.
		if _, err := os.Stat(filepath.Join(dir, certificateFile)); err == nil {
			return nil, fmt.Errorf("%s is there but %s is missing: put it back from a backup", certificateFile, keyFile)
		}
		key, err := NewKey()
		if err != nil {
			return nil, err
		}
		return EncodeKey(key)
	})
	if err != nil {
		return err
	}
	if a.key, err = DecodeKey(text); err != nil {
		return fmt.Errorf("reading %s: %w", keyFile, err)
	}
	if text, err = readOrCreate(filepath.Join(dir, certificateFile), 0o644, a.selfSign); err != nil {
		return err
	}
	if a.certificate, err = DecodeCertificate(text); err != nil {
		return fmt.Errorf("reading %s: %w", certificateFile, err)
	}
	if !a.key.PublicKey.Equal(a.certificate.PublicKey) {
		return fmt.Errorf("%s and %s do not belong together", keyFile, certificateFile)
	}
	a.tokenKey, err = deriveTokenKey(a)
	return err
}

// deriveTokenKey derives the key that signs tokens, so that there is one secret to keep and to back up.
func deriveTokenKey(a *Authority) ([]byte, error) {
	secret, err := a.key.Bytes()
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, secret, a.certificate.Raw, "neutrino join token", sha256.Size)
}

func (a *Authority) selfSign() ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := a.opts.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Neutrino cluster authority"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return EncodeCertificate(der), nil
}

// readOrCreate returns the content of the file; a missing one is made whole or not at all, and never replaces one that
// another process has made meanwhile.
func readOrCreate(path string, mode fs.FileMode, content func() ([]byte, error)) ([]byte, error) {
	text, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = content(); err != nil {
		return nil, err
	}
	temporary, err := writeTemporary(path, text, mode)
	if err != nil {
		return nil, err
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// WriteFile replaces the file whole or not at all, and returns when it is on the disk.
func WriteFile(path string, text []byte, mode fs.FileMode) error {
	temporary, err := writeTemporary(path, text, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeTemporary(path string, text []byte, mode fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(text); err != nil {
		return "", err
	}
	if err = f.Chmod(mode); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ServerTLS returns how the server presents itself and checks its clients: TLS 1.3, a certificate for ServerName and
// for the names (addresses and host names at which it listens), and client certificates of this authority only. A
// client may come without one, since it has to join first; what such a client may call is the caller's to decide.
func (a *Authority) ServerTLS(names []string) (*tls.Config, error) {
	s := &serverCertificate{authority: a, names: names}
	if _, err := s.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: s.get,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      a.Pool(),
	}, nil
}

// serverCertificate makes the server's certificate, and a new one when two thirds of its time are over: it lives in
// memory only, and a server may run for years.
type serverCertificate struct {
	authority *Authority
	names     []string

	mu      sync.Mutex
	current *tls.Certificate
	renewAt time.Time
}

func (s *serverCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.opts.Now()
	if s.current != nil && now.Before(s.renewAt) {
		return s.current, nil
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	dns, ips := addresses(s.names)
	der, err := s.authority.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: ServerName},
		DNSNames:    append([]string{ServerName}, dns...),
		IPAddresses: ips,
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(hostLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return nil, fmt.Errorf("signing the server's certificate: %w", err)
	}
	// The authority's certificate goes with it: an agent that joins knows only its hash.
	s.current = &tls.Certificate{Certificate: [][]byte{der, s.authority.certificate.Raw}, PrivateKey: key}
	s.renewAt = now.Add(hostLifetime * 2 / 3)
	return s.current, nil
}
