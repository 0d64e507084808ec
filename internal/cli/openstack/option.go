package openstack

import (
	"maps"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// option is an option of one or several verbs. What is left empty is derived from its attribute.
type option struct {
	name      string // without the dashes
	alias     string // another name
	attribute string // empty: only the kind's prepare knows what it is for
	// off is the option that says the opposite: false, null, or that a list is empty.
	off string
	// sets is the value that the option stands for; the option itself takes none.
	sets any
	// find is the declaration of the objects of which the value is a name or an id; see also findProject.
	find string
	// member is the member of an object that holds the value: {"port_id": …}.
	member string
	// block says that the value is an address block; an address stands for the block that has only it.
	block bool
	// pairs are the keys of a value like subnet=blue,ip-address=10.0.0.7.
	pairs []pair
	// many says that it may be given several times. set adds to what is there, after it or, with first, before it; with
	// whole, it sends what is given and nothing else.
	many, first, whole bool
	// add and remove are actions of the object with which set and unset change the list, instead of sending it as a whole.
	add, remove string
	// verbs are those that have it. Default: what the attribute's declaration allows.
	verbs, required verb
	// optional says that prepare has a value for what the declaration wants to be given.
	optional bool
	// from is the path of another list, in which {} stands for the value: agents/{}/dhcp-networks. For list only.
	from   string
	values []string
	// byDefault is the value that list asks for when none is given.
	byDefault string
	// as are the values that the API has for people's words; nil: they are the same.
	as   map[string]any
	help string

	typ string // of the attribute: string, boolean, integer, array, object
}

// pair is a key of a value like subnet=blue,ip-address=10.0.0.7.
type pair struct {
	key      string
	member   string // of the JSON object. Default: the key
	find     string
	required bool
	integer  bool
}

// findProject is the find of names and ids of projects, which are the identity service's.
const findProject = "project"

// spellings are the client's words for attributes that several kinds have.
var spellings = map[string]option{
	"admin_state_up":          {name: "enable", off: "disable"},
	"enabled":                 {name: "enable", off: "disable"},
	"shared":                  {name: "share", off: "no-share"},
	"is_default":              {name: "default", off: "no-default"},
	"port_security_enabled":   {name: "enable-port-security", off: "disable-port-security"},
	"project_id":              {name: "project", find: findProject},
	"qos_policy_id":           {name: "qos-policy", off: "no-qos-policy", find: "policy"},
	"network_id":              {name: "network", find: "network"},
	"port_id":                 {name: "port", find: "port"},
	"router_id":               {name: "router", find: "router"},
	"address_scope_id":        {name: "address-scope", off: "no-address-scope", find: "address_scope"},
	"subnetpool_id":           {name: "subnet-pool", find: "subnetpool"},
	"subnet_id":               {name: "subnet", find: "subnet"},
	"floating_network_id":     {name: "network", find: "network"},
	"flavor_id":               {name: "flavor", find: "flavor"},
	"remote_group_id":         {name: "remote-group", find: "security_group"},
	"remote_address_group_id": {name: "remote-address-group", find: "address_group"},
	"availability_zone_hints": {name: "availability-zone-hint"},
	"ingress_firewall_policy_id": {
		name: "ingress-firewall-policy", off: "no-ingress-firewall-policy", find: "firewall_policy",
	},
	"egress_firewall_policy_id": {
		name: "egress-firewall-policy", off: "no-egress-firewall-policy", find: "firewall_policy",
	},
}

// unspelt are the attributes that are never given: what the service says by itself, the old name of project_id, and
// tags,
// which have options of their own.
var unspelt = []string{"id", oldOwner, "tags", "created_at", "updated_at", "revision_number"}

// derive completes the options of the kind, and adds one for each attribute that has none.
func (k *kind) derive(r *registry) {
	spelt := map[string]bool{}
	for i := range k.options {
		o := &k.options[i]
		spelt[o.attribute] = true
		o.completeFrom(k.d.Attribute(o.attribute))
		if o.find != "" && o.find != findProject && r.byName[o.find] == nil {
			panic("openstack: " + k.words + ": --" + o.name + " finds " + o.find + ", which is no kind")
		}
	}
	positional := map[string]bool{}
	for _, a := range k.arguments() {
		positional[a.attribute] = true
	}
	for _, a := range k.d.Attributes {
		if spelt[a.Name] || slices.Contains(unspelt, a.Name) || slices.Contains(k.without, a.Name) {
			continue
		}
		o := spellings[a.Name]
		o.attribute = a.Name
		o.completeFrom(a)
		if positional[a.Name] {
			o.verbs &^= create
			o.required &^= create
		}
		if o.verbs != 0 {
			k.options = append(k.options, o)
		}
	}
	// The parents are where they are, and cannot be filtered by.
	if k.d.Below != "" {
		for i := range k.options {
			if k.options[i].find == findProject {
				k.options[i].verbs &^= list
			}
		}
	}
}

// arguments are the arguments of create.
func (k *kind) arguments() []argument {
	if k.create != nil {
		return k.create
	}
	if a := k.d.Attribute("name"); a != nil && a.Is(schema.Post) {
		return []argument{{label: "name", attribute: "name"}}
	}
	return nil
}

// completeFrom fills in what the declaration of the attribute says, where there is one.
func (o *option) completeFrom(a *schema.Common) {
	if a == nil {
		return
	}
	o.typ = a.Type
	if o.name == "" {
		o.name = strings.NewReplacer("_", "-", ":", "-").Replace(a.Name)
		if a.Type == "array" {
			o.name = strings.TrimSuffix(o.name, "s")
		}
	}
	if o.help == "" {
		o.help = a.Help
	}
	if o.values == nil && o.as != nil {
		o.values = slices.Sorted(maps.Keys(o.as))
	}
	if o.values == nil {
		o.values = slices.DeleteFunc(slices.Clone(a.Enum), func(v string) bool { return v == "" })
	}
	o.many = o.many || a.Type == "array"
	if o.off == "" && o.sets == nil && (a.Type == "boolean" || o.many) {
		o.off = "no-" + o.name
	}
	if o.verbs == 0 {
		o.verbs = o.allowed(a)
	}
	if a.Required && o.sets == nil && !o.optional {
		o.required |= create & o.verbs
	}
}

// allowed are the verbs that the declaration allows.
func (o *option) allowed(a *schema.Common) (v verb) {
	if a.Is(schema.Post) {
		v |= create
	}
	if a.Is(schema.Put) {
		v |= set
		if o.many || o.find != "" && o.find != findProject {
			v |= unset
		}
	}
	if a.Is(schema.Filter) {
		v |= list
	}
	return v
}

// toggle says whether the option and its off are a boolean.
func (o *option) toggle() bool { return o.typ == "boolean" && o.sets == nil }

// takesValue says whether the option has a value in the verb.
func (o *option) takesValue(v verb) bool {
	return o.sets == nil && !o.toggle() && (v != unset || o.many || o.typ == "object")
}
