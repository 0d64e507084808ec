// Package rbac says which objects are shared with whom. An RBAC policy grants a project, or all, an access to one
// object; the attribute "shared" of networks and other kinds is another way to write the policy for all.
//
//   - rbac.go: asking, for the rules and collections of other resources.
//   - kinds.go: what is to be known of a kind of objects so that it can be shared.
//   - rules.go: the policies as a resource of the API.
package rbac

import (
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Shared says whether the object is shared with the project: by a policy for it, or for all.
func Shared(r state.Reader, objectType, id, project string) bool {
	return Granted(r, objectType, id, model.AccessShared, project)
}

// Granted says whether the project has the access to the object by a policy for it, or for all. It takes as long as two
// look-ups.
func Granted(r state.Reader, objectType, id, action, project string) bool {
	return GrantedTo(r, objectType, id, action, model.Everyone) ||
		project != "" && GrantedTo(r, objectType, id, action, project)
}

// GrantedTo says whether there is a policy for exactly this target.
func GrantedTo(r state.Reader, objectType, id, action, target string) bool {
	return state.RBACPoliciesByGrant.Has(r, state.RBACGrantKey(objectType, id, action, target))
}

// SharedWith yields the ids of the objects that are shared with the project or with all, each once.
func SharedWith(r state.Reader, objectType, project string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for p := range state.RBACPoliciesByTarget.List(r, state.RBACTargetKey(objectType, model.AccessShared, model.Everyone)) {
			if !yield(p.ObjectID) {
				return
			}
		}
		for id := range SharedOnlyWith(r, objectType, project) {
			if !GrantedTo(r, objectType, id, model.AccessShared, model.Everyone) && !yield(id) {
				return
			}
		}
	}
}

// SharedOnlyWith yields the ids of the objects that a policy for the project shares with it.
func SharedOnlyWith(r state.Reader, objectType, project string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if project == "" || project == model.Everyone {
			return
		}
		for p := range state.RBACPoliciesByTarget.List(r, state.RBACTargetKey(objectType, model.AccessShared, project)) {
			if !yield(p.ObjectID) {
				return
			}
		}
	}
}

// Visible yields the objects of a collection that the default policy rules let a caller see: those of its project, and
// those that are shared with it, each once. It is made for rest.Collection.Visible.
func Visible[T any](objectType string, table *state.Table[T], byProject *state.Index[T]) func(state.Reader, *auth.Caller) iter.Seq[*T] {
	return func(r state.Reader, c *auth.Caller) iter.Seq[*T] {
		return func(yield func(*T) bool) {
			for obj := range byProject.List(r, c.ProjectID) {
				if !yield(obj) {
					return
				}
			}
			for id := range SharedWith(r, objectType, c.ProjectID) {
				obj, ok := table.Get(r, id)
				if ok && any(obj).(model.Object).GetMeta().ProjectID != c.ProjectID && !yield(obj) {
					return
				}
			}
		}
	}
}

// View makes the attribute "shared" of objects depend on the caller: the stored one says that the object is shared with
// all. It is made for rest.Collection.For, and costs nothing for a project to which nothing has been granted.
func View[T any](objectType string, shared func(*T) *bool) func(state.Reader, *auth.Caller) func(*T) *T {
	return func(r state.Reader, c *auth.Caller) func(*T) *T {
		if c.ProjectID == "" || c.ProjectID == model.Everyone ||
			!state.RBACPoliciesByTarget.Has(r, state.RBACTargetKey(objectType, model.AccessShared, c.ProjectID)) {
			return nil
		}
		return func(obj *T) *T {
			id := any(obj).(model.Object).GetMeta().ID
			if *shared(obj) || !GrantedTo(r, objectType, id, model.AccessShared, c.ProjectID) {
				return obj
			}
			seen := *obj
			*shared(&seen) = true
			return &seen
		}
	}
}

// Share makes or removes the policy that grants all projects an access to an object: the rules of an object call it when
// its attribute "shared" (or "router:external") was given. Whether the object is in use is checked before, by
// Kind.Losing. It does not call Kind.Changed, since the caller is about to store the object.
func Share(tx *state.Tx, objectType, id, action, owner string, everyone bool) {
	key := state.RBACGrantKey(objectType, id, action, model.Everyone)
	p, ok := state.RBACPoliciesByGrant.First(tx, key)
	switch {
	case everyone && !ok:
		state.RBACPolicies.Put(tx, &model.RBACPolicy{
			Meta:       model.Meta{ID: tx.NewID(), ProjectID: owner},
			ObjectType: objectType, ObjectID: id, Action: action, Target: model.Everyone,
		})
	case !everyone && ok:
		state.RBACPolicies.Delete(tx, p.ID)
	}
}

// Revoke removes the policies that grant an access to an object.
func Revoke(tx *state.Tx, objectType, id, action string) {
	var ids []string
	for p := range state.RBACPoliciesByObject.List(tx, state.RBACObjectKey(objectType, id, action)) {
		ids = append(ids, p.ID)
	}
	for _, id := range ids {
		state.RBACPolicies.Delete(tx, id)
	}
}

// Forget removes all policies on an object; the rules of the object call it when the object is deleted.
func Forget(tx *state.Tx, objectType, id string) {
	Revoke(tx, objectType, id, model.AccessShared)
	Revoke(tx, objectType, id, model.AccessExternal)
}
