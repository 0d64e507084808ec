package identity

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	made := c.as(admin, 201, "POST", "/v3/users", `{"user": {"name": "ann", "password": "pass-1", "email": "a@b", "extra": 7}}`)
	id := made.text("user", "id")
	if len(id) != 32 || made.get("user", "enabled") != true || made.get("user", "password") != nil {
		t.Errorf("created: %v", made.body)
	}
	c.as(admin, 409, "POST", "/v3/users", `{"user": {"name": "ann"}}`)
	if got := c.as(admin, 200, "GET", "/v3/users?name=ann", "").names("users"); got != "ann" {
		t.Errorf("by name: %s", got)
	}
	if got := c.as(admin, 200, "GET", "/v3/users?enabled=false", "").names("users"); got != "" {
		t.Errorf("switched off: %s", got)
	}
	unscoped := c.do("POST", "/v3/auth/tokens", loginBody("ann", "pass-1", ""))
	if unscoped.status != 201 || unscoped.get("token", "project") != nil {
		t.Fatalf("login without a project: %d %v", unscoped.status, unscoped.body)
	}
	ann := unscoped.header.Get(subjectTokenHeader)
	c.as(ann, 200, "GET", "/v3/users/"+id, "")
	c.as(ann, 200, "GET", "/v3/users/"+id+"/projects", "")
	c.as(ann, 403, "GET", "/v3/users/"+c.id("users", "admin"), "")
	c.as(ann, 403, "PATCH", "/v3/users/"+id, `{"user": {"enabled": true}}`)
	changed := c.as(admin, 200, "PATCH", "/v3/users/"+id, `{"user": {"name": "anna", "email": null, "description": "x"}}`)
	if changed.text("user", "name") != "anna" || changed.get("user", "email") != nil ||
		changed.text("user", "description") != "x" {
		t.Errorf("changed: %v", changed.body)
	}
	c.as(ann, 200, "GET", "/v3/users/"+id, "")
	wrong := `{"user": {"password": "pass-2", "original_password": "x"}}`
	if a := c.do("POST", "/v3/users/"+id+"/password", wrong); a.status != 401 {
		t.Errorf("a new password with a wrong old one: %d", a.status)
	}
	c.as(admin, 204, "DELETE", "/v3/users/"+id, "")
	c.as(admin, 404, "GET", "/v3/users/"+id, "")
	c.as(ann, 401, "GET", "/v3/users/"+id, "")
}

func TestProjectsDomainsAndGrants(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	domainID := c.as(admin, 201, "POST", "/v3/domains", `{"domain": {"name": "east"}}`).text("domain", "id")
	inEast := fmt.Sprintf(`"domain_id": %q`, domainID)
	projectID := c.as(admin, 201, "POST", "/v3/projects", `{"project": {"name": "demo", `+inEast+`}}`).text("project", "id")
	c.as(admin, 409, "POST", "/v3/projects", `{"project": {"name": "demo"}}`)
	userID := c.as(admin, 201, "POST", "/v3/users", `{"user": {"name": "eve", "password": "pass-1", `+inEast+`}}`).
		text("user", "id")
	if got := c.as(admin, 200, "GET", "/v3/projects?domain_id="+domainID, "").names("projects"); got != "demo" {
		t.Errorf("projects of the domain: %s", got)
	}
	member := c.id("roles", "member")
	for _, where := range []string{"/v3/projects/" + projectID, "/v3/domains/" + domainID, "/v3/system"} {
		grant := where + "/users/" + userID + "/roles/" + member
		c.as(admin, 404, "HEAD", grant, "")
		c.as(admin, 404, "DELETE", grant, "")
		c.as(admin, 204, "PUT", grant, "")
		c.as(admin, 204, "PUT", grant, "") // once more is no mistake
		c.as(admin, 204, "GET", grant, "")
		if got := c.as(admin, 200, "GET", where+"/users/"+userID+"/roles", "").names("roles"); got != "member" {
			t.Errorf("%s: roles %s", where, got)
		}
		c.as(admin, 404, "PUT", where+"/users/nobody/roles/"+member, "")
		c.as(admin, 404, "PUT", where+"/users/"+userID+"/roles/none", "")
	}
	all := c.as(admin, 200, "GET", "/v3/role_assignments?include_names&user.id="+userID, "")
	if n := len(all.get("role_assignments").([]any)); n != 3 {
		t.Errorf("%d assignments: %v", n, all.body)
	}
	effective := c.as(admin, 200, "GET", "/v3/role_assignments?effective&scope.project.id="+projectID, "")
	if n := len(effective.get("role_assignments").([]any)); n != 2 {
		t.Errorf("%d effective assignments: %v", n, effective.body)
	}
	login := `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "eve", "domain": {"name": "east"},
		"password": "pass-1"}}}, "scope": {"domain": {"name": "east"}}}}`
	eve := c.do("POST", "/v3/auth/tokens", login).header.Get(subjectTokenHeader)
	caller, err := c.Authenticate(t.Context(), eve)
	if err != nil || caller.DomainID != domainID || caller.ProjectID != "" {
		t.Errorf("in the domain: %+v, %v", caller, err)
	}
	c.as(eve, 200, "GET", "/v3/projects/"+projectID, "")
	c.as(eve, 200, "GET", "/v3/domains/"+domainID, "")
	c.as(eve, 403, "GET", "/v3/domains/default", "")
	c.as(eve, 403, "GET", "/v3/projects/"+c.id("projects", "admin"), "")
	c.as(eve, 403, "GET", "/v3/role_assignments", "")
	c.as(eve, 200, "GET", "/v3/role_assignments?user.id="+userID, "")

	c.as(admin, 403, "DELETE", "/v3/domains/"+domainID, "")
	c.as(admin, 200, "PATCH", "/v3/domains/"+domainID, `{"domain": {"enabled": false}}`)
	c.as(eve, 401, "GET", "/v3/projects/"+projectID, "")
	c.as(admin, 204, "DELETE", "/v3/domains/"+domainID, "")
	c.as(admin, 404, "GET", "/v3/projects/"+projectID, "")
	c.as(admin, 404, "GET", "/v3/users/"+userID, "")
	c.as(admin, 403, "PATCH", "/v3/domains/default", `{"domain": {"enabled": false}}`)
}

func TestRoles(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	id := c.as(admin, 201, "POST", "/v3/roles", `{"role": {"name": "auditor"}}`).text("role", "id")
	c.as(admin, 409, "POST", "/v3/roles", `{"role": {"name": "Auditor"}}`)
	c.as(admin, 200, "GET", "/v3/roles/"+id, "")
	c.as(admin, 204, "DELETE", "/v3/roles/"+id, "")
	c.as(admin, 403, "DELETE", "/v3/roles/"+c.id("roles", "member"), "")
	c.as(c.login("demo"), 403, "POST", "/v3/roles", `{"role": {"name": "admin2"}}`)
}

func TestCatalogLists(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	service := c.as(admin, 200, "GET", "/v3/services?type=network", "").text("services", 0, "id")
	c.as(admin, 200, "GET", "/v3/services/"+service, "")
	endpoints := c.as(admin, 200, "GET", "/v3/endpoints?service_id="+service+"&interface=public", "")
	if endpoints.text("endpoints", 0, "url") != "http://127.0.0.1:9696" {
		t.Errorf("endpoints: %v", endpoints.body)
	}
	c.as(admin, 200, "GET", "/v3/endpoints/"+endpoints.text("endpoints", 0, "id"), "")
	c.as(admin, 200, "GET", "/v3/regions/RegionOne", "")
	for _, path := range []string{"/v3/services/x", "/v3/endpoints/x", "/v3/regions/x"} {
		c.as(admin, 404, "GET", path, "")
	}
}

// TestPlainUsersAreRefused asks everything of the administrators' as the demo user, and everything with a bad token.
func TestPlainUsersAreRefused(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	demo := c.login("demo")
	for _, routes := range [][]route{c.userRoutes(), c.projectRoutes(), c.domainRoutes(), c.roleRoutes(), c.grantRoutes(),
		c.catalogRoutes(), c.authRoutes()} {
		for _, rt := range routes {
			method, pattern, _ := strings.Cut(rt.pattern, " ")
			path := strings.NewReplacer("{user}", "u", "{project}", "p", "{domain}", "d", "{role}", "r", "{id}", "i").Replace(pattern)
			if rt.access == adminOnly {
				c.as(demo, 403, method, path, "{}")
			}
			if rt.access != open {
				c.as("", 401, method, path, "{}")
				c.as("forged", 401, method, path, "{}")
			}
		}
	}
}

// TestBadInputIsNeverAServerError sends what does not fit to everything that takes a body.
func TestBadInputIsNeverAServerError(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	user, project := c.id("users", "demo"), c.id("projects", "demo")
	values := []string{`null`, `7`, `""`, `[]`, `{}`, `true`, `1e400`, `"` + strings.Repeat("x", 2000) + `"`,
		`"a\nb"`, `"\u0000"`, `" "`, `"\ud800"`}
	everybody := func() string {
		return c.as(admin, 200, "GET", "/v3/users", "").names("users") + ", " +
			c.as(admin, 200, "GET", "/v3/projects", "").names("projects")
	}
	before := everybody()
	for _, target := range []struct{ method, path, kind string }{
		{"POST", "/v3/users", "user"}, {"PATCH", "/v3/users/" + user, "user"},
		{"POST", "/v3/users/" + user + "/password", "user"},
		{"POST", "/v3/projects", "project"}, {"PATCH", "/v3/projects/" + project, "project"},
		{"POST", "/v3/domains", "domain"}, {"PATCH", "/v3/domains/default", "domain"}, {"POST", "/v3/roles", "role"},
		{"POST", "/v3/auth/tokens", "auth"}, {"POST", "/v3/groups", "group"},
		{"POST", "/v3/users/" + c.id("users", "admin") + "/application_credentials", "application_credential"},
	} {
		for _, value := range values {
			c.refused(target.method, target.path, admin, value)
			c.refused(target.method, target.path, admin, fmt.Sprintf(`{%q: %s}`, target.kind, value))
			c.refused(target.method, target.path, admin, fmt.Sprintf(`{%q: {"name": %s}}`, target.kind, value))
			c.refused(target.method, target.path, admin, fmt.Sprintf(`{%q: {"enabled": %s, "identity": %s}}`, target.kind, value, value))
		}
	}
	if after := everybody(); before != after {
		t.Errorf("bad input changed something: %s became %s", before, after)
	}
	c.login("demo") // which is neither switched off nor has another password
}

// refused makes a request that may not end in a server error; changes without content are fine for PATCH.
func (c *testCloud) refused(method, path, token, body string) {
	c.t.Helper()
	a := c.do(method, path, body, authTokenHeader, token)
	if a.status >= 500 || a.status < 400 && method != "PATCH" {
		c.t.Errorf("%s %s %.80s: %d %v", method, path, body, a.status, a.body)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	c.as(admin, 404, "GET", "/v3/nothing", "")
	c.as(admin, 404, "GET", "/v2.0/tokens", "")
	c.as(admin, 405, "POST", "/v3/services", "{}")
	c.as(admin, 405, "DELETE", "/v3", "")
	for path, want := range map[string]string{
		"/v3": "GET, HEAD, OPTIONS", "/v3/users": "GET, HEAD, POST, OPTIONS", "/v3/auth/tokens": "GET, HEAD, POST, DELETE, OPTIONS",
	} {
		if got := c.as("", 200, "OPTIONS", path, "").header.Get("Allow"); got != want {
			t.Errorf("OPTIONS %s: got %q, want %q", path, got, want)
		}
	}
	c.as("", 404, "OPTIONS", "/v3/nothing", "")
	c.as(admin, 200, "GET", "/v3/users/", "")
}

func FuzzLogin(f *testing.F) {
	c := openCloud(f)
	handler := c.Handler()
	f.Add(loginBody("admin", "x", projectNamed("admin")))
	f.Add(`{"auth": {"identity": {"methods": ["token"], "token": {"id": "AAAA"}}, "scope": {"system": {}}}}`)
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v3/auth/tokens", strings.NewReader(body)))
		if w.Code >= 500 || w.Code < 400 {
			t.Errorf("%q: %d", body, w.Code)
		}
	})
}
