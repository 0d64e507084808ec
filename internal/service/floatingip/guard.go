package floatingip

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Guard sees to it that floating IPs stand only for what is there. It is a port.Follower and a port.Watcher; the zero
// value is ready.
type Guard struct{}

var (
	_ port.Follower    = Guard{}
	_ port.Watcher     = Guard{}
	_ network.Follower = (*Rules)(nil)
)

// PortChanged implements port.Watcher. An address that a floating IP stands for stays with its port; port forwardings to
// an address that goes are deleted.
func (Guard) PortChanged(tx *state.Tx, _ *auth.Caller, old, p *model.Port) error {
	if slices.Equal(old.FixedIPs, p.FixedIPs) {
		return nil
	}
	for f := range state.FloatingIPsByPort.List(tx, p.ID) {
		if !slices.ContainsFunc(p.FixedIPs, func(ip model.FixedIP) bool { return ip.IP == f.FixedIP }) {
			return badOf("port", "Cannot update the fixed_ips of the port %s, because its original fixed_ip has been associated "+
				"to a floating ip", p.ID)
		}
	}
	for _, fw := range slices.Collect(state.PortForwardingsByPort.List(tx, p.ID)) {
		if !slices.ContainsFunc(p.FixedIPs, func(ip model.FixedIP) bool { return ip.IP == fw.InternalIP }) {
			dropForwarding(tx, fw)
		}
	}
	return nil
}

// PortDeleted implements port.Follower.
func (Guard) PortDeleted(tx *state.Tx, p *model.Port) error {
	PortGone(tx, p)
	return nil
}

// PortGone frees the floating IPs that stand for an address of the port, and deletes the port forwardings to it.
func PortGone(tx *state.Tx, p *model.Port) {
	for _, f := range slices.Collect(state.FloatingIPsByPort.List(tx, p.ID)) {
		f = f.Clone()
		release(f)
		f.Status = model.FloatingIPDown
		state.FloatingIPs.Put(tx, f)
	}
	for _, fw := range slices.Collect(state.PortForwardingsByPort.List(tx, p.ID)) {
		dropForwarding(tx, fw)
	}
}

// NetworkDeleted implements network.Follower. It deletes the floating IPs of the network, and gives their addresses back,
// but for those that stand for something: they forbid the deletion, since their ports are on the network.
func (s *Rules) NetworkDeleted(tx *state.Tx, n *model.Network) error {
	for _, f := range slices.Collect(state.FloatingIPsByNetwork.List(tx, n.ID)) {
		if f.RouterID != "" {
			continue
		}
		if err := s.Delete(tx, auth.System, f); err != nil {
			return err
		}
	}
	return nil
}

// NetworkChanged implements network.Follower. A network with floating IPs stays external: the fault is
// ExternalNetworkInUse (409).
func (s *Rules) NetworkChanged(tx *state.Tx, old, n *model.Network) error {
	if old.External && !n.External && state.FloatingIPsByNetwork.Has(tx, n.ID) {
		return fault.New(fault.Conflict, "ExternalNetworkInUse",
			"External network %s cannot be updated to be made non-external, since it has existing floating IPs.", n.ID)
	}
	return nil
}
