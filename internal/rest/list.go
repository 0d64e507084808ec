package rest

import (
	"iter"
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/neutrino-net/neutrino/internal/policy"
)

// list handles GET of a collection.
func (c *collection[T]) list(q *request) error {
	l, err := c.parseList(q.caller, q.URL.RawQuery)
	if err != nil {
		return err
	}
	s, objs, err := c.find(q, l)
	if err == nil && c.BeforeList != nil {
		if prepare := c.BeforeList(s.r, q.caller); prepare != nil {
			if _, err := c.api.opts.Store.Update(q.Context(), prepare); err != nil {
				return err
			}
			s, objs, err = c.find(q, l)
		}
	}
	if err != nil {
		return err
	}
	s.viewer(l.fields).answerList(q, http.StatusOK, objs, l.pageLinks(q, objs))
	return nil
}

// find returns what the query asks for in the newest state.
func (c *collection[T]) find(q *request, l *query[T]) (*scope[T], []*T, error) {
	s, err := c.scope(c.api.opts.Store.Read(), q)
	if err != nil {
		return nil, nil, err
	}
	objs, err := s.page(l)
	return s, objs, err
}

// page returns the objects that the query asks for and the caller may see, in order. The order is total: objects that
// the sort keys do not tell apart are ordered by their ids.
func (s *scope[T]) page(l *query[T]) ([]*T, error) {
	var marker *T
	if l.marker != "" {
		m, err := s.get(l.marker)
		if err != nil {
			return nil, err
		}
		marker = m
	}
	source, inOrder := s.source(l)
	inOrder = inOrder && len(l.sort) == 0
	keep := s.keeper(l)
	if keep == nil {
		return nil, nil
	}
	var objs []*T
	for obj := range source {
		if obj = s.as(obj); s.c.Narrow != nil {
			obj = s.c.Narrow(obj, l.values)
		}
		if !keep(obj) {
			continue
		}
		if !inOrder || l.reverse || l.limit == 0 {
			objs = append(objs, obj)
			continue
		}
		// The page may be complete long before the end of the table.
		if marker == nil || l.compare(obj, marker) > 0 {
			if objs = append(objs, obj); len(objs) == l.limit {
				break
			}
		}
	}
	if !inOrder && !slices.IsSortedFunc(objs, l.compare) {
		slices.SortFunc(objs, l.compare)
	}
	return l.cut(objs, marker), nil
}

// values are those of a query parameter.
func (l *query[T]) values(name string) []string { return values(l.params, name) }

// cut takes the page that begins after the marker, or ends before it, out of all objects in order.
func (l *query[T]) cut(objs []*T, marker *T) []*T {
	if l.limit == 0 {
		return objs
	}
	if l.reverse {
		if marker != nil {
			objs = objs[:sort.Search(len(objs), func(i int) bool { return l.compare(objs[i], marker) >= 0 })]
		}
		return objs[max(0, len(objs)-l.limit):]
	}
	if marker != nil {
		objs = objs[sort.Search(len(objs), func(i int) bool { return l.compare(objs[i], marker) > 0 }):]
	}
	return objs[:min(len(objs), l.limit)]
}

func (l *query[T]) compare(a, b *T) int {
	for _, o := range l.sort {
		if d := o.compare(a, b); d != 0 {
			if o.desc {
				return -d
			}
			return d
		}
	}
	return strings.Compare(meta(a).ID, meta(b).ID)
}

// keeper returns the test whether an object belongs into the list, or nil when none does.
func (s *scope[T]) keeper(l *query[T]) func(*T) bool {
	t := s.target(nil)
	see := s.c.api.opts.Policy.Bind(s.caller, s.c.actions.get)
	if see.Decide() == policy.Never {
		return nil
	}
	for i := range l.filters {
		if l.filters[i].never {
			return nil
		}
	}
	return func(obj *T) bool {
		t.obj = obj
		for i := range l.filters {
			f := &l.filters[i]
			if !f.match(obj) || f.depends && !f.check.Allowed(t) {
				return false
			}
		}
		return see.Allowed(t)
	}
}

// source returns where to look for the objects of a list: the ids or an index that a filter names, what the caller may
// see at all, or everything. inOrder says that the objects come in order of their ids.
func (s *scope[T]) source(l *query[T]) (seq iter.Seq[*T], inOrder bool) {
	c, r := s.c, s.r
	if c.Table == nil {
		return s.all()
	}
	if f := l.filter("id"); f != nil {
		return func(yield func(*T) bool) {
			for _, id := range f.values {
				if obj, ok := c.Table.Get(r, id); ok && s.below(obj) && !yield(obj) {
					return
				}
			}
		}, true
	}
	if c.Under != nil {
		return s.all()
	}
	for _, ix := range c.Indexes {
		f := l.filter(ix.Filter)
		if f == nil || ix.NoEmpty && f.values[0] == "" {
			continue
		}
		if ix.Find != nil {
			if len(f.values) > 1 {
				continue
			}
			if seq, ok := ix.Find(r, f.values[0]); ok {
				return seq, false
			}
			continue
		}
		return func(yield func(*T) bool) {
			for _, key := range f.values {
				for obj := range ix.Index.List(r, key) {
					if !yield(obj) {
						return
					}
				}
			}
		}, len(f.values) == 1
	}
	if c.Visible != nil && !c.api.opts.RulesOverridden &&
		c.api.opts.Policy.Bind(s.caller, c.actions.get).Decide() == policy.Depends {
		return c.Visible(r, s.caller), false
	}
	return s.all()
}

// filter returns the filter of the attribute, or nil.
func (l *query[T]) filter(name string) *filter[T] {
	for i := range l.filters {
		if f := &l.filters[i]; f.name == name && len(f.values) > 0 {
			return f
		}
	}
	return nil
}
