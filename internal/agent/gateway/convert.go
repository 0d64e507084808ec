package gateway

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/ctsync"
	"github.com/neutrino-net/neutrino/internal/agent/l3"
	"github.com/neutrino-net/neutrino/internal/dataplane/keepalived"
	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const keyPrefix = "gateway-group/"

// site is what the documents do not say about the host.
type site struct {
	host     string
	tunnelIP netip.Addr
	// device has the tunnel address; empty: none has.
	device   string
	mappings map[string]string
	// port is where hosts of a group reach each other.
	port int
}

// wanted is the view as the drivers need it, and what is wrong with documents.
type wanted struct {
	groups map[uint8]group
	sync   ctsync.Wanted
	// problems has an entry for each document: empty if it can be done.
	problems map[string]string
}

// group is a gateway group of which this host is a part.
type group struct {
	key  string
	rank uint8
	// claim is the newest that the server knows.
	claim gatewaygroup.Claim
	// vrrp has neither priority nor bonus yet: these are the member's.
	vrrp keepalived.Group
	// solo says that the host is alone in the group, and has no underlay on which an election could be: it is the active one.
	solo bool
}

// convert works out what the documents want. Of two documents with one number, the first by key wins.
func convert(view *agent.View, s site) wanted {
	w := wanted{groups: map[uint8]group{}, problems: map[string]string{}}
	w.sync.Addresses = map[string]string{}
	peers := map[uint8][]string{}
	documents := slices.SortedFunc(view.All(), func(a, b *sb.Document) int { return cmp.Compare(a.Key, b.Key) })
	for _, d := range documents {
		if !strings.HasPrefix(d.Key, keyPrefix) {
			continue
		}
		w.problems[d.Key] = ""
		g, others, err := convertGroup(d, s)
		if _, twice := w.groups[g.vrrp.ID]; err == nil && twice {
			err = fmt.Errorf("there are two documents of group %d", g.vrrp.ID)
		}
		if err != nil {
			w.problems[d.Key] = err.Error()
			continue
		}
		w.groups[g.vrrp.ID] = g
		for name, address := range others {
			peers[g.vrrp.ID] = append(peers[g.vrrp.ID], name)
			w.sync.Addresses[name] = net.JoinHostPort(address.String(), strconv.Itoa(s.port))
		}
		w.sync.Groups = append(w.sync.Groups, ctsync.Group{Number: uint32(g.vrrp.ID), Peers: peers[g.vrrp.ID]})
	}
	for _, d := range documents {
		r := d.GetRouter()
		if n, ok := number(r.GetGatewayGroup()); ok && len(peers[n]) > 0 {
			w.sync.Routers = append(w.sync.Routers, ctsync.Router{
				ID: r.GetRouterId(), Namespace: l3.Namespace(l3.NameOf(r)), Peers: peers[n],
			})
		}
	}
	return w
}

// number reads the number of a group.
func number(text string) (uint8, bool) {
	n, err := strconv.ParseUint(text, 10, 8)
	return uint8(n), err == nil && n >= 1 && n <= gatewaygroup.MaxGroups
}

// convertGroup reads a document, and the addresses of the other hosts by their names.
func convertGroup(d *sb.Document, s site) (g group, others map[string]netip.Addr, err error) {
	body := d.GetGatewayGroup()
	n, ok := number(strings.TrimPrefix(d.Key, keyPrefix))
	underlay := s.tunnelIP.IsValid() && !s.tunnelIP.IsLoopback()
	switch {
	case !ok || body.GetNumber() != uint32(n):
		return g, nil, fmt.Errorf("the document has no body of its kind, or its number is not that of its key")
	case !underlay && len(body.GetHosts()) == 1 && body.GetHosts()[0].GetName() == s.host:
		return group{key: d.Key, claim: claimOf(body.GetClaim()), vrrp: keepalived.Group{ID: n}, solo: true}, nil, nil
	case !s.tunnelIP.IsValid():
		return g, nil, fmt.Errorf("this host has no tunnel address: the hosts of a group find each other by it")
	case s.device == "":
		return g, nil, fmt.Errorf("no device of this host has its tunnel address %s", s.tunnelIP)
	}
	g = group{key: d.Key, claim: claimOf(body.GetClaim())}
	g.vrrp = keepalived.Group{
		ID: n, Interface: s.device, Source: s.tunnelIP, Interval: time.Duration(body.GetIntervalMs()) * time.Millisecond,
	}
	if others, err = convertHosts(body.GetHosts(), s, &g); err != nil {
		return g, nil, err
	}
	for _, physical := range body.GetTracked() {
		device, ok := s.mappings[physical]
		if !ok {
			return g, nil, fmt.Errorf("this host has no interface on physical network %.60q: start its agent with --bridge-mappings",
				physical)
		}
		tracked := keepalived.Tracked{Interface: device, Penalty: gatewaygroup.LinkPenalty}
		// The underlay's own device need not be tracked: without it, keepalived takes no part in the election.
		if device != s.device && !slices.Contains(g.vrrp.Tracked, tracked) {
			g.vrrp.Tracked = append(g.vrrp.Tracked, tracked)
		}
	}
	check := g.vrrp
	check.Priority = gatewaygroup.NewMember(s.host, g.rank, g.claim).Priority()
	return g, others, check.Validate()
}

// convertHosts finds the host's own place among the hosts, and the addresses of the others.
func convertHosts(hosts []*sb.GatewayHost, s site, g *group) (map[string]netip.Addr, error) {
	others, found := map[string]netip.Addr{}, false
	for rank, h := range hosts {
		if h.GetName() == s.host {
			found, g.rank = true, uint8(min(rank, 255))
			continue
		}
		if h.GetAddress() == "" {
			continue // it has none yet, and so takes no part
		}
		address, err := netip.ParseAddr(h.GetAddress())
		if err != nil || address.Zone() != "" {
			return nil, fmt.Errorf("the address %.60q of host %.60q is no IP address", h.GetAddress(), h.GetName())
		}
		if _, twice := others[h.GetName()]; twice {
			return nil, fmt.Errorf("the host %.60q is there twice", h.GetName())
		}
		others[h.GetName()] = address.Unmap()
		g.vrrp.Peers = append(g.vrrp.Peers, address.Unmap())
	}
	if !found {
		return nil, fmt.Errorf("this host is not one of the group's")
	}
	return others, nil
}

func claimOf(c *sb.GatewayClaim) gatewaygroup.Claim {
	return gatewaygroup.Claim{Epoch: c.GetEpoch(), Rank: uint8(min(c.GetRank(), 255)), Host: c.GetHost()}
}

func claimDocument(c gatewaygroup.Claim) *sb.GatewayClaim {
	return &sb.GatewayClaim{Epoch: c.Epoch, Rank: uint32(c.Rank), Host: c.Host}
}
