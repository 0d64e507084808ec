package app

import (
	"errors"

	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/flavor"
	"github.com/neutrino-net/neutrino/internal/service/localip"
	"github.com/neutrino-net/neutrino/internal/service/logging"
	"github.com/neutrino-net/neutrino/internal/state"
)

// servicesAPI registers logging, flavors, metering and local IPs.
func (s *server) servicesAPI() error {
	s.hosts.ports.Follow(localip.Guard{})
	s.hosts.ports.Follow(logging.Guard{})
	return errors.Join(
		rest.RegisterLogging(s.rest),
		rest.RegisterFlavors(s.rest, flavor.Flavors{InUse: state.RoutersByFlavor.Has}),
		rest.RegisterMetering(s.rest),
		rest.RegisterLocalIPs(s.rest, localip.Rules{Ports: s.hosts.ports}),
	)
}
