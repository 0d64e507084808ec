package rest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/state"
)

func TestCreateReadUpdateDelete(t *testing.T) {
	f := newFixture(t)
	n := f.make(alice, "networks", `{"name":"n","description":"d"}`)
	path := "/v2.0/networks/" + id(n)
	if got := f.must(200, alice, "GET", path, "").body["network"]; !reflect.DeepEqual(got, any(n)) {
		t.Errorf("GET shows %v, POST showed %v", got, n)
	}
	if n["project_id"] != "a" || n["tenant_id"] != "a" || n["revision_number"] != 1.0 || n["admin_state_up"] != true {
		t.Errorf("created %v", n)
	}
	changed := f.must(200, alice, "PUT", path, `{"network":{"name":"m","admin_state_up":"false"}}`).body["network"]
	m := changed.(map[string]any)
	if m["name"] != "m" || m["description"] != "d" || m["admin_state_up"] != false || m["revision_number"] != 2.0 {
		t.Errorf("updated %v", m)
	}
	if res := f.must(204, alice, "DELETE", path, ""); len(res.raw) != 0 {
		t.Errorf("DELETE answers %s", res.raw)
	}
	message := f.fails(404, "NetworkNotFound", alice, "GET", path, "")
	if want := "Network " + id(n) + " could not be found."; message != want {
		t.Errorf("message %q, want %q", message, want)
	}
	f.fails(404, "NetworkNotFound", alice, "PUT", path, `{"network":{}}`)
	f.fails(404, "NetworkNotFound", alice, "DELETE", path, "")
}

func TestBulkCreateIsAllOrNothing(t *testing.T) {
	f := newFixture(t)
	res := f.must(201, alice, "POST", "/v2.0/networks", `{"networks":[{"name":"a"},{"network":{"name":"b"}}]}`)
	if made := res.body["networks"].([]any); len(made) != 2 || made[1].(map[string]any)["name"] != "b" {
		t.Errorf("made %s", res.raw)
	}
	f.fails(409, "Refused", alice, "POST", "/v2.0/networks",
		`{"networks":[{"name":"c"},{"description":"the rules refuse this"}]}`)
	f.fails(403, "PolicyNotAuthorized", alice, "POST", "/v2.0/networks", `{"networks":[{"name":"c"},{"shared":true}]}`)
	f.fails(400, "HTTPBadRequest", alice, "POST", "/v2.0/networks", `{"networks":[{"name":"c"},{"name":5}]}`)
	if n := len(f.list(alice, "/v2.0/networks", "name")); n != 2 {
		t.Errorf("%d networks, want 2", n)
	}
	thousand := `{"networks":[{}` + strings.Repeat(`,{}`, maxBulk-1) + `]}`
	f.must(201, alice, "POST", "/v2.0/networks", thousand)
	f.fails(413, "RequestTooLarge", alice, "POST", "/v2.0/networks", strings.Replace(thousand, "]", ",{}]", 1))
}

func TestBodiesThatAreRefused(t *testing.T) {
	f := newFixture(t)
	n := id(f.make(alice, "networks", `{}`))
	deep := strings.Repeat("[", maxDepth+1)
	for _, test := range []struct {
		name, body string
		status     int
		message    string
	}{
		{"empty", "", 400, "Unable to find 'network' in request body"},
		{"space", " \n", 400, "Unable to find 'network' in request body"},
		{"empty object", `{}`, 400, "Unable to find 'network' in request body"},
		{"other resource", `{"port":{}}`, 400, "Unable to find 'network' in request body"},
		{"null", `{"network":null}`, 400, "Unable to find 'network' in request body"},
		{"list for object", `{"network":[]}`, 400, "Object 'network' contains invalid data"},
		{"text for object", `{"network":"x"}`, 400, "Object 'network' contains invalid data"},
		{"array", `[]`, 400, "Body contains invalid data"},
		{"json null", `null`, 400, "Body contains invalid data"},
		{"number", `5`, 400, "Body contains invalid data"},
		{"no json", `{"network":`, 400, "Body contains invalid data"},
		{"two values", `{"network":{}}{}`, 400, "Body contains invalid data"},
		{"not UTF-8", "{\"network\":{\"name\":\"\xff\"}}", 400, "Body contains invalid data"},
		{"empty list", `{"networks":[]}`, 400, "Resources required"},
		{"null list", `{"networks":null}`, 400, "Resources required"},
		{"object for list", `{"networks":{}}`, 400, "Body contains invalid data"},
		{"list of numbers", `{"networks":[1]}`, 400, "Object 'network' contains invalid data"},
		{"wrapped number", `{"networks":[{"network":1}]}`, 400, "Object 'network' contains invalid data"},
		{"deep", `{"network":{"name":` + deep, 400, "nested more than 32 levels deep"},
		{"many values", `{"network":{"name":[` + strings.Repeat("[],", maxValues/2) + `[]]}}`, 413, "more than 200000 values"},
		{"long", `{"network":{"name":"` + strings.Repeat("x", maxBody) + `"}}`, 413, "longer than 4194304 bytes"},
		{"unknown attribute", `{"network":{"nmae":"x"}}`, 400, "Unrecognized attribute(s) 'nmae'"},
		{"read-only attribute", `{"network":{"status":"DOWN"}}`, 400, "Attribute 'status' not allowed in POST"},
		{"wrong type", `{"network":{"name":{}}}`, 400, "Invalid input for name"},
		{"wrong boolean", `{"network":{"admin_state_up":"perhaps"}}`, 400, "Invalid input for admin_state_up"},
		{"two owners", `{"network":{"project_id":"a","tenant_id":"b"}}`, 400, "requires admin privileges"},
		{"huge number", `{"network":{"mtu":` + strings.Repeat("9", 5000) + `}}`, 400, "Invalid input for mtu"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.t = t
			typ := "HTTPBadRequest"
			if test.status == 413 {
				typ = "RequestTooLarge"
			}
			message := f.fails(test.status, typ, alice, "POST", "/v2.0/networks", test.body)
			if !strings.Contains(message, test.message) {
				t.Errorf("message %q, want %q", message, test.message)
			}
			if len(message) > 1000 {
				t.Errorf("the message has %d bytes", len(message))
			}
		})
	}
	f.t = t
	f.fails(400, "HTTPBadRequest", alice, "PUT", "/v2.0/networks/"+n, `{"networks":[{}]}`)
	f.fails(400, "HTTPBadRequest", alice, "PUT", "/v2.0/networks/"+n, `{"network":{"id":"`+n+`"}}`)
	f.fails(400, "HTTPBadRequest", alice, "PUT", "/v2.0/networks/"+unusedID, `{"network":{"id":"x"}}`)
	f.fails(400, "HTTPBadRequest", alice, "DELETE", "/v2.0/networks/"+n, `{}`)
}

func TestOwnersOfNewObjects(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		token, body string
		status      int
		owner       string
	}{
		{alice, `{}`, 201, "a"},
		{alice, `{"project_id":"a"}`, 201, "a"},
		{alice, `{"tenant_id":"a"}`, 201, "a"},
		{alice, `{"project_id":"b"}`, 400, ""},
		{alice, `{"tenant_id":"b"}`, 400, ""},
		{alice, `{"project_id":""}`, 400, ""},
		{alice, `{"project_id":null}`, 400, ""},
		{alice, `{"project_id":{}}`, 400, ""},
		{admin, `{"project_id":"b"}`, 201, "b"},
		{admin, `{"tenant_id":"b","project_id":"b"}`, 201, "b"},
		{admin, `{"tenant_id":"b","project_id":"a"}`, 400, ""},
		{admin, `{"project_id":{}}`, 400, ""},
		{nobody, `{}`, 400, ""},
		{service, `{"project_id":"b"}`, 403, ""}, // may name another project, but may not create networks
	} {
		res := f.must(test.status, test.token, "POST", "/v2.0/networks", `{"network":`+test.body+`}`)
		if test.status == 201 && res.body["network"].(map[string]any)["project_id"] != test.owner {
			t.Errorf("%s by %s: %s", test.body, test.token, res.raw)
		}
	}
}

func TestIfMatch(t *testing.T) {
	f := newFixture(t)
	path := "/v2.0/networks/" + id(f.make(alice, "networks", `{}`))
	body := `{"network":{"name":"x"}}`
	message := f.fails(412, "RevisionNumberConstraintFailed", alice, "PUT", path, body, "If-Match", "revision_number=2")
	if message != "Constrained to 2, but current revision is 1" {
		t.Errorf("message %q", message)
	}
	f.fails(412, "RevisionNumberConstraintFailed", alice, "DELETE", path, "", "If-Match", `"revision_number=7"`)
	f.fails(400, "BadRequest", alice, "PUT", path, body, "If-Match", "revision_number=x")
	f.fails(400, "BadRequest", alice, "PUT", path, body, "If-Match", "revision_number=1, revision_number=1")
	f.must(200, alice, "PUT", path, body, "If-Match", "revision_number=1")
	f.must(200, alice, "PUT", path, body, "If-Match", `W/"revision_number=2", "other"`)
	f.must(200, alice, "PUT", path, body, "If-Match", "*")
	// Who may not see it must not learn its revision.
	f.fails(404, "NetworkNotFound", bob, "PUT", path, body, "If-Match", "revision_number=99")
	f.must(204, alice, "DELETE", path, "", "If-Match", "revision_number=4")
}

func TestConcurrentUpdatesWithIfMatchLoseNothing(t *testing.T) {
	f := newFixture(t)
	n := id(f.make(alice, "networks", `{}`))
	const clients = 8
	statuses := make(chan int, clients)
	for i := range clients {
		go func() {
			r := f.do(alice, "PUT", "/v2.0/networks/"+n, fmt.Sprintf(`{"network":{"name":"%d"}}`, i), "If-Match", "revision_number=1")
			statuses <- r.StatusCode
		}()
	}
	won := 0
	for range clients {
		switch s := <-statuses; s {
		case 200:
			won++
		case 412:
		default:
			t.Errorf("status %d", s)
		}
	}
	if won != 1 {
		t.Errorf("%d updates of revision 1 went through", won)
	}
}

func TestAgentsShowWhatIsNotInTheState(t *testing.T) {
	f := newFixture(t)
	seedAgents(t, f.store)
	if got := f.list(admin, "/v2.0/agents?alive=true", "host"); !reflect.DeepEqual(got, []string{"compute1"}) {
		t.Errorf("alive: %q", got)
	}
	path := "/v2.0/agents/" + f.list(admin, "/v2.0/agents?host=compute1", "id")[0]
	a := f.must(200, admin, "PUT", path, `{"agent":{"admin_state_up":false}}`).body["agent"].(map[string]any)
	if a["alive"] != true || a["admin_state_up"] != false {
		t.Errorf("agent %v", a)
	}
	f.fails(404, "AgentNotFound", alice, "GET", path, "")
	if got := f.list(alice, "/v2.0/agents", "host"); len(got) != 0 {
		t.Errorf("a member sees %q", got)
	}
	if _, ok := state.Agents.Get(f.store.Read(), strings.TrimPrefix(path, "/v2.0/agents/")); !ok {
		t.Error("the agent is gone")
	}
}
