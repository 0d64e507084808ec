package rest

import (
	"errors"
	"iter"
	"net/http"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/flavor"
	"github.com/neutrino-net/neutrino/internal/service/localip"
	"github.com/neutrino-net/neutrino/internal/service/logging"
	"github.com/neutrino-net/neutrino/internal/service/metering"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RegisterLogging adds the logs and what can be logged.
func RegisterLogging(a *API) error {
	return errors.Join(
		Register(a, Collection[model.Log]{
			Resource: schema.Log, Table: state.Logs, Rules: logging.Rules{}, Clone: (*model.Log).Clone,
			Indexes: []Indexed[model.Log]{{Filter: "project_id", Index: state.LogsByProject}},
			Visible: ofProject(state.LogsByProject),
		}),
		Register(a, Collection[model.LoggableResource]{
			Resource: schema.LoggableResource,
			// They are the same for everybody. The policy asks who owns them: whoever asks.
			All: func(_ state.Reader, c *auth.Caller) iter.Seq[*model.LoggableResource] {
				var types []*model.LoggableResource
				for _, t := range logging.Types() {
					types = append(types, &model.LoggableResource{Meta: model.Meta{ID: t, ProjectID: c.ProjectID}})
				}
				return slices.Values(types)
			},
		}),
	)
}

// ofProject makes Collection.Visible of resources that only their project sees.
func ofProject[T any](byProject *state.Index[T]) func(state.Reader, *auth.Caller) iter.Seq[*T] {
	return func(r state.Reader, c *auth.Caller) iter.Seq[*T] { return byProject.List(r, c.ProjectID) }
}

// RegisterFlavors adds flavors, service profiles and service providers.
func RegisterFlavors(a *API, flavors flavor.Flavors) error {
	return errors.Join(
		Register(a, Collection[model.Flavor]{
			Resource: schema.Flavor, Table: state.Flavors, Rules: flavors, Clone: (*model.Flavor).Clone,
			Actions: flavorProfiles(),
		}),
		Register(a, Collection[model.ServiceProfile]{
			Resource: schema.ServiceProfile, Table: state.ServiceProfiles, Rules: flavor.Profiles{},
			Clone: (*model.ServiceProfile).Clone,
		}),
		Register(a, Collection[model.ServiceProvider]{
			Resource: schema.ServiceProvider,
			All: func(state.Reader, *auth.Caller) iter.Seq[*model.ServiceProvider] {
				return slices.Values(flavor.Providers())
			},
		}),
	)
}

// flavorProfiles associate flavors with service profiles.
func flavorProfiles() []Action[model.Flavor] {
	answer := func(id string) any { return map[string]any{"service_profile": map[string]string{"id": id}} }
	return []Action[model.Flavor]{
		{
			Name: "service_profiles", Method: http.MethodPost, Policy: "create_flavor_service_profile",
			Do: func(tx *state.Tx, _ *auth.Caller, f *model.Flavor, in Input) (any, error) {
				body, ok := in.Body["service_profile"].(map[string]any)
				if !ok {
					return nil, badRequest("Unable to find 'service_profile' in request body")
				}
				id, err := schema.ParseID(body["id"])
				if err != nil {
					return nil, fault.Input("id", "%s", err)
				}
				return answer(id), flavor.Associate(tx, f, id)
			},
		},
		{
			Name: "service_profiles/{profile}", Method: http.MethodGet, Policy: "get_flavor_service_profile",
			Show: func(_ state.Reader, _ *auth.Caller, f *model.Flavor, in Input) (any, error) {
				id := in.Path["profile"]
				if !slices.Contains(f.ServiceProfileIDs, id) {
					return nil, flavor.Unassociated(quoted(id), f.ID)
				}
				return answer(id), nil
			},
		},
		{
			Name: "service_profiles/{profile}", Method: http.MethodDelete, Policy: "delete_flavor_service_profile",
			Do: func(tx *state.Tx, _ *auth.Caller, f *model.Flavor, in Input) (any, error) {
				return nil, flavor.Dissociate(tx, f, quoted(in.Path["profile"]))
			},
		},
	}
}

// RegisterMetering adds metering labels and their rules.
func RegisterMetering(a *API) error {
	return errors.Join(
		Register(a, Collection[model.MeteringLabel]{
			Resource: schema.MeteringLabel, Table: state.MeteringLabels, Rules: metering.Labels{},
			Clone:   (*model.MeteringLabel).Clone,
			Indexes: []Indexed[model.MeteringLabel]{{Filter: "project_id", Index: state.MeteringLabelsByProject}},
			Visible: ofProject(state.MeteringLabelsByProject),
		}),
		Register(a, Collection[model.MeteringRule]{
			Resource: schema.MeteringRule, Table: state.MeteringRules, Rules: metering.Rules{},
			Clone:   (*model.MeteringRule).Clone,
			Indexes: []Indexed[model.MeteringRule]{{Filter: "metering_label_id", Index: state.MeteringRulesByLabel}},
			Visible: ofProject(state.MeteringRulesByProject),
		}),
	)
}

// RegisterLocalIPs adds local IPs and their associations with ports.
func RegisterLocalIPs(a *API, rules localip.Rules) error {
	return errors.Join(
		Register(a, Collection[model.LocalIP]{
			Resource: schema.LocalIP, Table: state.LocalIPs, Rules: rules, Clone: (*model.LocalIP).Clone,
			Indexes: []Indexed[model.LocalIP]{{Filter: "project_id", Index: state.LocalIPsByProject}},
			Visible: ofProject(state.LocalIPsByProject),
		}),
		Register(a, Collection[model.LocalIPAssociation]{
			Resource: schema.LocalIPAssociation, Table: state.LocalIPAssociations, Rules: localip.Associations{},
			Clone: (*model.LocalIPAssociation).Clone,
			Under: &Under[model.LocalIPAssociation]{
				ParentID: func(l *model.LocalIPAssociation) *string { return &l.LocalIPID },
				Index:    state.LocalIPAssociationsByLocalIP, Find: localip.Find,
			},
			For: func(r state.Reader, _ *auth.Caller) func(*model.LocalIPAssociation) *model.LocalIPAssociation {
				return func(l *model.LocalIPAssociation) *model.LocalIPAssociation { return localip.View(r, l) }
			},
		}),
	)
}
