// Package openapi makes the OpenAPI 3 document of the networking API from the declarations in package schema, so that
// it cannot say anything else than what is served. There is nothing in it that is not declared, but for the grammar that
// all collections share: paging, sorting, tags, errors.
//
// Document (openapi.go) goes through the collections, their actions and the other requests (paths.go); values.go
// translates the shapes of values.
//
// The server reads more spellings than the document shows ("true" for true, - for _ in paths): those are for old clients,
// the document is for new ones.
package openapi

import (
	"encoding/json"
	"fmt"
	"sort"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// Path is where a server answers with the document, without asking for a token.
const Path = "/openapi.json"

// object is a JSON object. Its members are written in the order of their names, so that documents can be compared.
type object = map[string]any

// Document returns the document as JSON. version is that of the product.
func Document(version string) ([]byte, error) {
	d := &document{paths: object{}, schemas: object{"error": errorSchema(), "extension": extensionSchema()}, tags: map[string]bool{}}
	all := schema.All()
	for _, r := range all {
		d.collection(r)
	}
	for _, r := range schema.Requests() {
		d.request(r)
	}
	d.extensions()
	if d.err != nil {
		return nil, d.err
	}
	return json.Marshal(object{
		"openapi": "3.0.3",
		"info": object{
			"title": "Networking API v2.0", "version": version,
			"description": "The networking API of OpenStack, as Neutrino serves it. An attribute, a parameter or an " +
				"operation that an extension brings says so in x-extension. Attributes that a caller may not see are absent.",
		},
		"servers":  []any{object{"url": root}},
		"security": []any{object{"token": []any{}}},
		"tags":     d.tagList(),
		"paths":    d.paths,
		"components": object{
			"schemas": d.schemas, "parameters": parameters(), "responses": responses(),
			"securitySchemes": object{"token": object{
				"type": "apiKey", "in": "header", "name": "X-Auth-Token",
				"description": "A token of the identity service (Keystone v3).",
			}},
		},
	})
}

// root is the path of the only version of the API, to which all others are relative.
const root = "/v2.0"

// document is what has been described so far.
type document struct {
	paths, schemas object
	tags           map[string]bool
	err            error
}

func (d *document) tagList() []any {
	names := make([]string, 0, len(d.tags))
	for name := range d.tags {
		names = append(names, name)
	}
	sort.Strings(names)
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = object{"name": name}
	}
	return list
}

// operation adds an operation. Two of one path and method are a mistake in the declarations.
func (d *document) operation(path, method string, op object) {
	item, _ := d.paths[path].(object)
	if item == nil {
		item = object{}
		d.paths[path] = item
	}
	if item[method] != nil {
		d.err = fmt.Errorf("openapi: %s %s is declared twice", method, path)
	}
	item[method] = op
}

func ref(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }
