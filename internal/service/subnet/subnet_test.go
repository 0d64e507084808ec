package subnet_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func pool(start, end string) map[string]any { return map[string]any{"start": start, "end": end} }

func show(pools []model.AllocationPool) string {
	s := ""
	for _, p := range pools {
		s += fmt.Sprintf("%s-%s ", p.Start, p.End)
	}
	return s
}

func TestSubnetIsCompleted(t *testing.T) {
	for _, c := range []struct {
		body    st.Body
		gateway string
		pools   string
	}{
		{st.Body{"cidr": "10.0.0.0/24"}, "10.0.0.1", "10.0.0.2-10.0.0.254 "},
		{st.Body{"cidr": "10.0.0.77/24"}, "10.0.0.1", "10.0.0.2-10.0.0.254 "},
		{st.Body{"cidr": "10.0.0.0/24", "gateway_ip": nil}, "invalid IP", "10.0.0.1-10.0.0.254 "},
		{st.Body{"cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.100"}, "10.0.0.100", "10.0.0.1-10.0.0.99 10.0.0.101-10.0.0.254 "},
		{st.Body{"cidr": "10.0.0.0/24", "gateway_ip": "192.0.2.1"}, "192.0.2.1", "10.0.0.1-10.0.0.254 "},
		{st.Body{"cidr": "10.0.0.0/24", "allocation_pools": []any{pool("10.0.0.5", "10.0.0.9")}}, "10.0.0.1", "10.0.0.5-10.0.0.9 "},
		{st.Body{"cidr": "10.0.0.0/24", "allocation_pools": []any{}}, "10.0.0.1", ""},
		{st.Body{"cidr": "10.0.0.0/24", "allocation_pools": nil}, "10.0.0.1", "10.0.0.2-10.0.0.254 "},
		{st.Body{"cidr": "10.0.0.0/31", "enable_dhcp": false}, "10.0.0.1", "10.0.0.0-10.0.0.0 "},
		{st.Body{"cidr": "10.0.0.9/32", "enable_dhcp": false}, "invalid IP", "10.0.0.9-10.0.0.9 "},
		{st.Body{"cidr": "2001:db8::/64"}, "2001:db8::1", "2001:db8::2-2001:db8::ffff:ffff:ffff:ffff "},
		{st.Body{"cidr": "2001:db8::/64", "gateway_ip": "fe80::1"}, "fe80::1", "2001:db8::1-2001:db8::ffff:ffff:ffff:ffff "},
	} {
		t.Run(fmt.Sprint(c.body), func(t *testing.T) {
			w := st.New(t, st.Options{})
			n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
			c.body["network_id"] = n.ID
			s := st.Must(w.CreateSubnet(st.Member, c.body))(t)
			if s.GatewayIP.String() != c.gateway || show(s.AllocationPools) != c.pools {
				t.Errorf("gateway %s, pools %s", s.GatewayIP, show(s.AllocationPools))
			}
			if got := w.Network(t, n.ID).SubnetIDs; !slices.Equal(got, []string{s.ID}) {
				t.Errorf("the network's subnets are %v", got)
			}
		})
	}
}

func TestBadSubnetsAreRefused(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	thin := st.Must(w.CreateNetwork(st.Member, st.Body{"mtu": 1000}))(t)
	secret := st.Must(w.CreateNetwork(st.Admin, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.9.0.0/16"}))(t)
	before := w.Store.Read()
	for _, c := range []struct {
		name string
		body st.Body
		kind fault.Kind
		want string
	}{
		{"no cidr", st.Body{}, fault.Invalid, "BadRequest"},
		{"unknown network", st.Body{"cidr": "10.0.0.0/24", "network_id": "00000000-0000-0000-0000-000000000000"}, fault.NotFound, "NetworkNotFound"},
		{"another's network", st.Body{"cidr": "10.0.0.0/24", "network_id": secret.ID}, fault.NotFound, "NetworkNotFound"},
		{"version", st.Body{"cidr": "10.0.0.0/24", "ip_version": 6}, fault.Invalid, "InvalidInput"},
		{"everything", st.Body{"cidr": "0.0.0.0/0"}, fault.Invalid, "InvalidInput"},
		{"multicast", st.Body{"cidr": "224.0.0.0/24"}, fault.Invalid, "InvalidInput"},
		{"multicast without DHCP", st.Body{"cidr": "239.1.0.0/24", "enable_dhcp": false}, fault.Invalid, "InvalidInput"},
		{"multicast within", st.Body{"cidr": "192.0.0.0/2"}, fault.Invalid, "InvalidInput"},
		{"loopback", st.Body{"cidr": "127.0.0.0/24"}, fault.Invalid, "InvalidInput"},
		{"link-local", st.Body{"cidr": "169.254.0.0/16"}, fault.Invalid, "InvalidInput"},
		{"this network", st.Body{"cidr": "0.1.0.0/16"}, fault.Invalid, "InvalidInput"},
		{"IPv6 multicast", st.Body{"cidr": "ff02::/64"}, fault.Invalid, "InvalidInput"},
		{"IPv6 link-local", st.Body{"cidr": "fe80::/64"}, fault.Invalid, "InvalidInput"},
		{"IPv6 loopback", st.Body{"cidr": "::1/128", "enable_dhcp": false}, fault.Invalid, "InvalidInput"},
		{"IPv6 unspecified", st.Body{"cidr": "::/64"}, fault.Invalid, "InvalidInput"},
		{"/31 with DHCP", st.Body{"cidr": "10.0.0.0/31"}, fault.Invalid, "InvalidInput"},
		{"/32 with DHCP", st.Body{"cidr": "10.0.0.0/32"}, fault.Invalid, "InvalidInput"},
		{"/127 with DHCP", st.Body{"cidr": "2001:db8::/127"}, fault.Invalid, "InvalidInput"},
		{"overlap", st.Body{"cidr": "10.9.1.0/24"}, fault.Invalid, "InvalidInput"},
		{"overlap around", st.Body{"cidr": "10.8.0.0/15"}, fault.Invalid, "InvalidInput"},
		{"gateway is the network", st.Body{"cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.0"}, fault.Invalid, "InvalidInput"},
		{"gateway is the broadcast", st.Body{"cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.255"}, fault.Invalid, "InvalidInput"},
		{"gateway of IPv6", st.Body{"cidr": "10.0.0.0/24", "gateway_ip": "2001:db8::1"}, fault.Invalid, "InvalidInput"},
		{"gateway is multicast", st.Body{"cidr": "10.0.0.0/24", "gateway_ip": "224.0.0.1"}, fault.Invalid, "InvalidInput"},
		{"gateway is nothing", st.Body{"cidr": "10.0.0.0/24", "gateway_ip": "0.0.0.0"}, fault.Invalid, "InvalidInput"},
		{"pool out of bounds", st.Body{"cidr": "10.0.0.0/24", "allocation_pools": []any{pool("10.0.0.2", "10.0.1.9")}}, fault.Invalid, "OutOfBoundsAllocationPool"},
		{"pool upside down", st.Body{"cidr": "10.0.0.0/24", "allocation_pools": []any{pool("10.0.0.9", "10.0.0.2")}}, fault.Invalid, "InvalidAllocationPool"},
		{"pool with the gateway", st.Body{"cidr": "10.0.0.0/24", "allocation_pools": []any{pool("10.0.0.1", "10.0.0.2")}}, fault.Conflict, "GatewayConflictWithAllocationPools"},
		{"pools overlap", st.Body{"cidr": "10.0.0.0/24", "allocation_pools": []any{pool("10.0.0.2", "10.0.0.9"), pool("10.0.0.9", "10.0.0.12")}}, fault.Conflict, "OverlappingAllocationPools"},
		{"DNS of IPv6", st.Body{"cidr": "10.0.0.0/24", "dns_nameservers": []any{"2001:db8::1"}}, fault.Invalid, "InvalidInput"},
		{"route of IPv6", st.Body{"cidr": "10.0.0.0/24", "host_routes": []any{map[string]any{"destination": "2001:db8::/64", "nexthop": "2001:db8::1"}}}, fault.Invalid, "InvalidInput"},
		{"modes of IPv4", st.Body{"cidr": "10.0.0.0/24", "ipv6_ra_mode": "slaac"}, fault.Invalid, "InvalidInput"},
		{"modes without DHCP", st.Body{"cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "enable_dhcp": false}, fault.Invalid, "InvalidInput"},
		{"modes differ", st.Body{"cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"}, fault.Invalid, "InvalidInput"},
		{"SLAAC in a /65", st.Body{"cidr": "2001:db8::/65", "ipv6_address_mode": "slaac"}, fault.Invalid, "InvalidInput"},
		{"IPv6 on a thin network", st.Body{"cidr": "2001:db8::/64", "network_id": thin.ID}, fault.Conflict, "NetworkMTUSubnetConflict"},
	} {
		if _, given := c.body["network_id"]; !given {
			c.body["network_id"] = n.ID
		}
		_, err := w.CreateSubnet(st.Member, c.body)
		t.Run(c.name, func(t *testing.T) { st.WantFault(t, err, c.kind, c.want) })
	}
	if after := w.Store.Read(); before != after {
		t.Error("a refused subnet has changed something")
	}
}

func TestSubnetUpdates(t *testing.T) {
	for _, c := range []struct {
		name   string
		create st.Body
		body   st.Body
		kind   fault.Kind
		want   string
		check  func(s *model.Subnet) bool
	}{
		{name: "pools", body: st.Body{"allocation_pools": []any{pool("10.0.0.50", "10.0.0.60")}},
			check: func(s *model.Subnet) bool { return show(s.AllocationPools) == "10.0.0.50-10.0.0.60 " }},
		{name: "pools that have the gateway", body: st.Body{"allocation_pools": []any{pool("10.0.0.1", "10.0.0.60")}},
			kind: fault.Conflict, want: "GatewayConflictWithAllocationPools"},
		{name: "pools and gateway together", body: st.Body{"gateway_ip": "10.0.0.61", "allocation_pools": []any{pool("10.0.0.1", "10.0.0.60")}},
			check: func(s *model.Subnet) bool { return s.GatewayIP.String() == "10.0.0.61" }},
		{name: "gateway in the pools", body: st.Body{"gateway_ip": "10.0.0.61"},
			kind: fault.Conflict, want: "GatewayConflictWithAllocationPools"},
		{name: "no gateway", body: st.Body{"gateway_ip": nil},
			check: func(s *model.Subnet) bool {
				return !s.GatewayIP.IsValid() && show(s.AllocationPools) == "10.0.0.2-10.0.0.254 "
			}},
		{name: "DNS", body: st.Body{"dns_nameservers": []any{"192.0.2.53"}},
			check: func(s *model.Subnet) bool { return s.DNSNameservers[0] == netip.MustParseAddr("192.0.2.53") }},
		{name: "DNS of IPv6", body: st.Body{"dns_nameservers": []any{"2001:db8::53"}}, want: "InvalidInput"},
		{name: "DHCP off", body: st.Body{"enable_dhcp": false}, check: func(s *model.Subnet) bool { return !s.EnableDHCP }},
		{name: "DHCP off with modes", create: st.Body{"cidr": "2001:db8::/64", "ipv6_address_mode": "slaac"},
			body: st.Body{"enable_dhcp": false}, want: "InvalidInput"},
		{name: "DHCP on in a /31", create: st.Body{"cidr": "10.0.0.0/31", "enable_dhcp": false},
			body: st.Body{"enable_dhcp": true}, want: "InvalidInput"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := st.New(t, st.Options{})
			n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
			create := st.Body{"cidr": "10.0.0.0/24"}
			if c.create != nil {
				create = c.create
			}
			create["network_id"] = n.ID
			s := st.Must(w.CreateSubnet(st.Member, create))(t)
			before := w.Subnet(t, s.ID)
			_, err := w.UpdateSubnet(st.Member, s.ID, c.body)
			after := w.Subnet(t, s.ID)
			if c.want != "" {
				st.WantFault(t, err, c.kind, c.want)
				if before != after {
					t.Error("the subnet was changed")
				}
			} else if err != nil || !c.check(after) {
				t.Errorf("%v: %+v", err, after)
			}
		})
	}
}

func TestGatewayOfARouterStays(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	s := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24"}))(t)
	st.Must(w.CreatePort(st.Admin, st.Body{"network_id": n.ID, "device_owner": "network:router_interface",
		"fixed_ips": []any{map[string]any{"ip_address": "10.0.0.1"}}}))(t)
	_, err := w.UpdateSubnet(st.Member, s.ID, st.Body{"gateway_ip": nil})
	st.WantFault(t, err, fault.Conflict, "GatewayIpInUse")
	_, err = w.UpdateSubnet(st.Member, s.ID, st.Body{"gateway_ip": "10.0.0.1", "name": "a"})
	st.Must(0, err)(t)
}

func TestSubnetInUseStaysAndAnUnusedOneGoes(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1")
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	a := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24"}))(t)
	b := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.1.0/24"}))(t)
	st.Must(0, w.Update(func(tx *state.Tx) error { return w.DHCP.Ensure(tx, n.ID) }))(t)
	st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID, "fixed_ips": []any{map[string]any{"subnet_id": a.ID}}}))(t)

	st.WantFault(t, w.DeleteSubnet(st.Member, a.ID), fault.Conflict, "SubnetInUse")
	st.Must(0, w.DeleteSubnet(st.Member, b.ID))(t)
	if got := w.Network(t, n.ID).SubnetIDs; !slices.Equal(got, []string{a.ID}) {
		t.Errorf("the network's subnets are %v", got)
	}
	var server *model.Port
	for p := range state.PortsByNetwork.List(w.Store.Read(), n.ID) {
		if p.DeviceOwner == model.DeviceOwnerDHCP {
			server = p
		}
	}
	if server == nil || len(server.FixedIPs) != 1 || server.FixedIPs[0].SubnetID != a.ID {
		t.Errorf("the DHCP server's port is %+v", server)
	}
}

func TestAutomaticSubnetGivesAndTakesAddresses(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID, "mac_address": "fa:16:3e:01:02:03"}))(t)
	r := st.Must(w.CreatePort(st.Admin, st.Body{"network_id": n.ID, "device_owner": "network:router_interface"}))(t)
	s := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "2001:db8::/64", "ipv6_address_mode": "slaac"}))(t)
	want := []model.FixedIP{{SubnetID: s.ID, IP: netip.MustParseAddr("2001:db8::f816:3eff:fe01:203")}}
	if got := w.Port(t, p.ID).FixedIPs; !slices.Equal(got, want) {
		t.Errorf("the port has %v", got)
	}
	if got := w.Port(t, r.ID).FixedIPs; len(got) != 0 {
		t.Errorf("the router has %v", got)
	}
	_, err := w.UpdatePort(st.Admin, r.ID, st.Body{"fixed_ips": []any{map[string]any{"subnet_id": s.ID, "ip_address": "2001:db8::1"}}})
	st.Must(0, err)(t)
	st.WantFault(t, w.DeleteSubnet(st.Member, s.ID), fault.Conflict, "SubnetInUse")
	st.Must(0, w.DeletePort(st.Admin, r.ID))(t)
	st.Must(0, w.DeleteSubnet(st.Member, s.ID))(t)
	if got := w.Port(t, p.ID).FixedIPs; len(got) != 0 {
		t.Errorf("the port still has %v", got)
	}
}
