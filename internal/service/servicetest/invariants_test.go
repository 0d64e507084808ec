package servicetest_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/port"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// cloud is a world on which random callers do random things.
type cloud struct {
	*st.World
	*rapid.T
}

// Whatever callers do, in whatever order: every answer is success or a fault of the API, a failure changes nothing, and
// what is there fits together.
func TestRandomRequestsKeepTheStateWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		w := st.New(t, st.Options{
			Types: typedriver.Options{
				VNIRanges:  []typedriver.Range{{Min: 1, Max: 6}},
				VLANRanges: map[string][]typedriver.Range{"physnet1": {{Min: 10, Max: 12}}},
			},
			Random: rand.New(rand.NewPCG(seed, 1)).Uint64N,
		})
		defer w.Store.Close()
		c := &cloud{w, rt}
		actions := []func() error{
			c.createNetwork, c.createNetwork, c.updateNetwork, c.deleteNetwork,
			c.createSubnet, c.createSubnet, c.createSubnet, c.updateSubnet, c.deleteSubnet,
			c.createPort, c.createPort, c.createPort, c.createPort, c.updatePort, c.updatePort, c.deletePort,
			c.connect, c.report, c.serve,
		}
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			before := w.Store.Read()
			err := actions[rapid.IntRange(0, len(actions)-1).Draw(rt, "action")]()
			after := w.Store.Read()
			if err != nil && fault.As(err) == nil {
				rt.Fatalf("not a fault of the API: %v", err)
			}
			if err != nil && before != after {
				rt.Fatalf("it failed (%v) and changed something", err)
			}
			c.check(after)
		}
	})
}

func (c *cloud) one(label string, of ...string) string { return rapid.SampledFrom(of).Draw(c.T, label) }

func (c *cloud) maybe(label string) bool { return rapid.Bool().Draw(c.T, label) }

func (c *cloud) caller() *auth.Caller {
	return rapid.SampledFrom([]*auth.Caller{
		st.Member, st.Admin, {ProjectID: "p2", Roles: []string{"member"}},
	}).Draw(c.T, "caller")
}

// id picks an object of the table, or now and then one that does not exist.
func id[T any](c *cloud, table *state.Table[T], of func(*T) *model.Meta) string {
	ids := []string{"00000000-0000-0000-0000-000000000000"}
	for o := range table.All(c.Store.Read()) {
		ids = append(ids, of(o).ID)
	}
	// The ids are random: which one is drawn must not depend on their order alone, but it need not be repeatable.
	return ids[rapid.IntRange(0, len(ids)-1).Draw(c.T, table.Kind())]
}

func (c *cloud) networkID() string {
	return id(c, state.Networks, func(n *model.Network) *model.Meta { return &n.Meta })
}

func (c *cloud) subnetID() string {
	return id(c, state.Subnets, func(s *model.Subnet) *model.Meta { return &s.Meta })
}

func (c *cloud) portID() string {
	return id(c, state.Ports, func(p *model.Port) *model.Meta { return &p.Meta })
}

func (c *cloud) createNetwork() error {
	b := st.Body{"shared": c.maybe("shared")}
	if c.maybe("provider") {
		b["provider:network_type"] = c.one("type", "local", "flat", "vlan", "vxlan")
		if c.maybe("physical") {
			b["provider:physical_network"] = c.one("physnet", "physnet1", "physnet2")
		}
		if c.maybe("id") {
			b["provider:segmentation_id"] = rapid.IntRange(0, 12).Draw(c.T, "id")
		}
	}
	_, err := c.CreateNetwork(c.caller(), b)
	return err
}

func (c *cloud) updateNetwork() error {
	b := st.Body{}
	switch c.one("update", "mtu", "shared", "segment") {
	case "mtu":
		b["mtu"] = rapid.SampledFrom([]int{0, 60, 1000, 1400, 1500, 9000}).Draw(c.T, "mtu")
	case "shared":
		b["shared"] = c.maybe("shared")
	case "segment":
		b["provider:segmentation_id"] = rapid.IntRange(0, 12).Draw(c.T, "id")
	}
	_, err := c.UpdateNetwork(st.Admin, c.networkID(), b)
	return err
}

func (c *cloud) deleteNetwork() error { return c.DeleteNetwork(st.Admin, c.networkID()) }

func (c *cloud) createSubnet() error {
	b := st.Body{"network_id": c.networkID(), "cidr": c.one("cidr",
		"10.0.0.0/29", "10.0.0.0/28", "10.0.0.16/30", "10.0.1.0/31", "10.0.1.2/32", "224.0.0.0/28", "2001:db8::/64", "2001:db8:1::/64")}
	b["enable_dhcp"] = c.maybe("dhcp")
	if c.maybe("gateway") {
		b["gateway_ip"] = rapid.SampledFrom([]any{nil, "10.0.0.3", "10.0.0.18", "10.0.0.0", "2001:db8::5", "fe80::1"}).Draw(c.T, "gateway")
	}
	if c.maybe("pools") {
		b["allocation_pools"] = []any{map[string]any{
			"start": c.one("start", "10.0.0.2", "10.0.0.4", "2001:db8::2"), "end": c.one("end", "10.0.0.3", "10.0.0.6", "2001:db8::3"),
		}}
	}
	if mode := c.one("mode", "", "slaac", "dhcpv6-stateful"); mode != "" {
		b["ipv6_address_mode"] = mode
	}
	_, err := c.CreateSubnet(c.caller(), b)
	return err
}

func (c *cloud) updateSubnet() error {
	b := st.Body{}
	switch c.one("update", "gateway", "dhcp", "pools") {
	case "gateway":
		b["gateway_ip"] = rapid.SampledFrom([]any{nil, "10.0.0.1", "10.0.0.6", "2001:db8::9"}).Draw(c.T, "gateway")
	case "dhcp":
		b["enable_dhcp"] = c.maybe("dhcp")
	case "pools":
		b["allocation_pools"] = []any{map[string]any{"start": "10.0.0.2", "end": c.one("end", "10.0.0.3", "10.0.0.6")}}
	}
	_, err := c.UpdateSubnet(st.Admin, c.subnetID(), b)
	return err
}

func (c *cloud) deleteSubnet() error { return c.DeleteSubnet(st.Admin, c.subnetID()) }

func (c *cloud) fixedIPs() []any {
	wishes := []any{}
	for range rapid.IntRange(0, 3).Draw(c.T, "wishes") {
		w := map[string]any{}
		if c.maybe("subnet") {
			w["subnet_id"] = c.subnetID()
		}
		if len(w) == 0 || c.maybe("address") {
			w["ip_address"] = c.one("ip", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.7", "10.0.1.2",
				"2001:db8::9", "2001:db8:1:0:f816:3eff:fe00:1", "192.0.2.1")
		}
		wishes = append(wishes, w)
	}
	return wishes
}

func (c *cloud) createPort() error {
	b := st.Body{"network_id": c.networkID()}
	if c.maybe("addresses") {
		b["fixed_ips"] = c.fixedIPs()
	}
	if c.maybe("mac") {
		b["mac_address"] = c.one("mac", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02")
	}
	if c.maybe("owner") {
		b["device_owner"] = c.one("owner", "compute:nova", "network:router_interface", "network:dhcp")
	}
	if c.maybe("host") {
		b["binding:host_id"] = c.one("host", "a", "b", "bad host")
	}
	_, err := c.CreatePort(c.caller(), b)
	return err
}

func (c *cloud) updatePort() error {
	b := st.Body{}
	switch c.one("update", "addresses", "mac", "host", "admin", "owner") {
	case "addresses":
		b["fixed_ips"] = c.fixedIPs()
	case "mac":
		b["mac_address"] = c.one("mac", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02", "fa:16:3e:00:00:03")
	case "host":
		b["binding:host_id"] = rapid.SampledFrom([]any{nil, "a", "b", "c"}).Draw(c.T, "host")
	case "admin":
		b["admin_state_up"] = c.maybe("up")
	case "owner":
		b["device_owner"] = c.one("owner", "", "network:router_interface")
	}
	_, err := c.UpdatePort(c.caller(), c.portID(), b)
	return err
}

func (c *cloud) deletePort() error { return c.DeletePort(st.Admin, c.portID()) }

func (c *cloud) connect() error {
	hello := agent.Hello{Roles: []model.Role{model.RoleL2}, TunnelIP: netip.MustParseAddr("192.0.2.1")}
	if c.maybe("vxlan") {
		hello.TunnelTypes = []string{"vxlan"}
	}
	if c.maybe("dhcp") {
		hello.Roles = append(hello.Roles, model.RoleDHCP)
	}
	host := c.one("host", "a", "b")
	return c.Update(func(tx *state.Tx) error { return c.Agents.Connected(tx, host, hello) })
}

func (c *cloud) report() error {
	s := port.Status{
		Key:   c.one("kind", "port/", "dhcp-host/") + c.portID(),
		State: rapid.SampledFrom([]port.State{port.Absent, port.Done, port.Failed}).Draw(c.T, "state"), Reason: "why",
	}
	host := c.one("host", "a", "b")
	return c.Update(func(tx *state.Tx) error { c.Ports.Report(tx, host, []port.Status{s}); return nil })
}

// serve gives all networks their DHCP servers. What it cannot do is no failure.
func (c *cloud) serve() error {
	return c.Update(func(tx *state.Tx) error {
		for n := range state.Networks.All(c.Store.Read()) {
			_ = c.DHCP.Ensure(tx, n.ID)
		}
		return nil
	})
}

// check is what always holds.
func (c *cloud) check(r *state.Snapshot) {
	segments := map[string]bool{}
	for n := range state.Networks.All(r) {
		if len(n.Segments) != 1 || n.Segments[0].ID == "" || n.MTU < 68 || n.MTU > 1500 {
			c.Fatalf("network %+v", n)
		}
		s := n.Segments[0]
		key := state.SegmentKey(s.NetworkType, s.PhysicalNetwork, s.SegmentationID)
		if segments[key] && s.NetworkType != model.TypeLocal {
			c.Fatalf("two networks have the segment %s", key)
		}
		segments[key] = true
		var subnets []string
		for sub := range state.SubnetsByNetwork.List(r, n.ID) {
			subnets = append(subnets, sub.ID)
		}
		if have := slices.Sorted(slices.Values(n.SubnetIDs)); !slices.Equal(have, subnets) {
			c.Fatalf("the network names the subnets %v, and there are %v", have, subnets)
		}
	}
	for s := range state.Subnets.All(r) {
		c.checkSubnet(r, s)
	}
	ips, macs := map[string]bool{}, map[string]bool{}
	for p := range state.Ports.All(r) {
		c.checkPort(r, p)
		if macs[p.NetworkID+p.MAC] {
			c.Fatalf("two ports have the MAC %s", p.MAC)
		}
		macs[p.NetworkID+p.MAC] = true
		for _, f := range p.FixedIPs {
			if key := fmt.Sprint(f); ips[key] {
				c.Fatalf("the address %s is given twice", key)
			} else {
				ips[key] = true
			}
		}
	}
	for b := range state.DHCPBindings.All(r) {
		if _, ok := state.Networks.Get(r, b.NetworkID); !ok {
			c.Fatalf("the DHCP binding %s is an orphan", b.ID)
		}
	}
}

func (c *cloud) checkSubnet(r *state.Snapshot, s *model.Subnet) {
	if _, ok := state.Networks.Get(r, s.NetworkID); !ok {
		c.Fatalf("subnet %s is an orphan", s.ID)
	}
	if err := ipam.ValidatePools(s.CIDR, s.AllocationPools); err != nil {
		c.Fatalf("subnet %+v: %v", s, err)
	}
	if err := ipam.GatewayOutside(s.GatewayIP, s.AllocationPools); err != nil {
		c.Fatalf("subnet %+v: %v", s, err)
	}
	for other := range state.SubnetsByNetwork.List(r, s.NetworkID) {
		if other.ID != s.ID && other.CIDR.Overlaps(s.CIDR) {
			c.Fatalf("subnets %s and %s overlap", s.CIDR, other.CIDR)
		}
	}
}

func (c *cloud) checkPort(r *state.Snapshot, p *model.Port) {
	if _, ok := state.Networks.Get(r, p.NetworkID); !ok {
		c.Fatalf("port %s is an orphan", p.ID)
	}
	for _, f := range p.FixedIPs {
		s, ok := state.Subnets.Get(r, f.SubnetID)
		if !ok || s.NetworkID != p.NetworkID || !s.CIDR.Contains(f.IP) {
			c.Fatalf("port %s has the address %+v", p.ID, f)
		}
	}
	if p.Status == model.PortActive && (!p.Binding.Bound() || !p.AdminStateUp || !p.Wired) {
		c.Fatalf("port %s is ACTIVE: %+v", p.ID, p)
	}
	if p.Binding.Bound() && p.Binding.SegmentID == "" || p.Binding.VIFType == model.VIFBindingFailed && p.StatusReason == "" {
		c.Fatalf("port %s is badly bound: %+v", p.ID, p)
	}
}
