package rest

import (
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RBACPolicies is the collection of RBAC policies.
func RBACPolicies(rules Rules[model.RBACPolicy]) Collection[model.RBACPolicy] {
	return Collection[model.RBACPolicy]{
		Resource: schema.RBACPolicy, Table: state.RBACPolicies, Rules: rules, Clone: (*model.RBACPolicy).Clone,
		Indexes: []Indexed[model.RBACPolicy]{
			{Filter: "project_id", Index: state.RBACPoliciesByProject},
			{Filter: "tenant_id", Index: state.RBACPoliciesByProject},
		},
		Visible: func(r state.Reader, c *auth.Caller) iter.Seq[*model.RBACPolicy] {
			return state.RBACPoliciesByProject.List(r, c.ProjectID)
		},
	}
}
