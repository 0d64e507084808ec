// Package lab walks the tour with the real program, as the first user of a fresh machine does.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/lab"
	"github.com/neutrino-net/neutrino/test/cloud"
)

func TestMain(m *testing.M) {
	code := m.Run()
	cloud.Clean()
	os.Exit(code)
}

// name returns a lab name that no other test and no user has, and removes that lab at the end.
func name(t testing.TB, base string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("labs are made by root only: run the tests as root")
	}
	n := fmt.Sprintf("%s-%d", base, os.Getpid())
	t.Cleanup(func() {
		l, err := lab.New(lab.Options{Name: n})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// neutrino runs the program and returns what it printed, and its exit code.
func neutrino(t testing.TB, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cloud.Binary(t), args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// assertGone asserts that nothing of the lab is left: no files, and no process of it.
func assertGone(t *testing.T, name string) {
	t.Helper()
	for _, dir := range []string{filepath.Join(lab.DefaultRunDir, name), filepath.Join(lab.DefaultDir, name)} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environments {
		env, _ := os.ReadFile(file)
		if bytes.Contains(env, []byte("NEUTRINO_LAB="+name+"\x00")) {
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			t.Errorf("%s is still there: %q", filepath.Dir(file), args)
		}
	}
}

func TestTheTourSucceedsAndLeavesNothing(t *testing.T) {
	n := name(t, "tour")
	cloud.Binary(t)
	began := time.Now()
	out, code := neutrino(t, "lab", "run", "--once", "--name", n)
	took := time.Since(began)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	for _, want := range []string{
		"openstack network create blue", "DHCPDISCOVER", "DHCPACK", "ACTIVE", "0 % loss", "is answered again",
		"vm2 no longer answers vm1", "vm2 answers again", "this is the internet, and you are 203.0.113.1",
		"this is vm1, and you are 203.0.113.1\n", "this is web, and you are 203.0.113.1\n", "total",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the tour does not show %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b[") {
		t.Error("escape sequences although nobody reads")
	}
	t.Logf("the tour, with up and down, took %s", took)
	assertGone(t, n)
}

// BenchmarkTour is the whole tour, with up and down; it is to take 20 s at most.
func BenchmarkTour(b *testing.B) {
	n := name(b, "bench")
	for b.Loop() {
		if out, code := neutrino(b, "lab", "run", "--once", "--name", n); code != 0 {
			b.Fatalf("exit code %d:\n%s", code, out)
		}
	}
	if took, limit := b.Elapsed()/time.Duration(b.N), 20*time.Second; took > limit {
		b.Errorf("it took %s, more than %s", took, limit)
	}
}

func TestASecondTourOnTheSameLabSucceeds(t *testing.T) {
	n := name(t, "twice")
	for range 2 {
		if out, code := neutrino(t, "lab", "run", "--name", n); code != 0 {
			t.Fatalf("exit code %d:\n%s", code, out)
		}
	}
	out, code := neutrino(t, "lab", "status", "--name", n)
	if code != 0 || !strings.Contains(out, "blue2") || !strings.Contains(out, "vm4") {
		t.Errorf("status, exit code %d:\n%s", code, out)
	}
	out, code = neutrino(t, "lab", "exec", "--name", n, "compute1", "--", "ip", "netns", "list")
	if code != 0 || !strings.Contains(out, "vm1") || strings.Contains(out, "vm2") {
		t.Errorf("namespaces on compute1, exit code %d: %s", code, out)
	}
	if out, code := neutrino(t, "lab", "down", "--name", n); code != 0 {
		t.Errorf("down, exit code %d: %s", code, out)
	}
	assertGone(t, n)
}

func TestAFailingTourSaysWhyAndEndsWithOne(t *testing.T) {
	n := name(t, "fail")
	if out, code := neutrino(t, "lab", "up", "--name", n); code != 0 {
		t.Fatalf("up: exit code %d:\n%s", code, out)
	}
	// The tunnels of compute1 lead nowhere once its underlay is cut.
	if out, code := neutrino(t, "lab", "exec", "--name", n, "compute1", "--", "ip", "link", "set", "eth0", "down"); code != 0 {
		t.Fatalf("cutting the underlay: %s", out)
	}
	out, code := neutrino(t, "lab", "run", "--name", n)
	if code != 1 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for _, want := range []string{"FAILED", "expected:", "seen:", "agent.log", "neutrino lab shell"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestAnInterruptedTourRemovesItsLab(t *testing.T) {
	n := name(t, "interrupt")
	cmd := exec.Command(cloud.Binary(t), "lab", "run", "--once", "--name", n)
	out := &started{line: regexp.MustCompile(`(?m)^ 1\. `), seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-out.seen:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Fatal("the tour does not begin")
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v; exit code %d", err, cmd.ProcessState.ExitCode())
	}
	assertGone(t, n)
}

// started waits for a line in a program's output. It is written to by one goroutine only.
type started struct {
	text bytes.Buffer
	line *regexp.Regexp
	seen chan struct{}
	done bool
}

func (s *started) Write(p []byte) (int, error) {
	s.text.Write(p)
	if !s.done && s.line.Match(s.text.Bytes()) {
		s.done = true
		close(s.seen)
	}
	return len(p), nil
}

// TestAKilledTourLeavesNothingAfterDown kills the whole program at random moments, with real daemons and their helpers.
func TestAKilledTourLeavesNothingAfterDown(t *testing.T) {
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("NEUTRINO_KILL_ROUNDS")); err == nil && n > 0 {
		rounds = max(1, n/10)
	}
	n := name(t, "killed")
	for i := range rounds {
		cmd := exec.Command(cloud.Binary(t), "lab", "run", "--name", n)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Spread over the whole of it: up takes about a second, the tour as long again.
		moment := time.Duration(2*i+1) * time.Second / time.Duration(rounds)
		timer := time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		if out, code := neutrino(t, "lab", "down", "--name", n); code != 0 {
			t.Fatalf("down after a kill at %s, exit code %d:\n%s", moment, code, out)
		}
		assertGone(t, n)
	}
}
