package port

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// addresses finds the addresses of one port.
type addresses struct {
	r state.Reader
	c *auth.Caller
	n *model.Network
	p *model.Port // its MAC is set
	// all are the subnets of the network; subnets those of them from which the port may get addresses, in the order in
	// which they are tried: first those for its kind of port only, then the others, both in order of creation.
	all, subnets []*model.Subnet
	random       ipam.Random
	// chosen are those found so far: they are not in the state yet.
	chosen []netip.Addr
}

// addresses returns a finder for the port on its network.
func (s *Rules) addresses(r state.Reader, c *auth.Caller, n *model.Network, p *model.Port) *addresses {
	a := &addresses{r: r, c: c, n: n, p: p, random: s.opts.Random}
	for _, id := range n.SubnetIDs {
		sub, ok := state.Subnets.Get(r, id)
		if !ok {
			continue
		}
		a.all = append(a.all, sub)
		if ipam.Serves(sub, p.DeviceOwner) && (p.Binding.Host == "" || a.reaches(sub)) {
			a.subnets = append(a.subnets, sub)
		}
	}
	slices.SortStableFunc(a.subnets, func(x, y *model.Subnet) int {
		return min(len(y.ServiceTypes), 1) - min(len(x.ServiceTypes), 1)
	})
	return a
}

// reaches says whether addresses of the subnet work on the port's host: always, but in routed networks, whose subnets
// are each on one segment.
func (a *addresses) reaches(s *model.Subnet) bool {
	if s.SegmentID == "" {
		return true
	}
	i := slices.IndexFunc(a.n.Segments, func(g model.Segment) bool { return g.ID == s.SegmentID })
	return i >= 0 && mech.Reaches(a.r, a.p.Binding.Host, a.n.Segments[i])
}

// deferred says whether the addresses have to wait until the port's host is known: its network is routed, and which
// subnets work depends on the host.
func (a *addresses) deferred() bool {
	return a.p.Binding.Host == "" && len(a.subnets) > 0 &&
		!slices.ContainsFunc(a.subnets, func(s *model.Subnet) bool { return s.SegmentID == "" })
}

// checkCandidates says why there is no subnet to take addresses from, although the network has some. The faults are
// HostNotConnectedToAnySegment and IpAddressGenerationFailureNoMatchingSubnet, both 409.
func (a *addresses) checkCandidates() error {
	if len(a.subnets) > 0 || len(a.all) == 0 {
		return nil
	}
	host := a.p.Binding.Host
	if host != "" && !slices.ContainsFunc(a.all, a.reaches) {
		return fault.New(fault.Conflict, "HostNotConnectedToAnySegment", "Host %s is not connected to any segments on "+
			"routed provider network '%s'.  It should be connected to one.", host, a.n.ID)
	}
	return fault.New(fault.Conflict, "IpAddressGenerationFailureNoMatchingSubnet", "No valid service subnet for the "+
		"given device owner, network %s, service type %s.", a.n.ID, a.p.DeviceOwner)
}

// checkReach says whether the addresses that the port has work on its new host. The fault is
// HostNotCompatibleWithFixedIps (409).
func (a *addresses) checkReach() error {
	for _, f := range a.p.FixedIPs {
		i := slices.IndexFunc(a.all, func(s *model.Subnet) bool { return s.ID == f.SubnetID })
		if i >= 0 && !a.reaches(a.all[i]) {
			return fault.New(fault.Conflict, "HostNotCompatibleWithFixedIps", "Host %s is not connected to a segment where "+
				"the existing fixed_ips on port %s will function given the routed network topology.", a.p.Binding.Host, a.p.ID)
		}
	}
	return nil
}
