package identity

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/fault"
)

func (e *Embedded) credentialRoutes() []route {
	const all = "/v3/users/{user}/application_credentials"
	return []route{
		{"GET " + all, withToken, e.listCredentials},
		{"POST " + all, withToken, e.createCredential},
		{"GET " + all + "/{credential}", withToken, e.showCredential},
		{"DELETE " + all + "/{credential}", withToken, e.deleteCredential},
		{"GET /v3/users/{user}/access_rules", withToken, e.listAccessRules},
	}
}

const (
	maxCredentialName = 255
	// maxCredentials bounds the application credentials of one user, who makes them without an administrator.
	maxCredentials = 64
)

// credentialLogin is what an application shows to get a token: the secret, and the id or the name with its user.
type credentialLogin struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	User   *reference `json:"user"`
	Secret string     `json:"secret"`
}

// checkCredential finds the application credential whose secret it is. Like with users, one cannot find out which exist.
func (e *Embedded) checkCredential(r *request, given credentialLogin) (proof, error) {
	if given.ID == "" && (given.Name == "" || given.User == nil) {
		return proof{}, fault.Input("application_credential", "expected an id, or a name and a user")
	}
	d := e.current.Load()
	id := given.ID
	if id == "" {
		id = d.credentialNames[name{d.find(*given.User, d.userNames), given.Name}]
	}
	var hash string
	x := d.credentials[id]
	if x != nil {
		hash = x.SecretHash
	}
	right, err := e.passwords.verify(r.Context(), hash, given.Secret)
	if err != nil {
		return proof{}, err
	}
	if !right || !d.userEnabled(x.UserID) || x.expired(time.Now()) {
		e.log.Debug("authentication failed", "known_application_credential", x != nil, "remote", r.RemoteAddr)
		return proof{}, errUnauthorized
	}
	return proof{userID: x.UserID, how: byCredential, credential: x}, nil
}

func (x *credential) expired(now time.Time) bool {
	return !x.Expires.IsZero() && !now.Before(x.Expires)
}

// credentialTime is the form of times in application credentials; clients may leave out the Z.
const credentialTime = "2006-01-02T15:04:05.000000"

func (e *Embedded) credentialView(d *directory) func(*credential) object {
	return func(x *credential) object {
		roles := make([]object, len(x.RoleIDs))
		for i, id := range x.RoleIDs {
			roles[i] = object{"id": id, "name": d.roles[id].Name, "domain_id": nil}
		}
		v := object{"id": x.ID, "name": x.Name, "description": nil, "project_id": x.ProjectID, "user_id": x.UserID,
			"roles": roles, "expires_at": nil, "unrestricted": x.Unrestricted,
			"links": e.links("users/"+x.UserID+"/application_credentials", x.ID)}
		if x.Description != "" {
			v["description"] = x.Description
		}
		if !x.Expires.IsZero() {
			v["expires_at"] = x.Expires.Format(credentialTime)
		}
		return v
	}
}

// credentialInput is what a client may say of an application credential.
type credentialInput struct {
	Name         string           `json:"name"`
	Description  optional[string] `json:"description"`
	Secret       optional[string] `json:"secret"`
	ExpiresAt    optional[string] `json:"expires_at"`
	Roles        []reference      `json:"roles"`
	Unrestricted optional[bool]   `json:"unrestricted"`
	AccessRules  []any            `json:"access_rules"`
}

// apply makes the credential what the input says, for whoever asks.
func (in *credentialInput) apply(x *credential, s *session) error {
	x.Name, x.Description, x.Unrestricted = in.Name, in.Description.value, in.Unrestricted.value
	if err := checkName(x.Name, maxCredentialName); err != nil {
		return err
	}
	if err := checkText("description", x.Description, maxDescription); err != nil {
		return err
	}
	if len(in.AccessRules) > 0 {
		return fault.Input("access_rules", "access rules are not supported")
	}
	if text := in.ExpiresAt.value; text != "" {
		var err error
		if x.Expires, err = time.Parse("2006-01-02T15:04:05.999999999", strings.TrimSuffix(text, "Z")); err != nil {
			return fault.Input("expires_at", "expected a time like 2030-12-31T23:59:59")
		}
		if x.expired(time.Now()) {
			return fault.Input("expires_at", "it is in the past")
		}
	}
	return in.applyRoles(x, s)
}

// applyRoles gives the credential the roles asked for, or all that the session has. The session has to have them.
func (in *credentialInput) applyRoles(x *credential, s *session) error {
	for _, r := range s.roles {
		wanted := func(ref reference) bool { return ref.ID == r.ID || ref.ID == "" && ref.Name == r.Name }
		if in.Roles == nil || slices.ContainsFunc(in.Roles, wanted) {
			x.RoleIDs = append(x.RoleIDs, r.ID)
		}
	}
	for _, ref := range in.Roles {
		has := func(r *role) bool { return ref.ID == r.ID || ref.ID == "" && ref.Name == r.Name }
		if !slices.ContainsFunc(s.roles, has) {
			return fault.Input("roles", "%s is not a role of the user in the project", ref.ID+ref.Name)
		}
	}
	if len(x.RoleIDs) == 0 {
		return fault.Input("roles", "an application credential needs a role")
	}
	return nil
}

// mayManage fails for tokens of application credentials that may not make others of their kind.
func (s *session) mayManage() error {
	if s.credential != nil && !s.credential.Unrestricted {
		return fault.New(fault.Forbidden, "Forbidden",
			"Using method 'application_credential' is not allowed for managing additional application credentials.")
	}
	return nil
}

// createCredential makes an application credential for the caller, in the project of the token. The answer is the only
// place where its secret is ever shown.
func (e *Embedded) createCredential(w http.ResponseWriter, r *request) error {
	s := r.session
	if r.PathValue("user") != s.userID {
		return errForbidden
	}
	if err := s.mayManage(); err != nil {
		return err
	}
	if s.scope.Kind != projectScope {
		return fault.Input("project", "application credentials need a token with a project")
	}
	var body struct {
		Credential credentialInput `json:"application_credential"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	x := &credential{ID: newID(), UserID: s.userID, ProjectID: s.scope.ID}
	if err := body.Credential.apply(x, s); err != nil {
		return err
	}
	secret := body.Credential.Secret.value
	if secret == "" {
		secret = newSecret()
	}
	var err error
	if x.SecretHash, err = e.passwords.hash(r.Context(), secret); err != nil {
		return err
	}
	var view object
	err = e.update(func(d *directory) error {
		if err := checkRoom("application credential", len(d.credentials)); err != nil {
			return err
		}
		if len(d.credentialsOf(s.userID)) >= maxCredentials {
			return fault.New(fault.Forbidden, "Forbidden",
				"Unable to create additional application credentials, maximum of %d already exceeded for user.", maxCredentials)
		}
		d.credentials[x.ID] = x
		view = e.credentialView(d)(x)
		return nil
	})
	if err != nil {
		return err
	}
	e.log.Info("application credential created", "id", x.ID, "project", x.ProjectID, "by", s.userID)
	view["secret"] = secret
	return reply(w, http.StatusCreated, object{"application_credential": view})
}

// newSecret returns a random secret of 384 bits, which is 64 characters.
func newSecret() string {
	var b [48]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// credentialsOf returns the application credentials of a user in the order of their names.
func (d *directory) credentialsOf(userID string) []*credential {
	own := map[string]*credential{}
	for id, x := range d.credentials {
		if x.UserID == userID {
			own[id] = x
		}
	}
	return sorted(own, func(x *credential) string { return x.Name })
}

func (e *Embedded) listCredentials(w http.ResponseWriter, r *request) error {
	u, err := r.wantUser()
	if err != nil {
		return err
	}
	d := r.session.directory
	all := filter(r, d.credentialsOf(u.ID), map[string]func(*credential) string{
		"name": func(x *credential) string { return x.Name },
	})
	return replyList(e, w, r, "application_credentials", all, e.credentialView(d))
}

// wantCredential returns the application credential in the path.
func (r *request) wantCredential(d *directory) (*credential, error) {
	id := r.PathValue("credential")
	x := d.credentials[id]
	if x == nil || x.UserID != r.PathValue("user") {
		return nil, missing("application credential", id)
	}
	return x, nil
}

func (e *Embedded) showCredential(w http.ResponseWriter, r *request) error {
	if _, err := r.wantUser(); err != nil {
		return err
	}
	d := r.session.directory
	x, err := r.wantCredential(d)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, object{"application_credential": e.credentialView(d)(x)})
}

// deleteCredential deletes an application credential, and with it the tokens that were given to it.
func (e *Embedded) deleteCredential(w http.ResponseWriter, r *request) error {
	if _, err := r.wantUser(); err != nil {
		return err
	}
	if err := r.session.mayManage(); err != nil {
		return err
	}
	err := e.update(func(d *directory) error {
		x, err := r.wantCredential(d)
		if err == nil {
			delete(d.credentials, x.ID)
		}
		return err
	})
	if err != nil {
		return err
	}
	e.log.Info("application credential deleted", "id", r.PathValue("credential"), "by", r.session.userID)
	return reply(w, http.StatusNoContent, nil)
}

// listAccessRules answers clients that look for access rules: there are none here.
func (e *Embedded) listAccessRules(w http.ResponseWriter, r *request) error {
	if _, err := r.wantUser(); err != nil {
		return err
	}
	return replyList(e, w, r, "access_rules", []object{}, func(o object) object { return o })
}
