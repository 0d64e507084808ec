package app

import (
	"errors"

	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/flavor"
	"github.com/neutrino-net/neutrino/internal/service/localip"
)

// servicesAPI registers logging, flavors, metering and local IPs.
func (s *server) servicesAPI() error {
	return errors.Join(
		rest.RegisterLogging(s.rest),
		rest.RegisterFlavors(s.rest, flavor.Flavors{}),
		rest.RegisterMetering(s.rest),
		rest.RegisterLocalIPs(s.rest, localip.Rules{Ports: s.hosts.ports}),
	)
}
