package verdict

import (
	"iter"
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Reason names the check that decided.
type Reason string

// The reasons. Most of them are for either way; package verdict says which are which.
const (
	ReasonUnfiltered    Reason = "unfiltered"
	ReasonVLANTag       Reason = "vlan-tag"
	ReasonSourceMAC     Reason = "source-mac"
	ReasonEtherType     Reason = "ethertype"
	ReasonARP           Reason = "arp"
	ReasonARPSender     Reason = "arp-sender"
	ReasonSourceAddress Reason = "source-address"
	ReasonNDTarget      Reason = "nd-target"
	ReasonDHCPServer    Reason = "dhcp-server"
	ReasonDHCPClient    Reason = "dhcp-client"
	ReasonRouterAdvert  Reason = "router-advertisement"
	ReasonNeighbour     Reason = "neighbour-discovery"
	ReasonEstablished   Reason = "established"
	ReasonRule          Reason = "rule"
	ReasonNoRule        Reason = "no-rule"
	ReasonFirewall      Reason = "firewall"
)

// Verdict is what becomes of a packet at one port.
type Verdict struct {
	Pass   bool
	Reason Reason
	// Direction is seen from the workload: egress is decided by the sender's port, ingress by the receiver's.
	Direction model.Direction
	// RuleID is set where Reason is ReasonRule, and where it is ReasonFirewall and a rule has decided.
	RuleID string
}

// Decide says what becomes of a frame from one port to another: the receiver's verdict, or that of the sender where it
// drops the frame already. One of the ports may be nil: the frame comes from outside, or goes there. established says
// whether the packet belongs to a connection, or is an error about one; see Connections.
func Decide(r state.Reader, from, to *model.Port, p *Packet, established bool) Verdict {
	v := Verdict{Pass: true, Reason: ReasonUnfiltered}
	if from != nil {
		v = Egress(r, from, p, established)
	}
	if to == nil || !v.Pass {
		return v
	}
	return Ingress(r, to, p, established)
}

// Egress says what becomes of a frame that the port's workload sends.
func Egress(r state.Reader, port *model.Port, p *Packet, established bool) Verdict {
	c := check{r: r, port: port, packet: p, established: established, direction: model.Egress}
	return c.first(c.unfiltered, c.frame, c.arpSender, c.unaddressed, c.sourceAddress, c.network, c.ndTarget, c.client,
		c.connection, c.rules).and(&c)
}

// Ingress says what becomes of a frame that is on its way to the port's workload.
func Ingress(r state.Reader, port *model.Port, p *Packet, established bool) Verdict {
	c := check{r: r, port: port, packet: p, established: established, direction: model.Ingress}
	return c.first(c.unfiltered, c.frame, c.service, c.connection, c.rules).and(&c)
}

// check is one packet at one port. Its methods are the checks: each of them decides, or leaves it to the next by the
// zero Verdict.
type check struct {
	r           state.Reader
	port        *model.Port
	packet      *Packet
	established bool
	direction   model.Direction
}

func (c *check) first(checks ...func() Verdict) Verdict {
	for _, decide := range checks {
		if v := decide(); v.Reason != "" {
			v.Direction = c.direction
			return v
		}
	}
	return Verdict{Reason: ReasonNoRule, Direction: c.direction}
}

func pass(why Reason) Verdict { return Verdict{Pass: true, Reason: why} }
func drop(why Reason) Verdict { return Verdict{Reason: why} }

// undecided leaves it to the next check.
var undecided Verdict

func (c *check) unfiltered() Verdict {
	if !c.port.Filtered() {
		return pass(ReasonUnfiltered)
	}
	return undecided
}

// frame looks at the Ethernet header.
func (c *check) frame() Verdict {
	p := c.packet
	switch {
	case p.Tagged:
		return drop(ReasonVLANTag)
	case c.direction == model.Egress && !c.ownMAC(p.Source):
		return drop(ReasonSourceMAC)
	case p.EtherType != TypeARP && p.EtherType != TypeIPv4 && p.EtherType != TypeIPv6:
		return drop(ReasonEtherType)
	case c.direction == model.Ingress && p.EtherType == TypeARP:
		return pass(ReasonARP)
	}
	return undecided
}

func (c *check) arpSender() Verdict {
	if c.packet.EtherType != TypeARP {
		return undecided
	}
	m := c.packet.ARP
	switch {
	case m == nil || m.Sender != c.packet.Source:
		return drop(ReasonARPSender)
	case m.Request && m.SenderIP == netip.IPv4Unspecified() && c.identity(m.Target):
		return pass(ReasonARP)
	case c.identity(m.SenderIP):
		return pass(ReasonARP)
	}
	return drop(ReasonARPSender)
}

var (
	broadcast4   = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	linkScope    = netip.MustParsePrefix("ff02::/16")
	linkLocalNet = netip.MustParsePrefix("fe80::/64")
)

// unaddressed is about what a workload sends before it has an address.
func (c *check) unaddressed() Verdict {
	p := c.packet
	switch {
	case p.SourceIP == netip.IPv4Unspecified() && p.DestinationIP == broadcast4 && p.udp(dhcpClientPort, dhcpServerPort):
		return c.dhcpRequest()
	case p.SourceIP != netip.IPv6Unspecified() || !linkScope.Contains(p.DestinationIP):
		return undecided
	case p.icmpv6(ListenerReport, ListenerReportV2):
		return pass(ReasonNeighbour)
	case p.icmpv6(NeighbourSolicit) && c.identity(p.Target):
		return pass(ReasonNeighbour)
	case p.icmpv6(NeighbourSolicit):
		return drop(ReasonNDTarget)
	}
	return undecided
}

func (c *check) dhcpRequest() Verdict {
	if c.packet.Client != c.packet.Source {
		return drop(ReasonDHCPClient)
	}
	return pass(ReasonDHCPClient)
}

func (c *check) sourceAddress() Verdict {
	if !c.identity(c.packet.SourceIP) {
		return drop(ReasonSourceAddress)
	}
	return undecided
}

// network is about what only the network itself says.
func (c *check) network() Verdict {
	p := c.packet
	switch {
	case p.EtherType == TypeIPv4 && p.udp(dhcpServerPort, dhcpClientPort),
		p.EtherType == TypeIPv6 && p.udp(dhcpv6ServerPort, dhcpv6ClientPort):
		return drop(ReasonDHCPServer)
	case p.icmpv6(RouterAdvert):
		return drop(ReasonRouterAdvert)
	}
	return undecided
}

func (c *check) ndTarget() Verdict {
	if c.packet.icmpv6(NeighbourAdvert) && !c.identity(c.packet.Target) {
		return drop(ReasonNDTarget)
	}
	return undecided
}

// client is about what a workload always may send.
func (c *check) client() Verdict {
	p := c.packet
	switch {
	case p.EtherType == TypeIPv4 && p.udp(dhcpClientPort, dhcpServerPort):
		return c.dhcpRequest()
	case p.EtherType == TypeIPv6 && p.udp(dhcpv6ClientPort, dhcpv6ServerPort):
		return pass(ReasonDHCPClient)
	case p.icmpv6(ListenerQuery, ListenerReport, ListenerDone, RouterSolicit, NeighbourSolicit, NeighbourAdvert,
		ListenerReportV2):
		return pass(ReasonNeighbour)
	}
	return undecided
}

// service is about what a workload always may get.
func (c *check) service() Verdict {
	p := c.packet
	switch {
	case p.icmpv6(ListenerQuery, NeighbourSolicit, NeighbourAdvert),
		p.icmpv6(RouterAdvert) && c.fixed(netip.Addr.Is6):
		return pass(ReasonNeighbour)
	case p.EtherType == TypeIPv4 && p.udp(dhcpServerPort, dhcpClientPort) &&
		(p.DestinationIP == broadcast4 || c.toItself()),
		p.EtherType == TypeIPv6 && p.udp(dhcpv6ServerPort, dhcpv6ClientPort) &&
			(linkLocalNet.Contains(p.DestinationIP) || c.toItself()):
		return pass(ReasonDHCPServer)
	}
	return undecided
}

// toItself says whether the packet goes to a fixed address of the port.
func (c *check) toItself() bool {
	return c.fixed(func(ip netip.Addr) bool { return ip == c.packet.DestinationIP })
}

// fixed says whether any fixed address of the port is such a one.
func (c *check) fixed(such func(netip.Addr) bool) bool {
	for _, f := range c.port.FixedIPs {
		if such(f.IP) {
			return true
		}
	}
	return false
}

// ownMAC says whether any identity of the port has the MAC.
func (c *check) ownMAC(mac MAC) bool {
	for known := range c.identities() {
		if known == mac {
			return true
		}
	}
	return false
}

// identity says whether the frame's source MAC, together with the address, is an identity of the port.
func (c *check) identity(ip netip.Addr) bool {
	if ip.IsUnspecified() {
		return false
	}
	for mac, block := range c.identities() {
		if mac == c.packet.Source && block.Contains(ip) {
			return true
		}
	}
	return false
}

// identities are the MACs and blocks of addresses that the port may use.
func (c *check) identities() iter.Seq2[MAC, netip.Prefix] {
	return func(yield func(MAC, netip.Prefix) bool) {
		single := func(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }
		if own, ok := ParseMAC(c.port.MAC); ok {
			if !yield(own, single(own.linkLocal())) {
				return
			}
			for _, f := range c.port.FixedIPs {
				if !yield(own, single(f.IP)) {
					return
				}
			}
		}
		for _, pair := range c.port.AllowedAddressPairs {
			mac, ok := ParseMAC(pair.MAC)
			if ok && (!yield(mac, pair.IP.Masked()) || !yield(mac, single(mac.linkLocal()))) {
				return
			}
		}
	}
}
