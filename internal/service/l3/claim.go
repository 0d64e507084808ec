package l3

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Role is what a host reports of itself in a gateway group: the newest claim that it knows.
type Role struct {
	Group string
	Claim model.GatewayClaim
}

// What is accepted of a claim, which may come from a host that somebody has captured:
//
//   - It comes from a host of the group, and names one of its hosts. Hosts tell each other of claims, so one may report that
//     of another that the server does not hear. A captured host can say of its own groups who is active there, as it could
//     take them over by VRRP; of other groups it can say nothing.
//   - Its rank is that of a place in a group.
//   - Its epoch is at most maxLead ahead of what is known. So many takeovers cannot be missed while there is no server; and
//     with as many reports a second as the southbound takes from a host, epochs would not run out in a hundred thousand
//     years. An epoch that nobody could beat would be a group for ever.
//   - It is newer. Epochs never go back.
const (
	maxLead = 1 << 16
	maxRank = gatewaygroup.DefaultSize - 1
)

// Claims enters the claims that a host has reported, and returns the groups in which another host is active now. That is one
// object written for each of them, however many routers they have.
func Claims(tx *state.Tx, host string, roles []Role) (taken []string) {
	for _, role := range roles {
		g, ok := state.GatewayGroups.Get(tx, role.Group)
		if !ok || !acceptable(g, host, role.Claim) {
			continue
		}
		newest := gatewaygroup.Newest(gatewaygroup.Claim(g.Claim), gatewaygroup.Claim(role.Claim))
		if model.GatewayClaim(newest) == g.Claim {
			continue
		}
		now := g.Clone()
		now.Claim = model.GatewayClaim(newest)
		state.GatewayGroups.Put(tx, now)
		if now.Active() != g.Active() {
			taken = append(taken, g.ID)
		}
	}
	return taken
}

func acceptable(g *model.GatewayGroup, host string, c model.GatewayClaim) bool {
	return slices.Contains(g.Hosts, host) && c.Epoch > 0 && c.Rank <= maxRank &&
		(slices.Contains(g.Hosts, c.Host) || slices.Contains(g.Leaving, c.Host)) &&
		(c.Epoch <= g.Claim.Epoch || c.Epoch-g.Claim.Epoch <= maxLead)
}
