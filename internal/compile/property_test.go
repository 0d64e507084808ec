package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// views are the hosts' views as key → hash.
type views map[string]map[string]uint64

// The cast of the random histories. "h" is a prefix of "h-2" on purpose: index keys must not run into each other.
var (
	hosts    = []string{"h", "h-2", "h-3"}
	networks = []string{"net-a", "net-b"}
	subnets  = []string{"sub-1", "sub-2", "sub-3"}
	ports    = []string{"port-1", "port-2", "port-3", "port-4", "port-5"}

	groups        = []string{"group-1", "group-2", "group-3"}
	groupRules    = []string{"rule-1", "rule-2", "rule-3", "rule-4"}
	addressGroups = []string{"addresses-1", "addresses-2"}
	logs          = []string{"log-1", "log-2", "log-3"}
	projects      = []string{"p", "p-2"}
)

// TestAffectedKeepsViewsLikeTheFullOnes drives random histories: after each commit, asking anew only for what Affected
// names leaves every host with exactly the documents that its full view has.
func TestAffectedKeepsViewsLikeTheFullOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := compile.New(compile.Options{})
		store := openStore(t)
		defer store.Close()
		kept := views{}
		for _, h := range hosts {
			kept[h] = map[string]uint64{}
		}
		steps := rapid.IntRange(1, 25).Draw(t, "steps")
		for range steps {
			changes := rapid.IntRange(1, 4).Draw(t, "changes")
			commit := update(t, store, func(tx *state.Tx) {
				for range changes {
					randomChange(t, tx)
				}
			})
			if commit == nil {
				continue
			}
			kept.follow(c, commit)
			for _, h := range hosts {
				if diff := cmp.Diff(fullView(c, commit.Snapshot, h), kept[h]); diff != "" {
					t.Fatalf("view of %s, full against kept:\n%s", h, diff)
				}
			}
		}
	})
}

func fullView(c *compile.Compiler, r state.Reader, host string) map[string]uint64 {
	view := map[string]uint64{}
	for d := range c.Documents(r, host) {
		view[d.Key] = d.Hash
	}
	return view
}

// follow does what the southbound does with a commit.
func (v views) follow(c *compile.Compiler, commit *state.Commit) {
	for _, a := range c.Affected(commit) {
		if v[a.Host] == nil {
			continue
		}
		if a.Key == "" {
			v[a.Host] = fullView(c, commit.Snapshot, a.Host)
		} else if d := c.Document(commit.Snapshot, a.Host, a.Key); d != nil {
			v[a.Host][a.Key] = d.Hash
		} else {
			delete(v[a.Host], a.Key)
		}
	}
}

// randomChange makes, changes or deletes one object. It does not care for the rules: documents must be right in odd
// states, too (a port without its network, a binding without its port).
func randomChange(t *rapid.T, tx *state.Tx) {
	drop := rapid.IntRange(0, 4).Draw(t, "drop") == 0
	kinds := []string{"network", "subnet", "port", "port", "port", "agent", "dhcp", "group", "rule", "rule", "addresses", "log", "log"}
	kind := rapid.SampledFrom(slices.Concat(kinds, routingKinds, firewallKinds)).Draw(t, "kind")
	switch kind {
	default:
		randomRouting(t, tx, kind, drop)
		randomFirewall(t, tx, kind, drop)
	case "network":
		id := rapid.SampledFrom(networks).Draw(t, "id")
		if drop {
			state.Networks.Delete(tx, id)
			return
		}
		state.Networks.Put(tx, randomNetwork(t, id))
	case "subnet":
		id := rapid.SampledFrom(subnets).Draw(t, "id")
		if drop {
			state.Subnets.Delete(tx, id)
			return
		}
		state.Subnets.Put(tx, randomSubnet(t, id))
	case "port":
		id := rapid.SampledFrom(ports).Draw(t, "id")
		if drop {
			state.Ports.Delete(tx, id)
			return
		}
		state.Ports.Put(tx, randomPort(t, id))
	case "agent":
		host := rapid.SampledFrom(hosts).Draw(t, "host")
		if drop {
			state.Agents.Delete(tx, "l2-"+host)
			return
		}
		a := &model.Agent{Meta: model.Meta{ID: "l2-" + host}, Host: host, Role: model.RoleL2}
		if n := rapid.IntRange(0, 3).Draw(t, "vtep"); n > 0 {
			a.TunnelIP = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		}
		state.Agents.Put(tx, a)
	case "dhcp":
		host, network := rapid.SampledFrom(hosts).Draw(t, "host"), rapid.SampledFrom(networks).Draw(t, "network")
		if drop {
			state.DHCPBindings.Delete(tx, network+":"+host)
			return
		}
		state.DHCPBindings.Put(tx, &model.DHCPBinding{
			Meta: model.Meta{ID: network + ":" + host}, NetworkID: network, Host: host,
			PortID: rapid.SampledFrom(ports).Draw(t, "port"),
		})
	case "group":
		id := rapid.SampledFrom(groups).Draw(t, "id")
		if drop {
			state.SecurityGroups.Delete(tx, id)
			return
		}
		state.SecurityGroups.Put(tx, &model.SecurityGroup{
			Meta: model.Meta{ID: id, ProjectID: "p"}, Stateful: rapid.Bool().Draw(t, "stateful"),
		})
	case "log":
		id := rapid.SampledFrom(logs).Draw(t, "id")
		if drop {
			state.Logs.Delete(tx, id)
			return
		}
		state.Logs.Put(tx, randomLog(t, id))
	case "rule":
		id := rapid.SampledFrom(groupRules).Draw(t, "id")
		if drop {
			state.SecurityGroupRules.Delete(tx, id)
			return
		}
		state.SecurityGroupRules.Put(tx, randomRule(t, id))
	case "addresses":
		id := rapid.SampledFrom(addressGroups).Draw(t, "id")
		if drop {
			state.AddressGroups.Delete(tx, id)
			return
		}
		g := &model.AddressGroup{Meta: model.Meta{ID: id}}
		for i := range rapid.IntRange(0, 3).Draw(t, "bits") {
			g.Addresses = append(g.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
		}
		state.AddressGroups.Put(tx, g)
	}
}

func randomRule(t *rapid.T, id string) *model.SecurityGroupRule {
	r := &model.SecurityGroupRule{Meta: model.Meta{ID: id}, Direction: model.Ingress, EtherType: model.IPv4}
	r.GroupID = rapid.SampledFrom(groups).Draw(t, "group")
	r.Protocol = rapid.SampledFrom([]string{"", "tcp"}).Draw(t, "protocol")
	switch rapid.SampledFrom([]string{"anybody", "group", "addresses"}).Draw(t, "remote") {
	case "group":
		r.RemoteGroupID = rapid.SampledFrom(groups).Draw(t, "remote group")
	case "addresses":
		r.RemoteAddressGroupID = rapid.SampledFrom(addressGroups).Draw(t, "address group")
	}
	return r
}

func randomLog(t *rapid.T, id string) *model.Log {
	l := &model.Log{Meta: model.Meta{ID: id}, ResourceType: model.LogSecurityGroup}
	l.ProjectID = rapid.SampledFrom(projects).Draw(t, "project")
	l.Event = rapid.SampledFrom([]string{model.LogAccept, model.LogDrop, "ALL"}).Draw(t, "event")
	l.Enabled = rapid.IntRange(0, 3).Draw(t, "enabled") > 0
	if rapid.Bool().Draw(t, "of a group") {
		l.ResourceID = rapid.SampledFrom(groups).Draw(t, "group")
	}
	if rapid.Bool().Draw(t, "of a port") {
		l.TargetID = rapid.SampledFrom(ports).Draw(t, "port")
	}
	return l
}

func randomNetwork(t *rapid.T, id string) *model.Network {
	n := &model.Network{Meta: model.Meta{ID: id, Name: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")}}
	n.MTU = rapid.SampledFrom([]int{1450, 1500}).Draw(t, "mtu")
	n.DNSDomain = rapid.SampledFrom([]string{"", "example.org."}).Draw(t, "domain")
	types := rapid.SampledFrom([]model.NetworkType{model.TypeVXLAN, model.TypeVXLAN, model.TypeVLAN})
	for i := range rapid.IntRange(0, 2).Draw(t, "segments") {
		n.Segments = append(n.Segments, model.Segment{
			ID:              fmt.Sprintf("%s-seg-%d", id, i),
			NetworkType:     types.Draw(t, "type"),
			SegmentationID:  rapid.IntRange(1, 3).Draw(t, "vni"),
			PhysicalNetwork: rapid.SampledFrom([]string{"", "physnet1"}).Draw(t, "physical network"),
		})
	}
	return n
}

func randomSubnet(t *rapid.T, id string) *model.Subnet {
	s := &model.Subnet{Meta: model.Meta{ID: id}, IPVersion: 4}
	s.NetworkID = rapid.SampledFrom(networks).Draw(t, "network")
	s.CIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, 0}), rapid.IntRange(16, 18).Draw(t, "bits"))
	s.EnableDHCP = rapid.Bool().Draw(t, "dhcp")
	if rapid.Bool().Draw(t, "gateway") {
		s.GatewayIP = netip.MustParseAddr("10.0.0.1")
	}
	if rapid.Bool().Draw(t, "dns") {
		s.DNSNameservers = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	}
	if rapid.Bool().Draw(t, "six") {
		s.IPVersion, s.CIDR = 6, netip.MustParsePrefix("2001:db8::/64")
		s.IPv6RAMode = rapid.SampledFrom([]string{"", "slaac"}).Draw(t, "ra mode")
		s.IPv6AddressMode = rapid.SampledFrom([]string{"", "slaac", "dhcpv6-stateful"}).Draw(t, "mode")
	}
	s.SubnetPoolID = rapid.SampledFrom([]string{"", "pool"}).Draw(t, "pool")
	return s
}

func randomPort(t *rapid.T, id string) *model.Port {
	p := &model.Port{Meta: model.Meta{ID: id}, NetworkID: rapid.SampledFrom(networks).Draw(t, "network")}
	p.MAC = rapid.SampledFrom([]string{"fa:16:3e:00:00:01", "fa:16:3e:00:00:02"}).Draw(t, "mac")
	p.Status = rapid.SampledFrom([]model.PortStatus{model.PortActive, model.PortDown}).Draw(t, "status")
	p.AdminStateUp = rapid.Bool().Draw(t, "up")
	p.DeviceOwner = rapid.SampledFrom([]string{
		"", "compute:nova", model.DeviceOwnerDHCP, model.DeviceOwnerRouterInterfaceDistributed,
	}).Draw(t, "owner")
	p.DNSName = rapid.SampledFrom([]string{"", "web"}).Draw(t, "dns name")
	p.Binding.VIFType = rapid.SampledFrom([]model.VIFType{
		model.VIFBridge, model.VIFBridge, model.VIFBridge, model.VIFUnbound, model.VIFBindingFailed,
	}).Draw(t, "vif")
	p.Binding.Host = rapid.SampledFrom(hosts).Draw(t, "host")
	if rapid.IntRange(0, 2).Draw(t, "in a group") == 0 {
		p.Binding.GatewayGroup = rapid.SampledFrom(gatewayGroups).Draw(t, "gateway group")
	}
	segments := []string{"", p.NetworkID + "-seg-0", p.NetworkID + "-seg-1"}
	p.Binding.SegmentID = rapid.SampledFrom(segments).Draw(t, "segment")
	for range rapid.IntRange(0, 2).Draw(t, "addresses") {
		ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(2, 4).Draw(t, "ip"))})
		if rapid.IntRange(0, 3).Draw(t, "version") == 0 {
			ip = netip.MustParseAddr("2001:db8::2")
		}
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: rapid.SampledFrom(subnets).Draw(t, "subnet"), IP: ip})
	}
	p.ProjectID = rapid.SampledFrom(projects).Draw(t, "project")
	p.PortSecurityEnabled = rapid.IntRange(0, 4).Draw(t, "port security") > 0
	p.SecurityGroupIDs = rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 0, 2, rapid.ID).Draw(t, "groups")
	if rapid.Bool().Draw(t, "pair") {
		p.AllowedAddressPairs = []model.AddressPair{{IP: netip.MustParsePrefix("10.9.0.1/24"), MAC: p.MAC}}
	}
	return p
}
