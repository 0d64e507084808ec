package rbac

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are the rules of RBAC policies.
type Rules struct{ kinds map[string]Kind }

// New returns the rules. Only objects of the kinds can be shared.
func New(kinds ...Kind) *Rules {
	s := &Rules{kinds: map[string]Kind{}}
	s.Add(kinds...)
	return s
}

// Add adds kinds, before the rules are in use.
func (s *Rules) Add(kinds ...Kind) {
	for _, k := range kinds {
		s.kinds[k.Type] = k
	}
}

// Create checks that the object is there and the caller's own, and grants the access.
func (s *Rules) Create(tx *state.Tx, c *auth.Caller, p *model.RBACPolicy, _ schema.Given) error {
	p.ObjectType = strings.ToLower(strings.TrimSpace(p.ObjectType))
	k, ok := s.kinds[p.ObjectType]
	if !ok {
		return fault.Operation("'%s' is not a valid RBAC object type", clip(p.ObjectType))
	}
	if !slices.Contains(k.actions(), p.Action) {
		return fault.Operation("Invalid action '%s' for object type '%s'. Valid actions: %s",
			clip(p.Action), k.Type, strings.Join(k.actions(), ", "))
	}
	if err := k.owned(tx, c, p.ObjectID); err != nil {
		return err
	}
	if GrantedTo(tx, p.ObjectType, p.ObjectID, p.Action, p.Target) {
		return duplicate()
	}
	state.RBACPolicies.Put(tx, p)
	k.changed(tx, p.ObjectID)
	return nil
}

// Update grants the access to another target.
func (s *Rules) Update(tx *state.Tx, c *auth.Caller, old, p *model.RBACPolicy, _ schema.Given) error {
	k := s.kinds[p.ObjectType]
	if old.Target == p.Target {
		state.RBACPolicies.Put(tx, p)
		return nil
	}
	if err := k.owned(tx, c, p.ObjectID); err != nil {
		return err
	}
	if GrantedTo(tx, p.ObjectType, p.ObjectID, p.Action, p.Target) {
		return duplicate()
	}
	if err := k.Losing(tx, p.ObjectID, p.Action, old.Target, p.Target); err != nil {
		return err
	}
	state.RBACPolicies.Put(tx, p)
	k.changed(tx, p.ObjectID)
	return nil
}

// Delete takes the access away, unless the target uses the object by it: the fault is RbacPolicyInUse (409).
func (s *Rules) Delete(tx *state.Tx, _ *auth.Caller, p *model.RBACPolicy) error {
	k := s.kinds[p.ObjectType]
	if err := k.Losing(tx, p.ObjectID, p.Action, p.Target, ""); err != nil {
		return err
	}
	state.RBACPolicies.Delete(tx, p.ID)
	k.changed(tx, p.ObjectID)
	return nil
}

// owned returns the error for a caller who may not share the object: one that it may not know of is missing.
func (k Kind) owned(r state.Reader, c *auth.Caller, id string) error {
	owner, ok := k.Owner(r, id)
	switch {
	case !ok:
		return fault.Missing(k.Resource, id)
	case c.Admin() || owner == c.ProjectID && owner != "":
		return nil
	}
	for _, action := range k.actions() {
		if Granted(r, k.Type, id, action, c.ProjectID) {
			return fault.Operation("Only admins can manipulate policies on objects they do not own")
		}
	}
	return fault.Missing(k.Resource, id)
}

func (k Kind) changed(tx *state.Tx, id string) {
	if k.Changed != nil {
		k.Changed(tx, id)
	}
}

func duplicate() error {
	return fault.New(fault.Conflict, "DuplicateRbacPolicy", "An RBAC policy already exists with those values.")
}

// clip shortens what a client sent before it is repeated in an error.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
