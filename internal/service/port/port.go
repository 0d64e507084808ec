// Package port holds the rules of ports: their MAC, their addresses, the host that they are bound to, and their status.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - port.go: create, update, delete, as the API asks for them.
//   - address.go: which addresses a port gets; mac.go: which MAC.
//   - binding.go: the tie to a host, and how a failed one is tried again.
//   - report.go: what the host says became of the port, and the status that follows from it.
package port

import (
	"math/rand/v2"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Options are what the rules of ports need.
type Options struct {
	// Liveness knows which hosts are connected; nil: all are.
	Liveness mech.Liveness
	// Random makes MACs and picks addresses; default rand.Uint64N. It is called by one goroutine at a time.
	Random ipam.Random
}

// Rules are the rules of ports.
type Rules struct{ opts Options }

// New returns the rules.
func New(opts Options) *Rules {
	if opts.Random == nil {
		opts.Random = rand.Uint64N
	}
	return &Rules{opts: opts}
}

// Create gives the port a MAC and addresses where it has none, binds it to its host, and stores it.
func (s *Rules) Create(tx *state.Tx, c *auth.Caller, p *model.Port, given schema.Given) error {
	n, err := network.Find(tx, c, p.NetworkID)
	if err != nil {
		return err
	}
	if err := checkHost(p.Binding.Host); err != nil {
		return err
	}
	if p.Binding.VNICType == "" {
		p.Binding.VNICType = "normal"
	}
	if !given.Has("port_security_enabled") {
		p.PortSecurityEnabled = n.PortSecurityEnabled
	}
	if err := s.setMAC(tx, p); err != nil {
		return err
	}
	a := s.addresses(tx, c, n, p)
	if given.Has("fixed_ips") {
		p.FixedIPs, err = a.wanted(p.FixedIPs, nil)
	} else {
		p.FixedIPs, err = a.any()
	}
	if err != nil {
		return err
	}
	s.bind(tx, p, s.opts.Liveness)
	settle(p)
	state.Ports.Put(tx, p)
	return nil
}

// Update checks and makes the changes, and stores the port. Addresses that are asked for again stay; a port that is to
// appear on another host is bound anew.
func (s *Rules) Update(tx *state.Tx, c *auth.Caller, old, p *model.Port, given schema.Given) error {
	n, ok := state.Networks.Get(tx, p.NetworkID)
	if !ok {
		return fault.Missing("Network", p.NetworkID)
	}
	if p.Binding.Host != old.Binding.Host {
		if err := checkHost(p.Binding.Host); err != nil {
			return err
		}
	}
	if p.Binding.VNICType == "" {
		p.Binding.VNICType = "normal"
	}
	if p.MAC != old.MAC {
		if err := checkNewMAC(tx, old, p); err != nil {
			return err
		}
	}
	if given.Has("fixed_ips") || p.MAC != old.MAC {
		var err error
		if p.FixedIPs, err = s.addresses(tx, c, n, p).wanted(p.FixedIPs, old); err != nil {
			return err
		}
	}
	rebind := p.Binding.Host != old.Binding.Host || p.Binding.VNICType != old.Binding.VNICType
	if rebind || !p.Binding.Bound() && given.Any("binding:host_id", "binding:profile") {
		s.bind(tx, p, s.opts.Liveness)
	}
	settle(p)
	state.Ports.Put(tx, p)
	return nil
}

// Delete deletes the port.
func (s *Rules) Delete(tx *state.Tx, _ *auth.Caller, p *model.Port) error {
	state.Ports.Delete(tx, p.ID)
	return nil
}
