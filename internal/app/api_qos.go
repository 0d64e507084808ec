package app

import (
	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/state"
)

// qosAPI registers QoS policies and what belongs to them. What has a policy keeps it from being deleted.
func (s *server) qosAPI() error {
	policies := qos.New(
		qos.Use("port", state.PortsByQoSPolicy), qos.Use("network", state.NetworksByQoSPolicy),
		qos.Use("fip", state.FloatingIPsByQoSPolicy), qos.Use("router", state.RoutersByQoSPolicy),
	)
	s.sharing.Add(policies.Sharing())
	return rest.RegisterQoS(s.rest, policies)
}
