package dnsmasq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
)

// ErrNotInstalled says that the host has no dnsmasq.
var ErrNotInstalled = errors.New("dnsmasq is not installed: install the package dnsmasq-base")

// stopPatience is how long a dnsmasq may take to end when it is told to.
const stopPatience = 2 * time.Second

// State is what the state file keeps, so that a new agent finds the dnsmasq of the old one.
type State struct {
	proc.Identity
	// Interface is the index of the device to which its socket is bound.
	Interface int `json:"interface"`
	// Conf and Loaded are the hashes of what it has read, see Files.
	Conf   string `json:"conf"`
	Loaded string `json:"loaded"`
}

// ReadState reads the state file of the directory; a file that is missing or broken gives the zero value.
func ReadState(dir string) State { return proc.ReadState[State](filepath.Join(dir, StateFile)) }

// WriteState replaces the state file of the directory.
func WriteState(dir string, s State) error { return proc.WriteState(filepath.Join(dir, StateFile), s) }

// ReplaceFile writes a file so that a reader sees the old text or the new text, and nothing between.
func ReplaceFile(dir, name string, text []byte) error {
	return proc.ReplaceFile(filepath.Join(dir, name), text, 0o644) // dnsmasq reads it after it has given up root
}

// Open takes hold of the process if it is a dnsmasq which runs with the configuration of the directory.
func Open(pid int, dir string) (*proc.Process, error) { return proc.Open(pid, confArgument(dir)) }

// Find returns the processes that run with the configuration of the directory, however they came to be: a dnsmasq whose
// state file was lost would hold the address against its successor.
func Find(dir string) []*proc.Process { return proc.Find(confArgument(dir)) }

// Reload makes dnsmasq read the hosts, options and names again.
func Reload(p *proc.Process) error {
	if err := p.Signal(unix.SIGHUP); err != nil {
		return fmt.Errorf("telling dnsmasq to read its files again: %w", err)
	}
	return nil
}

// Stop ends a dnsmasq, by force if it does not heed, and closes the handle.
func Stop(p *proc.Process) error {
	if err := p.Stop(stopPatience); err != nil {
		return fmt.Errorf("dnsmasq: %w", err)
	}
	return nil
}

// Start runs dnsmasq with the files of the directory, in the network namespace of the calling thread, which therefore
// has to be locked. dnsmasq goes into the background by itself, in a session of its own, once it is ready; what it has
// to complain of is in the error. One that is not ready when ctx ends is killed; what it may have left in the background,
// Find finds.
func Start(ctx context.Context, binary, dir string) (*proc.Process, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, ErrNotInstalled
	}
	cmd := exec.CommandContext(ctx, path, confArgument(dir))
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if zone, set := os.LookupEnv("TZ"); set {
		cmd.Env = append(cmd.Env, "TZ="+zone) // the times in its log are local
	}
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); ctx.Err() != nil {
		return nil, fmt.Errorf("starting dnsmasq: it was not ready in time: %w", ctx.Err())
	} else if err != nil {
		return nil, fmt.Errorf("starting dnsmasq: %w: %s", err, strings.TrimSpace(string(out)))
	}
	text, err := os.ReadFile(filepath.Join(dir, PIDFile))
	if err != nil {
		return nil, fmt.Errorf("starting dnsmasq: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("starting dnsmasq: its pid file holds %q", text)
	}
	return Open(pid, dir)
}

func confArgument(dir string) string { return "--conf-file=" + filepath.Join(dir, ConfFile) }
