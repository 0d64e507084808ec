// Package cloud runs the real program for the tests that look at it from outside: a server of its own for each test, on
// free ports, with its state in the test's directory, and a small client of the API.
package cloud

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// binary is the program under test: the one that make has built (NEUTRINO_BIN), or one built here, once for all tests of
// a package.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("NEUTRINO_BIN"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "neutrino-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "neutrino")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", path, "github.com/neutrino-net/neutrino/cmd/neutrino")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return path, nil
})

// Binary returns the path of the program, built from this tree.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Clean removes the program that Binary built; packages call it at the end of TestMain.
func Clean() {
	if path, err := binary(); err == nil && path != os.Getenv("NEUTRINO_BIN") {
		_ = os.RemoveAll(filepath.Dir(path))
	}
}

// Server is a running `neutrino server`.
type Server struct {
	Dir        string // its data directory
	API        string // host:port
	Identity   string
	Southbound string
	Ready      time.Duration // from start to the line that says it answers

	t    testing.TB
	more []string
	cmd  *exec.Cmd
}

// Start starts a server with an empty state; it is killed when the test ends. More are further arguments.
func Start(t testing.TB, more ...string) *Server {
	t.Helper()
	return StartIn(t, t.TempDir(), more...)
}

// StartIn is Start with a data directory of the caller's.
func StartIn(t testing.TB, dir string, more ...string) *Server {
	t.Helper()
	s := &Server{t: t, Dir: dir, API: freeAddress(t), Identity: freeAddress(t), Southbound: freeAddress(t)}
	s.more = more
	s.Restart()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			tail, _ := os.ReadFile(filepath.Join(s.Dir, "test.log"))
			t.Logf("the end of the server's log:\n%s", tail[max(0, len(tail)-4000):])
		}
	})
	return s
}

// Restart starts the server on what it has on disk, with the arguments of before or, where there are some, with these.
func (s *Server) Restart(more ...string) {
	s.t.Helper()
	if len(more) > 0 {
		s.more = more
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, "test.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"server", "--data", s.Dir, "--api", s.API, "--identity", s.Identity, "--southbound", s.Southbound}, s.more...)
	s.cmd = exec.CommandContext(context.Background(), Binary(s.t), args...) // Kill ends it: cleanups may still need it
	s.cmd.Stderr = log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(stdout).ReadString('\n')
		line <- text
		_, _ = io.Copy(io.Discard, stdout)
	}()
	select {
	case text := <-line:
		if !strings.Contains(text, s.API) {
			tail, _ := os.ReadFile(filepath.Join(s.Dir, "test.log"))
			s.t.Fatalf("the server did not start: %q\n%s", text, tail)
		}
	case <-time.After(30 * time.Second):
		s.t.Fatal("the server did not answer within 30 s")
	}
	s.Ready = time.Since(start)
}

// Kill ends the server with SIGKILL, as a power cut would.
func (s *Server) Kill() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// Stop ends the server with a signal and returns how it ended: nil is exit code 0.
func (s *Server) Stop(signal syscall.Signal) error {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	return s.cmd.Wait()
}

// Pid is the server's process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Memory is the resident memory of a process in bytes.
func Memory(t testing.TB, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Client calls the API as one user.
type Client struct {
	URL   string // of the networking API, with /v2.0
	Token string
	HTTP  *http.Client
}

// Client logs in as a cloud of clouds.yaml: admin or demo.
func (s *Server) Client(name string) *Client {
	s.t.Helper()
	return Login(s.t, filepath.Join(s.Dir, "clouds.yaml"), name, "http://"+s.API+"/v2.0")
}

// Login logs in as a cloud of a clouds.yaml file; url is that of the networking API.
func Login(t testing.TB, cloudsFile, name, url string) *Client {
	t.Helper()
	text, err := os.ReadFile(cloudsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Clouds map[string]struct {
			Auth struct {
				AuthURL     string `yaml:"auth_url"`
				Username    string `yaml:"username"`
				Password    string `yaml:"password"`
				ProjectName string `yaml:"project_name"`
			} `yaml:"auth"`
		} `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	auth := file.Clouds[name].Auth
	c := &Client{URL: url, HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	domain := map[string]any{"id": "default"}
	body := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": auth.Username, "password": auth.Password, "domain": domain}}},
		"scope": map[string]any{"project": map[string]any{"name": auth.ProjectName, "domain": domain}},
	}}
	data, _ := json.Marshal(body)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, auth.AuthURL+"/auth/tokens", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("logging in as %s: %s: %s", name, resp.Status, text)
	}
	c.Token = resp.Header.Get("X-Subject-Token")
	return c
}

// Do sends a request and decodes the answer into out, where out is not nil. It returns the status code and the body.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) (int, []byte, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-Auth-Token", c.Token)
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && out != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(text, out)
	}
	return resp.StatusCode, text, err
}

// Must sends a request that has to be answered with the status.
func (c *Client) Must(t testing.TB, status int, method, path string, in, out any) {
	t.Helper()
	got, text, err := c.Do(t.Context(), method, path, in, out)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if got != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, text)
	}
}

// ID is the part of an answer that most tests need.
type ID struct {
	ID string `json:"id"`
}

// Network makes a network with a subnet and returns their ids.
func (c *Client) Network(t testing.TB, name, cidr string) (network, subnet string) {
	t.Helper()
	var n struct{ Network ID }
	c.Must(t, 201, "POST", "/networks", map[string]any{"network": map[string]any{"name": name}}, &n)
	var s struct{ Subnet ID }
	c.Must(t, 201, "POST", "/subnets", map[string]any{"subnet": map[string]any{
		"network_id": n.Network.ID, "ip_version": 4, "cidr": cidr}}, &s)
	return n.Network.ID, s.Subnet.ID
}
