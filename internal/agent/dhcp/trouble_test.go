package dhcp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/proc"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// script makes a program that stands in front of dnsmasq; "$DNSMASQ" in it goes on to the real one.
func script(t *testing.T, text string) string {
	t.Helper()
	real, err := exec.LookPath("dnsmasq")
	must(t, err)
	path := filepath.Join(t.TempDir(), "dnsmasq")
	text = strings.ReplaceAll(text, "$DNSMASQ", `exec `+real+` "$@"`)
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return path
}

// newPart makes a part on the host that is called by the test itself.
func (h *host) newPart(options Options) *Part {
	h.t.Helper()
	options.DataDir, options.Logger = h.data, discard()
	part, err := New(options)
	must(h.t, err)
	h.t.Cleanup(func() { must(h.t, part.Close()) })
	return part
}

func reconciled(t *testing.T, part *Part, docs ...*sb.Document) (map[string]agent.Status, error) {
	t.Helper()
	statuses, err := part.Reconcile(t.Context(), agentView(docs...))
	byKey := map[string]agent.Status{}
	for _, s := range statuses {
		byKey[s.Key] = s
	}
	return byKey, err
}

// second is another network beside that of the host.
func second(t *testing.T, h *host) *host {
	t.Helper()
	other := newHost(t)
	other.data = h.data
	return other
}

func TestADnsmasqThatHangsHoldsUpNoOther(t *testing.T) {
	h := newHost(t)
	other := second(t, h)
	part := h.newPart(Options{
		StartTimeout: jobPatience + 500*time.Millisecond,
		Dnsmasq:      script(t, fmt.Sprintf("case $1 in *%s*) exec sleep 60;; esac; $DNSMASQ", h.network.NetworkId)),
	})
	docs := append(h.documents(), other.documents()...)
	begun := time.Now()
	statuses, err := reconciled(t, part, docs...)
	must(t, err)
	if took := time.Since(begun); took > jobPatience+400*time.Millisecond {
		t.Errorf("the pass took %s", took)
	}
	if s := statuses[h.networkKey()]; s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, "takes long") {
		t.Errorf("the server that hangs: %+v", s)
	}
	if s := statuses[other.networkKey()]; s.State != sb.ObjectStatus_STATE_DONE || other.pid() == 0 {
		t.Errorf("the other server: %+v, pid %d", s, other.pid())
	}
	// The next passes do not wait at all, and see to the other one.
	other.hosts = append(other.hosts, other.client(9, "late"))
	begun = time.Now()
	statuses, err = reconciled(t, part, append(h.documents(), other.documents()...)...)
	must(t, err)
	if took := time.Since(begun); took > 400*time.Millisecond {
		t.Errorf("the second pass took %s", took)
	}
	if s := statuses["dhcp-host/"+other.hosts[2].PortId]; s.State != sb.ObjectStatus_STATE_DONE {
		t.Errorf("a host of the other network: %+v", s)
	}
	h.eventually("the start is given up", func() bool {
		statuses, err := reconciled(t, part, docs...)
		return err == nil && strings.Contains(statuses[h.networkKey()].Reason, "not ready in time")
	})
}

func TestStartsThatFailAreNotRepeatedAtEachPass(t *testing.T) {
	h := newHost(t)
	calls := filepath.Join(t.TempDir(), "calls")
	part := h.newPart(Options{Dnsmasq: script(t, "echo >>"+calls+"; echo no such option >&2; exit 1")})
	begun := time.Now()
	for range 100 {
		statuses, err := reconciled(t, part, h.documents()...)
		must(t, err)
		if s := statuses[h.networkKey()]; !strings.Contains(s.Reason, "no such option") {
			t.Fatalf("the reason: %+v", s)
		}
	}
	text, err := os.ReadFile(calls)
	must(t, err)
	// The pauses are 100, 200, 400 ms …
	if n, most := strings.Count(string(text), "\n"), 2+int(time.Since(begun)/(100*time.Millisecond)); n > most || n > startBurst {
		t.Errorf("dnsmasq was started %d times in 100 passes, in %s", n, time.Since(begun))
	}
}

// A tenant may change dns_domain in a loop; each change needs a restart.
func TestATenantCannotKeepTheServerRestarting(t *testing.T) {
	h := newHost(t)
	h.start()
	pids := map[int]bool{h.pid(): true}
	for n := range 30 {
		h.network = proto.CloneOf(h.network)
		h.network.DnsDomain = fmt.Sprintf("n%d.example.org.", n)
		h.apply(h.documents()...)
		pids[h.pid()] = true
	}
	if delete(pids, 0); len(pids) > startBurst+2 {
		t.Errorf("%d servers for 30 changes", len(pids))
	}
	// The newest configuration is taken in the end, without a further change.
	testkit.Eventually(t, startInterval+patience, "done", func() bool {
		return h.status(h.networkKey()).State == sb.ObjectStatus_STATE_DONE
	})
	if l := h.workload(h.hosts[0].GetMac()).ask(); l.Domain != "n29.example.org" {
		t.Errorf("domain %q", l.Domain)
	}
	if h.drift("process") != 0 {
		t.Error("our own restarts were counted as drift")
	}
}

func TestDriftIsCountedOnceAndAfterTheRepair(t *testing.T) {
	h := newHost(t)
	broken := filepath.Join(t.TempDir(), "broken")
	h.dnsmasq = script(t, "[ ! -e "+broken+" ] || exit 1; $DNSMASQ")
	h.start()
	must(t, os.WriteFile(broken, nil, 0o600))
	must(t, syscall.Kill(h.pid(), syscall.SIGKILL))
	h.eventually("noticed", func() bool { return h.status(h.networkKey()).State == sb.ObjectStatus_STATE_ERROR })
	for range 20 {
		h.apply(h.documents()...)
	}
	if n := h.drift("process"); n != 0 {
		t.Errorf("drift %v before it was repaired", n)
	}
	must(t, os.Remove(broken))
	const pause = 10 * time.Second // that after several failures
	testkit.Eventually(t, pause+patience, "healed and counted", func() bool {
		return h.sound() == "" && h.drift("process") == 1
	})
}

// What is left of a network that is gone has no document any more, and must not take the statuses of all others with it.
func TestARemovalThatFailsHoldsUpNoOther(t *testing.T) {
	h := newHost(t)
	other := second(t, h)
	part := h.newPart(Options{})
	_, err := reconciled(t, part, append(h.documents(), other.documents()...)...)
	must(t, err)
	// A mount point cannot be removed.
	mount := filepath.Join(h.dir(), "mount")
	must(t, os.Mkdir(mount, 0o755))
	must(t, unix.Mount("neutrino-test", mount, "tmpfs", 0, ""))
	unmount := func() error { return unix.Unmount(mount, unix.MNT_DETACH) }
	t.Cleanup(func() { _ = unmount() }) // after a failure
	for range 2 {
		statuses, err := reconciled(t, part, other.documents()...)
		var retry *agent.Retry
		if !errors.As(err, &retry) || !strings.Contains(err.Error(), h.network.NetworkId) {
			t.Errorf("error %v, want a retry that names the network", err)
		}
		if len(statuses) != 3 || statuses[other.networkKey()].State != sb.ObjectStatus_STATE_DONE {
			t.Errorf("statuses of the other network: %v", statuses)
		}
	}
	must(t, unmount())
	if _, err := reconciled(t, part, other.documents()...); err != nil {
		t.Errorf("tried again: %v", err)
	}
	if _, err := os.Stat(h.dir()); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestANamespaceThatCouldNotBeWatchedIsWatchedLater(t *testing.T) {
	h := newHost(t)
	part := h.newPart(Options{})
	epoll := part.watcher.epoll
	part.watcher.epoll = -1
	statuses, err := reconciled(t, part, h.documents()...)
	must(t, err)
	if s := statuses[h.networkKey()]; !strings.Contains(s.Reason, "watch") {
		t.Fatalf("%+v", s)
	}
	part.watcher.epoll = epoll
	statuses, err = reconciled(t, part, h.documents()...)
	must(t, err)
	if s := statuses[h.networkKey()]; s.State != sb.ObjectStatus_STATE_DONE {
		t.Errorf("%+v", s)
	}
	if _, watched := part.watcher.sockets[h.network.NetworkId]; !watched {
		t.Error("the namespace is not watched")
	}
}

// process is one that could be a dnsmasq; end ends it.
func process(t *testing.T) (p *proc.Process, end func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read line")
	input, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	end = func() {
		input.Close()
		_ = cmd.Wait() // it ends with an error, having read nothing
	}
	t.Cleanup(end)
	p, err = proc.Started(cmd.Process)
	must(t, err)
	return p, end
}

// An event may be on its way while its descriptor is closed, and the number given to the next process.
func TestAnEventOfAClosedDescriptorIsNotTakenForThatOfTheNext(t *testing.T) {
	w, err := newWatcher()
	must(t, err)
	defer w.close()
	first, endFirst := process(t)
	must(t, w.addProcess(first, "first"))
	endFirst()
	events := make([]unix.EpollEvent, 8)
	n, err := unix.EpollWait(w.epoll, events, 1000)
	must(t, err)
	i := slices.IndexFunc(events[:n], func(e unix.EpollEvent) bool { return int(e.Fd) == first.FD() })
	if i < 0 {
		t.Fatal("the end of the process was not told")
	}
	second, endSecond := process(t)
	defer second.Close()
	number := first.FD()
	w.dropProcess("first")
	// The number of the first is given to the second, as the kernel does it sooner or later.
	first.Close()
	if fd, err := unix.FcntlInt(uintptr(second.FD()), unix.F_DUPFD_CLOEXEC, number); err != nil || fd != number {
		t.Fatalf("descriptor %d instead of %d: %v", fd, number, err)
	}
	defer unix.Close(number)
	must(t, w.poll(number, source{network: "second", process: true}))
	touched := map[string]bool{}
	w.handle(events[i], make([]byte, 1024), touched)
	if len(touched) != 0 {
		t.Errorf("the old event touched %v", touched)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	endSecond()
	var told []string
	must(t, w.run(ctx, func(network string) {
		told = append(told, network)
		cancel()
	}))
	if !slices.Equal(told, []string{"second"}) {
		t.Errorf("told of %v, want the end of the second", told)
	}
}
