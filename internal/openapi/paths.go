package openapi

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// collection describes the paths of a collection.
func (d *document) collection(r *schema.Declaration) {
	key := schemaName(r)
	d.schemas[key] = view(r)
	d.tags[r.Plural] = true
	path := r.Collection()
	one := ref("schemas", key)

	d.operation(path, "get", d.op(r, http.MethodGet, path, "Lists "+words(r.Plural)+".", slices.Concat(filters(r), paging()),
		nil, response(http.StatusOK, object{
			"type": "object", "required": []any{r.Plural},
			"properties": object{r.Plural: list(one), r.Plural + "_links": list(object{"type": "object"})},
		})))
	if r.Operations&schema.CanCreate != 0 {
		d.schemas[key+"_create"] = body(r, schema.Create)
		given := inside(r.Name, ref("schemas", key+"_create"))
		made := inside(r.Name, one)
		if r.Operations&schema.CanBulk != 0 {
			given = object{"oneOf": []any{given, inside(r.Plural, list(ref("schemas", key+"_create")))}}
			made = object{"oneOf": []any{made, inside(r.Plural, list(one))}}
		}
		d.operation(path, "post", d.op(r, http.MethodPost, path, "Creates one of the "+words(r.Plural)+", or several.", nil, given,
			response(http.StatusCreated, made)))
	}
	if !r.ListOnly {
		d.item(r, key, path+"/{id}")
	}
	for _, a := range r.Actions {
		d.action(r, a, path+"/{id}/"+a.Name)
	}
	if r.Tagged {
		d.tagPaths(r, path+"/{id}/tags")
	}
}

// schemaName is the name under which the view of a resource is found: policies alone could be anything.
func schemaName(r *schema.Declaration) string {
	if r.Name == "policy" {
		return "qos_policy"
	}
	return r.Name
}

// item describes the path of one object.
func (d *document) item(r *schema.Declaration, key, path string) {
	shown := inside(r.Name, ref("schemas", key))
	what := "one of the " + words(r.Plural) + "."
	d.operation(path, "get", d.op(r, http.MethodGet, path, "Shows "+what, []any{ref("parameters", "fields")}, nil,
		response(http.StatusOK, shown)))
	if r.Operations&schema.CanUpdate != 0 {
		d.schemas[key+"_update"] = body(r, schema.Update)
		d.operation(path, "put", d.op(r, http.MethodPut, path, "Changes "+what, []any{ref("parameters", "if_match")},
			inside(r.Name, ref("schemas", key+"_update")), response(http.StatusOK, shown)))
	}
	if r.Operations&schema.CanDelete != 0 {
		d.operation(path, "delete", d.op(r, http.MethodDelete, path, "Deletes "+what, []any{ref("parameters", "if_match")}, nil,
			response(http.StatusNoContent, nil)))
	}
}

// action describes an action.
func (d *document) action(r *schema.Declaration, a schema.Action, path string) {
	var given, shown object
	if a.Body != nil {
		given = value(*a.Body, request)
		if a.Wrapped {
			given = inside(r.Name, given)
		}
	}
	switch {
	case a.Answer != nil:
		shown = value(*a.Answer, answer)
	case a.Shows != "":
		shown = d.shows(a)
	}
	op := d.op(r, a.Method, path, a.Help, nil, given, response(status(a.Method, shown != nil || a.Method == http.MethodPost), shown))
	if a.Extension != "" {
		op["x-extension"] = a.Extension
	}
	d.operation(path, strings.ToLower(a.Method), op)
}

// shows is the schema of an answer that is an object of a resource, or a list of such.
func (d *document) shows(a schema.Action) object {
	for _, r := range schema.All() {
		one := ref("schemas", schemaName(r))
		switch {
		case a.Shows == r.Plural:
			return inside(r.Plural, list(one))
		case a.Shows == r.Name && a.Bare:
			return one
		case a.Shows == r.Name:
			return inside(r.Name, one)
		}
	}
	return object{}
}

func status(method string, says bool) int {
	switch {
	case !says:
		return http.StatusNoContent
	case method == http.MethodPost:
		return http.StatusCreated
	}
	return http.StatusOK
}

// tagPaths describes the tags of an object.
func (d *document) tagPaths(r *schema.Declaration, path string) {
	tags := inside("tags", object{
		"type": "array", "maxItems": schema.MaxTags, "items": object{"type": "string", "maxLength": schema.MaxTagLength},
	})
	shown := inside("tags", list(object{"type": "string"}))
	for _, t := range []struct {
		path, method, help string
		given              object
		response           object
	}{
		{path, http.MethodGet, "Lists the tags.", nil, response(http.StatusOK, shown)},
		{path, http.MethodPut, "Replaces the tags.", tags, response(http.StatusOK, shown)},
		{path, http.MethodPost, "Adds tags.", tags, response(http.StatusOK, shown)},
		{path, http.MethodDelete, "Removes all tags.", nil, response(http.StatusNoContent, nil)},
		{path + "/{tag}", http.MethodGet, "Says whether it has the tag.", nil, response(http.StatusNoContent, nil)},
		{path + "/{tag}", http.MethodPut, "Adds a tag.", nil, response(http.StatusCreated, nil)},
		{path + "/{tag}", http.MethodDelete, "Removes a tag.", nil, response(http.StatusNoContent, nil)},
	} {
		op := d.op(r, t.method, t.path, t.help, nil, t.given, t.response)
		op["x-extension"] = "standard-attr-tag"
		d.operation(t.path, strings.ToLower(t.method), op)
	}
}

// request describes a request that concerns no collection.
func (d *document) request(r schema.Request) {
	tag := strings.Split(r.Path, "/")[1]
	d.tags[tag] = true
	var given, shown object
	if r.Body != nil {
		given = value(*r.Body, request)
	}
	if r.Answer != nil {
		shown = value(*r.Answer, answer)
	}
	d.operation(r.Path, strings.ToLower(r.Method), operation(operationOptions{
		id: operationID(r.Method, r.Path), tag: tag, path: r.Path, help: r.Help, extension: r.Extension,
		given: given, response: response(status(r.Method, shown != nil), shown),
	}))
}

// extensions describes how clients find out which extensions there are.
func (d *document) extensions() {
	d.tags["extensions"] = true
	one := ref("schemas", "extension")
	for path, shown := range map[string]object{
		"/extensions":         inside("extensions", list(one)),
		"/extensions/{alias}": inside("extension", one),
	} {
		d.operation(path, "get", operation(operationOptions{
			id: operationID(http.MethodGet, path), tag: "extensions", path: path, help: "What is served besides the core API.",
			response: response(http.StatusOK, shown),
		}))
	}
}

// op is an operation on a resource.
func (d *document) op(r *schema.Declaration, method, path, help string, parameters []any, given, response object) object {
	return operation(operationOptions{
		id: operationID(method, path), tag: r.Plural, path: path, help: help, extension: r.Extension,
		parameters: parameters, given: given, response: response,
	})
}

// operationOptions are the parts of an operation.
type operationOptions struct {
	id, tag, path, help, extension string
	parameters                     []any
	given                          object // the schema of the body; nil: there is none
	response                       object // of success, by status
}

func operation(o operationOptions) object {
	op := object{
		"operationId": o.id, "tags": []any{o.tag}, "summary": o.help,
		"parameters": slices.Concat(inPath(o.path), o.parameters),
		"responses":  o.response,
	}
	for status, name := range failures {
		op["responses"].(object)[status] = ref("responses", name)
	}
	if o.extension != "" {
		op["x-extension"] = o.extension
	}
	if o.given != nil {
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": o.given}}}
	}
	return op
}

var wildcard = regexp.MustCompile(`\{(\w+)\}`)

// inPath are the parameters that stand in a path.
func inPath(path string) []any {
	list := []any{}
	for _, m := range wildcard.FindAllStringSubmatch(path, -1) {
		list = append(list, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	return list
}

// operationID names an operation by its method and path: get_networks_by_id.
func operationID(method, path string) string {
	name := strings.NewReplacer("/", "_", "-", "_", "{", "by_", "}", "").Replace(path)
	return strings.ToLower(method) + name
}

// words is a name as people read it.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
