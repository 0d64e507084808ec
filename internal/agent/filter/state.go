package filter

import (
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// state is what the documents say, and what follows from it for the tables. A document that comes, changes or goes costs
// what depends on it: a member its elements, a rule the chain of its group, a port its own elements.
type state struct {
	filter *rs.Table
	// track has the chains that follow connections; where the kernel does that in bridges, it is the same as filter.
	track *rs.Table
	form  form
	zones *zones

	ports    map[string]*wiredPort // by key
	devices  map[string]string     // device → key of the port that has it
	indexes  map[string]int        // of the devices that there are
	groups   map[string]*group     // by id
	members  map[string]*members   // by set
	unmerged map[string]bool       // sets whose blocks have changed
	added    map[string]*setMember // by key
	segments map[string]*segment   // by key
	chains   map[string]*shared    // chains of ports, by name
	// problems are documents that cannot be understood, and why.
	problems map[string]error
	// anyState is how many ports have stateless groups.
	anyState  int
	firewalls firewalls
	// narrowed collects what may forbid connections that were allowed; see cut.go.
	narrowed *narrowed
	// version is how often documents have changed.
	version int
	logs    logs
}

// wiredPort is a port and what it has in the tables.
type wiredPort struct {
	*port
	stateful bool
	elements map[element]rs.Value
	chains   []string
	// lacking is the first group that there is no document of.
	lacking string
}

type element struct {
	set string
	rs.Element
}

type setMember struct {
	set      string
	prefixes []netip.Prefix
}

type segment struct{ network, tunnel string }

// shared is a chain that several ports use.
type shared struct{ users int }

func newState(filter, track *rs.Table, f form) *state {
	s := &state{
		filter: filter, track: track, form: f,
		ports: map[string]*wiredPort{}, devices: map[string]string{}, groups: map[string]*group{},
		members: map[string]*members{}, unmerged: map[string]bool{}, added: map[string]*setMember{}, segments: map[string]*segment{},
		chains: map[string]*shared{}, problems: map[string]error{}, narrowed: newNarrowed(),
		logs:      newLogs(),
		firewalls: newFirewalls(),
	}
	for name, set := range filterSets() {
		filter.WantSet(name, set)
	}
	for name, chain := range filterChains(f) {
		filter.WantChain(name, chain)
	}
	track.WantSet(setZones, zoneSet())
	track.WantSet(setGone4, rs.Set{Key: []rs.Field{rs.DeviceName, rs.IPv4}})
	track.WantSet(setGone6, rs.Set{Key: []rs.Field{rs.DeviceName, rs.IPv6}})
	if f == formINet {
		for name, chain := range trackChains(f) {
			track.WantChain(name, chain)
		}
	}
	s.wantStateless()
	return s
}

// wantStateless makes the chains that depend on whether there are ports whose groups are stateless.
func (s *state) wantStateless() {
	s.filter.WantChain("leave", leaveChain(s.anyState > 0))
	if s.anyState > 0 {
		s.filter.WantChain("postrouting", unmarkChain())
	} else {
		s.filter.DropChain("postrouting")
	}
}

// put takes a document that is new or has changed.
func (s *state) put(d *sb.Document) {
	delete(s.problems, d.Key)
	switch body := d.Body.(type) {
	case *sb.Document_Port:
		s.putPort(d.Key, parsePort(body.Port))
	case *sb.Document_SecurityGroup:
		s.putGroup(d.Key, body.SecurityGroup)
	case *sb.Document_SetMember:
		s.putMember(d.Key, body.SetMember)
	case *sb.Document_Segment:
		s.putSegment(d.Key, body.Segment)
	case *sb.Document_Log:
		s.putLog(d.Key, body.Log)
	case *sb.Document_FirewallGroup:
		s.putFirewall(d.Key, body.FirewallGroup)
	}
	s.logs.touch(d)
}

// remove forgets a document.
func (s *state) remove(d *sb.Document) {
	delete(s.problems, d.Key)
	switch body := d.Body.(type) {
	case *sb.Document_Port:
		s.removePort(d.Key)
	case *sb.Document_SecurityGroup:
		s.setGroup(body.SecurityGroup.GetGroupId(), nil)
	case *sb.Document_SetMember:
		if old := s.added[d.Key]; old != nil {
			delete(s.added, d.Key)
			s.changeMembers(old.set, old.prefixes, -1)
			s.narrowed.set(old.set)
		}
	case *sb.Document_Segment:
		if old := s.segments[d.Key]; old != nil {
			delete(s.segments, d.Key)
			s.leaveNetwork(old.network, old.tunnel)
		}
	case *sb.Document_Log:
		delete(s.logs.all, d.Key)
	case *sb.Document_FirewallGroup:
		s.removeFirewall(d.Key)
	}
	s.logs.touch(d)
}

func (s *state) putSegment(key string, body *sb.Segment) {
	if !idPattern.MatchString(body.GetNetworkId()) {
		s.problems[key] = fmt.Errorf("network id %.80q is none", body.GetNetworkId())
		return
	}
	now := &segment{network: body.NetworkId}
	if body.NetworkType == string(model.TypeVXLAN) {
		now.tunnel = fmt.Sprintf("vxlan-%d", body.SegmentationId)
	}
	old := s.segments[key]
	s.segments[key] = now
	s.joinNetwork(now.network, now.tunnel)
	if old != nil {
		s.leaveNetwork(old.network, old.tunnel)
	}
}

// joinNetwork has what enters by the device, and in the inet family by the network's bridge, tracked in its zone.
func (s *state) joinNetwork(network, device string) {
	zone, fresh, err := s.zones.join(network)
	if err != nil {
		return // see zones: without one, its connections are not known, and only what rules allow passes
	}
	if fresh {
		s.narrowed.zone(zone) // some other network may have had it
	}
	s.putZone(model.BridgeName(network), zone)
	if device != "" && s.form == formBridge {
		s.putZone(device, zone)
	}
}

func (s *state) leaveNetwork(network, device string) {
	if device != "" && s.form == formBridge {
		s.track.Remove(setZones, rs.Element{First: rs.Key(rs.Device(device))})
	}
	if zone, gone := s.zones.leave(network); gone {
		s.track.Remove(setZones, rs.Element{First: rs.Key(rs.Device(model.BridgeName(network)))})
		s.narrowed.zone(zone)
	}
}

func (s *state) putZone(device string, zone uint16) {
	s.track.Put(setZones, rs.Element{First: rs.Key(rs.Device(device))}, rs.Value{Zone: zone})
}

func (s *state) putMember(key string, body *sb.SetMember) {
	old := s.added[key]
	prefixes, err := parseMember(body)
	if err != nil {
		s.problems[key] = err
	} else {
		// The new first: what is in both never leaves the set.
		s.added[key] = &setMember{body.Set, prefixes}
		s.changeMembers(body.Set, prefixes, 1)
	}
	if old == nil {
		return
	}
	if err != nil {
		delete(s.added, key)
	}
	s.changeMembers(old.set, old.prefixes, -1)
	s.narrowed.set(old.set)
}

func (s *state) putGroup(key string, body *sb.SecurityGroup) {
	g := parseGroup(body)
	if g.err != nil {
		s.problems[key] = g.err
	}
	s.setGroup(body.GetGroupId(), g)
}

// setGroup makes the chains of a group; nil removes them.
func (s *state) setGroup(id string, g *group) {
	old := s.groups[id]
	if g == nil {
		delete(s.groups, id)
	} else {
		s.groups[id] = g
	}
	s.logs.dirty = s.logs.dirty || (old == nil) != (g == nil)
	// Ports whose way through the chains changes with the group: those that begin or cease to have it.
	if old == nil || g == nil || old.stateful != g.stateful {
		defer s.rewire(id)
	}
	if g != nil {
		for _, r := range g.rules {
			if r.set != "" {
				s.memberSet(r.set).rules++
			}
		}
		for _, egress := range []bool{false, true} {
			s.filter.WantChain(groupChain(id, egress), g.chain(egress, s.logs.accepted(id, egress)))
		}
	}
	if old == nil {
		return
	}
	s.narrowed.group(id)
	if g == nil {
		// The ports' chains let go of it first, in rewire; all of that is one transaction.
		s.filter.DropChain(groupChain(id, false))
		s.filter.DropChain(groupChain(id, true))
	}
	for _, r := range old.rules {
		if m := s.members[r.set]; m != nil {
			m.rules--
			s.releaseMembers(r.set, m)
		}
	}
}

// rewire makes the elements of the ports anew that have the group.
func (s *state) rewire(group string) {
	for key, p := range s.ports {
		if slices.Contains(p.groups, group) {
			s.wire(key, p.port)
		}
	}
}

func (s *state) putPort(key string, p *port) {
	if p.err == nil && p.id != key[len("port/"):] {
		p.err = fmt.Errorf("the id of the document is not that of its key")
	}
	if other, taken := s.devices[p.device]; taken && other != key {
		// The one that was there first keeps it, as long as it is there.
		s.removePort(key)
		s.problems[key] = fmt.Errorf("device %s belongs to %s already", p.device, other)
		return
	}
	if p.err != nil {
		s.problems[key] = p.err
	}
	s.wire(key, p)
}

// wire puts into the tables what the port needs, and takes out what it does not need any more.
func (s *state) wire(key string, p *port) {
	old := s.ports[key]
	now := &wiredPort{port: p, stateful: true}
	s.portFirewall(p)
	if old != nil {
		s.portFirewall(old.port)
	}
	if p.device == "" {
		s.removePort(key)
		return
	}
	if p.err == nil && p.filtered {
		s.chooseChains(now)
	}
	if p.err == nil {
		s.joinNetwork(p.network, p.device)
	}
	now.elements = now.wantedElements(s.place(p))
	s.ports[key] = now
	s.devices[p.device] = key
	for e, v := range now.elements {
		s.filter.Put(e.set, e.Element, v)
	}
	if !now.stateful {
		s.anyState++
	}
	if now.filtered {
		s.narrow(key, old, now)
	}
	if old != nil {
		s.unwire(old, now.elements)
		if old.device != now.device {
			delete(s.devices, old.device)
		}
	}
	s.wantStateless()
}

// narrow has the connections of a port looked at that is new or has changed. Whoever had its addresses before it may have
// left some.
func (s *state) narrow(key string, old, now *wiredPort) {
	var had []netip.Addr
	switch {
	case old == nil:
		s.narrowed.newcomers = true
	case old.err != nil:
		return
	default:
		s.gone(old, now.fixed)
		had = old.fixed
	}
	s.narrowed.port(key)
	for _, a := range now.fixed {
		s.narrowed.newcomers = s.narrowed.newcomers || !slices.Contains(had, a)
	}
}

// unwire takes out what an earlier version of a port had, but for what the present one has.
func (s *state) unwire(old *wiredPort, keep map[element]rs.Value) {
	for e := range old.elements {
		if _, kept := keep[e]; !kept {
			s.filter.Remove(e.set, e.Element)
		}
	}
	if !old.stateful {
		s.anyState--
	}
	for _, name := range old.chains {
		c := s.chains[name]
		if c.users--; c.users == 0 {
			delete(s.chains, name)
			s.filter.DropChain(name)
		}
	}
	if old.err == nil {
		s.leaveNetwork(old.network, "")
	}
}

func (s *state) removePort(key string) {
	old := s.ports[key]
	if old == nil {
		return
	}
	delete(s.ports, key)
	delete(s.devices, old.device)
	s.portFirewall(old.port)
	if old.err == nil {
		s.gone(old, nil)
	}
	s.unwire(old, nil)
	if s.form == formBridge {
		s.track.Remove(setZones, rs.Element{First: rs.Key(rs.Device(old.device))})
	}
	s.wantStateless()
}

// chooseChains finds the chains of the port's groups, and makes those that nobody had needed before.
func (s *state) chooseChains(p *wiredPort) {
	var groups []string
	stateless := 0
	for _, id := range p.groups {
		g := s.groups[id]
		if g == nil {
			p.lacking = id
			continue
		}
		groups = append(groups, id)
		if !g.stateful {
			stateless++
		}
	}
	p.stateful = stateless == 0 || stateless < len(groups)
	for _, egress := range []bool{true, false} {
		name := portsChain(groups, egress, p.stateful)
		p.chains = append(p.chains, name)
		if s.chains[name] == nil {
			s.chains[name] = &shared{}
			chain := egressChain(groups)
			if !egress {
				chain = ingressChain(groups, p.stateful)
			}
			s.filter.WantChain(name, chain)
		}
		s.chains[name].users++
	}
}

// wantedElements are what the tables have about a port.
func (p *wiredPort) wantedElements(at place) map[element]rs.Value {
	all := map[element]rs.Value{}
	device := rs.Device(p.device)
	put := func(set string, v rs.Value, fields ...[]byte) {
		all[element{set, rs.Element{First: rs.Key(append([][]byte{device}, fields...)...)}}] = v
	}
	to := func(set string, v rs.Verdict) { put(set, rs.Value{Verdict: v}) }
	switch {
	case p.err != nil:
		put(setClosed, rs.Value{})
		return all
	case !p.filtered:
		put(setTrusted, rs.Value{})
		return all
	}
	to(setEgress, rs.Jump(p.chains[0]))
	to(setReceivers, rs.Jump(p.chains[1]))
	if !p.stateful {
		to(setEgressAny, rs.Jump(p.chains[0]))
	} else if at.index != 0 {
		all[element{setPresent, rs.Element{First: rs.Key(rs.Index(at.index))}}] = rs.Value{}
	}
	put(setFiltered, rs.Value{})
	for _, a := range p.fixed {
		if a.Is4() {
			put(setOwn4, rs.Value{}, a.AsSlice())
		} else {
			put(setOwn6, rs.Value{}, a.AsSlice())
			put(setHas6, rs.Value{})
		}
	}
	for m, blocks := range p.identities {
		put(setMACs, rs.Value{}, mac(m))
		put(setTwins, rs.Value{}, mac(m), mac(m))
		p.putIdentities(m, blocks, at, all)
	}
	return all
}

func (p *wiredPort) putIdentities(m netlinkx.MAC, identities []netip.Prefix, at place, all map[element]rs.Value) {
	var blocks netipx.IPSetBuilder
	for _, b := range identities {
		if !single(b) {
			blocks.AddPrefix(b)
			continue
		}
		if b.Addr().IsUnspecified() {
			continue
		}
		set := setIDs4
		if b.Addr().Is6() {
			set = setIDs6
		}
		all[element{set, rs.Element{First: rs.Key(rs.Device(p.device), mac(m), b.Addr().AsSlice())}}] = rs.Value{Mark: at.zone}
		if b.Addr().Is4() && at.index != 0 {
			ether := append(mac(m), 0x08, 0x00)
			key := rs.Key(rs.Index(at.index), ether, b.Addr().AsSlice())
			all[element{setPresent4, rs.Element{First: key}}] = rs.Value{Mark: at.zone}
		}
	}
	// Nobody is the unspecified address, whatever the blocks of his pairs.
	blocks.Remove(netip.IPv4Unspecified())
	blocks.Remove(netip.IPv6Unspecified())
	ranges, _ := intervals(&blocks)
	for r := range ranges {
		set := setBlocks4
		if len(r.First) == netip.IPv6Unspecified().BitLen()/8 {
			set = setBlocks6
		}
		all[element{set, rs.Element{
			First: rs.Key(rs.Device(p.device), mac(m), []byte(r.First)),
			Last:  rs.Key(rs.Device(p.device), mac(m), []byte(r.Last)),
		}}] = rs.Value{}
	}
}
