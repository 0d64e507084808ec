package keepalived

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
)

// ErrNotInstalled says that the host has no keepalived.
var ErrNotInstalled = errors.New("keepalived is not installed: install the package keepalived")

// stopPatience is how long a keepalived may take to end when it is told to. It tells the other hosts that it goes, so they
// need not find out.
const stopPatience = 3 * time.Second

// state is what the state file keeps, so that a new agent finds the keepalived of the old one.
type state struct {
	proc.Identity
	// Conf is the hash of the configuration that it has read.
	Conf string `json:"conf"`
}

func readState(dir string) state { return proc.ReadState[state](filepath.Join(dir, stateFile)) }

func writeState(dir string, s state) error { return proc.WriteState(filepath.Join(dir, stateFile), s) }

func replaceFile(dir, name string, text []byte) error {
	return proc.ReplaceFile(filepath.Join(dir, name), text, 0o600)
}

// open takes hold of the process if it is a keepalived (its parent process) which runs with the configuration of the
// directory.
func open(pid int, dir string) (*proc.Process, error) { return proc.Open(pid, confArgument(dir)) }

// find returns the parent processes that run with the configuration of the directory, however they came to be.
func find(dir string) []*proc.Process { return proc.Find(confArgument(dir)) }

func confArgument(dir string) string { return "--use-file=" + filepath.Join(dir, confFile) }

// end ends a keepalived, by force if it does not heed, and closes the handle.
func end(p *proc.Process) error {
	if err := p.Stop(stopPatience); err != nil {
		return fmt.Errorf("keepalived: %w", err)
	}
	return nil
}

// check lets keepalived read the configuration and says what it does not like. It has to be called in the network
// namespace of the process.
func check(ctx context.Context, binary, dir, file string) error {
	cmd := command(ctx, binary, "--config-test", "--use-file="+filepath.Join(dir, file))
	if out, err := cmd.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		return ErrNotInstalled
	} else if err != nil {
		return fmt.Errorf("keepalived refuses its configuration: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// start runs keepalived with the files of the directory, in the network namespace of the calling thread and in a session
// of its own: it goes on when we end.
func start(binary, dir string) (*proc.Process, error) {
	// keepalived takes the pid file of one that was killed for its own, when another process has got the pid.
	for _, name := range []string{pidFile, childFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("starting keepalived: %w", err)
		}
	}
	out, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting keepalived: %w", err)
	}
	defer out.Close()
	cmd := command(context.Background(), binary, "--dont-fork", "--vrrp", confArgument(dir),
		"--pid="+filepath.Join(dir, pidFile), "--vrrp_pid="+filepath.Join(dir, childFile), "--log-console", "--no-syslog")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		return nil, ErrNotInstalled
	} else if err != nil {
		return nil, fmt.Errorf("starting keepalived: %w", err)
	}
	defer func() { _ = cmd.Process.Release() }() // it is awaited by its pidfd
	return proc.Started(cmd.Process)
}

func command(ctx context.Context, binary string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, arguments...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd
}
