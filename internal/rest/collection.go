package rest

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are what must hold whoever asks. They run inside a transaction; when they return an error nothing is changed.
type Rules[T any] interface {
	// Create completes obj, which has its id, its owner and what the client gave or the defaults, and stores it.
	Create(tx *state.Tx, c *auth.Caller, obj *T, given schema.Given) error
	// Update stores obj, a clone of old with the given attributes changed.
	Update(tx *state.Tx, c *auth.Caller, old, obj *T, given schema.Given) error
	Delete(tx *state.Tx, c *auth.Caller, obj *T) error
}

// BulkRules are implemented by Rules that know more about several objects of one request than about each of them. What
// they check must not depend on the state: it is asked before the policy.
type BulkRules[T any] interface {
	CheckBulk(objs []*T) error
}

// Collection says how a resource is served. The objects are *T, and implement model.Object.
type Collection[T any] struct {
	Resource *schema.Resource[T] // required
	Table    *state.Table[T]     // required unless All is set
	Rules    Rules[T]            // required where the resource may be changed
	Clone    func(*T) *T         // required where the resource may be changed
	// Indexes are used for filters instead of looking at all objects, the first that fits. The keys of an index are the
	// text of the attribute that the filter is on.
	Indexes []Indexed[T]
	// Visible yields at least those objects that the default policy rules let a caller see who may not see all,
	// each once. nil: all objects are looked at.
	Visible func(r state.Reader, c *auth.Caller) iter.Seq[*T]
	// Fields returns a function that gives policy rules what is not an attribute of the object, for instance
	// network:project_id. It is asked about all objects of a list, and may remember what it has looked up.
	Fields func(r state.Reader, c *auth.Caller) func(obj *T, name string) (string, bool)
	// Parent names the object to which a new one is to belong: the plural of its collection, and its id. A caller who
	// may not create here is told that the parent does not exist if it may not see that either.
	Parent func(obj *T) (plural, id string)
	// For returns a function that gives an object as the caller sees it: itself, or a copy with what depends on the
	// caller (is a network shared with its project?) or is not in the state (is an agent alive?). It is called once a
	// request, the function for every object that is looked at, before filters and policy rules.
	For func(r state.Reader, c *auth.Caller) func(*T) *T
	// BeforeList returns what has to be made before the caller is answered a list of the collection, or nil when there is
	// nothing, for instance the default security group of the caller's project. A list that is refused makes nothing.
	BeforeList func(r state.Reader, c *auth.Caller) func(tx *state.Tx) error
	// Narrow returns an object as a list shows it that is filtered: for filters that concern parts of objects, as
	// ip_version does the subnets of a network. query gives the values of a query parameter. It is called before filters.
	Narrow func(obj *T, query func(name string) []string) *T
	// Under makes a sub-collection; set exactly when Resource.Below is.
	Under *Under[T]
	// Actions are what can be done with an object besides changing and deleting it.
	Actions []Action[T]
	// All makes a computed collection, one without a table: it yields the objects, each with an id that is its own (for
	// instance that of a network, or a name), in any order.
	All func(r state.Reader, c *auth.Caller) iter.Seq[*T]
	// One finds an object of a computed collection by its id; default: looking through All.
	One func(r state.Reader, c *auth.Caller, id string) (*T, bool)
}

// Under ties the objects of a sub-collection to the parent that stands before them in the path. A parent that the caller
// may not see is missing, and with it all that is below. Policy rules find the fields of the parent under the prefix
// ext_parent, as in ext_parent:project_id.
type Under[T any] struct {
	// ParentID points to where an object keeps the id of its parent. It is filled in before Rules.Create.
	ParentID func(*T) *string
	// Index finds the objects by the id of their parent.
	Index *state.Index[T]
	// Find finds an object that the path does not call by its id; nil: by its id.
	Find func(r state.Reader, parentID, key string) (*T, bool)
}

// Indexed is an index that answers a filter.
type Indexed[T any] struct {
	Filter string
	Index  *state.Index[T] // required unless Find is set
	// Find takes the place of Index where the keys are not the filter's values: it yields at least the objects that match
	// the only value of the filter, each once, or says that it is of no help.
	Find func(r state.Reader, value string) (iter.Seq[*T], bool)
	// NoEmpty says that objects with an empty value are not in the index.
	NoEmpty bool
}

// collection is a Collection with all that can be prepared before the first request.
type collection[T any] struct {
	Collection[T]
	api   *API
	above anyCollection // of the parents
	// attributes are those of the resource that can be seen, in order of declaration.
	attributes []*attribute[T]
	byName     map[string]*attribute[T]
	enforced   []enforced[T]
	defaults   *T
	actions    actions
	// single and plural begin the body of an answer.
	single, plural []byte
}

// actions are the names of policy rules.
type actions struct {
	get, create, update, delete                 string
	getTags, createTags, updateTags, deleteTags string
}

// attribute is an attribute that can be seen.
type attribute[T any] struct {
	*schema.Attribute[T]
	// key is the attribute's name as a member of a JSON object, with the colon.
	key []byte
	// action is the policy rule for seeing it; empty where there is none.
	action string
}

// enforced is an attribute that asks for policy rules of its own when it is given.
type enforced[T any] struct {
	*schema.Attribute[T]
	create, update guard
}

// guard names the rules that an attribute asks for in an operation.
type guard struct {
	action string
	fields map[string]string
}

func newGuard(operation string, c *schema.Common) guard {
	g := guard{action: operation + ":" + c.Name, fields: make(map[string]string, len(c.Fields))}
	for _, f := range c.Fields {
		g.fields[f] = g.action + ":" + f
	}
	return g
}

func meta[T any](obj *T) *model.Meta { return any(obj).(model.Object).GetMeta() }

// prepare checks a Collection and works out what requests will need.
func prepare[T any](a *API, c Collection[T]) (*collection[T], error) {
	if (c.Table == nil) == (c.All == nil) {
		return nil, errors.New("either Table or All is required")
	}
	if c.Resource.Operations != 0 && (c.Table == nil || c.Clone == nil || c.Rules == nil) {
		return nil, errors.New("Table, Clone and Rules are required")
	}
	if (c.Resource.Below != "") != (c.Under != nil) {
		return nil, errors.New("a resource that lies below another needs Under, and no other does")
	}
	if _, ok := any(new(T)).(model.Object); !ok {
		return nil, fmt.Errorf("%T is not a model.Object", new(T))
	}
	c.Actions = slices.Clone(c.Actions)
	declared := c.Resource.Declaration()
	for i := range c.Actions {
		if err := c.Actions[i].complete(declared.Actions); err != nil {
			return nil, err
		}
	}
	name := c.Resource.Policy
	col := &collection[T]{
		Collection: c, api: a,
		byName:   map[string]*attribute[T]{},
		defaults: c.Resource.Defaults(),
		actions: actions{
			get: "get_" + name, create: "create_" + name, update: "update_" + name, delete: "delete_" + name,
			getTags: "get_" + name + ":tags", createTags: "create_" + name + ":tags",
			updateTags: "update_" + name + ":tags", deleteTags: "delete_" + name + ":tags",
		},
		single: []byte(`{"` + c.Resource.Name + `":`), plural: []byte(`{"` + c.Resource.Plural + `":[`),
	}
	if c.Under != nil {
		if col.above = a.byPath[c.Resource.Below]; col.above == nil {
			return nil, fmt.Errorf("there is no collection %s yet", c.Resource.Below)
		}
	}
	for _, at := range c.Resource.Attributes {
		if at.Is(schema.Hidden) {
			continue
		}
		v := &attribute[T]{Attribute: at, key: []byte(`"` + at.Name + `":`)}
		if action := col.actions.get + ":" + at.Name; at.Restricted || a.opts.Policy.Known(action) {
			v.action = action
		}
		col.attributes = append(col.attributes, v)
		col.byName[at.Name] = v
	}
	for _, at := range c.Resource.Attributes {
		if at.Enforced {
			col.enforced = append(col.enforced, enforced[T]{
				Attribute: at,
				create:    newGuard(col.actions.create, &at.Common), update: newGuard(col.actions.update, &at.Common),
			})
		}
	}
	return col, col.checkPolicy()
}

// checkPolicy looks for policy rules that requests will ask for and that do not exist.
func (c *collection[T]) checkPolicy() error {
	need := []string{c.actions.get}
	can := c.Resource.Operations
	if can&schema.CanCreate != 0 {
		need = append(need, c.actions.create)
	}
	if can&schema.CanUpdate != 0 {
		need = append(need, c.actions.update)
	}
	if can&schema.CanDelete != 0 {
		need = append(need, c.actions.delete)
	}
	if c.Resource.Tagged {
		need = append(need, c.actions.getTags, c.actions.createTags, c.actions.updateTags, c.actions.deleteTags)
	}
	for _, at := range c.attributes {
		if at.action != "" {
			need = append(need, at.action)
		}
	}
	for i := range c.Actions {
		need = append(need, c.Actions[i].rules()...)
	}
	for _, e := range c.enforced {
		var guards []guard
		if e.Is(schema.Post) && can&schema.CanCreate != 0 {
			guards = append(guards, e.create)
		}
		if e.Is(schema.Put) && can&schema.CanUpdate != 0 {
			guards = append(guards, e.update)
		}
		for _, g := range guards {
			need = append(need, g.action)
			for _, action := range g.fields {
				need = append(need, action)
			}
		}
	}
	var errs []error
	for _, action := range need {
		if !c.api.opts.Policy.Known(action) {
			errs = append(errs, fmt.Errorf("there is no policy rule %q", action))
		}
	}
	return errors.Join(errs...)
}

// routes declares the paths of the collection.
func (c *collection[T]) routes() {
	path := c.Resource.Declaration().Collection()
	c.api.served[path] = true
	for i := range c.Actions {
		c.api.served[c.Actions[i].Method+" "+path+"/{id}/"+c.Actions[i].Name] = true
	}
	for _, path := range spellings(path) {
		c.routesAt(root + path)
	}
}

// spellings are the paths by which clients know a collection, first the one that is declared. As in Neutron, - and _ are
// the same in them, and the first part of /qos/policies may be left out.
func spellings(path string) []string {
	paths := []string{path}
	if _, rest, ok := strings.Cut(path[1:], "/"); ok && rest[0] != '{' {
		paths = append(paths, "/"+rest)
	}
	for _, p := range slices.Clone(paths) {
		paths = append(paths, strings.ReplaceAll(p, "-", "_"), strings.ReplaceAll(p, "_", "-"))
	}
	var distinct []string
	for _, p := range paths {
		if !slices.Contains(distinct, p) {
			distinct = append(distinct, p)
		}
	}
	return distinct
}

// routesAt declares the paths of the collection below one of its spellings.
func (c *collection[T]) routesAt(path string) {
	can := c.Resource.Operations
	many := map[string]handler{http.MethodGet: c.list}
	if can&schema.CanCreate != 0 {
		many[http.MethodPost] = c.create
	}
	one := map[string]handler{http.MethodGet: c.show}
	if can&schema.CanUpdate != 0 {
		one[http.MethodPut] = c.update
	}
	if can&schema.CanDelete != 0 {
		one[http.MethodDelete] = c.delete
	}
	name := c.Resource.Plural
	c.api.route(path, &endpoint{name: name, methods: many})
	if !c.Resource.ListOnly {
		c.api.route(path+"/{id}", &endpoint{name: name, methods: one})
	}
	c.actionRoutes(path + "/{id}/")
	if !c.Resource.Tagged {
		return
	}
	c.api.route(path+"/{id}/tags", &endpoint{name: name, methods: map[string]handler{
		http.MethodGet: c.listTags, http.MethodPut: c.replaceTags,
		http.MethodPost: c.addTags, http.MethodDelete: c.removeTags,
	}})
	c.api.route(path+"/{id}/tags/{tag}", &endpoint{name: name, methods: map[string]handler{
		http.MethodGet: c.hasTag, http.MethodPut: c.addTag, http.MethodDelete: c.removeTag,
	}})
}
