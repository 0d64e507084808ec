package app

import (
	"errors"
	"fmt"
	"strings"

	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/quota"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
)

// makeSharing makes the rules by which objects are shared; families add their kinds.
func (s *server) makeSharing() { s.sharing = rbac.New(network.Sharing()) }

// makeQuotas makes the bounds of what projects may have.
func (s *server) makeQuotas() error {
	limits, err := quota.ParseDefaults(s.Quotas)
	if err != nil {
		return fmt.Errorf("--quota: %w", err)
	}
	s.quotas = quota.New(limits)
	return nil
}

// coreAPI registers what concerns all families: RBAC policies and quotas. It comes last, when all kinds are known.
func (s *server) coreAPI() error {
	err := errors.Join(
		rest.Register(s.rest, rest.RBACPolicies(s.sharing)),
		rest.RegisterQuotas(s.rest, s.quotas),
	)
	if unknown := s.quotas.Unknown(); len(unknown) > 0 {
		err = errors.Join(err, fmt.Errorf("--quota: there are no objects of the kind %s", strings.Join(unknown, ", ")))
	}
	return err
}
