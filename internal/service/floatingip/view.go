package floatingip

import (
	"iter"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/state"
)

// View makes floating IPs look as they are to be shown: with what is known of their port, and their port forwardings.
func View(r state.Reader, _ *auth.Caller) func(*model.FloatingIP) *model.FloatingIP {
	return func(f *model.FloatingIP) *model.FloatingIP {
		if f.RouterID == "" {
			return f
		}
		seen := *f // its lists are not changed
		if f.PortID != "" {
			seen.Port, _ = state.Ports.Get(r, f.PortID)
		} else {
			seen.Forwardings = slices.Collect(state.PortForwardingsByFloatingIP.List(r, f.ID))
		}
		return &seen
	}
}

// Pools yields the blocks from which the caller can have floating IPs: the IPv4 subnets of the external networks that it
// may use.
func Pools(r state.Reader, c *auth.Caller) iter.Seq[*model.FloatingIPPool] {
	return func(yield func(*model.FloatingIPPool) bool) {
		for n := range state.NetworksShared.List(r, "external") {
			if _, err := network.Find(r, c, n.ID); err != nil {
				continue
			}
			for s := range state.SubnetsByNetwork.List(r, n.ID) {
				if s.IPVersion != 4 {
					continue
				}
				pool := &model.FloatingIPPool{
					Meta: model.Meta{ID: s.ID, ProjectID: c.ProjectID, Name: s.Name}, NetworkID: n.ID, CIDR: s.CIDR,
				}
				if !yield(pool) {
					return
				}
			}
		}
	}
}
