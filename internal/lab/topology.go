package lab

import (
	"net/netip"
	"slices"
)

// Spec describes one host of the lab.
type Spec struct {
	Name string
	// Address is the host's address on the underlay; of one that is outside, its address on the physical network.
	Address netip.Addr
	// Roles are those of the host's agent; a host without roles runs no agent.
	Roles []string
	// Server says that the control plane runs here.
	Server bool
	// Outside says that the host is none of the cloud's: it plays the internet behind the physical network. Nothing runs
	// here.
	Outside bool
	// Others are further addresses of the host, on its loopback interface.
	Others []netip.Addr
}

// PhysicalNetwork is the name under which the hosts' agents know the wire to the outside.
const PhysicalNetwork = "physnet1"

// Internet is a host behind the physical network. It routes nothing and knows no network of tenants: what it can answer
// has an address of the physical network itself. Its other address lies beyond its first, as every site of the internet
// lies beyond a gateway.
func Internet() Spec {
	return Spec{
		Name: "internet", Address: netip.MustParseAddr("203.0.113.1"), Outside: true,
		Others: []netip.Addr{netip.MustParseAddr("198.51.100.80")},
	}
}

// Topology returns the hosts of a lab, in the order in which they are shown.
// The addresses are from the blocks for documentation (RFC 5737), which nobody uses for real.
func Topology() []Spec {
	return []Spec{
		{Name: "control", Address: netip.MustParseAddr("192.0.2.10"), Server: true},
		{Name: "network", Address: netip.MustParseAddr("192.0.2.20"), Roles: []string{"l2", "dhcp", "l3"}},
		{Name: "network2", Address: netip.MustParseAddr("192.0.2.21"), Roles: []string{"l2", "l3"}},
		{Name: "compute1", Address: netip.MustParseAddr("192.0.2.31"), Roles: []string{"l2", "dvr"}},
		{Name: "compute2", Address: netip.MustParseAddr("192.0.2.32"), Roles: []string{"l2", "dvr"}},
		Internet(),
	}
}

// specOf returns the host of that name.
func specOf(name string) (Spec, bool) {
	hosts := Topology()
	i := slices.IndexFunc(hosts, func(s Spec) bool { return s.Name == name })
	if i < 0 {
		return Spec{}, false
	}
	return hosts[i], true
}

// serverSpec returns the host on which the control plane runs.
func serverSpec() Spec {
	hosts := Topology()
	return hosts[slices.IndexFunc(hosts, func(s Spec) bool { return s.Server })]
}

// wire is a layer-2 network between hosts: a bridge in a namespace of its own, so that several labs with the same
// addresses stand side by side.
type wire struct {
	// namespace is the name of the pin, and of the bridge in it.
	namespace string
	// end is the interface that the host has on the wire, if it has one.
	end func(Spec) (end, bool)
}

// end is the interface of a host on a wire.
type end struct {
	device string
	// address is the zero Prefix for an interface without one.
	address netip.Prefix
}

// wires are the networks that join the hosts. The first one carries the tunnels and the control traffic; the other is the
// physical network outside, on which the hosts with agents have an interface for the external networks of the cloud.
func wires() []wire {
	return []wire{
		{namespace: "underlay", end: func(h Spec) (end, bool) {
			return end{"eth0", netip.PrefixFrom(h.Address, 24)}, !h.Outside
		}},
		{namespace: "outside", end: func(h Spec) (end, bool) {
			if h.Outside {
				return end{"eth0", netip.PrefixFrom(h.Address, 24)}, true
			}
			return end{device: ExternalDevice}, len(h.Roles) > 0
		}},
	}
}

// ExternalDevice is the interface of a host on the physical network.
const ExternalDevice = "eth1"
