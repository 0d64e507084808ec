package rest

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/state"
)

func seedAgents(t testing.TB, store *state.Store) {
	t.Helper()
	_, err := store.Update(t.Context(), func(tx *state.Tx) error {
		for _, host := range []string{"compute1", "compute2"} {
			state.Agents.Put(tx, &model.Agent{Meta: model.Meta{ID: tx.NewID()}, Host: host, Role: model.RoleL2})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAttributesThatAskForARule(t *testing.T) {
	f := newFixture(t)
	own := id(f.make(alice, "networks", `{"name":"own"}`))
	shared := id(f.make(admin, "networks", `{"project_id":"c","shared":true}`))
	mac := `"mac_address":"fa:16:3e:00:00:01"`
	for _, test := range []struct {
		token, plural, body, denied string
	}{
		{alice, "networks", `{"shared":true}`, "(rule:create_network and rule:create_network:shared)"},
		{alice, "networks", `{"shared":false,"router:external":"0"}`, ""}, // defaults that are written out
		{alice, "networks", `{"provider:network_type":"vxlan"}`, "(rule:create_network and rule:create_network:provider:network_type)"},
		{alice, "networks", `{"shared":true,"router:external":true}`,
			"((rule:create_network and rule:create_network:shared) and rule:create_network:router:external)"},
		{alice, "networks", `{"port_security_enabled":false}`, ""},
		{reader, "networks", `{}`, "rule:create_network"},
		{service, "networks", `{}`, "rule:create_network"},
		{admin, "networks", `{"shared":true,"provider:network_type":"vxlan"}`, ""},
		{alice, "ports", `{"network_id":"` + own + `",` + mac + `}`, ""},
		{alice, "ports", `{"network_id":"` + shared + `",` + mac + `}`, "(rule:create_port and rule:create_port:mac_address)"},
		{alice, "ports", `{"network_id":"` + shared + `","port_security_enabled":false}`,
			"(rule:create_port and rule:create_port:port_security_enabled)"},
		{alice, "ports", `{"network_id":"` + shared + `","device_owner":""}`, ""},
		{alice, "ports", `{"network_id":"` + shared + `","device_owner":"compute:nova"}`, ""},
		{alice, "ports", `{"network_id":"` + shared + `","fixed_ips":[{"subnet_id":"` + unusedID + `"}]}`, ""},
		{alice, "ports", `{"network_id":"` + shared + `","fixed_ips":[{"ip_address":"10.0.0.5"}]}`,
			"(rule:create_port and (rule:create_port:fixed_ips and (rule:create_port:fixed_ips:ip_address)))"},
		{alice, "ports", `{"network_id":"` + own + `","binding:host_id":"h"}`, "(rule:create_port and rule:create_port:binding:host_id)"},
		{alice, "ports", `{"network_id":"` + own + `","binding:vnic_type":"normal"}`, ""},
		{service, "ports", `{"network_id":"` + own + `","binding:host_id":"h","project_id":"a"}`, ""},
	} {
		name := strings.TrimSuffix(test.plural, "s")
		body := `{"` + name + `":` + test.body + `}`
		if test.denied == "" {
			f.must(201, test.token, "POST", "/v2.0/"+test.plural, body)
			continue
		}
		message := f.fails(403, "PolicyNotAuthorized", test.token, "POST", "/v2.0/"+test.plural, body)
		if want := test.denied + " is disallowed by policy"; message != want {
			t.Errorf("%s by %s: message %q, want %q", body, test.token, message, want)
		}
	}
}

// CVE-2014-6414: an update must not touch attributes that it does not name, and names of guarded ones always ask.
func TestCVE20146414UpdatesChangeOnlyWhatTheyName(t *testing.T) {
	f := newFixture(t)
	n := f.make(admin, "networks", `{"shared":true}`)
	path := "/v2.0/networks/" + id(n)
	updated := f.must(200, alice, "PUT", path, `{"network":{"name":"x"}}`).body["network"].(map[string]any)
	if updated["shared"] != true {
		t.Error("the update has reset shared")
	}
	f.fails(403, "PolicyNotAuthorized", alice, "PUT", path, `{"network":{"shared":false}}`)
	f.fails(403, "PolicyNotAuthorized", alice, "PUT", path, `{"network":{"shared":true}}`)
}

// CVE-2015-5240, CVE-2026-50266: who does not own the network must not make its port one of the network's own.
func TestCVE20155240DeviceOwnerOfNetworkPorts(t *testing.T) {
	f := newFixture(t)
	shared := id(f.make(admin, "networks", `{"project_id":"c","shared":true}`))
	f.fails(403, "PolicyNotAuthorized", alice, "POST", "/v2.0/ports",
		`{"port":{"network_id":"`+shared+`","device_owner":"network:dhcp"}}`)
	port := "/v2.0/ports/" + id(f.make(alice, "ports", `{"network_id":"`+shared+`"}`))
	f.fails(403, "PolicyNotAuthorized", alice, "PUT", port, `{"port":{"device_owner":"network:router_interface"}}`)
	f.must(200, alice, "PUT", port, `{"port":{"device_owner":"compute:nova"}}`)
}

func TestObjectsOfOthersDoNotExist(t *testing.T) {
	f := newFixture(t)
	network := id(f.make(alice, "networks", `{"name":"secret"}`))
	port := id(f.make(alice, "ports", `{"network_id":"`+network+`"}`))
	// The answers for what is there and what is not there must be the same but for the id.
	same := func(method, path, other, body string) {
		t.Helper()
		a, b := f.must(404, bob, method, path, body), f.must(404, bob, method, other, body)
		strip := func(r *response) string {
			s := strings.ReplaceAll(string(r.raw), network, "ID")
			return strings.ReplaceAll(strings.ReplaceAll(s, port, "ID"), unusedID, "ID")
		}
		if strip(a) != strip(b) {
			t.Errorf("%s: %s, but %s", method, a.raw, b.raw)
		}
	}
	for _, p := range []struct{ name, id string }{{"network", network}, {"port", port}} {
		path, other := "/v2.0/"+p.name+"s/"+p.id, "/v2.0/"+p.name+"s/"+unusedID
		same("GET", path, other, "")
		same("DELETE", path, other, "")
		same("PUT", path, other, `{"`+p.name+`":{"name":"x"}}`)
		same("GET", path+"/tags", other+"/tags", "")
		same("PUT", path+"/tags/x", other+"/tags/x", "")
		same("DELETE", path+"/tags", other+"/tags", "")
		if p.name == "network" { // not even when the body would make it visible
			same("PUT", path, other, `{"network":{"shared":true}}`)
		}
	}
	a := f.fails(404, "NetworkNotFound", bob, "POST", "/v2.0/ports", `{"port":{"network_id":"`+network+`"}}`)
	b := f.fails(404, "NetworkNotFound", bob, "POST", "/v2.0/ports", `{"port":{"network_id":"`+unusedID+`"}}`)
	if strings.ReplaceAll(a, network, unusedID) != b {
		t.Errorf("%q, but %q", a, b)
	}
	f.fails(404, "NetworkNotFound", bob, "GET", "/v2.0/networks?limit=1&marker="+network, "")
	for _, query := range []string{"", "?id=" + network, "?name=secret", "?project_id=a", "?shared=false"} {
		if got := f.list(bob, "/v2.0/networks"+query, "id"); len(got) != 0 {
			t.Errorf("%q finds %q", query, got)
		}
	}
}

func TestWhatCallersSee(t *testing.T) {
	f := newFixture(t)
	own := id(f.make(alice, "networks", `{"name":"own"}`))
	for _, body := range []string{
		`{"name":"shared","project_id":"c","shared":true}`, `{"name":"external","project_id":"c","router:external":true}`,
		`{"name":"both","project_id":"c","shared":true,"router:external":true}`, `{"name":"hidden","project_id":"c"}`,
		`{"name":"own and shared","project_id":"a","shared":true}`,
	} {
		n := f.make(admin, "networks", body)
		f.make(admin, "subnets", `{"name":"`+n["name"].(string)+`","project_id":"c","ip_version":4,"cidr":"10.0.0.0/24","network_id":"`+id(n)+`"}`)
	}
	f.make(admin, "ports", `{"name":"guest","project_id":"c","network_id":"`+own+`"}`)
	f.make(alice, "ports", `{"name":"mine","network_id":"`+own+`"}`)
	all := []string{"both", "external", "hidden", "own", "own and shared", "shared"}
	for _, test := range []struct {
		token, plural string
		want          []string
	}{
		{alice, "networks", []string{"both", "external", "own", "own and shared", "shared"}},
		{reader, "networks", []string{"both", "external", "own", "own and shared", "shared"}},
		{bob, "networks", []string{"both", "external", "own and shared", "shared"}},
		{nobody, "networks", []string{"both", "external", "own and shared", "shared"}},
		{admin, "networks", all},
		{service, "networks", all},
		{alice, "subnets", []string{"both", "own and shared", "shared"}},
		{bob, "subnets", []string{"both", "own and shared", "shared"}},
		{admin, "subnets", []string{"both", "external", "hidden", "own and shared", "shared"}},
		{alice, "ports", []string{"guest", "mine"}},
		{bob, "ports", []string{}},
		{nobody, "ports", []string{}},
		{service, "ports", []string{"guest", "mine"}},
	} {
		for _, overridden := range []bool{false, true} { // the shortcut finds the same as looking everywhere
			f.api.opts.RulesOverridden = overridden
			got := f.list(test.token, "/v2.0/"+test.plural, "name")
			slices.Sort(got)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("%s sees the %s %q, want %q (everywhere: %v)", test.token, test.plural, got, test.want, overridden)
			}
		}
	}
}

func TestAttributesThatACallerMayNotSee(t *testing.T) {
	f := newFixture(t)
	f.make(admin, "networks", `{"name":"n","provider:network_type":"vlan","provider:segmentation_id":7}`)
	secret := []string{"provider:network_type", "provider:physical_network", "provider:segmentation_id"}
	one := f.must(200, alice, "GET", "/v2.0/networks", "").body["networks"].([]any)[0].(map[string]any)
	for _, name := range secret {
		if _, ok := one[name]; ok {
			t.Errorf("a member sees %s", name)
		}
	}
	if got := f.list(admin, "/v2.0/networks?provider:segmentation_id=7", "provider:network_type"); !reflect.DeepEqual(got, []string{"vlan"}) {
		t.Errorf("the administrator sees %q", got)
	}
	// Neither filters nor the order may tell.
	if got := f.list(alice, "/v2.0/networks?provider:segmentation_id=7", "name"); len(got) != 0 {
		t.Errorf("a member finds %q by a segment", got)
	}
	f.fails(400, "HTTPBadRequest", alice, "GET", "/v2.0/networks?sort_key=provider:segmentation_id&sort_dir=asc", "")
	f.must(200, admin, "GET", "/v2.0/networks?sort_key=provider:segmentation_id&sort_dir=asc", "")
	raw := f.must(200, alice, "GET", "/v2.0/networks?fields=name&fields=provider:network_type", "").raw
	if want := `{"networks":[{"name":"n"}]}`; string(raw) != want {
		t.Errorf("%s, want %s", raw, want)
	}
}

func TestOperatorsOverrideRules(t *testing.T) {
	rules, err := policy.New(policy.Options{Overrides: map[string]string{
		"get_network": "rule:admin_only or field:networks:name=open", "create_network:shared": "@",
	}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(o *Options) { o.Policy, o.RulesOverridden = rules, true })
	f.make(alice, "networks", `{"name":"open","shared":true}`)
	f.must(201, alice, "POST", "/v2.0/networks", `{"network":{"name":"closed"}}`)
	if got := f.list(bob, "/v2.0/networks", "name"); !reflect.DeepEqual(got, []string{"open"}) {
		t.Errorf("bob sees %q", got)
	}
}
