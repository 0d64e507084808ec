// Package nova runs the real program against an endpoint in the place of Nova, and looks at what it is told.
package nova

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutrino-net/neutrino/test/cloud"
)

func TestMain(m *testing.M) {
	code := m.Run()
	cloud.Clean()
	os.Exit(code)
}

// server is the id of a server of Nova's.
const server = "5e7e0000-0000-4000-8000-000000000001"

// call is a request that Nova was sent.
type call struct {
	Events []map[string]string `json:"events"`
	token  string
}

// endpoint stands in for Nova. While it is away it answers with 503.
func endpoint(t *testing.T) (url string, away *atomic.Bool, calls chan call) {
	away, calls = new(atomic.Bool), make(chan call, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		c := call{token: r.Header.Get("X-Auth-Token")}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &c); err != nil || r.URL.Path != "/v2.1/os-server-external-events" {
			t.Errorf("%s %s %s: %v", r.Method, r.URL, body, err)
		}
		calls <- c
		_, _ = io.WriteString(w, `{"events": []}`)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v2.1", away, calls
}

func next(t *testing.T, calls chan call) call {
	t.Helper()
	select {
	case c := <-calls:
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("Nova was not called")
		return call{}
	}
}

// TestNovaIsToldOfItsPorts follows one port, through a time in which Nova is away and the server is killed.
func TestNovaIsToldOfItsPorts(t *testing.T) {
	t.Setenv("OS_AUTH_URL", "") // the login is the embedded one
	url, away, calls := endpoint(t)
	s := cloud.Start(t, "--nova-url", url)
	admin := s.Client("admin")
	network, _ := admin.Network(t, "blue", "10.0.0.0/24")
	var made struct{ Port cloud.ID }
	admin.Must(t, 201, "POST", "/ports", map[string]any{"port": map[string]any{
		"network_id": network, "device_owner": "compute:nova", "device_id": server}}, &made)
	path := "/ports/" + made.Port.ID
	rename := func(name string) {
		t.Helper()
		admin.Must(t, 200, "PUT", path, map[string]any{"port": map[string]any{"name": name}}, nil)
	}
	expect := func(event string) call {
		t.Helper()
		got := next(t, calls)
		want := []map[string]string{{"name": event, "server_uuid": server, "tag": made.Port.ID}}
		if diff := cmp.Diff(want, got.Events); diff != "" {
			t.Errorf("%s: %s", event, diff)
		}
		return got
	}

	rename("web")
	told := expect("network-changed")
	identity := cloud.Client{URL: "http://" + s.Identity + "/v3", Token: told.token, HTTP: admin.HTTP}
	var mine struct{ Projects []struct{ Name string } }
	identity.Must(t, 200, "GET", "/auth/projects", nil, &mine)
	if len(mine.Projects) != 1 || mine.Projects[0].Name != "service" {
		t.Errorf("the token is for %v", mine.Projects)
	}

	away.Store(true)
	rename("mail")
	s.Kill()
	away.Store(false)
	s.Restart("--nova-url", url)
	expect("network-changed")
	admin.Must(t, 204, "DELETE", path, nil, nil)
	expect("network-vif-deleted")
	if err := s.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if len(calls) > 0 {
		t.Errorf("one call too many: %v", (<-calls).Events)
	}
}
