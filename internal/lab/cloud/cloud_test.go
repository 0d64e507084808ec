package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeCloud answers as the two services do, and checks what it is asked.
func fakeCloud(t *testing.T) (cloudsFile string) {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Auth struct {
				Identity struct {
					Password struct {
						User struct {
							Name, Password string
							Domain         struct{ ID string }
						}
					}
				}
				Scope struct{ Project struct{ Name string } }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		user := body.Auth.Identity.Password.User
		if user.Password != "secret" || user.Domain.ID != "default" || body.Auth.Scope.Project.Name != "demo" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"code":401,"title":"Unauthorized","message":"who are you?"}}`)
			return
		}
		w.Header().Set("X-Subject-Token", "t0ken")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":{"project":{"id":"p1"},"catalog":[{"type":"identity","endpoints":[]},
			{"type":"network","endpoints":[{"interface":"internal","url":"http://internal"},
			{"interface":"public","url":"%s/v2.0/"}]}]}}`, server.URL)
	})
	mux.HandleFunc("GET /v2.0/ports", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth-Token") != "t0ken" || r.URL.Query().Get("name") != "a b&c" {
			t.Errorf("token %q, query %q", r.Header.Get("X-Auth-Token"), r.URL.RawQuery)
		}
		fmt.Fprint(w, `{"ports":[{"id":"1","fixed_ips":[{"ip_address":"10.0.0.1"}]},{"id":"2"}]}`)
	})
	mux.HandleFunc("POST /v2.0/networks", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"NeutronError":{"type":"OverQuota","message":"Quota exceeded","detail":""}}`)
	})
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	text := "clouds:\n"
	for name, password := range map[string]string{"demo": "secret", "wrong": "guess"} {
		text += fmt.Sprintf("  %s:\n    auth: {auth_url: %q, username: u, password: %s, project_name: demo}\n    region_name: r\n",
			name, server.URL, password)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoginFindsTheNetworkingEndpoint(t *testing.T) {
	c, err := Login(t.Context(), fakeCloud(t), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if c.ProjectID() != "p1" {
		t.Errorf("project %q", c.ProjectID())
	}
	ports, err := c.Ports(t.Context(), map[string]string{"name": "a b&c"})
	if err != nil || len(ports) != 2 || ports[0].Address() != "10.0.0.1" || ports[1].Address() != "" {
		t.Errorf("ports %+v, error %v", ports, err)
	}
}

func TestErrorsCarryWhatTheServiceSays(t *testing.T) {
	file := fakeCloud(t)
	if _, err := Login(t.Context(), file, "absent"); err == nil || !strings.Contains(err.Error(), `no cloud "absent"`) {
		t.Errorf("a cloud that is not there: %v", err)
	}
	_, err := Login(t.Context(), file, "wrong")
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || refused.Message != "who are you?" {
		t.Errorf("a wrong password: %v", err)
	}
	c, err := Login(t.Context(), file, "demo")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateNetwork(t.Context(), Network{Name: "x"})
	if !errors.As(err, &refused) || refused.Status != http.StatusConflict || refused.Type != "OverQuota" {
		t.Errorf("a refused network: %v", err)
	}
}
