package identity

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/neutrino-net/neutrino/internal/fault"
)

// apiTime is the form of times in tokens.
const apiTime = "2006-01-02T15:04:05.000000Z"

func (e *Embedded) authRoutes() []route {
	return []route{
		{"POST /v3/auth/tokens", open, e.createToken},
		{"GET /v3/auth/tokens", withToken, e.showToken}, // HEAD too
		{"DELETE /v3/auth/tokens", withToken, e.deleteToken},
		{"GET /v3/auth/catalog", withToken, e.showCatalog},
		{"GET /v3/auth/projects", withToken, e.listOwnProjects},
		{"GET /v3/auth/domains", withToken, e.listOwnDomains},
		{"GET /v3/auth/system", withToken, e.listOwnSystem},
	}
}

// reference names an entry by id, or by name within a domain.
type reference struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	Domain *reference `json:"domain"`
}

// login is the body of a request for a token.
type login struct {
	Auth *struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password struct {
				User struct {
					reference
					Password string `json:"password"`
				} `json:"user"`
			} `json:"password"`
			Token struct {
				ID string `json:"id"`
			} `json:"token"`
			Credential credentialLogin `json:"application_credential"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

func (e *Embedded) createToken(w http.ResponseWriter, r *request) error {
	var body login
	if err := decode(r, &body); err != nil {
		return err
	}
	if body.Auth == nil || len(body.Auth.Identity.Methods) != 1 {
		return fault.Input("auth", "expected an identity with one method")
	}
	var (
		p     proof
		err   error
		begun = time.Now()
	)
	switch name := body.Auth.Identity.Methods[0]; name {
	case "password":
		given := body.Auth.Identity.Password.User
		p.how = byPassword
		p.userID, err = e.checkPassword(r, given.reference, given.Password)
	case "token":
		p, err = e.checkToken(body.Auth.Identity.Token.ID)
	case "application_credential":
		p, err = e.checkCredential(r, body.Auth.Identity.Credential)
	default:
		err = fault.New(fault.Unauthorized, "Unauthorized", "Attempted to authenticate with an unsupported method.")
	}
	if err != nil {
		return err
	}
	p.begun = begun
	s, err := e.current.Load().wantedScope(p, body.Auth.Scope)
	if err != nil {
		return err
	}
	token, issued, err := e.issue(p, s)
	if err != nil {
		return err
	}
	w.Header().Set(subjectTokenHeader, token)
	return reply(w, http.StatusCreated, e.tokenView(issued, r))
}

// checkPassword returns the id of the user whose password it is. An unknown user, one who is switched off and a wrong
// password cannot be told apart, neither by the answer nor by its time.
func (e *Embedded) checkPassword(r *request, who reference, password string) (string, error) {
	d := e.current.Load()
	if who.ID == "" && (who.Name == "" || who.Domain == nil) {
		return "", fault.Input("user", "expected an id, or a name and a domain")
	}
	var hash string
	u := d.users[d.find(who, d.userNames)]
	if u != nil {
		hash = u.PasswordHash
	}
	right, err := e.passwords.verify(r.Context(), hash, password)
	if err != nil {
		return "", err
	}
	if !right || !d.userEnabled(u.ID) {
		e.log.Debug("authentication failed", "known_user", u != nil, "remote", r.RemoteAddr)
		return "", errUnauthorized
	}
	return u.ID, nil
}

// checkToken takes a token for a proof. One that was given to an application credential is none: the program was meant to
// have that one token's rights, and neither another scope nor a longer life.
func (e *Embedded) checkToken(token string) (proof, error) {
	from, err := e.validate(token)
	if err != nil {
		return proof{}, err
	}
	if from.credential != nil {
		return proof{}, errForbidden
	}
	return proof{userID: from.userID, how: byToken, from: from}, nil
}

// find returns the id of what is referred to, by id or by name in a domain; "" if there is none.
func (d *directory) find(ref reference, names map[name]string) string {
	if ref.ID != "" {
		return ref.ID
	}
	if ref.Domain == nil {
		return ""
	}
	return names[name{d.findDomain(*ref.Domain), ref.Name}]
}

func (d *directory) findDomain(ref reference) string {
	if ref.ID != "" {
		return ref.ID
	}
	return d.domainNames[name{"", ref.Name}]
}

// wantedScope reads the scope of a login. Without one it is the user's default project, if the user has a role there. An
// application credential has its project, and may not ask for anything.
func (d *directory) wantedScope(p proof, raw json.RawMessage) (scope, error) {
	given := len(raw) > 0 && string(raw) != "null"
	if p.credential != nil {
		if given {
			return scope{}, fault.New(fault.Unauthorized, "Unauthorized", "Application credentials cannot request a scope.")
		}
		return scope{projectScope, p.credential.ProjectID}, nil
	}
	if !given {
		u := d.users[p.userID]
		if u == nil { // deleted since the password was checked
			return scope{}, errUnauthorized
		}
		home := scope{projectScope, u.DefaultProjectID}
		if home.ID == "" || !d.enabled(home) || len(d.rolesOf(p.userID, home)) == 0 {
			return scope{}, nil
		}
		return home, nil
	}
	if string(raw) == `"unscoped"` {
		return scope{}, nil
	}
	var wanted struct {
		Project *reference `json:"project"`
		Domain  *reference `json:"domain"`
		System  *struct {
			All bool `json:"all"`
		} `json:"system"`
	}
	if err := json.Unmarshal(raw, &wanted); err != nil {
		return scope{}, fault.Input("scope", "expected unscoped, a project, a domain or the system")
	}
	switch {
	case wanted.Project != nil && wanted.Domain == nil && wanted.System == nil:
		return scope{projectScope, d.find(*wanted.Project, d.projectNames)}, nil
	case wanted.Domain != nil && wanted.Project == nil && wanted.System == nil:
		return scope{domainScope, d.findDomain(*wanted.Domain)}, nil
	case wanted.System != nil && wanted.System.All && wanted.Project == nil && wanted.Domain == nil:
		return scope{systemScope, systemScopeID}, nil
	}
	return scope{}, fault.Input("scope", "expected one of project, domain, and system with all")
}

// tokenView renders what a token means. The catalog belongs to it if it is scoped and the query does not say nocatalog.
func (e *Embedded) tokenView(s *session, r *request) object {
	d := s.directory
	audits := []string{s.audit.String()}
	if s.parent != (auditID{}) {
		audits = append(audits, s.parent.String())
	}
	t := object{
		"methods":    s.methods.names(),
		"audit_ids":  audits,
		"issued_at":  s.issued.Format(apiTime),
		"expires_at": s.expires.Format(apiTime),
		"user": object{"id": s.user.ID, "name": s.user.Name, "domain": d.domainView(s.user.DomainID),
			"password_expires_at": nil},
	}
	if x := s.credential; x != nil {
		t["application_credential"] = object{"id": x.ID, "name": x.Name, "restricted": !x.Unrestricted}
	}
	switch s.scope.Kind {
	case projectScope:
		p := d.projects[s.scope.ID]
		t["project"] = object{"id": p.ID, "name": p.Name, "domain": d.domainView(p.DomainID)}
		t["is_domain"] = false
	case domainScope:
		t["domain"] = d.domainView(s.scope.ID)
	case systemScope:
		t["system"] = object{"all": true}
	}
	if s.scope.Kind != unscoped {
		roles := make([]object, len(s.roles))
		for i, x := range s.roles {
			roles[i] = object{"id": x.ID, "name": x.Name}
		}
		t["roles"] = roles
		if !r.URL.Query().Has("nocatalog") {
			t["catalog"] = catalogView(e.catalog)
		}
	}
	return object{"token": t}
}

func (d *directory) domainView(id string) object { return object{"id": id, "name": d.domains[id].Name} }

// expiredGrace is for how long after its end a token is still explained to services that say allow_expired: work that
// began with a good token may take longer than the token lives.
const expiredGrace = 48 * time.Hour

// subject returns the session of the token that the request is about: the caller's own, or, for administrators and
// services, anybody's.
func (e *Embedded) subject(r *request) (*session, error) {
	trusted := r.session.has(roleAdmin) || r.session.has(roleService)
	var grace time.Duration
	if expired, _ := strconv.ParseBool(r.URL.Query().Get("allow_expired")); expired && trusted && r.Method != http.MethodDelete {
		grace = expiredGrace
	}
	s, err := e.validateWithin(r.Header.Get(subjectTokenHeader), grace)
	if err != nil {
		if !trusted {
			return nil, errForbidden
		}
		return nil, fault.New(fault.NotFound, "NotFound", "Could not find the token.")
	}
	if s.userID != r.session.userID && !trusted {
		return nil, errForbidden
	}
	return s, nil
}

func (e *Embedded) showToken(w http.ResponseWriter, r *request) error {
	s, err := e.subject(r)
	if err != nil {
		return err
	}
	w.Header().Set(subjectTokenHeader, r.Header.Get(subjectTokenHeader))
	return reply(w, http.StatusOK, e.tokenView(s, r))
}

func (e *Embedded) deleteToken(w http.ResponseWriter, r *request) error {
	s, err := e.subject(r)
	if err != nil {
		return err
	}
	if s.userID != r.session.userID && !r.session.has(roleAdmin) {
		return errForbidden
	}
	if err := e.revoke(s); err != nil {
		return err
	}
	e.log.Info("token revoked", "audit_id", s.audit.String(), "by", r.session.userID)
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) showCatalog(w http.ResponseWriter, r *request) error {
	if r.session.scope.Kind == unscoped {
		return errForbidden
	}
	links := object{"self": e.url + "/auth/catalog"}
	return reply(w, http.StatusOK, object{"catalog": catalogView(e.catalog), "links": links})
}

func (e *Embedded) listOwnProjects(w http.ResponseWriter, r *request) error {
	d := r.session.directory
	return replyList(e, w, r, "projects", d.projectsOf(r.session.userID), e.projectView)
}

// projectsOf returns the projects that the user can enter, in the order of their names.
func (d *directory) projectsOf(userID string) []*project {
	own := map[string]*project{}
	for _, id := range d.homes(userID, projectScope) {
		own[id] = d.projects[id]
	}
	return sorted(own, func(p *project) string { return p.Name })
}

func (e *Embedded) listOwnDomains(w http.ResponseWriter, r *request) error {
	d := r.session.directory
	var own []*domain
	for _, id := range d.homes(r.session.userID, domainScope) {
		own = append(own, d.domains[id])
	}
	return replyList(e, w, r, "domains", own, e.domainView)
}

func (e *Embedded) listOwnSystem(w http.ResponseWriter, r *request) error {
	system := []object{}
	own := r.session.directory.userGrants[r.session.userID]
	if slices.ContainsFunc(own, func(g grant) bool { return g.Scope.Kind == systemScope }) {
		system = append(system, object{"all": true})
	}
	return reply(w, http.StatusOK, object{"system": system, "links": object{"self": e.url + "/auth/system"}})
}
