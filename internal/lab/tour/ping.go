package tour

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/neutrino-net/neutrino/internal/lab"
)

// The ICMP messages in use (RFC 792).
const (
	echoRequest = 8
	echoReply   = 0
	echoSize    = 16 // header and 8 bytes of payload
)

// pinger sends ICMP echo requests from a workload and matches the replies.
type pinger struct {
	conn *net.IPConn
	id   uint16
	to   *net.IPAddr
}

// newPinger opens the socket in the workload's network namespace, bound to its address.
func newPinger(h *lab.Host, namespace string, from, to netip.Addr) (*pinger, error) {
	p := &pinger{id: uint16(os.Getpid()), to: &net.IPAddr{IP: to.AsSlice()}}
	err := h.DoIn(namespace, func() error {
		conn, err := net.ListenIP("ip4:icmp", &net.IPAddr{IP: from.AsSlice()})
		p.conn = conn
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening an ICMP socket in %s on %s: %w", namespace, h.Name, err)
	}
	return p, nil
}

func (p *pinger) close() error { return p.conn.Close() }

// echo encodes a request with its sequence number.
func (p *pinger) echo(seq uint16) []byte {
	b := make([]byte, echoSize)
	b[0] = echoRequest
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], seq)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// checksum is the Internet checksum (RFC 1071) of a message of even length.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// reply returns the sequence number of an answer to one of our requests.
func (p *pinger) reply(b []byte) (seq uint16, ok bool) {
	if len(b) < echoSize || b[0] != echoReply || binary.BigEndian.Uint16(b[4:]) != p.id {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[6:]), true
}

// firstReply sends a request at each interval until one is answered, and returns when the answer came. Only answers to
// requests that it sent itself count.
func (p *pinger) firstReply(ctx context.Context, firstSeq uint16, interval time.Duration) (time.Time, error) {
	buffer := make([]byte, 1500)
	lastErr := errors.New("no request was sent")
	for seq := firstSeq; ; seq++ {
		if ctx.Err() != nil {
			return time.Time{}, fmt.Errorf("no answer to %d requests: %w", seq-firstSeq, lastErr)
		}
		next := time.Now().Add(interval)
		if _, lastErr = p.conn.WriteToIP(p.echo(seq), p.to); lastErr == nil {
			lastErr = os.ErrDeadlineExceeded
		}
		if err := p.conn.SetReadDeadline(next); err != nil {
			return time.Time{}, err
		}
		for {
			n, _, err := p.conn.ReadFromIP(buffer)
			if err != nil {
				break // the interval is over
			}
			if got, ok := p.reply(buffer[:n]); ok && got-firstSeq <= seq-firstSeq {
				return time.Now(), nil
			}
		}
	}
}

// pingResult is what became of a series of echo requests.
type pingResult struct {
	sent, received   int
	minRTT, medianRT time.Duration
}

func (r pingResult) loss() float64 { return 100 * float64(r.sent-r.received) / float64(r.sent) }

// series sends count requests, one each interval, and waits for the last answers.
func (p *pinger) series(ctx context.Context, firstSeq uint16, count int, interval time.Duration) (pingResult, error) {
	const lastWait = 500 * time.Millisecond
	sentAt := make([]time.Time, count)
	rtts := make([]time.Duration, 0, count)
	var mu sync.Mutex // guards sentAt
	received := make(chan error, 1)
	if err := p.conn.SetReadDeadline(time.Now().Add(time.Duration(count)*interval + lastWait)); err != nil {
		return pingResult{}, err
	}
	go func() { // ends when all answers are there, or at the deadline
		buffer := make([]byte, 1500)
		seen := make([]bool, count)
		for len(rtts) < count {
			n, _, err := p.conn.ReadFromIP(buffer)
			if err != nil {
				received <- err
				return
			}
			seq, ok := p.reply(buffer[:n])
			if i := int(seq - firstSeq); ok && i < count && !seen[i] {
				mu.Lock()
				rtts, seen[i] = append(rtts, time.Since(sentAt[i])), true
				mu.Unlock()
			}
		}
		received <- nil
	}()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var sendErr error
	for i := 0; i < count && sendErr == nil && ctx.Err() == nil; i++ {
		mu.Lock()
		sentAt[i] = time.Now()
		mu.Unlock()
		_, sendErr = p.conn.WriteToIP(p.echo(firstSeq+uint16(i)), p.to)
		<-ticker.C
	}
	if sendErr != nil || ctx.Err() != nil {
		_ = p.conn.SetReadDeadline(time.Now())
	}
	if err := <-received; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return pingResult{}, err
	}
	if err := errors.Join(sendErr, ctx.Err()); err != nil {
		return pingResult{}, err
	}
	result := pingResult{sent: count, received: len(rtts)}
	if len(rtts) > 0 {
		slices.Sort(rtts)
		result.minRTT, result.medianRT = rtts[0], rtts[len(rtts)/2]
	}
	return result, nil
}
