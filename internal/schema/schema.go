// Package schema declares the resources of the networking API as Go data. From one declaration come decoding,
// validation, defaults, views, filters, sorting, the policy actions to ask for, the extensions list, the OpenAPI document
// and the command line.
//
// A Resource is a list of Attributes. An attribute knows its name, when a client may give it (Post, Put), how a value is
// validated and put into the model struct, and how it is read back. The attributes of one resource stand in one file:
// network.go, subnet.go, port.go, agent.go; what else can be done with objects stands in actions.go. Who wants to know all
// resources without their Go types asks All (declaration.go); what values look like is a Shape (shape.go).
//
// Validation here is of single values; what needs the state (does the network exist, is the address free) belongs to the
// rules in internal/service.
package schema

import (
	"slices"
	"sort"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
)

// Access says what clients may do with an attribute. All attributes can be read unless they are Hidden.
type Access uint8

// The ways to use an attribute.
const (
	Post   Access = 1 << iota // may be given when creating
	Put                       // may be given when updating
	Filter                    // may be a query parameter of a list
	Sort                      // may be a sort key
	Hidden                    // is never shown
)

// Op is the operation for which a body is decoded.
type Op int

// The operations with a body.
const (
	Create Op = iota
	Update
)

// Common is what an attribute is, whatever the type of its resource.
type Common struct {
	Name string
	Shape
	Access   Access
	Required bool // must be given when creating
	Default  any  // the raw value used when creating without; nil: the zero value of the field
	// Extension is the alias that brings the attribute; empty for the core API.
	Extension string
	Help      string // one line for the command line and the API document
	// Fields are the members of an object whose use is subject to a policy rule of its own, as in
	// create_port:fixed_ips:ip_address.
	Fields []string
	// Enforced says that giving the attribute asks for the policy rule <action>:<name>.
	Enforced bool
	// Restricted says that seeing the attribute asks for the policy rule get_<resource>:<name>.
	Restricted bool
}

// Attribute is one attribute of a resource whose objects are *T.
type Attribute[T any] struct {
	Common
	// set validates a raw JSON value and stores it.
	set func(obj *T, raw any) error
	// Shown says whether an object has the attribute at all; nil: always.
	Shown func(obj *T) bool
	// Append appends the value's JSON.
	Append func(b []byte, obj *T) []byte
	// Text is the value as a query parameter or a policy rule would spell it.
	Text func(obj *T) string
	// Compare orders two objects by the attribute.
	Compare func(a, b *T) int
	// Match says whether the object has the value of a query parameter.
	Match func(obj *T, value string) bool
	// Canonical turns the value of a query parameter into the spelling that Text has; nil: there is one way only.
	Canonical func(value string) string
}

// Is says whether the attribute has the access.
func (c *Common) Is(a Access) bool { return c.Access&a != 0 }

// when says which objects have the attribute; the others are shown without it.
func (a *Attribute[T]) when(shown func(obj *T) bool) *Attribute[T] {
	a.Shown = shown
	return a
}

// Resource declares a kind of resource.
type Resource[T any] struct {
	Name   string // network; the key of a single object's body, and the stem of policy actions
	Plural string // networks; the collection in paths and bodies
	Kind   string // Network; the stem of error types such as NetworkNotFound
	// Extension is the alias that brings the resource; empty for the core API.
	Extension  string
	Operations Operations
	Attributes []*Attribute[T]
	// Virtual are query parameters that are not attributes, for instance ip_address_substr.
	Virtual map[string]func(obj *T, value string) bool
	// Tagged says that the resource has tags, and with them the tag filters and sub-resources.
	Tagged bool
	// Path is the collection's path below /v2.0. Default: "/" and Plural. Of a sub-collection (see Below) it is the part
	// that follows the parent's id.
	Path string
	// Below makes a sub-collection: it is the path of the collection whose objects are the parents. With Below
	// "/floatingips" and Path "/port_forwardings" the objects are at /floatingips/{id}/port_forwardings/{id}.
	Below string
	// Policy is the stem of the policy actions, as in create_<stem>. Default: Name.
	Policy string
	// Quota is the name of the limit on how many a project may have, for instance "port". Empty: there is none.
	Quota string
	// ListOnly says that objects are listed but have no path of their own.
	ListOnly bool
	// Actions are what can be done with an object besides changing and deleting it.
	Actions []Action

	byName map[string]*Attribute[T]
}

// Operations say what may be done with a resource over the API. Lists and gets are always there.
type Operations uint8

// The operations.
const (
	CanCreate Operations = 1 << iota
	CanUpdate
	CanDelete
	CanBulk // create several in one request, all or none
)

// Given is the set of attributes that a request named.
type Given map[string]bool

// Has says whether the request named the attribute.
func (g Given) Has(name string) bool { return g[name] }

// Any says whether the request named one of the attributes.
func (g Given) Any(names ...string) bool {
	return slices.ContainsFunc(names, g.Has)
}

// Attribute returns the attribute of the name, or nil.
func (r *Resource[T]) Attribute(name string) *Attribute[T] { return r.byName[name] }

// ready finishes a declaration.
func (r *Resource[T]) ready() *Resource[T] {
	if r.Path == "" {
		r.Path = "/" + r.Plural
	}
	if r.Policy == "" {
		r.Policy = r.Name
	}
	r.byName = make(map[string]*Attribute[T], len(r.Attributes))
	for _, a := range r.Attributes {
		if r.byName[a.Name] != nil {
			panic("schema: " + r.Name + " has the attribute " + a.Name + " twice")
		}
		r.byName[a.Name] = a
	}
	return r
}

// Defaults returns an object that has the default of every attribute, and zero values where none is declared.
func (r *Resource[T]) Defaults() *T {
	obj := new(T)
	for _, a := range r.Attributes {
		if a.Default == nil {
			continue
		}
		if err := a.set(obj, a.Default); err != nil {
			panic("schema: the default of " + r.Name + "'s " + a.Name + ": " + err.Error())
		}
	}
	return obj
}

// Decode validates the attributes of a body and stores them in obj. For Create, defaults are stored first and required
// attributes must be there. The error is a *fault.Error of kind Invalid that names the attribute.
func (r *Resource[T]) Decode(obj *T, body map[string]any, op Op) (Given, error) {
	if err := r.checkNames(body, op); err != nil {
		return nil, err
	}
	if op == Create {
		for _, a := range r.Attributes {
			if a.Default == nil {
				continue
			}
			if err := a.set(obj, a.Default); err != nil {
				return nil, err
			}
		}
	}
	given := make(Given, len(body))
	for _, a := range r.Attributes { // in order of declaration, so that errors do not depend on a map's order
		raw, ok := body[a.Name]
		if !ok {
			if a.Required && op == Create {
				return nil, fault.New(fault.Invalid, "HTTPBadRequest",
					"Failed to parse request. Required attribute '%s' not specified.", a.Name)
			}
			continue
		}
		if err := a.set(obj, raw); err != nil {
			if f := fault.As(err); f != nil {
				return nil, f // of a type that clients know the attribute by
			}
			return nil, blame(a.Name, err)
		}
		given[a.Name] = true
	}
	return given, oneOwner(body)
}

// blame is the fault of an attribute's value: its own, where it has one that clients branch on.
func blame(name string, err error) error {
	if f := fault.As(err); f != nil {
		return f
	}
	return fault.Input(name, "%s", err)
}

func (r *Resource[T]) checkNames(body map[string]any, op Op) error {
	var unknown []string
	for name := range body {
		if r.byName[name] == nil {
			unknown = append(unknown, clip(name))
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		unknown = unknown[:min(len(unknown), 10)]
		return fault.New(fault.Invalid, "HTTPBadRequest", "Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	for _, a := range r.Attributes {
		if _, ok := body[a.Name]; !ok {
			continue
		}
		if op == Create && !a.Is(Post) {
			return fault.New(fault.Invalid, "HTTPBadRequest", "Attribute '%s' not allowed in POST", a.Name)
		}
		if op == Update && !a.Is(Put) {
			return fault.New(fault.Invalid, "HTTPBadRequest", "Cannot update read-only attribute %s", a.Name)
		}
	}
	return nil
}

// oneOwner refuses a body that names two different owners: tenant_id is the old name of project_id.
func oneOwner(body map[string]any) error {
	p, ok := body["project_id"]
	t, also := body["tenant_id"]
	if ok && also && p != t {
		return fault.New(fault.Invalid, "HTTPBadRequest", "'project_id' and 'tenant_id' do not match")
	}
	return nil
}

// clip shortens what a client sent before it is quoted in an error.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
