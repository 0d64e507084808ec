package l3

import (
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The tables in the namespace of a router. The helpers have one of their own: the kernel may lack a helper, and refuses
// the whole table then.
const (
	routerTable  = "neutrino-router"
	helpersTable = "neutrino-helpers"
)

var (
	routerTableID  = nftmap.Table{Family: unix.NFPROTO_INET, Name: routerTable}
	helpersTableID = nftmap.Table{Family: unix.NFPROTO_INET, Name: helpersTable}
)

// renderRouter is the table of a router, without the elements of its maps. Everything in it comes from device names and
// addresses that have been parsed.
//
// What comes in is translated before routing, what goes out after it. A connection from inside to a floating IP of
// the same router turns around in it (hairpin): its source is translated, too, since the answer has to come back
// here even if both ends are in one network.
func renderRouter(w *wanted) string {
	if w.distributed != nil {
		return renderLocal(w)
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	inside := devices(w.legs, func(l leg) bool { return !l.gateway })
	g := w.gateway()

	line("\tmap %s {\n\t\ttype ipv4_addr : ipv4_addr\n\t}\n", fixedOf)
	line("\tmap %s {\n\t\ttype ipv4_addr : ipv4_addr\n\t}\n", floatingOf)
	line("\tmap %s {\n\t\ttype ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service\n\t}\n", forwarded)
	line("\tchain destination {\n\t\ttype nat hook prerouting priority -100; policy accept;")
	line("\t\tdnat ip to ip daddr map @%s", fixedOf)
	line("\t\tdnat ip to ip daddr . meta l4proto . th dport map @%s\n\t}\n", forwarded)
	if g != nil {
		line("\tchain source {\n\t\ttype nat hook postrouting priority 100; policy accept;")
		line("\t\toifname %q goto outbound", g.device)
		if inside != "" {
			line("\t\tiifname %s ct status dnat goto hairpin", inside)
		}
		line("\t}\n\n\tchain outbound {\n\t\tsnat ip to ip saddr map @%s", floatingOf)
		same := devices(w.legs, func(l leg) bool { return !l.gateway && l.scopes[0] != "" && l.scopes[0] == g.scopes[0] })
		if same != "" {
			line("\t\tiifname %s accept", same)
		}
		if w.snat.IsValid() && inside != "" {
			line("\t\tiifname %s snat ip to %s fully-random", inside, w.snat)
		}
		line("\t}\n\n\tchain hairpin {\n\t\tsnat ip to ip saddr map @%s", floatingOf)
		if w.external.IsValid() {
			line("\t\tsnat ip to %s", w.external)
		}
		line("\t}\n")
	}
	// A segment must fit both ways, whatever the hosts know of the path.
	line("\tchain clamp {\n\t\ttype filter hook forward priority -150; policy accept;")
	line("\t\ttcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n\t}")
	renderScopes(line, w)
	return b.String()
}

// renderScopes keeps what is in one address scope from what is in another: only what is translated passes between them,
// since addresses may mean different things there.
func renderScopes(line func(format string, args ...any), w *wanted) {
	var rules []string
	for i, protocol := range []string{"ipv4", "ipv6"} {
		scopes := map[string]bool{}
		for _, l := range w.legs {
			scopes[l.scopes[i]] = true
		}
		if len(scopes) < 2 {
			continue
		}
		for _, scope := range slices.Sorted(maps.Keys(scopes)) {
			in := devices(w.legs, func(l leg) bool { return l.scopes[i] == scope })
			out := devices(w.legs, func(l leg) bool { return l.scopes[i] != scope })
			rules = append(rules, fmt.Sprintf("meta nfproto %s iifname %s oifname %s goto between", protocol, in, out))
		}
	}
	if len(rules) == 0 {
		return
	}
	line("\n\tchain scopes {\n\t\ttype filter hook forward priority 0; policy accept;")
	for _, rule := range rules {
		line("\t\t%s", rule)
	}
	line("\t}\n\n\tchain between {\n\t\tct status dnat accept\n\t\tct direction reply accept")
	if g := w.gateway(); g != nil {
		line("\t\toifname %q ip saddr @%s accept", g.device, floatingOf)
		if w.snat.IsValid() {
			line("\t\toifname %q meta nfproto ipv4 accept", g.device)
		}
	}
	line("\t\tdrop\n\t}")
}

// devices are the names of the legs for which keep is true, as a set of nft; empty: there are none.
func devices(legs []leg, keep func(leg) bool) string {
	var names []string
	for _, l := range legs {
		if keep(l) {
			names = append(names, strconv.Quote(l.device))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "{ " + strings.Join(names, ", ") + " }"
}

// withElements is the table with all elements in it, for writing it at once.
func (w *wanted) withElements() nft.Table {
	rules := w.rules
	for _, name := range slices.Sorted(maps.Keys(w.elements)) {
		var texts []string
		for _, key := range slices.Sorted(maps.Keys(w.elements[name])) {
			texts = append(texts, elementText(name, key, w.elements[name][key]))
		}
		if len(texts) > 0 {
			head := "\tmap " + name + " {\n"
			elements := "\t\telements = { " + strings.Join(texts, ", ") + " }\n"
			rules = strings.Replace(rules, head, head+elements, 1)
		}
	}
	return nft.Table{Family: "inet", Name: routerTable, Rules: rules}
}

func elementText(name, key, value string) string {
	if name != forwarded {
		return fmt.Sprintf("%s : %s", parse4Bytes(key), parse4Bytes(value))
	}
	ip, protocol, port := parseEndpoint(key)
	return fmt.Sprintf("%s . %d . %d : %s . %d", ip, protocol, port,
		parse4Bytes(value), binary.BigEndian.Uint16([]byte(value[4:])))
}

// helperName are the names that helpers of connection tracking have.
var helperName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]{0,14}$`)

// renderHelpers is the table that has helpers look at connections; empty: there are none.
func renderHelpers(helpers []*sb.ConntrackHelper) (rules string, problems []error) {
	var objects, assign strings.Builder
	seen := map[string]bool{}
	for _, h := range helpers {
		name := fmt.Sprintf("%s-%s-%d", h.GetHelper(), h.GetProtocol(), h.GetPort())
		if !helperName.MatchString(h.GetHelper()) || h.GetPort() < 1 || h.GetPort() > 65535 ||
			h.GetProtocol() != "tcp" && h.GetProtocol() != "udp" {
			problems = append(problems, fmt.Errorf("the helper %.40q is none for the ports of tcp or udp", name))
			continue
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		fmt.Fprintf(&objects, "\tct helper %s {\n\t\ttype %q protocol %s;\n\t}\n\n", name, h.GetHelper(), h.GetProtocol())
		fmt.Fprintf(&assign, "\t\t%s dport %d ct helper set %q\n", h.GetProtocol(), h.GetPort(), name)
	}
	if assign.Len() == 0 {
		return "", problems
	}
	return objects.String() + "\tchain helpers {\n\t\ttype filter hook prerouting priority 0; policy accept;\n" +
		assign.String() + "\t}\n", problems
}
