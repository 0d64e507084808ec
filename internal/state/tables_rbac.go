package state

import "github.com/neutrino-net/neutrino/internal/model"

// Who may use what: RBAC policies and quotas.
var (
	RBACPolicies          = newTable[model.RBACPolicy]("rbac-policy")
	RBACPoliciesByProject = newIndex(RBACPolicies, func(p *model.RBACPolicy) []string { return []string{p.ProjectID} })
	// RBACPoliciesByObject has the key "<type>/<object id>/<action>".
	RBACPoliciesByObject = newIndex(RBACPolicies, func(p *model.RBACPolicy) []string {
		return []string{RBACObjectKey(p.ObjectType, p.ObjectID, p.Action)}
	})
	// RBACPoliciesByTarget has the key "<type>/<action>/<target>": what has been granted to a project.
	RBACPoliciesByTarget = newIndex(RBACPolicies, func(p *model.RBACPolicy) []string {
		return []string{RBACTargetKey(p.ObjectType, p.Action, p.Target)}
	})
	// RBACPoliciesByGrant has the key "<type>/<object id>/<action>/<target>", of which there is one.
	RBACPoliciesByGrant = newIndex(RBACPolicies, func(p *model.RBACPolicy) []string {
		return []string{RBACGrantKey(p.ObjectType, p.ObjectID, p.Action, p.Target)}
	})

	Quotas = newTable[model.Quota]("quota")
)

// RBACObjectKey is a key of RBACPoliciesByObject.
func RBACObjectKey(objectType, id, action string) string { return objectType + "/" + id + "/" + action }

// RBACTargetKey is a key of RBACPoliciesByTarget.
func RBACTargetKey(objectType, action, target string) string {
	return objectType + "/" + action + "/" + target
}

// RBACGrantKey is a key of RBACPoliciesByGrant.
func RBACGrantKey(objectType, id, action, target string) string {
	return objectType + "/" + id + "/" + action + "/" + target
}
