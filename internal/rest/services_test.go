package rest

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/flavor"
	"github.com/neutrino-net/neutrino/internal/service/localip"
	"github.com/neutrino-net/neutrino/internal/service/logging"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// newServicesFixture has an API with logging, flavors, metering and local IPs, and the rules of the product.
func newServicesFixture(t testing.TB) *fixture {
	t.Helper()
	rules := realRules(t)
	ports := port.New(port.Options{})
	ports.Follow(localip.Guard{})
	ports.Follow(logging.Guard{})
	rules.ports = ports
	f := newFixtureWith(t, rules, withManagers)
	err := errors.Join(
		RegisterLogging(f.api), RegisterFlavors(f.api, flavor.Flavors{}), RegisterMetering(f.api),
		RegisterLocalIPs(f.api, localip.Rules{Ports: ports}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMeteringLabelsAndTheirRules(t *testing.T) {
	f := newServicesFixture(t)
	label := f.post(manager, "metering/metering-labels", "metering_label", `{"name":"l","description":"d"}`)
	if label["shared"] != false || label["project_id"] != "a" || label["tenant_id"] != "a" || label["description"] != "d" {
		t.Errorf("the new label is %v", label)
	}
	const rules = "/v2.0/metering/metering-label-rules"
	body := func(more string) string {
		return `{"metering_label_rule":{"metering_label_id":"` + id(label) + `","direction":"ingress"` + more + `}}`
	}
	rule := f.must(201, manager, "POST", rules, body(`,"remote_ip_prefix":"10.0.0.0/24"`)).body["metering_label_rule"].(map[string]any)
	if rule["remote_ip_prefix"] != "10.0.0.0/24" || rule["excluded"] != false || rule["source_ip_prefix"] != nil {
		t.Errorf("the new rule is %v", rule)
	}
	f.fails(409, "MeteringLabelRuleOverlaps", manager, "POST", rules, body(`,"remote_ip_prefix":"10.0.0.128/25"`))
	f.fails(400, "Invalid", manager, "POST", rules, body(``))
	f.fails(400, "Invalid", manager, "POST", rules, body(`,"remote_ip_prefix":"10.1.0.0/24","source_ip_prefix":"10.0.0.0/8"`))
	f.fails(400, "HTTPBadRequest", manager, "POST", rules, body(`,"remote_ip_prefix":"10.0.0"`))
	f.must(201, manager, "POST", rules, body(`,"remote_ip_prefix":"10.0.0.0/24","excluded":true`))
	f.must(201, manager, "POST", rules, body(`,"source_ip_prefix":"10.0.0.5","destination_ip_prefix":"fd00::/64"`))
	f.fails(404, "MeteringLabelNotFound", managerB, "POST", rules, body(`,"remote_ip_prefix":"10.9.0.0/24"`))
	f.fails(403, "PolicyNotAuthorized", alice, "POST", "/v2.0/metering/metering-labels", `{"metering_label":{"name":"x"}}`)
	f.fails(405, "HTTPMethodNotAllowed", manager, "PUT", rules+"/"+id(rule), `{"metering_label_rule":{}}`)
	if got := f.names(bob, "metering/metering-label-rules", "metering_label_rules", "id"); len(got) != 0 {
		t.Errorf("another project lists %v", got)
	}
	if got := f.names(admin, "metering/metering-labels?id=33", "metering_labels", "id"); len(got) != 0 {
		t.Errorf("the id 33 finds %v", got)
	}
	f.must(204, manager, "DELETE", "/v2.0/metering/metering-labels/"+id(label), "")
	f.fails(404, "MeteringLabelRuleNotFound", manager, "GET", rules+"/"+id(rule), "")
}

func TestFlavorsAndServiceProfiles(t *testing.T) {
	f := newServicesFixture(t)
	fl := f.post(admin, "flavors", "flavor", `{"name":"f","service_type":"L3_ROUTER_NAT","description":null}`)
	if fl["enabled"] != true || fl["description"] != "" || len(fl["service_profiles"].([]any)) != 0 || fl["project_id"] != nil {
		t.Errorf("the new flavor is %v", fl)
	}
	f.fails(403, "PolicyNotAuthorized", manager, "POST", "/v2.0/flavors", `{"flavor":{"service_type":"L3_ROUTER_NAT"}}`)
	f.fails(400, "HTTPBadRequest", admin, "POST", "/v2.0/flavors", `{"flavor":{"service_type":"COFFEE"}}`)
	f.fails(400, "ServiceProfileEmpty", admin, "POST", "/v2.0/service_profiles", `{"service_profile":{}}`)
	f.fails(404, "ServiceProfileDriverNotFound", admin, "POST", "/v2.0/service_profiles", `{"service_profile":{"driver":"x"}}`)
	p := f.post(admin, "service_profiles", "service_profile",
		`{"driver":"neutron.services.l3_router.service_providers.ha.HaDriver","metainfo":"{'a': 1}"}`)
	url := "/v2.0/flavors/" + id(fl) + "/service_profiles"
	body := `{"service_profile":{"id":"` + id(p) + `"}}`
	f.fails(403, "PolicyNotAuthorized", alice, "POST", url, body)
	f.must(201, admin, "POST", url, body)
	f.fails(409, "FlavorServiceProfileBindingExists", admin, "POST", url, body)
	f.fails(400, "HTTPBadRequest", admin, "POST", url, `{"service_profile":{"id":5}}`)
	f.fails(400, "HTTPBadRequest", admin, "POST", url, `{"service_profile":[]}`)
	f.fails(409, "ServiceProfileInUse", admin, "DELETE", "/v2.0/service_profiles/"+id(p), "")
	f.fails(409, "ServiceProfileInUse", admin, "PUT", "/v2.0/service_profiles/"+id(p), `{"service_profile":{"enabled":false}}`)
	got := f.must(200, reader, "GET", "/v2.0/flavors/"+id(fl), "").body["flavor"].(map[string]any)["service_profiles"].([]any)
	if len(got) != 1 || got[0] != p["id"] {
		t.Errorf("the flavor's service profiles are %v", got)
	}
	if provider, err := flavor.ProviderOf(f.store.Read(), id(fl)); err != nil || provider.Name != "ha" {
		t.Errorf("the flavor leads to %v, %v", provider, err)
	}
	f.must(200, admin, "GET", url+"/"+id(p), "")
	f.must(204, admin, "DELETE", url+"/"+id(p), "")
	f.fails(404, "FlavorServiceProfileBindingNotFound", admin, "DELETE", url+"/"+id(p), "")
	f.must(204, admin, "DELETE", "/v2.0/service_profiles/"+id(p), "")
	f.must(204, admin, "DELETE", "/v2.0/flavors/"+id(fl), "")
	if got := f.names(reader, "service-providers?service_type=L3_ROUTER_NAT", "service_providers", "name"); !slices.Contains(got, "ha") {
		t.Errorf("the service providers are %v", got)
	}
}

func TestLogsOfSecurityGroupsAndPorts(t *testing.T) {
	f := newServicesFixture(t)
	const mine, theirs, p1, p2 = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002",
		"11111111-0000-4000-8000-000000000003", "11111111-0000-4000-8000-000000000004"
	f.put(t, func(tx *state.Tx) {
		state.SecurityGroups.Put(tx, &model.SecurityGroup{Meta: model.Meta{ID: mine, ProjectID: "a"}})
		state.SecurityGroups.Put(tx, &model.SecurityGroup{Meta: model.Meta{ID: theirs, ProjectID: "b"}})
		state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: p1, ProjectID: "a"}, SecurityGroupIDs: []string{mine}})
		state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: p2, ProjectID: "a"}, Binding: model.Binding{VNICType: "direct"}})
	})
	post := func(status int, typ, attributes string) map[string]any {
		t.Helper()
		res := f.do(manager, "POST", "/v2.0/log/logs", `{"log":{"resource_type":"security_group"`+attributes+`}}`)
		if res.StatusCode != status || res.errorType() != typ {
			t.Fatalf("%s: status %d, type %q; want %d, %q\n%s", attributes, res.StatusCode, res.errorType(), status, typ, res.raw)
		}
		log, _ := res.body["log"].(map[string]any)
		return log
	}
	post(400, "InvalidLogResourceType", `,"resource_type":"coffee"`)
	post(404, "ResourceNotFound", `,"resource_id":"`+theirs+`"`)
	post(404, "TargetResourceNotFound", `,"target_id":"`+mine+`"`)
	post(409, "LoggingTypeNotSupported", `,"target_id":"`+p2+`"`)
	post(400, "HTTPBadRequest", `,"event":"SOME"`)
	all := post(201, "", ``)
	if all["event"] != "ALL" || all["enabled"] != true || all["resource_id"] != nil || all["name"] != "" {
		t.Errorf("the new log is %v", all)
	}
	one := post(201, "", `,"resource_id":"`+mine+`","target_id":"`+p1+`","event":"DROP"`)
	f.fails(400, "HTTPBadRequest", manager, "PUT", "/v2.0/log/logs/"+id(one), `{"log":{"event":"ALL"}}`)
	if got := f.must(200, manager, "PUT", "/v2.0/log/logs/"+id(one), `{"log":{"enabled":false}}`); got.body["log"].(map[string]any)["enabled"] != false {
		t.Errorf("the changed log is %s", got.raw)
	}
	f.fails(404, "LogResourceNotFound", managerB, "GET", "/v2.0/log/logs/"+id(one), "")
	f.put(t, func(tx *state.Tx) { logging.Forget(tx, p1) })
	if got := f.names(manager, "log/logs", "logs", "id"); !slices.Equal(got, []string{id(all)}) {
		t.Errorf("after its port is gone, the logs are %v", got)
	}
	if got := f.names(manager, "log/loggable-resources", "loggable_resources", "type"); !slices.Equal(got, []string{"security_group"}) {
		t.Errorf("loggable are %v", got)
	}
}

func TestLocalIPsHoldAnAddressAndPortsAnswerForIt(t *testing.T) {
	f := newServicesFixture(t)
	n := f.make(alice, "networks", `{}`)
	local := func(attributes string) string { return `{"local_ip":` + attributes + `}` }
	f.fails(400, "LocalIPPortOrNetworkRequired", alice, "POST", "/v2.0/local-ips", local(`{}`))
	f.fails(400, "BadRequest", alice, "POST", "/v2.0/local-ips", local(`{"network_id":"`+id(n)+`"}`))
	f.make(alice, "subnets", `{"network_id":"`+id(n)+`","ip_version":4,"cidr":"10.0.0.0/24"}`)
	f.fails(404, "NetworkNotFound", bob, "POST", "/v2.0/local-ips", local(`{"network_id":"`+id(n)+`"}`))

	l := f.post(alice, "local_ips", "local_ip", `{"network_id":"`+id(n)+`","local_ip_address":"10.0.0.77"}`)
	if l["local_ip_address"] != "10.0.0.77" || l["ip_mode"] != "translate" || l["network_id"] != n["id"] {
		t.Errorf("the new local IP is %v", l)
	}
	holder, ok := state.Ports.Get(f.store.Read(), l["local_port_id"].(string))
	if !ok || holder.DeviceOwner != "network:local_ip" || holder.FixedIPs[0].IP != netip.MustParseAddr("10.0.0.77") {
		t.Fatalf("the port that holds it is %v", holder)
	}
	f.fails(409, "ServicePortInUse", admin, "DELETE", "/v2.0/ports/"+holder.ID, "")
	p := f.make(alice, "ports", `{"network_id":"`+id(n)+`"}`)
	foreign := f.make(admin, "ports", `{"network_id":"`+id(n)+`","project_id":"c"}`)
	url := "/v2.0/local_ips/" + id(l) + "/port_associations"
	body := func(p map[string]any, more string) string {
		return `{"port_association":{"fixed_port_id":"` + id(p) + `"` + more + `}}`
	}
	f.fails(400, "BadRequest", alice, "POST", url, body(foreign, ""))
	f.fails(400, "LocalIPRequestedIPNotFound", alice, "POST", url, body(p, `,"fixed_ip":"10.0.0.99"`))
	f.fails(404, "LocalIPNotFound", bob, "POST", url, body(p, ""))
	a := f.must(201, alice, "POST", url, body(p, "")).body["port_association"].(map[string]any)
	if a["local_ip_address"] != "10.0.0.77" || a["fixed_port_id"] != p["id"] || a["host"] != "" || a["local_ip_id"] != l["id"] || a["fixed_ip"] == nil {
		t.Errorf("the new association is %v", a)
	}
	f.fails(409, "LocalIPAssociationExists", alice, "POST", url, body(p, ""))
	f.must(200, alice, "GET", url+"/"+id(p), "")
	f.fails(409, "LocalIPInUse", alice, "DELETE", "/v2.0/local-ips/"+id(l), "")
	f.must(204, alice, "DELETE", url+"/"+id(p), "")
	f.fails(404, "LocalIPAssociationNotFound", alice, "GET", url+"/"+id(p), "")
	f.must(201, alice, "POST", url, body(p, ""))
	f.must(204, alice, "DELETE", "/v2.0/ports/"+id(p), "")
	f.fails(404, "LocalIPAssociationNotFound", alice, "GET", url+"/"+id(p), "")
	f.must(204, alice, "DELETE", "/v2.0/local-ips/"+id(l), "")
	if _, there := state.Ports.Get(f.store.Read(), holder.ID); there {
		t.Error("the port that held it is still there")
	}
}
