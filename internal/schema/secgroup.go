package schema

import (
	"iter"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

func groupMeta(g *model.SecurityGroup) *model.Meta { return &g.Meta }

// SecurityGroup declares the security groups of the API.
var SecurityGroup = (&Resource[model.SecurityGroup]{
	Name: "security_group", Plural: "security_groups", Kind: "SecurityGroup", Path: "/security-groups",
	Extension:  "security-group",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Quota:      "security_group",
	Virtual:    tagFilters(groupMeta, map[string]func(*model.SecurityGroup, string) bool{}),
	Attributes: slices.Concat(
		nameAs(identity(groupMeta), groupName(), func(g *model.SecurityGroup) *string { return &g.Name }),
		[]*Attribute[model.SecurityGroup]{
			attribute("stateful", Post|Put|shows, boolean(), func(g *model.SecurityGroup) *bool { return &g.Stateful },
				extension("stateful-security-group"), byDefault(true),
				help("Whether answers to allowed traffic pass, too.")),
			computed("shared", shows, boolean(), func(g *model.SecurityGroup) bool { return g.Shared },
				extension("security-groups-shared-filtering"), help("Whether it is shared with other projects, or with yours.")),
			computed("security_group_rules", 0, embedded(func() *Resource[model.SecurityGroupRule] { return SecurityGroupRule }),
				func(g *model.SecurityGroup) iter.Seq[*model.SecurityGroupRule] { return g.Rules },
				help("Its rules.")),
		},
		standard(groupMeta),
	),
}).ready()

// nameAs replaces how the name is validated.
func nameAs[T any](attributes []*Attribute[T], c codec[string], ref func(*T) *string) []*Attribute[T] {
	for i, a := range attributes {
		if a.Name == "name" {
			attributes[i] = attribute("name", a.Access, c, ref, help(a.Help))
		}
	}
	return attributes
}

// groupName is any name but that of the default groups, which are not made by clients.
func groupName() codec[string] {
	c := text(255)
	parse := c.parse
	c.parse = func(raw any) (string, error) {
		name, err := parse(raw)
		if err == nil && strings.EqualFold(name, model.DefaultGroupName) {
			err = fault.New(fault.Conflict, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
		}
		return name, err
	}
	return c
}

// embedded shows objects of another resource inside of this one, in full. The resource is asked for when it is needed,
// since declarations are made in any order.
func embedded[T any](resource func() *Resource[T]) codec[iter.Seq[*T]] {
	c := codec[iter.Seq[*T]]{
		shape: anArray(anObject()),
		append: func(b []byte, objs iter.Seq[*T]) []byte {
			b = append(b, '[')
			if objs == nil {
				return append(b, ']')
			}
			first := true
			for obj := range objs {
				if !first {
					b = append(b, ',')
				}
				first = false
				b = resource().append(b, obj)
			}
			return append(b, ']')
		},
	}
	c.text = func(objs iter.Seq[*T]) string { return string(c.append(nil, objs)) }
	c.compare = func(x, y iter.Seq[*T]) int { return strings.Compare(c.text(x), c.text(y)) }
	return c
}

// append appends all attributes of an object that are not hidden, as JSON.
func (r *Resource[T]) append(b []byte, obj *T) []byte {
	b = append(b, '{')
	empty := true
	for _, a := range r.Attributes {
		if a.Is(Hidden) {
			continue
		}
		if !empty {
			b = append(b, ',')
		}
		empty = false
		b = a.Append(append(appendString(b, a.Name), ':'), obj)
	}
	return append(b, '}')
}
