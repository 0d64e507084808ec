package ctsync_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent/ctsync"
	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// pair makes two hosts of one group for the namespaces.
func pair(t testing.TB, first, second string) (a, b *peer) {
	t.Helper()
	ca := authority(t)
	a = newPeer(t, "a", ca.Pool(), certificate(t, ca, "a"), 0)
	b = newPeer(t, "b", ca.Pool(), certificate(t, ca, "b"), 0)
	join(map[*peer]string{a: first, b: second})
	return a, b
}

func TestDownloadsGoOnAtAnotherHost(t *testing.T) {
	s := newSite(t)
	a, b := pair(t, s.routers[0].Name, s.routers[1].Name)
	out := s.download(s.client, "10.0.0.2", s.server, "203.0.113.9:8080", "203.0.113.9:8080")
	in := s.download(s.server, "203.0.113.9", s.client, "10.0.0.3:8081", "203.0.113.5:8081")
	out.goesOn(t, "the download through SNAT")
	in.goesOn(t, "the download from a floating IP")
	testkit.Eventually(t, patience, "both known to the other host", b.remembers(2))

	s.connect(0, false)
	s.connect(1, true)
	testkit.Eventually(t, patience, "the packets at the second router", func() bool {
		return s.routers[1].ReceivedPackets("in") > 5 && s.routers[1].ReceivedPackets("out") > 5
	})
	before := out.received.Load() + in.received.Load()
	time.Sleep(300 * time.Millisecond) //nolint:forbidigo // it is the silence that is tested
	if more := out.received.Load() + in.received.Load() - before; more > 1<<20 {
		t.Fatalf("%d bytes more through a router that does not know the connections: this test tests nothing", more)
	}
	if n, err := b.Inject(router, s.routers[1].NS); n != 2 || err != nil {
		t.Fatalf("%d connections were put in: %v", n, err)
	}
	out.goesOn(t, "the download through SNAT, at the second router")
	in.goesOn(t, "the download from a floating IP, at the second router")

	// And back, with what the first one has kept from its time.
	testkit.Eventually(t, patience, "both known to the first host", a.remembers(2))
	s.connect(1, false)
	if n, err := a.Inject(router, s.routers[0].NS); n != 2 || err != nil {
		t.Fatalf("%d connections were put in: %v", n, err)
	}
	s.connect(0, true)
	out.goesOn(t, "the download through SNAT, back at the first router")
	in.goesOn(t, "the download from a floating IP, back at the first router")
}

// table is a namespace with nothing but connections in it.
func table(t testing.TB) (*testkit.Host, *conntrack.Table) {
	t.Helper()
	h := testkit.NewHost(t, "flows")
	// The kernel tracks nothing in a namespace whose rules do not ask for it.
	h.Run("nft", "add table ip x; add chain ip x c { type nat hook postrouting priority 100; }; add rule ip x c ct state new")
	kernel, err := conntrack.Open(h.NS)
	h.Check(err)
	t.Cleanup(kernel.Close)
	return h, kernel
}

// flow is the n-th of many connections, with translation of its source.
func flow(n int) conntrack.Flow {
	inside := netip.AddrFrom4([4]byte{10, 0, byte(n >> 16), byte(n >> 8)})
	outside := netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})
	port := uint16(1024 + n>>8)
	f := conntrack.Flow{
		Original: conntrack.Tuple{Source: inside, Destination: outside, Protocol: 6, SourcePort: 40000, DestinationPort: port},
		Status:   conntrack.SeenReply | conntrack.Assured, Timeout: 3600, Mark: uint32(n),
		State: conntrack.TCPEstablished, ScaleOriginal: 7, ScaleReply: 9,
	}
	f.Reply = conntrack.Tuple{
		Source: outside, Destination: netip.MustParseAddr("203.0.113.1"), Protocol: 6,
		SourcePort: port, DestinationPort: uint16(20000 + n%40000),
	}
	return f
}

func TestTheOtherHostForgetsWhatHasEnded(t *testing.T) {
	one, kernel := table(t)
	two, _ := table(t)
	_, b := pair(t, one.Name, two.Name)
	one.Check(kernel.Insert(flow(0)))
	testkit.Eventually(t, patience, "the first known", b.remembers(1)) // and the namespace watched
	for n := range 10 {
		one.Check(kernel.Insert(flow(n)))
	}
	testkit.Eventually(t, patience, "ten known", b.remembers(10))
	forget(one, kernel, func(c conntrack.Connection) bool { return c.Mark >= 1 && c.Mark < 5 })
	testkit.Eventually(t, patience, "six known", b.remembers(6))
	closed := flow(9)
	closed.State, closed.Timeout = conntrack.TCPTimeWait, 60
	one.Check(kernel.Insert(closed))
	testkit.Eventually(t, patience, "five known", b.remembers(5))
}

func TestWhatAHostHasToldOutlivesItAndIsToldAnew(t *testing.T) {
	one, kernel := table(t)
	two, _ := table(t)
	ca := authority(t)
	a := newPeer(t, "a", ca.Pool(), certificate(t, ca, "a"), 0)
	b := newPeer(t, "b", ca.Pool(), certificate(t, ca, "b"), 0)
	join(map[*peer]string{a: one.Name, b: two.Name})
	for n := range 10 {
		one.Check(kernel.Insert(flow(n)))
	}
	testkit.Eventually(t, patience, "ten known", b.remembers(10))
	a.stop()
	forget(one, kernel, func(c conntrack.Connection) bool { return c.Mark == 3 })
	if n, _ := b.Count(); n != 10 {
		t.Fatalf("after the end of the other host, %d connections are remembered", n)
	}
	again := newPeer(t, "a", ca.Pool(), certificate(t, ca, "a"), 0)
	join(map[*peer]string{again: one.Name, b: two.Name})
	b.Want(ctsync.Wanted{
		Routers:   []ctsync.Router{{ID: router, Namespace: two.Name, Peers: []string{"a"}}},
		Addresses: map[string]string{"a": again.address},
	})
	testkit.Eventually(t, patience, "nine known", b.remembers(9))
	b.Want(ctsync.Wanted{})
	testkit.Eventually(t, patience, "nothing known of a router that is gone", b.remembers(0))
}

func TestWhatIsPutInIsAsItWas(t *testing.T) {
	one, kernel := table(t)
	two, copied := table(t)
	_, b := pair(t, one.Name, two.Name)
	icmp := conntrack.Flow{
		Original: conntrack.Tuple{
			Source: netip.MustParseAddr("10.0.0.2"), Destination: netip.MustParseAddr("203.0.113.9"), Protocol: 1,
			SourcePort: 77, DestinationPort: 8 << 8,
		},
		Reply: conntrack.Tuple{
			Source: netip.MustParseAddr("203.0.113.9"), Destination: netip.MustParseAddr("203.0.113.1"), Protocol: 1,
			SourcePort: 99, DestinationPort: 0,
		},
		Status: conntrack.SeenReply, Timeout: 300,
	}
	udp := flow(0)
	udp.State, udp.ScaleOriginal, udp.ScaleReply, udp.Timeout = 0, 0, 0, 300
	udp.Original.Protocol, udp.Reply.Protocol = 17, 17
	udp.Original.Destination, udp.Original.DestinationPort = netip.MustParseAddr("203.0.113.5"), 5353 // translated, too
	six := conntrack.Flow{
		Original: conntrack.Tuple{
			Source: netip.MustParseAddr("2001:db8::2"), Destination: netip.MustParseAddr("2001:db8:1::9"), Protocol: 6,
			SourcePort: 1, DestinationPort: 2,
		},
		Reply: conntrack.Tuple{
			Source: netip.MustParseAddr("2001:db8:1::9"), Destination: netip.MustParseAddr("2001:db8::2"), Protocol: 6,
			SourcePort: 2, DestinationPort: 1,
		},
		Status: conntrack.SeenReply | conntrack.Assured, Timeout: 300, State: conntrack.TCPEstablished, Zone: 5,
	}
	want := map[conntrack.Tuple]conntrack.Flow{}
	for _, f := range []conntrack.Flow{flow(1), icmp, udp, six} {
		one.Check(kernel.Insert(f))
		want[f.Original] = f
	}
	testkit.Eventually(t, patience, "all known", b.remembers(len(want)))
	if n, err := b.Inject(router, two.NS); n != len(want) || err != nil {
		t.Fatalf("%d connections were put in: %v", n, err)
	}
	one.Check(copied.Flows(func(is conntrack.Flow) {
		f := want[is.Original]
		if is.Timeout+5 < f.Timeout || is.Timeout > f.Timeout {
			t.Errorf("the timeout of %+v is %d, not %d", f.Original, is.Timeout, f.Timeout)
		}
		f.Timeout, is.Timeout = 0, 0
		is.Status &= conntrack.SeenReply | conntrack.Assured
		if is != f {
			t.Errorf("got  %+v\nwant %+v", is, f)
		}
		delete(want, is.Original)
	}))
	for _, f := range want {
		t.Errorf("missing: %+v", f)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	one, kernel := table(t)
	two, _ := table(t)
	ca := authority(t)
	a := newPeer(t, "a", ca.Pool(), certificate(t, ca, "a"), 0)
	b := newPeer(t, "b", ca.Pool(), certificate(t, ca, "b"), 5)
	join(map[*peer]string{a: one.Name, b: two.Name})
	for n := range 10 {
		one.Check(kernel.Insert(flow(n)))
	}
	testkit.Eventually(t, patience, "five known and others refused", func() bool {
		n, refused := b.Count()
		return n == 5 && refused > 0
	})
}

func TestOnlyHostsOfTheGroupAreToldAndBelieved(t *testing.T) {
	one, kernel := table(t)
	one.Check(kernel.Insert(flow(1)))
	two, _ := table(t)
	ca, foreign := authority(t), authority(t)
	for _, c := range []struct {
		name   string
		teller string // the name in the certificate of the one that tells
		hearer string
		group  []string // whom the teller takes for its peers
		// tellerOf and hearerOf signed the certificates.
		tellerOf, hearerOf *pki.Authority
		allowed            bool
	}{
		{"both of the group", "a", "b", []string{"b"}, ca, ca, true},
		{"the hearer is not in the group", "a", "c", []string{"b"}, ca, ca, false},
		{"the teller is another host", "x", "b", []string{"b"}, ca, ca, false},
		{"the hearer is of another cluster", "a", "b", []string{"b"}, ca, foreign, false},
		{"the teller is of another cluster", "a", "b", []string{"b"}, foreign, ca, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newPeer(t, c.teller, ca.Pool(), certificate(t, c.tellerOf, c.teller), 0)
			b := newPeer(t, c.hearer, ca.Pool(), certificate(t, c.hearerOf, c.hearer), 0)
			a.Want(ctsync.Wanted{Routers: []ctsync.Router{{ID: router, Namespace: one.Name, Peers: c.group}}})
			b.Want(ctsync.Wanted{
				Routers:   []ctsync.Router{{ID: router, Namespace: two.Name, Peers: []string{"a"}}},
				Addresses: map[string]string{"a": a.address},
			})
			if c.allowed {
				testkit.Eventually(t, patience, "one known", b.remembers(1))
				return
			}
			time.Sleep(700 * time.Millisecond) //nolint:forbidigo // longer than two attempts take
			if n, _ := b.Count(); n != 0 {
				t.Errorf("%d connections became known", n)
			}
		})
	}
}

// forget has the kernel forget those connections.
func forget(h *testkit.Host, kernel *conntrack.Table, those func(conntrack.Connection) bool) {
	found, err := kernel.Find(func(c conntrack.Connection) conntrack.Fate {
		return conntrack.Fate{Mark: c.Mark, Forget: those(c)}
	})
	h.Check(err)
	for _, c := range found {
		h.Check(kernel.Do(c))
	}
}
