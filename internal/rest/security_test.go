package rest

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressgroup"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
	"github.com/neutrino-net/neutrino/internal/state"
)

// newSecurityFixture has an API with security groups, address groups and RBAC policies, and the product's own rules.
func newSecurityFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	f := newFixture(t, change...)
	err := errors.Join(
		Register(f.api, SecurityGroups(secgroup.NewGroups(nil))),
		Register(f.api, SecurityGroupRules(secgroup.GroupRules{})),
		Register(f.api, AddressGroups(addressgroup.Rules{})),
		Register(f.api, RBACPolicies(rbac.New(secgroup.Kind(), addressgroup.Kind()))),
	)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// post creates an object whose path is not its plural, and returns it.
func (f *fixture) post(token, path, name, attributes string) map[string]any {
	f.t.Helper()
	res := f.must(http.StatusCreated, token, "POST", "/v2.0/"+path, `{"`+name+`":`+attributes+`}`)
	return res.body[name].(map[string]any)
}

// names lists one attribute of the objects at a path, sorted.
func (f *fixture) names(token, path, plural, attribute string) []string {
	f.t.Helper()
	res := f.must(http.StatusOK, token, "GET", "/v2.0/"+path, "")
	out := []string{}
	for _, o := range res.body[plural].([]any) {
		v, _ := o.(map[string]any)[attribute].(string)
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

func TestSecurityGroupsShowTheirRules(t *testing.T) {
	f := newSecurityFixture(t)
	g := f.post(alice, "security-groups", "security_group", `{"name":"web","description":"HTTP"}`)
	if g["stateful"] != true || g["shared"] != false || g["project_id"] != "a" || g["tenant_id"] != "a" {
		t.Errorf("the new group is %v", g)
	}
	if n := len(g["security_group_rules"].([]any)); n != 2 {
		t.Errorf("the new group shows %d rules, want 2", n)
	}
	rule := f.post(alice, "security-group-rules", "security_group_rule", `{"security_group_id":"`+id(g)+
		`","direction":"ingress","protocol":17,"port_range_min":"53","port_range_max":53,"remote_ip_prefix":"10.0.0.9/24"}`)
	for name, want := range map[string]any{
		"protocol": "17", "port_range_min": 53.0, "port_range_max": 53.0, "remote_ip_prefix": "10.0.0.9/24",
		"normalized_cidr": "10.0.0.0/24", "remote_group_id": nil, "remote_address_group_id": nil, "ethertype": "IPv4",
		"direction": "ingress", "belongs_to_default_sg": false, "description": "",
	} {
		if rule[name] != want {
			t.Errorf("the rule shows %s as %v, want %v", name, rule[name], want)
		}
	}
	if _, named := rule["name"]; named {
		t.Error("rules have no name")
	}
	shown := f.must(http.StatusOK, alice, "GET", "/v2.0/security-groups/"+id(g), "").body["security_group"].(map[string]any)
	rules := shown["security_group_rules"].([]any)
	i := slices.IndexFunc(rules, func(r any) bool { return r.(map[string]any)["id"] == id(rule) })
	if i < 0 {
		t.Fatalf("the group does not show its new rule: %v", shown)
	}
	embedded := rules[i].(map[string]any)
	if len(embedded) != len(rule) {
		t.Errorf("within the group the rule has other attributes than alone:\n%v\n%v", embedded, rule)
	}
	if shown["revision_number"].(float64) <= g["revision_number"].(float64) {
		t.Error("the new rule is no change of the group")
	}
	f.fails(http.StatusMethodNotAllowed, "HTTPMethodNotAllowed", alice, "PUT", "/v2.0/security-group-rules/"+id(rule), `{}`)
	f.must(http.StatusNoContent, alice, "DELETE", "/v2.0/security-group-rules/"+id(rule), "")
}

func TestDefaultGroupIsThereFromTheStart(t *testing.T) {
	for _, path := range []string{"security-groups", "security-group-rules"} {
		f := newSecurityFixture(t)
		plural := strings.ReplaceAll(path, "-", "_")
		if n := len(f.names(bob, path, plural, "id")); n == 0 {
			t.Errorf("the first list of %s is empty", path)
		}
		if got := f.names(bob, "security-groups", "security_groups", "name"); !slices.Equal(got, []string{"default"}) {
			t.Errorf("a new project has the groups %q", got)
		}
	}
}

func TestOneDefaultGroupForManyClients(t *testing.T) {
	f := newSecurityFixture(t)
	var wait sync.WaitGroup
	for i := range 64 {
		wait.Go(func() {
			if i%2 == 0 {
				f.do(bob, "GET", "/v2.0/security-groups", "")
			} else {
				f.do(bob, "POST", "/v2.0/security-groups", `{"security_group":{"name":"mine"}}`)
			}
		})
	}
	wait.Wait()
	got := f.names(bob, "security-groups?name=default", "security_groups", "name")
	if len(got) != 1 {
		t.Errorf("there are %d default groups", len(got))
	}
	if n := state.SecurityGroups.Count(f.store.Read(), "b"); n != 33 {
		t.Errorf("there are %d groups, want 33", n)
	}
}

// TestCVE_2022_3277 is about lists that made default groups for whatever project the filter named; CVE-2023-3637 is the
// same by other means.
func TestCVE_2022_3277(t *testing.T) {
	f := newSecurityFixture(t)
	for _, token := range []string{alice, admin, reader, service, nobody} {
		for _, query := range []string{"project_id=made-up", "tenant_id=made-up", "project_id=b&tenant_id=x", "project_id="} {
			f.do(token, "GET", "/v2.0/security-groups?"+query, "")
			f.do(token, "GET", "/v2.0/security-group-rules?"+query, "")
		}
	}
	for g := range state.SecurityGroups.All(f.store.Read()) {
		if g.ProjectID != "a" && g.ProjectID != "service" {
			t.Errorf("a group was made for the project %q, of which nobody has a token", g.ProjectID)
		}
	}
}

func TestAListThatIsRefusedMakesNoDefaultGroup(t *testing.T) {
	f := newSecurityFixture(t)
	for _, path := range []string{"security-groups", "security-group-rules"} {
		f.must(http.StatusNotFound, bob, "GET", "/v2.0/"+path+"?limit=2&marker="+unusedID, "")
		if n := state.SecurityGroups.Count(f.store.Read(), "b"); n != 0 {
			t.Errorf("%s: there are %d groups", path, n)
		}
	}
	f.must(http.StatusOK, bob, "GET", "/v2.0/security-groups", "")
	if n := state.SecurityGroups.Count(f.store.Read(), "b"); n != 1 {
		t.Errorf("a list that is answered leaves %d groups", n)
	}
}

func TestRulesBelongToTheOwnerOfTheGroup(t *testing.T) {
	f := newSecurityFixture(t)
	g := f.post(alice, "security-groups", "security_group", `{"name":"web"}`)
	body := `{"security_group_rule":{"direction":"ingress","security_group_id":"` + id(g) + `"}}`
	f.fails(http.StatusNotFound, "SecurityGroupNotFound", bob, "POST", "/v2.0/security-group-rules", body)
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", reader, "POST", "/v2.0/security-group-rules", body)
	f.fails(http.StatusNotFound, "SecurityGroupNotFound", alice, "POST", "/v2.0/security-group-rules",
		`{"security_group_rule":{"direction":"ingress","security_group_id":"`+unusedID+`"}}`)
	// The rule that the administrator adds is the administrator's, but its group's owner sees and removes it.
	res := f.must(http.StatusCreated, admin, "POST", "/v2.0/security-group-rules",
		strings.Replace(body, `"direction"`, `"project_id":"c","direction"`, 1))
	rule := res.body["security_group_rule"].(map[string]any)
	for _, query := range []string{"", "&security_group_id=" + id(g), "&project_id=c"} {
		got := f.names(alice, "security-group-rules?direction=ingress"+query, "security_group_rules", "id")
		if !slices.Contains(got, id(rule)) {
			t.Errorf("the owner of the group lists the rules %q", got)
		}
	}
	f.fails(http.StatusNotFound, "SecurityGroupRuleNotFound", bob, "GET", "/v2.0/security-group-rules/"+id(rule), "")
	f.fails(http.StatusNotFound, "SecurityGroupRuleNotFound", bob, "DELETE", "/v2.0/security-group-rules/"+id(rule), "")
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", reader, "DELETE", "/v2.0/security-group-rules/"+id(rule), "")
	f.must(http.StatusNoContent, alice, "DELETE", "/v2.0/security-group-rules/"+id(rule), "")
}

func TestRulesAreMadeTogetherOrNotAtAll(t *testing.T) {
	f := newSecurityFixture(t)
	g, h := f.post(alice, "security-groups", "security_group", `{}`), f.post(alice, "security-groups", "security_group", `{}`)
	rule := func(group map[string]any, rest string) string {
		return `{"direction":"ingress","security_group_id":"` + id(group) + `"` + rest + `}`
	}
	several := func(rules ...string) string { return `{"security_group_rules":[` + strings.Join(rules, ",") + `]}` }
	tcp, six, udp := rule(g, `,"protocol":"tcp"`), rule(g, `,"protocol":"6"`), rule(g, `,"protocol":"udp"`)
	const path = "/v2.0/security-group-rules"
	f.fails(http.StatusConflict, "DuplicateSecurityGroupRuleInPost", alice, "POST", path, several(tcp, udp, six))
	f.fails(http.StatusBadRequest, "SecurityGroupNotSingleGroupRules", alice, "POST", path, several(tcp, rule(h, "")))
	f.fails(http.StatusBadRequest, "SecurityGroupRulesNotSingleProject", admin, "POST", path,
		several(tcp, rule(g, `,"protocol":"udp","project_id":"b"`)))
	made := f.must(http.StatusCreated, alice, "POST", path, several(tcp, udp)).body["security_group_rules"].([]any)
	if len(made) != 2 {
		t.Errorf("the answer shows %d rules", len(made))
	}
	message := f.fails(http.StatusConflict, "SecurityGroupRuleExists", alice, "POST", path,
		several(rule(g, `,"protocol":"gre"`), six))
	if want := id(made[0].(map[string]any)); !strings.Contains(message, want) {
		t.Errorf("%q does not name the rule %s that is there", message, want)
	}
}

func TestSharedGroupsAreSeenAndNotChanged(t *testing.T) {
	f := newSecurityFixture(t)
	g := f.post(alice, "security-groups", "security_group", `{"name":"shared"}`)
	ag := f.post(alice, "address-groups", "address_group", `{"name":"shared","addresses":["10.0.0.0/8"]}`)
	one, group := "/v2.0/security-groups/"+id(g), "/v2.0/address-groups/"+id(ag)
	f.fails(http.StatusNotFound, "SecurityGroupNotFound", bob, "GET", one, "")
	f.fails(http.StatusNotFound, "AddressGroupNotFound", bob, "GET", group, "")
	f.fails(http.StatusNotFound, "AddressGroupNotFound", bob, "PUT", group+"/add_addresses", `{"addresses":["10.0.0.0/9"]}`)
	share := func(kind string, object map[string]any) map[string]any {
		return f.post(alice, "rbac-policies", "rbac_policy", `{"object_type":"`+kind+`","object_id":"`+id(object)+
			`","action":"access_as_shared","target_tenant":"b"}`)
	}
	policy := share(secgroup.ObjectType, g)
	share(addressgroup.ObjectType, ag)
	for token, want := range map[string]bool{bob: true, alice: false} {
		seen := f.must(http.StatusOK, token, "GET", one, "").body["security_group"].(map[string]any)
		if seen["shared"] != want || len(seen["security_group_rules"].([]any)) != 2 {
			t.Errorf("%s sees %v", token, seen)
		}
	}
	f.must(http.StatusOK, bob, "GET", group, "")
	if got := f.names(bob, "security-groups?shared=true", "security_groups", "name"); !slices.Equal(got, []string{"shared"}) {
		t.Errorf("groups shared with bob: %q", got)
	}
	if got := f.names(bob, "security-groups?shared=False", "security_groups", "name"); !slices.Equal(got, []string{"default"}) {
		t.Errorf("groups of bob's own: %q", got)
	}
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", bob, "PUT", one, `{"security_group":{"name":"mine"}}`)
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", bob, "DELETE", one, "")
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", bob, "PUT", group+"/add_addresses", `{"addresses":["10.0.0.0/9"]}`)
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", bob, "POST", "/v2.0/security-group-rules",
		`{"security_group_rule":{"direction":"ingress","security_group_id":"`+id(g)+`"}}`)
	// Bob's own rules may refer to both, and a port may have the group, which keeps it shared.
	own := f.post(bob, "security-groups", "security_group", `{}`)
	f.post(bob, "security-group-rules", "security_group_rule",
		`{"direction":"ingress","security_group_id":"`+id(own)+`","remote_group_id":"`+id(g)+`"}`)
	f.post(bob, "security-group-rules", "security_group_rule",
		`{"direction":"ingress","security_group_id":"`+id(own)+`","remote_address_group_id":"`+id(ag)+`"}`)
	f.fails(http.StatusConflict, "AddressGroupInUse", alice, "DELETE", group, "")
	f.update(func(tx *state.Tx) {
		state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: "p", ProjectID: "b"}, SecurityGroupIDs: []string{id(g)}})
	})
	f.fails(http.StatusConflict, "RbacPolicyInUse", alice, "DELETE", "/v2.0/rbac-policies/"+id(policy), "")
	f.fails(http.StatusConflict, "SecurityGroupInUse", alice, "DELETE", one, "")
	f.update(func(tx *state.Tx) { state.Ports.Delete(tx, "p") })
	f.must(http.StatusNoContent, alice, "DELETE", "/v2.0/rbac-policies/"+id(policy), "")
	f.fails(http.StatusNotFound, "SecurityGroupNotFound", bob, "GET", one, "")
}

// update changes the state behind the API's back.
func (f *fixture) update(change func(tx *state.Tx)) {
	f.t.Helper()
	_, err := f.store.Update(f.t.Context(), func(tx *state.Tx) error { change(tx); return nil })
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestSecurityGroupsHaveTags(t *testing.T) {
	f := newSecurityFixture(t)
	g := f.post(alice, "security-groups", "security_group", `{"name":"web"}`)
	f.must(http.StatusCreated, alice, "PUT", "/v2.0/security-groups/"+id(g)+"/tags/red", "")
	if got := f.names(alice, "security-groups?tags=red", "security_groups", "name"); !slices.Equal(got, []string{"web"}) {
		t.Errorf("groups with the tag: %q", got)
	}
}

func TestAddressGroupsAreChangedByActions(t *testing.T) {
	f := newSecurityFixture(t)
	g := f.post(alice, "address-groups", "address_group", `{"name":"peers","addresses":["10.0.0.0/8"]}`)
	path := "/v2.0/address-groups/" + id(g)
	f.fails(http.StatusBadRequest, "HTTPBadRequest", alice, "PUT", path, `{"address_group":{"addresses":[]}}`)
	res := f.must(http.StatusOK, alice, "PUT", path+"/add_addresses", `{"addresses":["192.0.2.0/24"]}`)
	got := res.body["address_group"].(map[string]any)["addresses"].([]any)
	if len(got) != 2 || got[0] != "10.0.0.0/8" || got[1] != "192.0.2.0/24" {
		t.Errorf("after adding: %v", got)
	}
	f.fails(http.StatusBadRequest, "AddressesAlreadyExist", alice, "PUT", path+"/add_addresses", `{"addresses":["10.0.0.1/8"]}`)
	f.fails(http.StatusNotFound, "AddressesNotFound", alice, "PUT", path+"/remove_addresses", `{"addresses":["10.0.0.0/9"]}`)
	f.fails(http.StatusForbidden, "PolicyNotAuthorized", reader, "PUT", path+"/remove_addresses", `{"addresses":["10.0.0.0/8"]}`)
	for _, body := range []string{"", `{}`, `{"addresses":null}`, `{"addresses":{}}`, `{"addresses":[5]}`, `{"addresses":[null]}`} {
		f.fails(http.StatusBadRequest, "HTTPBadRequest", alice, "PUT", path+"/add_addresses", body)
	}
	res = f.must(http.StatusOK, alice, "PUT", path+"/remove_addresses", `{"addresses":["10.0.0.0/8","192.0.2.0/24"]}`)
	if got := res.body["address_group"].(map[string]any)["addresses"].([]any); len(got) != 0 {
		t.Errorf("after removing: %v", got)
	}
	f.must(http.StatusOK, alice, "PUT", path, `{"address_group":{"name":"renamed"}}`)
	f.must(http.StatusNoContent, alice, "DELETE", path, "")
}

// TestRandomSecurityRequestsAreAnswered sends rules and groups with values of any kind: each is answered, and one that is
// refused changes nothing.
func TestRandomSecurityRequestsAreAnswered(t *testing.T) {
	f := newSecurityFixture(t)
	var groups []string
	for _, token := range []string{alice, bob} {
		groups = append(groups, id(f.post(token, "security-groups", "security_group", `{}`)))
		groups = append(groups, id(f.post(token, "address-groups", "address_group", `{}`)))
	}
	targets := []struct {
		path, name string
		attributes []*schema.Common
	}{
		{"security-groups", "security_group", commons(schema.SecurityGroup.Attributes)},
		{"security-group-rules", "security_group_rule", commons(schema.SecurityGroupRule.Attributes)},
		{"address-groups", "address_group", commons(schema.AddressGroup.Attributes)},
	}
	good := 0
	for seed := range uint64(2000) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 7)), noise: []byte("\xff{}\"\x00")}
		r := pick(g, targets...)
		object := map[string]any{"security_group_id": pick(g, groups...), "direction": pick(g, "ingress", "egress")}
		if r.name != "security_group_rule" {
			clear(object)
		}
		for range g.IntN(5) {
			name := pick(g, r.attributes...).Name
			switch object[name] = g.value(0); g.IntN(3) {
			case 0:
				object[name] = pick[any](g, "tcp", "udp", "icmp", "6", 58, "IPv6", 0, 8, 255, 65535, "::/0", "10.0.0.1", "*", pick(g, groups...))
			case 1:
				object["protocol"], object["port_range_min"], object["port_range_max"] = "tcp", g.IntN(99), 50+g.IntN(99)
			}
		}
		body, err := json.Marshal(map[string]any{r.name: object})
		if err != nil {
			continue
		}
		method, path := "POST", "/v2.0/"+r.path
		switch g.IntN(5) {
		case 0:
			method, path = "PUT", path+"/"+pick(g, groups...)
		case 1:
			method, path = "PUT", path+"/"+pick(g, groups...)+"/add_addresses"
			body = []byte(`{"addresses":` + string(body[len(r.name)+4:]))
		}
		before := f.store.Read()
		res := f.do(pick(g, alice, bob, admin), method, path, string(body))
		switch {
		case res.StatusCode >= 500:
			t.Fatalf("seed %d: %s %s %s: %d\n%s\n%s", seed, method, path, body, res.StatusCode, res.raw, f.logged)
		case res.StatusCode >= 400 && f.store.Read() != before:
			t.Fatalf("seed %d: %s %s %s: %d, but the state changed", seed, method, path, body, res.StatusCode)
		case res.StatusCode < 300:
			good++
		}
	}
	if good < 150 {
		t.Errorf("only %d of 2000 requests were good ones", good)
	}
}
