package nova

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// environment returns a getenv.
func environment(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestKeystoneLogsInWithTheEnvironment(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		env  []string
		want string
	}{
		"password": {
			[]string{"OS_USERNAME", "neutron", "OS_PASSWORD", "pw", "OS_PROJECT_NAME", "service", "OS_USER_DOMAIN_NAME", "Users"},
			`{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "neutron", "password": "pw",
				"domain": {"name": "Users"}}}}, "scope": {"project": {"name": "service", "domain": {"id": "default"}}}}}`,
		},
		"application credential": {
			[]string{"OS_APPLICATION_CREDENTIAL_ID", "i", "OS_APPLICATION_CREDENTIAL_SECRET", "s"},
			`{"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"id": "i", "secret": "s"}}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logins, life := 0, time.Hour
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				logins++
				var got, want any
				body, _ := io.ReadAll(r.Body)
				if json.Unmarshal(body, &got) != nil || json.Unmarshal([]byte(row.want), &want) != nil || r.URL.Path != "/v3/auth/tokens" {
					t.Errorf("%s %s", r.URL, body)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				w.Header().Set("X-Subject-Token", fmt.Sprint("token", logins))
				w.WriteHeader(http.StatusCreated)
				fmt.Fprintf(w, `{"token": {"expires_at": %q}}`, time.Now().Add(life).UTC().Format("2006-01-02T15:04:05.000000Z"))
			}))
			t.Cleanup(server.Close)
			k, err := KeystoneFrom(environment(append(row.env, "OS_AUTH_URL", server.URL+"/v3/")...))
			if err != nil {
				t.Fatal(err)
			}
			expect := func(renew bool, want string) {
				t.Helper()
				if got, err := k.Token(t.Context(), renew); got != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
			expect(false, "token1")
			expect(false, "token1") // kept
			life = time.Minute
			expect(true, "token2")
			expect(false, "token3") // the second one was about to end
			k.client.CloseIdleConnections()
		})
	}
}

func TestKeystoneNeedsACompleteEnvironment(t *testing.T) {
	t.Parallel()
	if k, err := KeystoneFrom(environment()); k != nil || err != nil {
		t.Errorf("without a URL: %v, %v", k, err)
	}
	if _, err := KeystoneFrom(environment("OS_AUTH_URL", "http://k", "OS_USERNAME", "neutron")); err == nil {
		t.Error("a login without a password was accepted")
	}
	refusing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refusing.Close)
	k, err := KeystoneFrom(environment("OS_AUTH_URL", refusing.URL, "OS_APPLICATION_CREDENTIAL_ID", "i"))
	if err != nil {
		t.Fatal(err)
	}
	if token, err := k.Token(t.Context(), false); err == nil {
		t.Errorf("got the token %q from a server that refuses", token)
	}
	k.client.CloseIdleConnections()
}
