package rest

import (
	"iter"
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/state"
)

// list handles GET of a collection.
func (c *collection[T]) list(q *request) error {
	l, err := c.parseList(q.caller, q.URL.RawQuery)
	if err != nil {
		return err
	}
	r := c.api.opts.Store.Read()
	objs, err := c.page(r, q.caller, l)
	if err != nil {
		return err
	}
	c.viewer(r, q.caller, l.fields).answerList(q, http.StatusOK, objs, l.pageLinks(q, objs))
	return nil
}

// page returns the objects that the query asks for and the caller may see, in order. The order is total: objects that
// the sort keys do not tell apart are ordered by their ids.
func (c *collection[T]) page(r state.Reader, caller *auth.Caller, l *query[T]) ([]*T, error) {
	var marker *T
	if l.marker != "" {
		m, err := c.get(r, caller, l.marker)
		if err != nil {
			return nil, err
		}
		marker = c.decorated(m)
	}
	source, inOrder := c.source(r, caller, l)
	inOrder = inOrder && len(l.sort) == 0
	keep := c.keeper(r, caller, l)
	if keep == nil {
		return nil, nil
	}
	var objs []*T
	for obj := range source {
		if obj = c.decorated(obj); !keep(obj) {
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

func (c *collection[T]) decorated(obj *T) *T {
	if c.Decorate == nil {
		return obj
	}
	return c.Decorate(obj)
}

// keeper returns the test whether an object belongs into the list, or nil when none does.
func (c *collection[T]) keeper(r state.Reader, caller *auth.Caller, l *query[T]) func(*T) bool {
	t := &target[T]{c: c, r: r}
	see := c.api.opts.Policy.Bind(caller, c.actions.get)
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
func (c *collection[T]) source(r state.Reader, caller *auth.Caller, l *query[T]) (seq iter.Seq[*T], inOrder bool) {
	if f := l.filter("id"); f != nil {
		return func(yield func(*T) bool) {
			for _, id := range f.values {
				if obj, ok := c.Table.Get(r, id); ok && !yield(obj) {
					return
				}
			}
		}, true
	}
	for _, ix := range c.Indexes {
		f := l.filter(ix.Filter)
		if f == nil || ix.NoEmpty && f.values[0] == "" {
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
		c.api.opts.Policy.Bind(caller, c.actions.get).Decide() == policy.Depends {
		return c.Visible(r, caller), false
	}
	return c.Table.All(r), true
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
