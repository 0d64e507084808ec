package ipam

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/model"
)

// The modes of IPv6 subnets.
const (
	SLAAC           = "slaac"
	DHCPv6Stateful  = "dhcpv6-stateful"
	DHCPv6Stateless = "dhcpv6-stateless"
)

// Automatic says whether ports make their addresses in the subnet themselves, from the announced prefix and their MAC.
// All ports of the network then have one, but those of routers.
func Automatic(s *model.Subnet) bool {
	auto := func(mode string) bool { return mode == SLAAC || mode == DHCPv6Stateless }
	return s.IPVersion == 6 && (auto(s.IPv6AddressMode) || auto(s.IPv6RAMode))
}

// EUI64 is the address that a device with the MAC makes itself in the block (RFC 4291, appendix A). The block has to be
// an IPv6 /64 and the MAC one of 48 bits.
func EUI64(cidr netip.Prefix, mac string) (netip.Addr, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return netip.Addr{}, fmt.Errorf("%q is not a MAC address of 48 bits", mac)
	}
	if !cidr.Addr().Is6() || cidr.Bits() != 64 {
		return netip.Addr{}, fmt.Errorf("%s is not an IPv6 block of /64", cidr)
	}
	a := cidr.Masked().Addr().As16()
	a[8], a[9], a[10], a[11] = hw[0]^2, hw[1], hw[2], 0xff
	a[12], a[13], a[14], a[15] = 0xfe, hw[3], hw[4], hw[5]
	return netip.AddrFrom16(a), nil
}
