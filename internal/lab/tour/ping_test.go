package tour

import (
	"context"
	"net"
	"testing"
	"time"
)

// loopbackPinger pings the machine itself.
func loopbackPinger(t *testing.T, to string) *pinger {
	t.Helper()
	loopback := &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}
	conn, err := net.ListenIP("ip4:icmp", loopback)
	if err != nil {
		t.Fatalf("raw sockets are for root only: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &pinger{conn: conn, id: 0xbeef, to: &net.IPAddr{IP: net.ParseIP(to)}}
}

func TestSeriesCountsEveryAnswerOnce(t *testing.T) {
	p := loopbackPinger(t, "127.0.0.1")
	other := loopbackPinger(t, "127.0.0.1") // its answers reach our socket too, and must not be counted
	other.id++
	if _, err := other.conn.WriteToIP(other.echo(0), other.to); err != nil {
		t.Fatal(err)
	}
	r, err := p.series(t.Context(), 65530, 20, time.Millisecond) // the sequence number wraps on the way
	if err != nil {
		t.Fatal(err)
	}
	if r.sent != 20 || r.received != 20 || r.loss() != 0 || r.minRTT <= 0 || r.medianRT < r.minRTT {
		t.Errorf("%+v", r)
	}
}

func TestSeriesReportsLoss(t *testing.T) {
	p := loopbackPinger(t, "127.0.0.1")
	p.conn.Close()
	blind, err := net.ListenIP("ip4:udp", &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}) // sees no ICMP
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blind.Close() })
	p.conn = blind
	r, err := p.series(t.Context(), 0, 5, time.Millisecond)
	if err != nil || r.received != 0 || r.loss() != 100 {
		t.Errorf("%+v, error %v", r, err)
	}
}

func TestFirstReplyIgnoresAnswersToEarlierRequests(t *testing.T) {
	p := loopbackPinger(t, "127.0.0.1")
	if _, err := p.conn.WriteToIP(p.echo(7), p.to); err != nil { // its answer waits in the socket
		t.Fatal(err)
	}
	began := time.Now()
	at, err := p.firstReply(t.Context(), 1000, 5*time.Millisecond)
	if err != nil || at.Before(began) {
		t.Errorf("answered %s after the start, error %v", at.Sub(began), err)
	}
}

func TestFirstReplyGivesUpWithTheContext(t *testing.T) {
	p := loopbackPinger(t, "127.0.0.1")
	p.id = 1
	blind, err := net.ListenIP("ip4:udp", &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blind.Close() })
	p.conn = blind
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := p.firstReply(ctx, 0, 5*time.Millisecond); err == nil {
		t.Error("no error")
	}
}

func TestChecksumIsThatOfRFC1071(t *testing.T) {
	// The example of RFC 1071, section 3: the sum is ddf2, of which the checksum is the complement.
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("%#x", got)
	}
}
