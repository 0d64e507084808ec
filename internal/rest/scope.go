package rest

import (
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/state"
)

// scope is a collection as one request finds it: in one snapshot or transaction, by one caller and, in a sub-collection,
// below one parent. Everything that a request reads goes through it.
type scope[T any] struct {
	c      *collection[T]
	r      state.Reader
	caller *auth.Caller
	parent parent
	view   func(*T) *T // what Collection.For returned
	fields func(obj *T, name string) (string, bool)
}

// parent is the object in whose path a sub-collection lies.
type parent struct {
	id     string
	target policy.Target
}

// project is the owner of the parent.
func (p parent) project() string {
	if p.target == nil {
		return ""
	}
	project, _ := p.target.Field("project_id")
	return project
}

// scope returns the error of a missing parent if the caller may not see the one in the path.
func (c *collection[T]) scope(r state.Reader, q *request) (*scope[T], error) {
	s := c.scopeFor(r, q.caller)
	if c.Under == nil {
		return s, nil
	}
	id := q.PathValue("parent")
	target, ok := c.above.see(r, q.caller, id)
	if !ok {
		return nil, c.above.missing(id)
	}
	s.parent = parent{id, target}
	return s, nil
}

// scopeFor is the scope of a collection that is not below others.
func (c *collection[T]) scopeFor(r state.Reader, caller *auth.Caller) *scope[T] {
	s := &scope[T]{c: c, r: r, caller: caller}
	if c.For != nil {
		s.view = c.For(r, caller)
	}
	return s
}

// as is the object with the attributes that depend on the caller.
func (s *scope[T]) as(obj *T) *T {
	if s.view == nil {
		return obj
	}
	return s.view(obj)
}

// find returns the object that the path calls id, whether or not the caller may see it.
func (s *scope[T]) find(id string) (*T, bool) {
	c := s.c
	switch {
	case c.Under != nil && c.Under.Find != nil:
		return c.Under.Find(s.r, s.parent.id, id)
	case c.One != nil:
		return c.One(s.r, s.caller, id)
	case c.Table == nil:
		for obj := range c.All(s.r, s.caller) {
			if meta(obj).ID == id {
				return obj, true
			}
		}
		return nil, false
	}
	obj, ok := c.Table.Get(s.r, id)
	return obj, ok && s.below(obj)
}

// below says whether the object belongs to the parent in the path.
func (s *scope[T]) below(obj *T) bool {
	return s.c.Under == nil || *s.c.Under.ParentID(obj) == s.parent.id
}

// all are the objects that there are, whether or not the caller may see them. inOrder says that they come in order of
// their ids.
func (s *scope[T]) all() (objs iter.Seq[*T], inOrder bool) {
	switch c := s.c; {
	case c.Under != nil:
		return c.Under.Index.List(s.r, s.parent.id), true
	case c.Table == nil:
		return c.All(s.r, s.caller), false
	default:
		return c.Table.All(s.r), true
	}
}

// get returns the object that the path calls id, as the caller sees it, if the caller may see it.
func (s *scope[T]) get(id string) (*T, error) {
	if obj, ok := s.find(id); ok {
		if obj = s.as(obj); s.may(s.c.actions.get, obj) {
			return obj, nil
		}
	}
	return nil, s.c.missing(id)
}

// missing is the error for an object that does not exist, or may not be seen.
func (c *collection[T]) missing(id string) error { return fault.Missing(c.Resource.Kind, quoted(id)) }

// see returns the object as policy rules see it, if the caller may see it.
func (c *collection[T]) see(r state.Reader, caller *auth.Caller, id string) (policy.Target, bool) {
	s := c.scopeFor(r, caller)
	obj, err := s.get(id)
	if err != nil {
		return nil, false
	}
	return s.target(obj), true
}
