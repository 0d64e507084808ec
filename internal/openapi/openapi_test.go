package openapi_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/neutrino-net/neutrino/internal/openapi"
	"github.com/neutrino-net/neutrino/internal/schema"
)

func load(t *testing.T) *openapi3.T {
	t.Helper()
	text, err := openapi.Document("v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDocumentIsValid(t *testing.T) {
	doc := load(t)
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	if doc.Info.Version != "v1.2.3" {
		t.Errorf("the document is of version %s", doc.Info.Version)
	}
}

func TestDocumentHasEveryDeclaredOperation(t *testing.T) {
	doc := load(t)
	need := func(method, path string) {
		t.Helper()
		item := doc.Paths.Value(path)
		if item == nil || item.GetOperation(method) == nil {
			t.Errorf("there is no %s %s", method, path)
		}
	}
	for _, r := range schema.All() {
		path := r.Collection()
		need("GET", path)
		for _, c := range []struct {
			can          schema.Operations
			method, path string
		}{
			{schema.CanCreate, "POST", path}, {schema.CanUpdate, "PUT", path + "/{id}"}, {schema.CanDelete, "DELETE", path + "/{id}"},
		} {
			if r.Operations&c.can != 0 {
				need(c.method, c.path)
			}
		}
		for _, a := range r.Actions {
			need(a.Method, path+"/{id}/"+a.Name)
		}
	}
	for _, r := range schema.Requests() {
		need(r.Method, r.Path)
	}
}

func TestBodiesSayWhatIsRequiredAndWhatThereIs(t *testing.T) {
	doc := load(t)
	create := doc.Components.Schemas["subnet_create"].Value
	for _, c := range []struct {
		name, body string
		valid      bool
	}{
		{"as it should be", `{"network_id":"a","ip_version":4,"cidr":"10.0.0.0/24","host_routes":[{"destination":"10.1.0.0/24","nexthop":"10.0.0.9"}]}`, true},
		{"without what is required", `{"ip_version":4}`, false},
		{"with a stranger", `{"network_id":"a","ip_version":4,"colour":"red"}`, false},
		{"of another type", `{"network_id":"a","ip_version":4,"enable_dhcp":"perhaps"}`, false},
		{"out of bounds", `{"network_id":"a","ip_version":4,"prefixlen":129}`, false},
		{"not one of the values", `{"network_id":"a","ip_version":4,"ipv6_ra_mode":"sometimes"}`, false},
		{"null where it may be", `{"network_id":"a","ip_version":4,"ipv6_ra_mode":null,"gateway_ip":null}`, true},
		{"null where it may not", `{"network_id":null,"ip_version":4}`, false},
		{"a route with half of its members", `{"network_id":"a","ip_version":4,"host_routes":[{"nexthop":"10.0.0.9"}]}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := create.VisitJSON(decode(t, c.body)); (err == nil) != c.valid {
				t.Errorf("valid: %v, but %v", c.valid, err)
			}
		})
	}
	if update := doc.Components.Schemas["subnet_update"].Value; update.Properties["network_id"] != nil || len(update.Required) > 0 {
		t.Error("an update may name the network, or has to say something")
	}
}

func TestDocumentIsTheSameEveryTime(t *testing.T) {
	first, _ := openapi.Document("x")
	second, err := openapi.Document("x")
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two documents of one version differ (%v)", err)
	}
}

func decode(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
