package rest

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/schema"
)

// target shows an object to the policy. One target serves a whole list, an object after the other.
type target[T any] struct {
	*scope[T]
	obj *T
}

func (s *scope[T]) target(obj *T) *target[T] { return &target[T]{s, obj} }

// Field implements policy.Target.
func (t *target[T]) Field(name string) (string, bool) {
	if name == "project_id" {
		return meta(t.obj).ProjectID, true
	}
	if at := t.c.Resource.Attribute(name); at != nil {
		return at.Text(t.obj), true
	}
	if t.parent.target != nil {
		if name, ok := strings.CutPrefix(name, "ext_parent:"); ok {
			return t.parent.target.Field(name)
		}
	}
	if t.c.Fields == nil {
		return "", false
	}
	if t.fields == nil {
		t.fields = t.c.Fields(t.r, t.caller)
	}
	return t.fields(t.obj, name)
}

// may asks the policy for one action.
func (s *scope[T]) may(action string, obj *T) bool {
	return s.c.api.opts.Policy.Allowed(s.caller, action, s.target(obj))
}

// demand is what a write asks of the policy: its action, and one for each attribute that is given and guarded.
type demand struct {
	actions []string
	// text is how the API spells the demand to a caller that does not meet it.
	text string
}

func (d *demand) add(actions ...string) {
	text := "rule:" + actions[0]
	if len(actions) > 1 {
		text = "(" + text + " and (rule:" + strings.Join(actions[1:], " and rule:") + "))"
	}
	if d.text != "" {
		text = "(" + d.text + " and " + text + ")"
	}
	d.text = text
	d.actions = append(d.actions, actions...)
}

// creating is the demand for making obj out of the body raw. An attribute that is given with its default value demands
// nothing: clients write out defaults.
func (c *collection[T]) creating(obj *T, raw map[string]any, given schema.Given) *demand {
	d := &demand{}
	d.add(c.actions.create)
	for i := range c.enforced {
		e := &c.enforced[i]
		if !given.Has(e.Name) || e.Default != nil && e.Text(obj) == e.Text(c.defaults) {
			continue
		}
		d.add(e.create.demands(raw[e.Name])...)
	}
	return d
}

// updating is the demand for changing the attributes of the body raw, even to the values that they have.
func (c *collection[T]) updating(raw map[string]any, given schema.Given) *demand {
	d := &demand{}
	d.add(c.actions.update)
	for i := range c.enforced {
		e := &c.enforced[i]
		if given.Has(e.Name) {
			d.add(e.update.demands(raw[e.Name])...)
		}
	}
	return d
}

// demands returns the rule of the attribute, then those of the guarded members that the value has.
func (g guard) demands(raw any) []string {
	actions := []string{g.action}
	var used []string
	note := func(v any) {
		m, _ := v.(map[string]any)
		for name := range m {
			if action := g.fields[name]; action != "" && !slices.Contains(used, action) {
				used = append(used, action)
			}
		}
	}
	if values, ok := raw.([]any); ok {
		for _, v := range values {
			note(v)
		}
	} else {
		note(raw)
	}
	slices.Sort(used)
	return append(actions, used...)
}

// met says whether the caller may do all of it to obj.
func (s *scope[T]) met(d *demand, obj *T) bool {
	t := s.target(obj)
	for _, action := range d.actions {
		if !s.c.api.opts.Policy.Allowed(s.caller, action, t) {
			return false
		}
	}
	return true
}

func forbidden(d *demand) error {
	return fault.New(fault.Forbidden, "PolicyNotAuthorized", "%s is disallowed by policy", d.text)
}

// mayCreate returns the error for a caller who may not create obj. That a parent exists which the caller may not see
// must not show.
func (s *scope[T]) mayCreate(d *demand, obj *T) error {
	if s.met(d, obj) {
		return nil
	}
	if s.c.Parent != nil {
		plural, id := s.c.Parent(obj)
		if p := s.c.api.byPlural[plural]; p != nil {
			if _, ok := p.see(s.r, s.caller, id); !ok {
				return p.missing(id)
			}
		}
	}
	return forbidden(d)
}

// mayChange returns the error for a caller who may not change old, which the path calls id, into obj.
func (s *scope[T]) mayChange(d *demand, id string, old, obj *T) error {
	switch {
	case s.met(d, obj):
		return nil
	case s.may(s.c.actions.get, s.as(old)):
		return forbidden(d)
	}
	return s.c.missing(id)
}

// checkOwner lets only administrators and services make objects for other projects.
func checkOwner(caller *auth.Caller, raw map[string]any) error {
	if caller.Admin() || caller.HasRole("service") || caller.HasRole("advsvc") {
		return nil
	}
	for _, name := range []string{"project_id", "tenant_id"} {
		if owner, ok := raw[name]; ok && owner != caller.ProjectID {
			return badRequest("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request " +
				"requires admin privileges")
		}
	}
	return nil
}
