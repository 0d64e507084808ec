package rest

import (
	"net/http"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/service/autotopology"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RegisterAutoTopology adds the topologies that projects are made at their asking. The path names a project, or "None"
// for the caller's own.
func RegisterAutoTopology(a *API, s *autotopology.Service) error {
	const path = "/auto-allocated-topology/{project}"
	// The project is known only with the caller, so that the policy is asked here.
	project := func(c *auth.Caller, in Input, rule string) (string, error) {
		id := in.Path["project"]
		if id == "None" {
			id = c.ProjectID
		}
		if id == "" {
			return "", badRequest("Running without a project requires that project_id is specified")
		}
		if !a.opts.Policy.Allowed(c, rule, projectTarget(id)) {
			return "", fault.New(fault.Forbidden, "PolicyNotAuthorized", "rule:%s is disallowed by policy", rule)
		}
		return id, nil
	}
	answer := func(id, project string) map[string]any {
		return map[string]any{"auto_allocated_topology": map[string]string{
			"id": id, "project_id": project, "tenant_id": project,
		}}
	}
	return Operate(a, "auto_allocated_topologies",
		Operation{
			Method: http.MethodGet, Path: path,
			Do: func(tx *state.Tx, c *auth.Caller, in Input) (any, error) {
				id, err := project(c, in, "get_auto_allocated_topology")
				if err != nil {
					return nil, err
				}
				switch fields := in.Query["fields"]; {
				case len(fields) == 1 && fields[0] == "dry-run":
					return answer("dry-run=pass", id), autotopology.Check(tx)
				case len(fields) > 0:
					return nil, fault.New(fault.Invalid, "BadRequest", "Bad auto_allocate request: Unrecognized field.")
				}
				made, err := s.Get(tx, c, id)
				if err != nil {
					return nil, err
				}
				return answer(made, id), nil
			},
		},
		Operation{
			Method: http.MethodDelete, Path: path,
			Do: func(tx *state.Tx, c *auth.Caller, in Input) (any, error) {
				id, err := project(c, in, "delete_auto_allocated_topology")
				if err != nil {
					return nil, err
				}
				return nil, s.Delete(tx, c, id)
			},
		},
	)
}
