package testkit

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// Capture is a running tcpdump.
type Capture struct {
	host *Host
	cmd  *exec.Cmd
	out  *locked
	note *locked
}

// locked is a buffer that a process writes while the test reads.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Capture starts to record frames on a device, and returns when it does.
func (h *Host) Capture(device, filter string) *Capture {
	h.t.Helper()
	c := &Capture{host: h, out: &locked{}, note: &locked{}}
	h.Check(netns.Do(h.NS, func() error {
		// By itself, tcpdump has room for 32 frames: so many of the greatest length have room in its buffer. Stop ends it,
		// so that it writes what it holds; the test's context would kill it.
		c.cmd = exec.CommandContext(context.Background(), "tcpdump", "-n", "-e", "-l", "-s", "2048", "-B", "16384",
			"--immediate-mode", "-i", device, filter)
		c.cmd.Stdout, c.cmd.Stderr = c.out, c.note
		return c.cmd.Start()
	}))
	h.t.Cleanup(func() { c.Stop() })
	Eventually(h.t, 5*time.Second, "capturing", func() bool { return strings.Contains(c.note.String(), "listening on") })
	return c
}

// Seen is what has been recorded until now.
func (c *Capture) Seen() string { return c.out.String() }

// Stop ends the recording and returns it, a line a frame.
func (c *Capture) Stop() string {
	if c.cmd.ProcessState == nil {
		// SIGINT lets tcpdump write what it still holds.
		if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
			c.host.t.Error(err)
		}
		_ = c.cmd.Wait() // the exit code of an interrupted tcpdump says nothing
	}
	return strings.TrimSpace(c.out.String())
}

// Dropped ends the recording and returns what there is to know of frames that it has missed.
func (c *Capture) Dropped() string {
	c.Stop()
	lines := strings.Split(strings.TrimSpace(c.note.String()), "\n")
	return lines[len(lines)-1]
}

// Monitor records every netlink event of the host from now on; the returned function ends it and tells them. What the
// kernel has learned by itself (resolving an address, forwarding a frame) is left out: it comes with traffic at any time.
func (h *Host) Monitor() (stop func() []string) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var seen []string
	marks := 0
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		first := sync.OnceFunc(func() { close(ready) })
		done <- h.NL.Subscribe(ctx, func(e netlinkx.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case e.Link != nil && e.Link.Name == "lo":
				marks++
			case e.Link != nil:
				seen = append(seen, fmt.Sprintf("link %s deleted=%v", e.Link.Name, e.Deleted))
			case e.Neigh != nil && !e.Deleted && !e.Neigh.Static():
				return
			case e.Neigh != nil:
				seen = append(seen, fmt.Sprintf("neigh %+v deleted=%v", *e.Neigh, e.Deleted))
			default:
				first()
			}
		})
	}()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(end)
	<-ready
	return func() []string {
		h.drain(func() int {
			mu.Lock()
			defer mu.Unlock()
			return marks
		})
		end()
		return seen
	}
}

// drain waits until the events that are under way have arrived: a mark is made on lo, and waited for.
func (h *Host) drain(marks func() int) {
	lo := h.Link("lo")
	before := marks()
	h.Check(h.NL.SetAlias(lo.Index, "mark"))
	Eventually(h.t, 5*time.Second, "told of the mark", func() bool { return marks() > before })
}

// Announce sends a gratuitous ARP request and reply for the address from a device inside: what a router does that
// takes over a virtual address.
func (h *Host) Announce(device, mac, address string) {
	h.t.Helper()
	for _, operation := range []byte{1, 2} {
		h.sendARP(device, arp{to: "ff:ff:ff:ff:ff:ff", operation: operation, mac: mac, source: address, target: address})
	}
}

// AskARP sends an ARP request for the target, from the source, in a frame to the MAC given.
func (h *Host) AskARP(device, to, mac, source, target string) {
	h.t.Helper()
	h.sendARP(device, arp{to: to, operation: 1, mac: mac, source: source, target: target})
	// Whatever is answered is answered at once; a ping of the loopback gives it the time of a few packets.
	h.Ping("127.0.0.1", 3)
}

// arp is an ARP message and the frame around it.
type arp struct {
	to             string // the destination of the frame
	operation      byte   // 1: request, 2: reply
	mac            string // of the sender
	source, target string
}

func (h *Host) sendARP(device string, m arp) {
	h.t.Helper()
	to, err := net.ParseMAC(m.to)
	h.Check(err)
	from, err := net.ParseMAC(m.mac)
	h.Check(err)
	frame := slices.Concat(to, from, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, m.operation}, // Ethertype ARP; Ethernet, IPv4
		from, netip.MustParseAddr(m.source).AsSlice(), make([]byte, 6), netip.MustParseAddr(m.target).AsSlice())
	index := h.Link(device).Index
	h.Check(netns.Do(h.NS, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index, Halen: 6})
	}))
}
