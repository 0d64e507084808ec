package rest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/neutrino-net/neutrino/internal/service/quota"
	"github.com/neutrino-net/neutrino/internal/state"
)

// newBounded has an API whose projects are bounded.
func newBounded(t *testing.T, limits map[string]int) *fixture {
	t.Helper()
	s := quota.New(limits)
	f := newFixture(t, func(o *Options) { o.Quotas = s })
	if err := RegisterQuotas(f.api, s); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOf64ClientsWithQuota100Exactly100Succeed(t *testing.T) {
	f := newBounded(t, nil)
	network := id(f.make(alice, "networks", `{}`))
	f.must(200, admin, "PUT", "/v2.0/quotas/a", `{"quota":{"port":100}}`)
	var made, refused atomic.Int64
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			for range 4 {
				res := f.do(alice, "POST", "/v2.0/ports", `{"port":{"network_id":"`+network+`","fixed_ips":[]}}`)
				switch {
				case res.StatusCode == http.StatusCreated:
					made.Add(1)
				case res.StatusCode == http.StatusConflict && res.errorType() == "OverQuota":
					refused.Add(1)
				default:
					t.Errorf("status %d: %s", res.StatusCode, res.raw)
				}
			}
		})
	}
	clients.Wait()
	if made.Load() != 100 || refused.Load() != 156 || state.Ports.Count(f.store.Read(), "a") != 100 {
		t.Errorf("made %d, refused %d", made.Load(), refused.Load())
	}
}

func TestBulkOverQuotaMakesNothing(t *testing.T) {
	f := newBounded(t, map[string]int{"network": 3})
	bulk := func(n int) string {
		return `{"networks":[` + strings.TrimSuffix(strings.Repeat(`{},`, n), ",") + `]}`
	}
	message := f.fails(409, "OverQuota", alice, "POST", "/v2.0/networks", bulk(4))
	if message != "Quota exceeded for resources: ['network']." {
		t.Errorf("message %q", message)
	}
	f.must(201, alice, "POST", "/v2.0/networks", bulk(3))
	f.fails(409, "OverQuota", alice, "POST", "/v2.0/networks", `{"network":{}}`)
	f.must(201, bob, "POST", "/v2.0/networks", bulk(3))
	gone := f.list(alice, "/v2.0/networks", "id")[0]
	f.must(204, alice, "DELETE", "/v2.0/networks/"+gone, "")
	f.must(201, alice, "POST", "/v2.0/networks", `{"network":{}}`)
	// What an administrator makes for a project counts for the project.
	f.fails(409, "OverQuota", admin, "POST", "/v2.0/networks", `{"network":{"project_id":"b"}}`)
}

func TestQuotasAPI(t *testing.T) {
	f := newBounded(t, map[string]int{"subnet": 7})
	limits := func(token, path string) map[string]any {
		t.Helper()
		return f.must(200, token, "GET", path, "").body["quota"].(map[string]any)
	}
	if q := limits(alice, "/v2.0/quotas/a"); q["network"] != 100.0 || q["subnet"] != 7.0 || q["port"] != 500.0 {
		t.Errorf("a project has the limits %v", q)
	}
	f.must(200, admin, "PUT", "/v2.0/quotas/a", `{"quota":{"network":"5","port":-1}}`)
	if q := limits(alice, "/v2.0/quotas/a.json"); q["network"] != 5.0 || q["subnet"] != 7.0 || q["port"] != -1.0 {
		t.Errorf("after the change: %v", q)
	}
	if q := limits(alice, "/v2.0/quotas/a/default"); q["network"] != 100.0 {
		t.Errorf("the defaults are %v", q)
	}
	f.make(alice, "networks", `{}`)
	got := fmt.Sprint(limits(alice, "/v2.0/quotas/a/details.json")["network"])
	if got != "map[limit:5 reserved:0 used:1]" {
		t.Errorf("details are %s", got)
	}
	list := f.must(200, admin, "GET", "/v2.0/quotas", "").body["quotas"].([]any)
	if q := list[0].(map[string]any); len(list) != 1 || q["project_id"] != "a" || q["tenant_id"] != "a" || q["network"] != 5.0 {
		t.Errorf("the list is %v", list)
	}
	if m := fmt.Sprint(f.must(200, alice, "GET", "/v2.0/quotas/tenant", "").body); m != "map[tenant:map[tenant_id:a]]" {
		t.Errorf("the caller's project is %s", m)
	}
	for _, c := range []struct {
		status                         int
		typ, token, method, path, body string
	}{
		{403, "PolicyNotAuthorized", alice, "GET", "/v2.0/quotas/b", ""},
		{403, "PolicyNotAuthorized", alice, "GET", "/v2.0/quotas/b/details", ""},
		{403, "PolicyNotAuthorized", alice, "GET", "/v2.0/quotas", ""},
		{403, "PolicyNotAuthorized", alice, "PUT", "/v2.0/quotas/a", `{"quota":{"network":1000}}`},
		{403, "PolicyNotAuthorized", alice, "DELETE", "/v2.0/quotas/a", ""},
		{400, "QuotaMissingTenant", nobody, "GET", "/v2.0/quotas/tenant", ""},
		{400, "HTTPBadRequest", admin, "PUT", "/v2.0/quotas/a", `{"quota":{"network":0,"check_limit":true}}`},
		{400, "HTTPBadRequest", admin, "PUT", "/v2.0/quotas/a", `{"quota":{"colour":1}}`},
		{400, "HTTPBadRequest", admin, "PUT", "/v2.0/quotas/a", `{"quota":{"check_limit":{}}}`},
		{400, "HTTPBadRequest", admin, "PUT", "/v2.0/quotas/a", `{"quota":7}`},
		{400, "HTTPBadRequest", admin, "PUT", "/v2.0/quotas/a", ``},
		{404, "TenantQuotaNotFound", admin, "DELETE", "/v2.0/quotas/b", ""},
		{405, "HTTPMethodNotAllowed", admin, "POST", "/v2.0/quotas", `{"quota":{}}`},
	} {
		f.fails(c.status, c.typ, c.token, c.method, c.path, c.body)
	}
	f.must(200, admin, "PUT", "/v2.0/quotas/a", `{"quota":{"network":0,"force":true}}`)
	f.fails(409, "OverQuota", alice, "POST", "/v2.0/networks", `{"network":{}}`)
	f.must(204, admin, "DELETE", "/v2.0/quotas/a", "")
	if q := limits(alice, "/v2.0/quotas/a"); q["network"] != 100.0 {
		t.Errorf("after the deletion: %v", q)
	}
}
