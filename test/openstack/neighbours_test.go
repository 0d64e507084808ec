package openstack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	southbound "github.com/neutrino-net/neutrino/internal/southbound/client"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
	"github.com/neutrino-net/neutrino/test/cloud"
)

// withNeighbours returns a clouds.yaml for the server in whose catalog there are services of compute and volumes, too.
// The client's quota commands ask them, and refuse to work in a cloud that does not have them.
func withNeighbours(t *testing.T, s *cloud.Server) string {
	t.Helper()
	quotas := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, project, ok := strings.Cut(r.URL.Path, "/os-quota-sets/")
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"quota_set": {"id": %q}}`, strings.TrimSuffix(project, "/defaults"))
	}))
	t.Cleanup(quotas.Close)

	behind := &url.URL{Scheme: "http", Host: s.Identity}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	proxy.ModifyResponse = func(resp *http.Response) error {
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte(behind.String()), []byte(front.URL))
		if resp.Header.Get("X-Subject-Token") != "" {
			text = withServices(text, quotas.URL)
		}
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		resp.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return nil
	}

	clouds, err := os.ReadFile(filepath.Join(s.Dir, "clouds.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, bytes.ReplaceAll(clouds, []byte(behind.String()), []byte(front.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// withServices adds compute and volumes to the catalog of a token.
func withServices(token []byte, address string) []byte {
	var answer map[string]map[string]any
	if json.Unmarshal(token, &answer) != nil {
		return token
	}
	catalog, ok := answer["token"]["catalog"].([]any)
	if !ok {
		return token
	}
	for _, kind := range []string{"compute", "volumev3"} {
		endpoint := map[string]any{
			"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": address + "/" + kind, "id": kind,
		}
		catalog = append(catalog, map[string]any{"type": kind, "name": kind, "id": kind, "endpoints": []any{endpoint}})
	}
	answer["token"]["catalog"] = catalog
	changed, err := json.Marshal(answer)
	if err != nil {
		return token
	}
	return changed
}

// joinHosts lets two hosts join the server that do nothing but say that they are there, and waits until their agents
// are.
func joinHosts(t *testing.T, s *cloud.Server) {
	t.Helper()
	for host, address := range map[string]string{"host1": "192.0.2.1", "host2": "192.0.2.2"} {
		token, err := exec.Command(cloud.Binary(t), "token", "create", host, "--data", s.Dir).Output()
		if err != nil {
			t.Fatalf("making a join token: %v", err)
		}
		c, err := southbound.New(southbound.Options{
			Server: s.Southbound, Token: strings.TrimSpace(string(token)), Host: host, DataDir: t.TempDir(),
			Hello: func() *sb.Hello {
				return &sb.Hello{
					Version: "test", Roles: []string{"l2", "dhcp", "l3"}, TunnelIp: address, TunnelTypes: []string{"vxlan"},
				}
			},
			OnBatch: func([]*sb.Document, []string, int64, bool) {},
			Logger:  slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			<-done
		})
	}
	admin := s.Client("admin")
	testkit.Eventually(t, 20*time.Second, "both hosts have their agents", func() bool {
		var list struct{ Agents []struct{ Alive bool } }
		admin.Must(t, 200, "GET", "/agents?alive=true", nil, &list)
		return len(list.Agents) == 6
	})
}
