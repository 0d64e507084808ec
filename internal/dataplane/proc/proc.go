// Package proc holds helper processes that outlive the agent: dnsmasq, keepalived. A process is held by a pidfd, so it
// cannot be mistaken for another one that got its pid; and a state file tells the next agent which process it was, with
// its start time and its network namespace.
//
// The mark by which a process is ours, also when its state file was lost, is an argument of its command line: the one that
// names the configuration in our directory.
package proc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Identity tells a process from all others since the boot of the host. It is what state files keep.
type Identity struct {
	PID int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since the boot: a pid that was given out again has another.
	StartTime uint64 `json:"start_time"`
	// Namespace is the inode of its network namespace.
	Namespace uint64 `json:"namespace"`
}

// Process is a running process. Its methods may not be called by several goroutines, but for AwaitEnd.
type Process struct {
	Identity
	fd int
	// poller owns fd; through it the runtime waits.
	poller *os.File
}

// Open takes hold of the process if the argument is in its command line.
func Open(pid int, argument string) (*Process, error) {
	return open(pid, func() error {
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return fmt.Errorf("looking at process %d: %w", pid, err)
		}
		if !bytes.Contains(command, []byte("\x00"+argument+"\x00")) {
			return fmt.Errorf("process %d does not run with %s", pid, argument)
		}
		return nil
	})
}

// Started takes hold of a child that was just started, and not waited for. Its command line is not looked at: the kernel
// fills it in a moment after the start has succeeded.
func Started(child *os.Process) (*Process, error) {
	return open(child.Pid, func() error { return nil })
}

func open(pid int, check func() error) (*Process, error) {
	if pid <= 1 {
		return nil, fmt.Errorf("no process is known by the pid %d", pid)
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("taking hold of process %d: %w", pid, err)
	}
	p := &Process{Identity: Identity{PID: pid}, fd: fd, poller: os.NewFile(uintptr(fd), "pidfd")}
	// All that follows is read after the pidfd was opened: if the process is alive at the end, it was about this one.
	if err = check(); err == nil {
		err = p.identify()
	}
	if err == nil && !p.Alive() {
		err = fmt.Errorf("process %d has ended", pid)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Process) identify() error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return fmt.Errorf("looking at process %d: %w", p.PID, err)
	}
	// The second field is the name of the program in parentheses, and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return fmt.Errorf("looking at process %d: its stat file is too short", p.PID)
	}
	if p.StartTime, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return fmt.Errorf("looking at process %d: %w", p.PID, err)
	}
	var ns unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", p.PID), &ns); err != nil {
		return fmt.Errorf("looking at the namespace of process %d: %w", p.PID, err)
	}
	p.Namespace = ns.Ino
	return nil
}

// Find returns the processes with the argument in their command lines, however they came to be: one whose state file was
// lost would stand in the way of its successor. It reads all of /proc.
func Find(argument string) []*Process {
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
		if err != nil || !bytes.Contains(command, []byte("\x00"+argument+"\x00")) {
			continue
		}
		if p, err := Open(pid, argument); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// FD is the pidfd, which polls readable when the process ends. It is valid until Close; then it is negative.
func (p *Process) FD() int { return p.fd }

// Close gives the handle up; the process goes on.
func (p *Process) Close() {
	if p.fd >= 0 {
		p.fd = -1
		p.poller.Close()
	}
}

// Alive says whether the process has not ended.
func (p *Process) Alive() bool { return p.fd >= 0 && !p.Ended(0) }

// Ended waits until the process has ended or the time is over.
func (p *Process) Ended(wait time.Duration) bool {
	deadline := time.Now().Add(wait)
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// AwaitEnd returns when the process has ended, or the handle was closed. It takes no thread.
func (p *Process) AwaitEnd() {
	if conn, err := p.poller.SyscallConn(); err == nil {
		// What the function returns makes the runtime wait until the descriptor is readable, which means that it has ended.
		_ = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return err == nil && n > 0
		})
	}
}

// Reap gives back what is left of a process that has ended, if it was our child.
func (p *Process) Reap() {
	_ = unix.Waitid(unix.P_PIDFD, p.fd, nil, unix.WEXITED|unix.WNOHANG, nil)
}

// Signal sends the signal.
func (p *Process) Signal(s unix.Signal) error {
	return unix.PidfdSendSignal(p.fd, s, nil, 0)
}

// killed is how long a process may take to end by SIGKILL.
const killed = 5 * time.Second

// Stop ends the process by SIGTERM; by force if it has not heeded when the time is over. It closes the handle.
func (p *Process) Stop(patience time.Duration) error {
	defer p.Close()
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, patience}, {unix.SIGKILL, killed}} {
		err := p.Signal(step.signal)
		if errors.Is(err, unix.ESRCH) || p.Ended(step.wait) {
			p.Reap()
			return nil
		}
		if err != nil {
			return fmt.Errorf("stopping process %d: %w", p.PID, err)
		}
	}
	return fmt.Errorf("stopping process %d: it does not end", p.PID)
}

// ReadState reads a state file; one that is missing or broken gives the zero value.
func ReadState[State any](path string) State {
	var s, none State
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return none
	}
	return s
}

// WriteState replaces a state file.
func WriteState[State any](path string, s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return ReplaceFile(path, append(text, '\n'), 0o600)
}

// ReplaceFile writes a file so that a reader sees the old text or the new text, and nothing between.
func ReplaceFile(path string, text []byte, mode os.FileMode) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
