package filter_test

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// The rates of the traffic and of the changes, and how long they last.
const (
	packetPause = time.Millisecond
	changePause = 20 * time.Millisecond
	shortWhile  = 3 * time.Second
	longWhile   = time.Minute // with NEUTRINO_SOAK
)

// flow sends numbered datagrams to a port, and counts those that arrive.
type flow struct {
	sender   net.Conn
	receiver net.PacketConn
	sent     int
	mu       sync.Mutex
	got      map[string]bool
}

func newFlow(t *testing.T, from, to *testkit.Host, address string) *flow {
	t.Helper()
	f := &flow{got: map[string]bool{}}
	to.Check(netns.Do(to.NS, func() (err error) {
		f.receiver, err = net.ListenPacket("udp", address)
		return err
	}))
	from.Check(netns.Do(from.NS, func() (err error) {
		f.sender, err = net.Dial("udp", address)
		return err
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 100)
		for {
			n, _, err := f.receiver.ReadFrom(b)
			if err != nil {
				return
			}
			f.mu.Lock()
			f.got[string(b[:n])] = true
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		f.sender.Close()
		f.receiver.Close()
		<-done
	})
	return f
}

// keepSending sends without a pause until the returned function is called.
func (f *flow) keepSending() (stop func()) {
	var stopped atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stopped.Load() {
			f.send()
		}
	}()
	return func() {
		stopped.Store(true)
		<-done
	}
}

func (f *flow) send() {
	f.sent++
	// A port that nobody lets us reach may answer with an error, which the next write tells.
	_, _ = f.sender.Write(fmt.Append(nil, f.sent))
}

func (f *flow) arrived() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// While rules, members and groups change, what is allowed loses no packet, and what is forbidden gets none through.
func TestRulesMayChangeWhileTrafficFlows(t *testing.T) {
	while := shortWhile
	if os.Getenv("NEUTRINO_SOAK") != "" {
		while = longWhile
	}
	l := newLab(t, networkA)
	l.apply(open("default", ingress(4, udpNumber, 5000)), portDocument(port(networkA, 1, "default")),
		portDocument(port(networkA, 2, "default")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	allowed, forbidden := newFlow(t, a, b, ip4(2)+":5000"), newFlow(t, a, b, ip4(2)+":6000")
	testkit.Eventually(t, 5*time.Second, "flowing", func() bool {
		allowed.send()
		return allowed.arrived() > 0
	})
	before, start := allowed.sent-allowed.arrived(), time.Now()

	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(packetPause)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				allowed.send()
				forbidden.send()
			}
		}
	}()
	changes := 0
	for ticker := time.NewTicker(changePause); time.Since(start) < while; <-ticker.C {
		other := ingress(4, tcp, uint32(1000+changes%7))
		other.RuleId = fmt.Sprintf("rule-%d", changes%7)
		l.apply(open("default", ingress(4, udpNumber, 5000), other),
			memberDocument("group:friends", "x", fmt.Sprintf("10.9.%d.0/24", changes%9)))
		changes++
	}
	close(stop)
	<-done
	testkit.Eventually(t, 5*time.Second, fmt.Sprintf("all %d packets there", allowed.sent-before), func() bool {
		return allowed.arrived() >= allowed.sent-before
	})
	if n := forbidden.arrived(); n != 0 {
		t.Errorf("%d of %d forbidden packets arrived", n, forbidden.sent)
	}
	t.Logf("%d changes, %d packets allowed, %d forbidden", changes, allowed.sent, forbidden.sent)
}
