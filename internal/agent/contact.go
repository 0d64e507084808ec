package agent

import (
	"sync"
	"time"
)

// noticed is how long it may take until the loss of a stream is known: the keepalive of package southbound/client.
const noticed = 20 * time.Second

// paused is the time for which nobody has asked after the contact, from which on the process, or the whole machine, must
// have been stopped: what is known of the stream is then as old.
const paused = 8 * time.Second

// Contact knows whether the host hears from the server, for those parts that may do something only while it does. A host
// has contact from when its view is complete on a stream until the loss of the stream is known. The zero value has none.
type Contact struct {
	mu sync.Mutex
	// stream is the number of the stream that stands; 0: none does.
	stream int64
	// asked is when Held was asked last, by the clock on the wall: the other one may stand still with the machine.
	asked time.Time
	// doubted is until when the contact does not count: since we were stopped, its loss may not have been noticed.
	doubted time.Time
}

func (c *Contact) set(stream int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = stream
}

// Held says whether the host hears from the server, and has heard all that there is to the view: one of before may want
// what the server has taken back. It is to be asked every few seconds, so that it notices when the program was stopped
// for a while.
func (c *Contact) Held(view *View, now time.Time) bool {
	now = now.Round(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if gap := now.Sub(c.asked); !c.asked.IsZero() && (gap > paused || gap < 0) {
		c.doubted = now.Add(noticed)
	}
	c.asked = now
	return c.stream != 0 && c.stream == view.stream && !now.Before(c.doubted)
}
