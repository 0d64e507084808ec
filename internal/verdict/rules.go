package verdict

import (
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// connection lets what belongs to a connection pass, at a port whose groups are stateful.
func (c *check) connection() Verdict {
	if c.established && c.stateful() {
		return pass(ReasonEstablished)
	}
	return undecided
}

func (c *check) stateful() bool {
	for _, id := range c.port.SecurityGroupIDs {
		if g, ok := state.SecurityGroups.Get(c.r, id); ok && !g.Stateful {
			return false
		}
	}
	return true
}

// rules looks for a rule that allows the packet.
func (c *check) rules() Verdict {
	for _, id := range c.port.SecurityGroupIDs {
		for rule := range state.SecurityGroupRulesByGroup.List(c.r, id) {
			if rule.Direction == c.direction && c.matches(rule) {
				return Verdict{Pass: true, Reason: ReasonRule, RuleID: rule.ID}
			}
		}
	}
	return drop(ReasonNoRule)
}

func (c *check) matches(rule *model.SecurityGroupRule) bool {
	if (rule.EtherType == model.IPv4) != (c.packet.EtherType == TypeIPv4) {
		return false
	}
	return matchesProtocol(rule, c.packet) && c.matchesRemote(rule)
}

func matchesProtocol(rule *model.SecurityGroupRule, p *Packet) bool {
	if rule.Protocol == "" {
		return rule.PortMin == nil && rule.PortMax == nil
	}
	number, ok := model.ProtocolNumber(rule.Protocol)
	if ok && number == ProtoICMP && rule.EtherType == model.IPv6 {
		number = ProtoICMPv6
	}
	switch {
	case !ok || number != 0 && number != int(p.Protocol):
		return false
	case rule.PortMin == nil && rule.PortMax == nil:
		return true
	case rule.PortMin == nil:
		return false // there is no code without a type, and no range without a beginning
	case number == ProtoICMP || number == ProtoICMPv6:
		return int(p.ICMPType) == *rule.PortMin && (rule.PortMax == nil || int(p.ICMPCode) == *rule.PortMax)
	case rule.PortMax == nil || !hasPorts(p.Protocol) || number == 0:
		return false
	}
	return *rule.PortMin <= int(p.DestinationPort) && int(p.DestinationPort) <= *rule.PortMax
}

// matchesRemote says whether the other end of the packet is one that the rule is about.
func (c *check) matchesRemote(rule *model.SecurityGroupRule) bool {
	other := c.packet.SourceIP
	if c.direction == model.Egress {
		other = c.packet.DestinationIP
	}
	switch {
	case rule.RemotePrefix.IsValid():
		return rule.RemotePrefix.Masked().Contains(other)
	case rule.RemoteGroupID != "":
		return c.inGroup(rule.RemoteGroupID, other)
	case rule.RemoteAddressGroupID != "":
		g, ok := state.AddressGroups.Get(c.r, rule.RemoteAddressGroupID)
		return ok && contains(g.Addresses, other)
	}
	return true
}

// inGroup says whether the address is one of those that the ports with the group use.
func (c *check) inGroup(id string, ip netip.Addr) bool {
	for p := range state.PortsBySecurityGroup.List(c.r, id) {
		if len(p.FixedIPs) == 0 {
			continue
		}
		for _, f := range p.FixedIPs {
			if f.IP == ip {
				return true
			}
		}
		for _, pair := range p.AllowedAddressPairs {
			if pair.IP.Masked().Contains(ip) {
				return true
			}
		}
	}
	return false
}

func contains(blocks []netip.Prefix, ip netip.Addr) bool {
	for _, block := range blocks {
		if block.Contains(ip) {
			return true
		}
	}
	return false
}
