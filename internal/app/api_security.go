package app

import (
	"errors"

	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/addressgroup"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
)

// securityAPI registers security groups, their rules, and address groups.
func (s *server) securityAPI() error {
	s.sharing.Add(secgroup.Kind(), addressgroup.Kind())
	return errors.Join(
		rest.Register(s.rest, rest.SecurityGroups(secgroup.NewGroups(s.quotas))),
		rest.Register(s.rest, rest.SecurityGroupRules(secgroup.GroupRules{})),
		rest.Register(s.rest, rest.AddressGroups(addressgroup.Rules{})),
	)
}
