package keepalived

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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotInstalled says that the host has no keepalived.
var ErrNotInstalled = errors.New("keepalived is not installed: install the package keepalived")

// state is what the state file keeps, so that a new agent finds the keepalived of the old one.
type state struct {
	PID int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since the boot: a pid that was given out again has another.
	StartTime uint64 `json:"start_time"`
	// Namespace is the inode of its network namespace.
	Namespace uint64 `json:"namespace"`
	// Conf is the hash of the configuration that it has read.
	Conf string `json:"conf"`
}

func readState(dir string) state {
	var s state
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return state{}
	}
	return s
}

func writeState(dir string, s state) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the state of keepalived: %w", err)
	}
	return replaceFile(dir, stateFile, append(text, '\n'))
}

// replaceFile writes a file so that a reader sees the old text or the new text, and nothing between.
func replaceFile(dir, name string, text []byte) error {
	f, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = f.Write(text)
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

// process is a running keepalived (its parent process), held by a pidfd: it cannot be mistaken for another process that
// got its pid.
type process struct {
	pid       int
	startTime uint64
	namespace uint64
	fd        int
	// poller is the owner of fd, through which the runtime waits.
	poller *os.File
}

// open takes hold of the process if it is a keepalived which runs with the configuration of the directory.
func open(pid int, dir string) (*process, error) {
	if pid <= 1 {
		return nil, fmt.Errorf("no keepalived is known by the pid %d", pid)
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("taking hold of process %d: %w", pid, err)
	}
	p := &process{pid: pid, fd: fd, poller: os.NewFile(uintptr(fd), "pidfd")}
	// All that follows is read after the pidfd was opened: if the process is alive at the end, it was about this one.
	if err := p.identify(dir); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *process) identify(dir string) error {
	proc := fmt.Sprintf("/proc/%d", p.pid)
	command, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return fmt.Errorf("looking at process %d: %w", p.pid, err)
	}
	if !runsWith(command, dir) {
		return fmt.Errorf("process %d is not the keepalived of %s", p.pid, dir)
	}
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return fmt.Errorf("looking at process %d: %w", p.pid, err)
	}
	// The second field is the name of the program in parentheses, and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return fmt.Errorf("looking at process %d: its stat file is too short", p.pid)
	}
	if p.startTime, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return fmt.Errorf("looking at process %d: %w", p.pid, err)
	}
	var ns unix.Stat_t
	if err := unix.Stat(proc+"/ns/net", &ns); err != nil {
		return fmt.Errorf("looking at the namespace of process %d: %w", p.pid, err)
	}
	p.namespace = ns.Ino
	if !p.alive() {
		return fmt.Errorf("process %d has ended", p.pid)
	}
	return nil
}

func runsWith(command []byte, dir string) bool {
	return bytes.Contains(command, []byte("\x00"+confArgument(dir)+"\x00"))
}

func confArgument(dir string) string { return "--use-file=" + filepath.Join(dir, confFile) }

// is says whether it is the process of the state.
func (p *process) is(s state) bool {
	return p.pid == s.PID && p.startTime == s.StartTime && p.namespace == s.Namespace
}

func (p *process) close() { p.poller.Close() }

// alive says whether the process has not ended.
func (p *process) alive() bool { return !p.ended(0) }

// ended waits until the process has ended or the time is over.
func (p *process) ended(wait time.Duration) bool {
	deadline := time.Now().Add(wait)
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// awaitEnd returns when the process has ended, or the handle was closed.
func (p *process) awaitEnd() {
	if conn, err := p.poller.SyscallConn(); err == nil {
		// What the function returns makes the runtime wait until the descriptor is readable, which means that it has ended.
		_ = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return err == nil && n > 0
		})
	}
}

// reap gives back what is left of a process that has ended, if it was our child.
func (p *process) reap() {
	_ = unix.Waitid(unix.P_PIDFD, p.fd, nil, unix.WEXITED|unix.WNOHANG, nil)
}

func (p *process) signal(s unix.Signal) error {
	return unix.PidfdSendSignal(p.fd, s, nil, 0)
}

// end ends the process, by force if it does not heed. Told by SIGTERM, keepalived tells the other
// hosts that it goes, so they need not find out.
func (p *process) end() error {
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, 3 * time.Second}, {unix.SIGKILL, 5 * time.Second}} {
		err := p.signal(step.signal)
		if errors.Is(err, unix.ESRCH) || p.ended(step.wait) {
			p.reap()
			return nil
		}
		if err != nil {
			return fmt.Errorf("stopping keepalived (process %d): %w", p.pid, err)
		}
	}
	return fmt.Errorf("stopping keepalived: process %d does not end", p.pid)
}

// find returns the parent processes that run with the configuration of the directory, however they came to be. It reads
// all of /proc.
func find(dir string) []*process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []*process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !runsWith(command, dir) {
			continue
		}
		if p, err := open(pid, dir); err == nil {
			out = append(out, p)
		}
	}
	return out
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
func start(binary, dir string) (*process, error) {
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
	return open(cmd.Process.Pid, dir)
}

func command(ctx context.Context, binary string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, arguments...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd
}
