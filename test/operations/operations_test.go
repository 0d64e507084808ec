// Package operations looks at the server as those who run it do: its health, its metrics, its status, what it says when it
// is started in the wrong way, and what it answers when its disk is full.
package operations

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/test/cloud"
)

func TestMain(m *testing.M) {
	code := m.Run()
	cloud.Clean()
	os.Exit(code)
}

// ask sends a request without a token.
func ask(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// run runs the program to its end.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, cloud.Binary(t), args...).CombinedOutput()
	return string(out), err
}

func TestHealthMetricsAndStatus(t *testing.T) {
	s := cloud.Start(t)
	c := s.Client("admin")
	c.Network(t, "blue", "10.0.0.0/24")
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, text := ask(t, "http://"+s.API+path); code != 200 || text != "ok\n" {
			t.Errorf("%s answers %d %q", path, code, text)
		}
	}
	_, metrics := ask(t, "http://"+s.API+"/metrics")
	for _, name := range []string{
		`neutrino_commit_duration_seconds_count{step="append"} `, "neutrino_commit_waiting ",
		"neutrino_southbound_connected_hosts 0", "neutrino_api_request_duration_seconds_count{", "process_resident_memory_bytes",
	} {
		if !strings.Contains(metrics, name) {
			t.Errorf("/metrics does not have %s", name)
		}
	}
	out, err := run(t, "status", "--server", "http://"+s.API)
	if err != nil || !strings.Contains(out, "ready") || !strings.Contains(out, "networks  1") {
		t.Errorf("neutrino status: %v\n%s", err, out)
	}
	req, _ := http.NewRequest(http.MethodGet, "http://"+s.API+"/metrics", nil)
	req.Header.Set("X-Forwarded-For", "203.0.113.9")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("/metrics answers a stranger behind a proxy with %d", resp.StatusCode)
	}
}

func TestWrongStartsSaySoInOneSentence(t *testing.T) {
	s := cloud.Start(t)
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("get_network: rule:nobody_has_written_this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := []string{"server", "--data", t.TempDir(), "--api", "127.0.0.1:0", "--identity", "127.0.0.1:0", "--southbound", "127.0.0.1:0"}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no data directory", []string{"server"}, `"data" not set`},
		{"the data directory of another server", []string{"server", "--data", s.Dir, "--api", "127.0.0.1:0", "--identity", "127.0.0.1:0",
			"--southbound", "127.0.0.1:0"}, "another process uses"},
		{"an address in use", []string{"server", "--data", t.TempDir(), "--api", s.API}, "address already in use"},
		{"every address", append(fresh, "--api", "0.0.0.0:0"), "--api-url"},
		{"no login, for everybody", append(fresh, "--auth", "none", "--identity", "0.0.0.0:0", "--identity-url", "http://x"), "loopback"},
		{"an unknown way to log in", append(fresh, "--auth", "kerberos"), "embedded, none"},
		{"a policy with an unknown rule", append(fresh, "--policy", policy), "nobody_has_written_this"},
		{"a bad VNI range", append(fresh, "--vni-ranges", "5"), "--vni-ranges"},
		{"a lease of a second", append(fresh, "--dhcp-lease-duration", "1s"), "two minutes"},
		{"an agent with a bad token", []string{"agent", "--server", s.Southbound, "--token", "x", "--host", "h", "--data", t.TempDir(),
			"--socket", filepath.Join(t.TempDir(), "s")}, "token"},
		{"an agent with an unknown role", []string{"agent", "--server", s.Southbound, "--roles", "chef"}, "chef"},
		{"a token for a bad host name", []string{"token", "create", "a b", "--data", s.Dir}, "a b"},
		{"a token without a server", []string{"token", "create", "a", "--data", t.TempDir()}, "authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run(t, c.args...)
			last := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
			if err == nil || !strings.HasPrefix(last, "neutrino: ") || !strings.Contains(last, c.want) {
				t.Errorf("%v: it says %q, not %q", err, last, c.want)
			}
		})
	}
}

// TestNoLogin: --auth none asks nobody who he is, and the openstack command works with the settings that were written.
func TestNoLogin(t *testing.T) {
	s := cloud.Start(t, "--auth", "none")
	if code, text := ask(t, "http://"+s.API+"/v2.0/networks"); code != 200 {
		t.Errorf("a list without a token: %d %s", code, text)
	}
	cmd := exec.Command("/usr/bin/openstack", "--os-cloud", "admin", "network", "create", "blue", "-f", "value", "-c", "status")
	cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+filepath.Join(s.Dir, "clouds.yaml"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "ACTIVE") {
		t.Errorf("openstack network create: %v\n%s", err, out)
	}
}

// TestAFullDiskIsSaid: writes are refused with 503, reads go on, nothing is acknowledged that is not there; and with space
// writes work again.
func TestAFullDiskIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=400m,mode=0700"); err != nil {
		t.Fatalf("mounting a small disk (needs root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s := cloud.StartIn(t, dir)
	c := s.Client("admin")
	network, _ := c.Network(t, "blue", "10.0.0.0/16")

	ballast := filepath.Join(dir, "ballast")
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail) * st.Bsize
	if err := os.WriteFile(ballast, make([]byte, free-(8<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	port := map[string]any{"port": map[string]any{"network_id": network}}
	status, text, err := c.Do(t.Context(), "POST", "/ports", port, nil)
	if err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("a write on a full disk: %d %s %v", status, text, err)
	}
	if code, text := ask(t, "http://"+s.API+"/readyz"); code != 503 || !strings.Contains(text, "disk is full") {
		t.Errorf("/readyz on a full disk: %d %q", code, text)
	}
	if code, _ := ask(t, "http://"+s.API+"/healthz"); code != 200 {
		t.Errorf("/healthz on a full disk: %d", code)
	}
	var list struct{ Ports []any }
	c.Must(t, 200, "GET", "/ports", nil, &list)
	if len(list.Ports) != 0 {
		t.Errorf("a refused port is there: %v", list.Ports)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		status, text, err = c.Do(t.Context(), "POST", "/ports", port, nil)
		if err == nil && status == 201 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("with space on the disk a write still gets %d %s %v", status, text, err)
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // between two attempts
	}
}

// TestSIGTERMEndsTheServerCleanly: exit code 0, and the next one starts on the same state.
func TestSIGTERMEndsTheServerCleanly(t *testing.T) {
	s := cloud.Start(t)
	s.Client("admin").Network(t, "blue", "10.0.0.0/24")
	if err := s.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	s.Restart()
	var list struct{ Networks []any }
	s.Client("admin").Must(t, 200, "GET", "/networks", nil, &list)
	if len(list.Networks) != 1 {
		t.Errorf("%d networks after a restart", len(list.Networks))
	}
}
