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
	return identity{host: host, expires: leaf.NotAfter}, nil
}

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
	public, err := pki.RequestedKey(req.GetCsr())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	certificate, err := v.server.opts.Authority.SignHost(id.host, public)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &sb.JoinResponse{Certificate: certificate, Ca: v.server.opts.Authority.CertificatePEM()}, nil
}
