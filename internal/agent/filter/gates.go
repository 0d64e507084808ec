package filter

import (
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// Gates are the second line behind the filters where their table belongs to nobody (kernels before 6.9), so that anybody
// may flush it: `nft flush ruleset` would open all ports until the agent has seen it. There, each device in a bridge of ours
// sends only what has the mark of what the filters have let pass. The filters set it at the very end of the way through
// the bridge; traffic control, which has nothing to do with nftables, asks for it (netlinkx.SetGate). Without the table
// there is no mark, and everything is closed, from one packet to the next. When the table is put right, what marks comes
// last, so that no packet gets the mark that was past the filters before they were there again.
//
// Answers to ARP that the bridge itself gives do not go through it; a table of the family of ARP marks them.
//
// The order is: first the device is among those whose packets are marked, then it gets its gate; and the other way round
// when the table belongs to a process and gates are not needed any more. Where the table belongs to the agent, there is
// neither gate nor mark, and nothing to pay for them.
type gates struct {
	on      bool
	answers *rs.Table
	// inBridges are the devices in bridges of ours, by index; armed are those that have been seen to have their gate.
	inBridges map[int]string
	armed     map[int]bool
	view      *agent.View // for which that was found out
	looked    time.Time
	checked   time.Time
	// swept says that gates which a former process has left are gone; broken, that this kernel has none, which is told once.
	swept, broken bool
	// heard says that a device may have come or changed; listening, that this matters.
	heard, listening atomic.Bool
}

const (
	// passed is the mark of packets that the filters have let pass, where it is asked for.
	passed = 1 << 26

	setGated     = "gated"
	passedChain  = "passed"
	answersTable = "neutrino-answers" // arp
)

// begin is for the first pass, before anything is written.
func (g *gates) begin(s *state, exposed bool) {
	g.armed = map[int]bool{}
	if exposed {
		g.open(s)
	}
}

// open has what passes marked.
func (g *gates) open(s *state) {
	g.on, g.inBridges = true, nil
	g.listening.Store(true)
	s.filter.WantSet(setGated, rs.Set{Key: []rs.Field{rs.DeviceName}})
	s.filter.WantChain(passedChain, rs.Chain{
		Base: &rs.Base{Hook: rs.Postrouting, Priority: 300}, Vouches: true,
		Rules: []rs.Rule{rs.NewRule("the gate of the device lets it pass", outKey, rs.In(setGated, first), setMark(passed))},
	})
}

// hear takes note of devices that come or change.
func (g *gates) hear(e netlinkx.Event, changed func()) {
	if g.listening.Load() && e.Neigh == nil {
		g.heard.Store(true)
		changed()
	}
}

// devices has what goes out by the devices in our bridges marked.
func (g *gates) devices(p *Part) error {
	if !g.on || g.inBridges != nil && !g.heard.Swap(false) && p.view == g.view && time.Since(g.looked) < bridgesInterval {
		return nil
	}
	links, err := p.handle.Links()
	if err != nil {
		return err
	}
	ours := map[int]bool{}
	for _, name := range p.state.zones.bridges() {
		if l := links[name]; l != nil {
			ours[l.Index] = true
		}
	}
	now := map[int]string{}
	for name, l := range links {
		if ours[l.Master] {
			now[l.Index] = name
			p.filter.Put(setGated, rs.Element{First: rs.Key(rs.Device(name))}, rs.Value{})
		}
	}
	// A device that leaves the bridges loses its gate first: what it sends then is nothing that the filters have seen.
	if err := g.sweep(p, links, now); err != nil {
		return err
	}
	for e := range maps.Clone(p.filter.Elements(setGated)) {
		if l := links[deviceOf(e)]; l == nil || now[l.Index] == "" {
			p.filter.Remove(setGated, e)
		}
	}
	maps.DeleteFunc(g.armed, func(index int, _ bool) bool { return now[index] == "" })
	g.inBridges, g.view, g.looked = now, p.view, time.Now()
	return nil
}

// sweep takes away the gates of devices that are not to have one: at first of all of them, since a former process may have
// left some, and then of those that have left our bridges.
func (g *gates) sweep(p *Part, links map[string]*netlinkx.Link, keep map[int]string) error {
	for name, l := range links {
		if keep[l.Index] != "" || g.swept && g.inBridges[l.Index] == "" {
			continue
		}
		if err := p.openGate(l.Index, name); err != nil {
			return err
		}
	}
	g.swept = true
	return nil
}

// openGate takes the gate of a device away, if it has one.
func (p *Part) openGate(index int, device string) error {
	has, err := p.handle.HasGate(index, passed)
	if err == nil && has {
		p.changes++
		err = p.handle.DeleteGate(index)
	}
	if err != nil && !netlinkx.Gone(err) {
		return fmt.Errorf("open the gate of %s: %w", device, err)
	}
	return nil
}

// keep sees to it that there are gates where they are needed, after the tables have been written.
func (g *gates) keep(p *Part) error {
	switch exposed := p.filter.Exposed(); {
	case exposed && !g.on:
		g.open(p.state)
		if err := g.devices(p); err != nil {
			return err
		}
		if err := p.apply(); err != nil {
			return err
		}
	case !exposed && g.on:
		return g.remove(p)
	case !g.on && g.swept:
		return nil
	case !g.on:
		links, err := p.handle.Links()
		if err != nil {
			return err
		}
		return g.sweep(p, links, nil)
	}
	if err := g.answer(p); err != nil {
		return err
	}
	check := time.Since(g.checked) >= bridgesInterval
	for index, device := range g.inBridges {
		if g.armed[index] && !check {
			continue
		}
		if err := g.arm(p, index, device); err != nil {
			if !g.broken {
				p.options.Logger.Error("ports are open for a moment when somebody flushes the filters", "part", name,
					"device", device, "error", err)
			}
			g.broken = true
			break
		}
	}
	if check {
		g.checked = time.Now()
	}
	return nil
}

// answer has the answers of the bridge itself marked.
func (g *gates) answer(p *Part) error {
	if g.answers == nil {
		g.answers = rs.NewTable(p.conn, rs.ARP, answersTable)
		g.answers.WantChain("output", rs.Chain{Base: &rs.Base{Hook: rs.ARPOutput}, Rules: []rs.Rule{
			rs.NewRule("an answer of a bridge", outKey, rs.Equal(first, []byte("tap")...), setMark(passed)),
		}})
	}
	n, err := g.answers.Apply()
	p.changes += n
	if err == nil && g.answers.Drifted() {
		p.drift("table", g.answers.String(), "changed by somebody else")
	}
	return err
}

func (g *gates) arm(p *Part, index int, device string) error {
	has, err := p.handle.HasGate(index, passed)
	if err != nil {
		return err
	}
	if !has {
		if err := p.handle.SetGate(index, passed); err != nil {
			if netlinkx.Gone(err) {
				return nil
			}
			return fmt.Errorf("close %s to what no filter has seen: %w", device, err)
		}
		p.changes++
		if g.armed[index] {
			p.drift("gate", device, "it was gone")
		}
	}
	g.armed[index] = true
	return nil
}

// remove takes the gates away, and then what marks packets for them.
func (g *gates) remove(p *Part) error {
	for index, device := range g.inBridges {
		if err := p.openGate(index, device); err != nil {
			return err
		}
	}
	g.on = false
	g.listening.Store(false)
	clear(g.armed)
	p.filter.DropChain(passedChain)
	p.filter.DropSet(setGated)
	if g.answers != nil {
		if err := g.answers.Delete(); err != nil {
			return err
		}
		g.answers = nil
	}
	return p.apply()
}
