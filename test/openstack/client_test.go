package openstack

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/neutrino-net/neutrino/test/cloud"
)

// result is what a command has said.
type result struct {
	Code int    `json:"code"`
	Out  string `json:"out"`
	Err  string `json:"err"`
}

// client runs commands of the networking API as a cloud of clouds.yaml.
type client interface {
	run(t *testing.T, cloud string, words []string) result
}

// environment makes programs find the clouds of a server, and nothing else of the caller's settings.
func environment(file string) []string {
	env := []string{"OS_CLIENT_CONFIG_FILE=" + file, "PYTHONWARNINGS=ignore"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OS_") {
			env = append(env, v)
		}
	}
	return env
}

// theirs is the distribution's client, in one process for each cloud.
type theirs struct {
	clouds    string // the file
	processes map[string]*process
}

type process struct {
	in  io.Writer
	out *bufio.Reader
}

// python is the distribution's, not one that happens to be in the path; it has the client's packages.
const python = "/usr/bin/python3"

func (c *theirs) start(t *testing.T, cloud string) *process {
	t.Helper()
	cmd := exec.Command(python, "testdata/driver.py", cloud)
	cmd.Env = environment(c.clouds)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: is python3-openstackclient installed?", err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the client said:\n%s", said.String()[max(0, said.Len()-2000):])
		}
	})
	return &process{in, bufio.NewReader(out)}
}

func (c *theirs) run(t *testing.T, cloud string, words []string) (r result) {
	t.Helper()
	p := c.processes[cloud]
	if p == nil {
		p = c.start(t, cloud)
		c.processes[cloud] = p
	}
	request, err := json.Marshal(words)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(request, '\n')); err != nil {
		t.Fatalf("openstack %s: %v", strings.Join(words, " "), err)
	}
	answer, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("openstack %s: %v", strings.Join(words, " "), err)
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		t.Fatalf("openstack %s: %v: %s", strings.Join(words, " "), err, answer)
	}
	return r
}

// ours is this program.
type ours struct {
	binary, clouds string
}

func (c ours) run(t *testing.T, cloud string, words []string) result {
	t.Helper()
	cmd := exec.Command(c.binary, append(words, "--os-cloud", cloud)...)
	cmd.Env = environment(c.clouds)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), said.String()}
}

// clients are both clients for a server.
func clients(t *testing.T, s *cloud.Server) (*theirs, ours) {
	file := filepath.Join(s.Dir, "clouds.yaml")
	return &theirs{file, map[string]*process{}}, ours{cloud.Binary(t), file}
}
