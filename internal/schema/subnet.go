package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

// The most items that lists of a subnet may have.
const (
	maxNameservers = 5
	maxHostRoutes  = 20
	maxPools       = 64

	maxServiceTypes = 32
)

func subnetMeta(s *model.Subnet) *model.Meta { return &s.Meta }

// Subnet declares the subnets of the API.
var Subnet = (&Resource[model.Subnet]{
	Name: "subnet", Plural: "subnets", Kind: "Subnet",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Quota:      "subnet",
	Virtual:    tagFilters(subnetMeta, map[string]func(*model.Subnet, string) bool{}),
	Attributes: slices.Concat(
		identity(subnetMeta),
		[]*Attribute[model.Subnet]{
			attribute("network_id", Post|shows, id(), func(s *model.Subnet) *string { return &s.NetworkID },
				required, help("The network it belongs to.")),
			attribute("ip_version", Post|shows, ipVersion(), func(s *model.Subnet) *int { return &s.IPVersion },
				required, help("4 or 6.")),
			attribute("cidr", Post|shows, nullable(prefix()), func(s *model.Subnet) *netip.Prefix { return &s.CIDR },
				help("The block of addresses, as in 10.0.0.0/24; not given: one is carved from a pool.")),
			attribute("subnetpool_id", Post|shows, nullable(id()), func(s *model.Subnet) *string { return &s.SubnetPoolID },
				extension("subnet_allocation"), help("The pool that the block is from.")),
			attribute("use_default_subnetpool", Post|Hidden, boolean(), func(s *model.Subnet) *bool { return &s.UseDefaultPool },
				extension("default-subnetpools"), byDefault(false), help("Whether the block is to be from the default pool.")),
			attribute("prefixlen", Post|Hidden, integer(0, 128), func(s *model.Subnet) *int { return &s.PrefixLen },
				extension("subnet_allocation"), help("The prefix length of the block to be carved; not given: the pool's.")),
			attribute("gateway_ip", Post|Put|shows, nullable(address()), func(s *model.Subnet) *netip.Addr { return &s.GatewayIP },
				help("The address of the gateway; null: none; not given: the first address.")),
			attribute("allocation_pools", Post|Put, list(maxPools, pool()),
				func(s *model.Subnet) *[]model.AllocationPool { return &s.AllocationPools },
				help("The ranges from which ports get addresses; not given: all but the gateway.")),
			attribute("dns_nameservers", Post|Put, list(maxNameservers, address()),
				func(s *model.Subnet) *[]netip.Addr { return &s.DNSNameservers }, help("The DNS servers that DHCP announces.")),
			attribute("host_routes", Post|Put, list(maxHostRoutes, route()),
				func(s *model.Subnet) *[]model.HostRoute { return &s.HostRoutes }, help("The routes that DHCP announces.")),
			attribute("enable_dhcp", Post|Put|shows, boolean(), func(s *model.Subnet) *bool { return &s.EnableDHCP },
				byDefault(true), help("Whether DHCP serves it.")),
			attribute("ipv6_ra_mode", Post|shows, nullable(text(32)), func(s *model.Subnet) *string { return &s.IPv6RAMode },
				oneOf(ipv6Modes...), help("Who sends router advertisements, and with which flags.")),
			attribute("ipv6_address_mode", Post|shows, nullable(text(32)),
				func(s *model.Subnet) *string { return &s.IPv6AddressMode },
				oneOf(ipv6Modes...), help("How workloads get their addresses.")),
			attribute("service_types", Post|Put, list(maxServiceTypes, serviceType()),
				func(s *model.Subnet) *[]string { return &s.ServiceTypes }, extension("subnet-service-types"), enforced,
				help("The device owners whose ports get addresses here; none: all.")),
			attribute("segment_id", Post|Put|shows, nullable(id()), func(s *model.Subnet) *string { return &s.SegmentID },
				extension("segment"), enforced, restricted, help("The segment of a routed network where its addresses are.")),
			attribute("dns_publish_fixed_ip", Post|Put, boolean(), func(s *model.Subnet) *bool { return &s.DNSPublishFixedIP },
				extension("subnet-dns-publish-fixed-ip"), byDefault(false),
				help("Whether its addresses may be published in an external DNS.")),
		},
		standard(subnetMeta),
	),
}).ready()

var ipv6Modes = []string{"", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"}

func ipVersion() codec[int] {
	c := integer(4, 6)
	parse := c.parse
	c.parse = func(raw any) (int, error) {
		v, err := parse(raw)
		if err != nil || v == 5 {
			return 0, fmt.Errorf("'%s' is not in [4, 6]", quote(raw))
		}
		return v, nil
	}
	return c
}

// serviceOwners are how the device owners begin that a subnet can be reserved for.
var serviceOwners = []string{"network:", "neutron:", "compute:", "trunk:", "baremetal:"}

// serviceType is a device owner for which a subnet is reserved.
func serviceType() codec[string] {
	c := text(255)
	parse := c.parse
	c.parse = func(raw any) (string, error) {
		s, err := parse(raw)
		if err != nil {
			return "", fault.New(fault.Invalid, "InvalidInputSubnetServiceType",
				"Subnet service type %s is not a string.", quote(raw))
		}
		if !slices.ContainsFunc(serviceOwners, func(owner string) bool { return strings.HasPrefix(s, owner) }) {
			return "", fault.New(fault.Invalid, "InvalidSubnetServiceType",
				"Subnet service type %s does not correspond to a valid device owner.", clip(s))
		}
		return s, nil
	}
	return c
}

func pool() codec[model.AllocationPool] {
	return object([]Member{must("start", address().shape), must("end", address().shape)},
		func(m map[string]any) (p model.AllocationPool, err error) {
			if p.Start, err = parseAddr(m["start"]); err != nil {
				return p, fmt.Errorf("start: %w", err)
			}
			if p.End, err = parseAddr(m["end"]); err != nil {
				return p, fmt.Errorf("end: %w", err)
			}
			return p, nil
		},
		func(p model.AllocationPool) any { return p })
}

func route() codec[model.HostRoute] {
	return object([]Member{must("destination", prefix().shape), must("nexthop", address().shape)},
		func(m map[string]any) (r model.HostRoute, err error) {
			if r.Destination, err = parsePrefix(m["destination"]); err != nil {
				return r, fmt.Errorf("destination: %w", err)
			}
			if r.NextHop, err = parseAddr(m["nexthop"]); err != nil {
				return r, fmt.Errorf("nexthop: %w", err)
			}
			if r.Destination.Addr().Is4() != r.NextHop.Is4() {
				return r, errors.New("destination and nexthop are not of the same IP version")
			}
			return r, nil
		},
		func(r model.HostRoute) any { return r })
}

// fixedIP is an address wanted for a port: a subnet, an address, or both.
func fixedIP() codec[model.FixedIP] {
	c := object([]Member{may("subnet_id", id().shape), may("ip_address", address().shape)},
		func(m map[string]any) (f model.FixedIP, err error) {
			if raw := m["subnet_id"]; raw != nil {
				if f.SubnetID, err = id().parse(raw); err != nil {
					return f, fmt.Errorf("subnet_id: %w", err)
				}
			}
			if raw := m["ip_address"]; raw != nil {
				if f.IP, err = parseAddr(raw); err != nil {
					return f, fmt.Errorf("ip_address: %w", err)
				}
			}
			if f.SubnetID == "" && !f.IP.IsValid() {
				return f, errors.New("an item needs subnet_id or ip_address")
			}
			return f, nil
		},
		func(f model.FixedIP) any { return f })
	c.append = func(b []byte, f model.FixedIP) []byte {
		b = appendString(append(b, `{"subnet_id":`...), f.SubnetID)
		b = f.IP.AppendTo(append(b, `,"ip_address":"`...))
		return append(b, `"}`...)
	}
	c.text = func(f model.FixedIP) string {
		// Two equal requests for any address of a subnet are two addresses, so the text has to tell subnets only when
		// an address is given.
		if !f.IP.IsValid() {
			return "subnet_id=" + f.SubnetID
		}
		return "ip_address=" + f.IP.String()
	}
	return c
}
