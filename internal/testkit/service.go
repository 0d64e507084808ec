package testkit

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// answerTime is how long Ask waits for an answer.
const answerTime = time.Second

// OpenHost opens a namespace that the product has made.
func OpenHost(t testing.TB, name string) *Host {
	t.Helper()
	ns, err := netns.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	nl, err := netlinkx.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	return &Host{t: t, Name: name, NS: ns, NL: nl}
}

// Serve answers on the port, over TCP and UDP and both IP versions, with the address and port from which the
// question came, as this host sees them.
func (h *Host) Serve(port int) {
	h.t.Helper()
	var listener *net.TCPListener
	var packets *net.UDPConn
	h.Check(netns.Do(h.NS, func() (err error) {
		if listener, err = net.ListenTCP("tcp", &net.TCPAddr{Port: port}); err == nil {
			packets, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		}
		return err
	}))
	h.t.Cleanup(func() {
		listener.Close()
		packets.Close()
	})
	go func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return // closed
			}
			// A question that was broken off is the asking test's matter.
			_, _ = conn.Write([]byte(seen(conn.RemoteAddr().(*net.TCPAddr).AddrPort())))
			conn.Close()
		}
	}()
	go func() {
		buffer := make([]byte, 1500)
		for {
			_, from, err := packets.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteToUDPAddrPort([]byte(seen(from)), from)
		}
	}()
}

func seen(from netip.AddrPort) string {
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String()
}

// Ask asks a host that serves, over "tcp" or "udp", and returns as whom it saw us.
func (h *Host) Ask(network, address string) (netip.AddrPort, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var conn net.Conn
	err = netns.Do(h.NS, func() (err error) {
		// The socket is made by this thread, since there is one address only to be tried.
		conn, err = (&net.Dialer{Timeout: answerTime, FallbackDelay: -1}).Dial(network, target.String())
		return err
	})
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return netip.AddrPort{}, err
	}
	if network == "udp" {
		if _, err := conn.Write([]byte("who am I?")); err != nil {
			return netip.AddrPort{}, err
		}
	}
	buffer := make([]byte, 1500)
	n, err := conn.Read(buffer)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("ask %s %s: %w", network, address, err)
	}
	return netip.ParseAddrPort(string(buffer[:n]))
}
