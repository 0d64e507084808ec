package openstack

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// find is the id of the object that has the name or id, of the kind that is declared so.
func (c *call) find(declared, ref string) (string, error) {
	if declared == findProject {
		return c.api.findProject(c.ctx, ref)
	}
	k := c.registry.byName[declared]
	o, err := c.api.find(c.ctx, k, "", ref)
	if err != nil {
		return "", err
	}
	return k.id(o), nil
}

// id is the id of an object, by which its path ends.
func (k *kind) id(o object) string {
	for _, name := range []string{"id", "fixed_port_id", "network_id", "type"} {
		if id, ok := o[name].(string); ok {
			return id
		}
	}
	return ""
}

// within resolves the parent that sub-collections have as their first argument, and takes it from the arguments.
func (c *call) within() (parent string, err error) {
	if c.kind.parent == nil {
		return "", nil
	}
	parent, err = c.find(c.kind.parent.declared, c.args[0])
	c.args = c.args[1:]
	return parent, err
}

// put sends a body to an action that answers nothing worth showing.
func (c *call) put(path string, body object) error {
	return c.api.do(c.ctx, http.MethodPut, path, nil, body, nil)
}

// printOne shows an object of the kind.
func (c *call) printOne(o object) error {
	if c.kind.complete != nil {
		if err := c.kind.complete(c, o); err != nil {
			return err
		}
	}
	columns := slices.DeleteFunc(c.kind.shown(), func(col column) bool {
		_, there := o[col.attribute]
		switch {
		case col.attribute == statusReason:
			return o[statusReason] == nil
		case col.attribute == interfacesInfo, slices.Contains(c.kind.seldom, col.attribute):
			return !there
		}
		return false
	})
	return c.printer.one(columns, c.kind.rows([]object{o}, columns)[0])
}

// statusReason is shown where there is one: the openstack command does not know it.
const statusReason = "status_reason"

func runCreate(c *call) error {
	parent, err := c.within()
	if err != nil {
		return err
	}
	for i, a := range c.kind.arguments() {
		switch {
		case a.attribute == "":
		case a.find != "":
			if c.body[a.attribute], err = c.find(a.find, c.args[i]); err != nil {
				return err
			}
		default:
			c.body[a.attribute] = c.args[i]
		}
	}
	if err := c.read(); err != nil {
		return err
	}
	if c.kind.prepare != nil {
		if err := c.kind.prepare(c); err != nil {
			return err
		}
	}
	tags, later := c.values("tag"), true
	if a := c.kind.d.Attribute("tags"); a != nil && a.Is(schema.Post) && len(tags) > 0 {
		c.body["tags"], later = tags, false
	}
	var answer map[string]object
	path := c.kind.collection(parent)
	if err := c.api.do(c.ctx, http.MethodPost, path, nil, object{c.kind.d.Name: c.body}, &answer); err != nil {
		return err
	}
	made := answer[c.kind.d.Name]
	if later && len(tags) > 0 {
		if err := c.putTags(path+"/"+c.kind.id(made), tags); err != nil {
			return err
		}
		made["tags"] = anys(tags)
	}
	return c.printOne(made)
}

// putTags replaces the tags of the object at the path.
func (c *call) putTags(path string, tags []string) error {
	return c.put(path+"/tags", object{"tags": append([]string{}, tags...)})
}

func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

func runList(c *call) error {
	parent, err := c.within()
	if err != nil {
		return err
	}
	if a := c.kind.optionalArgument; a != nil && len(c.args) > 0 {
		id, err := c.find(a.find, c.args[0])
		if err != nil {
			return err
		}
		c.query.Set(a.attribute, id)
	}
	if err := c.read(); err != nil {
		return err
	}
	columns := slices.Clone(c.kind.list)
	if c.given("long") || slices.ContainsFunc(c.kind.longWith, c.given) {
		columns = append(columns, c.kind.long...)
		if c.kind.full != nil {
			columns = c.kind.full
		}
	}
	// What the argument says of every row needs no column.
	if a := c.kind.optionalArgument; a != nil && len(c.args) > 0 {
		columns = slices.DeleteFunc(columns, func(col column) bool { return col.attribute == a.attribute })
	}
	path := c.from
	if path == "" {
		path = c.kind.collection(parent)
		if c.kind.listed == nil {
			c.ask(columns)
		}
	}
	var objects []object
	if err := c.api.list(c.ctx, c.kind.d, path, c.query, &objects); err != nil {
		return err
	}
	if c.kind.listed != nil {
		objects = slices.DeleteFunc(objects, func(o object) bool { return !c.kind.listed(c, o) })
	}
	columns = slices.DeleteFunc(columns, func(col column) bool {
		return slices.Contains(c.kind.seldom, col.attribute) &&
			!slices.ContainsFunc(objects, func(o object) bool { return o[col.attribute] != nil })
	})
	return c.printer.list(columns, c.kind.rows(objects, columns))
}

// ask asks for what the columns show and nothing else, unless some of them are made of other attributes.
func (c *call) ask(columns []column) {
	if slices.ContainsFunc(columns, func(col column) bool { return c.kind.computed[col.attribute] != nil }) {
		return
	}
	for _, col := range columns {
		if c.kind.d.Attribute(col.attribute) != nil {
			c.query.Add("fields", col.attribute)
		}
	}
}

func runShow(c *call) error {
	parent, err := c.within()
	if err != nil {
		return err
	}
	o, err := c.api.find(c.ctx, c.kind, parent, c.args[0])
	if err != nil {
		return err
	}
	return c.printOne(o)
}

func runSet(c *call) error   { return c.change(changeTags) }
func runUnset(c *call) error { return c.change(takeTags) }

// change is what set and unset have in common: they find the object, send what has to become of its attributes, and do
// the actions that its lists need.
func (c *call) change(tags func(c *call, path string) error) error {
	parent, err := c.within()
	if err != nil {
		return err
	}
	if c.object, err = c.api.find(c.ctx, c.kind, parent, c.args[0]); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	if c.kind.prepare != nil {
		if err := c.kind.prepare(c); err != nil {
			return err
		}
	}
	path := c.kind.collection(parent) + "/" + c.kind.id(c.object)
	if len(c.body) > 0 {
		if err := c.put(path, object{c.kind.d.Name: c.body}); err != nil {
			return err
		}
	}
	if err := c.changeLists(path); err != nil {
		return err
	}
	if !c.kind.d.Tagged {
		return nil
	}
	return tags(c, path)
}

// changeLists does the actions that add to lists and remove from them.
func (c *call) changeLists(path string) error {
	for i := range c.options {
		o := &c.options[i]
		name := map[verb]string{set: o.add, unset: o.remove}[c.verb]
		if name == "" || !c.given(o.name) {
			continue
		}
		v, err := c.value(o)
		if err != nil {
			return fmt.Errorf("--%s: %w", o.name, err)
		}
		if err := c.put(path+"/"+name, object{o.attribute: v}); err != nil {
			return err
		}
	}
	return nil
}

// changeTags adds tags; with --no-tag it replaces them.
func changeTags(c *call, path string) error {
	if !c.given("tag") && !c.given("no-tag") {
		return nil
	}
	tags := c.values("tag")
	if !c.given("no-tag") {
		tags = append(c.tags(), tags...)
	}
	slices.Sort(tags)
	return c.putTags(path, slices.Compact(tags))
}

// takeTags removes tags.
func takeTags(c *call, path string) error {
	if !c.given("tag") && !c.given("all-tag") {
		return nil
	}
	left := c.tags()
	for _, tag := range c.values("tag") {
		i := slices.Index(left, tag)
		if i < 0 {
			return fmt.Errorf("the %s %q has no tag %q", c.kind.noun(), c.args[0], tag)
		}
		left = slices.Delete(left, i, i+1)
	}
	if c.given("all-tag") {
		left = nil
	}
	return c.putTags(path, left)
}

// tags are those that the object has.
func (c *call) tags() (tags []string) {
	items, _ := c.object["tags"].([]any)
	for _, item := range items {
		tags = append(tags, fmt.Sprint(item))
	}
	return tags
}

// runDelete deletes all objects that it can, and says of the others why it could not.
func runDelete(c *call) error {
	parent, err := c.within()
	if err != nil {
		return err
	}
	failed := 0
	for _, ref := range c.args {
		if err := c.deleteOne(parent, ref); err != nil {
			failed++
			if len(c.args) == 1 {
				return err
			}
			fmt.Fprintf(c.cmd.ErrOrStderr(), "%s %q: %s\n", c.kind.noun(), ref, err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d %s could not be deleted", failed, len(c.args), plural(c.kind.noun()))
	}
	return nil
}

func (c *call) deleteOne(parent, ref string) error {
	o, err := c.api.find(c.ctx, c.kind, parent, ref)
	if err != nil {
		return err
	}
	return c.api.do(c.ctx, http.MethodDelete, c.kind.collection(parent)+"/"+c.kind.id(o), nil, nil, nil)
}

// list fetches the objects of a collection, page by page where the service says that there are more.
func (s *session) list(
	ctx context.Context, d *schema.Declaration, path string, query url.Values, into *[]object,
) error {
	for {
		var answer map[string]any
		if err := s.do(ctx, http.MethodGet, path, query, nil, &answer); err != nil {
			return err
		}
		items, ok := answer[d.Plural].([]any)
		if !ok {
			return fmt.Errorf("the answer of %s has no %s", path, d.Plural)
		}
		for _, item := range items {
			if o, ok := item.(object); ok {
				*into = append(*into, o)
			}
		}
		next := nextPage(answer[d.Plural+"_links"])
		if next == "" || len(items) == 0 {
			return nil
		}
		u, err := url.Parse(next)
		if err != nil {
			return fmt.Errorf("the link to the next page: %w", err)
		}
		query = u.Query()
	}
}

// nextPage is the link to the next page of a list, if there is one.
func nextPage(links any) string {
	items, _ := links.([]any)
	for _, item := range items {
		if link, ok := item.(object); ok && link["rel"] == "next" {
			return strings.TrimSpace(fmt.Sprint(link["href"]))
		}
	}
	return ""
}
