package floatingip_test

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/floatingip"
	"github.com/neutrino-net/neutrino/internal/service/router"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// world has an external network, and a network of the member's behind a router.
type world struct {
	*st.World
	t       *testing.T
	rules   *floatingip.Rules
	routers *router.Rules
	public  *model.Network
	inside  *model.Network
	subnet  *model.Subnet
	router  *model.Router
	port    *model.Port // on inside
}

func newWorld(t *testing.T, publicCIDR string) *world {
	w := &world{World: st.New(t, st.Options{}), t: t}
	w.routers = router.New(router.Options{Ports: w.Ports})
	w.rules = floatingip.New(floatingip.Options{Ports: w.Ports})
	w.Ports.Follow(router.Guard{})
	w.Ports.Follow(floatingip.Guard{})
	w.Networks.Follow(w.rules)
	w.public = st.Must(w.CreateNetwork(st.Admin, st.Body{"router:external": true}))(t)
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": w.public.ID, "cidr": publicCIDR, "enable_dhcp": false}))(t)
	w.inside, w.subnet, w.router = w.behind("10.0.0.0/24")
	w.port = w.newPort(st.Member, w.inside)
	return w
}

// behind makes a network of the member's behind a router of its own.
func (w *world) behind(cidr string) (*model.Network, *model.Subnet, *model.Router) {
	w.t.Helper()
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(w.t)
	s := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": cidr}))(w.t)
	id := uuid.NewString()
	err := w.Update(func(tx *state.Tx) error {
		r := &model.Router{
			Meta: model.Meta{ID: id, ProjectID: "p1"}, AdminStateUp: true,
			Gateway: &model.Gateway{NetworkID: w.public.ID, EnableSNAT: true},
		}
		if err := w.routers.Create(tx, st.Member, r, nil); err != nil {
			return err
		}
		_, err := w.routers.AddInterface(tx, st.Member, r, st.Body{"subnet_id": s.ID})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r, _ := state.Routers.Get(w.Store.Read(), id)
	return n, s, r
}

func (w *world) newPort(c *auth.Caller, n *model.Network) *model.Port {
	w.t.Helper()
	return st.Must(w.CreatePort(c, st.Body{"network_id": n.ID}))(w.t)
}

func (w *world) create(c *auth.Caller, b st.Body) (*model.FloatingIP, error) {
	f := &model.FloatingIP{}
	if _, ok := b["floating_network_id"]; !ok {
		b["floating_network_id"] = w.public.ID
	}
	given, err := schema.FloatingIP.Decode(f, b, schema.Create)
	if err != nil {
		return nil, err
	}
	f.ID, f.ProjectID = uuid.NewString(), c.ProjectID
	if err := w.Update(func(tx *state.Tx) error { return w.rules.Create(tx, c, f.Clone(), given) }); err != nil {
		return nil, err
	}
	return w.fip(f.ID), nil
}

func (w *world) update(c *auth.Caller, id string, b st.Body) error {
	return w.Update(func(tx *state.Tx) error {
		old, _ := state.FloatingIPs.Get(tx, id)
		f := old.Clone()
		given, err := schema.FloatingIP.Decode(f, b, schema.Update)
		if err != nil {
			return err
		}
		return w.rules.Update(tx, c, old, f, given)
	})
}

func (w *world) delete(id string) error {
	return w.Update(func(tx *state.Tx) error {
		f, _ := state.FloatingIPs.Get(tx, id)
		return w.rules.Delete(tx, st.Member, f)
	})
}

func (w *world) fip(id string) *model.FloatingIP {
	w.t.Helper()
	f, ok := state.FloatingIPs.Get(w.Store.Read(), id)
	if !ok {
		w.t.Fatalf("there is no floating IP %s", id)
	}
	return f
}

func (w *world) forward(c *auth.Caller, f *model.FloatingIP, b st.Body) (*model.PortForwarding, error) {
	p := &model.PortForwarding{Meta: model.Meta{ID: uuid.NewString()}, FloatingIPID: f.ID}
	given, err := schema.PortForwarding.Decode(p, b, schema.Create)
	if err != nil {
		return nil, err
	}
	err = w.Update(func(tx *state.Tx) error { return floatingip.Forwardings{}.Create(tx, c, p.Clone(), given) })
	if err != nil {
		return nil, err
	}
	p, _ = state.PortForwardings.Get(w.Store.Read(), p.ID)
	return p, nil
}

func TestLifeOfAFloatingIP(t *testing.T) {
	w := newWorld(t, "198.51.100.0/24")
	f := st.Must(w.create(st.Member, st.Body{"port_id": w.port.ID}))(t)
	if f.PortID != w.port.ID || f.FixedIP != w.port.FixedIPs[0].IP || f.RouterID != w.router.ID || f.Status != "DOWN" {
		t.Errorf("it is %+v", f)
	}
	booking := w.Port(t, f.BookingID)
	if booking.FixedIPs[0].IP != f.Address || booking.DeviceID != f.ID || booking.DeviceOwner != "network:floatingip" ||
		booking.ProjectID != "" {
		t.Errorf("the address %s is held by %+v", f.Address, booking)
	}
	seen := floatingip.View(w.Store.Read(), st.Member)(f)
	if seen.Port == nil || seen.Port.MAC != w.port.MAC {
		t.Errorf("the view has the port %v", seen.Port)
	}
	// What does not name the port leaves it.
	if err := w.update(st.Member, f.ID, st.Body{"description": "x"}); err != nil || w.fip(f.ID).PortID != w.port.ID {
		t.Errorf("after a new description: %+v, %v", w.fip(f.ID), err)
	}
	n2, _, r2 := w.behind("10.0.1.0/24")
	p2 := w.newPort(st.Member, n2)
	if err := w.update(st.Member, f.ID, st.Body{"port_id": p2.ID}); err != nil {
		t.Fatal(err)
	}
	if got := w.fip(f.ID); got.RouterID != r2.ID || got.FixedIP != p2.FixedIPs[0].IP {
		t.Errorf("on the other router it is %+v", got)
	}
	if err := w.DeletePort(st.Member, p2.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.fip(f.ID); got.PortID != "" || got.RouterID != "" || got.FixedIP.IsValid() || got.Address != f.Address {
		t.Errorf("without its port it is %+v", got)
	}
	if err := w.update(st.Member, f.ID, st.Body{"port_id": w.port.ID}); err != nil {
		t.Fatal(err)
	}
	if err := w.update(st.Member, f.ID, st.Body{"port_id": nil}); err != nil || w.fip(f.ID).PortID != "" {
		t.Errorf("after null: %+v, %v", w.fip(f.ID), err)
	}
	st.WantFault(t, w.DeletePort(st.Admin, booking.ID), fault.Conflict, "ServicePortInUse")
	if err := w.delete(f.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := state.Ports.Get(w.Store.Read(), booking.ID); ok {
		t.Error("its address is still held")
	}
}

func TestFloatingIPIsChecked(t *testing.T) {
	w := newWorld(t, "198.51.100.0/24")
	stranger := &auth.Caller{ProjectID: "p2", Roles: []string{"member", "reader"}}
	lonely := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": lonely.ID, "cidr": "10.7.0.0/24"}))(t)
	unrouted := w.newPort(st.Member, lonely)
	two := st.Must(w.CreatePort(st.Member, st.Body{
		"network_id": w.inside.ID, "fixed_ips": []any{st.Body{"ip_address": "10.0.0.50"}, st.Body{"ip_address": "10.0.0.51"}},
	}))(t)
	taken := w.newPort(st.Member, w.inside)
	st.Must(w.create(st.Member, st.Body{"port_id": taken.ID}))(t)
	free := st.Must(w.create(st.Member, st.Body{}))(t)
	for _, c := range []struct {
		name   string
		caller *auth.Caller
		body   st.Body
		kind   fault.Kind
		typ    string
	}{
		{"no such network", st.Member, st.Body{"floating_network_id": uuid.NewString()}, fault.NotFound, "NetworkNotFound"},
		{"not external", st.Member, st.Body{"floating_network_id": w.inside.ID}, fault.Invalid, "BadRequest"},
		{"a stranger's network", stranger, st.Body{"floating_network_id": w.inside.ID}, fault.NotFound, "NetworkNotFound"},
		{"not routed", st.Member, st.Body{"port_id": unrouted.ID}, fault.NotFound, "ExternalGatewayForFloatingIPNotFound"},
		{"a stranger's port", stranger, st.Body{"port_id": w.port.ID}, fault.NotFound, "PortNotFound"},
		{"which address?", st.Member, st.Body{"port_id": two.ID}, fault.Invalid, "BadRequest"},
		{
			"not its address", st.Member, st.Body{"port_id": two.ID, "fixed_ip_address": "10.0.0.52"},
			fault.Invalid, "BadRequest",
		},
		{"no port", st.Member, st.Body{"fixed_ip_address": "10.0.0.50"}, fault.Invalid, "BadRequest"},
		{"has one already", st.Member, st.Body{"port_id": taken.ID}, fault.Conflict, "FloatingIPPortAlreadyAssociated"},
		{
			"a taken address", st.Member, st.Body{"floating_ip_address": free.Address.String()},
			fault.Conflict, "IpAddressAlreadyAllocated",
		},
		{"no such policy", st.Member, st.Body{"qos_policy_id": uuid.NewString()}, fault.NotFound, "QosPolicyNotFound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.Store.Read()
			_, err := w.create(c.caller, c.body)
			st.WantFault(t, err, c.kind, c.typ)
			if w.Store.Read() != before {
				t.Error("something was changed")
			}
		})
	}
	f := st.Must(w.create(st.Member, st.Body{"port_id": two.ID, "fixed_ip_address": "10.0.0.50"}))(t)
	if err := w.update(st.Member, f.ID, st.Body{"port_id": two.ID, "fixed_ip_address": "10.0.0.51"}); err != nil {
		t.Fatal(err)
	}
	st.WantFault(t, w.update(st.Member, f.ID, st.Body{"fixed_ip_address": "10.0.0.50"}), fault.Invalid, "BadRequest")
	_, err := w.UpdatePort(st.Member, two.ID, st.Body{"fixed_ips": []any{st.Body{"ip_address": "10.0.0.50"}}})
	st.WantFault(t, err, fault.Invalid, "BadRequest")
}

// What a floating IP needs of its router stays.
func TestRoutersStayWhileFloatingIPsNeedThem(t *testing.T) {
	w := newWorld(t, "198.51.100.0/24")
	f := st.Must(w.create(st.Member, st.Body{"port_id": w.port.ID}))(t)
	try := func(do func(tx *state.Tx, r *model.Router) error) error {
		return w.Update(func(tx *state.Tx) error {
			r, _ := state.Routers.Get(tx, w.router.ID)
			return do(tx, r)
		})
	}
	detach := func(tx *state.Tx, r *model.Router) error {
		_, err := w.routers.RemoveInterface(tx, st.Member, r, st.Body{"subnet_id": w.subnet.ID})
		return err
	}
	close := func(tx *state.Tx, r *model.Router) error {
		now := r.Clone()
		now.Gateway = nil
		return w.routers.Update(tx, st.Member, r, now, st.Given("external_gateway_info"))
	}
	st.WantFault(t, try(detach), fault.Conflict, "RouterInterfaceInUseByFloatingIP")
	st.WantFault(t, try(close), fault.Conflict, "RouterExternalGatewayInUseByFloatingIp")
	if err := w.delete(f.ID); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func(*state.Tx, *model.Router) error{detach, close} {
		if err := try(do); err != nil {
			t.Error(err)
		}
	}
}

func TestNetworkGoesWithItsUnusedFloatingIPs(t *testing.T) {
	w := newWorld(t, "198.51.100.0/24")
	other := st.Must(w.CreateNetwork(st.Admin, st.Body{"router:external": true}))(t)
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": other.ID, "cidr": "203.0.113.0/24"}))(t)
	f := st.Must(w.create(st.Member, st.Body{"floating_network_id": other.ID}))(t)
	_, err := w.UpdateNetwork(st.Admin, other.ID, st.Body{"router:external": false})
	st.WantFault(t, err, fault.Conflict, "ExternalNetworkInUse")
	if err := w.DeleteNetwork(st.Admin, other.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := state.FloatingIPs.Get(w.Store.Read(), f.ID); ok {
		t.Error("its floating IP is still there")
	}
	used := st.Must(w.create(st.Member, st.Body{"port_id": w.port.ID}))(t)
	st.WantFault(t, w.DeleteNetwork(st.Admin, w.public.ID), fault.Conflict, "NetworkInUse")
	w.fip(used.ID)
}

func TestManyClientsBookEveryAddressOnce(t *testing.T) {
	w := newWorld(t, "198.51.100.0/26") // 62 addresses: one is the gateway's, one the router's
	const clients, free = 64, 60
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[netip.Addr]bool{}
	refused := 0
	for range clients {
		wg.Go(func() {
			f, err := w.create(st.Member, st.Body{})
			mu.Lock()
			defer mu.Unlock()
			switch e := fault.As(err); {
			case err == nil && seen[f.Address]:
				t.Errorf("%s was given twice", f.Address)
			case err == nil:
				seen[f.Address] = true
			case e == nil || e.Type != "IpAddressGenerationFailure":
				t.Errorf("error %v", err)
			default:
				refused++
			}
		})
	}
	wg.Wait()
	if len(seen) != free || refused != clients-free {
		t.Errorf("%d addresses were given and %d requests refused, want %d and %d", len(seen), refused, free, clients-free)
	}
}

func TestPortForwardings(t *testing.T) {
	w := newWorld(t, "198.51.100.0/24")
	f := st.Must(w.create(st.Member, st.Body{}))(t)
	second := w.newPort(st.Member, w.inside)
	to := func(p *model.Port, external, internal any) st.Body {
		return st.Body{
			"protocol": "TCP", "internal_port_id": p.ID, "external_port_range": external, "internal_port_range": internal,
		}
	}
	a := st.Must(w.forward(st.Member, f, st.Body{
		"protocol": "tcp", "internal_port_id": w.port.ID, "external_port": 80, "internal_port": "8080",
	}))(t)
	if a.InternalIP != w.port.FixedIPs[0].IP || w.fip(f.ID).RouterID != w.router.ID || !a.External.Single() {
		t.Errorf("the forwarding is %+v, its floating IP %+v", a, w.fip(f.ID))
	}
	st.Must(w.forward(st.Member, f, to(second, "1000:1009", "1000:1009")))(t)
	st.Must(w.forward(st.Member, f, to(second, "2000:2009", "22")))(t)
	for _, c := range []struct {
		name string
		body st.Body
		typ  string
	}{
		{"outside collision", to(second, "1009:1010", "3000:3001"), "BadRequest"},
		{"inside collision", to(second, "3000:3001", "1009:1010"), "BadRequest"},
		{"more inside than outside", to(second, "3000:3001", "3000:3002"), "BadRequest"},
		{"backwards", to(second, "3001:3000", "3001:3000"), "HTTPBadRequest"},
		{"too high", to(second, "65535:65536", "1"), "HTTPBadRequest"},
		{"no outside", st.Body{"protocol": "tcp", "internal_port_id": second.ID, "internal_port": 1}, "BadRequest"},
		{"no inside", st.Body{"protocol": "tcp", "internal_port_id": second.ID, "external_port": 1}, "BadRequest"},
		{"unknown protocol", st.Body{"protocol": "ospf", "internal_port_id": second.ID, "external_port": 1, "internal_port": 1}, "HTTPBadRequest"},
		{
			"not its address", st.Body{
				"protocol": "tcp", "internal_port_id": second.ID, "external_port": 1, "internal_port": 1,
				"internal_ip_address": w.port.FixedIPs[0].IP.String(),
			}, "BadRequest",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.forward(st.Member, f, c.body)
			st.WantFault(t, err, fault.Invalid, c.typ)
		})
	}
	st.WantFault(t, w.delete(f.ID), fault.Conflict, "FipInUseByPortForwarding")
	st.WantFault(t, w.update(st.Member, f.ID, st.Body{"port_id": second.ID}), fault.Conflict, "FipInUseByPortForwarding")
	whole := st.Must(w.create(st.Member, st.Body{"port_id": w.newPort(st.Member, w.inside).ID}))(t)
	_, err := w.forward(st.Member, whole, to(second, "5000", "5000"))
	st.WantFault(t, err, fault.Conflict, "FloatingIPPortAlreadyAssociated")
	n2, _, _ := w.behind("10.0.1.0/24")
	_, err = w.forward(st.Member, f, to(w.newPort(st.Member, n2), "5000", "5000"))
	st.WantFault(t, err, fault.Invalid, "BadRequest")
	// The forwardings go with the ports, and with the last one the tie to the router.
	for _, p := range []*model.Port{w.port, second} {
		if err := w.DeletePort(st.Member, p.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := state.PortForwardings.Len(w.Store.Read()); n != 0 || w.fip(f.ID).RouterID != "" {
		t.Errorf("%d forwardings are left, the floating IP is %+v", n, w.fip(f.ID))
	}
	if err := w.delete(f.ID); err != nil {
		t.Error(err)
	}
}

func TestPoolsAreTheSubnetsOfExternalNetworks(t *testing.T) {
	w := newWorld(t, "198.51.100.0/24")
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": w.public.ID, "cidr": "2001:db8::/64", "enable_dhcp": false}))(t)
	var pools []*model.FloatingIPPool
	for p := range floatingip.Pools(w.Store.Read(), st.Member) {
		pools = append(pools, p)
	}
	if len(pools) != 1 || pools[0].CIDR.String() != "198.51.100.0/24" || pools[0].ProjectID != "p1" {
		t.Errorf("the pools are %v", pools)
	}
}
