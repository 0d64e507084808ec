// Package port holds the rules of ports: their MAC, their addresses, what may pass them, the hosts that they are bound
// to, and their status.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - port.go: create, update, delete, as the API asks for them; guard.go: which ports nobody may make or delete.
//   - address.go: which addresses a port gets; candidate.go: from which subnets; mac.go: which MAC.
//   - security.go: security groups, allowed address pairs; dns.go: names and DHCP options.
//   - binding.go: the tie to a host, and how a failed one is tried again; migrate.go: the ties to further hosts, to which
//     a live migration may take the port.
//   - report.go: what the host says became of the port, and the status that follows from it.
//   - view.go: what a port shows of other objects.
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
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Follower has something to do before a port is deleted, for instance to free the floating IPs that lead to it. Its error
// forbids the deletion.
type Follower interface {
	PortDeleted(tx *state.Tx, p *model.Port) error
}

// Watcher is a Follower that is also asked before a changed port is stored in the place of the old one. Its error
// forbids the change.
type Watcher interface {
	PortChanged(tx *state.Tx, c *auth.Caller, old, p *model.Port) error
}

// Options are what the rules of ports need.
type Options struct {
	// Liveness knows which hosts are connected; nil: all are.
	Liveness mech.Liveness
	// Random makes MACs and picks addresses; default rand.Uint64N. It is called by one goroutine at a time.
	Random ipam.Random
	// DNSDomain is the domain of the names of workloads, without a dot at its end; default model.DefaultDNSDomain.
	DNSDomain string
}

// Rules are the rules of ports.
type Rules struct {
	opts      Options
	followers []Follower
}

// New returns the rules.
func New(opts Options) *Rules {
	if opts.Random == nil {
		opts.Random = rand.Uint64N
	}
	if opts.DNSDomain == "" {
		opts.DNSDomain = model.DefaultDNSDomain
	}
	return &Rules{opts: opts}
}

// Follow adds a follower. It is called while the program is put together, before the rules are in use.
func (s *Rules) Follow(f Follower) { s.followers = append(s.followers, f) }

// Create gives the port a MAC and addresses where it has none, binds it to its host, and stores it.
func (s *Rules) Create(tx *state.Tx, c *auth.Caller, p *model.Port, given schema.Given) error {
	n, err := network.Find(tx, c, p.NetworkID)
	if err != nil {
		return err
	}
	if err := checkHost(p.Binding.Host); err != nil {
		return err
	}
	if err := checkDevice(tx, c, p); err != nil {
		return err
	}
	if p.Binding.VNICType == "" {
		p.Binding.VNICType = vnicNormal
	}
	if !given.Has("port_security_enabled") {
		p.PortSecurityEnabled = n.PortSecurityEnabled
	}
	if err := s.setMAC(tx, p); err != nil {
		return err
	}
	if err := secure(tx, c, p, given); err != nil {
		return err
	}
	if err := s.checkName(p); err != nil {
		return err
	}
	if err := qos.CheckUsable(tx, c, p.QoSPolicyID); err != nil {
		return err
	}
	p.ExtraDHCPOpts = mergeOptions(nil, p.ExtraDHCPOpts)
	if err := s.address(tx, c, n, p, given.Has("fixed_ips")); err != nil {
		return err
	}
	s.bind(tx, p, s.opts.Liveness)
	settle(p)
	state.Ports.Put(tx, p)
	return nil
}

// address gives a new port its addresses: those that it asks for, or one of each version.
func (s *Rules) address(tx *state.Tx, c *auth.Caller, n *model.Network, p *model.Port, wished bool) (err error) {
	a := s.addresses(tx, c, n, p)
	switch {
	case wished && len(p.FixedIPs) == 0:
		p.IPAllocation = model.IPNone
	case wished:
		p.FixedIPs, err = a.wanted(p.FixedIPs, nil)
	case a.deferred():
		p.IPAllocation = model.IPDeferred
	default:
		p.FixedIPs, err = a.any()
	}
	return err
}

// Update checks and makes the changes, and stores the port. Addresses that are asked for again stay; a port that is to
// appear on another host is bound anew.
func (s *Rules) Update(tx *state.Tx, c *auth.Caller, old, p *model.Port, given schema.Given) error {
	n, ok := state.Networks.Get(tx, p.NetworkID)
	if !ok {
		return fault.Missing("Network", p.NetworkID)
	}
	if err := s.checkChange(tx, c, old, p, given); err != nil {
		return err
	}
	if given.Has("extra_dhcp_opts") {
		p.ExtraDHCPOpts = mergeOptions(old.ExtraDHCPOpts, p.ExtraDHCPOpts)
		if err := checkOptions(p); err != nil {
			return err
		}
	}
	if err := s.changeMAC(tx, old, p); err != nil {
		return err
	}
	if err := secureAgain(tx, c, old, p, given); err != nil {
		return err
	}
	if err := s.addressAgain(tx, c, n, old, p, given); err != nil {
		return err
	}
	s.bindAgain(tx, old, p, given)
	settle(p)
	for _, f := range s.followers {
		if w, ok := f.(Watcher); ok {
			if err := w.PortChanged(tx, c, old, p); err != nil {
				return err
			}
		}
	}
	state.Ports.Put(tx, p)
	return nil
}

// checkChange checks what of a change needs no more than the port itself.
func (s *Rules) checkChange(r state.Reader, c *auth.Caller, old, p *model.Port, given schema.Given) error {
	if p.Binding.Host != old.Binding.Host {
		if err := checkHost(p.Binding.Host); err != nil {
			return err
		}
	}
	if p.DeviceID != old.DeviceID || p.DeviceOwner != old.DeviceOwner {
		if err := checkDevice(r, c, p); err != nil {
			return err
		}
	}
	if p.Binding.VNICType == "" {
		p.Binding.VNICType = vnicNormal
	}
	if old.Binding.Bound() && p.Binding.VNICType != old.Binding.VNICType {
		return fault.New(fault.Conflict, "PortInUse", "Unable to complete operation on port %s for network %s. "+
			"Port already has an attached device %s.", p.ID, p.NetworkID, p.DeviceID)
	}
	if old.Binding.Bound() && given.Has("numa_affinity_policy") {
		return fault.New(fault.Conflict, "PortBoundNUMAAffinityPolicy", "Unable to complete operation on port %s, port "+
			"is already bound to host %s, numa_affinity_policy value given %s.", p.ID, old.Binding.Host, p.NUMAAffinityPolicy)
	}
	if p.DNSName != old.DNSName {
		if err := s.checkName(p); err != nil {
			return err
		}
	}
	return qos.CheckChange(r, c, old.QoSPolicyID, p.QoSPolicyID)
}

// addressAgain gives a changed port the addresses that it asks for, that follow from its new MAC, or that had to wait
// until its host was known.
func (s *Rules) addressAgain(tx *state.Tx, c *auth.Caller, n *model.Network, old, p *model.Port, given schema.Given,
) (err error) {
	moved := p.Binding.Host != "" && p.Binding.Host != old.Binding.Host
	switch {
	case given.Has("fixed_ips") || p.MAC != old.MAC && len(old.FixedIPs) > 0:
		if p.FixedIPs, err = s.addresses(tx, c, n, p).wanted(p.FixedIPs, old); err != nil {
			return err
		}
		if len(p.FixedIPs) > 0 {
			p.IPAllocation = ""
		}
		return checkAddressChange(tx, c, old, p)
	case moved && old.IPAllocation == model.IPDeferred && len(old.FixedIPs) == 0:
		p.FixedIPs, err = s.addresses(tx, c, n, p).any()
		return err
	case moved && len(p.FixedIPs) > 0:
		return s.addresses(tx, c, n, p).checkReach()
	}
	return nil
}

// Delete deletes the port, unless something stands on it; see checkDelete.
func (s *Rules) Delete(tx *state.Tx, c *auth.Caller, p *model.Port) error {
	if err := checkDelete(tx, c, p); err != nil {
		return err
	}
	for _, f := range s.followers {
		if err := f.PortDeleted(tx, p); err != nil {
			return err
		}
	}
	state.Ports.Delete(tx, p.ID)
	return nil
}
