package state

import (
	"encoding/hex"
	"net/netip"
	"strconv"

	"github.com/neutrino-net/neutrino/internal/model"
)

// The tables, and the indexes by which the rules and the compiler look things up. Adding a kind means a line here and a
// struct in package model.
var (
	Networks          = newTable[model.Network]("network")
	NetworksByProject = newIndex(Networks, func(n *model.Network) []string { return []string{n.ProjectID} })
	NetworksByName    = newIndex(Networks, func(n *model.Network) []string { return []string{n.Name} })
	// NetworksShared finds the networks that callers of other projects may see, under the key "shared" or "external".
	NetworksShared = newIndex(Networks, func(n *model.Network) []string {
		var keys []string
		if n.Shared {
			keys = append(keys, "shared")
		}
		if n.External {
			keys = append(keys, "external")
		}
		return keys
	})
	// NetworksBySegment finds who has booked a segment: the key is SegmentKey.
	NetworksBySegment = newIndex(Networks, func(n *model.Network) []string {
		keys := make([]string, 0, len(n.Segments))
		for _, s := range n.Segments {
			keys = append(keys, SegmentKey(s.NetworkType, s.PhysicalNetwork, s.SegmentationID))
		}
		return keys
	})
	// NetworksByQoSPolicy finds the networks that have the QoS policy.
	NetworksByQoSPolicy = newIndex(Networks, func(n *model.Network) []string { return optional(n.QoSPolicyID) })

	Subnets          = newTable[model.Subnet]("subnet")
	SubnetsByProject = newIndex(Subnets, func(s *model.Subnet) []string { return []string{s.ProjectID} })
	SubnetsByNetwork = newIndex(Subnets, func(s *model.Subnet) []string { return []string{s.NetworkID} })

	Ports          = newTable[model.Port]("port")
	PortsByProject = newIndex(Ports, func(p *model.Port) []string { return []string{p.ProjectID} })
	PortsByNetwork = newIndex(Ports, func(p *model.Port) []string { return []string{p.NetworkID} })
	PortsByName    = newIndex(Ports, func(p *model.Port) []string { return optional(p.Name) })
	PortsByDevice  = newIndex(Ports, func(p *model.Port) []string { return optional(p.DeviceID) })
	// PortsByMAC has the key "<network id>/<mac>".
	PortsByMAC = newIndex(Ports, func(p *model.Port) []string { return []string{p.NetworkID + "/" + p.MAC} })
	// PortsByIP has the key IPKey, which sorts like the addresses of a subnet.
	PortsByIP = newIndex(Ports, func(p *model.Port) []string {
		keys := make([]string, 0, len(p.FixedIPs))
		for _, f := range p.FixedIPs {
			keys = append(keys, IPKey(f.SubnetID, f.IP))
		}
		return keys
	})
	// PortsByHost finds the ports bound to a host alone (not those whose binding failed); HostPorts finds all that it has.
	PortsByHost = newIndex(Ports, func(p *model.Port) []string {
		if !p.Binding.Bound() || p.Binding.GatewayGroup != "" {
			return nil
		}
		return []string{p.Binding.Host}
	})
	// PortsByNetworkHost finds the ports of a network that are bound to a host: "<network id>/<host>".
	PortsByNetworkHost = newIndex(Ports, func(p *model.Port) []string {
		if !p.Binding.Bound() || p.Binding.GatewayGroup != "" {
			return nil
		}
		return []string{p.NetworkID + "/" + p.Binding.Host}
	})
	// PortsByWantedHost finds the ports that ask for a host, whether or not their binding to it has failed.
	PortsByWantedHost = newIndex(Ports, func(p *model.Port) []string { return optional(p.Binding.Host) })
	// PortsByQoSPolicy finds the ports that have the QoS policy themselves.
	PortsByQoSPolicy = newIndex(Ports, func(p *model.Port) []string { return optional(p.QoSPolicyID) })

	Agents       = newTable[model.Agent]("agent")
	AgentsByHost = newIndex(Agents, func(a *model.Agent) []string { return []string{a.Host} })

	DHCPBindings          = newTable[model.DHCPBinding]("dhcp-binding")
	DHCPBindingsByNetwork = newIndex(DHCPBindings, func(b *model.DHCPBinding) []string { return []string{b.NetworkID} })
	DHCPBindingsByHost    = newIndex(DHCPBindings, func(b *model.DHCPBinding) []string { return []string{b.Host} })

	UsedTokens = newTable[model.UsedToken]("used-token")
	Hosts      = newTable[model.Host]("host")
)

// SegmentKey identifies a segment among all networks.
func SegmentKey(t model.NetworkType, physicalNetwork string, id int) string {
	return string(t) + "/" + physicalNetwork + "/" + strconv.Itoa(id)
}

// IPKey identifies an address of a subnet; keys of one subnet sort like their addresses.
func IPKey(subnetID string, ip netip.Addr) string {
	return subnetID + "/" + hex.EncodeToString(ip.AsSlice())
}

func optional(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
