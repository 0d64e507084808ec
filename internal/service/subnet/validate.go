package subnet

import (
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
)

// refused are the blocks that no subnet may overlap with, since hosts treat their addresses in a way of their own.
var refused = []struct {
	block netip.Prefix
	kind  string
}{
	{netip.MustParsePrefix("224.0.0.0/4"), "Multicast"},
	{netip.MustParsePrefix("ff00::/8"), "Multicast"},
	{netip.MustParsePrefix("127.0.0.0/8"), "Loopback"},
	{netip.MustParsePrefix("::1/128"), "Loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "Link-local"},
	{netip.MustParsePrefix("fe80::/10"), "Link-local"},
	{netip.MustParsePrefix("0.0.0.0/8"), "Unspecified"},
	{netip.MustParsePrefix("::/128"), "Unspecified"},
	{netip.MustParsePrefix("255.255.255.255/32"), "Broadcast"},
}

// checkBlock checks the block of a new subnet by itself.
func checkBlock(s *model.Subnet) error {
	if err := checkVersion(s, "cidr", s.CIDR.Addr(), s.CIDR); err != nil {
		return err
	}
	if s.CIDR.Bits() == 0 {
		return fault.Operation("0 is not allowed as CIDR prefix length")
	}
	for _, r := range refused {
		if r.block.Overlaps(s.CIDR) {
			return fault.Operation("%s IP subnet is not supported: cidr '%s' has addresses of %s", r.kind, s.CIDR, r.block)
		}
	}
	if s.EnableDHCP {
		if err := checkDHCPFits(s); err != nil {
			return err
		}
	}
	return checkModes(s)
}

// checkDHCPFits refuses DHCP where the block has no room for a server, a gateway and a client.
func checkDHCPFits(s *model.Subnet) error {
	if s.CIDR.Addr().BitLen()-s.CIDR.Bits() < 2 {
		return fault.Operation("Subnet has a prefix length that is incompatible with DHCP service enabled")
	}
	return nil
}

// checkModes checks the IPv6 modes, which do not change later.
func checkModes(s *model.Subnet) error {
	ra, address := s.IPv6RAMode, s.IPv6AddressMode
	switch {
	case s.IPVersion == 4 && ra != "":
		return fault.Operation("ipv6_ra_mode is not valid when ip_version is 4")
	case s.IPVersion == 4 && address != "":
		return fault.Operation("ipv6_address_mode is not valid when ip_version is 4")
	case (ra != "" || address != "") && !s.EnableDHCP:
		return fault.Operation("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	case ra != "" && address != "" && ra != address:
		return fault.Operation("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. "+
			"If both attributes are set, they must be the same value", ra, address)
	case ipam.Automatic(s) && s.CIDR.Bits() != 64:
		return fault.Operation("Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, "+
			"which requires the prefix to be /64", s.CIDR)
	}
	return nil
}

// checkValues checks the values that may change during the life of a subnet, against its block and version.
func checkValues(s *model.Subnet) error {
	if g := s.GatewayIP; g.IsValid() {
		if err := checkVersion(s, "gateway_ip", g, g); err != nil {
			return err
		}
		if g.IsMulticast() || g.IsLoopback() || g.IsUnspecified() ||
			g.Is4() && s.CIDR.Contains(g) && !ipam.Usable(s.CIDR, g) {
			return fault.Operation("Gateway is not valid on subnet")
		}
	}
	for _, a := range s.DNSNameservers {
		if err := checkVersion(s, "dns_nameserver", a, a); err != nil {
			return err
		}
	}
	for _, r := range s.HostRoutes {
		if err := checkVersion(s, "destination", r.Destination.Addr(), r.Destination); err != nil {
			return err
		}
		if err := checkVersion(s, "nexthop", r.NextHop, r.NextHop); err != nil {
			return err
		}
	}
	return nil
}

// checkPools checks the pools against the block and the gateway.
func checkPools(s *model.Subnet) error {
	if err := ipam.ValidatePools(s.CIDR, s.AllocationPools); err != nil {
		return err
	}
	return ipam.GatewayOutside(s.GatewayIP, s.AllocationPools)
}

// checkVersion checks that a value, of which ip is the address, is of the subnet's IP version.
func checkVersion(s *model.Subnet, name string, ip netip.Addr, value any) error {
	if ip.Is4() != (s.IPVersion == 4) {
		return fault.Operation("%s '%s' does not match the ip_version '%d'", name, value, s.IPVersion)
	}
	return nil
}
