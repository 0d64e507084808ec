package verdict

import (
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// and asks the firewall group of the port about what has passed so far: both have to let it pass.
func (v Verdict) and(c *check) Verdict {
	if !v.Pass {
		return v
	}
	if f := c.firewall(); f.Reason != "" && !f.Pass {
		f.Direction = c.direction
		return f
	}
	return v
}

// firewall is the verdict of the firewall group of the port; undecided: there is none that has a say.
func (c *check) firewall() Verdict {
	g, ok := state.FirewallGroups.Get(c.r, c.firewallGroup())
	switch {
	case !ok || !g.Filters() || !model.ComputeOwner(c.port.DeviceOwner):
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

func (c *check) firewallGroup() string {
	for g := range state.FirewallGroupsByPort.List(c.r, c.port.ID) {
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
