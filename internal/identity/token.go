package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
)

const (
	keySize = 32
	// tokenVersion is the first byte of every token; another layout takes another number.
	tokenVersion = 2
	// maxTokenLength is in characters. Tokens have about 200.
	maxTokenLength = 1024
	// maxRevoked bounds the single revocations that are kept for a user.
	maxRevoked = 256
)

// method is a set of the ways in which somebody proved to be the user.
type method byte

const (
	byPassword method = 1 << iota
	byToken
	byCredential
)

// names returns the names of the methods in the API.
func (m method) names() []string {
	var names []string
	if m&byPassword != 0 {
		names = append(names, "password")
	}
	if m&byToken != 0 {
		names = append(names, "token")
	}
	if m&byCredential != 0 {
		names = append(names, "application_credential")
	}
	return names
}

// auditID names a token in logs and revocations without giving it away.
type auditID [16]byte

func (a auditID) String() string { return base64.RawURLEncoding.EncodeToString(a[:]) }

// claims is what a token says. Times are whole microseconds.
type claims struct {
	userID          string
	scope           scope
	methods         method
	issued, expires time.Time
	audit           auditID
	// parent is the first token of the chain in which each token was got with the one before; zero for that one itself.
	parent auditID
	// credentialID is the application credential to which the token was given; empty: none.
	credentialID string
}

// signer turns claims into tokens and back.
//
// A token is the base64 form, without padding, of: version, methods, kind of the scope (a byte each), issued, expires
// (8 bytes each, microseconds since 1970, big endian), audit id, parent (16 bytes each), the ids of user, scope and
// application credential (a byte for the length, then the text), and the HMAC-SHA256 of all this (32 bytes).
type signer struct{ key []byte }

// scopeKinds gives the kinds their numbers in tokens.
var scopeKinds = [...]scopeKind{unscoped, projectScope, domainScope, systemScope}

// fixedLength is the length of the part of a token before the ids.
const fixedLength = 3 + 8 + 8 + 16 + 16

var errToken = errors.New("not a token of this server")

func (s signer) encode(c claims) string {
	b := make([]byte, 0, 192)
	b = append(b, tokenVersion, byte(c.methods), byte(slices.Index(scopeKinds[:], c.scope.Kind)))
	b = binary.BigEndian.AppendUint64(b, uint64(c.issued.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(c.expires.UnixMicro()))
	b = append(b, c.audit[:]...)
	b = append(b, c.parent[:]...)
	for _, id := range [...]string{c.userID, c.scope.ID, c.credentialID} {
		b = append(b, byte(len(id))) // ids have at most 64 bytes
		b = append(b, id...)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...))
}

func (s signer) decode(token string) (claims, error) {
	if len(token) > maxTokenLength {
		return claims{}, errToken
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < fixedLength+sha256.Size {
		return claims{}, errToken
	}
	body, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(mac, s.mac(body)) || body[0] != tokenVersion || int(body[2]) >= len(scopeKinds) {
		return claims{}, errToken
	}
	c := claims{
		methods: method(body[1]),
		scope:   scope{Kind: scopeKinds[body[2]]},
		issued:  time.UnixMicro(int64(binary.BigEndian.Uint64(body[3:]))).UTC(),
		expires: time.UnixMicro(int64(binary.BigEndian.Uint64(body[11:]))).UTC(),
		audit:   auditID(body[19:35]),
		parent:  auditID(body[35:51]),
	}
	rest := body[fixedLength:]
	for _, id := range [...]*string{&c.userID, &c.scope.ID, &c.credentialID} {
		if len(rest) == 0 || len(rest) <= int(rest[0]) {
			return claims{}, errToken
		}
		*id, rest = string(rest[1:1+rest[0]]), rest[1+rest[0]:]
	}
	return c, nil
}

func (s signer) mac(body []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(body)
	return h.Sum(nil)
}

// session is a valid token together with what the directory says of it now.
type session struct {
	claims
	directory *directory
	user      *user
	roles     []*role // with the implied ones; empty if unscoped
	// credential is the application credential to which the token was given; nil: none.
	credential *credential
}

// errUnauthorized is the one answer to whoever cannot be authenticated, whatever the reason.
var errUnauthorized = fault.New(fault.Unauthorized, "Unauthorized", "The request you have made requires authentication.")

// validate reads the token and checks that it is still good.
func (e *Embedded) validate(token string) (*session, error) { return e.validateWithin(token, 0) }

// validateWithin is validate for a token that may have expired, but not longer ago than grace.
func (e *Embedded) validateWithin(token string, grace time.Duration) (*session, error) {
	c, err := e.signer.decode(token)
	if err != nil || !time.Now().Before(c.expires.Add(grace)) {
		return nil, errUnauthorized
	}
	d := e.current.Load()
	u := d.users[c.userID]
	if u == nil || c.issued.Before(u.TokensSince) {
		return nil, errUnauthorized
	}
	if len(u.Revoked) > 0 {
		audit := c.audit.String()
		if slices.ContainsFunc(u.Revoked, func(r revocation) bool { return r.AuditID == audit }) {
			return nil, errUnauthorized
		}
	}
	return d.session(c)
}

// session resolves claims. It fails if the user, the scope or the application credential is gone or switched off, or the
// user has no role in the scope.
func (d *directory) session(c claims) (*session, error) {
	if !d.userEnabled(c.userID) {
		return nil, errUnauthorized
	}
	s := &session{claims: c, directory: d, user: d.users[c.userID]}
	if c.scope.Kind == unscoped {
		return s, nil
	}
	s.roles = d.rolesOf(c.userID, c.scope)
	if c.credentialID != "" {
		if s.credential = d.credentials[c.credentialID]; s.credential == nil {
			return nil, errUnauthorized
		}
		s.roles = d.expand(s.credential.RoleIDs)
	}
	if len(s.roles) == 0 || !d.enabled(c.scope) {
		return nil, errUnauthorized
	}
	return s, nil
}

// proof is how somebody has shown to be a user.
type proof struct {
	userID string
	how    method
	// from is the token that was shown, nil if it was something else; likewise the application credential.
	from       *session
	credential *credential
	// begun is when the proof was asked for; zero: now. A password that is changed after that voids the token that comes
	// of the old one, however long the check has waited.
	begun time.Time
}

// issue makes a token for the scope. It lives no longer than the token or the application credential for which it is
// given.
func (e *Embedded) issue(p proof, s scope) (string, *session, error) {
	if p.begun.IsZero() {
		p.begun = time.Now()
	}
	now := p.begun.UTC().Truncate(time.Microsecond)
	c := claims{userID: p.userID, scope: s, methods: p.how, issued: now, expires: now.Add(e.ttl)}
	rand.Read(c.audit[:])
	if p.from != nil {
		c.methods |= p.from.methods
		c.expires = p.from.expires
		if c.parent = p.from.parent; c.parent == (auditID{}) {
			c.parent = p.from.audit
		}
	}
	if x := p.credential; x != nil {
		c.credentialID = x.ID
		if !x.Expires.IsZero() && x.Expires.Before(c.expires) {
			c.expires = x.Expires
		}
	}
	d := e.current.Load()
	issued, err := d.session(c)
	if err != nil {
		return "", nil, err
	}
	if c.issued.Before(d.users[p.userID].TokensSince) {
		return "", nil, errUnauthorized
	}
	return e.signer.encode(c), issued, nil
}

// revoke voids one token until it expires.
func (e *Embedded) revoke(s *session) error {
	return e.update(func(d *directory) error {
		if old := d.users[s.userID]; old != nil {
			u := *old
			u.revoke(s.claims, time.Now())
			d.users[u.ID] = &u
		}
		return nil
	})
}

// revoke adds the token to those that are void. The list is bounded: when it is full, its older half is replaced by
// voiding all tokens of the user that are as old as those.
func (u *user) revoke(c claims, now time.Time) {
	u.Revoked = slices.DeleteFunc(slices.Clone(u.Revoked), func(r revocation) bool { return !now.Before(r.Expires) })
	u.Revoked = append(u.Revoked, revocation{AuditID: c.audit.String(), Issued: c.issued, Expires: c.expires})
	if len(u.Revoked) <= maxRevoked {
		return
	}
	slices.SortFunc(u.Revoked, func(a, b revocation) int { return a.Issued.Compare(b.Issued) })
	half := len(u.Revoked) / 2
	u.voidTokensUntil(u.Revoked[half-1].Issued)
	u.Revoked = u.Revoked[half:]
}

// voidTokensUntil voids the tokens that were issued at the time or before.
func (u *user) voidTokensUntil(t time.Time) {
	since := t.UTC().Truncate(time.Microsecond).Add(time.Microsecond)
	if since.After(u.TokensSince) {
		u.TokensSince = since
	}
}

// touch voids the tokens of the user that exist now.
func (u *user) touch() { u.voidTokensUntil(time.Now()) }

// caller returns the session in the form that the APIs understand.
func (s *session) caller() *auth.Caller {
	c := &auth.Caller{UserID: s.user.ID, UserName: s.user.Name, Roles: make([]string, len(s.roles))}
	for i, r := range s.roles {
		c.Roles[i] = strings.ToLower(r.Name)
	}
	switch s.scope.Kind {
	case projectScope:
		c.ProjectID, c.ProjectName = s.scope.ID, s.directory.projects[s.scope.ID].Name
	case domainScope:
		c.DomainID = s.scope.ID
	case systemScope:
		c.SystemScope = s.scope.ID
	}
	return c
}

// has says whether the session may act with the role.
func (s *session) has(roleName string) bool {
	return slices.ContainsFunc(s.roles, func(r *role) bool { return strings.EqualFold(r.Name, roleName) })
}
