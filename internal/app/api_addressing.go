package app

import (
	"context"
	"errors"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/addressscope"
	"github.com/neutrino-net/neutrino/internal/service/autotopology"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/service/segment"
	"github.com/neutrino-net/neutrino/internal/service/subnet"
	"github.com/neutrino-net/neutrino/internal/service/subnetpool"
	"github.com/neutrino-net/neutrino/internal/state"
)

// addressingAPI registers address scopes, subnet pools, segments and what is to be seen of zones and addresses. The
// default ranges of segmentation ids become those of the server's options.
func (s *server) addressingAPI(ctx context.Context) error {
	s.sharing.Add(addressscope.Sharing())
	s.sharing.Add(subnetpool.Sharing())
	_, err := s.store.Update(ctx, func(tx *state.Tx) error {
		segment.SyncDefaults(tx, s.types)
		return nil
	})
	return errors.Join(err, rest.RegisterAddressing(s.rest, segment.New(s.types)))
}

// topologyAPI registers the topologies that projects are made at their asking.
func (s *server) topologyAPI(routers *router.Rules) error {
	by := func(do func(*state.Tx, *auth.Caller, *model.Router, map[string]any) (*router.Interface, error),
	) func(*state.Tx, *auth.Caller, *model.Router, string) error {
		return func(tx *state.Tx, c *auth.Caller, r *model.Router, subnetID string) error {
			_, err := do(tx, c, r, map[string]any{"subnet_id": subnetID})
			return err
		}
	}
	return rest.RegisterAutoTopology(s.rest, autotopology.New(autotopology.Options{
		Networks: s.networks, Subnets: subnet.Rules{}, Routers: routers,
		Attach: by(routers.AddInterface), Detach: by(routers.RemoveInterface), Take: s.quotas.Take,
	}))
}
