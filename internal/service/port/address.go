package port

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/state"
)

// any finds the addresses of a port that asks for none in particular: one of IPv4 and one of IPv6, and those that it
// makes itself. The fault, where all subnets of a version are full, is IpAddressGenerationFailure (409).
func (a *addresses) any() ([]model.FixedIP, error) {
	if err := a.checkCandidates(); err != nil {
		return nil, err
	}
	var ips []model.FixedIP
	for _, version := range []int{4, 6} {
		candidates := slices.DeleteFunc(slices.Clone(a.subnets), func(s *model.Subnet) bool {
			return s.IPVersion != version || ipam.Automatic(s)
		})
		if len(candidates) == 0 {
			continue
		}
		found := false
		for _, s := range candidates {
			if ip, err := a.allocate(s); err == nil {
				ips = append(ips, ip)
				found = true
				break
			}
		}
		if !found {
			return nil, fault.New(fault.Conflict, "IpAddressGenerationFailure",
				"No more IP addresses available on network %s.", a.n.ID)
		}
	}
	return a.automatic(ips, nil)
}

// wanted finds the addresses for a list of wishes, each an address, a subnet, or both. What the port has already (old
// is the port as stored, nil for a new one) stays, where a wish is for it. An empty list is granted: no addresses,
// but for those that an old port has made itself.
func (a *addresses) wanted(wishes []model.FixedIP, old *model.Port) ([]model.FixedIP, error) {
	var had []model.FixedIP
	if old != nil {
		had = a.keep(old)
		wishes = a.withoutStale(wishes, old)
	}
	ips := make([]model.FixedIP, len(wishes))
	// The wishes for certain addresses come first, so that no other gets them.
	for i, w := range wishes {
		if !w.IP.IsValid() {
			continue
		}
		ip, err := a.exactly(w, had)
		if err != nil {
			return nil, err
		}
		if slices.Contains(ips, ip) {
			return nil, fault.Input("fixed_ips", "Duplicate IP address '%s'", ip.IP)
		}
		ips[i] = ip
		a.chosen = append(a.chosen, ip.IP)
		had = slices.DeleteFunc(had, func(f model.FixedIP) bool { return f == ip })
	}
	for i, w := range wishes {
		if w.IP.IsValid() {
			continue
		}
		at := slices.IndexFunc(had, func(f model.FixedIP) bool { return f.SubnetID == w.SubnetID })
		if at >= 0 {
			ips[i] = had[at]
			had = slices.Delete(had, at, at+1)
			continue
		}
		s, err := a.subnet(w.SubnetID)
		if err != nil {
			return nil, err
		}
		if ipam.Automatic(s) && !ipam.RouterOwned(a.p.DeviceOwner) {
			continue // automatic does all of them
		}
		if ips[i], err = a.allocate(s); err != nil {
			return nil, err
		}
	}
	ips = slices.DeleteFunc(ips, func(f model.FixedIP) bool { return !f.IP.IsValid() })
	if len(wishes) == 0 && old == nil {
		return nil, nil
	}
	if len(wishes) == 0 {
		return a.automatic(ips, func(s *model.Subnet) bool {
			return slices.ContainsFunc(old.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID })
		})
	}
	return a.automatic(ips, nil)
}

// keep returns the addresses of the stored port that need no new check: all but those that follow from another MAC.
func (a *addresses) keep(old *model.Port) []model.FixedIP {
	return a.withoutStale(old.FixedIPs, old)
}

// withoutStale leaves out the addresses that followed from the old MAC of a port that gets a new one.
func (a *addresses) withoutStale(ips []model.FixedIP, old *model.Port) []model.FixedIP {
	ips = slices.Clone(ips)
	if old.MAC == a.p.MAC {
		return ips
	}
	return slices.DeleteFunc(ips, func(f model.FixedIP) bool {
		return slices.ContainsFunc(a.subnets, func(s *model.Subnet) bool {
			made, err := ipam.EUI64(s.CIDR, old.MAC)
			return err == nil && ipam.Automatic(s) && made == f.IP
		})
	})
}

// exactly grants a wish for a certain address.
func (a *addresses) exactly(w model.FixedIP, had []model.FixedIP) (model.FixedIP, error) {
	for _, f := range had {
		if f.IP == w.IP && (w.SubnetID == "" || w.SubnetID == f.SubnetID) {
			return f, nil
		}
	}
	s, err := a.subnetOf(w)
	if err != nil {
		return w, err
	}
	w.SubnetID = s.ID
	if ipam.Automatic(s) && !ipam.RouterOwned(a.p.DeviceOwner) {
		if made, err := ipam.EUI64(s.CIDR, a.p.MAC); err != nil || made != w.IP {
			return w, fault.New(fault.Invalid, "AllocationOnAutoAddressSubnet", "IPv6 address %s cannot be directly "+
				"assigned to a port on subnet %s as the subnet is configured for automatic addresses", w.IP, s.ID)
		}
	}
	return w, ipam.Claim(a.r, s, w.IP, a.p)
}

// subnetOf finds the subnet of a wish for a certain address.
func (a *addresses) subnetOf(w model.FixedIP) (*model.Subnet, error) {
	if w.SubnetID != "" {
		s, err := a.subnet(w.SubnetID)
		if err != nil {
			return nil, err
		}
		return s, ipam.Check(s, w.IP, a.p.DeviceOwner)
	}
	for _, s := range a.subnets {
		if ipam.Fits(s, w.IP, a.p.DeviceOwner) {
			return s, nil
		}
	}
	if len(a.subnets) == 0 {
		return nil, fault.Operation("IP allocation requires subnets for network")
	}
	return nil, fault.New(fault.Invalid, "InvalidIpForNetwork",
		"IP address %s is not a valid IP for any of the subnets on the specified network.", w.IP)
}

// subnet returns the subnet of the network with the id. A subnet of another network that the caller cannot see is
// treated like one that does not exist.
func (a *addresses) subnet(id string) (*model.Subnet, error) {
	for _, s := range a.subnets {
		if s.ID == id {
			return s, nil
		}
	}
	other, ok := state.Subnets.Get(a.r, id)
	if !ok {
		return nil, fault.Missing("Subnet", id)
	}
	if _, err := network.Find(a.r, a.c, other.NetworkID); err != nil {
		return nil, fault.Missing("Subnet", id)
	}
	return nil, fault.Operation("Failed to create port on network %s, because fixed_ips included invalid subnet %s",
		a.n.ID, id)
}

func (a *addresses) allocate(s *model.Subnet) (model.FixedIP, error) {
	ip, err := ipam.Allocate(a.r, s, a.random, a.chosen...)
	if err != nil {
		return model.FixedIP{}, err
	}
	a.chosen = append(a.chosen, ip)
	return model.FixedIP{SubnetID: s.ID, IP: ip}, nil
}

// automatic adds the addresses that the port makes itself, in the subnets that are among (nil: all) and in which it has
// none yet. Routers make none.
func (a *addresses) automatic(ips []model.FixedIP, among func(*model.Subnet) bool) ([]model.FixedIP, error) {
	if ipam.RouterOwned(a.p.DeviceOwner) {
		return ips, nil
	}
	for _, s := range a.subnets {
		has := slices.ContainsFunc(ips, func(f model.FixedIP) bool { return f.SubnetID == s.ID })
		if !ipam.Automatic(s) || has || among != nil && !among(s) {
			continue
		}
		made, err := ipam.EUI64(s.CIDR, a.p.MAC)
		if err != nil {
			return nil, fault.Operation("%s", err)
		}
		if err := ipam.Claim(a.r, s, made, a.p); err != nil {
			return nil, err
		}
		ips = append(ips, model.FixedIP{SubnetID: s.ID, IP: made})
	}
	return ips, nil
}
