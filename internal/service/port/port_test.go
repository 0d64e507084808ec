package port_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/port"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// site is a network with two IPv4 subnets, and on demand IPv6 ones.
type site struct {
	*st.World
	n              *model.Network
	a, b, v6, auto *model.Subnet
}

func newSite(t *testing.T, ipv6 bool) *site {
	s := &site{World: st.New(t, st.Options{})}
	s.n = st.Must(s.CreateNetwork(st.Member, st.Body{}))(t)
	subnet := func(b st.Body) *model.Subnet {
		b["network_id"] = s.n.ID
		return st.Must(s.CreateSubnet(st.Member, b))(t)
	}
	s.a = subnet(st.Body{"cidr": "10.0.0.0/24"})
	s.b = subnet(st.Body{"cidr": "10.0.1.0/24"})
	if ipv6 {
		s.v6 = subnet(st.Body{"cidr": "2001:db8:1::/64"})
		s.auto = subnet(st.Body{"cidr": "2001:db8:2::/64", "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"})
	}
	return s
}

func (s *site) port(t testing.TB, b st.Body) *model.Port {
	t.Helper()
	return st.Must(s.try(b))(t)
}

func (s *site) try(b st.Body) (*model.Port, error) {
	if _, given := b["network_id"]; !given {
		b["network_id"] = s.n.ID
	}
	return s.CreatePort(st.Member, b)
}

// ips is a fixed_ips attribute: each wish is a subnet, an address, or nil for nothing.
func ips(wishes ...any) []any {
	out := []any{}
	for _, w := range wishes {
		switch w := w.(type) {
		case *model.Subnet:
			out = append(out, map[string]any{"subnet_id": w.ID})
		case string:
			out = append(out, map[string]any{"ip_address": w})
		}
	}
	return out
}

// in counts the port's addresses in each of the subnets.
func in(p *model.Port, subnets ...*model.Subnet) (counts []int) {
	for _, s := range subnets {
		n := 0
		for _, f := range p.FixedIPs {
			if f.SubnetID == s.ID && s.CIDR.Contains(f.IP) {
				n++
			}
		}
		counts = append(counts, n)
	}
	return counts
}

func TestNewPortIsCompleted(t *testing.T) {
	s := newSite(t, false)
	p := s.port(t, st.Body{"name": "a"})
	if !strings.HasPrefix(p.MAC, "fa:16:3e:") || p.Status != model.PortDown || !p.AdminStateUp ||
		!p.PortSecurityEnabled || p.Binding.VIFType != model.VIFUnbound || p.Binding.VNICType != "normal" {
		t.Errorf("%+v", p)
	}
	_, err := s.UpdateNetwork(st.Member, s.n.ID, st.Body{"port_security_enabled": false})
	st.Must(0, err)(t)
	if s.port(t, st.Body{}).PortSecurityEnabled {
		t.Error("port security is not that of the network")
	}
	if !s.port(t, st.Body{"port_security_enabled": true}).PortSecurityEnabled {
		t.Error("port security is not what was asked for")
	}
}

func TestWhichAddressesANewPortGets(t *testing.T) {
	for _, c := range []struct {
		name string
		body func(s *site) st.Body
		want []int // in a, b, v6, auto
	}{
		{"any", func(*site) st.Body { return st.Body{} }, []int{1, 0, 1, 1}},
		{"none", func(*site) st.Body { return st.Body{"fixed_ips": ips()} }, []int{0, 0, 0, 0}},
		{"a subnet", func(s *site) st.Body { return st.Body{"fixed_ips": ips(s.b)} }, []int{0, 1, 0, 1}},
		{"a subnet twice", func(s *site) st.Body { return st.Body{"fixed_ips": ips(s.b, s.b)} }, []int{0, 2, 0, 1}},
		{"two subnets", func(s *site) st.Body { return st.Body{"fixed_ips": ips(s.v6, s.a)} }, []int{1, 0, 1, 1}},
		{"an address", func(*site) st.Body { return st.Body{"fixed_ips": ips("10.0.1.9")} }, []int{0, 1, 0, 1}},
		{"an address outside of the pools", func(*site) st.Body { return st.Body{"fixed_ips": ips("10.0.1.1")} }, []int{0, 1, 0, 1}},
		{"the automatic subnet", func(s *site) st.Body { return st.Body{"fixed_ips": ips(s.auto)} }, []int{0, 0, 0, 1}},
		{"its own automatic address", func(*site) st.Body {
			return st.Body{"mac_address": "FA:16:3E:01:02:03", "fixed_ips": ips("2001:db8:2:0:f816:3eff:fe01:203")}
		}, []int{0, 0, 0, 1}},
		{"a router's automatic subnet", func(s *site) st.Body {
			return st.Body{"device_owner": "network:router_interface", "fixed_ips": ips("2001:db8:2::1")}
		}, []int{0, 0, 0, 1}},
		{"a router's IPv4", func(s *site) st.Body {
			return st.Body{"device_owner": "network:router_interface", "fixed_ips": ips(s.a)}
		}, []int{1, 0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, true)
			p := s.port(t, c.body(s))
			if got := in(p, s.a, s.b, s.v6, s.auto); !slices.Equal(got, c.want) {
				t.Errorf("the port has %v", p.FixedIPs)
			}
		})
	}
}

func TestPortOfANetworkWithoutSubnetsHasNoAddress(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	if p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t); len(p.FixedIPs) != 0 {
		t.Errorf("%v", p.FixedIPs)
	}
}

func TestBadPortsAreRefused(t *testing.T) {
	s := newSite(t, true)
	s.port(t, st.Body{"mac_address": "fa:16:3e:00:00:01", "fixed_ips": ips("10.0.0.9")})
	foreign := st.Must(s.CreateNetwork(st.Admin, st.Body{}))(t)
	hidden := st.Must(s.CreateSubnet(st.Admin, st.Body{"network_id": foreign.ID, "cidr": "10.0.0.0/24"}))(t)
	mine := st.Must(s.CreateNetwork(st.Member, st.Body{}))(t)
	elsewhere := st.Must(s.CreateSubnet(st.Member, st.Body{"network_id": mine.ID, "cidr": "10.0.0.0/24"}))(t)
	empty := st.Must(s.CreateNetwork(st.Member, st.Body{}))(t)
	nobody := "00000000-0000-0000-0000-000000000000"
	before := s.Store.Read()
	for _, c := range []struct {
		name string
		body st.Body
		kind fault.Kind
		want string
	}{
		{"unknown network", st.Body{"network_id": nobody}, fault.NotFound, "NetworkNotFound"},
		{"another's network", st.Body{"network_id": foreign.ID}, fault.NotFound, "NetworkNotFound"},
		{"MAC in use", st.Body{"mac_address": "fa:16:3e:00:00:01"}, fault.Conflict, "MacAddressInUse"},
		{"address in use", st.Body{"fixed_ips": ips("10.0.0.9")}, fault.Conflict, "IpAddressAlreadyAllocated"},
		{"address of no subnet", st.Body{"fixed_ips": ips("192.0.2.1")}, fault.Invalid, "InvalidIpForNetwork"},
		{"address without subnets", st.Body{"network_id": empty.ID, "fixed_ips": ips("192.0.2.1")}, fault.Invalid, "InvalidInput"},
		{"network address", st.Body{"fixed_ips": ips("10.0.0.0")}, fault.Invalid, "InvalidIpForNetwork"},
		{"broadcast address", st.Body{"fixed_ips": ips("10.0.0.255")}, fault.Invalid, "InvalidIpForNetwork"},
		{"address of another subnet", st.Body{"fixed_ips": []any{map[string]any{"subnet_id": s.a.ID, "ip_address": "10.0.1.7"}}},
			fault.Invalid, "InvalidIpForSubnet"},
		{"unknown subnet", st.Body{"fixed_ips": []any{map[string]any{"subnet_id": nobody}}}, fault.NotFound, "SubnetNotFound"},
		{"another's subnet", st.Body{"fixed_ips": ips(hidden)}, fault.NotFound, "SubnetNotFound"},
		{"subnet of another network", st.Body{"fixed_ips": ips(elsewhere)}, fault.Invalid, "InvalidInput"},
		{"automatic address of another", st.Body{"fixed_ips": ips("2001:db8:2::7")}, fault.Invalid, "AllocationOnAutoAddressSubnet"},
		{"bad host", st.Body{"binding:host_id": "a b"}, fault.Invalid, "HTTPBadRequest"},
		{"injected host", st.Body{"binding:host_id": "a/../b"}, fault.Invalid, "HTTPBadRequest"},
		{"host of hyphens", st.Body{"binding:host_id": "-a"}, fault.Invalid, "HTTPBadRequest"},
		{"host of dots", st.Body{"binding:host_id": "a..b"}, fault.Invalid, "HTTPBadRequest"},
		{"long host", st.Body{"binding:host_id": strings.Repeat("a", 64)}, fault.Invalid, "HTTPBadRequest"},
	} {
		_, err := s.try(c.body)
		t.Run(c.name, func(t *testing.T) { st.WantFault(t, err, c.kind, c.want) })
	}
	if before != s.Store.Read() {
		t.Error("a refused port has changed something")
	}
}

func TestAddressesThatAreAskedForAgainStay(t *testing.T) {
	s := newSite(t, true)
	p := s.port(t, st.Body{"mac_address": "fa:16:3e:01:02:03", "fixed_ips": ips("10.0.0.9", "10.0.1.9")})
	taken := s.port(t, st.Body{"fixed_ips": ips("10.0.0.20")})
	auto := "2001:db8:2:0:f816:3eff:fe01:203"
	update := func(wishes []any) ([]string, error) {
		_, err := s.UpdatePort(st.Member, p.ID, st.Body{"fixed_ips": wishes})
		var have []string
		for _, f := range s.Port(t, p.ID).FixedIPs {
			have = append(have, f.IP.String())
		}
		return have, err
	}
	for i, c := range []struct {
		wishes []any
		want   []string
	}{
		{ips("10.0.0.9"), []string{"10.0.0.9", auto}},
		{ips(s.a), []string{"10.0.0.9", auto}},
		{ips("10.0.0.30", "10.0.0.31"), []string{"10.0.0.30", "10.0.0.31", auto}},
		{ips("10.0.0.31", s.a), []string{"10.0.0.31", "10.0.0.30", auto}},
		{ips(auto, "10.0.0.31"), []string{auto, "10.0.0.31"}},
		{ips(), []string{auto}},
		{ips("10.0.0.9", "10.0.1.9"), []string{"10.0.0.9", "10.0.1.9", auto}},
	} {
		got, err := update(c.wishes)
		if err != nil || !slices.Equal(got, c.want) {
			t.Fatalf("%d: %v, %v, want %v", i, got, err, c.want)
		}
	}
	before := s.Port(t, p.ID)
	_, err := update(ips("10.0.0.9", taken.FixedIPs[0].IP.String()))
	st.WantFault(t, err, fault.Conflict, "IpAddressAlreadyAllocated")
	if s.Port(t, p.ID) != before {
		t.Error("the port was changed")
	}
}

func TestMACChangesOnlyWhileUnplugged(t *testing.T) {
	s := newSite(t, true)
	s.Connect(t, "compute1")
	p := s.port(t, st.Body{"mac_address": "fa:16:3e:01:02:03", "fixed_ips": ips("10.0.0.9")})
	other := s.port(t, st.Body{})
	_, err := s.UpdatePort(st.Member, p.ID, st.Body{"mac_address": other.MAC})
	st.WantFault(t, err, fault.Conflict, "MacAddressInUse")
	got := st.Must(s.UpdatePort(st.Member, p.ID, st.Body{"mac_address": "fa:16:3e:01:02:04"}))(t)
	want := []model.FixedIP{
		{SubnetID: s.a.ID, IP: netip.MustParseAddr("10.0.0.9")},
		{SubnetID: s.auto.ID, IP: netip.MustParseAddr("2001:db8:2:0:f816:3eff:fe01:204")},
	}
	if !slices.Equal(got.FixedIPs, want) {
		t.Errorf("the addresses are %v", got.FixedIPs)
	}
	st.Must(s.UpdatePort(st.Member, p.ID, st.Body{"binding:host_id": "compute1"}))(t)
	_, err = s.UpdatePort(st.Member, p.ID, st.Body{"mac_address": "fa:16:3e:01:02:05"})
	st.WantFault(t, err, fault.Conflict, "PortBound")
}

func TestMACsRunOut(t *testing.T) {
	w := st.New(t, st.Options{Random: func(uint64) uint64 { return 7 }})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	if p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t); p.MAC != "fa:16:3e:00:00:07" {
		t.Error(p.MAC)
	}
	_, err := w.CreatePort(st.Member, st.Body{"network_id": n.ID})
	st.WantFault(t, err, fault.Unavailable, "NetworkMacAddressGenerationFailure")
	other := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreatePort(st.Member, st.Body{"network_id": other.ID}))(t)
}

func TestExhaustion(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	for _, cidr := range []string{"10.0.0.0/30", "10.0.0.8/30"} {
		st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": cidr}))(t)
	}
	for range 2 { // the second subnet is used when the first is full
		st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t)
	}
	_, err := w.CreatePort(st.Member, st.Body{"network_id": n.ID})
	st.WantFault(t, err, fault.Conflict, "IpAddressGenerationFailure")
	_, err = w.CreatePort(st.Member, st.Body{"network_id": n.ID,
		"fixed_ips": []any{map[string]any{"subnet_id": w.Network(t, n.ID).SubnetIDs[0]}}})
	st.WantFault(t, err, fault.Conflict, "IpAddressGenerationFailure")
}

func TestConcurrentPortsGetEachAddressOnce(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/26"}))(t)
	const callers, room = 64, 61 // 64 addresses without network, broadcast and gateway
	var wg sync.WaitGroup
	ports, errs := make([]*model.Port, callers), make([]error, callers)
	for i := range callers {
		wg.Go(func() { ports[i], errs[i] = w.CreatePort(st.Member, st.Body{"network_id": n.ID}) })
	}
	wg.Wait()
	ips, macs, refused := map[netip.Addr]bool{}, map[string]bool{}, 0
	for i, err := range errs {
		if f := (*fault.Error)(nil); errors.As(err, &f) && f.Type == "IpAddressGenerationFailure" {
			refused++
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		ips[ports[i].FixedIPs[0].IP] = true
		macs[ports[i].MAC] = true
	}
	if len(ips) != room || len(macs) != room || refused != callers-room {
		t.Errorf("%d addresses, %d MACs, %d refused", len(ips), len(macs), refused)
	}
}

func TestBindingFollowsTheHostAndHealsWhenItsAgentComes(t *testing.T) {
	s := newSite(t, false)
	s.Connect(t, "compute1")
	p := s.port(t, st.Body{"binding:host_id": "compute1"})
	if p.Binding.VIFType != model.VIFBridge || p.Binding.SegmentID != s.n.Segments[0].ID || p.StatusReason != "" {
		t.Errorf("%+v", p)
	}
	p = st.Must(s.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": "compute9"}))(t)
	if p.Binding.VIFType != model.VIFBindingFailed || p.StatusReason != "host compute9 has no agent" {
		t.Errorf("%+v", p)
	}
	s.Connect(t, "compute9")
	p = s.Port(t, p.ID)
	if p.Binding.VIFType != model.VIFBridge || p.StatusReason != "" {
		t.Errorf("after its agent came: %+v", p)
	}
	p = st.Must(s.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": nil}))(t)
	if p.Binding.VIFType != model.VIFUnbound || p.Binding.SegmentID != "" || p.StatusReason != "" {
		t.Errorf("after it was unbound: %+v", p)
	}
	p = st.Must(s.UpdatePort(st.Admin, p.ID, st.Body{"binding:host_id": "compute1", "binding:vnic_type": "direct"}))(t)
	if p.StatusReason != "vnic_type direct is not supported" {
		t.Errorf("direct: %+v", p)
	}
	p = st.Must(s.UpdatePort(st.Admin, p.ID, st.Body{"binding:vnic_type": "normal"}))(t)
	if p.Binding.VIFType != model.VIFBridge {
		t.Errorf("normal again: %+v", p)
	}
}

func TestStatusIsWhatTheHostReports(t *testing.T) {
	s := newSite(t, false)
	s.Connect(t, "compute1")
	s.Connect(t, "compute2")
	p := s.port(t, st.Body{"binding:host_id": "compute1"})
	st.Must(0, s.Update(func(tx *state.Tx) error {
		state.DHCPBindings.Put(tx, &model.DHCPBinding{Meta: model.Meta{ID: s.n.ID + ":compute2"}, NetworkID: s.n.ID, Host: "compute2"})
		return nil
	}))(t)
	wiring, lease := "port/"+p.ID, "dhcp-host/"+p.ID
	for i, c := range []struct {
		host   string
		status port.Status
		update st.Body
		want   model.PortStatus
		reason string
		news   bool
	}{
		{host: "compute2", status: port.Status{Key: wiring, State: port.Done}, want: "DOWN"}, // not its host
		{host: "compute1", status: port.Status{Key: wiring, State: port.Absent}, want: "DOWN"},
		{host: "compute1", status: port.Status{Key: wiring, State: port.Done}, want: "ACTIVE", news: true},
		{host: "compute1", status: port.Status{Key: wiring, State: port.Done}, want: "ACTIVE"},
		{host: "compute1", status: port.Status{Key: lease, State: port.Failed, Reason: "no"}, want: "ACTIVE"}, // serves no DHCP
		{host: "compute2", status: port.Status{Key: lease, State: port.Failed, Reason: "bad\nname"}, want: "ACTIVE", reason: "DHCP: bad name", news: true},
		{host: "compute1", status: port.Status{Key: wiring, State: port.Failed, Reason: "no bridge"}, want: "DOWN", reason: "no bridge; DHCP: bad name", news: true},
		{host: "compute1", status: port.Status{Key: wiring, State: port.Done}, want: "ACTIVE", reason: "DHCP: bad name", news: true},
		{host: "compute2", status: port.Status{Key: lease, State: port.Done}, want: "ACTIVE", news: true},
		{update: st.Body{"admin_state_up": false}, want: "DOWN", news: true},
		{host: "compute1", status: port.Status{Key: wiring, State: port.Done}, want: "DOWN"},
		{update: st.Body{"admin_state_up": true}, want: "ACTIVE", news: true},
		{host: "compute1", status: port.Status{Key: "port/unknown", State: port.Done}, want: "ACTIVE"},
		{host: "compute1", status: port.Status{Key: "", State: port.Done}, want: "ACTIVE"},
		{update: st.Body{"binding:host_id": "compute2"}, want: "DOWN", news: true},
		{host: "compute1", status: port.Status{Key: wiring, State: port.Done}, want: "DOWN"},
		{host: "compute2", status: port.Status{Key: wiring, State: port.Done}, want: "ACTIVE", news: true},
		{host: "compute2", status: port.Status{Key: wiring, State: port.Absent}, want: "DOWN", news: true},
	} {
		before := s.Store.Read().Revision
		if c.update != nil {
			st.Must(s.UpdatePort(st.Admin, p.ID, c.update))(t)
		} else {
			st.Must(0, s.Update(func(tx *state.Tx) error { s.Ports.Report(tx, c.host, []port.Status{c.status}); return nil }))(t)
		}
		got := s.Port(t, p.ID)
		if got.Status != c.want || got.StatusReason != c.reason || (s.Store.Read().Revision != before) != c.news {
			t.Fatalf("%d: %s %q, written %v", i, got.Status, got.StatusReason, s.Store.Read().Revision != before)
		}
	}
}

func TestPortOfAnotherProjectOnASharedNetwork(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Admin, st.Body{"shared": true}))(t)
	c := &auth.Caller{ProjectID: "p2", Roles: []string{"member"}}
	if p := st.Must(w.CreatePort(c, st.Body{"network_id": n.ID}))(t); p.ProjectID != "p2" {
		t.Error(p.ProjectID)
	}
}

func BenchmarkCreatePort(b *testing.B) {
	w := st.New(b, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(b)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/8"}))(b)
	for i := 0; b.Loop(); i++ {
		st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID, "name": fmt.Sprint(i)}))(b)
	}
}

func TestAddressesOfOnePortAreDifferent(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	s := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/29"}))(t)
	for range 20 { // the start is random
		p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID, "fixed_ips": ips(s, s, "10.0.0.4", s, s)}))(t)
		have := map[netip.Addr]bool{}
		for _, f := range p.FixedIPs {
			have[f.IP] = true
		}
		if len(have) != 5 {
			t.Fatalf("the port has %v", p.FixedIPs)
		}
		st.Must(0, w.DeletePort(st.Member, p.ID))(t)
	}
}
