package rest

import (
	"fmt"
	"net/http"

	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// draft is an object to be made: the transaction works on clones of it, since it may run more than once.
type draft[T any] struct {
	obj    *T
	given  schema.Given
	demand *demand
}

// create handles POST of a collection. Of several objects all are made or none.
func (c *collection[T]) create(q *request) error {
	body, err := q.object()
	if err != nil {
		return err
	}
	items, isList, err := bodies(body, c.Resource.Name, c.Resource.Plural, c.Resource.Operations&schema.CanBulk != 0)
	if err != nil {
		return err
	}
	drafts := make([]draft[T], len(items))
	for i, item := range items {
		if drafts[i], err = c.draft(q, item); err != nil {
			return err
		}
	}
	if err := c.checkBulk(drafts); err != nil {
		return err
	}
	var made []*T
	_, err = c.api.opts.Store.Update(q.Context(), func(tx *state.Tx) (err error) {
		made, err = c.make(tx, q, drafts)
		return err
	})
	if err != nil {
		return err
	}
	s, err := c.scope(c.api.opts.Store.Read(), q)
	if err != nil {
		return err
	}
	for i := range made {
		made[i] = s.as(made[i])
	}
	v := s.viewer(nil)
	if isList {
		v.answerList(q, http.StatusCreated, made, nil)
	} else {
		v.answerOne(q, http.StatusCreated, made[0])
	}
	return nil
}

// draft validates the attributes of one object.
func (c *collection[T]) draft(q *request, raw map[string]any) (d draft[T], err error) {
	if err := checkOwner(q.caller, raw); err != nil {
		return d, err
	}
	d.obj = new(T)
	if d.given, err = c.Resource.Decode(d.obj, raw, schema.Create); err != nil {
		return d, err
	}
	if !d.given.Any("project_id", "tenant_id") && c.Resource.Attribute("project_id") != nil {
		if q.caller.ProjectID == "" {
			return d, badRequest("Running without a project requires that project_id is specified")
		}
		meta(d.obj).ProjectID = q.caller.ProjectID
	}
	d.demand = c.creating(d.obj, raw, d.given)
	return d, nil
}

// checkBulk asks the rules about several objects together.
func (c *collection[T]) checkBulk(drafts []draft[T]) error {
	rules, ok := c.Rules.(BulkRules[T])
	if !ok || len(drafts) < 2 {
		return nil
	}
	objs := make([]*T, len(drafts))
	for i := range drafts {
		objs[i] = drafts[i].obj
	}
	return rules.CheckBulk(objs)
}

// make is the transaction of create.
func (c *collection[T]) make(tx *state.Tx, q *request, drafts []draft[T]) ([]*T, error) {
	s, err := c.scope(tx, q)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(drafts))
	for i, d := range drafts {
		obj := c.Clone(d.obj)
		m := meta(obj)
		m.ID = tx.NewID()
		if c.Under != nil {
			*c.Under.ParentID(obj) = s.parent.id
			if m.ProjectID == "" {
				m.ProjectID = s.parent.project()
			}
		}
		if err := s.mayCreate(d.demand, obj); err != nil {
			return nil, err
		}
		if name := c.Resource.Quota; name != "" && c.api.opts.Quotas != nil {
			if err := c.api.opts.Quotas.Take(tx, m.ProjectID, name, 1); err != nil {
				return nil, err
			}
		}
		if err := c.Rules.Create(tx, q.caller, obj, d.given); err != nil {
			return nil, err
		}
		ids[i] = m.ID
	}
	made := make([]*T, len(ids))
	for i, id := range ids {
		obj, ok := c.Table.Get(tx, id)
		if !ok {
			return nil, fmt.Errorf("the rules have not stored the new %s", c.Resource.Name)
		}
		made[i] = obj
	}
	return made, nil
}
