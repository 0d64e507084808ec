package router

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// View makes routers look as they are to be shown: with the addresses of the gateway's port, the availability zones of
// their hosts, what their gateway group lacks, and their conntrack helpers.
func View(r state.Reader, _ *auth.Caller) func(*model.Router) *model.Router {
	zones := map[string]string{} // by host
	for a := range state.Agents.All(r) {
		if a.Role == model.RoleL3 && a.AvailabilityZone != "" {
			zones[a.Host] = a.AvailabilityZone
		}
	}
	return func(router *model.Router) *model.Router {
		helped := state.ConntrackHelpersByRouter.Has(r, router.ID)
		if router.Gateway == nil && len(router.Hosts) == 0 && router.GatewayGroup == "" && !helped {
			return router
		}
		seen := *router // its lists are not changed
		if router.Gateway != nil {
			g := *router.Gateway
			if p, ok := state.Ports.Get(r, g.PortID); ok {
				g.FixedIPs = p.FixedIPs
			}
			seen.Gateway = &g
		}
		if g, ok := state.GatewayGroups.Get(r, router.GatewayGroup); ok && seen.PlacementReason == "" {
			seen.PlacementReason = g.Reason
		}
		for _, host := range Hosts(r, router) {
			if zone := zones[host]; zone != "" && !slices.Contains(seen.AvailabilityZones, zone) {
				seen.AvailabilityZones = append(seen.AvailabilityZones, zone)
			}
		}
		if helped {
			seen.ConntrackHelpers = slices.Collect(state.ConntrackHelpersByRouter.List(r, router.ID))
		}
		return &seen
	}
}
