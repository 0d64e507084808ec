package nswatch_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nswatch"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

type change struct {
	name string
	kind nswatch.Kind
}

// heard counts what a watcher has told.
type heard struct {
	mu  sync.Mutex
	all map[change]int
}

func (h *heard) tell(name string, kind nswatch.Kind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[change{name, kind}]++
}

func (h *heard) of(name string, kind nswatch.Kind) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[change{name, kind}]
}

func TestChangesAreHeardWhereTheyHappen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	a, b := testkit.NewHost(t, "a"), testkit.NewHost(t, "b")
	h := &heard{all: map[change]int{}}
	host := testkit.NewHost(t, "host")
	w := nswatch.New(host.NS, h.tell)
	defer w.Close()
	for _, ns := range []*testkit.Host{a, b} {
		ns.Check(w.Add(ns.NS))
	}
	for _, command := range []string{
		"ip link add br0 type bridge", "ip link set br0 up", "ip addr add 192.0.2.1/24 dev br0", "ip route add 198.51.100.0/24 dev br0",
		"ip -6 addr add 2001:db8::1/64 dev br0", "sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv6.conf.br0.forwarding=1",
		"nft add table inet x", "nft add set inet x s '{ type ipv4_addr; }'", "nft add element inet x s '{ 192.0.2.1 }'",
		"nft flush ruleset", "ip link del br0",
	} {
		kind, other := nswatch.Network, nswatch.Tables
		if strings.HasPrefix(command, "nft") {
			kind, other = other, kind
		}
		before, others := h.of(a.Name, kind), h.of(a.Name, other)
		a.Run("sh", "-c", command)
		testkit.Eventually(t, time.Second, "heard of "+command, func() bool { return h.of(a.Name, kind) > before })
		if h.of(a.Name, other) > others {
			t.Errorf("%s: heard of another kind", command)
		}
	}
	for _, kind := range []nswatch.Kind{nswatch.Network, nswatch.Tables} {
		if n := h.of(b.Name, kind); n != 0 {
			t.Errorf("%d changes were heard in the other namespace", n)
		}
	}
	w.Drop(a.Name)
	b.Run("ip", "link", "set", "lo", "alias", "mark")
	testkit.Eventually(t, time.Second, "heard", func() bool { return h.of(b.Name, nswatch.Network) > 0 })
}

func TestANameThatGoesIsHeard(t *testing.T) {
	testkit.RequireRoot(t)
	const name = "nswatch-test"
	h := &heard{all: map[change]int{}}
	w := nswatch.New(nil, h.tell)
	defer w.Close()
	ns, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for range 2 {
		if err := w.WatchNames("nswatch-"); err != nil {
			t.Fatal(err)
		}
	}
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Second, "heard", func() bool { return h.of(name, nswatch.Network) > 0 })
}

// TestANamespaceCostsNoSocket: each would hear, and slow down, everything that the kernel tells anywhere on the host.
func TestANamespaceCostsNoSocket(t *testing.T) {
	w := nswatch.New(nil, func(string, nswatch.Kind) {})
	defer w.Close()
	hosts := []*testkit.Host{testkit.NewHost(t, "a"), testkit.NewHost(t, "b"), testkit.NewHost(t, "c")}
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	hosts[0].Check(w.Add(hosts[0].NS))
	before := open()
	for _, h := range hosts {
		h.Check(w.Add(h.NS))
	}
	if n := open(); n > before {
		t.Errorf("%d more files are open", n-before)
	}
}

// TestANewNamespaceOfTheNameIsWatched as the agent does when somebody has deleted a namespace.
func TestANewNamespaceOfTheNameIsWatched(t *testing.T) {
	testkit.RequireRoot(t)
	const name = "nswatch-again"
	h := &heard{all: map[change]int{}}
	w := nswatch.New(nil, h.tell)
	defer w.Close()
	for range 3 {
		ns, err := netns.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(ns); err != nil {
			t.Fatal(err)
		}
		before := h.of(name, nswatch.Network)
		if out, err := exec.CommandContext(t.Context(), "ip", "-n", name, "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		testkit.Eventually(t, time.Second, "heard", func() bool { return h.of(name, nswatch.Network) > before })
		ns.Close()
		if err := netns.Delete(name); err != nil {
			t.Fatal(err)
		}
	}
}
