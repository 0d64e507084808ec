package openapi

import (
	"encoding/json"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// side is whether a value is in a request or in an answer.
type side int

const (
	request side = iota
	answer
)

// value is the schema of a value. Bounds are given for requests only: what was accepted once is also shown.
func value(s schema.Shape, of side) object {
	o := object{}
	typ := s.Type
	if of == answer && s.ShownType != "" {
		typ = s.ShownType
	}
	if typ != "" {
		o["type"] = typ
	}
	if s.Nullable {
		o["nullable"] = true
	}
	// A value that is not set may be shown as an empty text, which has no format.
	if s.Format != "" && of == request {
		o["format"] = s.Format
	}
	switch typ {
	case "array":
		o["items"] = object{}
		if s.Items != nil {
			o["items"] = value(*s.Items, of)
		}
	case "object":
		members(o, s.Members, of)
	}
	if of == request && len(s.Enum) > 0 {
		o["enum"] = enumeration(s)
	}
	if of == request && (s.Least != 0 || s.Most != 0) {
		bounds(o, typ, s.Least, s.Most)
	}
	return o
}

func bounds(o object, typ string, least, most int) {
	switch typ {
	case "integer":
		o["minimum"], o["maximum"] = least, most
	case "string":
		o["maxLength"] = most
	case "array":
		o["maxItems"] = most
	}
}

// members adds the members of an object. A request may have no others.
func members(o object, list []schema.Member, of side) {
	if len(list) == 0 {
		return
	}
	properties, required := object{}, []any{}
	for _, m := range list {
		properties[m.Name] = value(m.Shape, of)
		if m.Required && of == request {
			required = append(required, m.Name)
		}
	}
	o["properties"] = properties
	if of == request {
		o["additionalProperties"] = false
	}
	if len(required) > 0 {
		o["required"] = required
	}
}

// attribute is the schema of an attribute of a resource.
func attribute(c *schema.Common, of side) object {
	o := value(c.Shape, of)
	if c.Help != "" {
		o["description"] = c.Help
	}
	if c.Extension != "" {
		o["x-extension"] = c.Extension
	}
	if of == request && c.Default != nil {
		o["default"] = c.Default
	}
	return o
}

// enumeration are the values that there are, as the type has them.
func enumeration(s schema.Shape) []any {
	values := make([]any, 0, len(s.Enum)+1)
	for _, text := range s.Enum {
		if s.Type == "integer" {
			values = append(values, json.Number(text))
		} else {
			values = append(values, text)
		}
	}
	if s.Nullable {
		values = append(values, nil)
	}
	return values
}

// body is the schema of what a client gives of an object.
func body(r *schema.Declaration, op schema.Op) object {
	access := schema.Post
	if op == schema.Update {
		access = schema.Put
	}
	properties, required := object{}, []any{}
	for _, c := range r.Attributes {
		if !c.Is(access) {
			continue
		}
		o := attribute(c, request)
		if op == schema.Update {
			delete(o, "default") // what is not given stays as it is
		}
		properties[c.Name] = o
		if c.Required && op == schema.Create {
			required = append(required, c.Name)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// view is the schema of an object in answers.
func view(r *schema.Declaration) object {
	properties := object{}
	for _, c := range r.Attributes {
		if !c.Is(schema.Hidden) {
			properties[c.Name] = attribute(c, answer)
		}
	}
	return object{"type": "object", "properties": properties}
}

// inside is an object with one member, as {"network": {…}}.
func inside(name string, schema object) object {
	return object{"type": "object", "required": []any{name}, "properties": object{name: schema}}
}

func list(items object) object { return object{"type": "array", "items": items} }

func errorSchema() object {
	text := object{"type": "string"}
	return inside("NeutronError", object{
		"type": "object", "required": []any{"type", "message", "detail"},
		"properties": object{
			"type":    object{"type": "string", "description": "The name of the error, which clients branch on."},
			"message": text, "detail": text,
		},
	})
}

func extensionSchema() object {
	text := object{"type": "string"}
	return object{"type": "object", "properties": object{
		"alias": text, "name": text, "description": text, "updated": text, "links": list(object{}),
	}}
}
