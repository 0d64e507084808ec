package l3_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// connections are those that the kernel remembers in a namespace: destination as first asked for → how many.
func connections(t *testing.T, h *testkit.Host) map[string]int {
	t.Helper()
	handle, err := netlink.NewHandleAt(vnetns.NsHandle(h.NS.Fd()), unix.NETLINK_NETFILTER)
	h.Check(err)
	defer handle.Close()
	flows, err := handle.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	h.Check(err)
	all := map[string]int{}
	for _, f := range flows {
		to, _ := netip.AddrFromSlice(f.Forward.DstIP)
		all[netip.AddrPortFrom(to.Unmap(), f.Forward.DstPort).String()]++
	}
	return all
}

// What is connected through a translation that changes is cut off, and nothing else.
func TestOnlyConnectionsOfWhatHasChangedAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.floating(w.router, "203.0.113.11", "10.0.1.11")
	w.floating(w.router, "203.0.113.12", "10.0.1.12")
	w.floating(w.router, "203.0.113.30", "")
	port := func(external uint32) *sb.PortForwarding {
		return &sb.PortForwarding{Address: "203.0.113.30", Protocol: "udp", ExternalFirst: external, ExternalLast: external,
			InternalIp: "10.0.2.10", InternalFirst: 80, InternalLast: 80}
	}
	forwarding := w.forward(w.router, port(8001))
	w.forward(w.router, port(8002))
	w.start()
	w.apply()
	w.allDone()
	inside := w.inside(w.router)
	for _, to := range []string{"203.0.113.11:80", "203.0.113.12:80", "203.0.113.30:8001", "203.0.113.30:8002"} {
		expect(t, w.internet, "udp", to, "203.0.113.254")
	}
	expect(t, w.b, "udp", "203.0.113.254:80", "203.0.113.5")
	expect(t, w.a1, "udp", "10.0.2.10:80", "10.0.1.11")

	same := func(what string, want ...string) {
		t.Helper()
		have := connections(t, inside)
		for _, to := range want {
			if have[to] == 0 {
				t.Errorf("%s: the connection to %s is forgotten", what, to)
			}
			delete(have, to)
		}
		for to := range have {
			t.Errorf("%s: the connection to %s is remembered", what, to)
		}
	}
	others := []string{"203.0.113.12:80", "203.0.113.30:8002", "203.0.113.254:80", "10.0.2.10:80"}
	same("at first", append(others, "203.0.113.11:80", "203.0.113.30:8001")...)
	delete(w.documents, first)
	delete(w.documents, forwarding)
	w.apply()
	same("two translations later", others...)

	w.change(func(r *sb.Router) { r.EnableSnat = false })
	same("without source NAT", "203.0.113.12:80", "203.0.113.30:8002", "10.0.2.10:80")

	// The floating IP moves to another fixed address: who talks to it, talks to the new one from now on.
	expect(t, w.internet, "udp", "203.0.113.12:80", "203.0.113.254")
	for key, d := range w.documents {
		if d.GetFloatingIp().GetAddress() == "203.0.113.12" {
			delete(w.documents, key)
		}
	}
	w.floating(w.router, "203.0.113.12", "10.0.2.10")
	w.apply()
	same("moved", "203.0.113.30:8002", "10.0.2.10:80")
}

func TestAnEstablishedConnectionEndsWithItsFloatingIP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.floating(w.router, "203.0.113.11", "10.0.1.11")
	w.floating(w.router, "203.0.113.12", "10.0.1.12")
	w.start()
	w.apply()
	cut, kept := stream(t, w.internet, w.a1, "203.0.113.11"), stream(t, w.internet, w.a2, "203.0.113.12")
	for _, s := range []*tcpStream{cut, kept} {
		if err := s.echo(); err != nil {
			t.Fatal(err)
		}
	}
	delete(w.documents, key)
	w.apply()
	if err := kept.echo(); err != nil {
		t.Errorf("a connection to another floating IP: %v", err)
	}
	if cut.echo() == nil {
		t.Error("the connection goes on without the floating IP")
	}
}

// tcpStream is a connection to an echoing server.
type tcpStream struct{ net.Conn }

func stream(t *testing.T, from, server *testkit.Host, address string) *tcpStream {
	t.Helper()
	var listener *net.TCPListener
	server.Check(netns.Do(server.NS, func() (err error) {
		listener, err = net.ListenTCP("tcp", &net.TCPAddr{Port: 7})
		return err
	}))
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // until the test ends, or the connection is cut
			}()
		}
	}()
	var conn net.Conn
	testkit.Eventually(t, patience, "connected", func() bool {
		return netns.Do(from.NS, func() (err error) {
			conn, err = net.DialTimeout("tcp", address+":7", time.Second)
			return err
		}) == nil
	})
	t.Cleanup(func() { conn.Close() })
	return &tcpStream{conn}
}

// echo sends something and waits a while for it to come back.
func (s *tcpStream) echo() error {
	if err := s.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := s.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := s.Read(make([]byte, 100))
	return err
}

// The neighbours believe that the floating IP is elsewhere, as it was before.
func TestAddressesAreAnnouncedWhenTheyAppear(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.apply()
	testkit.Eventually(t, patience, "wired", func() bool { return w.internet.Ping("203.0.113.5", 1) == 1 })
	w.internet.Run("ip", "neigh", "replace", "203.0.113.11", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "reachable")
	capture := w.internet.Capture("eth0", "arp or icmp6")
	w.floating(w.router, "203.0.113.11", "10.0.1.11")
	w.router = w.clone()
	w.router.Legs[2].Ips = append(w.router.Legs[2].Ips, "2001:db8:f::5/64")
	w.putRouter(w.router)
	w.apply()
	testkit.Eventually(t, patience, "known by its new MAC", func() bool {
		return strings.Contains(w.internet.Run("ip", "neigh", "show", "203.0.113.11"), w.gateway.Mac)
	})
	seen := capture.Stop()
	for _, want := range []string{
		"tell 203.0.113.11", "Reply 203.0.113.11 is-at " + w.gateway.Mac, "neighbor advertisement, tgt is 2001:db8:f::5",
	} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q among the frames:\n%s", want, seen)
		}
	}
}
