package rest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// BindingRules are the rules of the bindings of ports.
type BindingRules interface {
	Bindings(p *model.Port) ([]*model.PortBinding, error)
	Binding(p *model.Port, host string) (*model.PortBinding, error)
	AddBinding(tx *state.Tx, p *model.Port, b model.Binding) (*model.PortBinding, error)
	UpdateBinding(tx *state.Tx, p *model.Port, host string, b model.Binding) (*model.PortBinding, error)
	ActivateBinding(tx *state.Tx, p *model.Port, host string) (*model.PortBinding, error)
	RemoveBinding(tx *state.Tx, p *model.Port, host string) error
}

// BindingActions are the requests below a port that concern its bindings. A binding is a part of its port, so they are
// actions of the port: a caller who may not see it is told that it does not exist. Who may make bindings may also
// change them, which the default policy has no rule for.
func BindingActions(rules BindingRules) []Action[model.Port] {
	const many, one = "bindings", "bindings/{host}"
	return []Action[model.Port]{
		{Name: many, Method: http.MethodGet, Policy: "get_port_binding",
			Show: func(_ state.Reader, _ *auth.Caller, p *model.Port, in Input) (any, error) {
				return listBindings(rules, p, in)
			}},
		{Name: many, Method: http.MethodPost, Policy: "create_port_binding",
			Do: func(tx *state.Tx, _ *auth.Caller, p *model.Port, in Input) (any, error) {
				var b model.PortBinding
				if err := decodeBinding(&b, in, schema.Create); err != nil {
					return nil, err
				}
				return showBinding(rules.AddBinding(tx, p, b.Binding))
			}},
		{Name: one, Method: http.MethodGet, Policy: "get_port_binding",
			Show: func(_ state.Reader, _ *auth.Caller, p *model.Port, in Input) (any, error) {
				b, err := rules.Binding(p, in.Path["host"])
				if err != nil {
					return nil, err
				}
				return map[string]any{"binding": record(schema.PortBinding, b, in.Query["fields"])}, nil
			}},
		{Name: one, Method: http.MethodPut, Policy: "create_port_binding",
			Do: func(tx *state.Tx, _ *auth.Caller, p *model.Port, in Input) (any, error) {
				b, err := rules.Binding(p, in.Path["host"])
				if err != nil {
					return nil, err
				}
				if err := decodeBinding(b, in, schema.Update); err != nil {
					return nil, err
				}
				return showBinding(rules.UpdateBinding(tx, p, in.Path["host"], b.Binding))
			}},
		{Name: one, Method: http.MethodDelete, Policy: "delete_port_binding",
			Do: func(tx *state.Tx, _ *auth.Caller, p *model.Port, in Input) (any, error) {
				return nil, rules.RemoveBinding(tx, p, in.Path["host"])
			}},
		{Name: one + "/activate", Method: http.MethodPut, Policy: "activate",
			Do: func(tx *state.Tx, _ *auth.Caller, p *model.Port, in Input) (any, error) {
				return showBinding(rules.ActivateBinding(tx, p, in.Path["host"]))
			}},
	}
}

func decodeBinding(b *model.PortBinding, in Input, op schema.Op) error {
	items, _, err := bodies(in.Body, schema.PortBinding.Name, schema.PortBinding.Plural, false)
	if err != nil {
		return err
	}
	_, err = schema.PortBinding.Decode(b, items[0], op)
	return err
}

func showBinding(b *model.PortBinding, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"binding": record(schema.PortBinding, b, nil)}, nil
}

// listBindings lists the bindings that the filters of the query let through.
func listBindings(rules BindingRules, p *model.Port, in Input) (any, error) {
	all, err := rules.Bindings(p)
	if err != nil {
		return nil, err
	}
	shown := []json.RawMessage{}
	for _, b := range all {
		keep := true
		for key, wanted := range in.Query {
			at := schema.PortBinding.Attribute(key)
			if slices.Contains(reserved, key) {
				continue
			}
			if at == nil || !at.Is(schema.Filter) {
				return nil, badRequest("%s is invalid attribute for filtering", names([]string{quoted(key)}))
			}
			keep = keep && slices.Contains(wanted, at.Text(b))
		}
		if keep {
			shown = append(shown, record(schema.PortBinding, b, in.Query["fields"]))
		}
	}
	return map[string]any{"bindings": shown}, nil
}

// record is the JSON of an object that is not in a collection, with the wanted fields; none: all.
func record[T any](res *schema.Resource[T], obj *T, fields []string) json.RawMessage {
	b := []byte{'{'}
	for _, at := range res.Attributes {
		if at.Is(schema.Hidden) || len(fields) > 0 && !slices.Contains(fields, at.Name) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = at.Append(append(append(append(b, '"'), at.Name...), `":`...), obj)
	}
	return append(b, '}')
}
