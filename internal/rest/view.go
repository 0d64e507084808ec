package rest

import (
	"encoding/json"
	"slices"

	"github.com/neutrino-net/neutrino/internal/policy"
)

// viewer writes objects as a caller may see them. What concerns the caller and the wanted fields is decided once, and
// not for each object.
type viewer[T any] struct {
	c      *collection[T]
	shown  []shown[T]
	target *target[T]
	bare   bool // one object is answered without its name around it
}

// shown is an attribute in a view.
type shown[T any] struct {
	at *attribute[T]
	// check decides for each object; it is used when depends is true.
	check   policy.Check
	depends bool
}

// viewer prepares the view of the caller. The objects that it is given are those that scope.as returned. fields are the names of the wanted attributes; none: all. Unknown ones are
// ignored.
func (s *scope[T]) viewer(fields []string) *viewer[T] {
	c := s.c
	fields = slices.DeleteFunc(fields, func(name string) bool { return name == "" })
	v := &viewer[T]{c: c, shown: make([]shown[T], 0, len(c.attributes)), target: s.target(nil)}
	for _, at := range c.attributes {
		if len(fields) > 0 && !slices.Contains(fields, at.Name) {
			continue
		}
		a := shown[T]{at: at}
		if at.action != "" {
			a.check = c.api.opts.Policy.Bind(s.caller, at.action)
			if a.check.Decide() == policy.Never {
				continue
			}
			a.depends = a.check.Decide() == policy.Depends
		}
		v.shown = append(v.shown, a)
	}
	return v
}

// append appends the object as JSON.
func (v *viewer[T]) append(b []byte, obj *T) []byte {
	b = append(b, '{')
	empty := true
	for i := range v.shown {
		s := &v.shown[i]
		if s.depends {
			v.target.obj = obj
			if !s.check.Allowed(v.target) {
				continue
			}
		}
		if s.at.Shown != nil && !s.at.Shown(obj) {
			continue
		}
		if !empty {
			b = append(b, ',')
		}
		empty = false
		b = s.at.Append(append(b, s.at.key...), obj)
	}
	return append(b, '}')
}

// answerOne answers with {"network": {…}}.
func (v *viewer[T]) answerOne(q *request, status int, obj *T) {
	p := getBuffer()
	defer putBuffer(p)
	b := (*p)[:0]
	if v.bare {
		b = v.append(b, obj)
	} else {
		b = append(v.append(append(b, v.c.single...), obj), '}')
	}
	*p = b
	q.answer(status, b)
}

// answerList answers with {"networks": […]}, and with the links to other pages where there are any.
func (v *viewer[T]) answerList(q *request, status int, objs []*T, links []link) {
	p := getBuffer()
	defer putBuffer(p)
	b := (*p)[:0]
	b = append(b, v.c.plural...)
	for i, obj := range objs {
		if i > 0 {
			b = append(b, ',')
		}
		b = v.append(b, obj)
	}
	b = append(b, ']')
	if len(links) > 0 {
		b = append(append(append(b, `,"`...), v.c.Resource.Plural...), `_links":`...)
		j, err := json.Marshal(links)
		if err != nil { // strings cannot fail
			j = []byte("[]")
		}
		b = append(b, j...)
	}
	b = append(b, '}')
	*p = b
	q.answer(status, b)
}
