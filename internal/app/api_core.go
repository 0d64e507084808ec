package app

import (
	"errors"

	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
)

// makeSharing makes the rules by which objects are shared; families add their kinds in makeAPI.
func (s *server) makeSharing() { s.sharing = rbac.New(network.Sharing()) }

// coreAPI registers what concerns all families: RBAC policies and quotas.
func (s *server) coreAPI() error {
	return errors.Join(
		rest.Register(s.rest, rest.RBACPolicies(s.sharing)),
	)
}
