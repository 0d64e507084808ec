package rest

import (
	"net/http"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/schema"
)

// root is the path of the only version of the API.
const root = "/v2.0"

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

func self(href string) []link { return []link{{"self", href}} }

// discovery declares the documents by which clients find their way.
func (a *API) discovery() {
	get := func(name string, h handler) *endpoint {
		return &endpoint{name: name, methods: map[string]handler{http.MethodGet: h}}
	}
	versions := get("versions", showVersions)
	versions.public = true
	a.route("/{$}", versions)
	a.route("/", &endpoint{name: "unknown", public: true, any: (*request).unknown})
	a.route(root, get("resources", a.showResources))
	a.route(root+"/extensions", extensions(listExtensions))
	a.route(root+"/extensions/{alias}", extensions(showExtension))
}

// extensions is an endpoint that knows GET only, and says of other methods that there is nothing (as Neutron does).
func extensions(h handler) *endpoint {
	return &endpoint{name: "extensions", any: func(q *request) error {
		if q.Method != http.MethodGet {
			return notServed()
		}
		return h(q)
	}}
}

func showVersions(q *request) error {
	return q.answerValue(http.StatusOK, map[string]any{"versions": []any{map[string]any{
		"id": "v2.0", "status": "CURRENT", "links": self(q.base() + root + "/"),
	}}})
}

func (a *API) showResources(q *request) error {
	type resource struct {
		Name       string `json:"name"`
		Collection string `json:"collection"`
		Links      []link `json:"links"`
	}
	resources := make([]resource, len(a.collections))
	for i, c := range a.collections {
		resources[i] = resource{c.name, c.plural, self(q.base() + root + c.path)}
	}
	return q.answerValue(http.StatusOK, map[string]any{"resources": resources})
}

// extensionUpdated is the date that extensions show; clients do not use it.
const extensionUpdated = "2026-01-01T00:00:00-00:00"

func complete(e schema.ExtensionInfo) schema.ExtensionInfo {
	if e.Updated == "" {
		e.Updated = extensionUpdated
	}
	if e.Links == nil {
		e.Links = []any{}
	}
	return e
}

func listExtensions(q *request) error {
	list := make([]schema.ExtensionInfo, len(schema.Extensions))
	for i, e := range schema.Extensions {
		list[i] = complete(e)
	}
	return q.answerValue(http.StatusOK, map[string]any{"extensions": list})
}

func showExtension(q *request) error {
	alias := q.PathValue("alias")
	for _, e := range schema.Extensions {
		if e.Alias == alias {
			return q.answerValue(http.StatusOK, map[string]any{"extension": complete(e)})
		}
	}
	return fault.New(fault.NotFound, "HTTPNotFound", "Extension with alias %s does not exist", quoted(alias))
}

// base is the beginning of links: what the operator has set, else what the client has used.
func (q *request) base() string {
	if url := q.api.opts.APIURL; url != "" {
		return url
	}
	scheme := "http"
	if q.TLS != nil {
		scheme = "https"
	}
	if p := q.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
		scheme = p
	}
	return scheme + "://" + q.Host
}
