package gateway_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// download is a TCP connection over which one side sends without end.
type download struct{ received atomic.Int64 }

// newDownload lets `to` connect to an address of `from`, which sends.
func newDownload(t testing.TB, to, from *testkit.Host, listen, connect string) *download {
	t.Helper()
	var listener net.Listener
	from.Check(netns.Do(from.NS, func() (err error) {
		listener, err = net.Listen("tcp4", listen)
		return err
	}))
	t.Cleanup(func() { listener.Close() })
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
		conn, err = (&net.Dialer{Timeout: patience, FallbackDelay: -1}).Dial("tcp4", connect)
		return err
	}))
	t.Cleanup(func() { conn.Close() })
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

// goesOn waits until more has come.
func (d *download) goesOn(t testing.TB, what string) {
	t.Helper()
	before := d.received.Load()
	took := testkit.Eventually(t, patience, what, func() bool { return d.received.Load() > before+1<<19 })
	t.Logf("%s: half a megabyte more after %v", what, took)
}

// stream is questions that are asked every few milliseconds and answered by an echo.
type stream struct {
	stop func()

	mu   sync.Mutex
	sent int
	seen map[int]bool
	// last is when the newest answer came, longest the longest time between two, since mark was called.
	last    time.Time
	longest time.Duration
}

const askEvery = 5 * time.Millisecond

// newStream asks the host at the address, which has to have it.
func newStream(t testing.TB, from, to *testkit.Host, address string) *stream {
	t.Helper()
	target := netip.MustParseAddrPort(address)
	var server, client *net.UDPConn
	to.Check(netns.Do(to.NS, func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: int(target.Port())})
		return err
	}))
	from.Check(netns.Do(from.NS, func() (err error) {
		client, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(target))
		return err
	}))
	s := &stream{seen: map[int]bool{}, last: time.Now()}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		b := make([]byte, 64)
		for {
			n, who, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDPAddrPort(b[:n], who)
		}
	})
	running.Go(func() {
		b := make([]byte, 64)
		for {
			n, err := client.Read(b)
			if n == 8 {
				s.answered(b)
			} else if errors.Is(err, net.ErrClosed) {
				return
			}
		}
	})
	running.Go(func() {
		for ticker := time.NewTicker(askEvery); ; {
			select {
			case <-done:
				return
			case <-ticker.C:
				s.ask(client)
			}
		}
	})
	s.stop = sync.OnceFunc(func() {
		close(done)
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the last answers are on their way
		client.Close()
		server.Close()
		running.Wait()
	})
	t.Cleanup(s.stop)
	testkit.Eventually(t, patience, "answered", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.seen) > 0 })
	return s
}

func (s *stream) ask(client *net.UDPConn) {
	s.mu.Lock()
	s.sent++
	n := s.sent
	s.mu.Unlock()
	_, _ = client.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) // an error is of an earlier question
}

func (s *stream) answered(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[int(binary.BigEndian.Uint64(b))] = true
	now := time.Now()
	s.longest, s.last = max(s.longest, now.Sub(s.last)), now
}

// mark begins to measure anew.
func (s *stream) mark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = 0
}

// outage is the longest time without an answer since mark.
func (s *stream) outage() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.longest, time.Since(s.last))
}

// flows says whether an answer has just come.
func (s *stream) flows() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.last) < 20*askEvery
}

// lost ends the stream and returns how many questions were not answered, of how many.
func (s *stream) lost() (lost, sent int) {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent - len(s.seen), s.sent
}
