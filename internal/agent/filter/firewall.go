package filter

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Firewall groups of workloads' ports: beside the security groups, in base chains of their own, which are there only while
// a port of the host is in a group. Both have to let a packet pass, so each chain decides for itself. They come before the
// receiver's security groups, which take the mark of connections off.
//
//	firewall-leave    may the sender send it? device → chain of its group           (priority 12, after leave)
//	firewall-arrive   may the receiver get it? likewise                              (15, before arrive)
//
// The rules of a group are one chain for all of its ports. Their order counts. routed.go is about what routers forward.

// Sets of devices that are in a group.
const (
	setFirewallEgress  = "firewall-egress"
	setFirewallIngress = "firewall-ingress"
	firewallKind       = "firewall-group"
)

// firewalls are the groups that documents are about.
type firewalls struct {
	groups map[string]*firewall // by key
	// of is the group of a port, by the port's id.
	of map[string]*firewall
	// networks are those where distributed routers have interfaces in groups; see routed.go.
	networks map[string]interfaces
	// ports and routes are the ways through the chains of groups and of networks.
	ports, routes ways
	chains        map[string]bool // that there are
	dirty         bool
}

// ways lead devices to chains, by two maps that are asked by two base chains.
type ways struct {
	egress, ingress string            // the maps
	base            []string          // the chains that ask them, which are there only while a device is in them
	priority        int32             // of the first of these
	devices         map[string]string // with the name of what the chains are about
	chain           func(name string, egress bool) string
}

// firewall is a group document.
type firewall struct {
	key, id string
	ports   []string
	// closed: nothing passes but what always does.
	closed          bool
	ingress, egress []firewallRule
	routed          []routedNetwork
	err             error
}

// firewallRule is a rule, in the form that the kernel is told.
type firewallRule struct {
	id                           string
	v6                           bool
	protocol                     int // -1: any
	source, destination          netip.Prefix
	sourcePorts, destinationPort [2]uint32 // zero: any
	allow                        bool
}

func newFirewalls() firewalls {
	return firewalls{
		groups: map[string]*firewall{}, of: map[string]*firewall{}, networks: map[string]interfaces{}, chains: map[string]bool{},
		ports: ways{
			egress: setFirewallEgress, ingress: setFirewallIngress, chain: firewallChain,
			base: []string{"firewall-leave", "firewall-arrive"}, priority: 12,
		},
		routes: ways{
			egress: setRoutedEgress, ingress: setRoutedIngress, chain: routedChain,
			base: []string{"routed-leave", "routed-arrive"}, priority: 13,
		},
	}
}

func (s *state) putFirewall(key string, body *sb.FirewallGroup) {
	f := parseFirewall(key, body)
	s.firewalls.groups[key], s.firewalls.dirty = f, true
	for _, id := range f.ports {
		s.narrowed.port("port/" + id)
	}
	for _, n := range f.routed {
		s.narrowNetwork(n.network)
	}
}

// narrowNetwork has the connections of all workloads on the network looked at.
func (s *state) narrowNetwork(network string) {
	for key, p := range s.ports {
		if p.network == network && !p.trusted {
			s.narrowed.port(key)
		}
	}
}

func (s *state) removeFirewall(key string) {
	if f := s.firewalls.groups[key]; f != nil {
		delete(s.firewalls.groups, key)
		s.firewalls.dirty = true
	}
}

// portFirewall notes that a port has come, changed or gone that firewalls have a say in.
func (s *state) portFirewall(p *port) {
	if s.firewalls.concern(p) {
		s.firewalls.dirty = true
	}
}

// concern says whether any firewall has a say in the port.
func (w *firewalls) concern(p *port) bool {
	return w.of[p.id] != nil || !p.trusted && len(w.networks[p.network]) > 0
}

// settleFirewalls makes chains and maps of the groups, once, however many have changed. Where two claim a port, which one
// document alone cannot tell, the first by key has it.
func (s *state) settleFirewalls() {
	w := &s.firewalls
	if !w.dirty {
		return
	}
	w.dirty = false
	keys := slices.Sorted(maps.Keys(w.groups))
	before, routed := w.of, w.networks
	w.of, w.networks = map[string]*firewall{}, w.routedInterfaces(keys)
	for _, key := range keys {
		f := w.groups[key]
		delete(s.problems, key)
		if f.err != nil {
			s.problems[key] = f.err
		}
		for _, id := range f.ports {
			if other := w.of[id]; other != nil {
				s.problems[key] = fmt.Errorf("port %s is in the group %s already", id, other.id)
				continue
			}
			w.of[id] = f
		}
	}
	for id, f := range w.of {
		if b := before[id]; b == nil || b.id != f.id {
			s.narrowed.port("port/" + id)
		}
	}
	for id := range before {
		if w.of[id] == nil {
			s.narrowed.port("port/" + id)
		}
	}
	for network := range routed {
		if len(w.networks[network]) == 0 {
			s.narrowNetwork(network) // what was cut may be allowed again
		}
	}
	for network, list := range w.networks {
		if !list.sameAs(routed[network]) {
			s.narrowNetwork(network)
		}
	}
	s.wireFirewalls()
}

// meetsFirewalls says whether firewalls may have a say in the port: those of routers are filtered inside, and one that cannot be
// understood is closed.
func (p *port) meetsFirewalls() bool { return p.err == nil && !p.trusted }

// wireFirewalls makes the chains, and leads the devices of ports to them.
func (s *state) wireFirewalls() {
	w := &s.firewalls
	ports, routes := map[string]string{}, map[string]string{}
	groups, networks := map[string]bool{}, map[string]bool{}
	for _, p := range s.ports {
		if !p.meetsFirewalls() {
			continue
		}
		if f := w.of[p.id]; f != nil {
			ports[p.device], groups[f.id] = f.id, true
		}
		if list := w.networks[p.network]; len(list) > 0 {
			routes[p.device], networks[p.network] = p.network, true
			for _, i := range list {
				groups[i.firewall.id] = true
			}
		}
	}
	chains := map[string]rs.Chain{}
	for _, f := range w.groups {
		if groups[f.id] {
			chains[firewallChain(f.id, true)], chains[firewallChain(f.id, false)] = f.chain(true), f.chain(false)
		}
	}
	for network := range networks {
		for _, egress := range []bool{true, false} {
			maps.Copy(chains, w.networks[network].chains(network, egress))
		}
	}
	if len(groups) > 0 {
		maps.Copy(chains, firewallShared())
	}
	for name, chain := range chains {
		s.filter.WantChain(name, chain)
	}
	s.lead(&w.ports, ports)
	s.lead(&w.routes, routes)
	for name := range w.chains {
		if _, still := chains[name]; !still {
			s.filter.DropChain(name)
		}
	}
	w.chains = map[string]bool{}
	for name := range chains {
		w.chains[name] = true
	}
}

// lead sends what comes from the devices, and goes to them, through chains. The base chains are there only while there are any
// devices. The maps stay: the kernel removes no chain to which an element leads, and no map before its chains.
func (s *state) lead(w *ways, devices map[string]string) {
	for i, priority := range []int32{0, 3} {
		key, set := inKey, w.egress
		if i > 0 {
			key, set = outKey, w.ingress
		}
		switch {
		case len(devices) > 0 && len(w.devices) == 0:
			s.filter.WantChain(w.base[i], rs.Chain{Base: &rs.Base{Hook: rs.Forward, Priority: w.priority + priority}, Rules: []rs.Rule{
				rs.NewRule("by device", key, rs.Go(set, first)),
			}})
		case len(devices) == 0 && len(w.devices) > 0:
			s.filter.DropChain(w.base[i])
		}
	}
	for device := range w.devices {
		if _, still := devices[device]; !still {
			s.filter.Remove(w.egress, rs.Element{First: rs.Key(rs.Device(device))})
			s.filter.Remove(w.ingress, rs.Element{First: rs.Key(rs.Device(device))})
		}
	}
	for device, name := range devices {
		element := rs.Element{First: rs.Key(rs.Device(device))}
		s.filter.Put(w.egress, element, rs.Value{Verdict: rs.Jump(w.chain(name, true))})
		s.filter.Put(w.ingress, element, rs.Value{Verdict: rs.Jump(w.chain(name, false))})
	}
	w.devices = devices
}

// firewallShared are the chains that those of all groups use.
func firewallShared() map[string]rs.Chain {
	accept := rs.Then(rs.Accept)
	icmp6 := func(n byte) rs.Rule { return rs.NewRule("neighbour discovery", isIPv6, icmpType(n), accept) }
	return map[string]rs.Chain{
		"firewall-udp": {Rules: []rs.Rule{
			rs.NewRule("DHCP", isIPv4, ports(67, 68), accept), rs.NewRule("DHCPv6", isIPv6, ports(547, 546), accept),
		}},
		"firewall-icmp6": {Rules: []rs.Rule{icmp6(130), icmp6(134), icmp6(135), icmp6(136)}},
	}
}

func firewallChain(id string, egress bool) string {
	if egress {
		return "firewall-egress." + id
	}
	return "firewall-ingress." + id
}

// chain makes the rules of one direction.
func (f *firewall) chain(egress bool) rs.Chain {
	udp, icmp6, list, drop := "firewall-udp", "firewall-icmp6", f.ingress, dropIn("firewall")
	if egress {
		udp, icmp6, list, drop = "egress-udp", "egress-icmp6", f.egress, dropOut("firewall")
	}
	var rules []rs.Rule
	if !f.closed {
		rules = append(rules, rs.NewRule("of a connection", hasMark, rs.Then(rs.Accept)))
	}
	rules = append(rules,
		rs.NewRule("ARP", frameIs(0x08, 0x06), rs.Then(rs.Accept)),
		rs.NewRule("frame", rs.Read(first, rs.Link, 12, 2), rs.Differs(first, 0x08, 0x00), rs.Differs(first, 0x86, 0xdd), drop),
		rs.NewRule("UDP", isProtocol(protocolUDP), rs.Then(rs.Jump(udp))),
		rs.NewRule("ICMPv6", isProtocol(protocolICMPv6), rs.Then(rs.Jump(icmp6))),
	)
	if !f.closed {
		for _, r := range list {
			then := drop
			if r.allow {
				then = rs.Then(rs.Accept)
			}
			rules = append(rules, rs.NewRule(r.id, r.match(), rs.Count(), then))
		}
	}
	return rs.Chain{Rules: append(rules, rs.NewRule("no rule", drop))}
}

func (r firewallRule) match() rs.Expr {
	match, source, length := slices.Clone(isIPv4), 12, 4
	if r.v6 {
		match, source, length = slices.Clone(isIPv6), 8, 16
	}
	if r.protocol >= 0 {
		match = append(match, isProtocol(byte(r.protocol))...)
	}
	match = append(match, inPrefix(r.source, source)...)
	match = append(match, inPrefix(r.destination, source+length)...)
	for i, ports := range [][2]uint32{r.sourcePorts, r.destinationPort} {
		if ports != [2]uint32{} {
			match = append(match, rs.Read(first, rs.Transport, 2*i, 2)...)
			match = append(match, rs.Between(first, uint16(ports[0]), uint16(ports[1]))...)
		}
	}
	return match
}

// inPrefix matches if the address at the offset of the network header is in the block.
func inPrefix(p netip.Prefix, offset int) rs.Expr {
	if !p.IsValid() || p.Bits() == 0 {
		return nil
	}
	length := (p.Bits() + 7) / 8
	value := p.Addr().AsSlice()[:length]
	load := rs.Read(first, rs.Network, offset, length)
	if p.Bits()%8 == 0 {
		return join(load, rs.Equal(first, value...))
	}
	mask := slices.Repeat([]byte{0xff}, length)
	mask[length-1] <<= 8 - p.Bits()%8
	return join(load, rs.And(first, mask), rs.Equal(first, value...))
}

// parseFirewall reads a document. One that cannot be understood closes its ports.
func parseFirewall(key string, body *sb.FirewallGroup) *firewall {
	f := &firewall{key: key, id: body.GetGroupId(), ports: body.GetPorts(), closed: body.GetClosed()}
	if !idPattern.MatchString(f.id) || key != firewallKind+"/"+f.id {
		f.id = strings.TrimPrefix(key, firewallKind+"/")
		f.err = fmt.Errorf("the group id %.80q is not that of its key", body.GetGroupId())
	}
	for _, of := range []struct {
		from []*sb.FirewallRule
		into *[]firewallRule
	}{{body.GetIngress(), &f.ingress}, {body.GetEgress(), &f.egress}} {
		for _, r := range of.from {
			rule, err := parseFirewallRule(r)
			if err != nil && f.err == nil {
				f.err = fmt.Errorf("all is dropped, since the rule %.40q cannot be understood: %w", r.GetRuleId(), err)
			}
			*of.into = append(*of.into, rule)
		}
	}
	for _, body := range body.GetRouted() {
		n, err := parseRouted(body)
		if err != nil && f.err == nil {
			f.err = fmt.Errorf("an interface of a router cannot be understood: %w", err)
		}
		if n.network != "" {
			f.routed = append(f.routed, n)
		}
	}
	f.closed = f.closed || f.err != nil
	return f
}

func parseFirewallRule(body *sb.FirewallRule) (firewallRule, error) {
	r := firewallRule{
		id: body.GetRuleId(), v6: body.GetIpVersion() == 6, protocol: -1, allow: body.GetAction() == sb.FirewallRule_ACTION_ALLOW,
		sourcePorts:     [2]uint32{body.GetSourceFirst(), body.GetSourceLast()},
		destinationPort: [2]uint32{body.GetDestinationFirst(), body.GetDestinationLast()},
	}
	if body.Protocol != nil {
		r.protocol = int(body.GetProtocol())
	}
	switch {
	case !idPattern.MatchString(r.id):
		return r, fmt.Errorf("its id is none")
	case body.GetIpVersion() != 4 && body.GetIpVersion() != 6:
		return r, fmt.Errorf("there is no IP version %d", body.GetIpVersion())
	case r.protocol > 255:
		return r, fmt.Errorf("there is no protocol %d", r.protocol)
	case body.GetAction() < sb.FirewallRule_ACTION_ALLOW || body.GetAction() > sb.FirewallRule_ACTION_REJECT:
		return r, fmt.Errorf("there is no action %d", body.GetAction())
	}
	for _, of := range []struct {
		from string
		into *netip.Prefix
	}{{body.GetSource(), &r.source}, {body.GetDestination(), &r.destination}} {
		if of.from == "" {
			continue
		}
		p, err := netip.ParsePrefix(of.from)
		if err != nil || p.Addr().Is6() != r.v6 {
			return r, fmt.Errorf("%.60q is no block of IPv%d", of.from, body.GetIpVersion())
		}
		*of.into = p.Masked()
	}
	for _, ports := range [][2]uint32{r.sourcePorts, r.destinationPort} {
		if ports != [2]uint32{} && (ports[0] < 1 || ports[0] > ports[1] || ports[1] > 65535 ||
			r.protocol != protocolTCP && r.protocol != protocolUDP) {
			return r, fmt.Errorf("the ports %d to %d are none of TCP or UDP", ports[0], ports[1])
		}
	}
	return r, nil
}

// permits says whether the firewalls of a port let a connection begin. A port that none has a say in permits everything.
func (w *firewalls) permits(p *wiredPort, egress bool, x conntrack.Connection, remote netip.Addr) bool {
	if f := w.of[p.id]; f != nil && !f.permits(egress, x) {
		return false
	}
	return w.networks[p.network].permits(egress, x, remote)
}

func (f *firewall) permits(egress bool, x conntrack.Connection) bool {
	if f.closed {
		return false
	}
	rules := f.ingress
	if egress {
		rules = f.egress
	}
	for _, r := range rules {
		if r.matches(x) {
			return r.allow
		}
	}
	return false
}

func (r firewallRule) matches(x conntrack.Connection) bool {
	in := func(ports [2]uint32, port uint16) bool {
		return ports == [2]uint32{} || ports[0] <= uint32(port) && uint32(port) <= ports[1]
	}
	return r.v6 == x.Source.Is6() && (r.protocol < 0 || r.protocol == int(x.Protocol)) &&
		(!r.source.IsValid() || r.source.Contains(x.Source)) &&
		(!r.destination.IsValid() || r.destination.Contains(x.Destination)) &&
		in(r.sourcePorts, x.SourcePort) && in(r.destinationPort, x.Port)
}

// names are those of the chains and maps that the group is in force by.
func (w *firewalls) names(f *firewall) []string {
	all := []string{firewallChain(f.id, true), firewallChain(f.id, false), "firewall-udp", "firewall-icmp6"}
	if len(f.ports) > 0 {
		all = append(all, w.ports.base...)
		all = append(all, w.ports.egress, w.ports.ingress)
	}
	for _, n := range f.routed {
		all = append(all, w.routes.base...)
		all = append(all, w.routes.egress, w.routes.ingress)
		for _, egress := range []bool{true, false} {
			for name := range w.networks[n.network].chains(n.network, egress) {
				all = append(all, name)
			}
		}
	}
	return all
}

// firewallStatuses tell of the groups that are not among the problems.
func (p *Part) firewallStatuses() (all []agent.Status) {
	s := p.state
	for key, f := range s.firewalls.groups {
		if s.problems[key] != nil {
			continue
		}
		status := agent.Status{Key: key, State: sb.ObjectStatus_STATE_DONE}
		for _, name := range s.firewalls.names(f) {
			if err := p.filter.Err(name); err != nil {
				status.State, status.Reason = sb.ObjectStatus_STATE_ERROR, fmt.Sprintf("it is not in force: %s: %v", name, err)
			}
		}
		all = append(all, status)
	}
	return all
}
