// Package qos holds the rules of QoS policies and of the rules in them, and what other resources ask of them: may this
// caller use the policy, is it in use, what do ports ask of the hosts that they are to run on.
//
// Who may do something is asked of the policy of the API before. The rules run in a transaction, store what they make,
// and return a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - qos.go: policies, and their use by networks, ports, floating IPs and routers.
//   - rule.go: the rules in a policy, and which of them cannot stand side by side.
//   - request.go: what a port asks of its host.
package qos

import (
	"iter"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// ObjectType is what RBAC policies call a QoS policy.
const ObjectType = "qos_policy"

// User is a kind of object that can have a QoS policy.
type User struct {
	// Name is what errors call it: port, network, fip or router.
	Name string
	// First finds an object that has the policy.
	First func(r state.Reader, policyID string) (id string, ok bool)
	// Projects yields the owners of the objects that have the policy, as often as they have one.
	Projects func(r state.Reader, policyID string) iter.Seq[string]
}

// Use makes a User of objects that an index finds by the id of their policy.
func Use[T any](name string, byPolicy *state.Index[T]) User {
	meta := func(obj *T) *model.Meta { return any(obj).(model.Object).GetMeta() }
	return User{
		Name: name,
		First: func(r state.Reader, policyID string) (string, bool) {
			obj, ok := byPolicy.First(r, policyID)
			if !ok {
				return "", false
			}
			return meta(obj).ID, true
		},
		Projects: func(r state.Reader, policyID string) iter.Seq[string] {
			return func(yield func(string) bool) {
				for obj := range byPolicy.List(r, policyID) {
					if !yield(meta(obj).ProjectID) {
						return
					}
				}
			}
		},
	}
}

// Policies are the rules of policies.
type Policies struct{ users []User }

// New returns the rules. A policy is deleted only when none of the users has it; errors name the first that does.
func New(users ...User) *Policies { return &Policies{users} }

// Sharing is how policies are shared by RBAC policies.
func (s *Policies) Sharing() rbac.Kind {
	return rbac.KindOf(ObjectType, "QosPolicy", state.QoSPolicies, (*model.QoSPolicy).Clone,
		func(q *model.QoSPolicy) *bool { return &q.Shared },
		func(r state.Reader, id string) iter.Seq[string] {
			return func(yield func(string) bool) {
				for _, u := range s.users {
					for project := range u.Projects(r, id) {
						if !yield(project) {
							return
						}
					}
				}
			}
		})
}

// Create stores the policy.
func (s *Policies) Create(tx *state.Tx, _ *auth.Caller, q *model.QoSPolicy, _ schema.Given) error {
	if err := onlyDefault(tx, q); err != nil {
		return err
	}
	rbac.Share(tx, ObjectType, q.ID, model.AccessShared, q.ProjectID, q.Shared)
	state.QoSPolicies.Put(tx, q)
	return nil
}

// Update stores the policy. One that others use cannot be taken away from them: the fault is InvalidSharedSetting
// (409).
func (s *Policies) Update(tx *state.Tx, _ *auth.Caller, old, q *model.QoSPolicy, _ schema.Given) error {
	if err := onlyDefault(tx, q); err != nil {
		return err
	}
	if old.Shared && !q.Shared {
		if s.Sharing().Losing(tx, q.ID, model.AccessShared, model.Everyone, "") != nil {
			return fault.New(fault.Conflict, "InvalidSharedSetting",
				"Unable to reconfigure sharing settings for QoS policy %s. Multiple tenants are using it.", q.ID)
		}
	}
	rbac.Share(tx, ObjectType, q.ID, model.AccessShared, q.ProjectID, q.Shared)
	state.QoSPolicies.Put(tx, q)
	return nil
}

// Delete deletes the policy and its rules, unless it is in use: the fault is QosPolicyInUse (409).
func (s *Policies) Delete(tx *state.Tx, _ *auth.Caller, q *model.QoSPolicy) error {
	for _, u := range s.users {
		if id, used := u.First(tx, q.ID); used {
			return fault.New(fault.Conflict, "QosPolicyInUse", "QoS Policy %s is used by %s %s.", q.ID, u.Name, id)
		}
	}
	for _, table := range state.AllQoSRules() {
		for _, rule := range slices.Collect(table.ByPolicy.List(tx, q.ID)) {
			table.Delete(tx, rule.ID)
		}
	}
	rbac.Forget(tx, ObjectType, q.ID)
	state.QoSPolicies.Delete(tx, q.ID)
	return nil
}

// onlyDefault refuses a second default policy of a project.
func onlyDefault(r state.Reader, q *model.QoSPolicy) error {
	if !q.IsDefault {
		return nil
	}
	if other := Default(r, q.ProjectID); other != "" && other != q.ID {
		return fault.New(fault.Conflict, "QoSPolicyDefaultAlreadyExists",
			"A default QoS policy exists for project %s.", q.ProjectID)
	}
	return nil
}

// Default returns the id of the policy that new networks of the project get, or "".
func Default(r state.Reader, projectID string) string {
	q, ok := state.QoSDefaultPolicies.First(r, projectID)
	if !ok {
		return ""
	}
	return q.ID
}

// CheckUsable says whether the caller may give the policy to something. One that it may not see does not exist for it:
// the fault is QosPolicyNotFound (404). The empty id is no policy, and usable.
func CheckUsable(r state.Reader, c *auth.Caller, policyID string) error {
	if policyID == "" {
		return nil
	}
	q, ok := state.QoSPolicies.Get(r, policyID)
	if !ok || !accessible(r, c, q) {
		return fault.New(fault.NotFound, "QosPolicyNotFound", "QoS policy %s could not be found.", policyID)
	}
	return nil
}

// CheckChange says whether the caller may give something that has the policy old the policy wanted; either may be
// empty. A policy that somebody else has given it, and that is none of the caller's, cannot be taken away: the fault is
// PolicyRemoveAuthorizationError (403). It would be a way around a limit that an administrator has set.
func CheckChange(r state.Reader, c *auth.Caller, old, wanted string) error {
	if old == wanted {
		return nil
	}
	if q, ok := state.QoSPolicies.Get(r, old); ok && !accessible(r, c, q) {
		return fault.New(fault.Forbidden, "PolicyRemoveAuthorizationError",
			"Failed to remove provided policy %s because you are not authorized.", old)
	}
	return CheckUsable(r, c, wanted)
}

// accessible says whether the policy is the caller's, or shared with its project.
func accessible(r state.Reader, c *auth.Caller, q *model.QoSPolicy) bool {
	return q.Shared || c.Admin() || c.ProjectID == q.ProjectID || rbac.Shared(r, ObjectType, q.ID, c.ProjectID)
}

// RulesOf returns copies of the rules of a policy, in order of type and id.
func RulesOf(r state.Reader, policyID string) []model.QoSRule {
	var rules []model.QoSRule
	for _, table := range state.AllQoSRules() {
		for rule := range table.ByPolicy.List(r, policyID) {
			rules = append(rules, *rule.Clone())
		}
	}
	return rules
}

// computeOwner is the beginning of the device owners that Nova writes.
const computeOwner = "compute:"

// boundPort returns a port of a server that has the policy, itself or from its network.
func boundPort(r state.Reader, policyID string) (id string, ok bool) {
	server := func(p *model.Port) bool { return strings.HasPrefix(p.DeviceOwner, computeOwner) }
	for p := range state.PortsByQoSPolicy.List(r, policyID) {
		if server(p) {
			return p.ID, true
		}
	}
	for n := range state.NetworksByQoSPolicy.List(r, policyID) {
		for p := range state.PortsByNetwork.List(r, n.ID) {
			if p.QoSPolicyID == "" && server(p) {
				return p.ID, true
			}
		}
	}
	return "", false
}
