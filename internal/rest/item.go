package rest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// show handles GET of an object.
func (c *collection[T]) show(q *request) error {
	params, err := parseQuery(q.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := c.scope(c.api.opts.Store.Read(), q)
	if err != nil {
		return err
	}
	obj, err := s.get(q.PathValue("id"))
	if err != nil {
		return err
	}
	s.viewer(values(params, "fields")).answerOne(q, http.StatusOK, obj)
	return nil
}

// update handles PUT of an object.
func (c *collection[T]) update(q *request) error {
	body, err := q.object()
	if err != nil {
		return err
	}
	items, _, err := bodies(body, c.Resource.Name, c.Resource.Plural, false)
	if err != nil {
		return err
	}
	raw := items[0]
	if err := checkOwner(q.caller, raw); err != nil {
		return err
	}
	// What is wrong whatever the object is, is found without bothering the writer.
	given, err := c.Resource.Decode(new(T), raw, schema.Update)
	if err != nil {
		return err
	}
	revision, err := ifMatch(q.Header)
	if err != nil {
		return err
	}
	demand := c.updating(raw, given)
	id := q.PathValue("id")
	var updated *T
	_, err = c.api.opts.Store.Update(q.Context(), func(tx *state.Tx) error {
		s, err := c.scope(tx, q)
		if err != nil {
			return err
		}
		old, ok := s.find(id)
		if !ok {
			return c.missing(id)
		}
		obj := c.Clone(old)
		if _, err := c.Resource.Decode(obj, raw, schema.Update); err != nil {
			return err
		}
		if err := s.mayChange(demand, id, old, obj); err != nil {
			return err
		}
		if err := revision.check(meta(old).RevisionNumber); err != nil {
			return err
		}
		if err := c.Rules.Update(tx, q.caller, old, obj, given); err != nil {
			return err
		}
		if updated, ok = c.Table.Get(tx, meta(obj).ID); !ok {
			return c.missing(id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s, err := c.scope(c.api.opts.Store.Read(), q)
	if err != nil {
		return err
	}
	s.viewer(nil).answerOne(q, http.StatusOK, s.as(updated))
	return nil
}

// delete handles DELETE of an object.
func (c *collection[T]) delete(q *request) error {
	if q.ContentLength != 0 {
		return badRequest("Request body is not supported in DELETE.")
	}
	revision, err := ifMatch(q.Header)
	if err != nil {
		return err
	}
	demand := &demand{}
	demand.add(c.actions.delete)
	id := q.PathValue("id")
	_, err = c.api.opts.Store.Update(q.Context(), func(tx *state.Tx) error {
		s, err := c.scope(tx, q)
		if err != nil {
			return err
		}
		obj, ok := s.find(id)
		if !ok {
			return c.missing(id)
		}
		if err := s.mayChange(demand, id, obj, obj); err != nil {
			return err
		}
		if err := revision.check(meta(obj).RevisionNumber); err != nil {
			return err
		}
		return c.Rules.Delete(tx, q.caller, obj)
	})
	if err != nil {
		return err
	}
	q.nothing()
	return nil
}

// constraint is the revision number that an object must have to be changed.
type constraint struct {
	number int64
	set    bool
}

func (m constraint) check(current int64) error {
	if !m.set || m.number == current {
		return nil
	}
	return fault.New(fault.Precondition, "RevisionNumberConstraintFailed",
		"Constrained to %d, but current revision is %d", m.number, current)
}

// ifMatch reads If-Match: revision_number=N. Other entity tags are ignored, since there are none.
func ifMatch(h http.Header) (m constraint, err error) {
	const prefix = "revision_number="
	for _, line := range h.Values("If-Match") {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
			text, ok := strings.CutPrefix(tag, prefix)
			if !ok {
				continue
			}
			if m.set {
				return m, badIfMatch("Multiple revision_number etags are not supported.")
			}
			if m.number, err = strconv.ParseInt(text, 10, 64); err != nil {
				return m, badIfMatch("Revision number etag must be in the format of revision_number=<int>")
			}
			m.set = true
		}
	}
	return m, nil
}

func badIfMatch(why string) error {
	return fault.New(fault.Invalid, "BadRequest", "Bad if-match request: %s.", why)
}
