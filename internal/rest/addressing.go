package rest

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressscope"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/service/segment"
	"github.com/neutrino-net/neutrino/internal/service/subnetpool"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RegisterAddressing adds what networks and subnets are made of: address scopes, subnet pools, segments, the ranges of
// their ids, availability zones, and what addresses are left.
func RegisterAddressing(a *API, segments *segment.Rules) error {
	return errors.Join(
		Register(a, AddressScopes(addressscope.Rules{})),
		Register(a, SubnetPools(subnetpool.Rules{})),
		Register(a, Segments(segments)),
		Register(a, SegmentRanges(segment.Ranges{})),
		Register(a, Collection[model.AvailabilityZone]{Resource: schema.AvailabilityZone, All: network.Zones}),
		Register(a, IPAvailabilities()),
	)
}

// AddressScopes is the collection of address scopes.
func AddressScopes(rules Rules[model.AddressScope]) Collection[model.AddressScope] {
	return Collection[model.AddressScope]{
		Resource: schema.AddressScope, Table: state.AddressScopes, Rules: rules, Clone: (*model.AddressScope).Clone,
		Indexes: []Indexed[model.AddressScope]{
			{Filter: "name", Index: state.AddressScopesByName},
			{Filter: "project_id", Index: state.AddressScopesByProject},
			{Filter: "tenant_id", Index: state.AddressScopesByProject},
		},
		Visible: rbac.Visible(addressscope.RBACType, state.AddressScopes, state.AddressScopesByProject),
		For:     addressscope.View,
	}
}

// SubnetPools is the collection of subnet pools.
func SubnetPools(rules subnetpool.Rules) Collection[model.SubnetPool] {
	return Collection[model.SubnetPool]{
		Resource: schema.SubnetPool, Table: state.SubnetPools, Rules: rules, Clone: (*model.SubnetPool).Clone,
		Indexes: []Indexed[model.SubnetPool]{
			{Filter: "name", Index: state.SubnetPoolsByName},
			{Filter: "project_id", Index: state.SubnetPoolsByProject},
			{Filter: "tenant_id", Index: state.SubnetPoolsByProject},
			{Filter: "address_scope_id", Index: state.SubnetPoolsByScope, NoEmpty: true},
		},
		Visible: rbac.Visible(subnetpool.RBACType, state.SubnetPools, state.SubnetPoolsByProject),
		For:     subnetpool.View,
		Actions: []Action[model.SubnetPool]{
			{Name: "add_prefixes", Do: changePrefixes(rules.AddPrefixes)},
			{Name: "remove_prefixes", Do: changePrefixes(rules.RemovePrefixes)},
			{
				Name: "onboard_network_subnets",
				Do: func(tx *state.Tx, c *auth.Caller, p *model.SubnetPool, in Input) (any, error) {
					id, ok := in.Body["network_id"].(string)
					if !ok {
						return nil, fault.Operation("network_id must be specified.")
					}
					subnets, err := rules.Onboard(tx, c, p, id)
					taken := make([]map[string]string, len(subnets))
					for i, s := range subnets {
						taken[i] = map[string]string{"id": s.ID, "cidr": s.CIDR.String()}
					}
					return taken, err
				},
			},
		},
	}
}

// changePrefixes makes an action of a rule that changes the blocks of a pool. The request and the answer are
// {"prefixes": […]}.
func changePrefixes(change func(*state.Tx, *auth.Caller, *model.SubnetPool, []netip.Prefix) ([]netip.Prefix, error),
) func(*state.Tx, *auth.Caller, *model.SubnetPool, Input) (any, error) {
	return func(tx *state.Tx, c *auth.Caller, p *model.SubnetPool, in Input) (any, error) {
		raw, ok := in.Body["prefixes"].([]any)
		if !ok || len(raw) == 0 {
			return nil, badRequest("Request body contains invalid data")
		}
		prefixes, err := schema.ParsePrefixes(in.Body["prefixes"])
		if err != nil {
			return nil, fault.Input("prefixes", "%s", err)
		}
		all, err := change(tx, c, p, prefixes)
		if err != nil {
			return nil, err
		}
		return map[string][]netip.Prefix{"prefixes": all}, nil
	}
}

// Segments is the collection of the segments of all networks.
func Segments(rules Rules[model.NetworkSegment]) Collection[model.NetworkSegment] {
	return Collection[model.NetworkSegment]{
		Resource: schema.Segment, Table: state.Segments, Rules: rules, Clone: (*model.NetworkSegment).Clone,
		Indexes: []Indexed[model.NetworkSegment]{{Filter: "network_id", Index: state.SegmentsByNetwork}},
		Parent:  func(s *model.NetworkSegment) (string, string) { return schema.Network.Plural, s.NetworkID },
	}
}

// SegmentRanges is the collection of the ranges of segmentation ids.
func SegmentRanges(rules Rules[model.SegmentRange]) Collection[model.SegmentRange] {
	return Collection[model.SegmentRange]{
		Resource: schema.SegmentRange, Table: state.SegmentRanges, Rules: rules, Clone: (*model.SegmentRange).Clone,
		For: segment.ViewRanges,
	}
}

// IPAvailabilities is the collection of how many addresses networks have left.
func IPAvailabilities() Collection[model.IPAvailability] {
	return Collection[model.IPAvailability]{
		Resource: schema.IPAvailability, All: network.Availabilities, One: network.Availability,
		Narrow: func(a *model.IPAvailability, query func(name string) []string) *model.IPAvailability {
			var version int
			if values := query("ip_version"); len(values) != 1 {
				return a
			} else if _, err := fmt.Sscan(values[0], &version); err != nil {
				return a
			}
			return network.OfVersion(a, version)
		},
	}
}
