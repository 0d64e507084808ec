package rest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/agentsched"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/service/floatingip"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/service/subnet"
	"github.com/neutrino-net/neutrino/internal/state"
)

// routing is an API with routers, floating IPs and the placement of services, with the rules of the product, and with an
// external network of the administrator's.
type routing struct {
	*fixture
	public string
	hosts  *servicetest.Liveness
}

func newRouting(t testing.TB) *routing {
	t.Helper()
	f := newFixture(t)
	types, err := typedriver.New(typedriver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ports := port.New(port.Options{})
	networks, service := network.New(types), dhcp.New(dhcp.Options{Ports: ports})
	routers, addresses := router.New(router.Options{Ports: ports}), floatingip.New(floatingip.Options{Ports: ports})
	ports.Follow(router.Guard{})
	ports.Follow(floatingip.Guard{})
	networks.Follow(addresses)
	down := &servicetest.Liveness{}
	placement := agentsched.New(service, down)
	shownPorts := Ports(ports)
	shownPorts.For = ports.View
	o := f.api.opts
	o.Registerer = nil
	if f.api, err = New(o); err != nil {
		t.Fatal(err)
	}
	same := func(a *model.Agent) *model.Agent { return a }
	err = errors.Join(
		Register(f.api, Networks(networks).With(NetworkAgents(placement))),
		Register(f.api, Subnets(subnet.Rules{})),
		Register(f.api, shownPorts),
		Register(f.api, Agents(agent.New(nil), same).With(AgentPlacement(placement)...)),
		Register(f.api, Routers(routers, RouterActions[router.Interface]{
			AddInterface: routers.AddInterface, RemoveInterface: routers.RemoveInterface,
			AddRoutes: routers.AddRoutes, RemoveRoutes: routers.RemoveRoutes,
		}, router.View).With(RouterAgents(placement))),
		Register(f.api, ConntrackHelpers(router.Helpers{})),
		Register(f.api, NDPProxies(router.NDPProxies{})),
		Register(f.api, FloatingIPs(addresses, floatingip.View)),
		Register(f.api, PortForwardings(floatingip.Forwardings{})),
		Register(f.api, FloatingIPPools(floatingip.Pools)),
	)
	if err != nil {
		t.Fatal(err)
	}
	f.handler = f.api.Handler()
	r := &routing{fixture: f, hosts: down}
	r.public = id(f.make(admin, "networks", `{"router:external":true}`))
	f.make(admin, "subnets", `{"network_id":"`+r.public+`","ip_version":4,"cidr":"198.51.0.0/16","enable_dhcp":false}`)
	return r
}

// subnet makes a network with a subnet and returns both ids.
func (r *routing) subnet(token, cidr string) (network, subnet string) {
	r.t.Helper()
	network = id(r.make(token, "networks", `{}`))
	return network, id(r.make(token, "subnets", `{"network_id":"`+network+`","ip_version":4,"cidr":"`+cidr+`"}`))
}

// act does something with a router.
func (r *routing) act(status int, token, router, action, body string) *response {
	r.t.Helper()
	return r.must(status, token, "PUT", "/v2.0/routers/"+router+"/"+action, body)
}

func TestRouterOverTheAPI(t *testing.T) {
	r := newRouting(t)
	gateway := `"external_gateway_info":{"network_id":"` + r.public + `"}`
	obj := r.make(alice, "routers", `{"name":"r",`+gateway+`}`)
	if obj["status"] != "ACTIVE" || obj["admin_state_up"] != true || obj["revision_number"] == nil {
		t.Errorf("the router is %v", obj)
	}
	if reason, _ := obj["status_reason"].(string); !strings.Contains(reason, "no L3 agent") {
		t.Errorf("its reason is %q", reason)
	}
	info := obj["external_gateway_info"].(map[string]any)
	if info["enable_snat"] != true || len(info["external_fixed_ips"].([]any)) != 1 {
		t.Errorf("its gateway is %v", info)
	}
	for _, name := range []string{"ha", "distributed"} {
		if _, ok := obj[name]; ok {
			t.Errorf("a member sees %s", name)
		}
	}
	shown := r.must(200, admin, "GET", "/v2.0/routers/"+id(obj), "").body["router"].(map[string]any)
	if shown["ha"] != false || shown["distributed"] != false {
		t.Errorf("an administrator sees ha %v, distributed %v", shown["ha"], shown["distributed"])
	}
	_, s := r.subnet(alice, "10.0.0.0/24")
	body := `{"subnet_id":"` + s + `"}`
	added := r.act(200, alice, id(obj), "add_router_interface", body).body
	if added["id"] != id(obj) || added["subnet_id"] != s || added["port_id"] == nil || added["tenant_id"] != "a" {
		t.Errorf("the interface is %v", added)
	}
	r.fails(409, "RouterInUse", alice, "DELETE", "/v2.0/routers/"+id(obj), "")
	r.fails(400, "BadRequest", alice, "PUT", "/v2.0/routers/"+id(obj)+"/add_router_interface", body)
	routes := `{"router":{"routes":[{"destination":"10.9.0.0/16","nexthop":"10.0.0.9"}]}}`
	got := r.act(200, alice, id(obj), "add_extraroutes", routes).body["router"].(map[string]any)
	if len(got["routes"].([]any)) != 1 {
		t.Errorf("with the route the router is %v", got)
	}
	r.act(200, alice, id(obj), "remove_extraroutes", routes)
	r.act(200, alice, id(obj), "remove_router_interface", body)
	r.must(204, alice, "DELETE", "/v2.0/routers/"+id(obj), "")
}

func TestRouterIsItsProjects(t *testing.T) {
	r := newRouting(t)
	path := "/v2.0/routers/" + id(r.make(alice, "routers", `{}`))
	_, theirs := r.subnet(bob, "10.0.0.0/24")
	for _, c := range []struct{ method, path, body string }{
		{"GET", path, ""}, {"DELETE", path, ""}, {"PUT", path, `{"router":{"name":"x"}}`},
		{"PUT", path + "/add_router_interface", `{"subnet_id":"` + theirs + `"}`},
		{"PUT", path + "/add_extraroutes", `{"router":{"routes":[]}}`},
		{"GET", path + "/conntrack_helpers", ""},
		{"POST", path + "/conntrack_helpers", `{"conntrack_helper":{"protocol":"tcp","port":21,"helper":"ftp"}}`},
	} {
		r.fails(404, "RouterNotFound", bob, c.method, c.path, c.body)
	}
	for _, body := range []string{
		`{"ha":true}`, `{"distributed":true}`,
		`{"external_gateway_info":{"network_id":"` + r.public + `","enable_snat":false}}`,
		`{"external_gateway_info":{"network_id":"` + r.public + `","external_fixed_ips":[{"ip_address":"198.51.0.9"}]}}`,
	} {
		r.fails(403, "PolicyNotAuthorized", alice, "PUT", path, `{"router":`+body+`}`)
		r.fails(403, "PolicyNotAuthorized", alice, "POST", "/v2.0/routers", `{"router":`+body+`}`)
	}
	r.fails(403, "PolicyNotAuthorized", reader, "PUT", path+"/add_router_interface", `{}`)
	r.must(200, reader, "GET", path, "")
	helper := r.must(201, alice, "POST", path+"/conntrack_helpers",
		`{"conntrack_helper":{"protocol":"tcp","port":21,"helper":"ftp"}}`).body["conntrack_helper"].(map[string]any)
	r.must(200, alice, "GET", path+"/conntrack_helpers/"+id(helper), "")
	r.must(204, alice, "DELETE", path+"/conntrack_helpers/"+id(helper), "")
}

func TestFloatingIPOverTheAPI(t *testing.T) {
	r := newRouting(t)
	n, s := r.subnet(alice, "10.0.0.0/24")
	obj := r.make(alice, "routers", `{"external_gateway_info":{"network_id":"`+r.public+`"}}`)
	r.act(200, alice, id(obj), "add_router_interface", `{"subnet_id":"`+s+`"}`)
	p := r.make(alice, "ports", `{"network_id":"`+n+`","name":"vm"}`)
	fip := r.make(alice, "floatingips", `{"floating_network_id":"`+r.public+`","port_id":"`+id(p)+`","description":"d"}`)
	if fip["router_id"] != id(obj) || fip["status"] != "DOWN" || fip["status_reason"] == nil {
		t.Errorf("the floating IP is %v", fip)
	}
	if details := fip["port_details"].(map[string]any); details["name"] != "vm" {
		t.Errorf("its port's details are %v", details)
	}
	if _, ok := fip["subnet_id"]; ok {
		t.Error("subnet_id is shown")
	}
	path := "/v2.0/floatingips/" + id(fip)
	r.fails(404, "FloatingIPNotFound", bob, "GET", path, "")
	r.fails(404, "FloatingIPNotFound", bob, "GET", path+"/port_forwardings", "")
	r.fails(403, "PolicyNotAuthorized", alice, "POST", "/v2.0/floatingips",
		`{"floatingip":{"floating_network_id":"`+r.public+`","floating_ip_address":"198.51.0.9"}}`)
	if got := r.list(alice, "/v2.0/floatingips?port_id="+id(p), "id"); len(got) != 1 {
		t.Errorf("the filter by port finds %v", got)
	}
	if got := r.list(bob, "/v2.0/floatingips", "id"); len(got) != 0 {
		t.Errorf("another project lists %v", got)
	}
	r.must(200, alice, "PUT", path, `{"floatingip":{"port_id":null}}`)
	forward := func(external int) string {
		return fmt.Sprintf(`{"port_forwarding":{"protocol":"tcp","internal_port_id":"%s","internal_port":22,"external_port":%d}}`,
			id(p), external)
	}
	pf := r.must(201, alice, "POST", path+"/port_forwardings", forward(2222)).body["port_forwarding"].(map[string]any)
	if pf["external_port"] != 2222.0 || pf["external_port_range"] != "2222:2222" || pf["internal_ip_address"] == nil {
		t.Errorf("the port forwarding is %v", pf)
	}
	if got := r.must(200, alice, "GET", path+"/port_forwardings?external_port=2222", "").body["port_forwardings"].([]any); len(got) != 1 {
		t.Errorf("the filter finds %v", got)
	}
	shown := r.must(200, alice, "GET", path, "").body["floatingip"].(map[string]any)
	if got := shown["port_forwardings"].([]any); len(got) != 1 {
		t.Errorf("the floating IP shows the forwardings %v", got)
	}
	r.fails(409, "FipInUseByPortForwarding", alice, "DELETE", path, "")
	r.must(200, alice, "PUT", path+"/port_forwardings/"+id(pf), `{"port_forwarding":{"external_port":2223}}`)
	r.must(204, alice, "DELETE", path+"/port_forwardings/"+id(pf), "")
	r.must(204, alice, "DELETE", path, "")
	if got := r.list(bob, "/v2.0/floatingip_pools", "network_id"); len(got) != 1 || got[0] != r.public {
		t.Errorf("the pools are of %v", got)
	}
}

func TestPlacementOfServices(t *testing.T) {
	r := newRouting(t)
	_, err := r.store.Update(t.Context(), func(tx *state.Tx) error {
		return agent.New(nil).Connected(tx, "host1", agent.Hello{
			Roles: []model.Role{model.RoleDHCP, model.RoleL3}, StartedAt: time.Unix(1, 0),
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	n, _ := r.subnet(alice, "10.0.0.0/24")
	router := id(r.make(alice, "routers", `{}`))
	for _, c := range []struct {
		role                     model.Role
		kind, plural, body, path string
		again                    string // the error when it is removed twice
	}{
		{model.RoleDHCP, "dhcp-networks", "networks", `{"network_id":"` + n + `"}`, "/v2.0/networks/" + n + "/dhcp-agents", "NetworkNotHostedByDhcpAgent"},
		{model.RoleL3, "l3-routers", "routers", `{"router_id":"` + router + `"}`, "/v2.0/routers/" + router + "/l3-agents", "RouterNotHostedByL3Agent"},
	} {
		id := agent.ID("host1", c.role)
		served := "/v2.0/agents/" + id + "/" + c.kind
		count := func(path, plural string) int { return len(r.must(200, admin, "GET", path, "").body[plural].([]any)) }
		r.fails(404, "AgentNotFound", alice, "GET", served, "")
		if raw := r.must(201, admin, "POST", served, c.body).raw; string(raw) != "null" {
			t.Errorf("%s: the answer is %q", c.kind, raw)
		}
		if count(served, c.plural) != 1 || count(c.path, "agents") != 1 {
			t.Errorf("%s: it is not shown", c.kind)
		}
		object := c.body[strings.Index(c.body, ":")+2 : len(c.body)-2]
		r.must(http.StatusNoContent, admin, "DELETE", served+"/"+object, "")
		r.fails(409, c.again, admin, "DELETE", served+"/"+object, "")
		if count(served, c.plural) != 0 || count(c.path, "agents") != 0 {
			t.Errorf("%s: it is still shown", c.kind)
		}
		r.fails(400, "HTTPBadRequest", admin, "POST", served, `{}`)
	}
	r.fails(404, "InvalidDHCPAgent", admin, "POST", "/v2.0/agents/"+agent.ID("host1", model.RoleL3)+"/dhcp-networks",
		`{"network_id":"`+n+`"}`)
}

// A highly available router is on all hosts of its gateway group, and its ports show the one that is active.
func TestHighlyAvailableRoutersShowTheRolesOfTheirHosts(t *testing.T) {
	r := newRouting(t)
	n, subnet := r.subnet(alice, "10.0.0.0/24")
	router, plain := id(r.make(admin, "routers", `{"ha":true,"project_id":"a"}`)), id(r.make(admin, "routers", `{}`))
	add := r.must(200, admin, "PUT", "/v2.0/routers/"+router+"/add_router_interface", `{"subnet_id":"`+subnet+`"}`)
	leg := add.body["port_id"].(string)
	put := func(claim model.GatewayClaim, reason string) {
		t.Helper()
		_, err := r.store.Update(t.Context(), func(tx *state.Tx) error {
			state.GatewayGroups.Put(tx, &model.GatewayGroup{
				Meta: model.Meta{ID: "7"}, Hosts: []string{"host1", "host2", "host3"}, Claim: claim, Reason: reason,
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(model.GatewayClaim{}, "")
	_, err := r.store.Update(t.Context(), func(tx *state.Tx) error {
		for _, host := range []string{"host1", "host2", "host3", "host4"} {
			hello := agent.Hello{Roles: []model.Role{model.RoleL2, model.RoleL3}, StartedAt: time.Unix(1, 0)}
			if err := agent.New(nil).Connected(tx, host, hello); err != nil {
				return err
			}
		}
		o, _ := state.Routers.Get(tx, router)
		o = o.Clone()
		o.GatewayGroup = "7"
		state.Routers.Put(tx, o)
		p, _ := state.Ports.Get(tx, leg)
		p = p.Clone()
		p.Binding.GatewayGroup, p.Binding.VIFType = "7", model.VIFBridge
		state.Ports.Put(tx, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	roles := func() map[string]any {
		t.Helper()
		got := map[string]any{}
		for _, a := range r.must(200, admin, "GET", "/v2.0/routers/"+router+"/l3-agents", "").body["agents"].([]any) {
			a := a.(map[string]any)
			got[a["host"].(string)] = a["ha_state"]
		}
		return got
	}
	expect := func(when string, host1, host2, host3 any, bound string) {
		t.Helper()
		if diff := cmp.Diff(map[string]any{"host1": host1, "host2": host2, "host3": host3}, roles()); diff != "" {
			t.Errorf("%s:\n%s", when, diff)
		}
		p := r.must(200, admin, "GET", "/v2.0/ports/"+leg, "").body["port"].(map[string]any)
		if p["binding:host_id"] != bound || p["binding:vif_type"] != "bridge" {
			t.Errorf("%s: its port is on %v as %v", when, p["binding:host_id"], p["binding:vif_type"])
		}
		for _, host := range []string{"host1", "host2", "host3", "host4"} {
			found := r.list(admin, "/v2.0/ports?network_id="+n+"&binding:host_id="+host, "id")
			if (len(found) == 1) != (host == bound) {
				t.Errorf("%s: %d ports on %s", when, len(found), host)
			}
		}
	}
	expect("nobody has claimed it", "standby", "standby", "standby", "host1")
	put(model.GatewayClaim{Epoch: 1, Rank: 1, Host: "host2"}, "")
	expect("host2 has", "standby", "active", "standby", "host2")
	put(model.GatewayClaim{Epoch: 2, Rank: 2, Host: "host3"}, "It has no standby.")
	r.hosts.Down("host2", time.Now())
	expect("host3 has taken over", "standby", "unknown", "active", "host3")
	if got := r.must(200, admin, "GET", "/v2.0/routers/"+router, "").body["router"].(map[string]any)["status_reason"]; got != "It has no standby." {
		t.Errorf("its status_reason is %v", got)
	}

	// Its hosts are the group's: none is added or taken away for it alone.
	at := func(host string) string { return "/v2.0/agents/" + agent.ID(host, model.RoleL3) + "/l3-routers" }
	r.must(201, admin, "POST", at("host1"), `{"router_id":"`+router+`"}`)
	r.fails(409, "RouterSchedulingFailed", admin, "POST", at("host4"), `{"router_id":"`+router+`"}`)
	r.fails(409, "RouterReschedulingFailed", admin, "DELETE", at("host1")+"/"+router, "")
	r.fails(409, "RouterNotHostedByL3Agent", admin, "DELETE", at("host4")+"/"+router, "")
	served := r.must(200, admin, "GET", at("host1"), "").body["routers"].([]any)
	if len(served) != 1 || served[0].(map[string]any)["id"] != router {
		t.Errorf("host1 serves %v", served)
	}

	r.must(201, admin, "POST", at("host1"), `{"router_id":"`+plain+`"}`)
	agents := r.must(200, admin, "GET", "/v2.0/routers/"+plain+"/l3-agents", "").body["agents"].([]any)
	if state, shown := agents[0].(map[string]any)["ha_state"]; !shown || state != nil {
		t.Errorf("a router without ha has the ha_state %v", state)
	}
	for _, a := range r.must(200, admin, "GET", "/v2.0/agents", "").body["agents"].([]any) {
		if _, shown := a.(map[string]any)["ha_state"]; shown {
			t.Error("an agent has a ha_state of no router")
		}
	}
}

// BenchmarkRouterWithInterface makes a router and attaches it, with a log that keeps nothing.
func BenchmarkRouterWithInterface(b *testing.B) {
	r := newRouting(b)
	send := func(status int, method, path, body string) *httptest.ResponseRecorder {
		q := httptest.NewRequest(method, path, strings.NewReader(body))
		q.Header.Set("X-Auth-Token", admin)
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, q)
		if w.Code != status {
			b.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w
	}
	n := id(r.make(admin, "networks", `{}`))
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		s := id(r.make(admin, "subnets", fmt.Sprintf(`{"network_id":"%s","ip_version":4,"cidr":"10.%d.%d.0/24"}`, n, i>>8&255, i&255)))
		b.StartTimer()
		body := send(201, "POST", "/v2.0/routers", `{"router":{}}`).Body.String()
		_, after, _ := strings.Cut(body, `"id":"`)
		send(200, "PUT", "/v2.0/routers/"+after[:36]+"/add_router_interface", `{"subnet_id":"`+s+`"}`)
	}
}
