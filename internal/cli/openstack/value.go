package openstack

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// read turns the options into the body and the query.
func (c *call) read() error {
	for i := range c.options {
		o := &c.options[i]
		if o.attribute == "" && o.from == "" {
			continue // prepare's
		}
		var err error
		switch c.verb {
		case list:
			err = c.readFilter(o)
		case unset:
			err = c.readUnset(o)
		default:
			err = c.readAttribute(o)
		}
		if err != nil {
			return fmt.Errorf("--%s: %w", o.name, err)
		}
	}
	return nil
}

// readAttribute reads an option of create and set.
func (c *call) readAttribute(o *option) error {
	if c.verb == set && o.add != "" {
		return nil // an action's: see changeLists
	}
	off := o.off != "" && c.given(o.off)
	switch {
	case o.toggle():
		if off || c.given(o.name) {
			c.body[o.attribute] = !off
		}
		return nil
	case o.sets != nil:
		if c.given(o.name) {
			c.body[o.attribute] = o.sets
		}
		return nil
	case !off && !c.givenOption(o):
		return nil
	case o.typ == "object":
		v, err := mergeObject(c.before(o, off), c.values(o.name))
		c.body[o.attribute] = v
		return err
	case !o.many && off:
		c.body[o.attribute] = nil
		return nil
	}
	v, err := c.value(o)
	if err != nil {
		return err
	}
	if given, ok := v.([]any); ok {
		v = c.joined(o, given, off)
	}
	c.body[o.attribute] = v
	return nil
}

// before is what set starts from: the object's own value, unless off has said that there is nothing to keep.
func (c *call) before(o *option, off bool) object {
	if before, ok := c.object[o.attribute].(object); ok && !off {
		return before
	}
	return object{}
}

// joined is a list that set has added to.
func (c *call) joined(o *option, given []any, off bool) []any {
	if given == nil {
		given = []any{}
	}
	before, _ := c.object[o.attribute].([]any)
	switch {
	case off || o.whole || len(before) == 0:
		return given
	case o.first:
		return without(append(given, before...), nil)
	}
	return without(append(slices.Clone(before), given...), nil)
}

// without is the list without the items, and without those that come twice.
func without(items, gone []any) []any {
	var out []any
	for _, item := range items {
		if !slices.ContainsFunc(gone, func(g any) bool { return covers(g, item) }) &&
			!slices.ContainsFunc(out, func(o any) bool { return compact(o) == compact(item) }) {
			out = append(out, item)
		}
	}
	if out == nil {
		out = []any{}
	}
	return out
}

// covers says whether an item is the one that was named: of objects, only the members that were named count.
func covers(named, item any) bool {
	n, ok := named.(object)
	i, also := item.(object)
	if !ok || !also {
		return compact(named) == compact(item)
	}
	for key, v := range n {
		if compact(i[key]) != compact(v) {
			return false
		}
	}
	return true
}

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// readUnset reads an option of unset: what it names is taken from a list, or the attribute becomes null.
func (c *call) readUnset(o *option) error {
	if !c.given(o.name) || o.remove != "" {
		return nil
	}
	if o.sets != nil {
		c.body[o.attribute] = o.sets
		return nil
	}
	if o.typ == "object" {
		kept := c.before(o, false)
		for _, key := range c.values(o.name) {
			if _, ok := kept[key]; !ok {
				return fmt.Errorf("it has no %q", key)
			}
			delete(kept, key)
		}
		c.body[o.attribute] = kept
		return nil
	}
	if !o.many {
		c.body[o.attribute] = nil
		return nil
	}
	v, err := c.value(o)
	if err != nil {
		return err
	}
	gone, _ := v.([]any)
	before, _ := c.object[o.attribute].([]any)
	for i, g := range gone {
		if !slices.ContainsFunc(before, func(item any) bool { return covers(g, item) }) {
			return fmt.Errorf("it has no %q", c.values(o.name)[i])
		}
	}
	c.body[o.attribute] = without(before, gone)
	return nil
}

// readFilter reads an option of list.
func (c *call) readFilter(o *option) error {
	switch {
	case o.toggle():
		if off := c.given(o.off); off || c.given(o.name) {
			c.query.Set(o.attribute, strconv.FormatBool(!off))
		}
		return nil
	case !c.givenOption(o):
		if o.byDefault != "" {
			c.query.Set(o.attribute, o.byDefault)
		}
		return nil
	case o.sets != nil:
		c.query.Set(o.attribute, fmt.Sprint(o.sets))
		return nil
	}
	v, err := c.value(o)
	if err != nil {
		return err
	}
	if o.from != "" {
		c.from = strings.ReplaceAll(o.from, "{}", fmt.Sprint(v))
		return nil
	}
	values, ok := v.([]any)
	if !ok {
		values = []any{v}
	}
	for _, v := range values {
		members, ok := v.(object)
		if !ok {
			c.query.Add(o.attribute, fmt.Sprint(v))
		}
		for name, v := range members {
			c.query.Add(o.attribute, name+"="+fmt.Sprint(v))
		}
	}
	return nil
}

// option is the value of an option that prepare reads itself; nil: it was not given.
func (c *call) option(name string) (any, error) {
	for i := range c.options {
		if o := &c.options[i]; o.name == name && c.givenOption(o) && o.takesValue(c.verb) {
			v, err := c.value(o)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", name, err)
			}
			return v, nil
		}
	}
	return nil, nil
}

// value is the JSON value of an option: a list where it may be given several times.
func (c *call) value(o *option) (any, error) {
	texts := c.values(o.name)
	if !o.many {
		return c.single(o, texts[len(texts)-1])
	}
	var list []any
	for _, t := range texts {
		v, err := c.single(o, t)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// single is the JSON value of one text.
func (c *call) single(o *option, text string) (any, error) {
	switch {
	case o.as != nil:
		if v, ok := o.as[text]; ok {
			return v, nil
		}
		return nil, fmt.Errorf("%q is not one of %s", text, strings.Join(o.values, ", "))
	case o.pairs != nil:
		return c.readPairs(o.pairs, text)
	case o.find != "" && o.member != "":
		id, err := c.find(o.find, text)
		return object{o.member: id}, err
	case o.find != "":
		return c.find(o.find, text)
	case o.typ == "integer":
		return integer(text)
	case o.block:
		if ip, err := netip.ParseAddr(text); err == nil {
			return netip.PrefixFrom(ip, ip.BitLen()).String(), nil
		}
	}
	return text, nil
}

// empty says whether a value is nothing, or has nothing in it.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case object:
		return len(v) == 0
	}
	return false
}

// integer checks that a text is a whole number, of any size.
func integer(text string) (json.Number, error) {
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return "", fmt.Errorf("%q is not a whole number", text)
	}
	return json.Number(text), nil
}

// readPairs reads subnet=blue,ip-address=10.0.0.7. A comma before something that is none of the keys belongs to the
// value,
// as in name=domain-search,value=a.example,b.example.
func (c *call) readPairs(pairs []pair, text string) (object, error) {
	keys := make([]string, len(pairs))
	for i, p := range pairs {
		keys[i] = p.key
	}
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		key, _, _ := strings.Cut(part, "=")
		if slices.Contains(keys, key) && strings.Contains(part, "=") || len(parts) == 0 {
			parts = append(parts, part)
		} else {
			parts[len(parts)-1] += "," + part
		}
	}
	out := object{}
	for _, part := range parts {
		key, v, ok := strings.Cut(part, "=")
		i := slices.Index(keys, key)
		if !ok || i < 0 {
			return nil, fmt.Errorf("%q is not of the form KEY=VALUE, with a key out of %s", part, strings.Join(keys, ", "))
		}
		p := pairs[i]
		var value any = v
		var err error
		if p.find != "" {
			value, err = c.find(p.find, v)
		} else if p.integer {
			value, err = integer(v)
		}
		if err != nil {
			return nil, err
		}
		if p.member == "" {
			p.member = p.key
		}
		out[p.member] = value
	}
	for _, p := range pairs {
		member := p.member
		if member == "" {
			member = p.key
		}
		if _, ok := out[member]; p.required && !ok {
			return nil, fmt.Errorf("%q has no %s=", text, p.key)
		}
	}
	return out, nil
}

// mergeObject adds texts that are a JSON object or KEY=VALUE to an object.
func mergeObject(into object, texts []string) (object, error) {
	for _, text := range texts {
		var given object
		if err := decode(strings.NewReader(text), &given); err == nil {
			for k, v := range given {
				into[k] = v
			}
			continue
		}
		key, v, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%q is neither KEY=VALUE nor a JSON object", text)
		}
		into[key] = v
	}
	return into, nil
}
