package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// newTestLab returns a lab of its own for the test, which is removed at the end whatever happens.
func newTestLab(t *testing.T, name string) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces are made by root only: run the tests as root")
	}
	base, err := os.MkdirTemp("", "neutrino-lab-test-")
	if err != nil {
		t.Fatal(err)
	}
	return labAt(t, base, name)
}

func labAt(t *testing.T, base, name string) *Lab {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Options{
		Name: name, Dir: filepath.Join(base, "var"), RunDir: filepath.Join(base, "run"), Binary: self,
		Progress: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		assertNothingLeft(t, l)
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	return l
}

func up(t *testing.T, l *Lab) *Record {
	t.Helper()
	if _, err := l.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	record, err := l.Load()
	if err != nil || record == nil {
		t.Fatalf("no record after up: %v", err)
	}
	return record
}

// processesOf finds the lab's processes in another way than the lab does: all of them inherit its directory in their
// environment or arguments.
func processesOf(t *testing.T, l *Lab) []string {
	t.Helper()
	var found []string
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if filepath.Base(d) == strconv.Itoa(os.Getpid()) {
			continue
		}
		if _, state, err := procStat(atoi(filepath.Base(d))); err != nil || state == 'Z' {
			continue
		}
		env, _ := os.ReadFile(d + "/environ")
		if slices.Contains(strings.Split(string(env), "\x00"), "NEUTRINO_LAB="+l.name) {
			args, _ := os.ReadFile(d + "/cmdline")
			found = append(found, filepath.Base(d)+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte(" "))))
		}
	}
	return found
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// assertNothingLeft compares the machine with what it was: processes, mounts, files, links.
func assertNothingLeft(t *testing.T, l *Lab) {
	t.Helper()
	if left := processesOf(t, l); len(left) > 0 {
		t.Errorf("processes left: %q", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, l.runDir()) {
			t.Errorf("mount left: %s", line)
		}
	}
	for _, dir := range []string{l.runDir(), filepath.Join(l.dir, l.name)} {
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("directory left: %s", dir)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if _, ours := specOf(link.Attrs().Name); ours || link.Attrs().Name == "underlay" {
			t.Errorf("link left in the machine's own namespace: %s", link.Attrs().Name)
		}
	}
}

func TestUpBuildsHostsThatReachEachOther(t *testing.T) {
	l := newTestLab(t, "reach")
	record := up(t, l)
	for _, spec := range Topology() {
		h, err := l.Host(spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := h.Run(t.Context(), "sh", "-c", "hostname; ls /sys/class/net; ls /run; ip -o -4 addr show eth0")
		if err != nil {
			t.Fatal(err)
		}
		devices := "eth0\nlo\n"
		if len(spec.Roles) > 0 {
			devices = "eth0\neth1\nlo\n"
		}
		for _, want := range []string{spec.Name + "\n", devices, "netns\n", spec.Address.String() + "/24"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in:\n%s", spec.Name, want, out)
			}
		}
		if spec.Outside {
			continue // it has no way to the underlay
		}
		dialled(t, h, serverSpec().Address.String())
	}
	if len(processesOf(t, l)) < daemons() {
		t.Errorf("processes: %q", processesOf(t, l))
	}
	for _, address := range []string{record.API, record.Identity} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatalf("the API is not reachable from outside the lab: %v", err)
		}
		conn.Close()
	}
}

// dialled asserts that TCP reaches the address from the host: a refusal shows that the way is there.
func dialled(t *testing.T, h *Host, address string) {
	t.Helper()
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		limit := unix.NsecToTimeval(int64(2 * time.Second))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
			return err
		}
		to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte(net.ParseIP(address).To4())}
		switch err := unix.Connect(fd, to); {
		case errors.Is(err, unix.ECONNREFUSED):
			return nil
		case err == nil:
			return fmt.Errorf("%s accepts connections", address)
		default:
			return fmt.Errorf("connecting to %s: %w", address, err)
		}
	})
	if err != nil {
		t.Errorf("%s: %v", h.Name, err)
	}
}

// daemons is how many daemons run in a lab.
func daemons() (n int) {
	for _, h := range Topology() {
		if h.Server || len(h.Roles) > 0 {
			n++
		}
	}
	return n
}

func TestUpOfAHealthyLabChangesNothing(t *testing.T) {
	l := newTestLab(t, "healthy")
	before := up(t, l)
	changed, err := l.Up(t.Context())
	if err != nil || changed {
		t.Fatalf("changed %v, error %v", changed, err)
	}
	after, _ := l.Load()
	if !slices.Equal(before.Processes, after.Processes) || len(after.Processes) != daemons() {
		t.Errorf("processes before %v, after %v", before.Processes, after.Processes)
	}
	status, err := l.Status(t.Context())
	if err != nil || !status.Healthy() {
		t.Errorf("status %+v, error %v", status, err)
	}
}

func TestUpStartsAgainWhatDied(t *testing.T) {
	l := newTestLab(t, "repair")
	before := up(t, l)
	for _, p := range before.Processes {
		if p.Host == "control" || p.Host == "compute1" {
			if err := unix.Kill(p.PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			var status unix.WaitStatus
			if _, err := unix.Wait4(p.PID, &status, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	changed, err := l.Up(t.Context())
	if err != nil || !changed {
		t.Fatalf("changed %v, error %v", changed, err)
	}
	after, _ := l.Load()
	if after.API != before.API || after.Identity != before.Identity {
		t.Errorf("the API moved from %s to %s", before.API, after.API)
	}
	for _, p := range after.Processes {
		if !p.Alive() {
			t.Errorf("%+v is dead", p)
		}
	}
}

func TestUpOfABrokenLabAsksForDown(t *testing.T) {
	l := newTestLab(t, "broken")
	up(t, l)
	if err := unmountAll(l.pin("compute2", "net")); err != nil {
		t.Fatal(err)
	}
	_, err := l.Up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "compute2.net") || !strings.Contains(err.Error(), "lab down") {
		t.Errorf("error %v", err)
	}
}

func TestLabsStandSideBySide(t *testing.T) {
	first := newTestLab(t, "side1")
	second := labAt(t, filepath.Dir(first.run), "side2")
	a := up(t, first)
	b := up(t, second)
	if a.API == b.API || a.Identity == b.Identity {
		t.Errorf("both labs answer at %s and %s", a.API, a.Identity)
	}
	namespaces, err := first.namespaces()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	assertNothingLeft(t, first)
	for _, p := range b.Processes {
		if !p.Alive() {
			t.Errorf("down of one lab has ended %+v of the other", p)
		}
	}
	// The second lab's hosts inherited mounts of the first one's pins; those must not keep its namespaces alive.
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", b.Processes[0].PID))
	if err != nil {
		t.Fatal(err)
	}
	for id := range namespaces {
		if strings.Contains(string(mounts), fmt.Sprintf("[%d]", id.ino)) {
			t.Errorf("namespace %d of the removed lab is still pinned in the other one", id.ino)
		}
	}
}

func TestDownOfNothingSaysSo(t *testing.T) {
	l := newTestLab(t, "nothing")
	if removed, err := l.Down(t.Context()); removed || err != nil {
		t.Errorf("removed %v, error %v", removed, err)
	}
}

func TestDownLeavesForeignFilesAlone(t *testing.T) {
	l := newTestLab(t, "foreign")
	theirs := filepath.Join(l.dir, l.name, "precious")
	if err := os.MkdirAll(filepath.Dir(theirs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "not made by a lab") {
		t.Errorf("up in a directory of somebody else: %v", err)
	}
	if _, err := l.Down(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("a file of somebody else is gone: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(theirs)); err != nil {
		t.Fatal(err)
	}
}

func TestAFileInPlaceOfTheDirectoryStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blue")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeDir(path); err == nil {
		t.Error("the file was taken for a directory")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("the file has %q now: %v", text, err)
	}
}

func TestDownEndsWhoeverIgnoresTheRequest(t *testing.T) {
	l := newTestLab(t, "stubborn")
	up(t, l)
	h, err := l.Host("compute1")
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	p, err := h.start(daemon{name: "stubborn", log: log, argv: []string{"sh", "-c", `trap "" TERM; sleep 1000 & wait; wait`}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Error("it is still there")
	}
}

// TestAnyKillLeavesNothingAfterDown kills up and down themselves at random moments. NEUTRINO_KILL_ROUNDS sets how often.
func TestAnyKillLeavesNothingAfterDown(t *testing.T) {
	rounds := 12
	if n := atoi(os.Getenv("NEUTRINO_KILL_ROUNDS")); n > 0 {
		rounds = n
	}
	l := newTestLab(t, "kill")
	began := time.Now()
	killAfter(t, l, "lab-up", time.Minute)
	whole := time.Since(began)
	for i := range rounds {
		moment := time.Duration(rand.Int64N(int64(whole)))
		t.Logf("round %d: up is killed after %s", i, moment)
		if _, err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		killAfter(t, l, "lab-up", moment)
		switch i % 3 {
		case 1: // down is killed too
			killAfter(t, l, "lab-down", time.Duration(rand.Int64N(int64(whole))))
		case 2: // up finds the ruin, and builds on its ground
			up(t, l)
		}
		if _, err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		assertNothingLeft(t, l)
		if t.Failed() {
			return
		}
	}
}

// killAfter runs a verb of the lab in a process of its own and kills that one after a while, if it still runs.
func killAfter(t *testing.T, l *Lab, verb string, moment time.Duration) {
	t.Helper()
	cmd := exec.Command(l.binary, verb)
	cmd.Env = append(os.Environ(), "TEST_LAB="+l.name, "TEST_LAB_DIR="+l.dir, "TEST_LAB_RUN="+l.run)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 100 * time.Millisecond // daemons do not hold our pipe, yet nothing should hang if they did
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if state := cmd.ProcessState; state.Exited() && !state.Success() {
		t.Fatalf("%s: %v: %s", verb, err, out.String())
	}
}

func TestEnvironmentsAreMergedWithoutDoubles(t *testing.T) {
	got := merge([]string{"PATH=/a", "HOME=/h"}, []string{"PATH=/b", "X="}, nil, []string{"X=1"})
	if want := []string{"PATH=/b", "HOME=/h", "X=1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
