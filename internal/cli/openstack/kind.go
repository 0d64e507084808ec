package openstack

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// verb is one of the commands that every kind has, as far as its declaration allows. A set of them is a verb, too.
type verb uint8

// The verbs.
const (
	create verb = 1 << iota
	list
	show
	set
	unset
	remove // delete, which is a word of Go

	writes = create | set
)

// object is an object of the API as its JSON says it. Numbers are json.Number.
type object = map[string]any

// kind is a resource on the command line: its declaration, and what of its words and looks cannot be derived from that.
type kind struct {
	words    string // before the verb: "network qos policy"
	declared string // the name of the declaration: "policy"
	// names is the attribute that people know an object by besides its id. Default: name, where it is declared.
	names string
	// options are those that cannot be derived; the options of all other attributes are.
	options []option
	// without are the attributes that have no option.
	without []string
	// create are the arguments of the command create. nil: the name.
	create []argument
	// list are the columns of lists, long those that --long adds, and full all that it shows where it does not only add.
	list, long, full []column
	// longWith are options that mean --long, too.
	longWith []string
	// show are the columns of single objects that are called otherwise than their attributes, or that have none, and
	// omit the attributes that are not shown. All other attributes are, under their names.
	show []column
	omit []string
	// objects are the attributes that are shown as {} where they are null, or not for the caller to see.
	objects []string
	// computed are the values of columns that are made of an object, by what the column names as its attribute.
	computed map[string]func(object) any
	// seldom are the attributes that not every caller sees: lists have no column of them where no object has them.
	seldom []string
	// not are verbs that the client does not have, although the declaration allows them.
	not verb
	// optionalArgument is an argument of list that may be left out.
	optionalArgument *argument
	// prepare changes what create and set are about to send, after the options have been read.
	prepare func(*call) error
	// listed says whether list shows an object that the service has answered; nil: all.
	listed func(*call, object) bool
	// complete adds to an object what is shown of it, but is not in it.
	complete func(*call, object) error
	actions  []action

	d      *schema.Declaration
	parent *kind // of a sub-collection: the kind of the objects that have it
}

// argument is a positional argument.
type argument struct {
	label     string // in the usage: "network"
	attribute string // of the body, or the query parameter of list
	find      string // the declaration of the objects of which it is a name or an id; empty: the value itself
}

// column is a column of an answer.
type column struct {
	title     string
	attribute string // empty: always null
}

// action is a command that is not one of the verbs.
type action struct {
	words     string // after the kind's: "add subnet"
	under     string // words to be used instead of the kind's
	arguments []string
	short     string
	options   []option
	do        func(*call) error
}

// noun is what messages call an object.
func (k *kind) noun() string { return k.words }

// collection is the path of the kind's objects. Of a sub-collection parent is the id of the object that has it.
func (k *kind) collection(parent string) string {
	if k.d.Below != "" {
		return k.d.Below + "/" + parent + k.d.Path
	}
	return k.d.Path
}

// verbs are the commands that the kind has.
func (k *kind) verbs() verb {
	v := list
	for _, may := range []struct {
		op   schema.Operations
		verb verb
	}{{schema.CanCreate, create}, {schema.CanUpdate, set}, {schema.CanDelete, remove}} {
		if k.d.Operations&may.op != 0 {
			v |= may.verb
		}
	}
	if !k.d.ListOnly {
		v |= show
	}
	if v&set != 0 && (k.d.Tagged || slices.ContainsFunc(k.options, func(o option) bool { return o.verbs&unset != 0 })) {
		v |= unset
	}
	return v &^ k.not
}

// shown are the columns of a single object: those of its attributes, in the order of their titles.
func (k *kind) shown() []column {
	columns := slices.Clone(k.show)
	for _, a := range k.d.Attributes {
		titled := slices.ContainsFunc(k.show, func(c column) bool { return c.attribute == a.Name || c.title == a.Name })
		if titled || a.Name == oldOwner || slices.Contains(k.omit, a.Name) || a.Is(schema.Hidden) {
			continue
		}
		columns = append(columns, column{a.Name, a.Name})
	}
	slices.SortStableFunc(columns, func(a, b column) int { return strings.Compare(a.title, b.title) })
	return columns
}

// oldOwner is the old name of project_id.
const oldOwner = "tenant_id"

// value is what an object has in a column.
func (k *kind) value(o object, c column) any {
	if f := k.computed[c.attribute]; f != nil {
		return f(o)
	}
	v := o[c.attribute]
	if v == nil && slices.Contains(k.objects, c.attribute) {
		return object{}
	}
	if text, ok := v.(string); ok && k.d != nil {
		// Some numbers are texts in the API, for instance the prefix lengths of subnet pools.
		if a := k.d.Attribute(c.attribute); a != nil && a.Type == "integer" {
			if n, err := integer(text); err == nil {
				return n
			}
		}
	}
	return v
}

// rows are the values of objects in columns.
func (k *kind) rows(objects []object, columns []column) [][]any {
	rows := make([][]any, len(objects))
	for i, o := range objects {
		rows[i] = make([]any, len(columns))
		for j, c := range columns {
			rows[i][j] = k.value(o, c)
		}
	}
	return rows
}

// registry is all kinds, by the names of their declarations.
type registry struct {
	kinds  []*kind
	byName map[string]*kind
}

// newRegistry ties the kinds to their declarations. A kind of a declaration that does not exist
// is a mistake in the tables, which a test finds.
func newRegistry() *registry {
	r := &registry{byName: map[string]*kind{}}
	declared := map[string]*schema.Declaration{}
	byPath := map[string]string{}
	for _, d := range schema.All() {
		declared[d.Name] = d
		byPath[d.Path] = d.Name
	}
	for _, k := range slices.Concat(coreKinds(), routerKinds(), securityKinds(), qosKinds(), serviceKinds(), firewallKinds()) {
		if k.d = declared[k.declared]; k.d == nil {
			panic("openstack: nothing is declared as " + k.declared)
		}
		if k.names == "" && k.d.Attribute("name") != nil {
			k.names = "name"
		}
		r.kinds = append(r.kinds, k)
		r.byName[k.declared] = k
	}
	for _, k := range r.kinds {
		if k.d.Below != "" {
			k.parent = r.byName[byPath[k.d.Below]]
		}
	}
	return r
}
