package rbac

import (
	"iter"
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Kind is a kind of objects that can be shared.
type Kind struct {
	Type     string   // in object_type: network, qos_policy, …
	Resource string   // the stem of error types: Network, QosPolicy, …
	Actions  []string // default: access_as_shared
	// Owner returns the project that owns the object.
	Owner func(r state.Reader, id string) (project string, ok bool)
	// Users yields the projects that use the object, whoever they are and as often as they do. Access is not taken from a
	// project that uses the object by it.
	Users func(r state.Reader, id, action string) iter.Seq[string]
	// Changed is called after a policy on the object has been made, changed or removed, so that what is stored with the
	// object (its attribute shared) follows.
	Changed func(tx *state.Tx, id string)
}

// KindOf makes the Kind of a table whose objects have an attribute "shared" and no access but that.
func KindOf[T any](objectType, resource string, table *state.Table[T], clone func(*T) *T, shared func(*T) *bool,
	users func(r state.Reader, id string) iter.Seq[string]) Kind {
	return Kind{
		Type: objectType, Resource: resource,
		Owner: func(r state.Reader, id string) (string, bool) {
			obj, ok := table.Get(r, id)
			if !ok {
				return "", false
			}
			return any(obj).(model.Object).GetMeta().ProjectID, true
		},
		Users: func(r state.Reader, id, _ string) iter.Seq[string] { return users(r, id) },
		Changed: func(tx *state.Tx, id string) {
			obj, ok := table.Get(tx, id)
			if everyone := GrantedTo(tx, objectType, id, model.AccessShared, model.Everyone); ok && *shared(obj) != everyone {
				obj = clone(obj)
				*shared(obj) = everyone
				table.Put(tx, obj)
			}
		},
	}
}

// Losing returns the error if a project uses the object by an access that the target is about to lose. gains is the
// target that gets the access instead; empty: none. The fault is RbacPolicyInUse (409).
func (k Kind) Losing(r state.Reader, id, action, target, gains string) error {
	owner, _ := k.Owner(r, id)
	if target == owner || gains == model.Everyone || k.Users == nil {
		return nil
	}
	if target != model.Everyone && GrantedTo(r, k.Type, id, action, model.Everyone) {
		return nil
	}
	for project := range k.Users(r, id, action) {
		if project == "" || project == owner || project == gains {
			continue
		}
		depends := project == target
		if target == model.Everyone {
			depends = !GrantedTo(r, k.Type, id, action, project)
		}
		if depends {
			return fault.New(fault.Conflict, "RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other "+
				"objects depend on it.\nDetails: project_id=%s", id, project)
		}
	}
	return nil
}

func (k Kind) actions() []string {
	if len(k.Actions) == 0 {
		return []string{model.AccessShared}
	}
	return slices.Clone(k.Actions)
}
