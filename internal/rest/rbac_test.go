package rest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// newSharing has an API with the product's rules and RBAC policies.
func newSharing(t testing.TB) *fixture {
	t.Helper()
	f := newFixtureWith(t, realRules(t))
	if err := Register(f.api, RBACPolicies(rbac.New(network.Sharing()))); err != nil {
		t.Fatal(err)
	}
	return f
}

// grant makes an RBAC policy on a network and returns its id.
func (f *fixture) grant(token, network, action, target string) string {
	f.t.Helper()
	res := f.must(201, token, "POST", "/v2.0/rbac-policies", fmt.Sprintf(
		`{"rbac_policy":{"object_type":"network","object_id":"%s","action":"%s","target_tenant":"%s"}}`, network, action, target))
	return id(res.body["rbac_policy"].(map[string]any))
}

// attribute is one of a network as the caller sees it; nil: it does not see the network.
func (f *fixture) attribute(token, network, name string) any {
	f.t.Helper()
	res := f.do(token, "GET", "/v2.0/networks/"+network, "")
	if res.StatusCode != 200 {
		return nil
	}
	return res.body["network"].(map[string]any)[name]
}

func TestANetworkIsSharedWithWhomAPolicySays(t *testing.T) {
	f := newSharing(t)
	n := id(f.make(alice, "networks", `{"name":"n"}`))
	sub := id(f.make(alice, "subnets", `{"network_id":"`+n+`","ip_version":4,"cidr":"10.0.0.0/24"}`))
	if f.attribute(bob, n, "shared") != nil {
		t.Fatal("bob sees a network that is not shared")
	}
	f.fails(404, "NetworkNotFound", bob, "POST", "/v2.0/ports", `{"port":{"network_id":"`+n+`"}}`)
	policy := f.grant(alice, n, "access_as_shared", "b")
	if got := f.attribute(bob, n, "shared"); got != true {
		t.Errorf("bob sees shared: %v", got)
	}
	if got := f.attribute(alice, n, "shared"); got != false {
		t.Errorf("the owner sees shared: %v", got)
	}
	for _, path := range []string{"/v2.0/networks", "/v2.0/networks?shared=true", "/v2.0/networks?name=n", "/v2.0/networks?id=" + n} {
		if got := f.list(bob, path, "id"); !slices.Equal(got, []string{n}) {
			t.Errorf("%s shows bob %v", path, got)
		}
	}
	for path, want := range map[string]int{"/v2.0/networks?shared=true": 0, "/v2.0/networks?shared=false": 1} {
		if got := f.list(alice, path, "id"); len(got) != want {
			t.Errorf("%s shows the owner %v", path, got)
		}
	}
	if got := f.list(bob, "/v2.0/subnets", "id"); !slices.Equal(got, []string{sub}) {
		t.Errorf("bob sees the subnets %v", got)
	}
	f.fails(403, "PolicyNotAuthorized", bob, "PUT", "/v2.0/networks/"+n, `{"network":{"name":"mine"}}`)
	f.fails(403, "PolicyNotAuthorized", bob, "DELETE", "/v2.0/networks/"+n, "")
	// bob's port keeps the policy.
	port := id(f.make(bob, "ports", `{"network_id":"`+n+`"}`))
	f.fails(409, "RbacPolicyInUse", alice, "DELETE", "/v2.0/rbac-policies/"+policy, "")
	f.fails(409, "RbacPolicyInUse", alice, "PUT", "/v2.0/rbac-policies/"+policy, `{"rbac_policy":{"target_tenant":"c"}}`)
	f.must(204, bob, "DELETE", "/v2.0/ports/"+port, "")
	f.must(200, alice, "PUT", "/v2.0/rbac-policies/"+policy, `{"rbac_policy":{"target_tenant":"c"}}`)
	if f.attribute(bob, n, "shared") != nil || len(f.list(bob, "/v2.0/networks", "id")) != 0 {
		t.Error("bob still sees the network")
	}
	f.must(204, alice, "DELETE", "/v2.0/networks/"+n, "")
	if n := state.RBACPolicies.Len(f.store.Read()); n != 0 {
		t.Errorf("%d policies outlive their object", n)
	}
}

func TestSharedIsThePolicyForAll(t *testing.T) {
	f := newSharing(t)
	n := id(f.make(admin, "networks", `{"shared":true}`))
	policies := f.must(200, admin, "GET", "/v2.0/rbac-policies?object_id="+n, "").body["rbac_policies"].([]any)
	if len(policies) != 1 {
		t.Fatalf("the policies are %v", policies)
	}
	p := policies[0].(map[string]any)
	if p["target_tenant"] != "*" || p["action"] != "access_as_shared" || p["object_type"] != "network" || p["project_id"] != "a" {
		t.Errorf("the policy is %v", p)
	}
	f.must(204, admin, "DELETE", "/v2.0/rbac-policies/"+id(p), "")
	if got := f.attribute(admin, n, "shared"); got != false {
		t.Errorf("without the policy, shared is %v", got)
	}
	f.grant(admin, n, "access_as_shared", "*")
	if got := f.attribute(bob, n, "shared"); got != true {
		t.Errorf("with the policy, bob sees shared: %v", got)
	}
	port := id(f.make(bob, "ports", `{"network_id":"`+n+`"}`))
	f.fails(409, "InvalidSharedSetting", admin, "PUT", "/v2.0/networks/"+n, `{"network":{"shared":false}}`)
	own := f.grant(admin, n, "access_as_shared", "b")
	f.must(200, admin, "PUT", "/v2.0/networks/"+n, `{"network":{"shared":false}}`)
	f.fails(409, "RbacPolicyInUse", admin, "DELETE", "/v2.0/rbac-policies/"+own, "")
	f.must(204, bob, "DELETE", "/v2.0/ports/"+port, "")
	f.must(204, admin, "DELETE", "/v2.0/rbac-policies/"+own, "")
	if n := state.RBACPolicies.Len(f.store.Read()); n != 0 {
		t.Errorf("%d policies are left", n)
	}
}

func TestAnExternalNetworkMayBeForOneProject(t *testing.T) {
	f := newSharing(t)
	n := id(f.make(admin, "networks", `{"name":"out"}`))
	policy := f.grant(admin, n, "access_as_external", "b")
	if got := f.attribute(admin, n, "router:external"); got != true {
		t.Errorf("the policy makes the network external: %v", got)
	}
	if got := f.attribute(bob, n, "router:external"); got != true {
		t.Errorf("bob sees external: %v", got)
	}
	f.must(204, admin, "DELETE", "/v2.0/rbac-policies/"+policy, "")
	if got := f.attribute(bob, n, "router:external"); got != nil {
		t.Errorf("bob still sees the network, external: %v", got)
	}
	f.must(200, admin, "PUT", "/v2.0/networks/"+n, `{"network":{"router:external":true}}`)
	if got := f.attribute(bob, n, "router:external"); got != true {
		t.Errorf("an external network is for all: %v", got)
	}
	f.must(200, admin, "PUT", "/v2.0/networks/"+n, `{"network":{"router:external":false}}`)
	if state.RBACPolicies.Len(f.store.Read()) != 0 || f.attribute(bob, n, "name") != nil {
		t.Error("a network that is external no more is still seen")
	}
}

func TestBadPoliciesAreRefused(t *testing.T) {
	f := newSharing(t)
	own := id(f.make(alice, "networks", `{}`))
	hidden := id(f.make(bob, "networks", `{}`))
	shared := id(f.make(admin, "networks", `{"project_id":"c","shared":true}`))
	f.grant(alice, own, "access_as_shared", "b")
	body := func(object, typ, action, target string) string {
		return fmt.Sprintf(`{"rbac_policy":{"object_type":"%s","object_id":"%s","action":"%s","target_tenant":"%s"}}`,
			typ, object, action, target)
	}
	for name, c := range map[string]struct {
		status    int
		typ, body string
	}{
		"for all, by a member":       {403, "PolicyNotAuthorized", body(own, "network", "access_as_shared", "*")},
		"the same again":             {409, "DuplicateRbacPolicy", body(own, "network", "access_as_shared", "b")},
		"another's hidden network":   {404, "NetworkNotFound", body(hidden, "network", "access_as_shared", "a")},
		"another's shared network":   {400, "InvalidInput", body(shared, "network", "access_as_shared", "a")},
		"a network that is not":      {404, "NetworkNotFound", body("7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6", "network", "access_as_shared", "a")},
		"an unknown type":            {400, "InvalidInput", body(own, "planet", "access_as_shared", "b")},
		"an unknown action":          {400, "InvalidInput", body(own, "network", "access_as_king", "b")},
		"no target":                  {400, "HTTPBadRequest", body(own, "network", "access_as_shared", "")},
		"an object without a UUID":   {400, "HTTPBadRequest", body("x", "network", "access_as_shared", "b")},
		"for another project's name": {400, "HTTPBadRequest", strings.Replace(body(own, "network", "access_as_shared", "d"), `"object_type"`, `"project_id":"b","object_type"`, 1)},
	} {
		t.Run(name, func(t *testing.T) { f.fails(c.status, c.typ, alice, "POST", "/v2.0/rbac-policies", c.body) })
	}
	if f.attribute(bob, own, "shared") != true {
		t.Error("a refused policy has taken access away")
	}
	rbacPolicy := id(f.must(200, alice, "GET", "/v2.0/rbac-policies", "").body["rbac_policies"].([]any)[0].(map[string]any))
	f.fails(403, "PolicyNotAuthorized", alice, "PUT", "/v2.0/rbac-policies/"+rbacPolicy, `{"rbac_policy":{"target_tenant":"*"}}`)
	for _, method := range []string{"GET", "DELETE"} {
		f.fails(404, "RbacPolicyNotFound", bob, method, "/v2.0/rbac-policies/"+rbacPolicy, "")
	}
}

// fillGranted puts networks into the state that are granted to the project "b", one by one.
func (f *fixture) fillGranted(total int) {
	f.t.Helper()
	for from := 0; from < total; from += 500 {
		f.update(func(tx *state.Tx) {
			for i := from; i < from+500; i++ {
				n := &model.Network{Meta: model.Meta{ID: tx.NewID(), ProjectID: "c", Name: fmt.Sprint("n", i)}, MTU: 1450}
				state.Networks.Put(tx, n)
				state.RBACPolicies.Put(tx, &model.RBACPolicy{
					Meta: model.Meta{ID: tx.NewID(), ProjectID: "c"}, ObjectType: "network", ObjectID: n.ID,
					Action: model.AccessShared, Target: "b",
				})
			}
		})
	}
}

func TestAPageOfManyGrantedNetworks(t *testing.T) {
	f := newSharing(t)
	f.fillGranted(1000)
	f.make(alice, "networks", `{}`)
	if got := len(f.list(bob, "/v2.0/networks", "id")); got != 1000 {
		t.Errorf("%d networks", got)
	}
	if got := len(f.list(bob, "/v2.0/networks?limit=100&shared=true", "id")); got != 100 {
		t.Errorf("a page has %d networks", got)
	}
}

// A member that sees 10,000 networks, each by a policy of its own: less than 300 ms is what is promised.
func BenchmarkListByRBAC(b *testing.B) {
	f := newSharing(b)
	f.fillGranted(10_000)
	f.get(b, bob, "/v2.0/networks")
}
