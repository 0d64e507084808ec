package dnsmasq

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotInstalled says that the host has no dnsmasq.
var ErrNotInstalled = errors.New("dnsmasq is not installed: install the package dnsmasq-base")

// State is what the state file keeps, so that a new agent finds the dnsmasq of the old one.
type State struct {
	PID int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since the boot: a pid that was given out again has another.
	StartTime uint64 `json:"start_time"`
	// Namespace is the inode of its network namespace.
	Namespace uint64 `json:"namespace"`
	// Interface is the index of the device to which its socket is bound.
	Interface int `json:"interface"`
	// Conf and Loaded are the hashes of what it has read, see Files.
	Conf   string `json:"conf"`
	Loaded string `json:"loaded"`
}

// ReadState reads the state file of the directory; a file that is missing or broken gives the zero value.
func ReadState(dir string) State {
	var s State
	text, err := os.ReadFile(filepath.Join(dir, StateFile))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return State{}
	}
	return s
}

// WriteState replaces the state file of the directory.
func WriteState(dir string, s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the state of dnsmasq: %w", err)
	}
	return ReplaceFile(dir, StateFile, append(text, '\n'))
}

// ReplaceFile writes a file so that a reader sees the old text or the new text, and nothing between.
func ReplaceFile(dir, name string, text []byte) error {
	f, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644) // dnsmasq reads it after it has given up root
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// Process is a running dnsmasq, held by a pidfd: it cannot be mistaken for another process that got its pid.
type Process struct {
	PID       int
	StartTime uint64
	Namespace uint64
	fd        int
}

// FD is the pidfd, which polls readable when the process ends. It is valid until Close.
func (p *Process) FD() int { return p.fd }

// Close gives the handle up; the process goes on.
func (p *Process) Close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
}

// Open takes hold of the process if it is a dnsmasq which runs with the configuration of the directory.
func Open(pid int, dir string) (*Process, error) {
	if pid <= 1 {
		return nil, fmt.Errorf("no dnsmasq is known by the pid %d", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("taking hold of process %d: %w", pid, err)
	}
	p := &Process{PID: pid, fd: fd}
	// All that follows is read after the pidfd was opened: if the process is alive at the end, it was about this one.
	if err := p.identify(dir); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Process) identify(dir string) error {
	proc := fmt.Sprintf("/proc/%d", p.PID)
	command, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return fmt.Errorf("looking at process %d: %w", p.PID, err)
	}
	if !bytes.Contains(command, []byte("\x00"+confArgument(dir)+"\x00")) {
		return fmt.Errorf("process %d is not the dnsmasq of %s", p.PID, dir)
	}
	if p.StartTime, err = startTime(p.PID); err != nil {
		return err
	}
	var ns unix.Stat_t
	if err := unix.Stat(proc+"/ns/net", &ns); err != nil {
		return fmt.Errorf("looking at the namespace of process %d: %w", p.PID, err)
	}
	p.Namespace = ns.Ino
	if !p.Alive() {
		return fmt.Errorf("process %d has ended", p.PID)
	}
	return nil
}

// Is says whether it is the process of the state.
func (p *Process) Is(s State) bool {
	return p.PID == s.PID && p.StartTime == s.StartTime && p.Namespace == s.Namespace
}

// Alive says whether the process has not ended.
func (p *Process) Alive() bool {
	return p.fd >= 0 && !p.ended(0)
}

// ended waits until the process has ended or the time is over.
func (p *Process) ended(wait time.Duration) bool {
	deadline := time.Now().Add(wait)
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n > 0
	}
}

// Reload makes dnsmasq read the hosts, options and names again.
func (p *Process) Reload() error {
	if err := unix.PidfdSendSignal(p.fd, unix.SIGHUP, nil, 0); err != nil {
		return fmt.Errorf("telling dnsmasq to read its files again: %w", err)
	}
	return nil
}

// Stop ends the process, by force if it does not heed, and closes the handle.
func (p *Process) Stop() error {
	defer p.Close()
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, 2 * time.Second}, {unix.SIGKILL, 5 * time.Second}} {
		err := unix.PidfdSendSignal(p.fd, step.signal, nil, 0)
		if errors.Is(err, unix.ESRCH) || p.ended(step.wait) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("stopping dnsmasq (process %d): %w", p.PID, err)
		}
	}
	return fmt.Errorf("stopping dnsmasq: process %d does not end", p.PID)
}

// Start runs dnsmasq with the files of the directory, in the network namespace of the calling thread, which therefore
// has to be locked. dnsmasq goes into the background by itself, in a session of its own, once it is ready; what it has
// to complain of is in the error. One that is not ready when ctx ends is killed; what it may have left in the background,
// Find finds.
func Start(ctx context.Context, binary, dir string) (*Process, error) {
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

// Find returns the processes that run with the configuration of the directory, however they came to be: a dnsmasq whose
// state file was lost would hold the address against its successor. It reads all of /proc.
func Find(dir string) []*Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []*Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !bytes.Contains(command, []byte("\x00"+confArgument(dir)+"\x00")) {
			continue
		}
		if p, err := Open(pid, dir); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func confArgument(dir string) string { return "--conf-file=" + filepath.Join(dir, ConfFile) }

func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	// The second field is the name of the program in parentheses, and may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("looking at process %d: its stat file is too short", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
