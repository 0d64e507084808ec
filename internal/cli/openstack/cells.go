package openstack

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Cells of tables are for people: UP and DOWN, lists with commas, and the members of objects as key='value'. The
// formats
// value and csv are for scripts that were written for the openstack command, and spell values as that does.

// cell is a value in a table.
func cell(attribute string, v any) any {
	if b, ok := v.(bool); ok {
		if words, ok := truths[attribute]; ok {
			return words[b]
		}
	}
	switch v := v.(type) {
	case json.Number:
		return numberCell(v)
	case []any:
		return listCell(attribute, v)
	case object:
		if attribute == "external_gateway_info" {
			return jsonCell(v)
		}
		return objectCell("", v)
	}
	return literal(v)
}

// truths are the words for booleans that have words of their own.
var truths = map[string]map[bool]string{
	"admin_state_up":  {true: "UP", false: "DOWN"},
	"router:external": {true: "External", false: "Internal"},
	"alive":           {true: ":-)", false: "XXX"},
}

// numberCell keeps a number a number, so that its column is aligned at the right.
func numberCell(v json.Number) any {
	if n, err := v.Int64(); err == nil {
		return n
	}
	return v.String()
}

func jsonCell(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// listCell is a list: of texts on one line, of objects one a line.
func listCell(attribute string, v []any) string {
	if attribute == interfacesInfo {
		return jsonCell(v)
	}
	texts, lines := []string{}, []string{}
	for _, item := range v {
		o, ok := item.(object)
		if !ok {
			texts = append(texts, literal(item))
			continue
		}
		lines = append(lines, objectCell("", renamed(attribute, o)))
	}
	if len(lines) > 0 {
		return strings.Join(lines, "\n")
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// renamed is a route as the options spell it.
func renamed(attribute string, o object) object {
	if attribute != "routes" && attribute != "host_routes" || o["nexthop"] == nil {
		return o
	}
	o = maps.Clone(o)
	o["gateway"] = o["nexthop"]
	delete(o, "nexthop")
	return o
}

func objectCell(prefix string, o object) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(o)) {
		name := prefix + key
		switch v := o[key].(type) {
		case nil:
			parts = append(parts, name+"=")
		case object:
			parts = append(parts, objectCell(name+".", v))
		default:
			parts = append(parts, name+"='"+literal(v)+"'")
		}
	}
	return strings.Join(parts, ", ")
}

// literal spells a value as Python does, which is what scripts for the openstack command expect.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case []any, object:
		return nested(v)
	}
	return fmt.Sprint(v)
}

// nested is literal within lists and objects, where texts have quotes.
func nested(v any) string {
	switch v := v.(type) {
	case string:
		quote := "'"
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			quote = `"`
		}
		return quote + strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, quote, `\`+quote).Replace(v) + quote
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = nested(v[i])
		}
		return "[" + strings.Join(items, ", ") + "]"
	case object:
		items := []string{}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			items = append(items, nested(key)+": "+nested(v[key]))
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	return literal(v)
}

// csv writes rows with commas between them.
func (p printer) csv(columns []column, rows [][]any) {
	titles := make([]any, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	for _, row := range append([][]any{titles}, rows...) {
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = p.field(v)
		}
		fmt.Fprintln(p.out, strings.Join(fields, ","))
	}
}

// field is one value of a row, with quotes where the option --quote wants or needs them.
func (p printer) field(v any) string {
	text := literal(v)
	if v == nil {
		text = ""
	}
	_, number := v.(json.Number)
	special := strings.ContainsAny(text, ",\"\r\n")
	if p.quote == "all" || p.quote == "nonnumeric" && !number || p.quote == "minimal" && special {
		return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
	}
	if p.quote == "none" {
		return strings.NewReplacer(`\`, `\\`, ",", `\,`, `"`, `\"`, "\n", "\\\n").Replace(text)
	}
	return text
}
