package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

const unusedID = "00000000-0000-4000-8000-000000000000"

func TestDocumentsThatClientsDiscover(t *testing.T) {
	f := newFixture(t)
	versions := f.must(200, "", "GET", "/", "").body["versions"].([]any)[0].(map[string]any)
	want := map[string]any{"id": "v2.0", "status": "CURRENT",
		"links": []any{map[string]any{"rel": "self", "href": "http://example.com/v2.0/"}}}
	if !reflect.DeepEqual(versions, want) {
		t.Errorf("version %v, want %v", versions, want)
	}
	for _, path := range []string{"/v2.0", "/v2.0/"} {
		resources := f.must(200, alice, "GET", path, "").body["resources"].([]any)
		first := resources[0].(map[string]any)
		if len(resources) != 5 || first["name"] != "network" || first["collection"] != "networks" {
			t.Errorf("%s shows %v", path, resources)
		}
	}
	all := f.must(200, alice, "GET", "/v2.0/extensions", "").body["extensions"].([]any)
	for _, e := range all {
		alias := e.(map[string]any)["alias"].(string)
		one := f.must(200, alice, "GET", "/v2.0/extensions/"+alias+".json", "").body["extension"]
		if !reflect.DeepEqual(one, e) {
			t.Errorf("extension %s alone is %v, in the list %v", alias, one, e)
		}
	}
	f.fails(404, "HTTPNotFound", alice, "GET", "/v2.0/extensions/made-up", "")
	f.fails(404, "HTTPNotFound", alice, "POST", "/v2.0/extensions", "{}")
}

func TestLinksCarryTheConfiguredURL(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.APIURL = "https://cloud.example.org/network" })
	raw := string(f.must(200, "", "GET", "/", "").raw)
	if !strings.Contains(raw, `"https://cloud.example.org/network/v2.0/"`) {
		t.Error(raw)
	}
	f = newFixture(t)
	raw = string(f.must(200, "", "GET", "/", "", "X-Forwarded-Proto", "https").raw)
	if !strings.Contains(raw, `"https://example.com/v2.0/"`) {
		t.Error(raw)
	}
}

func TestPathsAndMethods(t *testing.T) {
	f := newFixture(t)
	network := id(f.make(alice, "networks", `{"name":"n"}`))
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v2.0/networks/", 200, ""},
		{"GET", "/v2.0/networks.json", 200, ""},
		{"GET", "/v2.0/networks/" + network + ".json", 200, ""},
		{"GET", "/v2.0/networks/" + network + "/", 200, ""},
		{"GET", "/v2.0/networks/" + network + "/tags/", 200, ""},
		{"HEAD", "/v2.0/networks", 405, "GET, POST"},
		{"PATCH", "/v2.0/networks", 405, "GET, POST"},
		{"PUT", "/v2.0/networks", 405, "GET, POST"},
		{"DELETE", "/v2.0/networks", 405, "GET, POST"},
		{"POST", "/v2.0/networks/" + network, 405, "DELETE, GET, PUT"},
		{"POST", "/v2.0/agents", 405, "GET"},
		{"PATCH", "/v2.0/networks/" + network + "/tags", 405, "DELETE, GET, POST, PUT"},
		{"POST", "/v2.0/networks/" + network + "/tags/a", 405, "DELETE, GET, PUT"},
		{"POST", "/", 405, "GET"},
		{"HEAD", "/", 405, "GET"},
		{"POST", "/v2.0/", 405, "GET"},
		{"GET", "/v2.0/agents/" + network + "/tags", 404, ""},
		{"GET", "/v2.0/made-up", 404, ""},
		{"GET", "/v2.0/networks/" + network + "/made-up", 404, ""},
		{"GET", "/v2.0/networks/" + network + "/tags/a/b", 404, ""},
		{"GET", "/v2.0//networks", 404, ""},
		{"GET", "/v2.0/./networks", 404, ""},
		{"GET", "/v2.0/networks/..", 404, ""},
		{"GET", "/v2.0/Networks", 404, ""},
		{"GET", "/v3/networks", 404, ""},
		{"GET", "/v2.0networks", 404, ""},
	} {
		t.Run(test.method+test.path, func(t *testing.T) {
			f.t = t
			res := f.must(test.status, alice, test.method, test.path, "")
			if got := res.Header.Get("Allow"); got != test.allow {
				t.Errorf("Allow %q, want %q", got, test.allow)
			}
			if test.method == "HEAD" && len(res.raw) > 0 {
				t.Errorf("HEAD has the body %s", res.raw)
			}
			if test.status >= 400 && test.method != "HEAD" && res.body["NeutronError"] == nil {
				t.Errorf("no NeutronError: %s", res.raw)
			}
		})
	}
}

func TestWhoHasNoValidTokenIsTold401(t *testing.T) {
	f := newFixture(t)
	for _, token := range []string{"", "made up"} {
		for _, path := range []string{"/v2.0/", "/v2.0/networks", "/v2.0/networks/" + unusedID, "/v2.0/made-up", "/v2.0//"} {
			for _, method := range []string{"GET", "POST", "PATCH"} {
				res := f.must(401, token, method, path, "")
				if got := res.Header.Get("WWW-Authenticate"); got != `Keystone uri="http://identity:5000"` {
					t.Errorf("WWW-Authenticate %q", got)
				}
				if code := res.body["error"].(map[string]any)["code"]; code != 401.0 {
					t.Errorf("body %s", res.raw)
				}
			}
		}
	}
	for _, token := range []string{"unreachable", "broken"} {
		res := f.must(503, token, "GET", "/v2.0/networks", "")
		if res.Header.Get("Retry-After") == "" || strings.Contains(string(res.raw), "file") {
			t.Errorf("503: %v %s", res.Header, res.raw)
		}
	}
}

func TestEveryAnswerHasARequestID(t *testing.T) {
	f := newFixture(t)
	seen := map[string]bool{}
	for _, path := range []string{"/", "/v2.0/networks", "/v2.0/made-up", "/nowhere", "/v2.0/networks?limit=x", "//"} {
		for _, token := range []string{alice, ""} {
			res := f.do(token, "GET", path, "", "X-Openstack-Request-Id", "req-"+unusedID)
			got := res.Header.Get("X-Openstack-Request-Id")
			if !strings.HasPrefix(got, "req-") || uuid.Validate(got[4:]) != nil || seen[got] || got[4:] == unusedID {
				t.Errorf("GET %s: request id %q", path, got)
			}
			seen[got] = true
		}
	}
}

func TestAnswersHaveLengthAndType(t *testing.T) {
	f := newFixture(t)
	f.make(alice, "networks", `{"name":"n <b>&amp; ü"}`)
	for _, path := range []string{"/v2.0/networks", "/v2.0/networks/" + unusedID, "/"} {
		res := f.do(alice, "GET", path, "")
		if got := res.Header.Get("Content-Length"); got != fmt.Sprint(len(res.raw)) {
			t.Errorf("GET %s: Content-Length %q of %d bytes", path, got, len(res.raw))
		}
		if got := res.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("GET %s: Content-Type %q", path, got)
		}
	}
}

func TestAPanicIsA500ThatTellsNothing(t *testing.T) {
	f := newFixture(t)
	message := f.fails(500, "HTTPInternalServerError", alice, "POST", "/v2.0/networks",
		`{"network":{"description":"the rules panic"}}`)
	if strings.Contains(message, "secret") {
		t.Errorf("the client is told %q", message)
	}
	logged := f.logged.String()
	if strings.Count(logged, "a bug in the rules") != 1 || !strings.Contains(logged, "request_id=req-") ||
		!strings.Contains(logged, "harness_test.go") {
		t.Errorf("logged: %s", logged)
	}
	f.make(alice, "networks", `{"name":"the server goes on"}`)
}

func TestWhenTheStateCannotBeWritten(t *testing.T) {
	f := newFixture(t)
	network := id(f.make(alice, "networks", `{"name":"n"}`))
	f.log.fail(fmt.Errorf("no space left on device"))
	for method, path := range map[string]string{"POST": "/v2.0/networks", "PUT": "/v2.0/networks/" + network,
		"DELETE": "/v2.0/networks/" + network} {
		body := `{"network":{"name":"x"}}`
		if method == "DELETE" {
			body = ""
		}
		res := f.must(503, alice, method, path, body)
		if res.Header.Get("Retry-After") == "" || strings.Contains(string(res.raw), "space") {
			t.Errorf("%s: %v %s", method, res.Header, res.raw)
		}
	}
	if got := f.list(alice, "/v2.0/networks", "name"); !reflect.DeepEqual(got, []string{"n"}) {
		t.Errorf("networks %q", got)
	}
}

func TestAClientThatIsGoneIsNoError(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "/v2.0/networks", strings.NewReader(`{"network":{}}`))
	r.Header.Set("X-Auth-Token", alice)
	if res := f.send(r); res.StatusCode != 503 {
		t.Errorf("status %d", res.StatusCode)
	}
	if logged := f.logged.String(); logged != "" {
		t.Errorf("logged: %s", logged)
	}
}

func TestHandlersOutsideOfTheAPI(t *testing.T) {
	f := newFixture(t)
	f.api.Handle("/healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	f.must(204, "", "GET", "/healthz", "")
}

// CVE-2021-40797: requests of made-up paths must not grow anything.
func TestCVE202140797MadeUpPathsLeaveNothing(t *testing.T) {
	f := newFixture(t)
	for i := range 500 {
		f.do(alice, fmt.Sprintf("METHOD%d", i), fmt.Sprintf("/v2.0/made-up-%d", i), "")
		f.do("", "GET", fmt.Sprintf("/made-up-%d", i), "")
		f.do(alice, "GET", fmt.Sprintf("/v2.0/networks/%d", i), "")
	}
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); n > 10 {
			t.Errorf("%s has %d series", family.GetName(), n)
		}
	}
}

func TestAPolicyRuleThatDoesNotExistFailsTheStart(t *testing.T) {
	f := newFixture(t)
	c := Networks(storing[model.Network]{table: state.Networks})
	copied := *c.Resource
	copied.Policy = "netwrok"
	c.Resource = &copied
	if err := Register(f.api, c); err == nil || !strings.Contains(err.Error(), `"update_netwrok:tags"`) {
		t.Errorf("error %v", err)
	}
}
