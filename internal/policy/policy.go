// Package policy answers one question: may this caller do this action to this object?
//
// The rules are texts in the language of oslo.policy, which operators of OpenStack know and bring files in. A rule has
// a name, which is either an action of the API (create_network, update_port:mac_address) or a building block that other
// rules refer to (admin_only, network_owner). Its text is made of checks joined by and, or, not and parentheses:
//
//	@                                    always            (so is the empty text)
//	!                                    never
//	rule:admin_only                      whatever that rule says
//	role:member                          the caller holds the role, case does not matter
//	project_id:%(project_id)s            an attribute of the caller equals a field of the object
//	user_id:4f1c…                        … or a fixed text
//	'shared':%(access)s                  a fixed text equals a field of the object
//	field:networks:shared=True           a field of the object has a value
//	field:port:device_owner=~^network:   … or its beginning matches a regular expression (RE2)
//
// The way of a rule: parse.go turns its text into a tree, compile.go the tree into closures, and this file asks them.
// All of it happens once, at start, where every mistake is found: bad grammar, a reference to a rule that does not
// exist, rules that refer to each other in a circle. So asking cannot fail, and what is not known is denied: an action
// without a rule is refused to everybody, administrators too.
//
// The default rules are in defaults.yaml, in the very format in which operators override them.
package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
)

// Target is the object that an action concerns, as the rules see it.
//
// Field returns the text of a field and whether the object has it. Truth values are "true" and "false". Fields of the
// object itself have the names of the API (project_id, shared, device_owner, router:external). Fields of the objects
// above it carry a prefix: network:project_id and network:shared (of the network of a port or subnet),
// security_group:project_id (of a security group's rule), ext_parent:project_id (of the object in whose path a
// sub-resource lives). Rules that say tenant_id are asked as project_id, so a Target need not know the old name.
// "Shared" is meant as seen by the caller: also true where an RBAC policy shares the object with the caller's project.
type Target interface {
	Field(name string) (value string, ok bool)
}

// Options configure New.
type Options struct {
	// Overrides replace default rules by name, and may add building blocks for other overrides to refer to.
	Overrides map[string]string
}

// Policy is the compiled set of rules. It is immutable and safe for concurrent use.
type Policy struct {
	rules map[string]*program
}

// New compiles the default rules with the overrides. The error joins all mistakes, each with the rule's name and the
// column (counted in bytes, from 1) where it is.
func New(o Options) (*Policy, error) {
	texts, err := Defaults()
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(texts))
	for name := range texts {
		known[name] = true
	}
	maps.Copy(texts, o.Overrides)
	p, referenced, err := compile(texts)
	if err != nil {
		return nil, err
	}
	var unused []error
	for _, name := range slices.Sorted(maps.Keys(o.Overrides)) {
		// Most likely a misspelt action. To accept it in silence would leave the default in force unnoticed.
		if !known[name] && !referenced[name] {
			unused = append(unused, fmt.Errorf("policy rule %q: neither an action of the API nor used by another rule", name))
		}
	}
	return p, errors.Join(unused...)
}

// Known says whether there is a rule for the action. Whoever declares actions checks this at start, since an unknown
// action is denied to everybody.
func (p *Policy) Known(action string) bool { return p.rules[action] != nil }

// Allowed says whether the caller may do the action to the target, which may be nil where there is no object. It
// denies an action that has no rule, and a nil caller.
func (p *Policy) Allowed(c *auth.Caller, action string, target Target) bool {
	r := p.rules[action]
	return r != nil && c != nil && r.eval(c, target)
}

// Decision is what a rule says of a caller before the object is known.
type Decision int

// The decisions. The zero value denies.
const (
	Never   Decision = iota // no object is allowed
	Always                  // every object is allowed
	Depends                 // ask Check.Allowed for each object
)

// Check is a rule with all that concerns the caller already decided. The zero value denies everything.
type Check struct {
	decision Decision
	test     func(Target) bool // set if and only if decision is Depends
}

// Bind decides the action for the caller as far as possible without an object. Lists bind once and then ask the Check
// for each object, or for none when Decide already answers.
func (p *Policy) Bind(c *auth.Caller, action string) Check {
	r := p.rules[action]
	if r == nil || c == nil {
		return Check{}
	}
	return r.bind(c)
}

// Decide says what is known without an object.
func (c Check) Decide() Decision { return c.decision }

// Allowed says whether the target, which may be nil, is allowed. It does not allocate.
func (c Check) Allowed(target Target) bool {
	if c.decision == Depends {
		return c.test(target)
	}
	return c.decision == Always
}
