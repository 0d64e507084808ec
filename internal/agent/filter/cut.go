package filter

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
)

// Connections that were let in stay in the kernel's memory, and their packets pass. Where a change forbids some of them,
// these are cut, and only these: what concerns the changed objects is held against the rules once more, as if it began
// now.
//
// To cut is to mark the connection in the kernel's memory: its packets are looked at one by one from then on. To have it
// forgotten would not do. Its next packet, from the side that may still send, would begin it anew, and the other side's
// would be answers. What is forgotten are the connections of addresses and networks that are gone.
//
// This file says which connections these are; walk.go goes through them.

// cutMark is the mark of a connection that is cut.
const cutMark = 1 << 24

// narrowed collects what has changed so that it may forbid more than before.
type narrowed struct {
	all    bool // everything: what the rules were before is not known
	ports  map[string]bool
	groups map[string]bool
	sets   map[string]bool
	// newcomers: among the ports are new ones, which must not inherit the connections of their addresses.
	newcomers bool
	zones     map[uint16]bool     // of networks that are gone, or that have just got the zone of one
	addresses map[endpoint]string // of ports that are gone, with the network's bridge
}

// endpoint is an address on a network of this host.
type endpoint struct {
	zone uint16
	addr netip.Addr
}

func newNarrowed() *narrowed {
	return &narrowed{
		ports: map[string]bool{}, groups: map[string]bool{}, sets: map[string]bool{}, zones: map[uint16]bool{},
		addresses: map[endpoint]string{},
	}
}

func (n *narrowed) port(key string)  { n.ports[key] = true }
func (n *narrowed) group(id string)  { n.groups[id] = true }
func (n *narrowed) set(name string)  { n.sets[name] = true }
func (n *narrowed) zone(zone uint16) { n.zones[zone] = true }

func (n *narrowed) empty() bool {
	return !n.all && len(n.ports)+len(n.groups)+len(n.sets)+len(n.zones)+len(n.addresses) == 0
}

// add takes over what another one has collected.
func (n *narrowed) add(o *narrowed) {
	n.all, n.newcomers = n.all || o.all, n.newcomers || o.newcomers
	maps.Copy(n.ports, o.ports)
	maps.Copy(n.groups, o.groups)
	maps.Copy(n.sets, o.sets)
	maps.Copy(n.zones, o.zones)
	maps.Copy(n.addresses, o.addresses)
}

// cutter decides which connections are to be cut.
type cutter struct {
	*state
	narrowed *narrowed
	version  int // of the state that it knows
	// The filtered ports by each of their addresses, and those with blocks of addresses by their zone.
	single map[endpoint][]*wiredPort
	blocks map[uint16][]*wiredPort
	// suspects are the ports whose rules may have become narrower.
	suspects map[*wiredPort]bool
}

func (s *state) newCutter(n *narrowed) *cutter {
	c := &cutter{
		state: s, narrowed: n, version: s.version, single: map[endpoint][]*wiredPort{}, blocks: map[uint16][]*wiredPort{}, suspects: map[*wiredPort]bool{},
	}
	for key, p := range s.ports {
		if p.err != nil || !p.filtered && !s.firewalls.concern(p.port) && !n.ports[key] {
			continue
		}
		c.suspects[p] = n.all || n.ports[key] || s.narrowedGroups(n, p)
		zone := s.zones.of(p.network)
		if !p.filtered { // it may use any address; these are its own
			for _, a := range p.fixed {
				c.single[endpoint{zone, a}] = append(c.single[endpoint{zone, a}], p)
			}
		}
		wide := false
		for _, identities := range p.identities {
			for _, b := range identities {
				if single(b) {
					at := endpoint{zone, b.Addr()}
					c.single[at] = append(c.single[at], p)
				}
				wide = wide || !single(b)
			}
		}
		if wide {
			c.blocks[zone] = append(c.blocks[zone], p)
		}
	}
	return c
}

// narrowedGroups says whether rules of one of the port's groups have changed, or the members of a set that they ask.
func (s *state) narrowedGroups(n *narrowed, p *wiredPort) bool {
	for _, id := range p.groups {
		if n.groups[id] {
			return true
		}
		if g := s.groups[id]; g != nil && len(n.sets) > 0 {
			for _, r := range g.rules {
				if r.set != "" && n.sets[r.set] {
					return true
				}
			}
		}
	}
	return false
}

// fate is what becomes of a connection.
func (c *cutter) fate(x conntrack.Connection) conntrack.Fate {
	from, to := endpoint{x.Zone, x.Source}, endpoint{x.Zone, x.Destination}
	fate := conntrack.Fate{Mark: x.Mark}
	if x.Zone == 0 {
		return fate // the host's own
	}
	_, fromGone := c.narrowed.addresses[from]
	_, toGone := c.narrowed.addresses[to]
	if c.narrowed.zones[x.Zone] || fromGone || toGone {
		return conntrack.Fate{Forget: true}
	}
	senders, receivers := c.at(from), c.at(to)
	if !slices.ContainsFunc(senders, c.suspect) && !slices.ContainsFunc(receivers, c.suspect) {
		return fate
	}
	fate.Mark = cutMark
	if c.permit(senders, true, x, x.Destination) && c.permit(receivers, false, x, x.Source) {
		fate.Mark = 0
	}
	return fate
}

func (c *cutter) suspect(p *wiredPort) bool { return c.suspects[p] }

// at are the filtered ports of this host that may use an address.
func (c *cutter) at(end endpoint) []*wiredPort {
	ports := c.single[end]
	for _, p := range c.blocks[end.zone] {
		if p.mayUse(end.addr) && !slices.Contains(ports, p) {
			ports = append(slices.Clip(ports), p)
		}
	}
	return ports
}

// permit says whether security groups and firewall at one end let a connection begin. Where several ports have an address, one that does is
// enough: it may be that one's. An end that is no filtered port of this host permits everything.
func (c *cutter) permit(ports []*wiredPort, egress bool, x conntrack.Connection, remote netip.Addr) bool {
	for _, p := range ports {
		if (!p.filtered || c.allows(p, egress, x, remote)) && c.firewalls.permits(p, egress, x, remote) {
			return true
		}
	}
	return len(ports) == 0
}

// mayUse says whether an address is in a block that the port may use.
func (p *port) mayUse(a netip.Addr) bool {
	for _, identities := range p.identities {
		for _, b := range identities {
			if !single(b) && b.Contains(a) {
				return true
			}
		}
	}
	return false
}

// allows says whether the security groups of a port let a connection begin. What needs no rule is not looked at: DHCP and neighbour
// discovery begin again by themselves.
func (c *cutter) allows(p *wiredPort, egress bool, x conntrack.Connection, remote netip.Addr) bool {
	for _, id := range p.groups {
		g := c.groups[id]
		if g == nil {
			continue
		}
		for _, r := range g.rules {
			if r.egress == egress && c.matches(r, x, remote) {
				return true
			}
		}
	}
	return false
}

func (c *cutter) matches(r rule, x conntrack.Connection, remote netip.Addr) bool {
	switch {
	case r.v6 != remote.Is6(),
		r.protocol >= 0 && r.protocol != int(x.Protocol),
		r.first >= 0 && (int(x.Port) < r.first || int(x.Port) > r.last),
		r.kind >= 0 && r.kind != int(x.Type),
		r.code >= 0 && r.code != int(x.Code),
		r.remote.IsValid() && !r.remote.Contains(remote),
		r.set != "" && !c.members[r.set].has(remote):
		return false
	}
	return true
}
