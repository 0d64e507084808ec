package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// testCloud is an identity service that listens on loopback.
type testCloud struct {
	*Embedded
	t       testing.TB
	handler http.Handler
	options Options
	logs    *bytes.Buffer
}

// openCloud makes a new cloud and writes its clients. Hashes are cheap, to keep the tests quick.
func openCloud(t testing.TB) *testCloud {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	c := &testCloud{t: t, logs: &bytes.Buffer{}, options: Options{
		Dir:          t.TempDir(),
		IdentityURL:  "http://" + server.Listener.Addr().String(),
		NetworkURL:   "http://127.0.0.1:9696",
		PasswordCost: bcrypt.MinCost,
	}}
	c.options.Logger = slog.New(slog.NewTextHandler(c.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.reopen()
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) })
	server.Start()
	t.Cleanup(server.Close)
	return c
}

// reopen is a restart.
func (c *testCloud) reopen() {
	c.t.Helper()
	e, err := Open(c.options)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := e.WriteClients(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.Embedded, c.handler = e, e.Handler()
}

// answer is what a request came back with.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// do makes a request without the network. The headers are name, value pairs.
func (c *testCloud) do(method, path, body string, headers ...string) answer {
	c.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header()}
	text, _ := io.ReadAll(w.Body)
	if len(text) > 0 {
		if err := json.Unmarshal(text, &a.body); err != nil {
			c.t.Fatalf("%s %s: answer %d is not JSON: %q", method, path, w.Code, text)
		}
	}
	return a
}

// as makes a request with the token and fails the test unless the status is the expected one.
func (c *testCloud) as(token string, want int, method, path, body string, headers ...string) answer {
	c.t.Helper()
	a := c.do(method, path, body, append(headers, authTokenHeader, token)...)
	if a.status != want {
		c.t.Fatalf("%s %s: got %d %v, want %d", method, path, a.status, a.body, want)
	}
	return a
}

// get follows keys (strings) and positions (ints) into the body.
func (a answer) get(path ...any) any {
	var v any = a.body
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			l, _ := v.([]any)
			if s >= len(l) {
				return nil
			}
			v = l[s]
		}
	}
	return v
}

func (a answer) text(path ...any) string { s, _ := a.get(path...).(string); return s }

// names returns the names in the list under the key.
func (a answer) names(key string) string {
	var names []string
	list, _ := a.get(key).([]any)
	for _, item := range list {
		names = append(names, item.(map[string]any)["name"].(string))
	}
	return strings.Join(names, " ")
}

func (c *testCloud) password(cloud string) string {
	c.t.Helper()
	clouds, err := readClouds(c.options.Dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return clouds.Clouds[cloud].Auth.Password
}

// loginBody is the request for a token. Scope is JSON, or "" for none.
func loginBody(user, password, scope string) string {
	if scope != "" {
		scope = `, "scope": ` + scope
	}
	return `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "` + user +
		`", "domain": {"id": "default"}, "password": "` + password + `"}}}` + scope + `}}`
}

func projectNamed(project string) string {
	return `{"project": {"name": "` + project + `", "domain": {"name": "Default"}}}`
}

// login returns a token for the user in the project of the same name.
func (c *testCloud) login(user string) string {
	c.t.Helper()
	a := c.do("POST", "/v3/auth/tokens", loginBody(user, c.password(user), projectNamed(user)))
	if a.status != http.StatusCreated {
		c.t.Fatalf("login as %s: %d %v", user, a.status, a.body)
	}
	return a.header.Get(subjectTokenHeader)
}

// id returns the id of the first entry of that name.
func (c *testCloud) id(collection, name string) string {
	c.t.Helper()
	id := c.as(c.login("admin"), 200, "GET", "/v3/"+collection+"?name="+name, "").text(collection, 0, "id")
	if id == "" {
		c.t.Fatalf("no %s in %s", name, collection)
	}
	return id
}

func TestAnyoneIsTheAdministrator(t *testing.T) {
	t.Parallel()
	caller, err := Anyone{}.Authenticate(t.Context(), "")
	if err != nil || !caller.Admin() || caller.ProjectName != "admin" || len(caller.ProjectID) != 32 {
		t.Errorf("got %+v, %v", caller, err)
	}
}

func TestAuthenticateTellsTheCaller(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	caller, err := c.Authenticate(t.Context(), c.login("demo"))
	if err != nil {
		t.Fatal(err)
	}
	if caller.UserName != "demo" || caller.ProjectName != "demo" || strings.Join(caller.Roles, " ") != "member reader" {
		t.Errorf("demo: got %+v", caller)
	}
	if len(caller.ProjectID) != 32 || len(caller.UserID) != 32 {
		t.Errorf("ids are not of Keystone's form: %+v", caller)
	}
	admin, err := c.Authenticate(t.Context(), c.login("admin"))
	if err != nil || strings.Join(admin.Roles, " ") != "admin manager member reader" {
		t.Errorf("admin: got %+v, %v", admin, err)
	}
	system := c.do("POST", "/v3/auth/tokens", loginBody("admin", c.password("admin"), `{"system": {"all": true}}`))
	operator, err := c.Authenticate(t.Context(), system.header.Get(subjectTokenHeader))
	if err != nil || operator.SystemScope != "all" || operator.ProjectID != "" || !operator.Admin() {
		t.Errorf("system: got %+v, %v", operator, err)
	}
}

func TestRestartKeepsUsersTokensAndRevocations(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	kept, revoked := c.login("demo"), c.login("demo")
	c.as(revoked, 204, "DELETE", "/v3/auth/tokens", "", subjectTokenHeader, revoked)
	c.as(c.login("admin"), 201, "POST", "/v3/projects", `{"project": {"name": "late"}}`)
	c.reopen()
	if _, err := c.Authenticate(t.Context(), kept); err != nil {
		t.Errorf("a token from before the restart: %v", err)
	}
	if _, err := c.Authenticate(t.Context(), revoked); err == nil {
		t.Error("a revoked token is valid again")
	}
	if got := c.as(c.login("admin"), 200, "GET", "/v3/projects", "").names("projects"); got != "admin demo late service" {
		t.Errorf("projects after the restart: %s", got)
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	token := c.login("admin")
	c.do("POST", "/v3/auth/tokens", loginBody("admin", "wrong-password", ""))
	c.as(token, 201, "POST", "/v3/users", `{"user": {"name": "ann", "password": "ann-password"}}`)
	c.do("GET", "/v3/users", "", authTokenHeader, "forged-token")
	c.as(token, 204, "DELETE", "/v3/auth/tokens", "", subjectTokenHeader, token)
	if !strings.Contains(c.logs.String(), "user created") {
		t.Error("the log does not tell of the new user")
	}
	for _, secret := range []string{token, c.password("admin"), "wrong-password", "ann-password", "forged-token"} {
		if strings.Contains(c.logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestChangesAtTheSameTime makes users from several sides while tokens are checked: no change gets lost.
func TestChangesAtTheSameTime(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 5 {
				a := c.do("POST", "/v3/users", fmt.Sprintf(`{"user": {"name": "user-%d-%d"}}`, i, j), authTokenHeader, admin)
				if a.status != 201 {
					t.Errorf("got %d %v", a.status, a.body)
				}
				if _, err := c.Authenticate(t.Context(), admin); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	c.reopen()
	if n := len(c.current.Load().users); n != 3+20 {
		t.Errorf("%d users, want 23", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	c := openCloud(b)
	token := c.login("demo")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Authenticate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLogin is a login with a password that was right before.
func BenchmarkLogin(b *testing.B) {
	c := openCloud(b)
	body := loginBody("demo", c.password("demo"), "")
	c.login("demo")
	for b.Loop() {
		if a := c.do("POST", "/v3/auth/tokens", body); a.status != 201 {
			b.Fatal(a)
		}
	}
}
