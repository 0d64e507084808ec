package identity

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// credentialOf makes an application credential with the token's rights and returns its id and secret. More are further
// members of the body.
func (c *testCloud) credentialOf(token, userID, name, more string) (id, secret string) {
	c.t.Helper()
	a := c.as(token, 201, "POST", "/v3/users/"+userID+"/application_credentials",
		`{"application_credential": {"name": "`+name+`"`+more+`}}`)
	return a.text("application_credential", "id"), a.text("application_credential", "secret")
}

func byCredentialID(id, secret string) string {
	return `{"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"id": "` + id +
		`", "secret": "` + secret + `"}}}}`
}

func TestApplicationCredentials(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	token, user := c.login("demo"), c.id("users", "demo")
	all := "/v3/users/" + user + "/application_credentials"
	id, secret := c.credentialOf(token, user, "terraform", `, "description": "builds", "expires_at": "2999-01-02T03:04:05"`)
	if len(secret) != 64 {
		t.Errorf("the secret has %d characters", len(secret))
	}
	c.as(token, 409, "POST", all, `{"application_credential": {"name": "terraform"}}`)
	shown := c.as(token, 200, "GET", all+"/"+id, "")
	if shown.get("application_credential", "secret") != nil || shown.text("application_credential", "project_id") == "" ||
		shown.text("application_credential", "expires_at") != "2999-01-02T03:04:05.000000" {
		t.Errorf("shown as %v", shown.body)
	}
	if got := c.as(token, 200, "GET", all+"?name=terraform", "").names("application_credentials"); got != "terraform" {
		t.Errorf("listed as %q", got)
	}

	named := `{"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"name": "terraform",
		"secret": "` + secret + `", "user": %s}}}}`
	for _, body := range []string{
		byCredentialID(id, secret),
		fmt.Sprintf(named, `{"id": "`+user+`"}`),
		fmt.Sprintf(named, `{"name": "demo", "domain": {"name": "Default"}}`),
	} {
		a := c.do("POST", "/v3/auth/tokens", body)
		if a.status != 201 {
			t.Fatalf("%s: %d %v", body, a.status, a.body)
		}
		if a.text("token", "project", "name") != "demo" || a.text("token", "methods", 0) != "application_credential" ||
			a.text("token", "application_credential", "id") != id ||
			a.get("token", "application_credential", "restricted") != true || a.get("token", "catalog", 0) == nil {
			t.Errorf("the token is %v", a.body)
		}
		caller, err := c.Authenticate(t.Context(), a.header.Get(subjectTokenHeader))
		if err != nil || strings.Join(caller.Roles, " ") != "member reader" || caller.ProjectName != "demo" {
			t.Errorf("the caller is %+v, %v", caller, err)
		}
	}
	for name, body := range map[string]string{
		"wrong secret":   byCredentialID(id, "wrong"),
		"unknown":        byCredentialID(newID(), secret),
		"another's name": fmt.Sprintf(named, `{"name": "admin", "domain": {"id": "default"}}`),
		"with a scope":   strings.TrimSuffix(byCredentialID(id, secret), "}}") + `, "scope": {"system": {"all": true}}}}`,
	} {
		if a := c.do("POST", "/v3/auth/tokens", body); a.status != 401 {
			t.Errorf("%s: %d %v", name, a.status, a.body)
		}
	}
	if strings.Contains(c.logs.String(), secret) {
		t.Error("the secret is in the log")
	}
}

// TestApplicationCredentialsAreLimited tells what a program cannot do that its user can, and what others cannot see.
func TestApplicationCredentialsAreLimited(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin, demo := c.id("users", "admin"), c.id("users", "demo")
	token := c.login("admin")
	id, secret := c.credentialOf(token, admin, "watcher", `, "roles": [{"name": "reader"}]`)
	program := c.do("POST", "/v3/auth/tokens", byCredentialID(id, secret)).header.Get(subjectTokenHeader)
	caller, err := c.Authenticate(t.Context(), program)
	if err != nil || strings.Join(caller.Roles, " ") != "reader" {
		t.Errorf("the caller is %+v, %v", caller, err)
	}
	own := "/v3/users/" + admin + "/application_credentials"
	c.as(program, 403, "GET", "/v3/users", "")
	c.as(program, 403, "POST", own, `{"application_credential": {"name": "more"}}`)
	c.as(program, 403, "DELETE", own+"/"+id, "")
	if a := c.do("POST", "/v3/auth/tokens", `{"auth": {"identity": {"methods": ["token"], "token": {"id": "`+program+`"}},
		"scope": {"system": {"all": true}}}}`); a.status != 403 {
		t.Errorf("the token of a program was exchanged: %d %v", a.status, a.body)
	}
	freeID, freeSecret := c.credentialOf(token, admin, "free", `, "unrestricted": true`)
	free := c.do("POST", "/v3/auth/tokens", byCredentialID(freeID, freeSecret)).header.Get(subjectTokenHeader)
	c.credentialOf(free, admin, "made by a program", "")

	stranger := c.login("demo")
	c.as(stranger, 403, "GET", own, "")
	c.as(stranger, 403, "GET", own+"/"+id, "")
	c.as(stranger, 403, "DELETE", own+"/"+id, "")
	c.as(stranger, 403, "POST", own, `{"application_credential": {"name": "x"}}`)
	c.as(stranger, 404, "GET", "/v3/users/"+demo+"/application_credentials/"+id, "")
	for name, more := range map[string]string{
		"a role that the user lacks": `, "roles": [{"name": "admin"}]`,
		"no role":                    `, "roles": []`,
		"the past":                   `, "expires_at": "2001-01-01T00:00:00"`,
		"not a time":                 `, "expires_at": "soon"`,
		"access rules":               `, "access_rules": [{"path": "/", "method": "GET", "service": "network"}]`,
		"a secret that is too long":  `, "secret": "` + strings.Repeat("x", 73) + `"`,
	} {
		a := c.do("POST", "/v3/users/"+demo+"/application_credentials", `{"application_credential": {"name": "x"`+more+`}}`,
			authTokenHeader, stranger)
		if a.status != 400 {
			t.Errorf("%s: %d %v", name, a.status, a.body)
		}
	}
}

// TestApplicationCredentialsEnd lists what ends one, for good and with the tokens that it was given.
func TestApplicationCredentialsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *testCloud, admin, user, id string){
		"deleted": func(c *testCloud, admin, user, id string) {
			c.as(admin, 204, "DELETE", "/v3/users/"+user+"/application_credentials/"+id, "")
		},
		"its user deleted": func(c *testCloud, admin, user, _ string) { c.as(admin, 204, "DELETE", "/v3/users/"+user, "") },
		"its project deleted": func(c *testCloud, admin, _, _ string) {
			c.as(admin, 204, "DELETE", "/v3/projects/"+c.id("projects", "demo"), "")
		},
		"the role taken away and given back": func(c *testCloud, admin, user, _ string) {
			role := "/v3/projects/" + c.id("projects", "demo") + "/users/" + user + "/roles/" + c.id("roles", "member")
			c.as(admin, 204, "DELETE", role, "")
			c.as(admin, 204, "PUT", role, "")
		},
		"its user switched off": func(c *testCloud, admin, user, _ string) {
			c.as(admin, 200, "PATCH", "/v3/users/"+user, `{"user": {"enabled": false}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := openCloud(t)
			user := c.id("users", "demo")
			id, secret := c.credentialOf(c.login("demo"), user, "x", "")
			token := c.do("POST", "/v3/auth/tokens", byCredentialID(id, secret)).header.Get(subjectTokenHeader)
			c.as(token, 200, "GET", "/v3/auth/projects", "")
			c.reopen() // it survives a restart
			c.as(token, 200, "GET", "/v3/auth/projects", "")
			end(c, c.login("admin"), user, id)
			c.as(token, 401, "GET", "/v3/auth/projects", "")
			if a := c.do("POST", "/v3/auth/tokens", byCredentialID(id, secret)); a.status != 401 {
				t.Errorf("still good: %d", a.status)
			}
		})
	}
}

func TestTokensEndWithTheApplicationCredential(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	user := c.id("users", "demo")
	id, secret := c.credentialOf(c.login("demo"), user, "x", "")
	synctest.Test(t, func(t *testing.T) {
		c.sleepUntilTokens(user)
		soon := time.Now().Add(time.Hour).UTC()
		d := c.current.Load()
		x := *d.credentials[id]
		x.Expires = soon
		d.credentials[id] = &x
		token, s, err := c.issue(proof{userID: user, how: byCredential, credential: &x}, scope{projectScope, x.ProjectID})
		if err != nil || !s.expires.Equal(soon) {
			t.Fatalf("the token ends at %v, want %v: %v", s.expires, soon, err)
		}
		pass(time.Hour)
		if _, err := c.validate(token); err == nil {
			t.Error("the token outlives the application credential")
		}
		if a := c.do("POST", "/v3/auth/tokens", byCredentialID(id, secret)); a.status != 401 {
			t.Errorf("an expired application credential gives tokens: %d", a.status)
		}
	})
}

func TestApplicationCredentialsAreBounded(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	token, user := c.login("demo"), c.id("users", "demo")
	for i := range maxCredentials {
		c.credentialOf(token, user, fmt.Sprint(i), "")
	}
	c.as(token, 403, "POST", "/v3/users/"+user+"/application_credentials", `{"application_credential": {"name": "more"}}`)
}

func TestExpiredTokensAreExplainedToServices(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin, user := c.id("users", "admin"), c.id("users", "demo")
	project := c.current.Load().projectNames[name{defaultDomainID, "admin"}]
	synctest.Test(t, func(t *testing.T) {
		c.sleepUntilTokens(admin)
		c.sleepUntilTokens(user)
		expired, _, err := c.issue(proof{userID: user, how: byPassword}, scope{})
		if err != nil {
			t.Fatal(err)
		}
		pass(13 * time.Hour)
		asker := func(id string, s scope) string {
			token, _, err := c.issue(proof{userID: id, how: byPassword}, s)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		service := asker(admin, scope{projectScope, project})
		c.as(service, 404, "GET", "/v3/auth/tokens", "", subjectTokenHeader, expired)
		c.as(service, 200, "GET", "/v3/auth/tokens?allow_expired=1", "", subjectTokenHeader, expired)
		c.as(asker(user, scope{}), 403, "GET", "/v3/auth/tokens?allow_expired=1", "", subjectTokenHeader, expired)
		pass(expiredGrace)
		c.as(asker(admin, scope{projectScope, project}), 404, "GET", "/v3/auth/tokens?allow_expired=1", "", subjectTokenHeader, expired)
	})
}
