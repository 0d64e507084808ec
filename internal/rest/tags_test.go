package rest

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
)

func TestTags(t *testing.T) {
	f := newFixture(t)
	path := "/v2.0/networks/" + id(f.make(alice, "networks", `{}`))
	tags := func() []any { return f.must(200, alice, "GET", path+"/tags", "").body["tags"].([]any) }
	want := func(want ...any) {
		t.Helper()
		if got := tags(); !reflect.DeepEqual(got, append([]any{}, want...)) {
			t.Errorf("tags %v, want %v", got, want)
		}
	}
	want()
	f.must(201, alice, "PUT", path+"/tags/red", "")
	f.must(201, alice, "PUT", path+"/tags/red", "")
	f.must(201, alice, "PUT", path+"/tags/a%2Fb.json", "")
	want("red", "a/b.json")
	f.must(204, alice, "GET", path+"/tags/a%2Fb.json", "")
	f.fails(404, "TagNotFound", alice, "GET", path+"/tags/blue", "")
	f.must(200, alice, "POST", path+"/tags", `{"tags":["blue","red"]}`)
	want("red", "a/b.json", "blue")
	f.must(204, alice, "DELETE", path+"/tags/red", "")
	f.fails(404, "TagNotFound", alice, "DELETE", path+"/tags/red", "")
	res := f.must(200, alice, "PUT", path+"/tags", `{"tags":["x","y"]}`)
	if !reflect.DeepEqual(res.body["tags"], []any{"x", "y"}) {
		t.Errorf("PUT answers %s", res.raw)
	}
	n := f.must(200, alice, "GET", path, "").body["network"].(map[string]any)
	if !reflect.DeepEqual(n["tags"], []any{"x", "y"}) {
		t.Errorf("the network shows the tags %v", n["tags"])
	}
	// What changes nothing is no revision.
	f.must(200, alice, "PUT", path+"/tags", `{"tags":["x","y"]}`)
	if m := f.must(200, alice, "GET", path, "").body["network"].(map[string]any); m["revision_number"] != n["revision_number"] {
		t.Errorf("revision %v became %v", n["revision_number"], m["revision_number"])
	}
	f.must(204, alice, "DELETE", path+"/tags", "")
	want()
	f.fails(404, "TagResourceNotFound", alice, "GET", "/v2.0/networks/"+unusedID+"/tags", "")
}

func TestBoundsOfTags(t *testing.T) {
	f := newFixture(t)
	path := "/v2.0/networks/" + id(f.make(alice, "networks", `{}`)) + "/tags"
	for _, body := range []string{``, `{}`, `{"tags":null}`, `{"tags":"x"}`, `{"tags":[1]}`, `{"tags":["a","a"]}`,
		`{"tags":["` + strings.Repeat("x", 61) + `"]}`, `{"tags":["a\u0000"]}`} {
		for _, method := range []string{"PUT", "POST"} {
			f.fails(400, "InvalidInput", alice, method, path, body)
		}
	}
	f.fails(400, "InvalidInput", alice, "PUT", path+"/"+strings.Repeat("x", 61), "")
	f.fails(400, "InvalidInput", alice, "PUT", path+"/%ff", "")
	f.must(201, alice, "PUT", path+"/"+strings.Repeat("%C3%BC", 60), "") // characters, not bytes
	for i := range 49 {
		f.must(201, alice, "PUT", fmt.Sprintf("%s/%d", path, i), "")
	}
	f.fails(400, "BadRequest", alice, "PUT", path+"/one-more", "")
	f.fails(400, "BadRequest", alice, "POST", path, `{"tags":["one-more"]}`)
}

// CVE-2024-53916: tags were written without asking the policy.
func TestCVE202453916TagWritesAreAuthorised(t *testing.T) {
	f := newFixture(t)
	path := "/v2.0/networks/" + id(f.make(admin, "networks", `{"project_id":"c","shared":true}`)) + "/tags"
	f.must(201, admin, "PUT", path+"/old", "")
	for _, token := range []string{alice, bob, reader, nobody} { // all of them see the network
		for _, w := range []struct{ method, path, body, action string }{
			{"PUT", path, `{"tags":["x"]}`, "update"}, {"PUT", path + "/x", "", "update"},
			{"POST", path, `{"tags":["x"]}`, "create"},
			{"DELETE", path, "", "delete"}, {"DELETE", path + "/old", "", "delete"},
		} {
			message := f.fails(http.StatusForbidden, "PolicyNotAuthorized", token, w.method, w.path, w.body)
			if want := "rule:" + w.action + "_network:tags is disallowed by policy"; message != want {
				t.Errorf("%s %s by %s: %q, want %q", w.method, w.path, token, message, want)
			}
		}
	}
}

// CVE-2026-49299: the tag controller asked for rules with plural names, which did not exist, and was let through.
func TestCVE202649299TagsAskForRulesThatExist(t *testing.T) {
	f := newFixture(t)
	for _, c := range []actions{
		f.api.byPlural["networks"].(*collection[model.Network]).actions,
		f.api.byPlural["subnets"].(*collection[model.Subnet]).actions,
		f.api.byPlural["ports"].(*collection[model.Port]).actions,
	} {
		for _, action := range []string{c.getTags, c.createTags, c.updateTags, c.deleteTags} {
			if !f.api.opts.Policy.Known(action) {
				t.Errorf("there is no policy rule %q", action)
			}
		}
	}
	caller := testCallers()[admin]
	c := f.api.byPlural["networks"].(*collection[model.Network])
	if c.scopeFor(f.store.Read(), caller).may("update_networks_tags", new(model.Network)) {
		t.Error("a rule that does not exist allows")
	}
}
