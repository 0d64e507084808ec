package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/test/cloud"
)

// TestWaysThroughARouter: who is seen as whom, on every way through a central router.
func TestWaysThroughARouter(t *testing.T) {
	w := startRouted(t)
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	c, d := w.member(w.blue, "c", "compute1"), w.member(w.red, "d", "compute2")
	ofC, ofD := w.floating(c.ID), w.floating(d.ID)
	shared := w.floating("")
	w.forward(shared.str("id"), object{
		"protocol": "tcp", "external_port": 8080, "internal_port": 80, "internal_port_id": b.ID,
		"internal_ip_address": address(b, 4),
	})
	for _, p := range []place{at(a), at(b), at(c), at(d), out()} {
		w.serve(t, p, 80)
	}
	fip := func(f answer) string { return f.str("floating_ip_address") }
	v4 := func(ip string) string { return ip + ":80" }
	v6 := func(ip string) string { return "[" + ip + "]:80" }
	for _, way := range []struct {
		name     string
		from     place
		to, seen string
	}{
		{"east-west", at(a), v4(address(b, 4)), address(a, 4)},
		{"east-west with IPv6", at(b), v6(address(a, 6)), address(b, 6)},
		{"out, as the router", at(a), v4(outside), w.gateway},
		{"out, beyond the gateway", at(b), v4(beyond), w.gateway},
		{"out with IPv6, as itself", at(a), v6(outside6), address(a, 6)},
		{"in with IPv6", out(), v6(address(b, 6)), outside6},
		{"out by a floating IP", at(c), v4(beyond), fip(ofC)},
		{"in by a floating IP", out(), v4(fip(ofC)), outside},
		{"hairpin", at(a), v4(fip(ofC)), w.gateway},
		{"hairpin between two floating IPs", at(d), v4(fip(ofC)), fip(ofD)},
		{"a floating IP to itself", at(d), v4(fip(ofD)), fip(ofD)},
		{"in by a forwarded port", out(), fip(shared) + ":8080", outside},
		{"hairpin by a forwarded port", at(a), fip(shared) + ":8080", w.gateway},
	} {
		t.Run(way.name, func(t *testing.T) { w.expect(t, way.from, way.to, way.seen) })
	}
	t.Run("statuses", func(t *testing.T) {
		w.t = t
		for _, f := range []answer{ofC, ofD, shared} {
			w.active(f.str("id"))
		}
		r := w.show("routers", w.router)
		if r.str("status") != "ACTIVE" || r["status_reason"] != nil {
			t.Errorf("the router is %s: %v", r.str("status"), r["status_reason"])
		}
		for _, owner := range []string{"network:router_interface", "network:router_gateway"} {
			ports, err := w.client.Ports(t.Context(), map[string]string{"device_owner": owner})
			if err != nil || len(ports) == 0 {
				t.Fatalf("ports of %s: %v", owner, err)
			}
			for _, p := range ports {
				if p.Status != "ACTIVE" || p.Host != "network" {
					t.Errorf("the %s is %s on %s", owner, p.Status, p.Host)
				}
			}
		}
	})
	t.Run("a port that is not forwarded", func(t *testing.T) {
		if as, err := w.seen(out(), fip(shared)+":80"); err == nil {
			t.Errorf("it is answered, as %s", as)
		}
	})
	t.Run("a floating IP is taken away", func(t *testing.T) {
		w.t = t
		w.s.Must(t, 200, "PUT", "/floatingips/"+ofC.str("id"), object{"floatingip": object{"port_id": nil}}, nil)
		w.unreachable(t, out(), v4(fip(ofC)))
		w.expect(t, at(c), v4(beyond), w.gateway)
	})
	t.Run("without source NAT", func(t *testing.T) {
		w.t = t
		w.s.Must(t, 200, "PUT", "/routers/"+w.router, object{"router": object{
			"external_gateway_info": object{"network_id": w.public, "enable_snat": false},
		}}, nil)
		w.unreachable(t, at(a), v4(beyond)) // the internet knows no way back
		w.run(internet, "ip", "route", "add", redRange, "via", w.gateway)
		w.expect(t, at(a), v4(beyond), address(a, 4))
		w.expect(t, at(d), v4(beyond), fip(ofD))
	})
}

// forward makes a port forwarding.
func (r *routed) forward(floatingIP string, body object) {
	r.t.Helper()
	r.s.Must(r.t, 201, "POST", "/floatingips/"+floatingIP+"/port_forwardings", object{"port_forwarding": body}, nil)
}

// TestAttachingAnIPv6SubnetStopsNothing: CVE-2014-4167. In Neutron, a subnet of IPv6 made the agent fail, so that no
// router of the host was served any more. Here traffic goes on, and routers that come later are served.
func TestAttachingAnIPv6SubnetStopsNothing(t *testing.T) {
	w := startRouted(t)
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	w.reach(a, b)
	wait := w.background(a, b, 300)
	for i, mode := range []object{
		{}, // the routers are others'
		{"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"},
		{"ipv6_ra_mode": "dhcpv6-stateless", "ipv6_address_mode": "dhcpv6-stateless"},
		{"enable_dhcp": false},
	} {
		n := w.make("networks", object{"name": fmt.Sprint("six", i)}).str("id")
		body := object{"network_id": n, "ip_version": 6, "cidr": fmt.Sprintf("2001:db8:%d::/64", i+1)}
		for k, v := range mode {
			body[k] = v
		}
		w.attach(w.make("subnets", body).str("id"))
	}
	late := w.behind("late", "10.3.0.0/24")
	c := w.member(late, "c", "compute1")
	w.reach(c, b)
	if lost := wait(); lost != 0 {
		t.Errorf("%d of 300 packets were lost", lost)
	}
	if r := w.show("routers", w.router); r.str("status") != "ACTIVE" {
		t.Errorf("the router is %s: %v", r.str("status"), r["status_reason"])
	}
}

// TestUpdatesOfARouterStartNoProcesses: CVE-2014-8153. In Neutron, each update of a router with IPv6 started another
// radvd, so that a tenant could exhaust the host. Here no process belongs to a router, and updates change none.
func TestUpdatesOfARouterStartNoProcesses(t *testing.T) {
	w := startRouted(t)
	a := w.member(w.red, "a", "compute1")
	w.serve(t, out(), 80)
	w.expect(t, at(a), beyond+":80", w.gateway)
	// nft runs for a moment now and then.
	lasting := func() []string {
		return slices.DeleteFunc(w.processes("network"), func(p string) bool { return strings.HasSuffix(p, " nft") })
	}
	before, namespace := lasting(), w.run("network", "stat", "-Lc", "%i", "/run/netns/qrouter-"+w.router)
	for i := range 30 {
		w.s.Must(t, 200, "PUT", "/routers/"+w.router, object{"router": object{"name": fmt.Sprint("r", i)}}, nil)
		w.s.Must(t, 200, "PUT", "/routers/"+w.router, object{"router": object{"routes": []object{
			{"destination": "192.0.2.0/24", "nexthop": fmt.Sprintf("10.1.0.%d", 200+i)},
		}}}, nil)
	}
	w.eventually(5*time.Second, "the last route is there", func() error {
		routes := w.run("network", "ip", "-n", "qrouter-"+w.router, "route")
		if !strings.Contains(routes, "192.0.2.0/24 via 10.1.0.229") {
			return fmt.Errorf("the routes are\n%s", routes)
		}
		return nil
	})
	w.eventually(5*time.Second, "the processes are those of before", func() error {
		if now := lasting(); !slices.Equal(now, before) {
			return fmt.Errorf("before %v, now %v", before, now)
		}
		return nil
	})
	if now := w.run("network", "stat", "-Lc", "%i", "/run/netns/qrouter-"+w.router); now != namespace {
		t.Error("the router has got another namespace")
	}
	w.expect(t, at(a), beyond+":80", w.gateway)
}

// processes are the ids and names of what runs on the host, in any of its namespaces.
func (w *world) processes(host string) (all []string) {
	w.t.Helper()
	uts := w.run(host, "readlink", "/proc/self/ns/uts")
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, dir := range dirs {
		if of, err := os.Readlink(dir + "/ns/uts"); err != nil || of != strings.TrimSpace(uts) {
			continue
		}
		if name, err := os.ReadFile(dir + "/comm"); err == nil {
			all = append(all, filepath.Base(dir)+" "+strings.TrimSpace(string(name)))
		}
	}
	return all
}

// TestAnotherProjectsRouterCannotBeReached: a project that knows the id of another's router can do nothing with it, be it
// by interfaces (CVE-2014-0056), helpers, floating IPs or ports that claim to be the router's.
func TestAnotherProjectsRouterCannotBeReached(t *testing.T) {
	server := cloud.Start(t)
	admin, demo := server.Client("admin"), server.Client("demo")
	create := func(c *cloud.Client, collection string, body object) string {
		t.Helper()
		singular := strings.TrimSuffix(collection, "s")
		var got map[string]answer
		c.Must(t, 201, "POST", "/"+collection, object{singular: body}, &got)
		return got[singular].str("id")
	}
	public := create(admin, "networks", object{"router:external": true})
	create(admin, "subnets", object{"network_id": public, "ip_version": 4, "cidr": "203.0.113.0/24"})
	router := create(admin, "routers", object{"external_gateway_info": object{"network_id": public}})
	_, inside := admin.Network(t, "inside", "10.0.0.0/24")
	admin.Must(t, 200, "PUT", "/routers/"+router+"/add_router_interface", object{"subnet_id": inside}, nil)

	network, subnet := demo.Network(t, "theirs", "10.9.0.0/24")
	port := create(demo, "ports", object{"network_id": network})
	for name, call := range map[string]struct {
		method, path string
		body         any
	}{
		"read":                   {"GET", "", nil},
		"update":                 {"PUT", "", object{"router": object{"name": "mine"}}},
		"delete":                 {"DELETE", "", nil},
		"interface by subnet":    {"PUT", "/add_router_interface", object{"subnet_id": subnet}},
		"interface by port":      {"PUT", "/add_router_interface", object{"port_id": port}},
		"no interface any more":  {"PUT", "/remove_router_interface", object{"subnet_id": inside}},
		"routes":                 {"PUT", "/add_extraroutes", object{"router": object{"routes": []object{}}}},
		"the agents that run it": {"GET", "/l3-agents", nil},
		"helper": {"POST", "/conntrack_helpers", object{
			"conntrack_helper": object{"protocol": "tcp", "port": 21, "helper": "ftp"},
		}},
	} {
		status, text, err := demo.Do(t.Context(), call.method, "/routers/"+router+call.path, call.body, nil)
		if err != nil || status != 404 && status != 403 {
			t.Errorf("%s: status %d, want 404 (%v): %s", name, status, err, text)
		}
	}
	refused := func(what, method, path string, body object) {
		t.Helper()
		status, text, err := demo.Do(t.Context(), method, path, body, nil)
		if err != nil || status < 400 || status >= 500 {
			t.Errorf("%s: status %d (%v): %s", what, status, err, text)
		}
	}
	refused("a port that claims to be an interface", "POST", "/ports", object{"port": object{
		"network_id": network, "device_id": router, "device_owner": "network:router_interface"}})
	refused("a port that becomes one", "PUT", "/ports/"+port, object{"port": object{
		"device_id": router, "device_owner": "network:router_interface"}})
	refused("a floating IP for a port behind no router of theirs", "POST", "/floatingips", object{"floatingip": object{
		"floating_network_id": public, "port_id": port}})
	admins := create(admin, "ports", object{"network_id": network})
	refused("a floating IP for a port of another", "POST", "/floatingips", object{"floatingip": object{
		"floating_network_id": public, "port_id": admins}})
	floating := create(demo, "floatingips", object{"floating_network_id": public})
	refused("a forwarded port to one of another", "POST", "/floatingips/"+floating+"/port_forwardings",
		object{"port_forwarding": object{"protocol": "tcp", "external_port": 80, "internal_port": 80,
			"internal_port_id": port, "internal_ip_address": "10.9.0.2"}})
}
