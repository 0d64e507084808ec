package schema

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

func firewallRuleMeta(r *model.FirewallRule) *model.Meta { return &r.Meta }

// FirewallRule declares the firewall rules of the API. How their values have to fit together is decided in package
// service/firewall.
var FirewallRule = (&Resource[model.FirewallRule]{
	Name: "firewall_rule", Plural: "firewall_rules", Kind: "FirewallRule", Path: "/fwaas/firewall_rules",
	Extension:  firewallAlias,
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Quota:      "firewall_rule",
	Virtual:    tagFilters(firewallRuleMeta, map[string]func(*model.FirewallRule, string) bool{}),
	Attributes: slices.Concat(
		identity(firewallRuleMeta),
		[]*Attribute[model.FirewallRule]{
			computed("firewall_policy_id", 0, shown(anArray(id().shape).orNull()), policiesOfRule,
				help("The policies that it is in; null: none.")),
			attribute("protocol", Post|Put|shows, nullable(firewallProtocol()),
				func(r *model.FirewallRule) *string { return &r.Protocol },
				help("The IP protocol by name or number, for instance tcp; null: any.")),
			attribute("ip_version", Post|Put|shows, ipVersion(), func(r *model.FirewallRule) *int { return &r.IPVersion },
				byDefault(4), help("4 or 6.")),
			attribute("source_ip_address", Post|Put|shows, nullable(addressOrBlock()),
				func(r *model.FirewallRule) *model.FirewallAddress { return &r.Source },
				help("The source, an address or a block; null: any.")),
			attribute("destination_ip_address", Post|Put|shows, nullable(addressOrBlock()),
				func(r *model.FirewallRule) *model.FirewallAddress { return &r.Destination },
				help("The destination, an address or a block; null: any.")),
			attribute("source_port", Post|Put|shows, nullable(portOrRange()),
				func(r *model.FirewallRule) *model.PortRange { return &r.SourcePorts },
				help("The source port of TCP or UDP, or a range as in 1024:65535; null: any.")),
			attribute("destination_port", Post|Put|shows, nullable(portOrRange()),
				func(r *model.FirewallRule) *model.PortRange { return &r.DestinationPorts },
				help("The destination port of TCP or UDP, or a range as in 8000:8080; null: any.")),
			attribute("action", Post|Put|shows, lowerCase(text(16)),
				func(r *model.FirewallRule) *string { return (*string)(&r.Action) }, byDefault(string(model.FirewallDeny)),
				oneOf(string(model.FirewallAllow), string(model.FirewallDeny), string(model.FirewallReject)),
				help("What becomes of the packets.")),
			attribute("enabled", Post|Put|shows, boolean(), func(r *model.FirewallRule) *bool { return &r.Enabled },
				byDefault(true), help("Whether it counts.")),
			attribute("shared", Post|Put|shows, boolean(), func(r *model.FirewallRule) *bool { return &r.Shared },
				byDefault(false), enforced, help("Whether all projects may use it.")),
		},
		standard(firewallRuleMeta),
	),
}).ready()

func policiesOfRule(r *model.FirewallRule) any {
	if len(r.PolicyIDs) == 0 {
		return nil
	}
	return r.PolicyIDs
}

// firewallProtocol is a name in lower case or a number in digits.
func firewallProtocol() codec[string] {
	c := protocol()
	inner := c.parse
	c.parse = func(raw any) (string, error) {
		name, err := inner(raw)
		if err != nil {
			err = fault.New(fault.Invalid, "FirewallRuleInvalidProtocol", "Protocol %s is not supported. Only protocol "+
				"values [%s] and their integer representation (0 to 255) are supported.",
				quote(raw), strings.Join(slices.Sorted(model.ProtocolNames()), ", "))
		}
		return name, err
	}
	return c
}

// lowerCase takes a text in any case.
func lowerCase(c codec[string]) codec[string] {
	inner := c.parse
	c.parse = func(raw any) (string, error) {
		s, err := inner(raw)
		return strings.ToLower(s), err
	}
	return c
}

// addressOrBlock is an address, or a block that may have host bits. It is shown as it was given.
func addressOrBlock() codec[model.FirewallAddress] {
	return codec[model.FirewallAddress]{
		shape: aText.formatted("cidr"),
		parse: func(raw any) (a model.FirewallAddress, err error) {
			s, _ := raw.(string)
			if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" && !ip.Is4In6() {
				return model.FirewallAddress{Prefix: netip.PrefixFrom(ip, ip.BitLen()), Plain: true}, nil
			}
			p, err := netip.ParsePrefix(s)
			if err != nil || p.Addr().Is4In6() {
				return a, fmt.Errorf("'%s' is neither a valid IP address, nor is it a valid IP subnet", quote(raw))
			}
			return model.FirewallAddress{Prefix: p}, nil
		},
		append: func(b []byte, a model.FirewallAddress) []byte { return appendString(b, a.Text()) },
		text:   model.FirewallAddress.Text,
		compare: func(a, b model.FirewallAddress) int {
			return cmp.Or(a.Prefix.Compare(b.Prefix), strings.Compare(a.Text(), b.Text()))
		},
	}
}

// portOrRange is a port, or the first and the last of a range with a colon between them. It is shown as a text.
func portOrRange() codec[model.PortRange] {
	text := func(r model.PortRange) string {
		switch {
		case r == model.PortRange{}:
			return ""
		case r.Single():
			return fmt.Sprint(r.First)
		}
		return rangeText(r)
	}
	return codec[model.PortRange]{
		shape:  aText,
		parse:  parsePortRange,
		append: func(b []byte, r model.PortRange) []byte { return appendString(b, text(r)) },
		text:   text,
		compare: func(a, b model.PortRange) int {
			return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
		},
	}
}
