package router

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// MaxRoutes is how many extra routes a router may have.
const MaxRoutes = 30

// AddRoutes adds the routes of the body to those of the router. One that is there already is no error.
func (s *Rules) AddRoutes(tx *state.Tx, _ *auth.Caller, r *model.Router, body map[string]any) (*model.Router, error) {
	return changeRoutes(tx, r, body, func(have, named []model.HostRoute) []model.HostRoute {
		for _, route := range named {
			if !slices.Contains(have, route) {
				have = append(have, route)
			}
		}
		return have
	})
}

// RemoveRoutes takes the routes of the body from those of the router. One that is not there is no error.
func (s *Rules) RemoveRoutes(tx *state.Tx, _ *auth.Caller, r *model.Router, body map[string]any) (*model.Router, error) {
	return changeRoutes(tx, r, body, func(have, named []model.HostRoute) []model.HostRoute {
		return slices.DeleteFunc(have, func(route model.HostRoute) bool { return slices.Contains(named, route) })
	})
}

func changeRoutes(tx *state.Tx, r *model.Router, body map[string]any,
	change func(have, named []model.HostRoute) []model.HostRoute) (*model.Router, error) {
	named, err := schema.ParseRoutes(body["routes"])
	if err != nil {
		return nil, fault.Input("routes", "%s", err)
	}
	now := r.Clone()
	now.Routes = change(now.Routes, named)
	if err := checkRoutes(tx, now); err != nil {
		return nil, err
	}
	state.Routers.Put(tx, now)
	return now, nil
}

// checkRoutes says whether the router reaches the nexthops of its routes, and is none of them. The faults are
// InvalidRoutes and RoutesExhausted (400).
func checkRoutes(r state.Reader, router *model.Router) error {
	if len(router.Routes) == 0 {
		return nil
	}
	if len(router.Routes) > MaxRoutes {
		return fault.New(fault.Invalid, "RoutesExhausted", "Unable to complete operation for %s. "+
			"The number of routes exceeds the maximum %d.", router.ID, MaxRoutes)
	}
	var blocks []netip.Prefix
	var own []netip.Addr
	for p := range Attached(r, router) {
		for _, f := range p.FixedIPs {
			own = append(own, f.IP)
		}
		for _, s := range reached(r, p) {
			blocks = append(blocks, s.CIDR)
		}
	}
	for _, route := range router.Routes {
		hop := route.NextHop
		if !slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.Contains(hop) }) {
			return invalidRoutes(router.Routes, "the nexthop is not connected with router")
		}
		if slices.Contains(own, hop) {
			return invalidRoutes(router.Routes, "the nexthop is used by router")
		}
	}
	return nil
}

func invalidRoutes(routes []model.HostRoute, reason string) error {
	const most = 5 // are named
	var list []string
	for _, route := range routes[:min(len(routes), most)] {
		list = append(list, fmt.Sprintf("{'destination': '%s', 'nexthop': '%s'}", route.Destination, route.NextHop))
	}
	if len(routes) > most {
		list = append(list, "…")
	}
	return fault.New(fault.Invalid, "InvalidRoutes", "Invalid format for routes: [%s], %s", strings.Join(list, ", "), reason)
}
