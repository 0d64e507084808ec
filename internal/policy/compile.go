package policy

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
)

// maxCost bounds how many checks one question can lead to, rules that refer to rules counted through. Without it
// twenty short rules, each naming the next one twice, would make a million.
const maxCost = 4096

// program is a compiled rule or a part of one.
type program struct {
	// eval answers for a caller and an object, which may be nil.
	eval func(*auth.Caller, Target) bool
	// bind answers for a caller as far as that goes without the object.
	bind func(*auth.Caller) Check
	// cost is the largest number of checks that eval makes.
	cost int
}

// compiler turns the texts of all rules into programs. A rule is compiled when the first reference needs it.
type compiler struct {
	trees      map[string]*node
	programs   map[string]*program
	errs       map[string]error // the rules that do not compile
	referenced map[string]bool
	path       []string // the rules being compiled, each referred to by the one before
}

// errElsewhere fails a rule that refers to a broken one, which is reported itself.
var errElsewhere = errors.New("refers to a broken rule")

// compile makes a Policy of the rules, and reports the names that rules refer to.
func compile(texts map[string]string) (*Policy, map[string]bool, error) {
	c := &compiler{
		trees:      make(map[string]*node, len(texts)),
		programs:   make(map[string]*program, len(texts)),
		errs:       map[string]error{},
		referenced: map[string]bool{},
	}
	for name, text := range texts {
		tree, err := parse(text)
		if err != nil {
			c.errs[name] = err
		}
		c.trees[name] = tree
	}
	names := slices.Sorted(maps.Keys(texts))
	for _, name := range names {
		c.rule(name)
	}
	var errs []error
	for _, name := range names {
		if err := c.errs[name]; err != nil && !errors.Is(err, errElsewhere) {
			errs = append(errs, fmt.Errorf("policy rule %q: %w", name, err))
		}
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	return &Policy{rules: c.programs}, c.referenced, nil
}

// rule compiles the rule of that name, once. It returns nil, and leaves the reason in errs, if that cannot be done.
func (c *compiler) rule(name string) *program {
	if p := c.programs[name]; p != nil || c.errs[name] != nil {
		return p
	}
	c.path = append(c.path, name)
	p, err := c.node(c.trees[name])
	c.path = c.path[:len(c.path)-1]
	if err != nil {
		c.errs[name] = err
		return nil
	}
	c.programs[name] = p
	return p
}

func (c *compiler) node(n *node) (*program, error) {
	switch n.op {
	case opTrue:
		return constant(true), nil
	case opFalse:
		return constant(false), nil
	case opRule:
		return c.reference(n)
	case opRole:
		return role(n)
	case opField:
		return field(n)
	case opMatch:
		return match(n)
	}
	kids := make([]*program, len(n.kids))
	cost := 0
	for i, kid := range n.kids {
		p, err := c.node(kid)
		if err != nil {
			return nil, err
		}
		kids[i] = p
		cost += p.cost
	}
	if cost > maxCost {
		return nil, mistake(n.column, "leads to more than %d checks", maxCost)
	}
	switch n.op {
	case opNot:
		return not(kids[0]), nil
	case opAnd:
		return list(kids, cost, false), nil
	default:
		return list(kids, cost, true), nil
	}
}

// reference compiles rule:name.
func (c *compiler) reference(n *node) (*program, error) {
	name := n.right
	if _, exists := c.trees[name]; !exists {
		return nil, mistake(n.column, "there is no rule %q", name)
	}
	c.referenced[name] = true
	if at := slices.Index(c.path, name); at >= 0 {
		return nil, mistake(n.column, "the rules refer to each other in a circle: %s",
			strings.Join(append(slices.Clone(c.path[at:]), name), " → "))
	}
	if p := c.rule(name); p != nil {
		return p, nil
	}
	return nil, errElsewhere
}

func constant(value bool) *program {
	return &program{
		eval: func(*auth.Caller, Target) bool { return value },
		bind: func(*auth.Caller) Check { return decided(value) },
		cost: 1,
	}
}

func decided(value bool) Check {
	if value {
		return Check{decision: Always}
	}
	return Check{}
}

func not(p *program) *program {
	return &program{
		eval: func(c *auth.Caller, t Target) bool { return !p.eval(c, t) },
		bind: func(c *auth.Caller) Check {
			inner := p.bind(c)
			if inner.decision != Depends {
				return decided(inner.decision == Never)
			}
			return Check{decision: Depends, test: func(t Target) bool { return !inner.test(t) }}
		},
		cost: p.cost,
	}
}

// list compiles an or (stop is true: the first true kid decides) or an and (stop is false: the first false one does).
func list(kids []*program, cost int, stop bool) *program {
	return &program{
		eval: func(c *auth.Caller, t Target) bool {
			for _, kid := range kids {
				if kid.eval(c, t) == stop {
					return stop
				}
			}
			return !stop
		},
		bind: func(c *auth.Caller) Check {
			var open []func(Target) bool
			for _, kid := range kids {
				switch inner := kid.bind(c); {
				case inner.decision == Depends:
					open = append(open, inner.test)
				case (inner.decision == Always) == stop:
					return decided(stop)
				}
			}
			switch len(open) {
			case 0:
				return decided(!stop)
			case 1:
				return Check{decision: Depends, test: open[0]}
			}
			return Check{decision: Depends, test: func(t Target) bool {
				for _, test := range open {
					if test(t) == stop {
						return stop
					}
				}
				return !stop
			}}
		},
		cost: cost,
	}
}

// compare makes a program of a check that compares one value of the caller, or a fixed one, with a template.
// An empty value of the caller equals nothing: a token without a project owns no object, not even those without owner.
func compare(value func(*auth.Caller) string, want *template) *program {
	if want.fixed() {
		eval := func(c *auth.Caller) bool { v := value(c); return v != "" && want.equals(v, nil) }
		return &program{
			eval: func(c *auth.Caller, _ Target) bool { return eval(c) },
			bind: func(c *auth.Caller) Check { return decided(eval(c)) },
			cost: 1,
		}
	}
	return &program{
		eval: func(c *auth.Caller, t Target) bool { v := value(c); return v != "" && want.equals(v, t) },
		bind: func(c *auth.Caller) Check {
			v := value(c)
			if v == "" {
				return Check{}
			}
			return Check{decision: Depends, test: func(t Target) bool { return want.equals(v, t) }}
		},
		cost: 1,
	}
}

// match compiles attribute:template and 'text':template.
func match(n *node) (*program, error) {
	want, err := parseTemplate(n)
	if err != nil {
		return nil, err
	}
	if q := n.left[0]; q == '\'' || q == '"' {
		text := n.left[1 : len(n.left)-1]
		return compare(func(*auth.Caller) string { return text }, want), nil
	}
	var value func(*auth.Caller) string
	switch n.left {
	case "project_id", "tenant_id":
		value = func(c *auth.Caller) string { return c.ProjectID }
	case "project_name":
		value = func(c *auth.Caller) string { return c.ProjectName }
	case "user_id":
		value = func(c *auth.Caller) string { return c.UserID }
	case "user_name":
		value = func(c *auth.Caller) string { return c.UserName }
	case "domain_id":
		value = func(c *auth.Caller) string { return c.DomainID }
	case "system_scope":
		value = func(c *auth.Caller) string { return c.SystemScope }
	case "is_admin", "True", "False", "None":
		// is_admin:True and True:%(shared)s appear in old files. Truth values are compared as the text that Targets give.
		return truth(n, want), nil
	default:
		// To deny in silence would be wrong under a not.
		return nil, mistake(n.column, "the caller has no attribute %q", n.left)
	}
	return compare(value, want), nil
}

// truth compiles is_admin:… and the literals True, False and None on the left.
func truth(n *node, want *template) *program {
	want.fold = true
	if n.left == "is_admin" {
		return compare(func(c *auth.Caller) string {
			if c.Admin() {
				return "true"
			}
			return "false"
		}, want)
	}
	return compare(func(*auth.Caller) string { return n.left }, want)
}

// role compiles role:template.
func role(n *node) (*program, error) {
	want, err := parseTemplate(n)
	if err != nil {
		return nil, err
	}
	want.fold = true
	holds := func(c *auth.Caller, t Target) bool {
		for _, role := range c.Roles {
			if role != "" && want.equals(role, t) {
				return true
			}
		}
		return false
	}
	return &program{
		eval: holds,
		bind: func(c *auth.Caller) Check {
			if want.fixed() {
				return decided(holds(c, nil))
			}
			return Check{decision: Depends, test: func(t Target) bool { return holds(c, t) }}
		},
		cost: 1,
	}, nil
}

// field compiles field:resource:name=value and field:resource:name=~expression.
func field(n *node) (*program, error) {
	resource, rest, ok := strings.Cut(n.right, ":")
	name, value, ok2 := strings.Cut(rest, "=")
	if !ok || !ok2 || resource == "" || name == "" {
		return nil, mistake(n.column, "expected field:resource:name=value, found field:%s", n.right)
	}
	get := fieldGetter(resource, currentName(name))
	var holds func(string) bool
	switch expression, isRegexp := strings.CutPrefix(value, "~"); {
	case isRegexp:
		// Alone first, so that an unbalanced parenthesis cannot close ours.
		if _, err := regexp.Compile(expression); err != nil {
			return nil, mistake(n.column, "regular expression: %v", err)
		}
		// The match begins where the value begins, as users of oslo.policy expect, and need not reach its end.
		re, err := regexp.Compile(`^(?:` + expression + `)`)
		if err != nil {
			return nil, mistake(n.column, "regular expression: %v", err)
		}
		holds = re.MatchString
	case strings.EqualFold(value, "true"), strings.EqualFold(value, "false"):
		holds = func(v string) bool { return strings.EqualFold(v, value) }
	default:
		holds = func(v string) bool { return v == value }
	}
	test := func(t Target) bool {
		v, ok := get(t)
		return ok && holds(v)
	}
	return &program{
		eval: func(_ *auth.Caller, t Target) bool { return test(t) },
		bind: func(*auth.Caller) Check { return Check{decision: Depends, test: test} },
		cost: 1,
	}, nil
}

// fieldGetter reads a field that belongs to a resource. The rules of ports and subnets also ask field:networks:shared,
// and mean their network's.
func fieldGetter(resource, name string) func(Target) (string, bool) {
	own := func(t Target) (string, bool) {
		if t == nil {
			return "", false
		}
		return t.Field(name)
	}
	if resource != "networks" || name != "shared" {
		return own
	}
	return func(t Target) (string, bool) {
		if v, ok := own(t); ok || t == nil {
			return v, ok
		}
		return t.Field("network:shared")
	}
}

// currentName translates the old name of the owner's field, tenant_id, in whatever object.
func currentName(field string) string {
	if prefix, ok := strings.CutSuffix(field, "tenant_id"); ok && (prefix == "" || strings.HasSuffix(prefix, ":")) {
		return prefix + "project_id"
	}
	return field
}
