package openapi

import (
	"net/http"
	"strconv"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// filters are the query parameters that select objects of a list. Several values of one are alternatives; an empty one
// finds objects without a value.
func filters(r *schema.Declaration) []any {
	var list []any
	for _, c := range r.Attributes {
		if c.Is(schema.Filter) {
			p := filter(c.Name, c.Help)
			if c.Extension != "" {
				p["x-extension"] = c.Extension
			}
			list = append(list, p)
		}
	}
	for _, name := range r.Virtual {
		list = append(list, filter(name, ""))
	}
	return list
}

func filter(name, help string) object {
	p := object{
		"name": name, "in": "query", "style": "form", "explode": true, "allowEmptyValue": true,
		"schema": object{"type": "array", "items": object{"type": "string"}},
	}
	if help != "" {
		p["description"] = help
	}
	return p
}

// paging are the query parameters that all lists have.
func paging() []any {
	var list []any
	for _, name := range []string{"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"} {
		list = append(list, ref("parameters", name))
	}
	return list
}

func parameters() object {
	query := func(name, help string, schema object) object {
		return object{"name": name, "in": "query", "description": help, "schema": schema}
	}
	text := object{"type": "string"}
	return object{
		"fields":   query("fields", "The attributes to be shown; none: all.", list(text)),
		"sort_key": query("sort_key", "The attributes to sort by, the first before the others.", list(text)),
		"sort_dir": query("sort_dir", "The directions of the sort keys.",
			list(object{"type": "string", "enum": []any{"asc", "desc"}})),
		"limit":        query("limit", "The most objects of a page.", object{"type": "integer", "minimum": 0}),
		"marker":       query("marker", "The id of the last object of the page before.", text),
		"page_reverse": query("page_reverse", "Whether the page before the marker is wanted.", object{"type": "boolean"}),
		"if_match": object{
			"name": "If-Match", "in": "header", "schema": text, "x-extension": "revision-if-match",
			"description": "revision_number=N: only if the object still has this revision.",
		},
	}
}

// failures are the answers that any request may be given, by status.
var failures = map[string]string{
	"400": "bad_request", "401": "unauthorized", "403": "forbidden", "404": "not_found", "409": "conflict",
	"412": "changed", "413": "too_large", "501": "impossible", "503": "unavailable",
}

func responses() object {
	failure := func(help string) object {
		return object{"description": help, "content": object{"application/json": object{"schema": ref("schemas", "error")}}}
	}
	return object{
		"bad_request": failure("The request is malformed, or its values do not fit together."),
		"unauthorized": object{
			"description": "There is no valid token.",
			"content":     object{"application/json": object{"schema": inside("error", object{"type": "object"})}},
		},
		"forbidden":   failure("The caller may see the object, but not do this."),
		"not_found":   failure("There is no such object, or the caller may not see it."),
		"conflict":    failure("The state does not allow it: the object is in use, a quota is exhausted, an address is taken."),
		"changed":     failure("The object has changed meanwhile (If-Match)."),
		"too_large":   failure("The request is larger than is possible at once."),
		"impossible":  failure("This cannot be done while other services rely on what is there."),
		"unavailable": failure("The state cannot be read or written now."),
	}
}

// response is a response of success. A nil schema has no body.
func response(status int, shown object) object {
	r := object{"description": http.StatusText(status)}
	if shown != nil {
		r["content"] = object{"application/json": object{"schema": shown}}
	}
	return object{strconv.Itoa(status): r}
}
