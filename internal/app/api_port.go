package app

import (
	"errors"

	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/trunk"
)

// portAPI registers ports, with their bindings, and trunks.
func (s *server) portAPI() error {
	ports := rest.Ports(s.hosts.ports)
	ports.For = s.hosts.ports.View
	ports.Actions = rest.BindingActions(s.hosts.ports)
	return errors.Join(rest.Register(s.rest, ports), rest.Register(s.rest, rest.Trunks(trunk.Rules{})))
}
