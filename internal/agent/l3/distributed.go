package l3

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The local part of a distributed router forwards between its networks for the workloads of this host. What it has no way
// for goes to the central part, which has an address of its own in each network: on the leg by which it came, since
// that is the network in which the answer will come. A floating IP that is here is translated here, by a leg in the
// external network (fg-…).
//
// Other parts of the router do the same elsewhere, and an answer may come by another one. So nothing is decided by the
// state of a connection, and only what has to do with floating IPs is tracked.
//
// These are the rules of routing, in this order:
//
//   - What has no floating IP here and goes to one that is here takes the way of the leg by which it came: it has to come
//     back from outside, as the router. So this goes before the table of local addresses, which the kernel has first.
//   - The table of local addresses.
//   - The main table without a default route: networks and extra routes.
//   - The table outside for what has a floating IP.
//   - The table of the leg by which it came.
const (
	priorityAround, priorityLocal, priorityMain, priorityOutside, priorityLeg = 100, 500, 1000, 2000, 3000

	// tableOutside is the table of routes of what has a floating IP here, and its mark; markAround is that of what has
	// none and goes to one that is here.
	tableOutside, markAround = 78, 79
)

// tableOf is the table of routes of what comes in by the leg of a port; always the same, and above those of people.
func tableOf(port string) int {
	n, _ := strconv.ParseUint(port[:8], 16, 32) // of a UUID
	return 1<<30 | int(n&(1<<30-1))
}

// distributed is what only a local part has.
type distributed struct {
	gateways   []netip.Addr // in the external network
	rules      []netlinkx.Rule
	neighbours []neighbour
}

// neighbour is a workload on another host. Only those of IPv6 are told to the router: for IPv4, its bridge answers.
type neighbour struct {
	device string
	ip     netip.Addr
	mac    netlinkx.MAC
}

// kinds are the beginnings of the names of legs.
type kinds struct{ inside, gateway string }

func (k kinds) of(gateway bool) string {
	if gateway {
		return k.gateway
	}
	return k.inside
}

// routerOf is the router in the document, or the local part of one; nil: it is about something else.
func routerOf(d *sb.Document) *sb.Router {
	if r := d.GetRouter(); r != nil {
		return r
	}
	return d.GetLocalRouter()
}

// NameOf is the name of the router of a document among those of the host, from which Namespace makes that of its namespace.
func NameOf(r *sb.Router) string {
	if r.GetCentral() {
		return central + r.GetRouterId()
	}
	return r.GetRouterId()
}

// group sorts the documents of the view by the name of the router.
func group(view *agent.View) map[string]documents {
	out := map[string]documents{}
	// centrals are the ids of the routers of which the central part is here; locals, by network, the names of those of
	// which a local part is.
	centrals, locals := map[string]bool{}, map[string][]string{}
	put := func(name string, d *sb.Document) {
		if out[name] == nil {
			out[name] = documents{}
		}
		out[name][d.GetKey()] = d
	}
	for d := range view.All() {
		r := routerOf(d)
		switch {
		case r == nil:
		case r.GetCentral():
			centrals[r.GetRouterId()] = true
			put(NameOf(r), d)
		default:
			put(r.GetRouterId(), d)
			for _, l := range d.GetLocalRouter().GetLegs() {
				if name := r.GetRouterId(); !l.GetGateway() && !slices.Contains(locals[l.GetNetworkId()], name) {
					locals[l.GetNetworkId()] = append(locals[l.GetNetworkId()], name)
				}
			}
		}
	}
	translating := func(router string, local bool) string {
		if !local && centrals[router] {
			return central + router
		}
		return router
	}
	for d := range view.All() {
		switch body := d.GetBody().(type) {
		case *sb.Document_FloatingIp:
			put(translating(body.FloatingIp.GetRouterId(), body.FloatingIp.GetLocal()), d)
		case *sb.Document_PortForwarding:
			put(translating(body.PortForwarding.GetRouterId(), false), d)
		case *sb.Document_Neighbour:
			for _, name := range locals[body.Neighbour.GetNetworkId()] {
				if slices.ContainsFunc(body.Neighbour.GetIps(), func(ip string) bool { return strings.Contains(ip, ":") }) {
					put(name, d)
				}
			}
		}
	}
	groupFirewalls(view, out)
	return out
}

// convertHops reads what only a leg of a local part has.
func (l *leg) convertHops(body *sb.RouterLeg) error {
	for _, text := range body.GetDefaultGateways() {
		ip, err := parseAddr(text)
		if err != nil {
			return err
		}
		l.hops = append(l.hops, ip)
	}
	for _, text := range body.GetOnLink() {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() {
			return fmt.Errorf("%.60q is no block", text)
		}
		l.onLink = append(l.onLink, p.Masked())
	}
	return nil
}

// policy works out the rules of routing, and the routes of their tables. Extra routes to everywhere are in the main
// table, and go before the central part.
func (w *wanted) policy() {
	d := w.distributed
	everywhere := map[bool]bool{} // IPv4 → there is an extra route to everywhere
	for _, r := range w.routes {
		if r.destination.Bits() == 0 {
			everywhere[r.destination.Addr().Is4()] = true
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		d.rule(netlinkx.Rule{Family: family, Priority: priorityMain, Table: unix.RT_TABLE_MAIN, SkipDefault: true})
	}
	if g := w.gateway(); g != nil {
		d.rule(netlinkx.Rule{Family: unix.AF_INET, Priority: priorityLocal, Table: unix.RT_TABLE_LOCAL})
		d.rule(netlinkx.Rule{Family: unix.AF_INET, Priority: priorityOutside, Table: tableOutside, Mark: tableOutside})
		for _, p := range g.onLink {
			w.routes = append(w.routes, route{destination: p, device: g.device, table: tableOutside})
		}
		for _, ip := range d.gateways {
			if ip.Is4() {
				w.routes = append(w.routes, route{everything(ip), ip, g.device, tableOutside})
			}
		}
	}
	for i := range w.legs {
		l := &w.legs[i]
		for _, ip := range l.hops {
			if everywhere[ip.Is4()] {
				continue
			}
			family := unix.AF_INET6
			if ip.Is4() {
				family = unix.AF_INET
			}
			table := tableOf(l.port)
			if ip.Is4() && w.gateway() != nil {
				d.rule(netlinkx.Rule{
					Family: family, Priority: priorityAround, Table: table, Input: l.device, Mark: markAround,
				})
			}
			d.rule(netlinkx.Rule{Family: family, Priority: priorityLeg, Table: table, Input: l.device})
			w.routes = append(w.routes, route{everything(ip), ip, l.device, table})
		}
	}
}

func (d *distributed) rule(r netlinkx.Rule) {
	r.Protocol = protocol
	if !slices.Contains(d.rules, r) {
		d.rules = append(d.rules, r)
	}
}

// everything is the block of all addresses of the IP version.
func everything(ip netip.Addr) netip.Prefix {
	if ip.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// convertNeighbours reads where the workloads of other hosts are. One that cannot be understood is told of by the l2 part.
func (d *distributed) convertNeighbours(w *wanted, docs documents) {
	seen := map[netip.Addr]bool{}
	for _, doc := range docs {
		n := doc.GetNeighbour()
		if n == nil {
			continue
		}
		mac, err := net.ParseMAC(n.GetMac())
		if err != nil || len(mac) != 6 {
			continue
		}
		for _, text := range n.GetIps() {
			ip, err := parseAddr(text)
			if err != nil || !ip.Is6() || seen[ip] {
				continue
			}
			if device := w.deviceTo(ip); device != "" {
				seen[ip] = true
				d.neighbours = append(d.neighbours, neighbour{device, ip, netlinkx.MAC(mac)})
			}
		}
	}
	slices.SortFunc(d.neighbours, func(a, b neighbour) int { return cmp.Or(a.ip.Compare(b.ip), strings.Compare(a.device, b.device)) })
}

// renderLocal is the table of a local part, with the same maps as that of any router. Without floating IPs nothing is
// tracked, and with them only what has one.
func renderLocal(w *wanted) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("\tmap %s {\n\t\ttype ipv4_addr : ipv4_addr\n\t}\n", fixedOf)
	line("\tmap %s {\n\t\ttype ipv4_addr : ipv4_addr\n\t}\n", floatingOf)
	line("\tmap %s {\n\t\ttype ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service\n\t}\n", forwarded)
	inside := devices(w.legs, func(l leg) bool { return !l.gateway })
	if g := w.gateway(); g != nil && inside != "" {
		line("\tchain track {\n\t\ttype filter hook prerouting priority -300; policy accept;")
		line("\t\tiifname %q accept\n\t\tip saddr @%s meta mark set %d accept", g.device, floatingOf, tableOutside)
		line("\t\tip daddr @%s meta mark set %d\n\t\tnotrack\n\t}\n", fixedOf, markAround)
		line("\tchain destination {\n\t\ttype nat hook prerouting priority -100; policy accept;")
		line("\t\tiifname %q dnat ip to ip daddr map @%s", g.device, fixedOf)
		line("\t\tmeta mark %d dnat ip to ip daddr map @%s\n\t}\n", tableOutside, fixedOf)
		line("\tchain source {\n\t\ttype nat hook postrouting priority 100; policy accept;")
		line("\t\toifname %q snat ip to ip saddr map @%s", g.device, floatingOf)
		line("\t\tiifname %s ct status dnat snat ip to ip saddr map @%s\n\t}\n", inside, floatingOf)
	}
	line("\tchain clamp {\n\t\ttype filter hook forward priority -150; policy accept;")
	line("\t\ttcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n\t}")
	renderScopes(line, w)
	return b.String()
}

// ensureRules makes our rules of routing right. Those with another protocol number are somebody else's.
func (s *session) ensureRules() error {
	if s.distributed == nil && s.settled {
		return nil
	}
	present, err := s.nl.Rules(protocol)
	if err != nil {
		return err
	}
	var wanted []netlinkx.Rule
	if s.distributed != nil {
		wanted = s.distributed.rules
	}
	var errs []error
	errs = append(errs, s.keepLocalTable(wanted, present))
	for _, r := range wanted {
		if slices.Contains(present, r) {
			continue
		}
		if err := s.nl.AddRule(r); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("add the rule of priority %d for table %d: %w", r.Priority, r.Table, err))
			continue
		}
		s.drift("rule", "of priority %d for table %d", r.Priority, r.Table)
	}
	for _, r := range present {
		if slices.Contains(wanted, r) {
			continue
		}
		if err := s.nl.DeleteRule(r); err != nil && !netlinkx.Gone(err) {
			errs = append(errs, fmt.Errorf("remove the rule of priority %d for table %d: %w", r.Priority, r.Table, err))
			continue
		}
		s.drift("rule", "removed the one of priority %d for table %d", r.Priority, r.Table)
	}
	return errors.Join(errs...)
}

// localTable is the rule for local addresses, which the kernel has made with priority 0; ours, of another priority, takes
// its place, and is there before it goes.
func localTable(priority int) netlinkx.Rule {
	r := netlinkx.Rule{Family: unix.AF_INET, Priority: priority, Table: unix.RT_TABLE_LOCAL, Protocol: protocol}
	if priority == 0 {
		r.Protocol = unix.RTPROT_KERNEL
	}
	return r
}

func (s *session) keepLocalTable(wanted, present []netlinkx.Rule) error {
	ours := localTable(priorityLocal)
	first, err := s.nl.Rules(unix.RTPROT_KERNEL)
	if err != nil {
		return err
	}
	there := slices.Contains(first, localTable(0))
	switch {
	case !slices.Contains(wanted, ours) && !there:
		return s.nl.AddRule(localTable(0)) // ours goes afterwards
	case slices.Contains(wanted, ours) && slices.Contains(present, ours) && there:
		return s.nl.DeleteRule(localTable(0))
	case slices.Contains(wanted, ours) && there:
		if err := s.nl.AddRule(ours); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return s.nl.DeleteRule(localTable(0))
	}
	return nil
}

// ensureNeighbours tells a local part where the workloads of other hosts are. Entries with another protocol number, or
// that the kernel has learned, are left alone.
func (s *session) ensureNeighbours(legs map[string]int) error {
	if s.distributed == nil && s.settled {
		return nil
	}
	present, err := s.nl.Neighbours(unix.AF_INET6, func(n netlinkx.Neigh) bool {
		return n.Protocol == protocol && n.State&netlink.NUD_PERMANENT != 0
	})
	if err != nil {
		return err
	}
	type key struct {
		index int
		ip    netip.Addr
	}
	wanted := map[key]netlinkx.MAC{}
	if s.distributed != nil {
		for _, n := range s.distributed.neighbours {
			if index := legs[n.device]; index != 0 {
				wanted[key{index, n.ip}] = n.mac
			}
		}
	}
	var errs []error
	for _, n := range present {
		k := key{n.Index, n.IP}
		mac, is := wanted[k]
		if is && mac == n.MAC {
			delete(wanted, k)
			continue
		}
		if is {
			continue // it is replaced
		}
		if err := s.nl.DeleteNeigh(n); err != nil && !netlinkx.Gone(err) {
			errs = append(errs, fmt.Errorf("remove the neighbour %s: %w", n.IP, err))
			continue
		}
		s.drift("neighbour", "removed %s", n.IP)
	}
	for k, mac := range wanted {
		n := netlinkx.Neigh{
			Family: unix.AF_INET6, Index: k.index, IP: k.ip, MAC: mac, State: netlink.NUD_PERMANENT, Protocol: protocol,
		}
		if err := s.nl.SetNeigh(n); err != nil {
			errs = append(errs, fmt.Errorf("set the neighbour %s: %w", k.ip, err))
			continue
		}
		s.drift("neighbour", "%s at %s", k.ip, mac)
	}
	return errors.Join(errs...)
}
