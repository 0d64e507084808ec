package rest

import (
	"net/http"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// TrunkRules are the rules of trunks.
type TrunkRules interface {
	Rules[model.Trunk]
	AddSubPorts(tx *state.Tx, c *auth.Caller, t *model.Trunk, wanted []model.SubPort) (*model.Trunk, error)
	RemoveSubPorts(tx *state.Tx, t *model.Trunk, gone []model.SubPort) (*model.Trunk, error)
}

// Trunks is the collection of trunks.
func Trunks(rules TrunkRules) Collection[model.Trunk] {
	return Collection[model.Trunk]{
		Resource: schema.Trunk, Table: state.Trunks, Rules: rules, Clone: (*model.Trunk).Clone,
		Indexes: []Indexed[model.Trunk]{
			{Filter: "port_id", Index: state.TrunksByPort},
			{Filter: "name", Index: state.TrunksByName, NoEmpty: true},
			{Filter: "project_id", Index: state.TrunksByProject},
			{Filter: "tenant_id", Index: state.TrunksByProject},
		},
		Visible: ofProject(state.TrunksByProject),
		Actions: []Action[model.Trunk]{
			{Name: "add_subports",
				Do: func(tx *state.Tx, c *auth.Caller, t *model.Trunk, in Input) (any, error) {
					wanted, err := parseSubPorts(in)
					if err != nil {
						return nil, err
					}
					return answered(rules.AddSubPorts(tx, c, t, wanted))
				}},
			{Name: "remove_subports",
				Do: func(tx *state.Tx, _ *auth.Caller, t *model.Trunk, in Input) (any, error) {
					gone, err := parseSubPorts(in)
					if err != nil {
						return nil, err
					}
					return answered(rules.RemoveSubPorts(tx, t, gone))
				}},
			{Name: "get_subports", Method: http.MethodGet,
				Show: func(_ state.Reader, _ *auth.Caller, t *model.Trunk, _ Input) (any, error) {
					subPorts := t.SubPorts
					if subPorts == nil {
						subPorts = []model.SubPort{}
					}
					return map[string]any{"sub_ports": subPorts}, nil
				}},
		},
	}
}

func parseSubPorts(in Input) ([]model.SubPort, error) {
	subPorts, err := schema.ParseSubPorts(in.Body)
	if err != nil {
		return nil, fault.Operation("%s", err)
	}
	return subPorts, nil
}

// answered keeps a nil object from becoming an answer that is not nil.
func answered[T any](obj *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return obj, nil
}
