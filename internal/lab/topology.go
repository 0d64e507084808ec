package lab

import (
	"net/netip"
	"slices"
)

// Spec describes one host of the lab.
type Spec struct {
	Name string
	// Address is the host's address on the underlay.
	Address netip.Addr
	// Roles are those of the host's agent; a host without roles runs no agent.
	Roles []string
	// Server says that the control plane runs here.
	Server bool
}

// Topology returns the hosts of a lab, in the order in which they are shown.
// The addresses are from TEST-NET-1 (RFC 5737), which nobody uses for real.
func Topology() []Spec {
	return []Spec{
		{Name: "control", Address: netip.MustParseAddr("192.0.2.10"), Server: true},
		{Name: "network", Address: netip.MustParseAddr("192.0.2.20"), Roles: []string{"l2", "dhcp"}},
		{Name: "compute1", Address: netip.MustParseAddr("192.0.2.31"), Roles: []string{"l2"}},
		{Name: "compute2", Address: netip.MustParseAddr("192.0.2.32"), Roles: []string{"l2"}},
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
	// device is the name of the interface that each host has on the wire.
	device string
	// bits is the length of the prefix of the hosts' addresses.
	bits int
}

// wires are the networks that join the hosts. The first one carries the tunnels and the control traffic.
func wires() []wire {
	return []wire{{namespace: "underlay", device: "eth0", bits: 24}}
}
