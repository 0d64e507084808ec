package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Process is a daemon of the lab, as it is remembered. A process is known by its id together with its start time:
// ids are used again.
type Process struct {
	Host string `json:"host"`
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Start is when the process started, in clock ticks since the machine did.
	Start uint64 `json:"start"`
	Log   string `json:"log"`
}

// Alive says whether this very process still runs.
func (p Process) Alive() bool {
	start, state, err := procStat(p.PID)
	return err == nil && start == p.Start && state != 'Z'
}

// lingering says whether a process that has been killed has threads left. Its first thread ends first, and is a zombie; what
// the process had open, its sockets and locks, it has until its last one has ended.
func (p Process) lingering() bool {
	start, state, err := procStat(p.PID)
	if err != nil || start != p.Start || state != 'Z' {
		return false
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
	return err == nil && len(threads) > 1
}

// awaitEnd waits until nothing is left of a process that has been killed.
func (p Process) awaitEnd(ctx context.Context) error {
	for p.lingering() {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// procStat reads the start time (in clock ticks after boot) and the state letter of a process.
func procStat(pid int) (start uint64, state byte, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field is the program's name in parentheses, and may itself hold blanks and parentheses.
	_, rest, _ := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte(" "))
	fields := strings.Fields(string(rest))
	const first = 3 // ours is number 3 of proc(5), where the state is number 3 and the start time number 22
	const stateField, startField = 3 - first, 22 - first
	if len(fields) <= startField {
		return 0, 0, fmt.Errorf("process %d: /proc/PID/stat is too short", pid)
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	return start, fields[stateField][0], err
}

// Host is a host of a lab that is up.
type Host struct {
	Spec
	lab *Lab
}

// Host returns the host of that name. The error names the hosts that there are.
func (l *Lab) Host(name string) (*Host, error) {
	spec, ok := specOf(name)
	if !ok {
		var names []string
		for _, s := range Topology() {
			names = append(names, s.Name)
		}
		return nil, fmt.Errorf("there is no host %q: the lab has %s", name, strings.Join(names, ", "))
	}
	if _, ok := nsOf(l.pin(name, "mnt")); !ok {
		return nil, fmt.Errorf("lab %q is not up: neutrino lab up --name %s", l.name, l.name)
	}
	return &Host{Spec: spec, lab: l}, nil
}

// Do runs fn on a thread of its own that is in the host's namespaces. Sockets that fn opens stay in the host after it,
// and processes that it starts run there.
func (h *Host) Do(fn func() error) error {
	return onOwnThread(func() error {
		if err := h.lab.enter(h.Name); err != nil {
			return err
		}
		return fn()
	})
}

// DoIn is Do in a named network namespace of the host, such as that of a workload.
func (h *Host) DoIn(network string, fn func() error) error {
	return h.Do(func() error {
		f, err := os.Open(filepath.Join("/run/netns", network))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s on %s: %w", network, h.Name, err)
		}
		return fn()
	})
}

// Netlink returns a handle that speaks to the kernel about the host's devices. Close it when done.
func (h *Host) Netlink() (handle *netlink.Handle, closeHandle func(), err error) {
	return h.lab.netlinkAt(h.Name)
}

func (l *Lab) netlinkAt(host string) (*netlink.Handle, func(), error) {
	ns, err := netns.GetFromPath(l.pin(host, "net"))
	if err != nil {
		return nil, nil, fmt.Errorf("host %s: %w", host, err)
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, nil, fmt.Errorf("host %s: opening netlink: %w", host, err)
	}
	return handle, handle.Close, nil
}

// Run runs a command in the host and returns what it wrote. When it fails, the error carries what it wrote as an error.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	var out, errs bytes.Buffer
	err := h.Do(func() error {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = h.environment(), &out, &errs
		return cmd.Run()
	})
	if err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w%s", h.Name, filepath.Base(argv[0]), err, said(errs.String(), out.String()))
	}
	return out.String(), nil
}

// said renders what a failed program wrote, for the end of an error.
func said(texts ...string) string {
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			return ": " + t
		}
	}
	return ""
}

// Exec replaces this process by a command that runs in the host. It returns only when that fails.
func (h *Host) Exec(argv []string, extraEnv ...string) error {
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "/"
	}
	return h.Do(func() error {
		env := merge(os.Environ(), h.environment(), extraEnv)
		path, err := lookPath(argv[0], filepath.Dir(h.lab.binary))
		if err != nil {
			return err
		}
		if unix.Chdir(cwd) != nil { // for instance a directory below /run, which the host does not have
			if err := unix.Chdir("/"); err != nil {
				return err
			}
		}
		// The calling thread becomes the new program, in the namespaces that it is in.
		return fmt.Errorf("running %s: %w", argv[0], unix.Exec(path, argv, env))
	})
}

// merge joins environments; of a variable that is in several, the last one stays. Programs differ in which one they take.
func merge(environments ...[]string) []string {
	var merged []string
	at := map[string]int{}
	for _, v := range slices.Concat(environments...) {
		key, _, _ := strings.Cut(v, "=")
		if i, ok := at[key]; ok {
			merged[i] = v
			continue
		}
		at[key] = len(merged)
		merged = append(merged, v)
	}
	return merged
}

// lookPath finds a program in the directory of our own first, so that "neutrino" is always this one.
func lookPath(name, ownDir string) (string, error) {
	if !strings.Contains(name, "/") {
		if path, err := exec.LookPath(filepath.Join(ownDir, name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// environment is that of every program which the lab starts in the host.
func (h *Host) environment() []string {
	path := filepath.Dir(h.lab.binary) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if own := os.Getenv("PATH"); own != "" {
		path += ":" + own
	}
	return []string{
		"PATH=" + path,
		"HOME=" + os.Getenv("HOME"),
		"NEUTRINO_LAB=" + h.lab.name,
		"NEUTRINO_LAB_HOST=" + h.Name,
	}
}

// daemon says how to start a process that outlives the command which starts it.
type daemon struct {
	name    string
	argv    []string
	log     string
	sockets []namedSocket
}

// namedSocket is a listening socket to hand over in systemd's way (sd_listen_fds(3)).
type namedSocket struct {
	name string
	file *os.File
}

// start starts the daemon in the host, in a session of its own and with its output in its log file.
func (h *Host) start(d daemon) (Process, error) {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Process{}, err
	}
	defer log.Close()
	argv, env := d.argv, h.environment()
	var files []*os.File
	if len(d.sockets) > 0 {
		var names []string
		for _, s := range d.sockets {
			names, files = append(names, s.name), append(files, s.file)
		}
		env = append(env, "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		// LISTEN_PID has to be the daemon's own id, which is known only once it runs.
		argv = append([]string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, argv...)
	}
	var process Process
	err = h.Do(func() error {
		// It outlives whoever starts it.
		cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
		cmd.Env, cmd.Dir = env, "/"
		cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, files
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		start, _, err := procStat(cmd.Process.Pid)
		if err != nil {
			return err
		}
		process = Process{Host: h.Name, Name: d.name, PID: cmd.Process.Pid, Start: start, Log: d.log}
		return cmd.Process.Release()
	})
	if err != nil {
		return Process{}, fmt.Errorf("starting the %s on %s: %w", d.name, h.Name, err)
	}
	return process, nil
}

// victim is a process that is to end, held so that its id cannot be used again.
type victim struct {
	pid    int
	handle *os.Process
}

// inhabitants returns the processes that live in one of the namespaces, or are among the recorded ones. The caller and
// what is already dead are left out.
func inhabitants(namespaces map[nsID]bool, recorded []Process) ([]victim, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	remembered := map[int]uint64{}
	for _, p := range recorded {
		remembered[p.PID] = p.Start
	}
	var found []victim
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() || pid == 1 {
			continue // the machine's first process is nobody's inhabitant, whatever namespace it is in
		}
		// The handle (a pidfd) is taken before looking: whatever it is that we look at, the signal reaches either
		// this very process or nobody.
		handle, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		start, state, err := procStat(pid)
		known := err == nil && remembered[pid] == start && start != 0
		if err != nil || state == 'Z' || !(known || livesIn(pid, namespaces)) {
			_ = handle.Release()
			continue
		}
		found = append(found, victim{pid, handle})
	}
	return found, nil
}

// livesIn says whether a process has one of the namespaces. The UTS namespace finds those who have left both the
// network and the mount namespace of their host, as what `ip netns exec` starts has.
func livesIn(pid int, namespaces map[nsID]bool) bool {
	for _, k := range kinds() {
		if id, ok := nsOf(fmt.Sprintf("/proc/%d/ns/%s", pid, k.name)); ok && namespaces[id] {
			return true
		}
	}
	return false
}

// endAll ends every inhabitant: asked first, killed after the grace period, looked for again until none is left. One that
// forks and ends while we look is missed together with its child, so nobody has to be found twice.
func endAll(ctx context.Context, namespaces map[nsID]bool, recorded []Process, grace time.Duration) error {
	const patience = 10 * time.Second // for a kill to be carried out
	began := time.Now()
	asked := map[int]bool{}
	for nobody := 0; ; {
		left, err := inhabitants(namespaces, recorded)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			if nobody++; nobody == 2 {
				return nil
			}
			continue
		}
		nobody = 0
		for _, v := range left {
			switch {
			case time.Since(began) > grace:
				_ = v.handle.Signal(unix.SIGKILL)
			case !asked[v.pid]:
				_ = v.handle.Signal(unix.SIGTERM)
				asked[v.pid] = true
			}
			_ = v.handle.Release()
			reap(v.pid)
		}
		if time.Since(began) > grace+patience {
			return fmt.Errorf("process %d does not end, even by SIGKILL", left[0].pid)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// reap takes the exit status of a process, should it be our child and dead; otherwise nothing happens.
func reap(pid int) {
	var status unix.WaitStatus
	_, _ = unix.Wait4(pid, &status, unix.WNOHANG, nil)
}

// pause waits, or returns the context's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Tail returns the last lines of a log file; nothing when it cannot be read.
func Tail(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const enough = 64 << 10
	if end, err := f.Seek(0, io.SeekEnd); err != nil || end > enough {
		if _, err := f.Seek(-enough, io.SeekEnd); err != nil && !errors.Is(err, io.EOF) {
			return ""
		}
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		return ""
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
