package l3

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	"github.com/neutrino-net/neutrino/internal/model"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	minMTU     = 68   // RFC 791: every link carries at least this
	minMTUIPv6 = 1280 // RFC 8200, section 5: below, the kernel has no IPv6 on a device
	maxMTU     = 65535
)

// documents are those that concern one router: its own, its floating IPs and its port forwardings, by key.
type documents map[string]*sb.Document

// same says whether nothing has changed. Documents never change, so it is enough to compare pointers.
func (d documents) same(other documents) bool {
	return (d == nil) == (other == nil) && maps.Equal(d, other)
}

// wanted is a router as it should be. It never changes.
type wanted struct {
	id   string
	legs []leg // sorted by device
	// untouched are the marks of legs whose documents cannot be understood: what is there of them stays as it is.
	untouched map[string]bool
	// routes are all but those that come with the addresses; proxies are the addresses for which the gateway leg answers
	// neighbour solicitations.
	routes  []route
	proxies []netip.Addr
	// external is the router's own address in the external network, and snat is the one that the sources of outgoing
	// connections are translated to; the zero Addr: there is none, they are not.
	external, snat netip.Addr
	// rules is the router's table without the elements of its maps, elements are those, by map.
	rules    string
	elements map[string]nftmap.Elements
	// group is the gateway group in which the host has to be active to forward; empty: it always forwards.
	group string
	// distributed is what only the local part of a distributed router has; nil: it is none.
	distributed *distributed
	// helpers is the table of the helpers of connection tracking; empty: none.
	helpers string
	// firewalls are those of the legs, firewallRules is their table; empty: none.
	firewalls     []firewall
	firewallRules string
}

// leg is a device of the router, and its other end on the host.
type leg struct {
	port         string
	device, host string
	gateway      bool
	// hops are where what comes in by the leg of a local part goes if it has no other way; onLink is what is reached by the
	// leg besides its addresses' networks.
	hops      []netip.Addr
	onLink    []netip.Prefix
	mac       net.HardwareAddr
	mtu       int
	addresses []netip.Prefix
	// scopes are the address scopes of the leg for IPv4 and IPv6.
	scopes     [2]string
	advertised []advertised
}

// advertised is a block that router advertisements announce.
type advertised struct {
	prefix netip.Prefix
	mode   string
	dns    []netip.Addr
}

type route struct {
	destination netip.Prefix
	via         netip.Addr // the zero Addr: on the link
	device      string
	table       int // 0: the main one
}

// central begins the name of the central part of a distributed router among the routers of a host, where the local part
// has the name of any other router: its id.
const central = "snat-"

// Namespace is the name of the network namespace of the router of the name.
func Namespace(router string) string {
	if strings.HasPrefix(router, central) {
		return router
	}
	return "qrouter-" + router
}

// isRouter says whether the name is that of a router: its id, with or without the sign of a central part.
func isRouter(name string) bool { return isID(strings.TrimPrefix(name, central)) }

// portMark begins the alias of both ends of a leg, as that of all devices of ports.
const portMark = "neutrino:port:"

func (l *leg) mark() string { return portMark + l.port }

// conversion is what the documents of a router ask for.
type conversion struct {
	// router is nil if the host is not to forward for it.
	router *wanted
	// reasons has an entry for each document: empty if it can be done.
	reasons map[string]string
}

// convert works out the router. What cannot be had is left out and has its reason; where two documents exclude each
// other, the first by key wins.
func convert(docs documents) conversion {
	c := conversion{reasons: map[string]string{}}
	var body *sb.Router
	var key string
	for k, d := range docs {
		c.reasons[k] = ""
		if r := routerOf(d); r != nil && (body == nil || k < key) {
			body, key = r, k
		}
	}
	if body == nil {
		for key := range c.reasons {
			c.reasons[key] = "this host does not forward for the router"
		}
		return c
	}
	w, problems := convertRouter(body, docs[key].GetLocalRouter() != nil)
	c.reasons[key] = strings.Join(problems, "; ")
	if !body.GetAdminStateUp() {
		return c // nothing is forwarded, and all documents are satisfied
	}
	t := translations{conversion: &c, wanted: w}
	t.convert(docs)
	if w.distributed != nil {
		w.distributed.convertNeighbours(w, docs)
	}
	t.convertFirewalls(docs)
	w.rules, w.elements = renderRouter(w), t.elements
	c.router = w
	return c
}

// convertRouter reads the router's own document. Problems are about what is left out.
func convertRouter(r *sb.Router, local bool) (w *wanted, problems []string) {
	w = &wanted{id: r.GetRouterId(), group: r.GetGatewayGroup(), untouched: map[string]bool{}}
	kinds := kinds{inside: "qr-", gateway: "qg-"}
	switch {
	case local:
		kinds.gateway, w.distributed = "fg-", &distributed{}
	case r.GetCentral():
		kinds.inside = "sg-"
	}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	gateways := 0
	for _, body := range r.GetLegs() {
		l, err := convertLeg(body, kinds)
		if err != nil {
			problem("the leg of port %.40s: %v", body.GetPortId(), err)
			w.untouched[portMark+body.GetPortId()] = true
			continue
		}
		if l.gateway {
			if gateways++; gateways > 1 {
				problem("the leg of port %s: there is a gateway leg already", l.port)
				continue
			}
		}
		if slices.ContainsFunc(w.legs, func(o leg) bool { return o.host == l.host }) {
			problem("the leg of port %s: the device %s belongs to another port already", l.port, l.host)
			continue
		}
		w.legs = append(w.legs, l)
	}
	slices.SortFunc(w.legs, func(a, b leg) int { return strings.Compare(a.device, b.device) })
	for _, err := range w.convertRoutes(r) {
		problem("%v", err)
	}
	if w.distributed != nil {
		w.policy()
	}
	for _, err := range w.convertProxies(r.GetNdpProxied()) {
		problem("%v", err)
	}
	if g := w.gateway(); g != nil {
		w.external = g.first4()
	}
	if r.GetEnableSnat() {
		w.snat = w.external
	}
	var errs []error
	w.helpers, errs = renderHelpers(r.GetConntrackHelpers())
	for _, err := range errs {
		problem("%v", err)
	}
	return w, problems
}

// gateway is the leg in the external network, or nil.
func (w *wanted) gateway() *leg {
	if i := slices.IndexFunc(w.legs, func(l leg) bool { return l.gateway }); i >= 0 {
		return &w.legs[i]
	}
	return nil
}

// first4 is the first IPv4 address of the leg; the zero Addr: it has none.
func (l *leg) first4() netip.Addr {
	for _, p := range l.addresses {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

func convertLeg(body *sb.RouterLeg, kinds kinds) (leg, error) {
	if !isID(body.GetPortId()) {
		return leg{}, fmt.Errorf("port_id is not a UUID")
	}
	l := leg{
		port: body.GetPortId(), host: model.DeviceName(body.GetPortId()), gateway: body.GetGateway(), mtu: int(body.GetMtu()),
		scopes: [2]string{body.GetScope4(), body.GetScope6()},
	}
	l.device = kinds.of(l.gateway) + strings.TrimPrefix(l.host, "tap")
	var err error
	if l.mac, err = net.ParseMAC(body.GetMac()); err != nil || len(l.mac) != 6 || l.mac[0]&1 != 0 {
		return leg{}, fmt.Errorf("mac %.40q is no Ethernet address of a port", body.GetMac())
	}
	if l.mtu < minMTU || l.mtu > maxMTU {
		return leg{}, fmt.Errorf("mtu %d is not in the range %d to %d", body.GetMtu(), minMTU, maxMTU)
	}
	for _, text := range body.GetIps() {
		p, err := parsePrefix(text)
		if err != nil {
			return leg{}, err
		}
		if p.Addr().Is6() && l.mtu < minMTUIPv6 {
			return leg{}, fmt.Errorf("with mtu %d it cannot have the IPv6 address %s", l.mtu, p)
		}
		if !slices.Contains(l.addresses, p) {
			l.addresses = append(l.addresses, p)
		}
	}
	if err := l.convertHops(body); err != nil {
		return leg{}, err
	}
	if own := linkLocal(l.mac); l.mtu >= minMTUIPv6 && len(l.onLink) == 0 && !slices.Contains(l.addresses, own) {
		l.addresses = append(l.addresses, own)
	}
	for _, a := range body.GetAdvertised() {
		block, err := convertAdvertised(a)
		if err != nil {
			return leg{}, err
		}
		l.advertised = append(l.advertised, block)
	}
	return l, nil
}

// linkLocal is the address that the kernel gives an Ethernet device (RFC 4291, appendix A). It is wanted like the
// others, so that one which somebody took away comes back: hosts send what they want routed to it.
func linkLocal(mac net.HardwareAddr) netip.Prefix {
	ip := [16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(ip), 64)
}

func convertAdvertised(a *sb.RouterPrefix) (advertised, error) {
	p, err := netip.ParsePrefix(a.GetPrefix())
	if err != nil || !p.Addr().Is6() || p != p.Masked() || p.Addr().Is4In6() {
		return advertised{}, fmt.Errorf("%.60q is no IPv6 block", a.GetPrefix())
	}
	if !slices.Contains([]string{modeSLAAC, modeStateful, modeStateless}, a.GetRaMode()) {
		return advertised{}, fmt.Errorf("ra_mode %.40q is not known", a.GetRaMode())
	}
	out := advertised{prefix: p, mode: a.GetRaMode()}
	for _, text := range a.GetDnsNameservers() {
		// IPv4 servers are for DHCP; an advertisement has no place for them.
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is6() && ip.Zone() == "" && !ip.Is4In6() {
			out.dns = append(out.dns, ip)
		}
	}
	return out, nil
}

// convertRoutes works out the default routes and the extra ones. An extra route to everywhere goes before the
// gateway's.
func (w *wanted) convertRoutes(r *sb.Router) (problems []error) {
	byDestination := map[netip.Prefix]route{}
	for _, text := range r.GetDefaultGateways() {
		ip, err := parseAddr(text)
		g := w.gateway()
		if w.distributed != nil && err == nil {
			w.distributed.gateways = append(w.distributed.gateways, ip)
			continue
		}
		if err != nil || g == nil {
			problems = append(problems, cmp.Or(err, fmt.Errorf("the default gateway %s has no gateway leg", text)))
			continue
		}
		all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if ip.Is4() {
			all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		byDestination[all] = route{destination: all, via: ip, device: g.device}
	}
	extra := map[netip.Prefix]bool{}
	for _, body := range r.GetRoutes() {
		destination, err := netip.ParsePrefix(body.GetDestination())
		if err != nil || destination.Addr().Is4In6() {
			problems = append(problems, fmt.Errorf("the destination %.60q of a route is no block", body.GetDestination()))
			continue
		}
		destination = destination.Masked()
		via, err := parseAddr(body.GetNexthop())
		device := w.deviceTo(via)
		switch {
		case err != nil:
		case via.Is4() != destination.Addr().Is4():
			err = fmt.Errorf("its next hop %s is of the other IP version", via)
		case device == "":
			err = fmt.Errorf("its next hop %s is in no network of the router", via)
		case extra[destination]:
			err = fmt.Errorf("there is a route to it already, and several ways at once are not supported")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("the route to %s: %w", destination, err))
			continue
		}
		extra[destination] = true
		byDestination[destination] = route{destination: destination, via: via, device: device}
	}
	w.routes = slices.SortedFunc(maps.Values(byDestination), func(a, b route) int {
		return a.destination.Compare(b.destination)
	})
	return problems
}

// deviceTo is the leg in whose network the address is; empty: none.
func (w *wanted) deviceTo(ip netip.Addr) string {
	for _, l := range w.legs {
		for _, p := range l.addresses {
			if p.Contains(ip) && !ip.IsLinkLocalUnicast() {
				return l.device
			}
		}
	}
	return ""
}

func (w *wanted) convertProxies(texts []string) (problems []error) {
	for _, text := range texts {
		ip, err := parseAddr(text)
		switch {
		case err == nil && !ip.Is6():
			err = fmt.Errorf("it is no IPv6 address")
		case err == nil && w.gateway() == nil:
			err = fmt.Errorf("there is no gateway leg to answer for it on")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("the proxied address %.60q: %w", text, err))
			continue
		}
		w.proxies = append(w.proxies, ip)
	}
	return problems
}

func isID(text string) bool {
	id, err := uuid.Parse(text)
	return err == nil && id.String() == text
}

func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !usable(p.Addr()) {
		return p, fmt.Errorf("%.60q cannot be the address of a leg", text)
	}
	return p, nil
}

func parseAddr(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || !usable(ip) {
		return ip, fmt.Errorf("%.60q is no address of a host", text)
	}
	return ip, nil
}

func usable(ip netip.Addr) bool {
	return ip.Zone() == "" && !ip.Is4In6() && !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLoopback()
}
