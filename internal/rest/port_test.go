package rest

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// realPorts is an API with the product's rules, a network of alice's project with a subnet, and two hosts.
func realPorts(t *testing.T) (f *fixture, network string) {
	f = newFixtureWith(t, realRules(t))
	network = id(f.make(alice, "networks", `{}`))
	f.must(http.StatusCreated, alice, "POST", "/v2.0/subnets",
		`{"subnet":{"network_id":"`+network+`","ip_version":4,"cidr":"10.0.0.0/24"}}`)
	_, err := f.store.Update(t.Context(), func(tx *state.Tx) error {
		for i, host := range []string{"compute1", "compute2"} {
			vtep := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
			state.Agents.Put(tx, &model.Agent{
				Meta: model.Meta{ID: host}, Host: host, Role: model.RoleL2, TunnelIP: vtep, TunnelTypes: []string{"vxlan"},
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, network
}

func TestANewPortShowsAllThatPortsHave(t *testing.T) {
	f, network := realPorts(t)
	p := f.make(admin, "ports", `{"network_id":"`+network+`","dns_name":"Web"}`)
	ip := p["fixed_ips"].([]any)[0].(map[string]any)["ip_address"].(string)
	for name, want := range map[string]string{
		"status": "DOWN", "ip_allocation": "immediate", "admin_state_up": "true", "port_security_enabled": "true",
		"allowed_address_pairs": "[]", "extra_dhcp_opts": "[]", "tags": "[]", "binding:host_id": "",
		"binding:vnic_type": "normal", "binding:vif_type": "unbound", "binding:vif_details": "map[]",
		"binding:profile": "map[]", "qos_policy_id": "<nil>", "qos_network_policy_id": "<nil>", "resource_request": "<nil>",
		"data_plane_status": "<nil>", "numa_affinity_policy": "<nil>", "device_profile": "<nil>",
		"propagate_uplink_status": "true", "trunk_details": "<nil>", "device_id": "", "device_owner": "",
		"dns_name": "web", "dns_domain": "",
		"dns_assignment": "[map[fqdn:web.openstacklocal. hostname:web ip_address:" + ip + "]]",
	} {
		value, there := p[name]
		if !there || fmt.Sprint(value) != want {
			t.Errorf("%s is %v (%v), want %s", name, value, there, want)
		}
	}
	if groups := p["security_groups"].([]any); len(groups) != 1 {
		t.Error(groups)
	}
}

func TestPortsAreMadeWithTheirTags(t *testing.T) {
	f, network := realPorts(t)
	res := f.must(http.StatusCreated, alice, "POST", "/v2.0/ports", `{"ports":[{"network_id":"`+network+
		`","tags":["red","blue"]},{"network_id":"`+network+`","name":"plain"}]}`)
	if got := fmt.Sprint(res.body["ports"].([]any)[0].(map[string]any)["tags"]); got != "[red blue]" {
		t.Error(got)
	}
	if got := f.list(alice, "/v2.0/ports?not-tags=red", "name"); !slices.Equal(got, []string{"plain"}) {
		t.Error(got)
	}
	f.fails(http.StatusBadRequest, "HTTPBadRequest", alice, "PUT", "/v2.0/ports/"+
		id(res.body["ports"].([]any)[0].(map[string]any)), `{"port":{"tags":[]}}`)
}

func TestPortsAreFoundByWhatTheyHave(t *testing.T) {
	f, network := realPorts(t)
	make := func(name, attributes string) map[string]any {
		return f.make(admin, "ports", `{"network_id":"`+network+`","name":"`+name+`"`+attributes+`}`)
	}
	a := make("a", `,"mac_address":"fa:16:3e:00:00:0a","fixed_ips":[{"ip_address":"10.0.0.100"}],"binding:host_id":"compute1"`)
	make("b", `,"security_groups":[],"fixed_ips":[{"ip_address":"10.0.0.110"}],"binding:host_id":"nowhere",`+
		`"allowed_address_pairs":[{"ip_address":"10.9.0.0/16"}],"device_owner":"compute:nova"`)
	group := a["security_groups"].([]any)[0].(string)
	for query, want := range map[string]string{
		"security_groups=" + group:                                     "a",
		"security_groups=" + group + "&security_groups=x":              "a",
		"security_groups=x":                                            "",
		"mac_address=FA-16-3E-00-00-0A":                                "a",
		"mac_address=FA:16:3E:00:00:0A&mac_address=fa:16:3e:00:00:0b":  "a",
		"binding:host_id=compute1":                                     "a",
		"binding:host_id=nowhere":                                      "b",
		"binding:host_id=compute1&binding:host_id=nowhere":             "a b",
		"fixed_ips=ip_address=10.0.0.100":                              "a",
		"fixed_ips=ip_address_substr=0.0.1":                            "a b",
		"fixed_ips=ip_address=10.0.0.100&fixed_ips=ip_address=1.1.1.1": "a",
		"allowed_address_pairs=ip_address=10.9.0.0/16":                 "b",
		"device_owner=compute:nova":                                    "b",
		"ip_allocation=immediate":                                      "a b",
		"binding:vif_type=bridge":                                      "a",
	} {
		got := f.list(admin, "/v2.0/ports?sort_key=name&sort_dir=asc&"+query, "name")
		if strings.Join(got, " ") != want {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	}
	if got := f.list(alice, "/v2.0/ports?binding:host_id=compute1", "name"); len(got) != 0 {
		t.Errorf("a member finds ports by their host: %v", got)
	}
}

func TestNovaMigratesAPort(t *testing.T) {
	f, network := realPorts(t)
	p := f.make(service, "ports", `{"network_id":"`+network+`","project_id":"a","device_id":"vm","device_owner":"compute:nova",`+
		`"binding:host_id":"compute1","binding:profile":{"k":"v"}}`)
	path := "/v2.0/ports/" + id(p) + "/bindings"
	// Only services bind. Who may see bindings is told that it may not; who may see the port, too; others see no port.
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", admin, "POST", path, `{"binding":{"host":"compute2"}}`)
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", alice, "GET", path, "")
	f.fails(http.StatusNotFound, "PortNotFound", bob, "GET", path, "")
	f.fails(http.StatusNotFound, "PortNotFound", bob, "PUT", path+"/compute2/activate", "")
	f.fails(http.StatusBadRequest, "HTTPBadRequest", service, "POST", path, `{"binding":{}}`)
	f.fails(http.StatusBadRequest, "HTTPBadRequest", service, "POST", path, `{"binding":{"host":"compute2","vif_type":"x"}}`)
	f.fails(http.StatusBadRequest, "HTTPBadRequest", service, "POST", path, `{}`)

	res := f.must(http.StatusCreated, service, "POST", path, `{"binding":{"host":"compute2","profile":{"a":1}}}`)
	want := "map[host:compute2 profile:map[a:1] project_id:a status:INACTIVE vif_details:map[bound_drivers:map[0:linuxbridge] " +
		"bridge_name:" + model.BridgeName(network) + " connectivity:l2 port_filter:false] vif_type:bridge vnic_type:normal]"
	if got := fmt.Sprint(res.body["binding"]); got != want {
		t.Errorf("made %s\nwant %s", got, want)
	}
	res = f.must(http.StatusOK, admin, "GET", path+"?fields=host&status=INACTIVE", "")
	if got := fmt.Sprint(res.body["bindings"]); got != "[map[host:compute2]]" {
		t.Error(got)
	}
	f.fails(http.StatusBadRequest, "HTTPBadRequest", admin, "GET", path+"?colour=red", "")
	f.fails(http.StatusNotFound, "PortBindingNotFound", admin, "GET", path+"/compute3", "")
	f.must(http.StatusOK, service, "PUT", path+"/compute2", `{"binding":{"profile":{"a":2}}}`)
	res = f.must(http.StatusOK, service, "PUT", path+"/compute2/activate", "")
	if got := res.body["binding"].(map[string]any)["status"]; got != "ACTIVE" {
		t.Error(got)
	}
	f.fails(http.StatusConflict, "PortBindingAlreadyActive", service, "PUT", path+"/compute2/activate", "")
	f.must(http.StatusNoContent, service, "DELETE", path+"/compute1", "")
	shown := f.must(http.StatusOK, admin, "GET", "/v2.0/ports/"+id(p), "").body["port"].(map[string]any)
	if shown["binding:host_id"] != "compute2" || fmt.Sprint(shown["binding:profile"]) != "map[a:2]" {
		t.Error(shown)
	}
}

func TestTrunksOverTheAPI(t *testing.T) {
	f, network := realPorts(t)
	port := func() map[string]any { return f.make(alice, "ports", `{"network_id":"`+network+`"}`) }
	parent, a, b := port(), port(), port()
	sub := func(p map[string]any, tag int) string {
		return fmt.Sprintf(`{"port_id":%q,"segmentation_type":"vlan","segmentation_id":%d}`, id(p), tag)
	}
	tr := f.make(alice, "trunks", `{"port_id":"`+id(parent)+`","name":"t","sub_ports":[`+sub(a, 5)+`]}`)
	if tr["status"] != "DOWN" || tr["project_id"] != "a" || len(tr["sub_ports"].([]any)) != 1 {
		t.Error(tr)
	}
	path := "/v2.0/trunks/" + id(tr)
	// The answer is the trunk itself, without its name around it.
	res := f.must(http.StatusOK, alice, "PUT", path+"/add_subports", `{"sub_ports":[`+sub(b, 6)+`]}`)
	if res.body["id"] != id(tr) || len(res.body["sub_ports"].([]any)) != 2 {
		t.Error(res.body)
	}
	details := f.must(http.StatusOK, alice, "GET", "/v2.0/ports/"+id(parent), "").body["port"].(map[string]any)["trunk_details"]
	if got := fmt.Sprint(details); !strings.Contains(got, b["mac_address"].(string)) || !strings.Contains(got, id(tr)) {
		t.Error(got)
	}
	f.fails(http.StatusConflict, "PortInUseAsSubPort", alice, "DELETE", "/v2.0/ports/"+id(a), "")
	f.fails(http.StatusConflict, "PortInUseAsTrunkParent", alice, "DELETE", "/v2.0/ports/"+id(parent), "")
	f.fails(http.StatusNotFound, "TrunkNotFound", bob, "PUT", path+"/add_subports", `{"sub_ports":[]}`)
	f.fails(http.StatusNotFound, "TrunkNotFound", bob, "GET", path+"/get_subports", "")
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", reader, "PUT", path+"/remove_subports", `{"sub_ports":[]}`)
	f.fails(http.StatusBadRequest, "InvalidInput", alice, "PUT", path+"/add_subports", `{}`)
	f.fails(http.StatusBadRequest, "InvalidInput", alice, "PUT", path+"/add_subports", "")
	f.must(http.StatusOK, alice, "PUT", path+"/remove_subports", `{"sub_ports":[{"port_id":"`+id(a)+`"}]}`)
	res = f.must(http.StatusOK, reader, "GET", path+"/get_subports", "")
	if got := res.body["sub_ports"].([]any); len(got) != 1 || got[0].(map[string]any)["segmentation_id"] != float64(6) {
		t.Error(got)
	}
	f.must(http.StatusCreated, alice, "PUT", path+"/tags/red", "")
	if got := f.list(alice, "/v2.0/trunks?port_id="+id(parent)+"&tags=red", "name"); !slices.Equal(got, []string{"t"}) {
		t.Error(got)
	}
	f.must(http.StatusNoContent, alice, "DELETE", path, "")
	f.must(http.StatusNoContent, alice, "DELETE", "/v2.0/ports/"+id(parent), "")
}

// CVE-2015-5240 and CVE-2026-50266 on the way of an update: a port cannot become one of the network's own afterwards.
func TestCVE202650266PortsDoNotBecomeTheNetworksOwn(t *testing.T) {
	f := newFixtureWith(t, realRules(t))
	network := id(f.make(admin, "networks", `{"shared":true}`))
	p := f.make(bob, "ports", `{"network_id":"`+network+`"}`)
	for _, owner := range []string{"network:dhcp", "network:router_interface", "network:"} {
		f.fails(http.StatusForbidden, "PolicyNotAuthorized", bob, "PUT", "/v2.0/ports/"+id(p),
			`{"port":{"device_owner":"`+owner+`"}}`)
	}
}
