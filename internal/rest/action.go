package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Action does what package schema has declared that can be done with an object besides changing and deleting it, at a
// path below the object's: PUT /v2.0/routers/{id}/add_router_interface.
type Action[T any] struct {
	// Name is the rest of the path. It may have wildcards, as in dhcp-networks/{network}; see Input.Path.
	Name   string
	Method string // default: PUT
	Policy string // the policy rule that it asks for, on the object; default: Name
	// wrapped and bare are declared. Of a wrapped body, Input.Body is what is inside.
	wrapped, bare bool
	// Guards are the members of the body that ask for policy rules of their own.
	Guards []Guard
	// Do does it, in a transaction. obj must be cloned before it is changed. What it returns is answered: an object of
	// the collection as the caller may see it, a Listed, anything else as plain JSON, and nil as no body.
	// One of Do and Show is required.
	Do func(tx *state.Tx, c *auth.Caller, obj *T, in Input) (any, error)
	// Show is for actions that only read; their method is GET unless it is set.
	Show func(r state.Reader, c *auth.Caller, obj *T, in Input) (any, error)
}

// Guard is a member of a body that asks for the policy rule <policy of the action>:<Name>, and for
// <policy>:<Name>:<field> for each of the Fields that its value has.
type Guard struct {
	Name   string
	Fields []string
}

// Input is what a request gives to an Action or an Operation.
type Input struct {
	Body  map[string]any    // the JSON object of the body; nil where there is none
	Path  map[string]string // the values of the wildcards that the declaration names
	Query url.Values
}

// Listed is an answer that lists objects of a collection, for instance the agents of a network: {"agents": […]}. Those
// that the caller may not see are left out.
type Listed struct {
	Plural string // of the collection
	IDs    []string
	// Shown, where set, gives an object of the collection as this list shows it.
	Shown func(obj any) any
}

// wildcards finds the names in a path: dhcp-networks/{network}.
var wildcards = regexp.MustCompile(`\{(\w+)\}`)

// input reads the body, the path and the query.
func (q *request) input(path string) (in Input, err error) {
	if in.Body, err = q.object(); err != nil {
		return in, err
	}
	params, err := parseQuery(q.URL.RawQuery)
	if err != nil {
		return in, err
	}
	in.Query = url.Values{}
	for _, p := range params {
		in.Query.Add(p.key, p.value)
	}
	in.Path = map[string]string{}
	for _, m := range wildcards.FindAllStringSubmatch(path, -1) {
		in.Path[m[1]] = q.PathValue(m[1])
	}
	return in, nil
}

// complete fills in what was left out, and what is declared.
func (a *Action[T]) complete(declared []schema.Action) error {
	if (a.Do == nil) == (a.Show == nil) {
		return fmt.Errorf("action %s: either Do or Show is required", a.Name)
	}
	if a.Method == "" {
		a.Method = http.MethodPut
		if a.Show != nil {
			a.Method = http.MethodGet
		}
	}
	if a.Policy == "" {
		a.Policy = a.Name
	}
	for _, d := range declared {
		if d.Name == a.Name && d.Method == a.Method {
			a.wrapped, a.bare = d.Wrapped, d.Bare
			return nil
		}
	}
	return fmt.Errorf("the action %s %s is not declared in package schema", a.Method, a.Name)
}

func (a *Action[T]) guard(i int) guard {
	return newGuard(a.Policy, &schema.Common{Name: a.Guards[i].Name, Fields: a.Guards[i].Fields})
}

// rules are all policy rules that the action may ask for.
func (a *Action[T]) rules() []string {
	rules := []string{a.Policy}
	for i := range a.Guards {
		g := a.guard(i)
		rules = append(rules, g.action)
		for _, f := range g.fields {
			rules = append(rules, f)
		}
	}
	return rules
}

// demand is what the action asks of the policy for a body.
func (a *Action[T]) demand(body map[string]any) *demand {
	d := &demand{}
	d.add(a.Policy)
	for i := range a.Guards {
		if raw, ok := body[a.Guards[i].Name]; ok {
			d.add(a.guard(i).demands(raw)...)
		}
	}
	return d
}

// actionRoutes declares the paths of the actions. Several may share one, with different methods.
func (c *collection[T]) actionRoutes(path string) {
	endpoints := map[string]*endpoint{}
	var names []string
	for i := range c.Actions {
		a := &c.Actions[i]
		e := endpoints[a.Name]
		if e == nil {
			e = &endpoint{name: c.Resource.Plural, methods: map[string]handler{}}
			endpoints[a.Name] = e
			names = append(names, a.Name)
		}
		e.methods[a.Method] = func(q *request) error { return c.act(q, a) }
	}
	for _, name := range names {
		c.api.route(path+name, endpoints[name])
	}
}

// act handles a request for an action.
func (c *collection[T]) act(q *request, a *Action[T]) error {
	in, err := q.input(a.Name)
	if err != nil {
		return err
	}
	if a.wrapped {
		items, _, err := bodies(in.Body, c.Resource.Name, c.Resource.Plural, false)
		if err != nil {
			return err
		}
		in.Body = items[0]
	}
	revision, err := ifMatch(q.Header)
	if err != nil {
		return err
	}
	demand := a.demand(in.Body)
	id := q.PathValue("id")
	authorised := func(r state.Reader) (*T, error) {
		s, err := c.scope(r, q)
		if err != nil {
			return nil, err
		}
		obj, ok := s.find(id)
		if !ok {
			return nil, c.missing(id)
		}
		if err := s.mayChange(demand, id, obj, obj); err != nil {
			return nil, err
		}
		return obj, revision.check(meta(obj).RevisionNumber)
	}
	var view any
	if a.Show != nil {
		r := c.api.opts.Store.Read()
		obj, err := authorised(r)
		if err != nil {
			return err
		}
		if view, err = a.Show(r, q.caller, obj, in); err != nil {
			return err
		}
	} else {
		_, err = c.api.opts.Store.Update(q.Context(), func(tx *state.Tx) error {
			obj, err := authorised(tx)
			if err != nil {
				return err
			}
			view, err = a.Do(tx, q.caller, obj, in)
			return err
		})
		if err != nil {
			return err
		}
	}
	obj, ok := view.(*T)
	if !ok {
		return q.answerAny(view)
	}
	s, err := c.scope(c.api.opts.Store.Read(), q)
	if err != nil {
		return err
	}
	v := s.viewer(in.Query["fields"])
	v.bare = a.bare
	v.answerOne(q, q.done(), s.as(obj))
	return nil
}

// answerAny answers with what an action or operation has returned.
func (q *request) answerAny(view any) error {
	switch v := view.(type) {
	case nil:
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	case Listed:
		col := q.api.byPlural[v.Plural]
		if col == nil {
			return fmt.Errorf("there is no collection %s", v.Plural)
		}
		return col.answerSome(q, q.api.opts.Store.Read(), q.done(), v)
	}
	return q.answerValue(q.done(), view)
}

// done is the status of an answer that has something to say.
func (q *request) done() int {
	if q.Method == http.MethodPost {
		return http.StatusCreated
	}
	return http.StatusOK
}

// answerSome implements anyCollection.
func (c *collection[T]) answerSome(q *request, r state.Reader, status int, some Listed) error {
	l, err := c.parseList(q.caller, q.URL.RawQuery)
	if err != nil {
		return err
	}
	s := c.scopeFor(r, q.caller)
	var objs []*T
	if keep := s.keeper(l); keep != nil {
		for _, id := range some.IDs {
			obj, ok := s.find(id)
			if !ok {
				continue
			}
			obj = s.as(obj)
			if some.Shown != nil {
				obj = some.Shown(obj).(*T)
			}
			if keep(obj) {
				objs = append(objs, obj)
			}
		}
	}
	s.viewer(l.fields).answerList(q, status, objs, nil)
	return nil
}

// Operation is a request that concerns no collection: at a path of its own.
type Operation struct {
	Method string // required
	Path   string // required; below /v2.0, as in /quotas/{project}/details
	// Policy is the rule that is asked for; empty: every caller may.
	Policy string
	// Target is the object that the rule is asked about; nil: there is none.
	Target func(r state.Reader, in Input) policy.Target
	// Do does it in a transaction, Show only reads; one of them is required. What they return is answered: a Listed,
	// anything else as plain JSON, and nil as no body.
	Do   func(tx *state.Tx, c *auth.Caller, in Input) (any, error)
	Show func(r state.Reader, c *auth.Caller, in Input) (any, error)
}

// Operate adds operations. Those of one path have to be added together.
func Operate(a *API, name string, operations ...Operation) error {
	endpoints := map[string]*endpoint{}
	var paths []string
	for _, o := range operations {
		if o.Policy != "" && !a.opts.Policy.Known(o.Policy) {
			return fmt.Errorf("rest: %s: there is no policy rule %q", o.Path, o.Policy)
		}
		if (o.Do == nil) == (o.Show == nil) {
			return fmt.Errorf("rest: %s: either Do or Show is required", o.Path)
		}
		if !slices.ContainsFunc(schema.Requests(), func(r schema.Request) bool {
			return r.Method == o.Method && r.Path == o.Path
		}) {
			return fmt.Errorf("rest: %s %s is not declared in package schema", o.Method, o.Path)
		}
		a.served[o.Method+" "+o.Path] = true
		e := endpoints[o.Path]
		if e == nil {
			e = &endpoint{name: name, methods: map[string]handler{}}
			endpoints[o.Path] = e
			paths = append(paths, o.Path)
		}
		e.methods[o.Method] = o.handle
	}
	for _, path := range paths {
		a.route(root+path, endpoints[path])
	}
	return nil
}

func (o Operation) handle(q *request) error {
	in, err := q.input(o.Path)
	if err != nil {
		return err
	}
	allowed := func(r state.Reader) error {
		if o.Policy == "" {
			return nil
		}
		var t policy.Target
		if o.Target != nil {
			t = o.Target(r, in)
		}
		if !q.api.opts.Policy.Allowed(q.caller, o.Policy, t) {
			d := &demand{}
			d.add(o.Policy)
			return forbidden(d)
		}
		return nil
	}
	var view any
	if o.Show != nil {
		r := q.api.opts.Store.Read()
		if err := allowed(r); err != nil {
			return err
		}
		view, err = o.Show(r, q.caller, in)
	} else {
		_, err = q.api.opts.Store.Update(q.Context(), func(tx *state.Tx) (err error) {
			if err := allowed(tx); err != nil {
				return err
			}
			view, err = o.Do(tx, q.caller, in)
			return err
		})
	}
	if err != nil {
		return err
	}
	return q.answerAny(view)
}
