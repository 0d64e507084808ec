package router_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/router"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// world has routers besides what every world has, an external network with a subnet, and a network of the member's.
type world struct {
	*st.World
	t      *testing.T
	rules  *router.Rules
	public *model.Network
	inside *model.Network
	subnet *model.Subnet // of inside: 10.0.0.0/24
}

func newWorld(t *testing.T) *world {
	w := &world{World: st.New(t, st.Options{}), t: t}
	w.rules = router.New(router.Options{Ports: w.Ports})
	w.Ports.Follow(router.Guard{})
	w.public = st.Must(w.CreateNetwork(st.Admin, st.Body{"name": "public", "router:external": true}))(t)
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": w.public.ID, "cidr": "198.51.100.0/24", "enable_dhcp": false}))(t)
	w.inside, w.subnet = w.network("10.0.0.0/24")
	return w
}

// network makes a network of the member's with a subnet.
func (w *world) network(cidr string) (*model.Network, *model.Subnet) {
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(w.t)
	return n, st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": cidr}))(w.t)
}

func (w *world) create(c *auth.Caller, b st.Body) (*model.Router, error) {
	r := &model.Router{}
	given, err := schema.Router.Decode(r, b, schema.Create)
	if err != nil {
		return nil, err
	}
	r.ID, r.ProjectID = uuid.NewString(), c.ProjectID
	err = w.Update(func(tx *state.Tx) error { return w.rules.Create(tx, c, r.Clone(), given) })
	if err != nil {
		return nil, err
	}
	return w.router(r.ID), nil
}

func (w *world) update(c *auth.Caller, id string, b st.Body) error {
	return w.Update(func(tx *state.Tx) error {
		old, _ := state.Routers.Get(tx, id)
		r := old.Clone()
		given, err := schema.Router.Decode(r, b, schema.Update)
		if err != nil {
			return err
		}
		return w.rules.Update(tx, c, old, r, given)
	})
}

func (w *world) delete(id string) error {
	return w.Update(func(tx *state.Tx) error {
		r, _ := state.Routers.Get(tx, id)
		return w.rules.Delete(tx, st.Member, r)
	})
}

func (w *world) add(c *auth.Caller, id string, b st.Body) (i *router.Interface, err error) {
	err = w.Update(func(tx *state.Tx) error {
		r, _ := state.Routers.Get(tx, id)
		i, err = w.rules.AddInterface(tx, c, r, b)
		return err
	})
	return i, err
}

func (w *world) remove(id string, b st.Body) (i *router.Interface, err error) {
	err = w.Update(func(tx *state.Tx) error {
		r, _ := state.Routers.Get(tx, id)
		i, err = w.rules.RemoveInterface(tx, st.Member, r, b)
		return err
	})
	return i, err
}

func (w *world) router(id string) *model.Router {
	w.t.Helper()
	r, ok := state.Routers.Get(w.Store.Read(), id)
	if !ok {
		w.t.Fatalf("there is no router %s", id)
	}
	return r
}

// seen is the router as the API shows it.
func (w *world) seen(id string) *model.Router {
	r := w.Store.Read()
	return router.View(r, st.Admin)(w.router(id))
}

func (w *world) gateway() st.Body { return st.Body{"network_id": w.public.ID} }

func TestGatewayComesAndGoesWithItsPort(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Member, st.Body{"external_gateway_info": w.gateway()}))(t)
	if !r.Gateway.EnableSNAT || len(r.Gateway.FixedIPs) != 0 {
		t.Errorf("the stored gateway is %+v", r.Gateway)
	}
	p := w.Port(t, r.Gateway.PortID)
	if p.DeviceOwner != "network:router_gateway" || p.DeviceID != r.ID || p.ProjectID != "" || p.PortSecurityEnabled {
		t.Errorf("the gateway's port is %+v", p)
	}
	if shown := w.seen(r.ID).Gateway.FixedIPs; len(shown) != 1 || shown[0] != p.FixedIPs[0] {
		t.Errorf("the API shows the addresses %v, the port has %v", shown, p.FixedIPs)
	}
	// The same network again changes nothing, other addresses move the port.
	if err := w.update(st.Admin, r.ID, st.Body{"external_gateway_info": w.gateway()}); err != nil {
		t.Fatal(err)
	}
	if got := w.router(r.ID).Gateway.PortID; got != p.ID {
		t.Errorf("the gateway has the new port %s", got)
	}
	moved := st.Body{"network_id": w.public.ID, "external_fixed_ips": []any{st.Body{"ip_address": "198.51.100.77"}}}
	if err := w.update(st.Admin, r.ID, st.Body{"external_gateway_info": moved}); err != nil {
		t.Fatal(err)
	}
	if shown := w.seen(r.ID).Gateway.FixedIPs; len(shown) != 1 || shown[0].IP.String() != "198.51.100.77" {
		t.Errorf("after the move it has %v", shown)
	}
	for _, none := range []any{nil, st.Body{}} {
		if err := w.update(st.Member, r.ID, st.Body{"external_gateway_info": none}); err != nil {
			t.Fatal(err)
		}
		if w.router(r.ID).Gateway != nil {
			t.Errorf("%v leaves a gateway", none)
		}
	}
	if _, ok := state.Ports.Get(w.Store.Read(), p.ID); ok {
		t.Error("the gateway's port is still there")
	}
}

func TestGatewayIsChecked(t *testing.T) {
	w := newWorld(t)
	other := st.Must(w.CreateNetwork(&auth.Caller{ProjectID: "p2", Roles: []string{"member"}}, st.Body{}))(t)
	for _, c := range []struct {
		name    string
		gateway st.Body
		kind    fault.Kind
		typ     string
	}{
		{"no such network", st.Body{"network_id": uuid.NewString()}, fault.NotFound, "NetworkNotFound"},
		{"another project's network", st.Body{"network_id": other.ID}, fault.NotFound, "NetworkNotFound"},
		{"not external", st.Body{"network_id": w.inside.ID}, fault.Invalid, "BadRequest"},
		{
			"the gateway of the outside",
			st.Body{"network_id": w.public.ID, "external_fixed_ips": []any{st.Body{"ip_address": "198.51.100.1"}}},
			fault.Invalid, "BadRequest",
		},
		{
			"an address elsewhere",
			st.Body{"network_id": w.public.ID, "external_fixed_ips": []any{st.Body{"ip_address": "10.0.0.9"}}},
			fault.Invalid, "InvalidIpForNetwork",
		},
		{"no such QoS policy", st.Body{"network_id": w.public.ID, "qos_policy_id": uuid.NewString()}, fault.NotFound, "QosPolicyNotFound"},
		{"no network", st.Body{"enable_snat": true}, fault.Invalid, "HTTPBadRequest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.create(st.Member, st.Body{"external_gateway_info": c.gateway})
			st.WantFault(t, err, c.kind, c.typ)
		})
	}
	if n := state.Routers.Len(w.Store.Read()); n != 0 {
		t.Errorf("%d routers were made", n)
	}
}

func TestInterfaceBySubnetAndByPort(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Member, st.Body{}))(t)
	i := st.Must(w.add(st.Member, r.ID, st.Body{"subnet_id": w.subnet.ID}))(t)
	p := w.Port(t, i.PortID)
	if p.DeviceOwner != "network:router_interface" || p.DeviceID != r.ID || p.ProjectID != "p1" ||
		p.FixedIPs[0].IP != w.subnet.GatewayIP || i.SubnetID != w.subnet.ID || i.ID != r.ID {
		t.Errorf("interface %+v with port %+v", i, p)
	}
	n2, s2 := w.network("10.0.1.0/24")
	p2 := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n2.ID}))(t)
	st.Must(w.add(st.Member, r.ID, st.Body{"port_id": p2.ID}))(t)
	if got := w.Port(t, p2.ID); got.DeviceID != r.ID || got.DeviceOwner != "network:router_interface" {
		t.Errorf("the port is %+v", got)
	}
	st.WantFault(t, w.delete(r.ID), fault.Conflict, "RouterInUse")
	st.WantFault(t, w.DeletePort(st.Admin, p.ID), fault.Conflict, "ServicePortInUse")
	_, err := w.remove(r.ID, st.Body{"port_id": p2.ID, "subnet_id": w.subnet.ID})
	st.WantFault(t, err, fault.Conflict, "SubnetMismatchForPort")
	st.Must(w.remove(r.ID, st.Body{"port_id": p2.ID, "subnet_id": s2.ID}))(t)
	if gone := st.Must(w.remove(r.ID, st.Body{"subnet_id": w.subnet.ID}))(t); gone.PortID != p.ID {
		t.Errorf("removed %+v", gone)
	}
	_, err = w.remove(r.ID, st.Body{"subnet_id": w.subnet.ID})
	st.WantFault(t, err, fault.NotFound, "RouterInterfaceNotFoundForSubnet")
	_, err = w.remove(r.ID, st.Body{"port_id": p.ID})
	st.WantFault(t, err, fault.NotFound, "RouterInterfaceNotFound")
	if err := w.delete(r.ID); err != nil {
		t.Error(err)
	}
}

func TestInterfaceIsChecked(t *testing.T) {
	w := newWorld(t)
	stranger := &auth.Caller{ProjectID: "p2", Roles: []string{"member", "reader"}}
	r := st.Must(w.create(st.Member, st.Body{"external_gateway_info": w.gateway()}))(t)
	theirs := st.Must(w.create(stranger, st.Body{}))(t)
	st.Must(w.add(st.Member, r.ID, st.Body{"subnet_id": w.subnet.ID}))(t)
	_, overlapping := w.network("10.0.0.128/25")
	_, outside := w.network("198.51.100.64/26")
	n, _ := w.network("10.0.2.0/24")
	noGateway := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": "10.0.3.0/24", "gateway_ip": nil}))(t)
	advertised := st.Must(w.CreateSubnet(st.Member, st.Body{
		"network_id": n.ID, "cidr": "fd00:1::/64", "ipv6_address_mode": "slaac",
	}))(t)
	used := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID, "device_id": "vm"}))(t)
	bare := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID, "fixed_ips": []any{}}))(t)
	private := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t)
	for _, c := range []struct {
		name   string
		caller *auth.Caller
		router string
		body   st.Body
		kind   fault.Kind
		typ    string
	}{
		{"nothing", st.Member, r.ID, st.Body{}, fault.Invalid, "BadRequest"},
		{"both", st.Member, r.ID, st.Body{"subnet_id": w.subnet.ID, "port_id": used.ID}, fault.Invalid, "BadRequest"},
		{"no UUID", st.Member, r.ID, st.Body{"subnet_id": "x"}, fault.Invalid, "BadRequest"},
		{"null", st.Member, r.ID, st.Body{"subnet_id": nil}, fault.Invalid, "BadRequest"},
		{"twice", st.Member, r.ID, st.Body{"subnet_id": w.subnet.ID}, fault.Invalid, "BadRequest"},
		{"overlap", st.Member, r.ID, st.Body{"subnet_id": overlapping.ID}, fault.Invalid, "BadRequest"},
		{"overlap with the outside", st.Member, r.ID, st.Body{"subnet_id": outside.ID}, fault.Invalid, "BadRequest"},
		{"no gateway", st.Member, r.ID, st.Body{"subnet_id": noGateway.ID}, fault.Invalid, "BadRequest"},
		{"advertised by others", st.Member, r.ID, st.Body{"subnet_id": advertised.ID}, fault.Invalid, "BadRequest"},
		{"no such subnet", st.Member, r.ID, st.Body{"subnet_id": uuid.NewString()}, fault.NotFound, "SubnetNotFound"},
		{"a stranger's subnet", stranger, theirs.ID, st.Body{"subnet_id": w.subnet.ID}, fault.NotFound, "SubnetNotFound"},
		{"a port in use", st.Member, r.ID, st.Body{"port_id": used.ID}, fault.Conflict, "PortInUse"},
		{"a port without addresses", st.Member, r.ID, st.Body{"port_id": bare.ID}, fault.Invalid, "BadRequest"},
		{"a stranger's port", stranger, theirs.ID, st.Body{"port_id": private.ID}, fault.NotFound, "PortNotFound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.Store.Read()
			_, err := w.add(c.caller, c.router, c.body)
			st.WantFault(t, err, c.kind, c.typ)
			if w.Store.Read() != before {
				t.Error("something was changed")
			}
		})
	}
}

// A network that everybody may use is not everybody's to route: whoever took its gateway address would see all traffic.
func TestSharedSubnetIsRoutedByItsOwnerOnly(t *testing.T) {
	w := newWorld(t)
	n := st.Must(w.CreateNetwork(st.Admin, st.Body{"shared": true}))(t)
	s := st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": n.ID, "cidr": "10.9.0.0/24"}))(t)
	r := st.Must(w.create(st.Member, st.Body{}))(t)
	_, err := w.add(st.Member, r.ID, st.Body{"subnet_id": s.ID})
	st.WantFault(t, err, fault.Invalid, "BadRequest")
	st.Must(w.add(st.Admin, r.ID, st.Body{"subnet_id": s.ID}))(t)
}

// CVE-2014-0056: a port that names another project's router as its device must not become an interface of it.
func TestCVE_2014_0056_PortsDoNotJoinForeignRouters(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Member, st.Body{}))(t)
	stranger := &auth.Caller{ProjectID: "p2", Roles: []string{"member", "reader"}}
	n := st.Must(w.CreateNetwork(stranger, st.Body{}))(t)
	st.Must(w.CreateSubnet(stranger, st.Body{"network_id": n.ID, "cidr": "10.8.0.0/24"}))(t)
	device := st.Body{"device_id": r.ID, "device_owner": "network:router_interface"}
	_, err := w.CreatePort(stranger, st.Body{
		"network_id": n.ID, "device_id": r.ID, "device_owner": "network:router_interface",
	})
	st.WantFault(t, err, fault.Conflict, "DeviceIDNotOwnedByTenant")
	p := st.Must(w.CreatePort(stranger, st.Body{"network_id": n.ID}))(t)
	_, err = w.UpdatePort(stranger, p.ID, device)
	st.WantFault(t, err, fault.Conflict, "DeviceIDNotOwnedByTenant")
	// Nor is a port that an administrator has made look like one.
	st.Must(w.UpdatePort(st.Admin, p.ID, device))(t)
	if ids := w.router(r.ID).InterfaceIDs; len(ids) != 0 {
		t.Errorf("the router has the interfaces %v", ids)
	}
	_, err = w.remove(r.ID, st.Body{"port_id": p.ID})
	st.WantFault(t, err, fault.NotFound, "RouterInterfaceNotFound")
}

func TestIPv6SubnetsOfANetworkShareAnInterface(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Member, st.Body{}))(t)
	var subnets []*model.Subnet
	for _, cidr := range []string{"fd00:1::/64", "fd00:2::/64"} {
		subnets = append(subnets, st.Must(w.CreateSubnet(st.Member, st.Body{
			"network_id": w.inside.ID, "cidr": cidr, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac",
		}))(t))
	}
	v4 := st.Must(w.add(st.Member, r.ID, st.Body{"subnet_id": w.subnet.ID}))(t)
	first := st.Must(w.add(st.Member, r.ID, st.Body{"subnet_id": subnets[0].ID}))(t)
	second := st.Must(w.add(st.Member, r.ID, st.Body{"subnet_id": subnets[1].ID}))(t)
	if first.PortID != second.PortID || first.PortID == v4.PortID {
		t.Errorf("ports %s, %s and for IPv4 %s", first.PortID, second.PortID, v4.PortID)
	}
	st.Must(w.remove(r.ID, st.Body{"subnet_id": subnets[0].ID}))(t)
	if left := w.Port(t, first.PortID).FixedIPs; len(left) != 1 || left[0].SubnetID != subnets[1].ID {
		t.Errorf("the interface has %v left", left)
	}
	st.Must(w.remove(r.ID, st.Body{"subnet_id": subnets[1].ID}))(t)
	if ids := w.router(r.ID).InterfaceIDs; len(ids) != 1 || ids[0] != v4.PortID {
		t.Errorf("the interfaces are %v", ids)
	}
}

func routesOf(pairs ...string) []any {
	routes := []any{}
	for i := 0; i < len(pairs); i += 2 {
		routes = append(routes, st.Body{"destination": pairs[i], "nexthop": pairs[i+1]})
	}
	return routes
}

func TestExtraRoutes(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Member, st.Body{"external_gateway_info": w.gateway()}))(t)
	i := st.Must(w.add(st.Member, r.ID, st.Body{"subnet_id": w.subnet.ID}))(t)
	set := func(pairs ...string) error { return w.update(st.Member, r.ID, st.Body{"routes": routesOf(pairs...)}) }
	st.WantFault(t, set("10.1.0.0/24", "10.2.0.1"), fault.Invalid, "InvalidRoutes")
	st.WantFault(t, set("10.1.0.0/24", "10.0.0.1"), fault.Invalid, "InvalidRoutes")
	if err := set("10.1.0.0/24", "10.0.0.7", "10.1.0.0/24", "10.0.0.8", "0.0.0.0/0", "198.51.100.9"); err != nil {
		t.Fatal(err)
	}
	_, err := w.remove(r.ID, st.Body{"port_id": i.PortID})
	st.WantFault(t, err, fault.Conflict, "RouterInterfaceInUseByRoute")
	st.WantFault(t, w.update(st.Member, r.ID, st.Body{"external_gateway_info": nil}), fault.Invalid, "InvalidRoutes")
	change := func(do func(*state.Tx, *auth.Caller, *model.Router, map[string]any) (*model.Router, error), routes any) error {
		return w.Update(func(tx *state.Tx) error {
			old, _ := state.Routers.Get(tx, r.ID)
			_, err := do(tx, st.Member, old, st.Body{"routes": routes})
			return err
		})
	}
	// Adding what is there and removing what is not is no error; the order of the others stays.
	if err := change(w.rules.AddRoutes, routesOf("10.1.0.0/24", "10.0.0.7", "10.3.0.0/24", "10.0.0.7")); err != nil {
		t.Fatal(err)
	}
	if err := change(w.rules.RemoveRoutes, routesOf("10.1.0.0/24", "10.0.0.8", "10.4.0.0/24", "10.0.0.7")); err != nil {
		t.Fatal(err)
	}
	if got := w.router(r.ID).Routes; len(got) != 3 || got[2].Destination.String() != "10.3.0.0/24" {
		t.Errorf("the routes are %v", got)
	}
	for _, bad := range []any{nil, "x", st.Body{}, []any{"x"}, routesOf("10.0.0.0/8", "fd00::1")} {
		st.WantFault(t, change(w.rules.AddRoutes, bad), fault.Invalid, "HTTPBadRequest")
	}
	var many []string
	for n := range router.MaxRoutes + 1 {
		many = append(many, fmt.Sprintf("172.16.%d.0/24", n), "10.0.0.7")
	}
	st.WantFault(t, set(many...), fault.Invalid, "RoutesExhausted")
	if err := w.update(st.Member, r.ID, st.Body{"routes": nil}); err != nil {
		t.Fatal(err)
	}
	if got := w.router(r.ID).Routes; len(got) != 0 {
		t.Errorf("null leaves the routes %v", got)
	}
}

func TestKindChangesOnlyWhileTheRouterIsDown(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Admin, st.Body{}))(t)
	i := st.Must(w.add(st.Admin, r.ID, st.Body{"subnet_id": w.subnet.ID}))(t)
	for _, change := range []st.Body{{"distributed": true}, {"ha": true}} {
		st.WantFault(t, w.update(st.Admin, r.ID, change), fault.Invalid, "BadRequest")
	}
	if err := w.update(st.Admin, r.ID, st.Body{"admin_state_up": false}); err != nil {
		t.Fatal(err)
	}
	if err := w.update(st.Admin, r.ID, st.Body{"ha": true}); err != nil {
		t.Fatal(err)
	}
	if got := w.Port(t, i.PortID).DeviceOwner; got != "network:ha_router_replicated_interface" {
		t.Errorf("the interface's owner is %s", got)
	}
	st.Must(w.remove(r.ID, st.Body{"port_id": i.PortID}))(t)
}

func TestInterfaceKeepsItsAddressAndRouter(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Member, st.Body{}))(t)
	i := st.Must(w.add(st.Member, r.ID, st.Body{"subnet_id": w.subnet.ID}))(t)
	_, err := w.UpdatePort(st.Member, i.PortID, st.Body{"fixed_ips": []any{st.Body{"ip_address": "10.0.0.99"}}})
	st.WantFault(t, err, fault.Invalid, "BadRequest")
	_, err = w.UpdatePort(st.Member, i.PortID, st.Body{"device_id": "vm"})
	st.WantFault(t, err, fault.Conflict, "PortInUse")
	st.Must(w.UpdatePort(st.Member, i.PortID, st.Body{"fixed_ips": []any{st.Body{"subnet_id": w.subnet.ID}}}))(t)
	st.Must(w.UpdatePort(st.Member, i.PortID, st.Body{"name": "gw"}))(t)
}

func TestConntrackHelpers(t *testing.T) {
	w := newWorld(t)
	r := st.Must(w.create(st.Member, st.Body{}))(t)
	create := func(protocol string, port int, helper string) error {
		h := &model.ConntrackHelper{Meta: model.Meta{ID: uuid.NewString()}, RouterID: r.ID, Protocol: protocol, Port: port, Helper: helper}
		return w.Update(func(tx *state.Tx) error { return router.Helpers{}.Create(tx, st.Member, h, nil) })
	}
	if err := create("tcp", 21, "ftp"); err != nil {
		t.Fatal(err)
	}
	st.WantFault(t, create("tcp", 21, "ftp"), fault.Invalid, "BadRequest")
	st.WantFault(t, create("udp", 21, "ftp"), fault.Invalid, "InvalidProtocolForHelper")
	st.WantFault(t, create("tcp", 21, "rm"), fault.Invalid, "ConntrackHelperNotAllowed")
	if got := w.seen(r.ID).ConntrackHelpers; len(got) != 1 {
		t.Errorf("the router shows %v", got)
	}
	if err := w.delete(r.ID); err != nil {
		t.Fatal(err)
	}
	if n := state.ConntrackHelpers.Len(w.Store.Read()); n != 0 {
		t.Errorf("%d helpers are left without a router", n)
	}
}
