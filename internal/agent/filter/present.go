package filter

import (
	"strings"
	"sync/atomic"
	"time"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// The filters know ports by the names of their devices, so they are in force before a device appears. To look for a name,
// 16 bytes, costs several times what it costs to look for a number; so what nearly all packets are asked is also kept by the
// index of the device, as soon as that is there: who the sender is, and whether the receiver takes what belongs to
// connections. Both say the same as the sets of names do, only sooner, and who is not found there is looked for by name.

const (
	setPresent4 = "present-identities4" // as setIDs4, by the index of the device and with the EtherType behind the MAC
	setPresent  = "present"             // indexes of devices that take what belongs to connections

	maxPresent = 1 << 16
	// presenceInterval is how long devices go without being looked at when none was heard to come or go.
	presenceInterval = 20 * time.Second
)

func presentSets() map[string]rs.Set {
	return map[string]rs.Set{
		setPresent4: {Key: []rs.Field{rs.DeviceIndex, rs.MAC, rs.IPv4}, Holds: rs.Marks},
		setPresent:  {Key: []rs.Field{rs.DeviceIndex}, Size: maxPresent}, // for a set of a known size the kernel is faster
	}
}

// presentSender is for what an honest sender says by IPv4. A tag that the device has taken off a frame is part of what is
// read here, so a tagged one is not found.
func presentSender() rs.Rule {
	return rs.NewRule("6: its own address", isIPv4, rs.Load(rs.R(0), rs.InIndex), rs.Read(rs.R(1), rs.Link, 6, 8),
		rs.Read(rs.R(3), rs.Network, 12, 4), rs.Map(setPresent4, rs.R(0), first), rs.SetMark(first), rs.Then(rs.Accept))
}

func presentReceiver() rs.Rule {
	return rs.NewRule("of a connection", hasMark, rs.Load(first, rs.OutIndex), rs.In(setPresent, first), setMark(0),
		rs.Then(rs.Accept))
}

// presence is which devices with the names of ports there are.
type presence struct {
	names  atomic.Pointer[map[int]string] // by index, as last seen
	looked time.Time
	// stale says that they may have changed since; watching, that hear would know.
	stale, watching atomic.Bool
}

// ofPort is the name of a device, if it is one that ports have.
func ofPort(l *netlinkx.Link) string {
	if strings.HasPrefix(l.Name, "tap") {
		return l.Name
	}
	return ""
}

// hear takes note of devices that come, go, or get another name.
func (d *presence) hear(e netlinkx.Event, changed func()) {
	switch names := d.names.Load(); {
	case e.Neigh != nil:
		return
	case e.Link == nil: // who watches begins to, or has missed something
		d.watching.Store(true)
	case names != nil && e.Deleted && (*names)[e.Link.Index] == "":
		return
	case names != nil && !e.Deleted && (*names)[e.Link.Index] == ofPort(e.Link):
		return
	}
	d.stale.Store(true)
	changed()
}

// findDevices has the state know which devices there are.
func (p *Part) findDevices() error {
	d := &p.presence
	if !d.stale.Swap(false) && d.watching.Load() && time.Since(d.looked) < presenceInterval {
		return nil
	}
	links, err := p.handle.Links()
	if err != nil {
		d.stale.Store(true)
		return err
	}
	names, indexes := map[int]string{}, map[string]int{}
	for _, l := range links {
		if name := ofPort(l); name != "" {
			names[l.Index], indexes[name] = name, l.Index
		}
	}
	d.names.Store(&names)
	d.looked = time.Now()
	p.state.present(indexes)
	return nil
}

// present takes in the indexes of the devices that there are.
func (s *state) present(now map[string]int) {
	before := s.indexes
	s.indexes = now
	for device, key := range s.devices {
		if before[device] != now[device] {
			s.refresh(s.ports[key])
		}
	}
}

// refresh has the tables follow what is wanted for a port.
func (s *state) refresh(p *wiredPort) {
	now := p.wantedElements(s.place(p.port))
	for e, v := range now {
		s.filter.Put(e.set, e.Element, v)
	}
	for e := range p.elements {
		if _, wanted := now[e]; !wanted {
			s.filter.Remove(e.set, e.Element)
		}
	}
	p.elements = now
}

// place is where a port is on this host.
type place struct {
	index int    // of its device; 0: it is not there
	zone  uint32 // the mark of its network's zone
}

func (s *state) place(p *port) place {
	return place{s.indexes[p.device], zoneMark(s.zones.of(p.network))}
}
