package ctsync_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent/ctsync"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

const (
	patience = 10 * time.Second
	router   = "4a1d6cf6-1d3c-4a52-9ad9-4a3f0c6f2b11"
)

type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(line), "\n"))
	return len(line), nil
}

func authority(t testing.TB) *pki.Authority {
	t.Helper()
	a, err := pki.Open(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func certificate(t testing.TB, a *pki.Authority, host string) tls.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.SignHost(host, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.DecodeCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

// peer is a Sync with its listener.
type peer struct {
	*ctsync.Sync
	name, address string
	stop          func()
}

func newPeer(t testing.TB, name string, roots *x509.CertPool, own tls.Certificate, maxFlows int) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{name: name, address: listener.Addr().String(), Sync: ctsync.New(ctsync.Options{
		Host: name, MaxFlows: maxFlows,
		Identity: func() (tls.Certificate, *x509.CertPool, error) { return own, roots, nil },
		Logger:   slog.New(slog.NewTextHandler(testWriter{t}, nil)).With("host", name),
	})}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	running.Go(func() {
		if err := p.Serve(ctx, listener); err != nil {
			t.Error(err)
		}
	})
	p.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(p.stop)
	return p
}

// join lets the peers share the router.
func join(namespaces map[*peer]string) {
	for p := range namespaces {
		w := ctsync.Wanted{Addresses: map[string]string{}}
		r := ctsync.Router{ID: router, Namespace: namespaces[p]}
		for other := range namespaces {
			if other != p {
				r.Peers = append(r.Peers, other.name)
				w.Addresses[other.name] = other.address
			}
		}
		w.Routers = []ctsync.Router{r}
		p.Want(w)
	}
}

func (p *peer) remembers(n int) func() bool {
	return func() bool { is, _ := p.Count(); return is == n }
}

// site is two routers between an inside and an outside, one of them connected, and a workload on either side.
type site struct {
	t              testing.TB
	routers        [2]*testkit.Host
	sw             *testkit.Host
	client, server *testkit.Host
}

// What a router does: it translates, to ports that nobody can guess, and forwards only what it knows or what begins properly.
const rules = `
table ip router {
	chain post {
		type nat hook postrouting priority 100;
		oifname "out" ip saddr 10.0.0.3 snat to 203.0.113.5
		oifname "out" meta l4proto tcp snat to 203.0.113.1:20000-60000 fully-random
		oifname "out" snat to 203.0.113.1
	}
	chain pre {
		type nat hook prerouting priority -100;
		ip daddr 203.0.113.5 dnat to 10.0.0.3
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established accept
		ct state new tcp flags & (fin|syn|rst|ack) == syn accept
		ct state new meta l4proto { icmp, udp } accept
	}
	chain input {
		type filter hook input priority 0; policy drop;
	}
}`

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, sw: testkit.NewHost(t, "switch")}
	for _, br := range []string{"brin", "brout"} {
		s.sw.Check(s.sw.NL.AddBridge(br, netlinkx.MAC{}, netlinkx.BridgeInfo{AgeingTime: 30000}))
		s.sw.Check(s.sw.NL.SetUp(s.sw.Link(br).Index))
	}
	for i := range s.routers {
		r := testkit.NewHost(t, "router")
		s.routers[i] = r
		n := string(rune('1' + i))
		s.plug(r, "in", "i"+n, "brin", "fa:16:3e:00:00:01", "10.0.0.1/24")
		s.plug(r, "out", "o"+n, "brout", "fa:16:3e:00:00:02", "203.0.113.1/24", "203.0.113.5/32")
		r.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
		r.Run("nft", rules)
	}
	s.client, s.server = testkit.NewHost(t, "client"), testkit.NewHost(t, "server")
	s.plug(s.client, "eth0", "ic", "brin", "fa:16:3e:00:00:03", "10.0.0.2/24", "10.0.0.3/24")
	s.client.Run("ip", "route", "add", "default", "via", "10.0.0.1")
	s.plug(s.server, "eth0", "oc", "brout", "fa:16:3e:00:00:04", "203.0.113.9/24")
	s.connect(1, false)
	return s
}

func (s *site) plug(h *testkit.Host, device, port, bridge, mac string, addresses ...string) {
	testkit.Connect(h, device, s.sw, port)
	s.sw.Check(s.sw.NL.SetMaster(s.sw.Link(port).Index, s.sw.Link(bridge).Index))
	h.Run("ip", "link", "set", device, "address", mac)
	for _, a := range addresses {
		h.Run("ip", "addr", "add", a, "dev", device)
	}
}

// connect plugs a router in or out at the switch, as a host that lives or dies.
func (s *site) connect(i int, on bool) {
	state := map[bool]string{true: "up", false: "down"}[on]
	n := string(rune('1' + i))
	s.sw.Run("ip", "link", "set", "i"+n, state)
	s.sw.Run("ip", "link", "set", "o"+n, state)
}

// download is a TCP connection over which one side sends without end.
type download struct{ received atomic.Int64 }

// download lets `to` connect from its address to one of `from`, which sends.
func (s *site) download(to *testkit.Host, source string, from *testkit.Host, listen, connect string) *download {
	s.t.Helper()
	var listener net.Listener
	from.Check(netns.Do(from.NS, func() (err error) {
		listener, err = net.Listen("tcp4", listen)
		return err
	}))
	s.t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for block := make([]byte, 4096); ; {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	}()
	var conn net.Conn
	to.Check(netns.Do(to.NS, func() (err error) {
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0))}
		conn, err = dialer.Dial("tcp4", connect)
		return err
	}))
	s.t.Cleanup(func() { conn.Close() })
	d := &download{}
	go func() {
		// Slowly: what fills this machine's processors says nothing.
		for ticker := time.NewTicker(2 * time.Millisecond); ; <-ticker.C {
			n, err := io.CopyN(io.Discard, conn, 16<<10)
			d.received.Add(n)
			if err != nil {
				return
			}
		}
	}()
	return d
}

// goesOn waits until a megabyte more has come.
func (d *download) goesOn(t testing.TB, what string) {
	t.Helper()
	before := d.received.Load()
	took := testkit.Eventually(t, patience, what, func() bool { return d.received.Load() > before+1<<20 })
	t.Logf("%s: a megabyte more after %v", what, took)
}
