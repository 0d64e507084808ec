package policy

import "strings"

// template is the right side of a check: fixed text with fields of the object in it, as in %(project_id)s.
type template struct {
	parts []part
	// fold compares without regard to case.
	fold bool
}

// part is a piece of fixed text or, if field is set, the value of a field.
type part struct{ text, field string }

// parseTemplate reads the right side of the check.
func parseTemplate(n *node) (*template, error) {
	t := &template{}
	rest := n.right
	for {
		text, after, found := strings.Cut(rest, "%")
		if text != "" {
			t.parts = append(t.parts, part{text: text})
		}
		if !found {
			return t, nil
		}
		name, tail, closed := strings.Cut(after, ")s")
		if !closed || len(name) < 2 || name[0] != '(' || strings.ContainsAny(name[1:], "()%") {
			return nil, mistake(n.column, "expected %%(field)s in %q", n.right)
		}
		t.parts = append(t.parts, part{field: currentName(name[1:])})
		rest = tail
	}
}

// fixed says whether the template is the same for all objects.
func (t *template) fixed() bool {
	for _, p := range t.parts {
		if p.field != "" {
			return false
		}
	}
	return true
}

// equals says whether the filled-in template is the value. It takes the parts off the value's beginning instead of
// building the text, so that it does not allocate. A field that the object lacks equals nothing.
func (t *template) equals(value string, target Target) bool {
	for _, p := range t.parts {
		text := p.text
		if p.field != "" {
			if target == nil {
				return false
			}
			var ok bool
			if text, ok = target.Field(p.field); !ok {
				return false
			}
		}
		if len(text) > len(value) || !t.same(value[:len(text)], text) {
			return false
		}
		value = value[len(text):]
	}
	return value == ""
}

func (t *template) same(a, b string) bool { return a == b || t.fold && strings.EqualFold(a, b) }
