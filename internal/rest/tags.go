package rest

import (
	"net/http"
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// The tags of an object are a sub-resource: /v2.0/networks/<id>/tags and /v2.0/networks/<id>/tags/<tag>. Each operation
// asks for a policy rule of its own on the object (update_network:tags), and an object that the caller may not see has
// no tags for it.

// listTags handles GET of the tags.
func (c *collection[T]) listTags(q *request) error {
	tags, err := c.readTags(q)
	if err != nil {
		return err
	}
	return q.answerValue(http.StatusOK, map[string][]string{"tags": append([]string{}, tags...)})
}

// hasTag handles GET of a tag.
func (c *collection[T]) hasTag(q *request) error {
	tags, err := c.readTags(q)
	if err != nil {
		return err
	}
	if tag := q.PathValue("tag"); !slices.Contains(tags, tag) {
		return missingTag(tag)
	}
	q.nothing()
	return nil
}

// replaceTags handles PUT of the tags.
func (c *collection[T]) replaceTags(q *request) error {
	return c.putTags(q, c.actions.updateTags, func(_, wanted []string) []string { return wanted })
}

// addTags handles POST of the tags.
func (c *collection[T]) addTags(q *request) error {
	return c.putTags(q, c.actions.createTags, func(old, wanted []string) []string {
		for _, tag := range wanted {
			if !slices.Contains(old, tag) {
				old = append(old, tag)
			}
		}
		return old
	})
}

// putTags reads tags from the body, and answers with them.
func (c *collection[T]) putTags(q *request, action string, change func(old, wanted []string) []string) error {
	body, err := q.object()
	if err != nil {
		return err
	}
	raw, ok := body["tags"]
	if !ok {
		return fault.Operation("Invalid tags body")
	}
	wanted, err := schema.ParseTags(raw)
	if err != nil {
		return fault.Operation("%s", err)
	}
	err = c.writeTags(q, action, func(old []string) ([]string, error) { return change(old, wanted), nil })
	if err != nil {
		return err
	}
	return q.answerValue(http.StatusOK, map[string][]string{"tags": append([]string{}, wanted...)})
}

// addTag handles PUT of a tag.
func (c *collection[T]) addTag(q *request) error {
	tag := q.PathValue("tag")
	if _, err := schema.ParseTags([]any{tag}); err != nil {
		return fault.Operation("%s", err)
	}
	err := c.writeTags(q, c.actions.updateTags, func(tags []string) ([]string, error) {
		if slices.Contains(tags, tag) {
			return tags, nil
		}
		return append(tags, tag), nil
	})
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Length", "0")
	q.w.WriteHeader(http.StatusCreated)
	return nil
}

// removeTag handles DELETE of a tag.
func (c *collection[T]) removeTag(q *request) error {
	tag := q.PathValue("tag")
	err := c.writeTags(q, c.actions.deleteTags, func(tags []string) ([]string, error) {
		i := slices.Index(tags, tag)
		if i < 0 {
			return nil, missingTag(tag)
		}
		return slices.Delete(tags, i, i+1), nil
	})
	if err != nil {
		return err
	}
	q.nothing()
	return nil
}

// removeTags handles DELETE of the tags.
func (c *collection[T]) removeTags(q *request) error {
	err := c.writeTags(q, c.actions.deleteTags, func([]string) ([]string, error) { return nil, nil })
	if err != nil {
		return err
	}
	q.nothing()
	return nil
}

func missingTag(tag string) error {
	return fault.New(fault.NotFound, "TagNotFound", "Tag %s could not be found.", quoted(tag))
}

// tagged returns the object of the path, if the caller may see it and do the action.
func (c *collection[T]) tagged(r state.Reader, q *request, action string) (*T, error) {
	s, err := c.scope(r, q)
	if err != nil {
		return nil, err
	}
	id := q.PathValue("id")
	obj, ok := s.find(id)
	if !ok || !s.may(c.actions.get, s.as(obj)) {
		return nil, fault.New(fault.NotFound, "TagResourceNotFound", "Resource %s %s could not be found.",
			c.Resource.Plural, quoted(id))
	}
	d := &demand{}
	d.add(action)
	if !s.met(d, s.as(obj)) {
		return nil, forbidden(d)
	}
	return obj, nil
}

func (c *collection[T]) readTags(q *request) ([]string, error) {
	obj, err := c.tagged(c.api.opts.Store.Read(), q, c.actions.getTags)
	if err != nil {
		return nil, err
	}
	return meta(obj).Tags, nil
}

// writeTags changes the tags of the object in a transaction. change is given a copy. Tags mean nothing to the rules,
// so that they are not asked.
func (c *collection[T]) writeTags(q *request, action string, change func(tags []string) ([]string, error)) error {
	_, err := c.api.opts.Store.Update(q.Context(), func(tx *state.Tx) error {
		old, err := c.tagged(tx, q, action)
		if err != nil {
			return err
		}
		obj := c.Clone(old)
		tags, err := change(meta(obj).Tags)
		if err != nil {
			return err
		}
		if len(tags) > schema.MaxTags {
			return fault.New(fault.Invalid, "BadRequest", "Bad %s request: The number of tags exceed the per-resource "+
				"limit of %d.", c.Resource.Plural, schema.MaxTags)
		}
		if slices.Equal(tags, meta(old).Tags) {
			return nil
		}
		meta(obj).Tags = tags
		c.Table.Put(tx, obj)
		return nil
	})
	return err
}
