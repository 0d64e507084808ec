package port_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/port"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// put stores objects, whatever rules there are for them.
func put[T any](t testing.TB, w *st.World, table *state.Table[T], objs ...*T) {
	t.Helper()
	st.Must(0, w.Update(func(tx *state.Tx) error {
		for _, o := range objs {
			table.Put(tx, o)
		}
		return nil
	}))(t)
}

func group(id, project string) *model.SecurityGroup {
	return &model.SecurityGroup{Meta: model.Meta{ID: id, ProjectID: project}, Stateful: true}
}

const (
	ours   = "11111111-1111-1111-1111-111111111111"
	theirs = "22222222-2222-2222-2222-222222222222"
)

func TestSecurityGroupsOfNewPorts(t *testing.T) {
	s := newSite(t, false)
	put(t, s.World, state.SecurityGroups, group(ours, "p1"), group(theirs, "p2"))
	pair := []any{map[string]any{"ip_address": "10.9.0.0/16"}}
	for _, c := range []struct {
		name   string
		caller *auth.Caller
		body   st.Body
		want   []string // "default": the default group of the project
		kind   fault.Kind
		fault  string
	}{
		{name: "not given", body: st.Body{}, want: []string{"default"}},
		{name: "null", body: st.Body{"security_groups": nil}, want: []string{"default"}},
		{name: "none", body: st.Body{"security_groups": []any{}}},
		{name: "ours", body: st.Body{"security_groups": []any{ours}}, want: []string{ours}},
		{name: "theirs", body: st.Body{"security_groups": []any{theirs}}, kind: fault.NotFound, fault: "SecurityGroupNotFound"},
		{name: "of a service for us", caller: &auth.Caller{ProjectID: "service", Roles: []string{"service"}},
			body: st.Body{"project_id": "p1", "security_groups": []any{theirs}}, kind: fault.NotFound, fault: "SecurityGroupNotFound"},
		{name: "an administrator's choice", caller: st.Admin,
			body: st.Body{"project_id": "p1", "security_groups": []any{theirs}}, want: []string{theirs}},
		{name: "unfiltered", body: st.Body{"port_security_enabled": false}},
		{name: "unfiltered with groups", body: st.Body{"port_security_enabled": false, "security_groups": []any{ours}},
			kind: fault.Invalid, fault: "PortSecurityAndIPRequiredForSecurityGroups"},
		{name: "unfiltered with pairs", body: st.Body{"port_security_enabled": false, "allowed_address_pairs": pair},
			kind: fault.Conflict, fault: "AddressPairAndPortSecurityRequired"},
		{name: "part of the network", caller: st.Admin,
			body: st.Body{"device_owner": "network:dhcp", "security_groups": []any{ours}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.caller == nil {
				c.caller = st.Member
			}
			c.body["network_id"] = s.n.ID
			p, err := s.CreatePort(c.caller, c.body)
			if c.fault != "" {
				st.WantFault(t, err, c.kind, c.fault)
				return
			}
			got := slices.Clone(st.Must(p, err)(t).SecurityGroupIDs)
			for i, id := range got {
				if g, ok := state.SecurityGroups.Get(s.Store.Read(), id); ok && g.Default && g.ProjectID == p.ProjectID {
					got[i] = "default"
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("the groups are %v, want %v", got, c.want)
			}
		})
	}
}

func TestPortSecurityGoesLast(t *testing.T) {
	s := newSite(t, false)
	put(t, s.World, state.SecurityGroups, group(ours, "p1"), group(theirs, "p2"))
	p := s.port(t, st.Body{"allowed_address_pairs": []any{map[string]any{"ip_address": "10.9.0.1"}}})
	if got := p.AllowedAddressPairs[0]; got.MAC != p.MAC || got.Text() != "10.9.0.1" {
		t.Errorf("the pair is %+v", got)
	}
	for i, c := range []struct {
		body  st.Body
		kind  fault.Kind
		fault string
	}{
		{st.Body{"port_security_enabled": false}, fault.Conflict, "AddressPairAndPortSecurityRequired"},
		{st.Body{"allowed_address_pairs": []any{map[string]any{"ip_address": "10.9.0.1"},
			map[string]any{"ip_address": "10.9.0.1", "mac_address": p.MAC}}}, fault.Invalid, "DuplicateAddressPairInRequest"},
		{st.Body{"allowed_address_pairs": []any{}}, 0, ""},
		{st.Body{"port_security_enabled": false}, fault.Conflict, "PortSecurityPortHasSecurityGroup"},
		{st.Body{"port_security_enabled": false, "security_groups": []any{ours}}, fault.Invalid, "PortSecurityAndIPRequiredForSecurityGroups"},
		{st.Body{"security_groups": []any{theirs}}, fault.NotFound, "SecurityGroupNotFound"},
		{st.Body{"port_security_enabled": false, "security_groups": []any{}}, 0, ""},
		{st.Body{"security_groups": []any{ours}}, fault.Invalid, "PortSecurityAndIPRequiredForSecurityGroups"},
		{st.Body{"allowed_address_pairs": []any{map[string]any{"ip_address": "10.9.0.1"}}}, fault.Conflict, "AddressPairAndPortSecurityRequired"},
		{st.Body{"port_security_enabled": true, "security_groups": []any{ours}}, 0, ""},
	} {
		_, err := s.UpdatePort(st.Member, p.ID, c.body)
		if c.fault == "" {
			st.Must(0, err)(t)
			continue
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) { st.WantFault(t, err, c.kind, c.fault) })
	}
	if got := s.Port(t, p.ID).SecurityGroupIDs; !slices.Equal(got, []string{ours}) {
		t.Error(got)
	}
}

// CVE-2014-0056: a port with the id of a foreign router as its device was plugged into that router.
func TestCVE20140056PortsAreNotPluggedIntoForeignRouters(t *testing.T) {
	s := newSite(t, false)
	put(t, s.World, state.Routers, &model.Router{Meta: model.Meta{ID: ours, ProjectID: "p1"}},
		&model.Router{Meta: model.Meta{ID: theirs, ProjectID: "p2"}})
	for _, owner := range []string{"network:router_interface", "network:router_interface_distributed",
		"network:ha_router_replicated_interface", "network:router_gateway"} {
		_, err := s.try(st.Body{"device_owner": owner, "device_id": theirs})
		st.WantFault(t, err, fault.Conflict, "DeviceIDNotOwnedByTenant")
		p := s.port(t, st.Body{"device_owner": owner})
		_, err = s.UpdatePort(st.Member, p.ID, st.Body{"device_id": theirs})
		st.WantFault(t, err, fault.Conflict, "DeviceIDNotOwnedByTenant")
		p = s.port(t, st.Body{"device_id": theirs})
		_, err = s.UpdatePort(st.Member, p.ID, st.Body{"device_owner": owner})
		st.WantFault(t, err, fault.Conflict, "DeviceIDNotOwnedByTenant")
		st.Must(s.try(st.Body{"device_owner": owner, "device_id": ours}))(t)
	}
}

func TestPortsThatOthersStandOnStay(t *testing.T) {
	s := newSite(t, false)
	put(t, s.World, state.Routers, &model.Router{Meta: model.Meta{ID: ours, ProjectID: "p1"}})
	put(t, s.World, state.FloatingIPs, &model.FloatingIP{Meta: model.Meta{ID: theirs, ProjectID: "p1"}})
	for _, b := range []st.Body{
		{"device_owner": "network:router_interface", "device_id": ours},
		{"device_owner": "network:router_gateway", "device_id": ours},
		{"device_owner": "network:floatingip", "device_id": theirs},
	} {
		p := s.port(t, b)
		st.WantFault(t, s.DeletePort(st.Admin, p.ID), fault.Conflict, "ServicePortInUse")
		_, err := s.UpdatePort(st.Admin, p.ID, st.Body{"fixed_ips": ips("10.0.0.77")})
		st.WantFault(t, err, fault.Invalid, "BadRequest")
		_, err = s.UpdatePort(st.Admin, p.ID, st.Body{"mac_address": "fa:16:3e:77:77:77"})
		st.WantFault(t, err, fault.Conflict, "UnsupportedPortDeviceOwner")
		st.Must(0, s.DeletePort(auth.System, p.ID))(t)
	}
	stale := s.port(t, st.Body{"device_owner": "network:router_interface", "device_id": "gone"})
	st.Must(0, s.DeletePort(st.Member, stale.ID))(t)
}

func TestExtraDHCPOptionsAreMerged(t *testing.T) {
	s := newSite(t, false)
	opt := func(name string, value any, version int) map[string]any {
		return map[string]any{"opt_name": name, "opt_value": value, "ip_version": version}
	}
	p := s.port(t, st.Body{"extra_dhcp_opts": []any{opt("a", "1", 4), opt("b", nil, 4), opt("a", "6", 6)}})
	for i, c := range []struct {
		wishes []any
		want   string
	}{
		{nil, "[{a 1 4 false} {a 6 6 false}]"},
		{[]any{opt("a", "2", 4), opt("c", "3", 4)}, "[{a 2 4 false} {a 6 6 false} {c 3 4 false}]"},
		{[]any{opt("a", nil, 6), opt("x", nil, 4)}, "[{a 2 4 false} {c 3 4 false}]"},
	} {
		got := st.Must(s.UpdatePort(st.Member, p.ID, st.Body{"extra_dhcp_opts": c.wishes}))(t)
		if fmt.Sprint(got.ExtraDHCPOpts) != c.want {
			t.Fatalf("%d: %v, want %s", i, got.ExtraDHCPOpts, c.want)
		}
	}
	full := func(prefix string) (all []any) {
		for i := range 63 {
			all = append(all, opt(fmt.Sprint(prefix, i), "v", 4))
		}
		return all
	}
	_, err := s.UpdatePort(st.Member, p.ID, st.Body{"extra_dhcp_opts": full("x")})
	st.WantFault(t, err, fault.Invalid, "HTTPBadRequest")
}

func TestRegeneratedMAC(t *testing.T) {
	s := newSite(t, true)
	p := s.port(t, st.Body{"mac_address": "fa:16:3e:01:02:03"})
	got := st.Must(s.UpdatePort(st.Member, p.ID, st.Body{"mac_address": nil}))(t)
	if got.MAC == "" || got.MAC == p.MAC || got.FixedIPs[0] != p.FixedIPs[0] {
		t.Errorf("%s, %v", got.MAC, got.FixedIPs)
	}
}

func TestNamesFitTheDomainOfTheCloud(t *testing.T) {
	s := newSite(t, false)
	for name, ok := range map[string]bool{
		"web": true, "web.openstacklocal.": true, "web.example.org.": false, "openstacklocal.": false, "a.b": true,
	} {
		if _, err := s.try(st.Body{"dns_name": name}); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServiceTypesReserveSubnets(t *testing.T) {
	s := newSite(t, false)
	s.b = st.Must(s.UpdateSubnet(st.Admin, s.b.ID, st.Body{"service_types": []any{"compute:nova"}}))(t)
	for _, c := range []struct {
		owner string
		want  *model.Subnet
	}{{"", s.a}, {"compute:nova", s.b}, {"compute:ironic", s.a}} {
		p := s.port(t, st.Body{"device_owner": c.owner})
		if len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != c.want.ID {
			t.Errorf("a port of %q has %v", c.owner, p.FixedIPs)
		}
	}
	_, err := s.try(st.Body{"fixed_ips": ips(s.b)})
	st.WantFault(t, err, fault.Invalid, "InvalidInput")
	st.Must(s.UpdateSubnet(st.Admin, s.a.ID, st.Body{"service_types": []any{"compute:ironic"}}))(t)
	_, err = s.try(st.Body{})
	st.WantFault(t, err, fault.Conflict, "IpAddressGenerationFailureNoMatchingSubnet")
}

// routed is a network of two segments, each with a subnet, and hosts that reach one of them.
func routed(t *testing.T) (s *site, first, second *model.Subnet) {
	s = newSite(t, false)
	n := s.Network(t, s.n.ID).Clone()
	n.Segments = []model.Segment{
		{ID: "s1", NetworkType: model.TypeFlat, PhysicalNetwork: "one"},
		{ID: "s2", NetworkType: model.TypeFlat, PhysicalNetwork: "two"},
	}
	first, second = s.a.Clone(), s.b.Clone()
	first.SegmentID, second.SegmentID = "s1", "s2"
	put(t, s.World, state.Networks, n)
	put(t, s.World, state.Subnets, first, second)
	for host, mappings := range map[string]map[string]string{
		"rack1": {"one": "eth1"}, "rack2": {"two": "eth1"}, "rack3": {},
	} {
		s.Hello(t, host, agent.Hello{Roles: []model.Role{model.RoleL2}, BridgeMappings: mappings})
	}
	return s, first, second
}

func TestAddressesOfRoutedNetworksFollowTheHost(t *testing.T) {
	s, first, second := routed(t)
	p := s.port(t, st.Body{})
	if p.IPAllocation != model.IPDeferred || len(p.FixedIPs) != 0 {
		t.Fatalf("%+v", p)
	}
	_, err := s.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": "rack3"})
	st.WantFault(t, err, fault.Conflict, "HostNotConnectedToAnySegment")
	p = st.Must(s.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": "rack2"}))(t)
	if in(p, first, second)[1] != 1 {
		t.Fatalf("on rack2 it has %v", p.FixedIPs)
	}
	_, err = s.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": "rack1"})
	st.WantFault(t, err, fault.Conflict, "HostNotCompatibleWithFixedIps")
	if p := s.port(t, st.Body{"binding:host_id": "rack1"}); in(p, first, second)[0] != 1 || p.IPAllocation != "" {
		t.Errorf("on rack1 a new one has %v", p.FixedIPs)
	}
	if p := s.port(t, st.Body{"fixed_ips": ips(second)}); in(p, first, second)[1] != 1 {
		t.Errorf("an explicit wish got %v", p.FixedIPs)
	}
	if p := s.port(t, st.Body{"fixed_ips": ips()}); p.IPAllocation != model.IPNone {
		t.Errorf("without addresses: %q", p.IPAllocation)
	}
}

func TestBoundPortsKeepWhatTheirDeviceHas(t *testing.T) {
	s := newSite(t, false)
	s.Connect(t, "compute1")
	p := s.port(t, st.Body{"binding:host_id": "compute1", "device_id": "vm"})
	_, err := s.UpdatePort(st.Member, p.ID, st.Body{"binding:vnic_type": "direct"})
	st.WantFault(t, err, fault.Conflict, "PortInUse")
	_, err = s.UpdatePort(st.Member, p.ID, st.Body{"numa_affinity_policy": "required"})
	st.WantFault(t, err, fault.Conflict, "PortBoundNUMAAffinityPolicy")
	st.Must(s.UpdatePort(st.Member, s.port(t, st.Body{}).ID, st.Body{"numa_affinity_policy": "required"}))(t)
}

func TestQoSPoliciesHaveToBeThere(t *testing.T) {
	s := newSite(t, false)
	put(t, s.World, state.QoSPolicies, &model.QoSPolicy{Meta: model.Meta{ID: ours, ProjectID: "p1"}},
		&model.QoSPolicy{Meta: model.Meta{ID: theirs, ProjectID: "p2"}})
	_, err := s.try(st.Body{"qos_policy_id": theirs})
	st.WantFault(t, err, fault.NotFound, "QosPolicyNotFound")
	p := s.port(t, st.Body{"qos_policy_id": ours})
	_, err = s.UpdatePort(st.Member, p.ID, st.Body{"qos_policy_id": theirs})
	st.WantFault(t, err, fault.NotFound, "QosPolicyNotFound")
}

// veto is a follower that forbids.
type veto struct{ asked []string }

func (v *veto) PortDeleted(_ *state.Tx, p *model.Port) error {
	v.asked = append(v.asked, p.ID)
	return fault.New(fault.Conflict, "PortInUse", "no")
}

func TestFollowersAreAskedBeforeAPortGoes(t *testing.T) {
	s := newSite(t, false)
	v := &veto{}
	s.Ports.Follow(v)
	p := s.port(t, st.Body{})
	st.WantFault(t, s.DeletePort(st.Member, p.ID), fault.Conflict, "PortInUse")
	if !slices.Equal(v.asked, []string{p.ID}) {
		t.Error(v.asked)
	}
	s.Port(t, p.ID)
}

var _ port.Follower = &veto{}
