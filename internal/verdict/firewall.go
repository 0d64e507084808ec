package verdict

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// and asks the firewall groups that have a say at the port about what has passed so far: all have to let it pass.
func (v Verdict) and(c *check) Verdict {
	for _, firewall := range []func() Verdict{c.own, c.routed} {
		if !v.Pass {
			return v
		}
		if f := firewall(); f.Reason != "" && !f.Pass {
			v = f
			v.Direction = c.direction
		}
	}
	return v
}

// own is the verdict of the firewall group of the port; undecided: there is none that has a say.
func (c *check) own() Verdict {
	if !model.ComputeOwner(c.port.DeviceOwner) {
		return undecided
	}
	return c.firewall(c.port.ID)
}

// routed is the verdict of the firewall groups of distributed routers' interfaces that the packet is sent to by the port's
// workload, or has come from; undecided: there is none that has a say.
func (c *check) routed() Verdict {
	if strings.HasPrefix(c.port.DeviceOwner, "network:") {
		return undecided // routers and services of the network itself
	}
	mac, ip := c.packet.Source, c.packet.SourceIP
	if c.direction == model.Egress {
		mac, ip = c.packet.Destination, c.packet.DestinationIP
	}
	for p := range state.PortsByNetwork.List(c.r, c.port.NetworkID) {
		if p.DeviceOwner != model.DeviceOwnerRouterInterfaceDistributed || !state.DistributedBindingsByPort.Has(c.r, p.ID) ||
			!c.speaks(p, mac) {
			continue
		}
		if !c.packet.Tagged && (c.packet.EtherType == TypeIPv4 || c.packet.EtherType == TypeIPv6) && c.routers(p, ip) {
			continue // it is not routed
		}
		if v := c.firewall(p.ID); v.Reason != "" && !v.Pass {
			return v
		}
	}
	return undecided
}

// central is the leg of the router's central part beside the interface, or nil.
func (c *check) central(p *model.Port) *model.Port {
	for router := range state.RoutersByLeg.List(c.r, p.ID) {
		if central, ok := state.Ports.Get(c.r, router.SNATPort(p.ID)); ok {
			return central
		}
	}
	return nil
}

// speaks says whether the MAC is that of the interface on the hosts that have it, or of the central part beside it. One of the
// form that interfaces have on other hosts is taken for the router's if no other router is known by it.
func (c *check) speaks(p *model.Port, mac MAC) bool {
	if central := c.central(p); mac.String() == p.MAC || central != nil && mac.String() == central.MAC {
		return true
	}
	for b := range state.DistributedBindingsByNetwork.List(c.r, p.NetworkID) {
		if b.PortID != p.ID && b.TunnelMAC() == mac.String() {
			return false
		}
	}
	return mac[0] == 0x4a
}

// routers says whether the address is the router's own in the network, or one to which nothing is routed.
func (c *check) routers(p *model.Port, ip netip.Addr) bool {
	if ip.Is4() && metadataNet.Contains(ip) || ip.Is6() && linkLocalAll.Contains(ip) {
		return true
	}
	for _, of := range []*model.Port{p, c.central(p)} {
		if of != nil && slices.ContainsFunc(of.FixedIPs, func(f model.FixedIP) bool { return f.IP == ip }) {
			return true
		}
	}
	return false
}

var (
	metadataNet  = netip.MustParsePrefix("169.254.0.0/16")
	linkLocalAll = netip.MustParsePrefix("fe80::/10")
)

// firewall is the verdict of the firewall group that the port is in; undecided: there is none that has a say.
func (c *check) firewall(portID string) Verdict {
	g, ok := state.FirewallGroups.Get(c.r, c.firewallGroup(portID))
	switch {
	case !ok || !g.Filters():
		return undecided
	case !c.packet.Tagged && c.packet.EtherType == TypeARP, c.always():
		return pass(ReasonFirewall)
	case !g.AdminStateUp || c.packet.Tagged || c.packet.EtherType != TypeIPv4 && c.packet.EtherType != TypeIPv6:
		return drop(ReasonFirewall)
	case c.established:
		return pass(ReasonEstablished)
	}
	policy := g.IngressPolicyID
	if c.direction == model.Egress {
		policy = g.EgressPolicyID
	}
	return c.firewallPolicy(policy)
}

func (c *check) firewallGroup(portID string) string {
	for g := range state.FirewallGroupsByPort.List(c.r, portID) {
		return g.ID
	}
	return ""
}

// always is about what passes every firewall.
func (c *check) always() bool {
	p := c.packet
	if p.Tagged {
		return false
	}
	v4, v6 := p.EtherType == TypeIPv4, p.EtherType == TypeIPv6
	if c.direction == model.Egress {
		return v4 && p.udp(dhcpClientPort, dhcpServerPort) || v6 && p.udp(dhcpv6ClientPort, dhcpv6ServerPort) ||
			p.icmpv6(ListenerQuery, ListenerReport, ListenerDone, RouterSolicit, NeighbourSolicit, NeighbourAdvert,
				ListenerReportV2)
	}
	return v4 && p.udp(dhcpServerPort, dhcpClientPort) || v6 && p.udp(dhcpv6ServerPort, dhcpv6ClientPort) ||
		p.icmpv6(ListenerQuery, RouterAdvert, NeighbourSolicit, NeighbourAdvert)
}

// firewallPolicy is what the first rule of the policy says that matches. Without one, and without a policy, it is dropped.
func (c *check) firewallPolicy(id string) Verdict {
	p, ok := state.FirewallPolicies.Get(c.r, id)
	if !ok {
		return drop(ReasonFirewall)
	}
	for _, id := range p.RuleIDs {
		rule, ok := state.FirewallRules.Get(c.r, id)
		if ok && rule.Enabled && matchesFirewallRule(rule, c.packet) {
			return Verdict{Pass: rule.Action == model.FirewallAllow, Reason: ReasonFirewall, RuleID: id}
		}
	}
	return drop(ReasonFirewall)
}

func matchesFirewallRule(rule *model.FirewallRule, p *Packet) bool {
	if (rule.IPVersion == 4) != (p.EtherType == TypeIPv4) {
		return false
	}
	if number, ok := model.ProtocolNumber(rule.Protocol); ok && number != 0 {
		if number == ProtoICMP && rule.IPVersion == 6 {
			number = ProtoICMPv6
		}
		if number != int(p.Protocol) {
			return false
		}
	}
	in := func(ports model.PortRange, port uint16) bool {
		return ports == model.PortRange{} || ports.First <= int(port) && int(port) <= ports.Last
	}
	return (!rule.Source.Prefix.IsValid() || rule.Source.Prefix.Masked().Contains(p.SourceIP)) &&
		(!rule.Destination.Prefix.IsValid() || rule.Destination.Prefix.Masked().Contains(p.DestinationIP)) &&
		in(rule.SourcePorts, p.SourcePort) && in(rule.DestinationPorts, p.DestinationPort)
}
