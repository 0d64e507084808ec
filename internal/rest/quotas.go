package rest

import (
	"net/http"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/service/quota"
	"github.com/neutrino-net/neutrino/internal/state"
)

// projectTarget is a project, as policy rules see it.
type projectTarget string

// Field implements policy.Target.
func (t projectTarget) Field(name string) (string, bool) {
	return string(t), name == "project_id"
}

// RegisterQuotas adds /v2.0/quotas. A quota is no object of a collection: every project has one.
func RegisterQuotas(a *API, s *quota.Service) error {
	// Everybody may see its own quota.
	others := func(show func(r state.Reader, project string) (any, error)) func(state.Reader, *auth.Caller, Input) (any, error) {
		return func(r state.Reader, c *auth.Caller, in Input) (any, error) {
			project := in.Path["project"]
			if project != c.ProjectID && !a.opts.Policy.Allowed(c, "get_quota", projectTarget(project)) {
				return nil, forbidden(&demand{text: "rule:get_quota"})
			}
			return show(r, project)
		}
	}
	own := func(name string) Operation {
		return Operation{
			Method: http.MethodGet, Path: "/quotas/" + name,
			Show: func(_ state.Reader, c *auth.Caller, _ Input) (any, error) {
				if c.ProjectID == "" {
					return nil, fault.New(fault.Invalid, "QuotaMissingTenant", "Tenant-id was missing from quota request.")
				}
				return map[string]any{name: map[string]string{name + "_id": c.ProjectID}}, nil
			},
		}
	}
	target := func(_ state.Reader, in Input) policy.Target { return projectTarget(in.Path["project"]) }
	return Operate(a, "quotas",
		Operation{
			Method: http.MethodGet, Path: "/quotas", Policy: "get_quota",
			Target: func(state.Reader, Input) policy.Target { return projectTarget("") },
			Show: func(r state.Reader, _ *auth.Caller, _ Input) (any, error) {
				list := []map[string]any{}
				for q := range state.Quotas.All(r) {
					item := map[string]any{"project_id": q.ID, "tenant_id": q.ID}
					for name, limit := range s.Limits(r, q.ID) {
						item[name] = limit
					}
					list = append(list, item)
				}
				return map[string]any{"quotas": list}, nil
			},
		},
		own("project"), own("tenant"),
		Operation{
			Method: http.MethodGet, Path: "/quotas/{project}",
			Show: others(func(r state.Reader, project string) (any, error) {
				return map[string]any{"quota": s.Limits(r, project)}, nil
			}),
		},
		Operation{
			Method: http.MethodGet, Path: "/quotas/{project}/default",
			Show: others(func(state.Reader, string) (any, error) {
				return map[string]any{"quota": s.Defaults()}, nil
			}),
		},
		Operation{
			Method: http.MethodGet, Path: "/quotas/{project}/details",
			Show: others(func(r state.Reader, project string) (any, error) {
				return map[string]any{"quota": s.Details(r, project)}, nil
			}),
		},
		Operation{
			Method: http.MethodPut, Path: "/quotas/{project}", Policy: "update_quota", Target: target,
			Do: func(tx *state.Tx, _ *auth.Caller, in Input) (any, error) { return setQuota(tx, s, in) },
		},
		Operation{
			Method: http.MethodDelete, Path: "/quotas/{project}", Policy: "delete_quota", Target: target,
			Do: func(tx *state.Tx, _ *auth.Caller, in Input) (any, error) {
				return nil, s.Reset(tx, in.Path["project"])
			},
		},
	)
}

// setQuota handles PUT. A client that says check_limit wants a limit below what is used refused; force is its opposite,
// and the default.
func setQuota(tx *state.Tx, s *quota.Service, in Input) (any, error) {
	items, _, err := bodies(in.Body, "quota", "quotas", false)
	if err != nil {
		return nil, err
	}
	limits, check := map[string]any{}, false
	for name, value := range items[0] {
		switch name {
		case "force":
		case "check_limit":
			if check, err = booleanValue(value); err != nil {
				return nil, fault.Input(name, "'%v' cannot be converted to boolean", value)
			}
		default:
			limits[name] = value
		}
	}
	project := in.Path["project"]
	if err := s.Set(tx, project, limits, check); err != nil {
		return nil, err
	}
	return map[string]any{"quota": s.Limits(tx, project)}, nil
}

// booleanValue accepts a JSON boolean and the texts that mean one.
func booleanValue(raw any) (bool, error) {
	switch v := raw.(type) {
	case bool:
		return v, nil
	case string:
		return parseBool(v)
	}
	return false, errInvalidBody
}
