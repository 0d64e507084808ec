package identity

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	root := c.do("GET", "/", "")
	if root.status != 300 || root.text("versions", "values", 0, "id") != "v3.14" {
		t.Errorf("/: %d %v", root.status, root.body)
	}
	for _, path := range []string{"/v3", "/v3/"} {
		v := c.do("GET", path, "")
		if v.status != 200 || v.text("version", "links", 0, "href") != c.options.IdentityURL+"/v3/" {
			t.Errorf("%s: %d %v", path, v.status, v.body)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	adminID, projectID := c.id("users", "admin"), c.id("projects", "admin")
	admin, demo := c.password("admin"), c.password("demo")
	byID := func(id, password string) string {
		return `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "` + id +
			`", "password": "` + password + `"}}}}}`
	}
	for name, row := range map[string]struct {
		body   string
		status int
		scope  string // the member of the token that tells its scope
	}{
		"default project":         {loginBody("admin", admin, ""), 201, "project"},
		"by id":                   {byID(adminID, admin), 201, "project"},
		"project by name":         {loginBody("admin", admin, projectNamed("admin")), 201, "project"},
		"project by id":           {loginBody("admin", admin, `{"project": {"id": "`+projectID+`"}}`), 201, "project"},
		"system":                  {loginBody("admin", admin, `{"system": {"all": true}}`), 201, "system"},
		"unscoped":                {loginBody("admin", admin, `"unscoped"`), 201, ""},
		"wrong password":          {loginBody("admin", "x", ""), 401, ""},
		"empty password":          {loginBody("admin", "", ""), 401, ""},
		"endless password":        {loginBody("admin", strings.Repeat("x", 5000), ""), 401, ""},
		"password of another":     {loginBody("admin", demo, ""), 401, ""},
		"user without password":   {loginBody("service", "", ""), 401, ""},
		"unknown user":            {loginBody("nobody", "x", ""), 401, ""},
		"unknown id":              {byID("nobody", "x"), 401, ""},
		"no role there":           {loginBody("demo", demo, projectNamed("admin")), 401, ""},
		"unknown project":         {loginBody("demo", demo, projectNamed("nowhere")), 401, ""},
		"project without domain":  {loginBody("demo", demo, `{"project": {"name": "demo"}}`), 401, ""},
		"system without a role":   {loginBody("demo", demo, `{"system": {"all": true}}`), 401, ""},
		"domain without a role":   {loginBody("admin", admin, `{"domain": {"id": "default"}}`), 401, ""},
		"scope of the wrong type": {loginBody("admin", admin, `7`), 400, ""},
		"two scopes":              {loginBody("admin", admin, `{"system": {"all": true}, "domain": {"id": "default"}}`), 400, ""},
		"unknown scope":           {loginBody("admin", admin, `"everything"`), 400, ""},
		"name without domain":     {strings.Replace(loginBody("admin", admin, ""), "domain", "realm", 1), 400, ""},
		"unknown method":          {`{"auth": {"identity": {"methods": ["magic"]}}}`, 401, ""},
		"no method":               {`{"auth": {"identity": {"methods": []}}}`, 400, ""},
		"nothing":                 {`{}`, 400, ""},
		"null":                    {`{"auth": null}`, 400, ""},
		"wrong type":              {`{"auth": {"identity": {"methods": "password"}}}`, 400, ""},
		"no JSON":                 {`hello`, 400, ""},
		"forged token":            {`{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}}}`, 401, ""},
		"too large":               {strings.Repeat(" ", maxBody+1) + "{}", 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.do("POST", "/v3/auth/tokens", row.body)
			if a.status != row.status {
				t.Fatalf("got %d %v, want %d", a.status, a.body, row.status)
			}
			if row.status != 201 {
				if a.get("error", "code") != float64(row.status) ||
					a.text("error", "title") != http.StatusText(row.status) || a.text("error", "message") == "" {
					t.Errorf("the error is not of Keystone's form: %v", a.body)
				}
				if row.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Keystone uri=") {
					t.Errorf("no WWW-Authenticate: %v", a.header)
				}
				return
			}
			for _, scope := range []string{"project", "system", "domain"} {
				if has := a.get("token", scope) != nil; has != (scope == row.scope) {
					t.Errorf("the token has %s: %v", scope, has)
				}
			}
			if scoped := a.get("token", "catalog") != nil; scoped != (row.scope != "") {
				t.Errorf("the token has a catalog: %v", scoped)
			}
		})
	}
}

// TestUnknownUsersCannotBeFound compares all that an answer shows.
func TestUnknownUsersCannotBeFound(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	wrong := c.do("POST", "/v3/auth/tokens", loginBody("admin", "x", ""))
	unknown := c.do("POST", "/v3/auth/tokens", loginBody("nobody", "x", ""))
	if fmt.Sprint(wrong) != fmt.Sprint(unknown) {
		t.Errorf("wrong password: %v\nunknown user:   %v", wrong, unknown)
	}
}

func TestTokenFromToken(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	first := c.login("demo")
	body := `{"auth": {"identity": {"methods": ["token"], "token": {"id": "` + first + `"}}, "scope": "unscoped"}}`
	a := c.do("POST", "/v3/auth/tokens", body)
	if a.status != 201 || a.get("token", "project") != nil {
		t.Fatalf("got %d %v", a.status, a.body)
	}
	origin := c.as(first, 200, "GET", "/v3/auth/tokens", "", subjectTokenHeader, first)
	if a.text("token", "expires_at") != origin.text("token", "expires_at") {
		t.Error("a token lives longer than the one it was got with")
	}
	if a.text("token", "audit_ids", 1) != origin.text("token", "audit_ids", 0) {
		t.Errorf("audit ids: got %v, first %v", a.get("token", "audit_ids"), origin.get("token", "audit_ids"))
	}
	if got := fmt.Sprint(a.get("token", "methods")); got != "[password token]" {
		t.Errorf("methods: %s", got)
	}
	second := a.header.Get(subjectTokenHeader)
	if got := c.as(second, 200, "GET", "/v3/auth/projects", "").names("projects"); got != "demo" {
		t.Errorf("projects of demo: %s", got)
	}
	c.as(second, 403, "GET", "/v3/auth/catalog", "")
	c.as(first, 200, "GET", "/v3/auth/catalog", "")
}

func TestWhoMayValidateAndRevoke(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin, demo := c.login("admin"), c.login("demo")
	c.as(admin, 200, "PATCH", "/v3/users/"+c.id("users", "service"), `{"user": {"password": "service-pass"}}`)
	service := c.do("POST", "/v3/auth/tokens", loginBody("service", "service-pass", "")).header.Get(subjectTokenHeader)
	for _, row := range []struct {
		who, subject, method string
		status               int
	}{
		{admin, demo, "GET", 200},
		{service, demo, "GET", 200},
		{demo, demo, "GET", 200},
		{demo, demo, "HEAD", 200},
		{demo, admin, "GET", 403},
		{demo, "forged", "GET", 403},
		{admin, "forged", "GET", 404},
		{"forged", demo, "GET", 401},
		{"", demo, "GET", 401},
		{demo, admin, "DELETE", 403},
		{service, demo, "DELETE", 403},
		{demo, demo, "DELETE", 204},
		{demo, demo, "GET", 401},
		{admin, demo, "GET", 404},
	} {
		a := c.do(row.method, "/v3/auth/tokens", "", authTokenHeader, row.who, subjectTokenHeader, row.subject)
		if a.status != row.status {
			t.Errorf("%+v: got %d %v", row, a.status, a.body)
		}
	}
}

// TestTokensFollowTheDirectory changes the directory under a token, and expects that it ends at once.
func TestTokensFollowTheDirectory(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	user, project := c.id("users", "demo"), c.id("projects", "demo")
	member, reader := c.id("roles", "member"), c.id("roles", "reader")
	grant := "/v3/projects/" + project + "/users/" + user + "/roles/"
	for name, change := range map[string]func(admin string){
		"new password": func(admin string) {
			c.as(admin, 200, "PATCH", "/v3/users/"+user, `{"user": {"password": "`+c.password("demo")+`"}}`)
		},
		"own new password": func(string) {
			p := c.password("demo")
			a := c.do("POST", "/v3/users/"+user+"/password", `{"user": {"password": "`+p+`", "original_password": "`+p+`"}}`)
			if a.status != 204 {
				t.Fatalf("got %d %v", a.status, a.body)
			}
		},
		"user off and on": func(admin string) {
			c.as(admin, 200, "PATCH", "/v3/users/"+user, `{"user": {"enabled": false}}`)
			c.as(admin, 200, "PATCH", "/v3/users/"+user, `{"user": {"enabled": true}}`)
		},
		"role taken away": func(admin string) { c.as(admin, 204, "DELETE", grant+member, "") },
		"project off": func(admin string) {
			c.as(admin, 200, "PATCH", "/v3/projects/"+project, `{"project": {"enabled": false}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			admin := c.login("admin")
			c.as(admin, 200, "PATCH", "/v3/projects/"+project, `{"project": {"enabled": true}}`)
			c.as(admin, 204, "PUT", grant+member, "")
			token := c.login("demo")
			if _, err := c.Authenticate(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			change(admin)
			if caller, err := c.Authenticate(t.Context(), token); err == nil {
				t.Errorf("the token is still good: %+v", caller)
			}
		})
	}
	t.Run("less rights", func(t *testing.T) {
		admin := c.login("admin")
		c.as(admin, 200, "PATCH", "/v3/projects/"+project, `{"project": {"enabled": true}}`)
		c.as(admin, 204, "PUT", grant+member, "")
		token := c.login("demo")
		c.as(admin, 204, "PUT", grant+reader, "")
		c.as(admin, 204, "DELETE", grant+member, "")
		caller, err := c.Authenticate(t.Context(), token)
		if err != nil || strings.Join(caller.Roles, " ") != "reader" {
			t.Errorf("got %+v, %v", caller, err)
		}
	})
}

// pass lets the time of synctest pass, which costs none.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // no time passes but that of the test
}

// sleepUntilTokens waits, in the fake time of synctest, which begins in the year 2000, until tokens of the user are good.
func (c *testCloud) sleepUntilTokens(user string) {
	pass(time.Until(c.current.Load().users[user].TokensSince))
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	user := c.current.Load().userNames[name{defaultDomainID, "demo"}]
	synctest.Test(t, func(t *testing.T) {
		c.sleepUntilTokens(user)
		token, _, err := c.issue(proof{userID: user, how: byPassword}, scope{})
		if err != nil {
			t.Fatal(err)
		}
		pass(12*time.Hour - time.Second)
		if _, err := c.validate(token); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		pass(time.Second)
		if _, err := c.validate(token); err == nil {
			t.Error("still good at its end")
		}
	})
}

// TestRevocationsAreBounded revokes more tokens than are remembered one by one. None may come back, and a new one works.
func TestRevocationsAreBounded(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	user := c.current.Load().userNames[name{defaultDomainID, "demo"}]
	synctest.Test(t, func(t *testing.T) {
		c.sleepUntilTokens(user)
		var tokens []string
		err := c.update(func(d *directory) error { // at once, to spare the disk
			u := *d.users[user]
			d.users[user] = &u
			for range maxRevoked + 10 {
				pass(time.Millisecond)
				token, s, err := c.issue(proof{userID: user, how: byPassword}, scope{})
				if err != nil {
					return err
				}
				u.revoke(s.claims, time.Now())
				tokens = append(tokens, token)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(c.current.Load().users[user].Revoked); n > maxRevoked {
			t.Errorf("%d revocations are kept", n)
		}
		for i, token := range tokens {
			if _, err := c.validate(token); err == nil {
				t.Errorf("revoked token %d is good", i)
			}
		}
		pass(time.Millisecond)
		token, s, err := c.issue(proof{userID: user, how: byPassword}, scope{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.validate(token); err != nil {
			t.Errorf("a new token: %v", err)
		}
		pass(13 * time.Hour)
		if err := c.revoke(s); err != nil {
			t.Fatal(err)
		}
		if n := len(c.current.Load().users[user].Revoked); n != 1 {
			t.Errorf("%d revocations are kept after all tokens expired, want the newest only", n)
		}
	})
}

func TestChangedTokenIsRefused(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	token := c.login("demo")
	for i := range token {
		for _, b := range []byte{'A', 'B', '=', '\n', 0xff} {
			forged := []byte(token)
			forged[i] = b
			// The last character carries two unused bits, so another one can stand for the same token.
			if string(forged) == token || i == len(token)-1 {
				continue
			}
			if _, err := c.validate(string(forged)); err == nil {
				t.Fatalf("the token is good with %q at %d", b, i)
			}
		}
	}
	for _, forged := range []string{
		"", "x", token[:len(token)-4], token + "AAAA", strings.Repeat("A", 200), strings.Repeat("A", 100_000),
	} {
		if _, err := c.validate(forged); err == nil {
			t.Errorf("%.20q… is good", forged)
		}
	}
	other := openCloud(t)
	if _, err := other.validate(token); err == nil {
		t.Error("a token of another cloud is good")
	}
}

func FuzzTokenDecode(f *testing.F) {
	s := signer{key: make([]byte, keySize)}
	f.Add(s.encode(claims{userID: "u", scope: scope{projectScope, "p"}}))
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := s.decode(token)
		if err == nil && s.encode(c) != token {
			// Only the unused bits of the last character may differ.
			if again, err := s.decode(s.encode(c)); err != nil || again != c {
				t.Errorf("%q decodes to %+v and back to something else", token, c)
			}
		}
	})
}
