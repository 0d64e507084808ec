package compile

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// A port that is bound to a gateway group is on all hosts of the group, as if it were bound to each of them: each has the
// documents of the port, of the router whose leg it is, and of what the router translates. Which host is the active one
// shows in the document of the group alone, so a takeover changes no other.
const kindGatewayGroup = "gateway-group"

// DefaultGatewayInterval is how often the active host of a gateway group advertises itself, unless an operator wants it
// otherwise. The others miss it after four intervals at most (RFC 5798: three, and up to one more for those of a low
// priority), which leaves a second until traffic has to be back.
const DefaultGatewayInterval = 500 * time.Millisecond

// gatewayGroup: the host is one of the group's, and there is something to do for it.
func (c *Compiler) gatewayGroup(r state.Reader, host, id string) *sb.GatewayGroup {
	g, ok := state.GatewayGroups.Get(r, id)
	if !ok || !slices.Contains(g.Hosts, host) {
		return nil
	}
	number, err := strconv.ParseUint(id, 10, 8)
	if err != nil {
		return nil
	}
	tracked, used := groupNetworks(r, id)
	if !used {
		return nil
	}
	doc := &sb.GatewayGroup{
		Number: uint32(number), IntervalMs: unsigned(int(c.opts.GatewayInterval.Milliseconds())), Tracked: tracked,
	}
	for _, name := range slices.Concat(g.Hosts, g.Leaving) {
		h := &sb.GatewayHost{Name: name}
		if ip := tunnelIP(r, name); ip.IsValid() {
			h.Address = ip.String()
		}
		doc.Hosts = append(doc.Hosts, h)
	}
	if g.Claim.Epoch > 0 {
		doc.Claim = &sb.GatewayClaim{Epoch: g.Claim.Epoch, Rank: uint32(g.Claim.Rank), Host: g.Claim.Host}
	}
	return doc
}

// groupNetworks are the physical networks on which the group has ports; used says whether it has ports at all.
func groupNetworks(r state.Reader, id string) (physical []string, used bool) {
	for p := range state.GroupPorts(r, id) {
		used = true
		n, ok := state.Networks.Get(r, p.NetworkID)
		if !ok || len(n.Segments) == 0 {
			continue
		}
		s, named := namedSegment(n, p.Binding.SegmentID)
		if !named {
			s = n.Segments[0]
		}
		if s.PhysicalNetwork != "" && !slices.Contains(physical, s.PhysicalNetwork) {
			physical = append(physical, s.PhysicalNetwork)
		}
	}
	slices.Sort(physical)
	return physical, used
}

// gatewayGroup adds what a change of a group changes: its document on its hosts; and where its hosts are others, all that
// there is of its ports and routers.
func (a *affected) gatewayGroup(old, now *model.GatewayGroup) {
	var before, after []string
	if old != nil {
		before = old.Hosts
	}
	if now != nil {
		after = now.Hosts
	}
	exists := old != nil && now != nil
	if exists && slices.Equal(before, after) && slices.Equal(old.Leaving, now.Leaving) && old.Claim == now.Claim {
		return
	}
	id := present(old, now).ID
	a.groupHosts(id)
	if sameHosts(before, after) {
		return
	}
	for _, r := range []state.Reader{a.before, a.after} {
		for p := range state.GroupPorts(r, id) {
			a.portIn(r, p)
			a.leg(p.ID)
			a.firewallPort(p.ID)
		}
	}
}

// groupHosts adds the document of the group on all hosts that it had or has.
func (a *affected) groupHosts(id string) {
	for _, r := range []state.Reader{a.before, a.after} {
		if g, ok := state.GatewayGroups.Get(r, id); ok {
			for _, host := range g.Hosts {
				a.add(host, kindGatewayGroup, id)
			}
		}
	}
}

func sameHosts(a, b []string) bool {
	return slices.Equal(slices.SortedFunc(slices.Values(a), cmp.Compare), slices.SortedFunc(slices.Values(b), cmp.Compare))
}
