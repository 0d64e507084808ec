// Package identity says who calls, and keeps the users and projects of clouds that have no Keystone of their own.
//
// The API asks an Authenticator to turn the token of a request into an auth.Caller. There are two here:
//
//   - Anyone (mode "none") takes every request for the administrator's. It is for loopback only.
//   - Embedded (mode "embedded", the default) is a small Keystone: users, groups, projects, domains, roles, who has which
//     role where, and application credentials, with the part of the Identity API v3 that the openstack command, SDKs and
//     Terraform use.
//
// # How the embedded one works
//
// The whole directory of users and projects is one immutable value in memory (directory.go), read without locks. A
// change copies it, writes it to DIR/identity.yaml, and only then puts it in place (store.go). It is small by nature;
// what is large, networks and ports, is elsewhere.
//
// A token says in signed form which user it was given to and for what (token.go). It does not say what the user may
// do: that is read from the directory each time, so a role taken away is gone at once, in the tokens of before too.
// Nothing is stored per token, except for those that were revoked, until they expire.
//
// An application credential is a secret for a program, which acts for its user in one project with some of the user's
// roles (http_credentials.go). It ends when the user loses one of them, and its tokens end with it.
//
// Passwords and secrets are kept as bcrypt hashes, slow on purpose; a password that was right once is recognised faster the next
// time (password.go). Neither passwords nor tokens appear in logs.
package identity

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neutrino-net/neutrino/internal/auth"
)

// Authenticator tells who a token was given to.
type Authenticator interface {
	// Authenticate returns the caller, which is the callee's to keep. A token that is not valid is a fault.Unauthorized.
	Authenticate(ctx context.Context, token string) (*auth.Caller, error)
}

// Anyone is the Authenticator of mode "none": each request comes from an administrator, with whatever token.
type Anyone struct{}

// anyoneID is the id of the one project and the one user of mode "none". It is fixed, so that what they own stays theirs.
const anyoneID = "ad000000000000000000000000000000"

// Authenticate returns the administrator in the project admin.
func (Anyone) Authenticate(context.Context, string) (*auth.Caller, error) {
	return &auth.Caller{
		UserID: anyoneID, UserName: "admin",
		ProjectID: anyoneID, ProjectName: "admin",
		Roles: []string{roleAdmin, roleManager, roleMember, roleReader},
	}, nil
}

// Options configure Open. Dir, IdentityURL and NetworkURL are required.
type Options struct {
	// Dir is where identity.yaml, identity.key, openrc and clouds.yaml are kept.
	Dir string
	// IdentityURL is where clients reach the Handler, for instance http://127.0.0.1:5000; a /v3 at its end may be left out.
	IdentityURL string
	// NetworkURL is where clients reach the networking API, for instance http://127.0.0.1:9696.
	NetworkURL string
	// Region is the name of the catalog's only region; RegionOne if empty.
	Region string
	// TokenTTL is how long a token is valid; 12 hours if zero.
	TokenTTL time.Duration
	// PasswordCost is the cost of bcrypt for new passwords, 4 to 31; 10 if zero.
	PasswordCost int
	// Logger is slog.Default if nil.
	Logger *slog.Logger
}

// Embedded is the identity service within the server.
type Embedded struct {
	dir       string
	url       string // of the API, with /v3
	region    string
	catalog   []service
	ttl       time.Duration
	log       *slog.Logger
	signer    signer
	passwords *passwords

	writing sync.Mutex // held by who changes the directory
	current atomic.Pointer[directory]
}

// Open reads the users and projects of the directory Dir, or makes the first ones: the projects admin, service and
// demo, with the users admin, service and demo, none of which has a password yet (see WriteClients).
func Open(o Options) (*Embedded, error) {
	if o.Region == "" {
		o.Region = "RegionOne"
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = 12 * time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	base := strings.TrimSuffix(strings.TrimRight(o.IdentityURL, "/"), "/v3")
	e := &Embedded{
		dir:       o.Dir,
		url:       base + "/v3",
		region:    o.Region,
		ttl:       o.TokenTTL,
		log:       o.Logger,
		passwords: newPasswords(o.PasswordCost),
	}
	e.catalog = newCatalog(o.Region, e.url, strings.TrimRight(o.NetworkURL, "/"))
	key, err := loadKey(o.Dir)
	if err != nil {
		return nil, err
	}
	e.signer = signer{key: key}
	d, err := loadDirectory(o.Dir)
	if err != nil {
		return nil, err
	}
	if d == nil {
		if d, err = bootstrap(); err != nil {
			return nil, err
		}
		if err := d.save(o.Dir); err != nil {
			return nil, err
		}
	}
	e.current.Store(d)
	return e, nil
}

// Authenticate implements Authenticator. An unscoped token gives a caller without project and roles.
func (e *Embedded) Authenticate(_ context.Context, token string) (*auth.Caller, error) {
	s, err := e.validate(token)
	if err != nil {
		return nil, err
	}
	return s.caller(), nil
}
