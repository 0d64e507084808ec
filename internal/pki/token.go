package pki

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A token is two parts in unpadded base64url, joined by a dot: the JSON of Token, and its HMAC-SHA256 under a key that
// only the server has. The agent cannot check the signature and need not: it takes from the token the hash of the
// authority's certificate, which it got on the same way as the token itself.

const (
	tokenVersion = 1
	maxToken     = 2048
	// MaxTokenTTL is the longest time for which a token may be good.
	MaxTokenTTL = 30 * 24 * time.Hour
)

// Why a token is refused.
var (
	ErrTokenInvalid = errors.New("the token is not valid")
	ErrTokenExpired = errors.New("the token has expired: make a new one with `neutrino token create`")
)

// Token is the permission for one host to join once.
type Token struct {
	Version int    `json:"v"`
	Host    string `json:"host"`
	// Expiry is in Unix seconds.
	Expiry int64 `json:"exp"`
	// Nonce is 32 hexadecimal digits and tells tokens apart.
	Nonce string `json:"nonce"`
	// Roles are those that the host may play; none: all.
	Roles []string `json:"roles,omitempty"`
	// Authority is the SHA-256 hash of the authority's certificate, in hexadecimal digits.
	Authority string `json:"ca"`
}

// ExpiresAt is when the token stops being good.
func (t Token) ExpiresAt() time.Time { return time.Unix(t.Expiry, 0).UTC() }

// Mint makes a token for the host with the data directory alone; no server needs to run.
func Mint(dataDir, host string, ttl time.Duration, roles ...string) (string, error) {
	a, err := Open(dataDir, Options{})
	if err != nil {
		return "", err
	}
	return a.Mint(host, ttl, roles...)
}

// Mint makes a token with which the host may join within the time ttl, at most MaxTokenTTL, and play the roles; without
// roles, all.
func (a *Authority) Mint(host string, ttl time.Duration, roles ...string) (string, error) {
	if err := ValidateHost(host); err != nil {
		return "", err
	}
	if ttl <= 0 || ttl > MaxTokenTTL {
		return "", fmt.Errorf("a token is good for at most %d days, and not for %s", int(MaxTokenTTL.Hours()/24), ttl)
	}
	nonce := make([]byte, 16)
	rand.Read(nonce) // never fails
	fingerprint := Fingerprint(a.certificate.Raw)
	payload, err := json.Marshal(Token{
		Version:   tokenVersion,
		Host:      host,
		Roles:     roles,
		Expiry:    a.opts.Now().Add(ttl).Unix(),
		Nonce:     hex.EncodeToString(nonce),
		Authority: hex.EncodeToString(fingerprint[:]),
	})
	if err != nil {
		return "", err
	}
	return encode(payload) + "." + encode(a.tokenMAC(payload)), nil
}

// Verify checks the signature and the time of a token. That it has not been used before is for the caller to check.
func (a *Authority) Verify(text string) (Token, error) {
	token, payload, mac, err := split(text)
	if err != nil {
		return Token{}, err
	}
	if !hmac.Equal(mac, a.tokenMAC(payload)) {
		return Token{}, fmt.Errorf("%w: this cluster has not signed it", ErrTokenInvalid)
	}
	if !a.opts.Now().Before(token.ExpiresAt()) {
		return Token{}, ErrTokenExpired
	}
	return token, nil
}

// ReadToken reads a token without checking its signature, as agents do.
func ReadToken(text string) (Token, error) {
	token, _, _, err := split(text)
	return token, err
}

func (a *Authority) tokenMAC(payload []byte) []byte {
	h := hmac.New(sha256.New, a.tokenKey)
	h.Write(payload)
	return h.Sum(nil)
}

func split(text string) (token Token, payload, mac []byte, err error) {
	text = strings.TrimSpace(text)
	first, second, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxToken {
		return Token{}, nil, nil, ErrTokenInvalid
	}
	if payload, err = decode(first); err != nil {
		return Token{}, nil, nil, ErrTokenInvalid
	}
	if mac, err = decode(second); err != nil {
		return Token{}, nil, nil, ErrTokenInvalid
	}
	if err := json.Unmarshal(payload, &token); err != nil {
		return Token{}, nil, nil, ErrTokenInvalid
	}
	if token.Version != tokenVersion {
		return Token{}, nil, nil, fmt.Errorf("%w: its version %d is not known here", ErrTokenInvalid, token.Version)
	}
	if ValidateHost(token.Host) != nil || len(token.Nonce) != 32 || len(token.Authority) != 2*sha256.Size {
		return Token{}, nil, nil, ErrTokenInvalid
	}
	return token, payload, mac, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// FirstContactTLS returns how an agent talks to a server of which it knows only the hash in the token: the server has
// to show the authority's certificate with that hash, and a certificate for ServerName that this authority signed.
func (t Token) FirstContactTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		// The usual verification needs a root beforehand; VerifyConnection does it with the root that the token names.
		InsecureSkipVerify: true,
		VerifyConnection:   t.verifyServer,
	}
}

func (t Token) verifyServer(state tls.ConnectionState) error {
	for _, c := range state.PeerCertificates {
		fingerprint := Fingerprint(c.Raw)
		if hex.EncodeToString(fingerprint[:]) != t.Authority {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots:     roots,
			DNSName:   ServerName,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
	return errors.New("the server is not of the cluster that the token was made for")
}
