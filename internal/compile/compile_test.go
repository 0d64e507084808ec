package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	webID  = "11111111-1111-4111-8111-111111111111"
	dbID   = "22222222-2222-4222-8222-222222222222"
	dhcpID = "33333333-3333-4333-8333-333333333333"
)

// example is a small cloud: the network "net" with the ports web on compute1, db on compute2, and a DHCP port on
// compute1; compute3 has nothing.
func example(tx *state.Tx) {
	state.Networks.Put(tx, &model.Network{
		Meta: model.Meta{ID: "net"}, MTU: 1450,
		Segments: []model.Segment{{ID: "seg", NetworkType: model.TypeVXLAN, SegmentationID: 7}},
	})
	state.Subnets.Put(tx, &model.Subnet{
		Meta: model.Meta{ID: "sub"}, NetworkID: "net", IPVersion: 4, CIDR: netip.MustParsePrefix("10.0.0.0/24"),
		GatewayIP: netip.MustParseAddr("10.0.0.1"), EnableDHCP: true,
		DNSNameservers: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		HostRoutes: []model.HostRoute{{
			Destination: netip.MustParsePrefix("198.51.100.0/24"), NextHop: netip.MustParseAddr("10.0.0.9"),
		}},
	})
	state.Ports.Put(tx, examplePort(webID, "compute1", "10.0.0.3", "compute:nova"))
	state.Ports.Put(tx, examplePort(dbID, "compute2", "10.0.0.4", "compute:nova"))
	state.Ports.Put(tx, examplePort(dhcpID, "compute1", "10.0.0.2", model.DeviceOwnerDHCP))
	for i, h := range []string{"compute1", "compute2", "compute3"} {
		state.Agents.Put(tx, &model.Agent{
			Meta: model.Meta{ID: "agent-" + h}, Host: h, Role: model.RoleL2,
			TunnelIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}),
		})
	}
	state.DHCPBindings.Put(tx, &model.DHCPBinding{
		Meta: model.Meta{ID: "net:compute1"}, NetworkID: "net", Host: "compute1", PortID: dhcpID,
	})
}

func examplePort(id, host, ip, owner string) *model.Port {
	return &model.Port{
		Meta: model.Meta{ID: id}, NetworkID: "net", AdminStateUp: true, MAC: "fa:16:3e:00:00:" + id[:2],
		FixedIPs:    []model.FixedIP{{SubnetID: "sub", IP: netip.MustParseAddr(ip)}},
		DeviceOwner: owner, Binding: model.Binding{Host: host, VIFType: model.VIFBridge, SegmentID: "seg"},
	}
}

func TestDocumentsOfAHost(t *testing.T) {
	store := newStore(t)
	r := update(t, store, example).Snapshot
	want := []*sb.Document{
		{Key: "port/" + webID, Body: &sb.Document_Port{Port: &sb.Port{
			PortId: webID, NetworkId: "net", Device: "tap11111111-11", Mac: "fa:16:3e:00:00:11",
			Ips: []string{"10.0.0.3/24"}, Mtu: 1450, AdminStateUp: true,
			Gateways: []string{"10.0.0.1"}, DeviceOwner: "compute:nova",
		}}},
		{Key: "segment/net", Body: &sb.Document_Segment{Segment: &sb.Segment{
			NetworkId: "net", NetworkType: "vxlan", SegmentationId: 7, Mtu: 1450,
		}}},
		{Key: "neighbour/" + dbID, Body: &sb.Document_Neighbour{Neighbour: &sb.Neighbour{
			PortId: dbID, NetworkId: "net", Mac: "fa:16:3e:00:00:22", Ips: []string{"10.0.0.4"}, Vtep: "192.0.2.2",
		}}},
		{Key: "port/" + dhcpID, Body: &sb.Document_Port{Port: &sb.Port{
			PortId: dhcpID, NetworkId: "net", Device: "tap33333333-33", Mac: "fa:16:3e:00:00:33",
			Ips: []string{"10.0.0.2/24"}, Mtu: 1450, AdminStateUp: true,
			Gateways: []string{"10.0.0.1"}, DeviceOwner: "network:dhcp",
		}}},
		{Key: "dhcp-network/net", Body: &sb.Document_DhcpNetwork{DhcpNetwork: &sb.DhcpNetwork{
			NetworkId: "net", PortId: dhcpID, Mac: "fa:16:3e:00:00:33", Mtu: 1450, DnsDomain: "openstacklocal",
			Subnets: []*sb.DhcpSubnet{{
				SubnetId: "sub", Cidr: "10.0.0.0/24", ServerIp: "10.0.0.2", GatewayIp: "10.0.0.1", EnableDhcp: true,
				DnsNameservers: []string{"192.0.2.53"}, LeaseSeconds: 86400,
				HostRoutes: []*sb.Route{{Destination: "198.51.100.0/24", Nexthop: "10.0.0.9"}},
			}},
		}}},
		{Key: "dhcp-host/" + webID, Body: &sb.Document_DhcpHost{DhcpHost: &sb.DhcpHost{
			PortId: webID, NetworkId: "net", Mac: "fa:16:3e:00:00:11", Hostname: "host-10-0-0-3",
			Addresses: []*sb.DhcpAddress{{SubnetId: "sub", Ip: "10.0.0.3"}},
		}}},
		{Key: "dhcp-host/" + dbID, Body: &sb.Document_DhcpHost{DhcpHost: &sb.DhcpHost{
			PortId: dbID, NetworkId: "net", Mac: "fa:16:3e:00:00:22", Hostname: "host-10-0-0-4",
			Addresses: []*sb.DhcpAddress{{SubnetId: "sub", Ip: "10.0.0.4"}},
		}}},
	}
	got := slices.Collect(compile.New(compile.Options{}).Documents(r, "compute1"))
	byKey := protocmp.SortRepeated(func(a, b *sb.Document) bool { return a.Key < b.Key })
	hash := protocmp.IgnoreFields(&sb.Document{}, "hash")
	if diff := cmp.Diff(&sb.Batch{Put: want}, &sb.Batch{Put: got}, protocmp.Transform(), byKey, hash); diff != "" {
		t.Error(diff)
	}
	if n := len(slices.Collect(compile.New(compile.Options{}).Documents(r, "compute3"))); n != 0 {
		t.Errorf("a host without ports has %d documents", n)
	}
}

// TestNoDocument lists keys that a host must not have: they decide what it may read and report.
func TestNoDocument(t *testing.T) {
	store := newStore(t)
	r := update(t, store, example).Snapshot
	c := compile.New(compile.Options{})
	for _, tc := range []struct{ name, host, key string }{
		{"a port of another host", "compute2", "port/" + webID},
		{"its own port as a neighbour", "compute1", "neighbour/" + webID},
		{"a neighbour on a network where it has no port", "compute3", "neighbour/" + webID},
		{"the segment of such a network", "compute3", "segment/net"},
		{"DHCP that another host gives", "compute2", "dhcp-network/net"},
		{"a DHCP client of another host", "compute2", "dhcp-host/" + webID},
		{"the DHCP port as its own client", "compute1", "dhcp-host/" + dhcpID},
		{"an unknown kind", "compute1", "router/" + webID},
		{"no id", "compute1", "port/"},
		{"no kind", "compute1", webID},
		{"no host", "", "port/" + webID},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := c.Document(r, tc.host, tc.key); d != nil {
				t.Errorf("host %s has %v", tc.host, d)
			}
		})
	}
}

// TestDocumentFollowsChange changes one thing of the example and looks at one document, and whether Affected named it.
func TestDocumentFollowsChange(t *testing.T) {
	changePort := func(id string, change func(*model.Port)) func(*state.Tx) {
		return func(tx *state.Tx) {
			p, _ := state.Ports.Get(tx, id)
			p = p.Clone()
			change(p)
			state.Ports.Put(tx, p)
		}
	}
	for _, tc := range []struct {
		name      string
		change    func(*state.Tx)
		host, key string
		gone      bool // the document is gone afterwards; otherwise it has a new hash
	}{
		{"a VTEP moves", func(tx *state.Tx) {
			a, _ := state.Agents.Get(tx, "agent-compute2")
			a = a.Clone()
			a.TunnelIP = netip.MustParseAddr("192.0.2.99")
			state.Agents.Put(tx, a)
		}, "compute1", "neighbour/" + dbID, false},
		{"a host loses its VTEP", func(tx *state.Tx) { state.Agents.Delete(tx, "agent-compute2") },
			"compute1", "neighbour/" + dbID, true},
		{"a binding fails", changePort(dbID, func(p *model.Port) { p.Binding.VIFType = model.VIFBindingFailed }),
			"compute1", "neighbour/" + dbID, true},
		{"a port moves to this host", changePort(dbID, func(p *model.Port) { p.Binding.Host = "compute1" }),
			"compute1", "neighbour/" + dbID, true},
		{"a name is given", changePort(dbID, func(p *model.Port) { p.DNSName = "db" }),
			"compute1", "dhcp-host/" + dbID, false},
		{"DHCP is turned off", func(tx *state.Tx) {
			s, _ := state.Subnets.Get(tx, "sub")
			s = s.Clone()
			s.EnableDHCP = false
			state.Subnets.Put(tx, s)
		}, "compute1", "dhcp-host/" + dbID, true},
		{"the MTU shrinks", func(tx *state.Tx) {
			n, _ := state.Networks.Get(tx, "net")
			n = n.Clone()
			n.MTU = 1400
			state.Networks.Put(tx, n)
		}, "compute2", "port/" + dbID, false},
		{"the network becomes a VLAN", func(tx *state.Tx) {
			n, _ := state.Networks.Get(tx, "net")
			n = n.Clone()
			n.Segments[0] = model.Segment{ID: "seg", NetworkType: model.TypeVLAN, SegmentationID: 9}
			state.Networks.Put(tx, n)
		}, "compute1", "neighbour/" + dbID, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := newStore(t)
			c := compile.New(compile.Options{})
			old := c.Document(update(t, store, example).Snapshot, tc.host, tc.key)
			if old == nil {
				t.Fatal("there is no document before the change")
			}
			commit := update(t, store, tc.change)
			now := c.Document(commit.Snapshot, tc.host, tc.key)
			if tc.gone != (now == nil) {
				t.Fatalf("document afterwards: %v", now)
			}
			if now != nil && now.Hash == old.Hash {
				t.Error("the hash is the same")
			}
			affected := c.Affected(commit)
			if !slices.Contains(affected, compile.HostKey{Host: tc.host, Key: tc.key}) &&
				!slices.Contains(affected, compile.HostKey{Host: tc.host}) {
				t.Errorf("not among the affected: %v", affected)
			}
		})
	}
}

// TestStatusAffectsNothing: the reports of agents change statuses all the time, and must not come back as work.
func TestStatusAffectsNothing(t *testing.T) {
	store := newStore(t)
	update(t, store, example)
	commit := update(t, store, func(tx *state.Tx) {
		p, _ := state.Ports.Get(tx, webID)
		p = p.Clone()
		p.Status, p.Name, p.StatusReason = model.PortActive, "web", "none"
		state.Ports.Put(tx, p)
		n, _ := state.Networks.Get(tx, "net")
		n = n.Clone()
		n.Name = "renamed"
		state.Networks.Put(tx, n)
	})
	if got := compile.New(compile.Options{}).Affected(commit); len(got) != 0 {
		t.Errorf("affected: %v", got)
	}
}

// scaleHosts and scalePorts are the budget of a cluster; networks have 100 ports on 100 hosts.
const (
	scaleHosts = 1000
	scalePorts = 100_000
)

func fillScale(b *testing.B) *state.Store {
	store := newStore(b)
	for start := 0; start < scalePorts; start += 2000 {
		update(b, store, func(tx *state.Tx) {
			for i := start; i < start+2000; i++ {
				network := fmt.Sprintf("net-%04d", i/100)
				if i%100 == 0 {
					state.Networks.Put(tx, &model.Network{
						Meta: model.Meta{ID: network}, MTU: 1450,
						Segments: []model.Segment{{ID: "s", NetworkType: model.TypeVXLAN, SegmentationID: i + 1}},
					})
				}
				id, host := fmt.Sprintf("%08d-0000", i), fmt.Sprintf("host-%04d", (i*7)%scaleHosts)
				p := examplePort(id, host, "10.0.0.3", "")
				p.NetworkID = network
				state.Ports.Put(tx, p)
			}
		})
	}
	update(b, store, func(tx *state.Tx) {
		for h := range scaleHosts {
			host := fmt.Sprintf("host-%04d", h)
			state.Agents.Put(tx, &model.Agent{
				Meta: model.Meta{ID: host}, Host: host, Role: model.RoleL2,
				TunnelIP: netip.AddrFrom4([4]byte{10, 1, byte(h >> 8), byte(h)}),
			})
		}
	})
	return store
}

// BenchmarkPortChange measures what the hosts of a cluster of full size cost when one port changes its address: the
// documents of the 100 hosts of its network, and nothing for the other 900.
func BenchmarkPortChange(b *testing.B) {
	store := fillScale(b)
	c := compile.New(compile.Options{})
	commit := update(b, store, func(tx *state.Tx) {
		p, _ := state.Ports.Get(tx, "00050000-0000")
		p = p.Clone()
		p.FixedIPs[0].IP = netip.MustParseAddr("10.0.0.77")
		state.Ports.Put(tx, p)
	})
	documents := 0
	b.ReportAllocs()
	for b.Loop() {
		documents = 0
		for _, a := range c.Affected(commit) {
			if c.Document(commit.Snapshot, a.Host, a.Key) != nil {
				documents++
			}
		}
	}
	b.ReportMetric(float64(documents), "documents/op")
}

// BenchmarkFullView measures the view of one host, as it is taken when the host connects.
func BenchmarkFullView(b *testing.B) {
	store := fillScale(b)
	c := compile.New(compile.Options{})
	r := store.Read()
	documents := 0
	b.ReportAllocs()
	for b.Loop() {
		documents = 0
		for range c.Documents(r, "host-0007") {
			documents++
		}
	}
	b.ReportMetric(float64(documents), "documents/op")
}
