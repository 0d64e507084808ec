package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/pki"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The files of the host's identity. The key is made on the host and never leaves it.
const (
	keyFile         = "host.key"
	certificateFile = "host.crt"
	authorityFile   = "ca.crt"
)

// identity is the host's key and certificate on disk. They are read at each connection.
type identity struct{ dir, host, token string }

// stored is what the files hold.
type stored struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	authority   *x509.Certificate
}

// read returns fs.ErrNotExist when a file is missing.
func (i *identity) read() (stored, error) {
	var s stored
	var err error
	if s.key, err = i.readKey(); err != nil {
		return s, err
	}
	if s.certificate, err = i.readCertificate(certificateFile); err != nil {
		return s, err
	}
	s.authority, err = i.readCertificate(authorityFile)
	return s, err
}

func (i *identity) readKey() (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(filepath.Join(i.dir, keyFile))
	if err != nil {
		return nil, err
	}
	key, err := pki.DecodeKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(i.dir, keyFile), err)
	}
	return key, nil
}

func (i *identity) readCertificate(name string) (*x509.Certificate, error) {
	text, err := os.ReadFile(filepath.Join(i.dir, name))
	if err != nil {
		return nil, err
	}
	certificate, err := pki.DecodeCertificate(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(i.dir, name), err)
	}
	return certificate, nil
}

// credentials are for mutual TLS with the server.
func (i *identity) credentials() (credentials.TransportCredentials, error) {
	own, roots, err := Identity(i.dir)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   pki.ServerName,
		RootCAs:      roots,
		Certificates: []tls.Certificate{own},
	}), nil
}

// Identity returns the certificate that the host has, and the authority of its cluster, from the directory of a Client.
func Identity(dataDir string) (tls.Certificate, *x509.CertPool, error) {
	s, err := (&identity{dir: dataDir}).read()
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the host's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.authority)
	return tls.Certificate{Certificate: [][]byte{s.certificate.Raw}, PrivateKey: s.key}, roots, nil
}

// makeKey returns the host's key, and makes it if there is none. A join that is tried again uses the same one.
func (i *identity) makeKey() (*ecdsa.PrivateKey, error) {
	key, err := i.readKey()
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = pki.NewKey(); err != nil {
		return nil, err
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, pki.WriteFile(filepath.Join(i.dir, keyFile), text, 0o600)
}

// write keeps what the server has answered, after a look at whether it is what was asked for.
func (i *identity) write(key *ecdsa.PrivateKey, answer *sb.JoinResponse) error {
	certificate, err := pki.DecodeCertificate(answer.GetCertificate())
	if err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	host, err := pki.HostOf(certificate)
	if err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	if host != i.host || !key.PublicKey.Equal(certificate.PublicKey) {
		return fmt.Errorf("the server's answer is a certificate for host %s or another key", host)
	}
	if _, err := pki.DecodeCertificate(answer.GetCa()); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	if err := pki.WriteFile(filepath.Join(i.dir, authorityFile), answer.GetCa(), 0o644); err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(i.dir, certificateFile), answer.GetCertificate(), 0o644)
}

// errExpired: the host has joined, and its certificate has expired. A new token mends that, or a clock that was wrong.
var errExpired = errors.New("the host's certificate has expired: give a new token")

// joined says whether the host has a certificate that it can go on with: one for its name, of the cluster that the token
// is for, if there is a token. The error is errExpired if it had.
func (i *identity) joined(now time.Time) (bool, error) {
	s, err := i.read()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if i.token != "" {
		token, err := pki.ReadToken(i.token)
		if err != nil {
			return false, err
		}
		// The host moves to another cluster, or its cluster was made anew.
		if hash := pki.Fingerprint(s.authority.Raw); hex.EncodeToString(hash[:]) != token.Authority {
			return false, nil
		}
	}
	// A join that was interrupted leaves a new authority beside an old certificate.
	fits := s.certificate.CheckSignatureFrom(s.authority) == nil && s.key.PublicKey.Equal(s.certificate.PublicKey)
	if !fits {
		return false, nil
	}
	host, err := pki.HostOf(s.certificate)
	if err != nil {
		return false, fmt.Errorf("%s: %w", filepath.Join(i.dir, certificateFile), err)
	}
	if host != i.host {
		return false, fmt.Errorf("%s is of another agent: its certificate is for host %s", i.dir, host)
	}
	if now.After(s.certificate.NotAfter) {
		return false, errExpired
	}
	return true, nil
}

// stayJoined gets the host a certificate, unless it has one. One that has expired and cannot be replaced is no reason to
// give up: the agent has work to do for the view that it holds, and tries again now and then.
func (c *Client) stayJoined(ctx context.Context) error {
	for {
		err := c.join(ctx)
		if !errors.Is(err, errExpired) || ctx.Err() != nil {
			return err
		}
		c.opts.Logger.Error("the host goes on without a server, with what it was told last", "error", err)
		if err := sleep(ctx, expiredPause); err != nil {
			return err
		}
	}
}

// join gets the host a certificate, unless it has one. A server that cannot be reached is waited for.
func (c *Client) join(ctx context.Context) error {
	if err := os.MkdirAll(c.opts.DataDir, 0o711); err != nil {
		return err
	}
	joined, err := c.identity.joined(time.Now())
	expired := errors.Is(err, errExpired)
	if joined || err != nil && !(expired && c.opts.Token != "") {
		return err
	}
	if c.opts.Token == "" {
		return errors.New("the host has not joined yet: give the token that `neutrino token create` prints")
	}
	token, err := pki.ReadToken(c.opts.Token)
	if err != nil {
		return err
	}
	if token.Host != c.opts.Host {
		return fmt.Errorf("the token is for host %s", token.Host)
	}
	key, err := c.identity.makeKey()
	if err != nil {
		return err
	}
	csr, err := pki.Request(key)
	if err != nil {
		return err
	}
	retry := backoff{}
	for {
		var answer *sb.JoinResponse
		creds := credentials.NewTLS(token.FirstContactTLS())
		err := c.call(ctx, creds, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
			request := &sb.JoinRequest{Token: c.opts.Token, Csr: csr, Host: c.opts.Host}
			answer, err = sb.NewSouthboundClient(conn).Join(ctx, request)
			return err
		})
		if err == nil {
			c.opts.Logger.Info("joined the cluster", "host", c.opts.Host)
			return c.identity.write(key, answer)
		}
		if refused(err) || ctx.Err() != nil {
			if expired { // the token is often the one with which the host has joined, and works once
				return fmt.Errorf("%w (the one it has is refused: %s)", errExpired, status.Convert(err).Message())
			}
			return errors.New(status.Convert(err).Message())
		}
		if retry.attempts == 0 {
			c.opts.Logger.Warn("the server cannot be reached to join, trying again",
				"server", c.opts.Server, "error", err)
		}
		if sleep(ctx, retry.pause(err)) != nil {
			return ctx.Err()
		}
	}
}

// call makes one call on a connection of its own.
func (c *Client) call(ctx context.Context, creds credentials.TransportCredentials,
	do func(context.Context, *grpc.ClientConn) error) error {
	conn, err := c.dial(creds)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return do(ctx, conn)
}

// renew gets a new certificate whenever two thirds of the present one's lifetime are over, for the same key. The stream
// that is up goes on with the old one until that expires, and is then made anew.
func (c *Client) renew(ctx context.Context) {
	const retryPause = time.Minute
	pause := time.Duration(0)
	for {
		s, err := c.identity.read()
		if err == nil {
			lifetime := s.certificate.NotAfter.Sub(s.certificate.NotBefore)
			pause = max(pause, time.Until(s.certificate.NotAfter.Add(-lifetime/3)))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = retryPause
		if err := c.renewOnce(ctx); err != nil && ctx.Err() == nil {
			c.opts.Logger.Warn("the host's certificate could not be renewed, trying again", "error", err)
		}
	}
}

func (c *Client) renewOnce(ctx context.Context) error {
	s, err := c.identity.read()
	if err != nil {
		return err
	}
	creds, err := c.identity.credentials()
	if err != nil {
		return err
	}
	csr, err := pki.Request(s.key)
	if err != nil {
		return err
	}
	return c.call(ctx, creds, func(ctx context.Context, conn *grpc.ClientConn) error {
		answer, err := sb.NewSouthboundClient(conn).Renew(ctx, &sb.RenewRequest{Csr: csr})
		if err != nil {
			return err
		}
		if err := c.identity.write(s.key, answer); err != nil {
			return err
		}
		c.opts.Logger.Info("renewed the host's certificate")
		return nil
	})
}
