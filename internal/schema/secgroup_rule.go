package schema

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

func ruleMeta(r *model.SecurityGroupRule) *model.Meta { return &r.Meta }

// SecurityGroupRule declares the rules of security groups. Rules cannot be changed, only be made and deleted. How their
// values have to fit together is decided in package service/secgroup.
var SecurityGroupRule = (&Resource[model.SecurityGroupRule]{
	Name: "security_group_rule", Plural: "security_group_rules", Kind: "SecurityGroupRule", Path: "/security-group-rules",
	Extension:  "security-group",
	Operations: CanCreate | CanDelete | CanBulk,
	Quota:      "security_group_rule",
	Attributes: slices.Concat(
		unnamed(identity(ruleMeta)),
		[]*Attribute[model.SecurityGroupRule]{
			attribute("security_group_id", Post|shows, text(36), func(r *model.SecurityGroupRule) *string { return &r.GroupID },
				required, help("The group that it is a rule of.")),
			attribute("direction", Post|shows, text(16),
				func(r *model.SecurityGroupRule) *string { return (*string)(&r.Direction) },
				required, oneOf(string(model.Ingress), string(model.Egress)),
				help("Whether it is about traffic to the ports or from them.")),
			attribute("ethertype", Post|shows, etherType(),
				func(r *model.SecurityGroupRule) *model.EtherType { return &r.EtherType },
				byDefault(string(model.IPv4)), help("IPv4 or IPv6.")),
			attribute("protocol", Post|shows, nullable(protocol()),
				func(r *model.SecurityGroupRule) *string { return &r.Protocol },
				help("The IP protocol by name or number, for instance tcp; null: any.")),
			attribute("port_range_min", Post|shows, portNumber(),
				func(r *model.SecurityGroupRule) **int { return &r.PortMin },
				help("The first destination port, or the ICMP type.")),
			attribute("port_range_max", Post|shows, portNumber(),
				func(r *model.SecurityGroupRule) **int { return &r.PortMax },
				help("The last destination port, or the ICMP code.")),
			attribute("remote_ip_prefix", Post|shows, nullable(remotePrefix()),
				func(r *model.SecurityGroupRule) *netip.Prefix { return &r.RemotePrefix },
				help("The addresses of the other end, as in 10.0.0.0/24.")),
			computed("normalized_cidr", shows, nullable(prefix()),
				func(r *model.SecurityGroupRule) netip.Prefix { return r.RemotePrefix.Masked() },
				extension("security-groups-normalized-cidr"), help("remote_ip_prefix without its host bits.")),
			attribute("remote_group_id", Post|shows, nullable(text(255)),
				func(r *model.SecurityGroupRule) *string { return &r.RemoteGroupID },
				help("The security group of the other end.")),
			attribute("remote_address_group_id", Post|shows, nullable(text(255)),
				func(r *model.SecurityGroupRule) *string { return &r.RemoteAddressGroupID },
				extension("security-groups-remote-address-group"), help("The address group of the other end.")),
			computed("belongs_to_default_sg", shows, boolean(), func(r *model.SecurityGroupRule) bool { return r.OfDefault },
				extension("security-groups-rules-belongs-to-default-sg"), help("Whether its group is a default group.")),
		},
		standard(ruleMeta),
	),
}).ready()

// unnamed leaves out the name, which not all resources have.
func unnamed[T any](attributes []*Attribute[T]) []*Attribute[T] {
	return slices.DeleteFunc(attributes, func(a *Attribute[T]) bool { return a.Name == "name" })
}

// etherType is IPv4 or IPv6 in any case.
func etherType() codec[model.EtherType] {
	return codec[model.EtherType]{
		shape: aText,
		parse: func(raw any) (model.EtherType, error) {
			s, _ := raw.(string)
			for _, t := range []model.EtherType{model.IPv4, model.IPv6} {
				if strings.EqualFold(s, string(t)) {
					return t, nil
				}
			}
			return "", fault.New(fault.Invalid, "SecurityGroupRuleInvalidEtherType",
				"Security group rule for ethertype '%s' not supported. Allowed values are ['IPv4', 'IPv6'].", quote(raw))
		},
		append:  func(b []byte, v model.EtherType) []byte { return appendString(b, string(v)) },
		text:    func(v model.EtherType) string { return string(v) },
		compare: cmp.Compare[model.EtherType],
	}
}

// protocol is a name in lower case or a number in digits. The empty text stands for any protocol.
func protocol() codec[string] {
	c := text(16)
	c.parse = func(raw any) (string, error) {
		var s string
		switch v := raw.(type) {
		case string:
			s = strings.ToLower(v)
		case json.Number:
			s = v.String()
		}
		if s == "any" {
			return "", nil
		}
		if number, ok := model.ProtocolNumber(s); ok {
			if _, err := strconv.Atoi(s); err == nil {
				s = strconv.Itoa(number) // one spelling: 6, and not +6 or 06
			}
			return s, nil
		}
		return "", fault.New(fault.Invalid, "SecurityGroupRuleInvalidProtocol", "Security group rule protocol %s not "+
			"supported. Only protocol values [%s] and integer representations [0 to 255] are supported.",
			quote(raw), strings.Join(slices.Sorted(model.ProtocolNames()), ", "))
	}
	return c
}

// portNumber is a port, an ICMP type or an ICMP code: 0 to 65535, or null.
func portNumber() codec[*int] {
	number := integer(0, 65535)
	c := codec[*int]{
		shape: number.shape.orNull(),
		parse: func(raw any) (*int, error) {
			if raw == nil {
				return nil, nil
			}
			n, err := number.parse(raw)
			if err != nil {
				return nil, fault.New(fault.Invalid, "SecurityGroupInvalidPortValue", "Invalid value for port %s", quote(raw))
			}
			return &n, nil
		},
		append: func(b []byte, v *int) []byte {
			if v == nil {
				return append(b, "null"...)
			}
			return number.append(b, *v)
		},
		text: func(v *int) string {
			if v == nil {
				return ""
			}
			return strconv.Itoa(*v)
		},
		compare: func(a, b *int) int {
			switch {
			case a == nil && b == nil:
				return 0
			case a == nil:
				return -1
			case b == nil:
				return 1
			}
			return cmp.Compare(*a, *b)
		},
	}
	return c
}

// remotePrefix is an address block that may have host bits; a single address is a block of its own. The empty text is
// as good as null.
func remotePrefix() codec[netip.Prefix] {
	c := prefix()
	c.text = prefixText
	c.parse = func(raw any) (netip.Prefix, error) {
		s, isText := raw.(string)
		if isText && s == "" {
			return netip.Prefix{}, nil
		}
		p, err := netip.ParsePrefix(s)
		if ip, single := netip.ParseAddr(s); single == nil && ip.Zone() == "" {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return netip.Prefix{}, fault.New(fault.Invalid, "InvalidCIDR", "Invalid CIDR %s given as IP prefix.", quote(raw))
		}
		return p, nil
	}
	return c
}

// prefixText is empty for the zero prefix.
func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
