package router

import (
	"iter"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Attached iterates over the router's ports: its interfaces and that of its gateway.
func Attached(r state.Reader, router *model.Router) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for _, id := range router.InterfaceIDs {
			if p, ok := state.Ports.Get(r, id); ok && !yield(p) {
				return
			}
		}
		if router.Gateway != nil {
			if p, ok := state.Ports.Get(r, router.Gateway.PortID); ok {
				yield(p)
			}
		}
	}
}

// Central iterates over those of the router's ports that one host at a time has.
func Central(r state.Reader, router *model.Router) iter.Seq[*model.Port] {
	return func(yield func(*model.Port) bool) {
		for _, id := range router.CentralIDs() {
			if p, ok := state.Ports.Get(r, id); ok && !yield(p) {
				return
			}
		}
	}
}

// checkOverlap says whether the router can reach the subnets besides those that it reaches already: the same address
// must not be in two places. The port with the id except does not count.
func checkOverlap(r state.Reader, router *model.Router, subnets []*model.Subnet, except string) error {
	for p := range Attached(r, router) {
		if p.ID == except {
			continue
		}
		for _, f := range p.FixedIPs {
			for _, s := range subnets {
				if s.ID == f.SubnetID {
					return bad("Router already has a port on subnet %s", s.ID)
				}
			}
		}
		for _, have := range reached(r, p) {
			for _, s := range subnets {
				if s.CIDR.Overlaps(have.CIDR) {
					return bad("Cidr %s of subnet %s overlaps with cidr %s of subnet %s", s.CIDR, s.ID, have.CIDR, have.ID)
				}
			}
		}
	}
	return nil
}

// reached are the subnets that a router reaches by one of its ports: those it has addresses of, and all of an external
// network.
func reached(r state.Reader, p *model.Port) []*model.Subnet {
	if p.DeviceOwner == model.DeviceOwnerRouterGateway {
		return slices.Collect(state.SubnetsByNetwork.List(r, p.NetworkID))
	}
	return subnetsOf(r, p)
}

// subnetsOf are the subnets that the port has addresses of, in order of its addresses.
func subnetsOf(r state.Reader, p *model.Port) []*model.Subnet {
	subnets := make([]*model.Subnet, 0, len(p.FixedIPs))
	for _, f := range p.FixedIPs {
		if s, ok := state.Subnets.Get(r, f.SubnetID); ok && !slices.Contains(subnets, s) {
			subnets = append(subnets, s)
		}
	}
	return subnets
}

// checkAdvertised refuses a subnet whose routers are others: it is configured for the advertisements of a router outside.
func checkAdvertised(s *model.Subnet) error {
	if s.IPVersion == 6 && s.IPv6RAMode == "" && s.IPv6AddressMode != "" {
		return bad("IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router", s.ID)
	}
	return nil
}

// interfaceIPv6 returns the interface that has IPv6 addresses of the network, or nil. There is at most one, so that its
// prefixes are announced together.
func interfaceIPv6(r state.Reader, router *model.Router, networkID string) *model.Port {
	for _, id := range router.InterfaceIDs {
		if p, ok := state.Ports.Get(r, id); ok && p.NetworkID == networkID && hasIPv6(p) {
			return p
		}
	}
	return nil
}

func hasIPv6(p *model.Port) bool {
	return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP.Is6() })
}
