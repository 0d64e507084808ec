package rest

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Managers of the projects "a" and "b": QoS, logging and metering are theirs, not of every member.
const (
	manager  = "manager"
	managerB = "managerB"
)

func withManagers(o *Options) {
	c := testCallers()
	c[manager] = &auth.Caller{UserID: "u7", ProjectID: "a", Roles: []string{"manager", "member", "reader"}}
	c[managerB] = &auth.Caller{UserID: "u8", ProjectID: "b", Roles: []string{"manager", "member", "reader"}}
	o.Authenticator = c
}

// newQoSFixture has an API with QoS and RBAC policies.
func newQoSFixture(t testing.TB) *fixture {
	t.Helper()
	f := newFixture(t, withManagers)
	policies := qos.New(qos.Use("port", state.PortsByQoSPolicy), qos.Use("network", state.NetworksByQoSPolicy))
	err := errors.Join(RegisterQoS(f.api, policies), Register(f.api, RBACPolicies(rbac.New(policies.Sharing()))))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestQoSPolicyShowsItsRulesAndChangesWithThem(t *testing.T) {
	f := newQoSFixture(t)
	p := f.post(manager, "qos/policies", "policy", `{"name":"gold","description":"d"}`)
	path := "qos/policies/" + id(p)
	if p["shared"] != false || p["is_default"] != false || p["project_id"] != "a" || len(p["rules"].([]any)) != 0 {
		t.Errorf("the new policy is %v", p)
	}
	limit := f.post(manager, path+"/bandwidth_limit_rules", "bandwidth_limit_rule", `{"max_kbps":"1000"}`)
	if limit["max_kbps"] != 1000.0 || limit["max_burst_kbps"] != 0.0 || limit["direction"] != "egress" || len(limit) != 4 {
		t.Errorf("the new rule is %v", limit)
	}
	f.post(manager, path+"/dscp_marking_rules", "dscp_marking_rule", `{"dscp_mark":26}`)
	p = f.must(200, reader, "GET", "/v2.0/"+path, "").body["policy"].(map[string]any)
	rules := p["rules"].([]any)
	if len(rules) != 2 || p["revision_number"] != 3.0 {
		t.Fatalf("after two new rules the policy is %v", p)
	}
	if r := rules[0].(map[string]any); r["type"] != "bandwidth_limit" || r["qos_policy_id"] != p["id"] || r["max_kbps"] != 1000.0 {
		t.Errorf("its first rule is %v", r)
	}
	if r := rules[1].(map[string]any); r["type"] != "dscp_marking" || r["dscp_mark"] != 26.0 || len(r) != 4 {
		t.Errorf("its second rule is %v", r)
	}
	f.must(http.StatusNoContent, manager, "DELETE", "/v2.0/"+path, "")
	if n := state.QoSBandwidthLimitRules.Len(f.store.Read()) + state.QoSDSCPMarkingRules.Len(f.store.Read()); n != 0 {
		t.Errorf("%d rules have outlived their policy", n)
	}
}

func TestQoSRulesAreChecked(t *testing.T) {
	f := newQoSFixture(t)
	path := "/v2.0/qos/policies/" + id(f.post(manager, "qos/policies", "policy", `{"name":"p"}`))
	post := func(kind, body string) (string, string) {
		return path + "/" + kind + "_rules", `{"` + kind + `_rule":` + body + `}`
	}
	for _, c := range []struct {
		kind, body string
		status     int
		typ        string
	}{
		{"bandwidth_limit", `{}`, 400, "HTTPBadRequest"},
		{"bandwidth_limit", `{"max_kbps":-1}`, 400, "HTTPBadRequest"},
		{"bandwidth_limit", `{"max_kbps":2147483648}`, 400, "HTTPBadRequest"},
		{"bandwidth_limit", `{"max_kbps":1,"direction":"any"}`, 400, "HTTPBadRequest"},
		{"bandwidth_limit", `{"max_kbps":1,"min_kbps":1}`, 400, "HTTPBadRequest"},
		{"dscp_marking", `{"dscp_mark":7}`, 400, "HTTPBadRequest"},
		{"dscp_marking", `{"dscp_mark":64}`, 400, "HTTPBadRequest"},
		{"bandwidth_limit", `{"max_kbps":1000}`, 201, ""},
		{"bandwidth_limit", `{"max_kbps":1000}`, 409, "QoSRulesConflict"},
		{"bandwidth_limit", `{"max_kbps":1000,"direction":"ingress"}`, 201, ""},
		{"minimum_bandwidth", `{"min_kbps":1001}`, 409, "QoSRuleParameterConflict"},
		{"minimum_bandwidth", `{"min_kbps":1000}`, 201, ""},
		{"minimum_packet_rate", `{"min_kpps":5,"direction":"ingress"}`, 201, ""},
		{"minimum_packet_rate", `{"min_kpps":5,"direction":"any"}`, 409, "QoSRuleParameterConflict"},
		{"packet_rate_limit", `{"max_kpps":5,"max_burst_kpps":1,"direction":"egress"}`, 201, ""},
		{"dscp_marking", `{"dscp_mark":0}`, 201, ""},
		{"dscp_marking", `{"dscp_mark":8}`, 409, "QoSRulesConflict"},
	} {
		t.Run(c.kind+c.body, func(t *testing.T) {
			url, body := post(c.kind, c.body)
			res := f.do(manager, "POST", url, body)
			if res.StatusCode != c.status || res.errorType() != c.typ {
				t.Errorf("status %d, type %q; want %d, %q\n%s", res.StatusCode, res.errorType(), c.status, c.typ, res.raw)
			}
		})
	}
	for _, r := range f.must(200, manager, "GET", path+"/bandwidth_limit_rules?direction=egress", "").body["bandwidth_limit_rules"].([]any) {
		url := path + "/bandwidth_limit_rules/" + id(r.(map[string]any))
		f.fails(409, "QoSRulesConflict", manager, "PUT", url, `{"bandwidth_limit_rule":{"direction":"ingress"}}`)
		f.fails(409, "QoSRuleParameterConflict", manager, "PUT", url, `{"bandwidth_limit_rule":{"max_kbps":999}}`)
		f.must(200, manager, "PUT", url, `{"bandwidth_limit_rule":{"max_kbps":2000}}`)
		f.fails(404, "QosRuleNotFound", manager, "GET", path+"/dscp_marking_rules/"+id(r.(map[string]any)), "")
	}
}

func TestQoSRulesByTheirIDsAlone(t *testing.T) {
	f := newQoSFixture(t)
	policy := "qos/policies/" + id(f.post(manager, "qos/policies", "policy", `{"name":"p"}`))
	rule := id(f.post(manager, policy+"/minimum_bandwidth_rules", "minimum_bandwidth_rule", `{"min_kbps":1}`))
	for _, collection := range []string{"alias_minimum_bandwidth_rules", "alias-minimum-bandwidth-rules"} {
		url := "/v2.0/qos/" + collection + "/" + rule
		got := f.must(200, reader, "GET", url, "").body["alias_minimum_bandwidth_rule"].(map[string]any)
		if got["min_kbps"] != 1.0 {
			t.Errorf("%s: %v", url, got)
		}
		f.fails(403, "PolicyNotAuthorized", alice, "PUT", url, `{"alias_minimum_bandwidth_rule":{"min_kbps":2}}`)
		f.fails(404, "QosRuleNotFound", managerB, "GET", url, "")
		f.fails(404, "QosRuleNotFound", managerB, "DELETE", url, "")
		f.fails(405, "HTTPMethodNotAllowed", manager, "POST", "/v2.0/qos/"+collection, `{}`)
	}
	f.must(204, manager, "DELETE", "/v2.0/qos/alias_minimum_bandwidth_rules/"+rule, "")
	f.fails(404, "QosRuleNotFound", manager, "GET", "/v2.0/"+policy+"/minimum_bandwidth_rules/"+rule, "")
}

func TestQoSPoliciesOfOthersAreHiddenUntilShared(t *testing.T) {
	f := newQoSFixture(t)
	p := f.post(manager, "qos/policies", "policy", `{"name":"p"}`)
	url := "/v2.0/qos/policies/" + id(p)
	list := func() []string { return f.names(bob, "qos/policies", "policies", "id") }
	f.fails(403, "PolicyNotAuthorized", alice, "PUT", url, `{"policy":{"name":"x"}}`)
	f.fails(404, "QosPolicyNotFound", bob, "GET", url, "")
	f.fails(404, "QosPolicyNotFound", managerB, "POST", url+"/dscp_marking_rules", `{"dscp_marking_rule":{"dscp_mark":8}}`)
	if got := list(); len(got) != 0 {
		t.Errorf("another project lists %v", got)
	}
	grant := f.post(manager, "rbac-policies", "rbac_policy",
		`{"object_type":"qos_policy","object_id":"`+id(p)+`","action":"access_as_shared","target_tenant":"b"}`)
	if got := list(); !slices.Equal(got, []string{id(p)}) {
		t.Errorf("shared with a project, it lists %v", got)
	}
	if got := f.must(200, bob, "GET", url, "").body["policy"].(map[string]any)["shared"]; got != true {
		t.Errorf("shared is %v for the project that it is shared with", got)
	}
	if got := f.must(200, manager, "GET", url, "").body["policy"].(map[string]any)["shared"]; got != false {
		t.Errorf("shared is %v for the owner", got)
	}
	f.fails(404, "QosRuleNotFound", bob, "GET", url+"/dscp_marking_rules/"+id(p), "")
	f.must(204, manager, "DELETE", "/v2.0/rbac-policies/"+id(grant), "")
	f.must(200, manager, "PUT", url, `{"policy":{"shared":true}}`)
	if got := list(); !slices.Equal(got, []string{id(p)}) {
		t.Errorf("shared with all, it lists %v", got)
	}
	if got := f.names(manager, "rbac-policies", "rbac_policies", "target_tenant"); !slices.Equal(got, []string{"*"}) {
		t.Errorf("shared with all, the RBAC policies are for %v", got)
	}
	f.put(t, func(tx *state.Tx) {
		state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: "port", ProjectID: "b"}, QoSPolicyID: id(p)})
	})
	f.fails(409, "InvalidSharedSetting", manager, "PUT", url, `{"policy":{"shared":false}}`)
	if msg := f.fails(409, "QosPolicyInUse", manager, "DELETE", url, ""); !strings.Contains(msg, "port port") {
		t.Errorf("the message %q does not say who uses the policy", msg)
	}
}

// put changes the state behind the API's back.
func (f *fixture) put(t testing.TB, change func(tx *state.Tx)) {
	t.Helper()
	if _, err := f.store.Update(t.Context(), func(tx *state.Tx) error { change(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestOneDefaultQoSPolicyOfAProject(t *testing.T) {
	f := newQoSFixture(t)
	first := f.post(manager, "qos/policies", "policy", `{"name":"first","is_default":true}`)
	f.fails(409, "QoSPolicyDefaultAlreadyExists", manager, "POST", "/v2.0/qos/policies", `{"policy":{"is_default":true}}`)
	second := f.post(manager, "qos/policies", "policy", `{"name":"second"}`)
	f.fails(409, "QoSPolicyDefaultAlreadyExists", manager, "PUT", "/v2.0/qos/policies/"+id(second), `{"policy":{"is_default":true}}`)
	f.post(managerB, "qos/policies", "policy", `{"is_default":true}`)
	f.must(200, manager, "PUT", "/v2.0/qos/policies/"+id(first), `{"policy":{"is_default":false}}`)
	f.must(200, manager, "PUT", "/v2.0/qos/policies/"+id(second), `{"policy":{"is_default":true}}`)
	if got := qos.Default(f.store.Read(), "a"); got != id(second) {
		t.Errorf("the default policy is %q, want %q", got, id(second))
	}
}

func TestQoSRuleTypes(t *testing.T) {
	f := newQoSFixture(t)
	want := []string{"bandwidth_limit", "dscp_marking", "minimum_bandwidth", "minimum_packet_rate", "packet_rate_limit"}
	for _, query := range []string{"", "?all_rules=True", "?all_supported=True"} {
		if got := f.names(reader, "qos/rule-types"+query, "rule_types", "type"); !slices.Equal(got, want) {
			t.Errorf("%q lists %v", query, got)
		}
	}
	f.fails(403, "NotAuthorized", alice, "GET", "/v2.0/qos/rule-types/dscp_marking", "")
	f.fails(404, "QosRuleTypeNotFound", admin, "GET", "/v2.0/qos/rule-types/nothing", "")
	got := f.must(200, admin, "GET", "/v2.0/qos/rule-types/bandwidth_limit", "").body["rule_type"].(map[string]any)
	driver := got["drivers"].([]any)[0].(map[string]any)
	direction := driver["supported_parameters"].([]any)[2].(map[string]any)
	if got["type"] != "bandwidth_limit" || direction["parameter_type"] != "choices" || direction["parameter_name"] != "direction" {
		t.Errorf("the details are %v", got)
	}
}

func TestTagsOfQoSPolicies(t *testing.T) {
	f := newQoSFixture(t)
	p := id(f.post(manager, "qos/policies", "policy", `{}`))
	f.must(201, manager, "PUT", "/v2.0/policies/"+p+"/tags/red", "") // the path that the tag clients know
	if got := f.names(manager, "qos/policies?tags=red", "policies", "id"); !slices.Equal(got, []string{p}) {
		t.Errorf("with the tag are %v", got)
	}
	f.must(204, manager, "GET", "/v2.0/qos/policies/"+p+"/tags/red", "")
}
