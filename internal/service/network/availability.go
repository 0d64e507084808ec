package network

import (
	"iter"
	"math/big"
	"slices"

	"go4.org/netipx"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/addressscope"
	"github.com/neutrino-net/neutrino/internal/state"
)

// See makes networks look as the caller may see them (View), and shows what follows from their subnets and their DHCP
// servers. It is made for rest.Collection.For.
func See(r state.Reader, c *auth.Caller) func(*model.Network) *model.Network {
	view := View(r, c)
	return func(n *model.Network) *model.Network {
		if view != nil {
			n = view(n)
		}
		seen := *n
		seen.View = model.NetworkView{Zones: zones(r, n)}
		if len(n.SubnetIDs) > 0 {
			seen.View.IPv4Scope = addressscope.OfNetwork(r, n.ID, 4)
			seen.View.IPv6Scope = addressscope.OfNetwork(r, n.ID, 6)
			first, ok := state.Subnets.Get(r, n.SubnetIDs[0])
			seen.View.Routed = ok && first.SegmentID != ""
		}
		return &seen
	}
}

// zones are the availability zones where the network's DHCP servers are.
func zones(r state.Reader, n *model.Network) (names []string) {
	for b := range state.DHCPBindingsByNetwork.List(r, n.ID) {
		for a := range state.AgentsByHost.List(r, b.Host) {
			if a.Role == model.RoleDHCP && a.AvailabilityZone != "" && !slices.Contains(names, a.AvailabilityZone) {
				names = append(names, a.AvailabilityZone)
			}
		}
	}
	return names
}

// checkZones checks that there are DHCP agents in each of the zones. The fault is AvailabilityZoneNotFound (404).
func checkZones(r state.Reader, names []string) error {
	for _, name := range names {
		found := false
		for a := range state.Agents.All(r) {
			if found = a.Role == model.RoleDHCP && a.AvailabilityZone == name; found {
				break
			}
		}
		if !found {
			return fault.New(fault.NotFound, "AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", name)
		}
	}
	return nil
}

// Zones yields the zones in which there are agents for networks or routers.
func Zones(r state.Reader, _ *auth.Caller) iter.Seq[*model.AvailabilityZone] {
	resources := map[model.Role]string{model.RoleDHCP: "network", model.RoleL3: "router"}
	known := map[string]*model.AvailabilityZone{}
	for a := range state.Agents.All(r) {
		resource := resources[a.Role]
		if resource == "" || a.AvailabilityZone == "" {
			continue
		}
		id := resource + "/" + a.AvailabilityZone
		z := known[id]
		if z == nil {
			z = &model.AvailabilityZone{Meta: model.Meta{ID: id, Name: a.AvailabilityZone}, Resource: resource}
			known[id] = z
		}
		z.Available = z.Available || a.AdminStateUp
	}
	return func(yield func(*model.AvailabilityZone) bool) {
		for _, z := range known {
			if !yield(z) {
				return
			}
		}
	}
}

// Availabilities yields for each network how many addresses it has and how many are used.
func Availabilities(r state.Reader, _ *auth.Caller) iter.Seq[*model.IPAvailability] {
	return func(yield func(*model.IPAvailability) bool) {
		for n := range state.Networks.All(r) {
			if !yield(availability(r, n)) {
				return
			}
		}
	}
}

// Availability is that of one network.
func Availability(r state.Reader, _ *auth.Caller, id string) (*model.IPAvailability, bool) {
	n, ok := state.Networks.Get(r, id)
	if !ok {
		return nil, false
	}
	return availability(r, n), true
}

// availability costs as much as the network has subnets and pools: used addresses are counted when ports change.
func availability(r state.Reader, n *model.Network) *model.IPAvailability {
	a := &model.IPAvailability{
		Meta: model.Meta{ID: n.ID, Name: n.Name, ProjectID: n.ProjectID}, Subnets: []model.SubnetAvailability{},
	}
	for _, id := range n.SubnetIDs {
		s, ok := state.Subnets.Get(r, id)
		if !ok {
			continue
		}
		a.Subnets = append(a.Subnets, model.SubnetAvailability{
			ID: s.ID, Name: s.Name, CIDR: s.CIDR.String(), IPVersion: s.IPVersion,
			Total: poolSize(s), Used: state.AddressesBySubnet.Count(r, s.ID),
		})
	}
	return sum(a)
}

// OfVersion returns the availability with the subnets of the IP version only.
func OfVersion(a *model.IPAvailability, ipVersion int) *model.IPAvailability {
	seen := *a
	seen.Subnets = slices.DeleteFunc(slices.Clone(a.Subnets), func(s model.SubnetAvailability) bool {
		return s.IPVersion != ipVersion
	})
	return sum(&seen)
}

func sum(a *model.IPAvailability) *model.IPAvailability {
	a.Total, a.Used = new(big.Int), 0
	for _, s := range a.Subnets {
		a.Total.Add(a.Total, s.Total)
		a.Used += s.Used
	}
	return a
}

// poolSize is how many addresses the pools of the subnet have; without pools, how many its block has.
func poolSize(s *model.Subnet) *big.Int {
	ranges := make([]netipx.IPRange, 0, len(s.AllocationPools))
	for _, p := range s.AllocationPools {
		ranges = append(ranges, netipx.IPRangeFrom(p.Start, p.End))
	}
	if len(ranges) == 0 {
		ranges = append(ranges, netipx.RangeOfPrefix(s.CIDR))
	}
	total := new(big.Int)
	for _, x := range ranges {
		from, to := new(big.Int).SetBytes(x.From().AsSlice()), new(big.Int).SetBytes(x.To().AsSlice())
		total.Add(total, to.Sub(to, from).Add(to, big.NewInt(1)))
	}
	return total
}
