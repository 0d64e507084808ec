package app

import (
	"context"
	"errors"

	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/addressscope"
	"github.com/neutrino-net/neutrino/internal/service/segment"
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
