package filter

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/netlinkx"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// port is a port document as the filters need it.
type port struct {
	id, device, network string
	project             string
	mac                 netlinkx.MAC
	// filtered: it sends from its identities only, and its groups decide. Else it sends and gets everything.
	filtered bool
	// trusted: it is part of the network itself.
	trusted bool
	fixed   []netip.Addr
	// identities are the blocks of addresses that each MAC may use.
	identities map[netlinkx.MAC][]netip.Prefix
	groups     []string
	// err is why the document cannot be understood; then the port is closed.
	err error
}

// trustedOwner is how the device owners of the networks' own services begin: DHCP servers, routers.
const trustedOwner = "network:"

// What devices and ids may be made of. Names of chains and sets are made of ids.
var (
	devicePattern = regexp.MustCompile(`^tap[0-9A-Za-z-]{1,11}$`)
	idPattern     = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,63}$`)
	setPattern    = regexp.MustCompile(`^(group|addresses):[0-9A-Za-z][0-9A-Za-z-]{0,63}$`)
)

// parsePort reads a document. The port that it returns is right as far as its device is known, also with an error.
func parsePort(body *sb.Port) *port {
	p := &port{id: body.GetPortId(), network: body.GetNetworkId(), project: body.GetProjectId()}
	p.err = p.parse(body)
	return p
}

func (p *port) parse(body *sb.Port) error {
	if !devicePattern.MatchString(body.GetDevice()) {
		return fmt.Errorf("device %.40q is no name of a port's device", body.GetDevice())
	}
	p.device = body.Device
	if !idPattern.MatchString(p.network) {
		return fmt.Errorf("network id %.80q is none", p.network)
	}
	mac, err := parseMAC(body.Mac)
	if err != nil {
		return err
	}
	p.mac = mac
	p.trusted = strings.HasPrefix(body.DeviceOwner, trustedOwner)
	p.filtered = body.PortSecurity && !p.trusted
	if p.trusted {
		return nil
	}
	p.identities = map[netlinkx.MAC][]netip.Prefix{mac: {linkLocal(mac)}}
	for _, text := range body.Ips {
		ip, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("ip %.60q is no address with a prefix length", text)
		}
		p.fixed = append(p.fixed, ip.Addr())
		p.identities[mac] = append(p.identities[mac], netip.PrefixFrom(ip.Addr(), ip.Addr().BitLen()))
	}
	if !p.filtered {
		p.identities = nil
		return nil
	}
	for _, pair := range body.AddressPairs {
		mac, err := parseMAC(pair.Mac)
		if err != nil {
			return err
		}
		block, err := netip.ParsePrefix(pair.Prefix)
		if err != nil {
			return fmt.Errorf("prefix %.60q of an address pair is no block", pair.Prefix)
		}
		if _, known := p.identities[mac]; !known {
			p.identities[mac] = append(p.identities[mac], linkLocal(mac))
		}
		p.identities[mac] = append(p.identities[mac], block.Masked())
	}
	for _, group := range body.SecurityGroups {
		if !idPattern.MatchString(group) {
			return fmt.Errorf("security group %.80q is no id", group)
		}
	}
	p.groups = slices.Compact(slices.Sorted(slices.Values(body.SecurityGroups)))
	return nil
}

func parseMAC(text string) (netlinkx.MAC, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return netlinkx.MAC{}, fmt.Errorf("mac %.40q is no Ethernet address", text)
	}
	return netlinkx.MAC(mac), nil
}

// linkLocal is the address that IPv6 makes of a MAC (RFC 4291, appendix A).
func linkLocal(m netlinkx.MAC) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	}), 128)
}

// group is a security group document.
type group struct {
	stateful bool
	rules    []rule
	// err is why some of its rules are left out, which lets less pass.
	err error
}

// rule is a rule of a group, in the form that the kernel is told.
type rule struct {
	id     string
	egress bool
	v6     bool
	// protocol is the number of the upper layer's, or -1.
	protocol int
	// first and last are the ends of a range of destination ports, or -1.
	first, last int
	// kind and code are those of ICMP, or -1.
	kind, code int
	// remote is the block of the other end; the zero Prefix for any.
	remote netip.Prefix
	// set has the addresses of the other end; empty for any.
	set string
}

// Numbers of protocols (IANA).
const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolDCCP   = 33
	protocolICMPv6 = 58
	protocolSCTP   = 132
	protocolLite   = 136 // UDP-Lite
)

func parseGroup(body *sb.SecurityGroup) *group {
	g := &group{stateful: body.GetStateful()}
	if !idPattern.MatchString(body.GetGroupId()) {
		g.err = fmt.Errorf("the id %.80q is none", body.GetGroupId())
		return g
	}
	for _, r := range body.Rules {
		parsed, err := parseRule(r)
		if err != nil {
			g.err = fmt.Errorf("rule %.64q is left out: %w", r.RuleId, err)
			continue
		}
		g.rules = append(g.rules, parsed)
	}
	return g
}

func parseRule(body *sb.SecurityGroupRule) (rule, error) {
	r := rule{id: body.RuleId, egress: body.Egress, v6: body.IpVersion == 6, protocol: -1, first: -1, last: -1, kind: -1, code: -1}
	if !idPattern.MatchString(r.id) {
		return r, fmt.Errorf("its id is none")
	}
	if body.IpVersion != 4 && body.IpVersion != 6 {
		return r, fmt.Errorf("there is no IP version %d", body.IpVersion)
	}
	if err := r.parseProtocol(body); err != nil {
		return r, err
	}
	if body.RemotePrefix != "" && body.RemoteSet != "" {
		return r, fmt.Errorf("it has both a remote prefix and a remote set")
	}
	if body.RemotePrefix != "" {
		block, err := netip.ParsePrefix(body.RemotePrefix)
		if err != nil || block.Addr().Is6() != r.v6 {
			return r, fmt.Errorf("the remote prefix %.60q is no block of IPv%d", body.RemotePrefix, body.IpVersion)
		}
		if r.remote = block.Masked(); r.remote.Bits() == 0 {
			r.remote = netip.Prefix{}
		}
	}
	if r.set = body.RemoteSet; r.set != "" && !setPattern.MatchString(r.set) {
		return r, fmt.Errorf("the remote set %.80q is none", r.set)
	}
	return r, nil
}

func (r *rule) parseProtocol(body *sb.SecurityGroupRule) error {
	// Protocol 0 is "ip" and "hopopt" in the API: no condition.
	if n := body.GetProtocol(); n != 0 {
		if n > 255 {
			return fmt.Errorf("there is no protocol %d", n)
		}
		r.protocol = int(n)
		if r.v6 && n == protocolICMP {
			r.protocol = protocolICMPv6
		}
	}
	if body.PortMin == nil && body.PortMax == nil {
		return nil
	}
	switch r.protocol {
	case protocolICMP, protocolICMPv6:
		if body.PortMin == nil || *body.PortMin > 255 || body.GetPortMax() > 255 {
			return fmt.Errorf("ICMP has types and codes from 0 to 255, and no code without a type")
		}
		r.kind = int(*body.PortMin)
		if body.PortMax != nil {
			r.code = int(*body.PortMax)
		}
	case protocolTCP, protocolUDP, protocolDCCP, protocolSCTP, protocolLite:
		if body.PortMin == nil || body.PortMax == nil || *body.PortMin > *body.PortMax || *body.PortMax > 65535 {
			return fmt.Errorf("the ports are no range within 0 to 65535")
		}
		r.first, r.last = int(*body.PortMin), int(*body.PortMax)
	default:
		return fmt.Errorf("protocol %d has no ports", r.protocol)
	}
	return nil
}

// parseMember reads a member of a set.
func parseMember(body *sb.SetMember) ([]netip.Prefix, error) {
	if !setPattern.MatchString(body.GetSet()) {
		return nil, fmt.Errorf("the set %.80q is none", body.GetSet())
	}
	all := make([]netip.Prefix, 0, len(body.Prefixes))
	for _, text := range body.Prefixes {
		block, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%.60q is no block of addresses", text)
		}
		all = append(all, block.Masked())
	}
	return all, nil
}
