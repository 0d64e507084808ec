package proc_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

const patience = 10 * time.Second

// run starts a shell with the script, and with the argument in its command line.
func run(t *testing.T, script, argument string) *proc.Process {
	t.Helper()
	cmd := exec.Command("sh", "-c", script, "sh", argument)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	p, err := proc.Started(cmd.Process)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// The kernel fills the command line in after the start has succeeded: at once, a process may be known as a child only.
func TestAChildIsHeldFromItsFirstMoment(t *testing.T) {
	for range 100 {
		p := run(t, "exec sleep 1000", "--conf=a")
		if !p.Alive() || p.StartTime == 0 || p.Namespace == 0 {
			t.Fatalf("%+v", p.Identity)
		}
	}
}

func TestOnlyAProcessWithTheArgumentIsTaken(t *testing.T) {
	argument := "--conf=" + t.TempDir()
	child := run(t, "while :; do sleep 1; done", argument)
	testkit.Eventually(t, patience, "found", func() bool {
		all := proc.Find(argument)
		for _, p := range all {
			p.Close()
		}
		return len(all) == 1 && all[0].Identity == child.Identity
	})
	for _, other := range []string{argument + "x", argument[:len(argument)-1], "--conf="} {
		if p, err := proc.Open(child.PID, other); err == nil {
			p.Close()
			t.Errorf("it was taken for one with %s", other)
		}
	}
	for _, pid := range []int{-1, 0, 1} {
		if _, err := proc.Open(pid, argument); err == nil {
			t.Errorf("the process %d was taken", pid)
		}
	}
}

func TestAProcessEnds(t *testing.T) {
	for name, script := range map[string]string{
		"when it is told to": "exec sleep 1000",
		"by force":           "trap '' TERM; echo ready >$1; while :; do sleep 0.1; done",
	} {
		t.Run(name, func(t *testing.T) {
			ready := filepath.Join(t.TempDir(), "ready")
			p := run(t, script, ready)
			if name == "by force" {
				testkit.Eventually(t, patience, "the signal is ignored", func() bool {
					_, err := os.Stat(ready)
					return err == nil
				})
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				p.AwaitEnd()
			}()
			if err := p.Stop(100 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("its end was not told")
			}
			if p.Alive() || p.FD() >= 0 {
				t.Error("the handle is still there")
			}
			if err := unix.Kill(p.PID, 0); !errors.Is(err, unix.ESRCH) {
				t.Errorf("the process is still there: %v", err)
			}
		})
	}
}

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	type state struct {
		proc.Identity
		Conf string `json:"conf"`
	}
	path := filepath.Join(t.TempDir(), "state")
	if s := proc.ReadState[state](path); s != (state{}) {
		t.Errorf("a file that is not there: %+v", s)
	}
	want := state{proc.Identity{PID: 7, StartTime: 8, Namespace: 9}, "x"}
	if err := proc.WriteState(path, want); err != nil {
		t.Fatal(err)
	}
	if s := proc.ReadState[state](path); s != want {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(path, []byte(`{"pid":7,"start`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := proc.ReadState[state](path); s != (state{}) {
		t.Errorf("a file that is broken: %+v", s)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
