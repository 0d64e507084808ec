package southbound

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// service is the gRPC face of a Server.
type service struct {
	sb.UnimplementedSouthboundServer
	server *Server
}

// identity is who calls, according to the certificate.
type identity struct {
	host    string
	keyHash string // of its public key, as in model.Host
	expires time.Time
}

// hostOf returns the host that the verified certificate of the call names. There is no other source for it.
func hostOf(ctx context.Context) (identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return identity{}, status.Error(codes.Unauthenticated, "the call has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return identity{}, status.Error(codes.Unauthenticated, "a certificate is needed: join first")
	}
	leaf := info.State.VerifiedChains[0][0]
	host, err := pki.HostOf(leaf)
	if err != nil {
		return identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	key := pki.Fingerprint(leaf.RawSubjectPublicKeyInfo)
	return identity{host: host, keyHash: hex.EncodeToString(key[:]), expires: leaf.NotAfter}, nil
}

// known returns what the state says of the host that calls. A host that has joined again, or was removed, has another key
// there, or none: the certificates of before are good for nothing then.
func (s *Server) known(id identity) (*model.Host, error) {
	h, ok := state.Hosts.Get(s.opts.Store.Read(), id.host)
	if !ok || h.KeyHash != id.keyHash {
		return nil, status.Error(codes.Unauthenticated, "the certificate is no longer good: the host was removed, or has joined again; "+
			"join with a new token")
	}
	return h, nil
}

// Remove makes the certificates of the host worthless and ends its stream. It says whether there was such a host.
func (s *Server) Remove(ctx context.Context, host string) (there bool, err error) {
	_, err = s.opts.Store.Update(ctx, func(tx *state.Tx) error {
		there = state.Hosts.Delete(tx, host)
		return nil
	})
	if err == nil {
		s.hub.end(host, errRemoved)
	}
	return there, err
}

var errRemoved = errors.New("the host was removed")

// maxExpired is how many used tokens are forgotten in one go, so that a commit stays small.
const maxExpired = 500

var errUsed = errors.New("the token has been used: make a new one with `neutrino token create`")

// Join exchanges a token for a certificate. Only the key that used a token first can use it again: a host whose answer
// was lost on the way asks again and gets in, anybody else does not.
func (v *service) Join(ctx context.Context, req *sb.JoinRequest) (*sb.JoinResponse, error) {
	s := v.server
	token, err := s.opts.Authority.Verify(req.GetToken())
	if err != nil {
		return nil, s.refuse(ctx, "", codes.Unauthenticated, err)
	}
	if token.Host != req.GetHost() {
		return nil, s.refuse(ctx, token.Host, codes.PermissionDenied, errors.New("the token is for another host"))
	}
	public, err := pki.RequestedKey(req.GetCsr())
	if err != nil {
		return nil, s.refuse(ctx, token.Host, codes.InvalidArgument, err)
	}
	certificate, err := s.opts.Authority.SignHost(token.Host, public)
	if err != nil {
		return nil, s.refuse(ctx, token.Host, codes.InvalidArgument, err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, s.refuse(ctx, token.Host, codes.InvalidArgument, err)
	}
	hash := pki.Fingerprint(der)
	_, err = s.opts.Store.Update(ctx, func(tx *state.Tx) error {
		return use(tx, token, hex.EncodeToString(hash[:]))
	})
	if errors.Is(err, errUsed) {
		return nil, s.refuse(ctx, token.Host, codes.PermissionDenied, err)
	}
	if err != nil {
		return nil, s.refuse(ctx, token.Host, codes.Unavailable, err)
	}
	s.metrics.joins.WithLabelValues("accepted").Inc()
	s.opts.Logger.Info("host joined", "host", token.Host, "address", addressOf(ctx))
	return &sb.JoinResponse{Certificate: certificate, Ca: s.opts.Authority.CertificatePEM()}, nil
}

// use notes that the token is used, and forgets those that have expired.
func use(tx *state.Tx, token pki.Token, keyHash string) error {
	if used, ok := state.UsedTokens.Get(tx, token.Nonce); ok {
		if used.KeyHash != keyHash {
			return errUsed
		}
		return nil
	}
	var expired []string
	for u := range state.UsedTokens.All(tx) {
		if !tx.Now().Before(u.ExpiresAt) && len(expired) < maxExpired {
			expired = append(expired, u.ID)
		}
	}
	for _, id := range expired {
		state.UsedTokens.Delete(tx, id)
	}
	state.Hosts.Put(tx, &model.Host{Meta: model.Meta{ID: token.Host}, KeyHash: keyHash, Roles: token.Roles})
	state.UsedTokens.Put(tx, &model.UsedToken{
		// A token that expires while it is used is remembered a little longer than it is good.
		Meta: model.Meta{ID: token.Nonce}, Host: token.Host, KeyHash: keyHash,
		ExpiresAt: token.ExpiresAt().Add(time.Hour),
	})
	return nil
}

// refuse logs and counts a join that is refused. The name of the host is known once the token has been verified.
func (s *Server) refuse(ctx context.Context, host string, code codes.Code, err error) error {
	s.metrics.joins.WithLabelValues("refused").Inc()
	s.opts.Logger.Warn("a join was refused", "host", host, "address", addressOf(ctx), "error", err)
	return status.Error(code, err.Error())
}

func addressOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// Renew gives the host that calls a new certificate, for the same name.
func (v *service) Renew(ctx context.Context, req *sb.RenewRequest) (*sb.JoinResponse, error) {
	id, err := hostOf(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := v.server.known(id); err != nil {
		return nil, err
	}
	public, err := pki.RequestedKey(req.GetCsr())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if hash := pki.Fingerprint(der); hex.EncodeToString(hash[:]) != id.keyHash {
		return nil, status.Error(codes.InvalidArgument, "a certificate is renewed for the key that it has: join again for another")
	}
	certificate, err := v.server.opts.Authority.SignHost(id.host, public)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &sb.JoinResponse{Certificate: certificate, Ca: v.server.opts.Authority.CertificatePEM()}, nil
}
