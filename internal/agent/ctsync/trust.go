package ctsync

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/neutrino-net/neutrino/internal/pki"
)

// config is the TLS of both ends. Certificates of hosts are good for clients only, so that no host can pass for the server.
// Here both ends are clients of the cluster: each checks that the other has a certificate of the cluster's authority which
// names a host that the caller accepts.
func (s *Sync) config(accepted func(host string) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			own, _, err := s.options.Identity()
			return &own, err
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			own, _, err := s.options.Identity()
			return &own, err
		},
		ClientAuth: tls.RequireAnyClientCert,
		// The library would ask for a certificate of a server, by its DNS name; VerifyConnection asks for the right one, on
		// both ends, also when a session is resumed.
		InsecureSkipVerify: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			host, err := s.verify(c)
			if err != nil {
				return err
			}
			return accepted(host)
		},
	}
}

// verify returns the host at the other end.
func (s *Sync) verify(c tls.ConnectionState) (string, error) {
	if len(c.PeerCertificates) == 0 {
		return "", errors.New("the other host has no certificate")
	}
	_, roots, err := s.options.Identity()
	if err != nil {
		return "", err
	}
	between := x509.NewCertPool()
	for _, certificate := range c.PeerCertificates[1:] {
		between.AddCert(certificate)
	}
	if _, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return "", fmt.Errorf("checking the certificate of the other host: %w", err)
	}
	return pki.HostOf(c.PeerCertificates[0])
}
