package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

// service is an API of the cloud, with the one place where it is reached.
type service struct {
	id, kind, name string
	endpoints      []endpoint
}

// endpoint is where one kind of client reaches a service.
type endpoint struct{ id, serviceID, face, region, url string }

// faces are the kinds of clients for whom clouds can have different URLs. Here they are the same.
var faces = [...]string{"public", "internal", "admin"}

// newCatalog makes the list of services. Its ids follow from the names, so that they stay over restarts.
func newCatalog(region, identityURL, networkURL string) []service {
	var services []service
	for _, s := range [...]struct{ kind, name, url string }{
		{"identity", "keystone", identityURL},
		{"network", "neutron", networkURL},
	} {
		item := service{id: fixedID(s.kind), kind: s.kind, name: s.name}
		for _, face := range faces {
			item.endpoints = append(item.endpoints, endpoint{fixedID(s.kind, face, region), item.id, face, region, s.url})
		}
		services = append(services, item)
	}
	return services
}

// fixedID derives an id from names.
func fixedID(names ...string) string {
	h := sha256.New()
	for _, n := range names {
		h.Write([]byte(n + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// catalogView renders the services as they stand in tokens.
func catalogView(services []service) []object {
	views := make([]object, len(services))
	for i, s := range services {
		endpoints := make([]object, len(s.endpoints))
		for j, x := range s.endpoints {
			endpoints[j] = object{"id": x.id, "interface": x.face, "region": x.region, "region_id": x.region, "url": x.url}
		}
		views[i] = object{"id": s.id, "type": s.kind, "name": s.name, "endpoints": endpoints}
	}
	return views
}

func (e *Embedded) catalogRoutes() []route {
	return []route{
		{"GET /v3/services", adminOnly, e.listServices},
		{"GET /v3/services/{id}", adminOnly, e.showService},
		{"GET /v3/endpoints", adminOnly, e.listEndpoints},
		{"GET /v3/endpoints/{id}", adminOnly, e.showEndpoint},
		{"GET /v3/regions", withToken, e.listRegions},
		{"GET /v3/regions/{id}", withToken, e.showRegion},
	}
}

func (e *Embedded) serviceView(s service) object {
	return object{"id": s.id, "type": s.kind, "name": s.name, "description": "", "enabled": true,
		"links": e.links("services", s.id)}
}

func (e *Embedded) endpointView(x endpoint) object {
	return object{"id": x.id, "service_id": x.serviceID, "interface": x.face, "region": x.region, "region_id": x.region,
		"url": x.url, "enabled": true, "links": e.links("endpoints", x.id)}
}

func (e *Embedded) regionView(id string) object {
	return object{"id": id, "description": "", "parent_region_id": nil, "links": e.links("regions", id)}
}

func (e *Embedded) listServices(w http.ResponseWriter, r *request) error {
	services := filter(r, append([]service(nil), e.catalog...), map[string]func(service) string{
		"type": func(s service) string { return s.kind },
		"name": func(s service) string { return s.name },
	})
	return replyList(e, w, r, "services", services, e.serviceView)
}

func (e *Embedded) showService(w http.ResponseWriter, r *request) error {
	for _, s := range e.catalog {
		if s.id == r.PathValue("id") {
			return reply(w, http.StatusOK, object{"service": e.serviceView(s)})
		}
	}
	return missing("service", r.PathValue("id"))
}

func (e *Embedded) endpoints() []endpoint {
	var all []endpoint
	for _, s := range e.catalog {
		all = append(all, s.endpoints...)
	}
	return all
}

func (e *Embedded) listEndpoints(w http.ResponseWriter, r *request) error {
	endpoints := filter(r, e.endpoints(), map[string]func(endpoint) string{
		"service_id": func(x endpoint) string { return x.serviceID },
		"interface":  func(x endpoint) string { return x.face },
		"region_id":  func(x endpoint) string { return x.region },
	})
	return replyList(e, w, r, "endpoints", endpoints, e.endpointView)
}

func (e *Embedded) showEndpoint(w http.ResponseWriter, r *request) error {
	for _, x := range e.endpoints() {
		if x.id == r.PathValue("id") {
			return reply(w, http.StatusOK, object{"endpoint": e.endpointView(x)})
		}
	}
	return missing("endpoint", r.PathValue("id"))
}

func (e *Embedded) listRegions(w http.ResponseWriter, r *request) error {
	return replyList(e, w, r, "regions", []string{e.region}, e.regionView)
}

func (e *Embedded) showRegion(w http.ResponseWriter, r *request) error {
	if r.PathValue("id") != e.region {
		return missing("region", r.PathValue("id"))
	}
	return reply(w, http.StatusOK, object{"region": e.regionView(e.region)})
}

func (e *Embedded) versionRoutes() []route {
	return []route{
		{"GET /{$}", open, e.listVersions},
		{"GET /v3", open, e.showVersion},
	}
}

// versionView describes the version of the API: 3.14 is what clients of recent releases expect.
func (e *Embedded) versionView() object {
	return object{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []object{{"rel": "self", "href": e.url + "/"}},
		"media-types": []object{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

// listVersions answers at the root with 300, Multiple Choices, as clients that look around expect.
func (e *Embedded) listVersions(w http.ResponseWriter, _ *request) error {
	return reply(w, http.StatusMultipleChoices, object{"versions": object{"values": []object{e.versionView()}}})
}

func (e *Embedded) showVersion(w http.ResponseWriter, _ *request) error {
	return reply(w, http.StatusOK, object{"version": e.versionView()})
}
