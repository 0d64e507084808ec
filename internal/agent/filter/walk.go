package filter

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/model"
)

// Going through the connections takes the longer the more there are, so the walker does it beside the loop, which may have
// the next port to wire. A pass waits for it in one case: where there are new ports. These must not inherit connections
// of their addresses, so the pass takes back what the walker has in hand, and goes through the connections itself.
//
// What has changed is not lost with the process. A fresh one looks at all connections, and the addresses of ports that are
// gone are in the kernel, in sets of the table that tracks, until their connections are forgotten.

// walkRetry is the pause after a walk that has failed.
const walkRetry = time.Second

// walker goes through connections when it is woken. The part owns it.
type walker struct {
	part    *Part
	tracked *conntrack.Table // of its own: a pass may use its one meanwhile
	woken   chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

func startWalker(p *Part) (*walker, error) {
	tracked, err := conntrack.Open(p.options.Namespace)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &walker{
		part: p, tracked: tracked, woken: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	go w.run(ctx)
	return w, nil
}

// close ends the walker, if need be in the midst of a walk.
func (w *walker) close() {
	w.stop()
	<-w.done
	w.tracked.Close()
}

func (w *walker) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (w *walker) run(ctx context.Context) {
	defer close(w.done)
	retry := time.NewTimer(walkRetry)
	retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.woken:
		case <-retry.C:
		}
		if err := w.walk(ctx); err != nil {
			w.part.options.Logger.Warn("connections were not looked at", "part", name, "error", err, "retry_in", walkRetry)
			retry.Reset(walkRetry)
		}
	}
}

// walk goes through the connections for what has narrowed. It decides by what is wanted at that moment, not by what was
// when it began; and it stops when a pass has taken back what it has in hand.
func (w *walker) walk(ctx context.Context) error {
	p := w.part
	n, c := p.hand()
	if n == nil {
		return nil
	}
	found, err := w.tracked.Find(func(x conntrack.Connection) conntrack.Fate {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.inHand != n || ctx.Err() != nil {
			return conntrack.Fate{Mark: x.Mark}
		}
		if c.version != p.state.version {
			c = p.state.newCutter(n)
		}
		return c.fate(x)
	})
	for i := 0; err == nil && i < len(found); i++ {
		err = p.inTurn(n, func() error { return w.tracked.Do(found[i]) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.inHand != n:
		return nil // a pass has done it
	case err != nil || ctx.Err() != nil:
		p.takeBack()
		return err
	}
	p.inHand = nil
	p.walked(n, len(found))
	return nil
}

// hand gives the walker what has narrowed, if anything has.
func (p *Part) hand() (*narrowed, *cutter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil || p.state.narrowed.empty() {
		return nil, nil
	}
	n := p.state.narrowed
	p.state.narrowed = newNarrowed()
	p.inHand = n
	return n, p.state.newCutter(n)
}

// inTurn does something of a walk, unless that has been taken back.
func (p *Part) inTurn(n *narrowed, do func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inHand != n {
		return nil
	}
	return do()
}

// takeBack ends the walk that is in hand, and has what it was for done by the next one.
func (p *Part) takeBack() {
	if p.inHand != nil {
		p.state.narrowed.add(p.inHand)
		p.inHand = nil
	}
}

// cut ends the connections that what has changed forbids, or has the walker do it.
func (p *Part) cut() error {
	switch n := p.state.narrowed; {
	case n.empty():
		return nil
	case n.newcomers:
		return p.walk()
	}
	p.walker.wake()
	return nil
}

// Settle has no walk left to be done when it returns: for those who want to see what became of connections.
func (p *Part) Settle() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return nil
	}
	p.takeBack()
	return p.walk()
}

func (p *Part) walk() error {
	n := p.state.narrowed
	if n.empty() {
		return nil
	}
	found, err := p.tracked.Find(p.state.newCutter(n).fate)
	if err != nil {
		return err
	}
	for _, change := range found {
		if err := p.tracked.Do(change); err != nil {
			return err
		}
	}
	p.state.narrowed = newNarrowed()
	p.walked(n, len(found))
	return nil
}

// walked says that connections have been gone through for what had narrowed.
func (p *Part) walked(n *narrowed, changed int) {
	if changed > 0 {
		p.options.Logger.Debug("connections were cut", "part", name, "connections", changed)
	}
	for end, bridge := range n.addresses {
		if _, again := p.state.narrowed.addresses[end]; !again {
			p.state.track.Remove(goneElement(bridge, end.addr))
		}
	}
}

// gone has the connections of addresses forgotten that a port had, but for those that it still has.
func (s *state) gone(p *wiredPort, still []netip.Addr) {
	zone, bridge := s.zones.of(p.network), model.BridgeName(p.network)
	for _, a := range p.fixed {
		if zone != 0 && !slices.Contains(still, a) {
			s.narrowed.addresses[endpoint{zone, a}] = bridge
			set, e := goneElement(bridge, a)
			s.track.Put(set, e, rs.Value{})
		}
	}
}

func goneElement(bridge string, a netip.Addr) (set string, e rs.Element) {
	set = setGone4
	if a.Is6() {
		set = setGone6
	}
	return set, rs.Element{First: rs.Key(rs.Device(bridge), a.AsSlice())}
}

// adoptGone takes over what a former process has not had forgotten. Of networks that are gone, nothing is left to do: a
// zone is emptied when a network gets it.
func (s *state) adoptGone() error {
	for _, set := range []string{setGone4, setGone6} {
		have, err := s.track.Actual(set)
		if err != nil {
			return err
		}
		for e := range have {
			bridge := deviceOf(e)
			a, ok := netip.AddrFromSlice([]byte(e.First)[len(rs.Device("")):])
			zone := s.zones.byBridge[bridge]
			if !ok || zone == 0 {
				continue
			}
			s.narrowed.addresses[endpoint{zone, a}] = bridge
			s.track.Put(set, e, rs.Value{})
		}
	}
	return nil
}
