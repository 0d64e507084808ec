package compile

import (
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// dhcpNetwork: the host answers DHCP on the network, through the port that its binding names and that is bound to it.
func (c *Compiler) dhcpNetwork(r state.Reader, host, networkID string) *sb.DhcpNetwork {
	b, ok := state.DHCPBindings.Get(r, bindingID(networkID, host))
	if !ok {
		return nil
	}
	p, ok := state.Ports.Get(r, b.PortID)
	if !ok || p.NetworkID != networkID || !state.HasPort(r, p, host) {
		return nil
	}
	n, ok := state.Networks.Get(r, networkID)
	if !ok {
		return nil
	}
	doc := &sb.DhcpNetwork{
		NetworkId: networkID,
		PortId:    p.ID,
		Mac:       p.MAC,
		Mtu:       unsigned(n.MTU),
		DnsDomain: n.DNSDomain,
	}
	if doc.DnsDomain == "" {
		doc.DnsDomain = c.opts.DNSDomain
	}
	for s := range state.SubnetsByNetwork.List(r, networkID) {
		if d := c.dhcpSubnet(s, p); d != nil {
			doc.Subnets = append(doc.Subnets, d)
		}
	}
	return doc
}

// dhcpSubnet is nil for a subnet in which the DHCP port has no address: the server cannot be reached there.
func (c *Compiler) dhcpSubnet(s *model.Subnet, server *model.Port) *sb.DhcpSubnet {
	for _, f := range server.FixedIPs {
		if f.SubnetID != s.ID {
			continue
		}
		d := &sb.DhcpSubnet{
			SubnetId:     s.ID,
			Cidr:         s.CIDR.String(),
			ServerIp:     f.IP.String(),
			LeaseSeconds: c.opts.LeaseSeconds,
			EnableDhcp:   handsOut(s),
		}
		if s.GatewayIP.IsValid() {
			d.GatewayIp = s.GatewayIP.String()
		}
		for _, a := range s.DNSNameservers {
			d.DnsNameservers = append(d.DnsNameservers, a.String())
		}
		for _, h := range s.HostRoutes {
			route := &sb.Route{Destination: h.Destination.String(), Nexthop: h.NextHop.String()}
			d.HostRoutes = append(d.HostRoutes, route)
		}
		return d
	}
	return nil
}

// handsOut says whether DHCP gives the addresses of the subnet to its ports. An IPv6 subnet without any mode is treated
// like a stateful one, as Neutron does; in the other modes hosts make their addresses themselves.
func handsOut(s *model.Subnet) bool {
	if !s.EnableDHCP {
		return false
	}
	if s.IPVersion != 6 {
		return true
	}
	return s.IPv6AddressMode == "dhcpv6-stateful" || s.IPv6AddressMode == "" && s.IPv6RAMode == ""
}

// dhcpHost: the port gets its addresses from this host. DHCP servers' own ports do not.
func dhcpHost(r state.Reader, host, id string) *sb.DhcpHost {
	p, ok := state.Ports.Get(r, id)
	if !ok || p.MAC == "" || p.DeviceOwner == model.DeviceOwnerDHCP {
		return nil
	}
	b, ok := state.DHCPBindings.Get(r, bindingID(p.NetworkID, host))
	if !ok || b.PortID == id {
		return nil
	}
	doc := &sb.DhcpHost{PortId: p.ID, NetworkId: p.NetworkID, Mac: p.MAC, Hostname: p.DNSName}
	for _, f := range p.FixedIPs {
		s, ok := state.Subnets.Get(r, f.SubnetID)
		if !ok || !handsOut(s) {
			continue
		}
		doc.Addresses = append(doc.Addresses, &sb.DhcpAddress{SubnetId: f.SubnetID, Ip: f.IP.String()})
	}
	if len(doc.Addresses) == 0 {
		return nil
	}
	if doc.Hostname == "" {
		doc.Hostname = hostname(doc.Addresses[0].Ip)
	}
	return doc
}

// hostname is what Neutron calls a workload without a dns_name: host-10-0-0-3.
func hostname(ip string) string { return "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(ip) }
