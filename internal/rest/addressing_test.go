package rest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/segment"
)

// newAddressingFixture has an API with the product's own rules, and all that RegisterAddressing adds.
func newAddressingFixture(t testing.TB) *fixture {
	t.Helper()
	types, err := typedriver.New(typedriver.Options{VLANRanges: map[string][]typedriver.Range{"physnet1": nil}})
	if err != nil {
		t.Fatal(err)
	}
	rules := realRules(t)
	rules.networks = network.New(types)
	f := newFixtureWith(t, rules)
	if err := RegisterAddressing(f.api, segment.New(types)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPoolsOverTheAPI(t *testing.T) {
	f := newAddressingFixture(t)
	pool := f.make(alice, "subnetpools", `{"name":"p","prefixes":["10.0.0.0/16"],"min_prefixlen":"24"}`)
	for name, want := range map[string]any{
		"min_prefixlen": "24", "default_prefixlen": "24", "max_prefixlen": "32", "ip_version": 4.0, "default_quota": nil,
		"address_scope_id": nil, "shared": false, "is_default": false,
	} {
		if pool[name] != want {
			t.Errorf("%s is %v, want %v", name, pool[name], want)
		}
	}
	path := "/v2.0/subnetpools/" + id(pool)
	res := f.must(http.StatusOK, alice, "PUT", path+"/add_prefixes", `{"prefixes":["10.2.0.0/16"]}`)
	if got := fmt.Sprint(res.body["prefixes"]); got != "[10.0.0.0/16 10.2.0.0/16]" {
		t.Errorf("with one more: %s", got)
	}
	res = f.must(http.StatusOK, alice, "PUT", path+"/remove_prefixes", `{"prefixes":["10.0.0.0/16"]}`)
	if got := fmt.Sprint(res.body["prefixes"]); got != "[10.2.0.0/16]" {
		t.Errorf("with one less: %s", got)
	}
	f.fails(400, "HTTPBadRequest", alice, "PUT", path+"/add_prefixes", `{"prefixes":"10.2.0.0/16"}`)
	f.fails(400, "HTTPBadRequest", alice, "PUT", path+"/add_prefixes", `{"prefixes":["10.2.0.0/33"]}`)
	f.fails(400, "InvalidInput", alice, "PUT", path+"/onboard_network_subnets", `{}`)
	f.fails(404, "SubnetPoolNotFound", bob, "PUT", path+"/add_prefixes", `{"prefixes":["10.2.0.0/16"]}`)
	f.fails(404, "SubnetPoolNotFound", bob, "GET", path, "")
	f.fails(403, "PolicyNotAuthorized", alice, "POST", "/v2.0/subnetpools",
		`{"subnetpool":{"name":"p","prefixes":["10.0.0.0/16"],"shared":true}}`)
	n := f.make(alice, "networks", `{}`)
	f.make(alice, "subnets", `{"network_id":"`+id(n)+`","ip_version":4,"cidr":"172.16.0.0/24"}`)
	// The answer is a list, and not an object as all others are.
	onboard := httptest.NewRequest("PUT", path+"/onboard_network_subnets", strings.NewReader(`{"network_id":"`+id(n)+`"}`))
	onboard.Header.Set("X-Auth-Token", alice)
	answer := httptest.NewRecorder()
	f.handler.ServeHTTP(answer, onboard)
	if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Body.String(), `[{"cidr":"172.16.0.0/24","id":"`) {
		t.Errorf("onboarding: %d, %s", answer.Code, answer.Body)
	}
	if got := f.list(alice, "/v2.0/subnets?subnetpool_id="+id(pool), "cidr"); !slices.Equal(got, []string{"172.16.0.0/24"}) {
		t.Errorf("onboarded: %v", got)
	}
}

func TestSegmentsAreShownWhereThereAreSeveral(t *testing.T) {
	f := newAddressingFixture(t)
	several := f.make(admin, "networks", `{"segments":[{"provider:network_type":"vxlan"},
		{"provider:network_type":"vlan","provider:physical_network":"physnet1","provider:segmentation_id":7}]}`)
	one := f.make(admin, "networks", `{"provider:network_type":"vlan","provider:physical_network":"physnet1","provider:segmentation_id":8}`)
	if _, shown := several["provider:network_type"]; shown || len(several["segments"].([]any)) != 2 {
		t.Errorf("two segments: %v", several)
	}
	if _, shown := one["segments"]; shown || one["provider:segmentation_id"] != 8.0 {
		t.Errorf("one segment: %v", one)
	}
	if got := f.list(admin, "/v2.0/segments?network_id="+id(several), "network_type"); len(got) != 2 {
		t.Errorf("segments are %v", got)
	}
	if got := f.list(alice, "/v2.0/segments", "id"); len(got) != 0 {
		t.Errorf("a member sees the segments %v", got)
	}
	f.fails(400, "SegmentsSetInConjunctionWithProviders", admin, "POST", "/v2.0/networks",
		`{"network":{"provider:network_type":"vxlan","segments":[{"provider:network_type":"vxlan"}]}}`)
	f.fails(400, "SegmentsContainDuplicateEntry", admin, "POST", "/v2.0/networks",
		`{"network":{"segments":[{"provider:network_type":"local"},{"provider:network_type":"local"}]}}`)
	f.fails(409, "VlanIdInUse", admin, "POST", "/v2.0/segments", `{"segment":{"network_id":"`+id(one)+
		`","network_type":"vlan","physical_network":"physnet1","segmentation_id":7}}`)
	f.must(http.StatusOK, admin, "PUT", "/v2.0/networks/"+id(one), `{"network":{"provider:segmentation_id":9}}`)
	if got := f.list(admin, "/v2.0/networks?provider:segmentation_id=9", "id"); !slices.Equal(got, []string{id(one)}) {
		t.Errorf("with the new VLAN: %v", got)
	}
}

func TestAddressesThatAreLeft(t *testing.T) {
	f := newAddressingFixture(t)
	n := f.make(admin, "networks", `{"name":"n"}`)
	f.make(admin, "subnets", `{"network_id":"`+id(n)+`","ip_version":4,"cidr":"10.0.0.0/24"}`)
	f.make(admin, "subnets", `{"network_id":"`+id(n)+`","ip_version":6,"cidr":"2001:db8::/64"}`)
	for range 3 {
		f.make(admin, "ports", `{"network_id":"`+id(n)+`"}`)
	}
	for _, c := range []struct{ query, want string }{
		{"", `[{"total_ips":18446744073709551867,"used_ips":6}]`},
		{"ip_version=4", `[{"total_ips":253,"used_ips":3}]`},
		{"ip_version=6&network_name=n", `[{"total_ips":18446744073709551614,"used_ips":3}]`},
		{"network_name=x", `[]`},
	} {
		res := f.must(http.StatusOK, admin, "GET", "/v2.0/network-ip-availabilities?fields=total_ips&fields=used_ips&"+c.query, "")
		if got := string(res.raw); got != `{"network_ip_availabilities":`+c.want+`}` {
			t.Errorf("%s: %s", c.query, got)
		}
	}
	res := f.must(http.StatusOK, admin, "GET", "/v2.0/network-ip-availabilities/"+id(n), "")
	if parts := res.body["network_ip_availability"].(map[string]any)["subnet_ip_availability"].([]any); len(parts) != 2 {
		t.Errorf("the parts are %v", parts)
	}
	f.fails(404, "NetworkNotFound", alice, "GET", "/v2.0/network-ip-availabilities/"+id(n), "")
}

func TestSubnetsOfExternalNetworksAreTheirOwners(t *testing.T) {
	f := newAddressingFixture(t)
	n := f.make(admin, "networks", `{"router:external":true,"is_default":true}`)
	f.make(admin, "subnets", `{"network_id":"`+id(n)+`","ip_version":4,"cidr":"203.0.113.0/24"}`)
	if got := f.list(bob, "/v2.0/subnets?network_id="+id(n), "id"); len(got) != 0 {
		t.Errorf("another project sees %v", got)
	}
	if got := f.list(bob, "/v2.0/networks?is_default=true", "id"); !slices.Equal(got, []string{id(n)}) {
		t.Errorf("another project sees the networks %v", got)
	}
	f.must(http.StatusOK, admin, "PUT", "/v2.0/networks/"+id(n), `{"network":{"shared":true}}`)
	if got := f.list(bob, "/v2.0/subnets?network_id="+id(n), "id"); len(got) != 1 {
		t.Errorf("of a shared network it sees %v", got)
	}
}
