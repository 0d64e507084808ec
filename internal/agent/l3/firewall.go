package l3

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Firewall groups on the legs of routers: a table of its own, which decides about what is forwarded, as the networks of
// tenants see it: behind the translation of destinations, before that of sources. What leaves the network of a leg meets
// the egress rules of the leg's group, what enters it the ingress rules. Packets of connections that were let in pass; a
// connection that a change forbids is marked, and its packets are looked at one by one from then on. To have it forgotten
// would not do: its next packet, from the side that may still send, would begin it anew.

const firewallTable = "neutrino-firewall"

var firewallTableID = nftmap.Table{Family: unix.NFPROTO_INET, Name: firewallTable}

// cutMark is the mark of a connection that is cut.
const cutMark = 1 << 24

// firewall is a group with those of its ports that are legs of a router.
type firewall struct {
	id   string
	legs []string // devices, sorted
	// closed: nothing passes, also nothing of connections.
	closed          bool
	ingress, egress []firewallRule
}

// firewallRule is a rule, in the form of the kernel. Zero values match everything.
type firewallRule struct {
	v6                           bool
	protocol                     int // -1: any
	source, destination          netip.Prefix
	sourcePorts, destinationPort portRange
	action                       sb.FirewallRule_Action
}

// groupFirewalls adds the firewall groups to the documents of the routers that have one of their ports.
func groupFirewalls(view *agent.View, routers map[string]documents) {
	var groups []*sb.Document
	names := map[string]string{} // of the routers, by leg
	for d := range view.All() {
		if d.GetFirewallGroup() != nil {
			groups = append(groups, d)
		}
		for _, l := range d.GetRouter().GetLegs() {
			names[l.GetPortId()] = NameOf(d.GetRouter())
		}
	}
	for _, d := range groups {
		for _, port := range d.GetFirewallGroup().GetPorts() {
			if docs := routers[names[port]]; docs != nil {
				docs[d.GetKey()] = d
			}
		}
	}
}

// Reports implements agent.Reporter: the legs of a group are this part's.
func (p *Part) Reports(kind string) bool { return kind == "firewall-group" }

// firewallStatuses are those of all firewall groups: the first router that has a reason counts.
func (p *Part) firewallStatuses(view *agent.View, groups map[string]documents) []agent.Status {
	reasons := map[string]string{}
	for d := range view.All() {
		if d.GetFirewallGroup() != nil {
			reasons[d.GetKey()] = ""
		}
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		for key, d := range groups[id] {
			if r := p.routers[id]; r != nil && d.GetFirewallGroup() != nil && reasons[key] == "" {
				reasons[key] = r.reason(key, false)
			}
		}
	}
	all := make([]agent.Status, 0, len(reasons))
	for key, reason := range reasons {
		st := agent.Status{Key: key, State: sb.ObjectStatus_STATE_DONE, Reason: reason}
		if reason != "" {
			st.State = sb.ObjectStatus_STATE_ERROR
		}
		all = append(all, st)
	}
	return all
}

// convertFirewalls works out the firewalls of the router. The legs of a group that cannot be understood are closed.
func (t *translations) convertFirewalls(docs documents) {
	byPort := map[string]string{}
	for i := range t.legs {
		byPort[t.legs[i].port] = t.legs[i].device
	}
	for _, key := range slices.Sorted(maps.Keys(docs)) {
		body := docs[key].GetFirewallGroup()
		if body == nil {
			continue
		}
		f := firewall{id: body.GetGroupId(), closed: body.GetClosed()}
		err := f.convertRules(body)
		if err != nil {
			f.closed = true
		}
		if !isID(f.id) {
			err, f.closed, f.id = fmt.Errorf("group_id %.40q is not a UUID", f.id), true, fmt.Sprintf("unknown-%d", len(t.firewalls))
		}
		for _, port := range body.GetPorts() {
			device := byPort[port]
			if device == "" {
				continue // of another router, or of a workload
			}
			if other := t.firewallOf(device); other != nil {
				err = errors.Join(err, fmt.Errorf("the port %s is in the group %s already", port, other.id))
				continue
			}
			f.legs = append(f.legs, device)
		}
		t.note(key, err)
		if len(f.legs) > 0 {
			slices.Sort(f.legs)
			t.firewalls = append(t.firewalls, f)
		}
	}
	t.firewallRules = renderFirewalls(t.firewalls)
}

func (f *firewall) convertRules(body *sb.FirewallGroup) error {
	for _, of := range []struct {
		from []*sb.FirewallRule
		into *[]firewallRule
	}{{body.GetIngress(), &f.ingress}, {body.GetEgress(), &f.egress}} {
		for _, r := range of.from {
			rule, err := convertFirewallRule(r)
			if err != nil {
				return fmt.Errorf("all is dropped, since the rule %.40q cannot be understood: %w", r.GetRuleId(), err)
			}
			*of.into = append(*of.into, rule)
		}
	}
	return nil
}

func convertFirewallRule(body *sb.FirewallRule) (firewallRule, error) {
	r := firewallRule{v6: body.GetIpVersion() == 6, protocol: -1, action: body.GetAction()}
	if body.Protocol != nil {
		r.protocol = int(body.GetProtocol())
	}
	switch {
	case body.GetIpVersion() != 4 && body.GetIpVersion() != 6:
		return r, fmt.Errorf("there is no IP version %d", body.GetIpVersion())
	case r.protocol > 255:
		return r, fmt.Errorf("there is no protocol %d", r.protocol)
	case r.action < sb.FirewallRule_ACTION_ALLOW || r.action > sb.FirewallRule_ACTION_REJECT:
		return r, fmt.Errorf("there is no action %d", r.action)
	}
	for _, of := range []struct {
		from string
		into *netip.Prefix
	}{{body.GetSource(), &r.source}, {body.GetDestination(), &r.destination}} {
		if of.from == "" {
			continue
		}
		p, err := netip.ParsePrefix(of.from)
		if err != nil || p.Addr().Is6() != r.v6 || p.Addr().Is4In6() {
			return r, fmt.Errorf("%.60q is no block of IPv%d", of.from, body.GetIpVersion())
		}
		*of.into = p.Masked()
	}
	r.sourcePorts = portRange{body.GetSourceFirst(), body.GetSourceLast()}
	r.destinationPort = portRange{body.GetDestinationFirst(), body.GetDestinationLast()}
	for _, ports := range []portRange{r.sourcePorts, r.destinationPort} {
		if ports == (portRange{}) {
			continue
		}
		if !ports.valid() || r.protocol != unix.IPPROTO_TCP && r.protocol != unix.IPPROTO_UDP {
			return r, fmt.Errorf("the ports %v are none of TCP or UDP", ports)
		}
	}
	return r, nil
}

// renderFirewalls is the table of the firewalls; empty: there are none. Everything in it comes from values that have been
// parsed.
func renderFirewalls(firewalls []firewall) string {
	if len(firewalls) == 0 {
		return ""
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	jumps := func(direction string) string {
		var all []string
		for _, f := range firewalls {
			for _, device := range f.legs {
				all = append(all, fmt.Sprintf("%q : jump %s-%s", device, direction, f.id))
			}
		}
		return strings.Join(all, ", ")
	}
	line("\tchain forward {\n\t\ttype filter hook forward priority 5; policy accept;")
	line("\t\tiifname vmap { %s }", jumps("egress"))
	line("\t\toifname vmap { %s }\n\t}", jumps("ingress"))
	for _, f := range firewalls {
		f.render(line, "egress", f.egress)
		f.render(line, "ingress", f.ingress)
	}
	return b.String()
}

// render writes the chain of one direction. What may pass returns, since it has to pass the other leg, too.
func (f *firewall) render(line func(format string, args ...any), direction string, rules []firewallRule) {
	line("\n\tchain %s-%s {", direction, f.id)
	if !f.closed {
		line("\t\tct state invalid drop")
		line("\t\tct state established,related ct mark != 0x%x return", cutMark)
		for _, r := range rules {
			line("\t\t%s", r.render())
		}
	}
	line("\t\tdrop\n\t}")
}

var firewallVerdicts = map[sb.FirewallRule_Action]string{
	sb.FirewallRule_ACTION_ALLOW: "return", sb.FirewallRule_ACTION_DENY: "drop",
	sb.FirewallRule_ACTION_REJECT: "reject with icmpx port-unreachable",
}

func (r firewallRule) render() string {
	version, words := "ip", []string{"meta nfproto ipv4"}
	if r.v6 {
		version, words = "ip6", []string{"meta nfproto ipv6"}
	}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if r.protocol >= 0 {
		add("meta l4proto %d", r.protocol)
	}
	if r.source.IsValid() {
		add("%s saddr %s", version, r.source)
	}
	if r.destination.IsValid() {
		add("%s daddr %s", version, r.destination)
	}
	if r.sourcePorts != (portRange{}) {
		add("th sport %v", r.sourcePorts)
	}
	if r.destinationPort != (portRange{}) {
		add("th dport %v", r.destinationPort)
	}
	return strings.Join(append(words, firewallVerdicts[r.action]), " ")
}

// ensureFirewall makes the table right. It comes before the addresses, so that a router never forwards without it. The mark
// that it is written comes last: a new agent cuts what one that was killed in between has not.
func (s *session) ensureFirewall() error {
	written, err := s.nft.Written(firewallTableID, s.firewallRules)
	switch {
	case errors.Is(err, unix.ENOENT) && s.firewallRules == "":
		return nil
	case err != nil && !errors.Is(err, unix.ENOENT):
		return err
	case written:
		return nil
	}
	s.drift("firewall", "the table %s", firewallTable)
	if s.firewallRules == "" {
		return s.nft.Delete(firewallTableID)
	}
	client := nft.Client{Namespace: s.ns, Program: s.part.options.NFT}
	table := nft.Table{Family: "inet", Name: firewallTable, Rules: s.firewallRules}
	if err := client.Replace(s.ctx, table); err != nil {
		return fmt.Errorf("write the firewalls: %w", err)
	}
	if err := s.cut(); err != nil {
		return err
	}
	return s.nft.MarkWritten(firewallTableID, s.firewallRules)
}

// cut marks the connections that would not be let in if they began now, and takes the mark from the others.
func (s *session) cut() error {
	table, err := conntrack.Open(s.ns)
	if err != nil {
		return err
	}
	defer table.Close()
	found, err := table.Find(func(c conntrack.Connection) conntrack.Fate {
		if s.permits(c) {
			return conntrack.Fate{}
		}
		return conntrack.Fate{Mark: cutMark}
	})
	for i := 0; err == nil && i < len(found); i++ {
		err = table.Do(found[i])
	}
	return err
}

// permits says whether the firewalls would let the connection in. Its addresses are seen as they are seen where packets are
// forwarded: the destination is whoever answers. One of which it is not known by which legs it passes is not let in.
func (w *wanted) permits(c conntrack.Connection) bool {
	for _, end := range []struct {
		at     netip.Addr
		egress bool
	}{{c.Source, true}, {c.Answerer, false}} {
		device := w.wayTo(end.at)
		if device == "" {
			return false
		}
		if f := w.firewallOf(device); f != nil && !f.permits(c, end.egress) {
			return false
		}
	}
	return true
}

// firewallOf is the firewall of a leg, or nil.
func (w *wanted) firewallOf(device string) *firewall {
	i := slices.IndexFunc(w.firewalls, func(f firewall) bool { return slices.Contains(f.legs, device) })
	if i < 0 {
		return nil
	}
	return &w.firewalls[i]
}

func (f *firewall) permits(c conntrack.Connection, egress bool) bool {
	rules := f.ingress
	if egress {
		rules = f.egress
	}
	if f.closed {
		return false
	}
	for _, r := range rules {
		if r.matches(c) {
			return r.action == sb.FirewallRule_ACTION_ALLOW
		}
	}
	return false
}

func (r firewallRule) matches(c conntrack.Connection) bool {
	in := func(ports portRange, port uint16) bool {
		return ports == portRange{} || ports.first <= uint32(port) && uint32(port) <= ports.last
	}
	return r.v6 == c.Source.Is6() && (r.protocol < 0 || r.protocol == int(c.Protocol)) &&
		(!r.source.IsValid() || r.source.Contains(c.Source)) &&
		(!r.destination.IsValid() || r.destination.Contains(c.Answerer)) &&
		in(r.sourcePorts, c.SourcePort) && in(r.destinationPort, c.AnswererPort)
}

// wayTo is the leg by which the router reaches an address; empty: it does not.
func (w *wanted) wayTo(ip netip.Addr) (device string) {
	best := -1
	for _, l := range w.legs {
		for _, p := range l.addresses {
			if p.Contains(ip) && p.Bits() > best {
				device, best = l.device, p.Bits()
			}
		}
	}
	for _, r := range w.routes {
		if r.destination.Contains(ip) && r.destination.Bits() > best {
			device, best = r.device, r.destination.Bits()
		}
	}
	return device
}
