// Package dhcp decides which hosts serve a network with DHCP, and gives each of them its port on the network.
//
// A network is to be served when it has a subnet with DHCP. A served network has, for each serving host, a
// DHCPBinding and a port of the device owner network:dhcp that is bound to the host and has an address in each of
// these subnets; the host's view of the state follows from them. Ensure makes it so, whatever was there before: it is
// called when something changed that may matter, and changes nothing when all is right. Package scheduler calls it.
// What operators have placed, or taken away (manual.go), it leaves as it is.
package dhcp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// ErrNoHost says that fewer hosts serve the network than should, since no other host that could is connected.
var ErrNoHost = errors.New("no connected host has a DHCP agent that could serve the network")

// Options configure a Service.
type Options struct {
	Ports    *port.Rules   // required: they make the ports
	Liveness mech.Liveness // nil: all hosts are connected
	// AgentsPerNetwork is how many hosts serve a network; default 1.
	AgentsPerNetwork int
}

// Service gives networks their DHCP servers.
type Service struct{ opts Options }

// New returns a service.
func New(opts Options) *Service {
	if opts.AgentsPerNetwork == 0 {
		opts.AgentsPerNetwork = 1
	}
	return &Service{opts: opts}
}

// Ensure makes the DHCP service of the network what it should be. See Pass.Ensure.
func (s *Service) Ensure(tx *state.Tx, networkID string) error { return s.Pass(tx).Ensure(networkID) }

// Available says whether any host can be given a network to serve.
func (s *Service) Available(r state.Reader) bool {
	for a := range state.Agents.All(r) {
		if s.usable(a) {
			return true
		}
	}
	return false
}

// usable says whether networks may be given to the agent.
func (s *Service) usable(a *model.Agent) bool {
	if a.Role != model.RoleDHCP || !a.AdminStateUp {
		return false
	}
	if s.opts.Liveness == nil {
		return true
	}
	alive, _ := s.opts.Liveness.Alive(a.Host)
	return alive
}

// Pass looks after several networks in one transaction: it counts what the hosts have to do only once.
type Pass struct {
	s  *Service
	tx *state.Tx
	// load has the number of networks served by each usable host; nil until needed.
	load map[string]int
}

// Pass begins a pass.
func (s *Service) Pass(tx *state.Tx) *Pass { return &Pass{s: s, tx: tx} }

// Ensure makes the DHCP service of the network what it should be. An error says what could not be done; the rest is
// done, and stands. ErrNoHost is one that passes when a host comes.
func (p *Pass) Ensure(networkID string) error {
	n, ok := state.Networks.Get(p.tx, networkID)
	var served []*model.Subnet
	if ok {
		for _, id := range n.SubnetIDs {
			if sub, ok := state.Subnets.Get(p.tx, id); ok && sub.EnableDHCP {
				served = append(served, sub)
			}
		}
	}
	hosts := p.keep(networkID, len(served) > 0, ok)
	var problems []error
	if len(served) > 0 {
		for len(hosts) < p.s.opts.AgentsPerNetwork {
			host, found := p.choose(n, hosts)
			if !found {
				problems = append(problems, fmt.Errorf("network %s: %w", networkID, ErrNoHost))
				break
			}
			hosts = append(hosts, host)
		}
		for _, host := range hosts {
			if err := p.serve(n, host, served); err != nil {
				problems = append(problems, fmt.Errorf("network %s, host %s: %w", networkID, host, err))
			}
		}
	}
	return errors.Join(problems...)
}

// keep removes the servers of the network that it should not have, and returns the hosts of the others. Those that
// operators have placed come first, and stay even while there is nothing to serve.
func (p *Pass) keep(networkID string, served, exists bool) (hosts []string) {
	bindings := slices.SortedStableFunc(state.DHCPBindingsByNetwork.List(p.tx, networkID), func(a, b *model.DHCPBinding) int {
		switch {
		case a.Manual == b.Manual:
			return 0
		case a.Manual:
			return -1
		}
		return 1
	})
	for _, b := range bindings {
		wanted := b.Manual && exists || served && len(hosts) < p.s.opts.AgentsPerNetwork
		switch {
		case !wanted || !hasAgent(p.tx, b.Host):
			p.remove(b)
		default:
			if !served {
				removeServer(p.tx, b)
			}
			hosts = append(hosts, b.Host)
		}
	}
	return hosts
}

// hasAgent says whether the host has a DHCP agent, be it connected or not.
func hasAgent(r state.Reader, host string) bool {
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role == model.RoleDHCP {
			return true
		}
	}
	return false
}

// choose returns the usable host for the network, other than those given, that serves the fewest networks. Where the
// network names availability zones, it is in one of them.
func (p *Pass) choose(n *model.Network, not []string) (string, bool) {
	if p.load == nil {
		p.load = map[string]int{}
		for a := range state.Agents.All(p.tx) {
			if p.s.usable(a) {
				p.load[a.Host] = state.DHCPBindingsByHost.Count(p.tx, a.Host)
			}
		}
	}
	hosts := slices.SortedFunc(maps.Keys(p.load), func(a, b string) int {
		return cmp.Or(cmp.Compare(p.load[a], p.load[b]), strings.Compare(a, b))
	})
	for _, host := range hosts {
		_, excluded := state.DHCPExclusions.Get(p.tx, bindingID(n.ID, host))
		if !excluded && !slices.Contains(not, host) && inZones(p.tx, host, n.AvailabilityZoneHints) {
			p.load[host]++
			return host, true
		}
	}
	return "", false
}

// inZones says whether the DHCP agent of the host is in one of the zones; without any, every host is.
func inZones(r state.Reader, host string, zones []string) bool {
	if len(zones) == 0 {
		return true
	}
	for a := range state.AgentsByHost.List(r, host) {
		if a.Role == model.RoleDHCP && slices.Contains(zones, a.AvailabilityZone) {
			return true
		}
	}
	return false
}

// remove ends the service of a host for a network, and deletes its port.
func (p *Pass) remove(b *model.DHCPBinding) {
	Remove(p.tx, b)
	if _, counted := p.load[b.Host]; counted {
		p.load[b.Host]--
	}
}

// Remove ends the service of a host for a network, and deletes its port.
func Remove(tx *state.Tx, b *model.DHCPBinding) {
	state.DHCPBindings.Delete(tx, b.ID)
	removeServer(tx, b)
	port.ForgetDHCP(tx, b.NetworkID)
}

// removeServer deletes the port of a DHCP server.
func removeServer(tx *state.Tx, b *model.DHCPBinding) {
	if old, ok := state.Ports.Get(tx, b.PortID); ok && old.DeviceOwner == model.DeviceOwnerDHCP {
		state.Ports.Delete(tx, old.ID)
	}
}

// serve makes the binding and the port of a host what they should be.
func (p *Pass) serve(n *model.Network, host string, served []*model.Subnet) error {
	id := bindingID(n.ID, host)
	have, ok := state.DHCPBindings.Get(p.tx, id)
	if ok {
		old, ok := state.Ports.Get(p.tx, have.PortID)
		if ok && old.DeviceOwner == model.DeviceOwnerDHCP && old.NetworkID == n.ID {
			if old.Binding.Host == host {
				return p.update(old, served)
			}
			state.Ports.Delete(p.tx, old.ID) // somebody has moved it away
		}
	}
	server := &model.Port{
		Meta:         model.Meta{ID: p.tx.NewID(), ProjectID: n.ProjectID},
		NetworkID:    n.ID,
		AdminStateUp: true,
		DeviceOwner:  model.DeviceOwnerDHCP,
		DeviceID:     DeviceID(n.ID, host),
		Binding:      model.Binding{Host: host},
	}
	given := schema.Given{"fixed_ips": true, "port_security_enabled": true}
	// The port is made without addresses first: those that cannot be had, in a subnet that is full, hold up no other.
	if err := p.s.opts.Ports.Create(p.tx, auth.System, server, given); err != nil {
		return fmt.Errorf("making the port of the DHCP server: %w", err)
	}
	b := &model.DHCPBinding{
		Meta: model.Meta{ID: id, ProjectID: n.ProjectID}, NetworkID: n.ID, Host: host, PortID: server.ID,
		Manual: ok && have.Manual,
	}
	state.DHCPBindings.Put(p.tx, b)
	return p.update(server, served)
}

// update gives the port of a DHCP server an address in each of the subnets, and takes from it what is not theirs.
func (p *Pass) update(old *model.Port, served []*model.Subnet) error {
	var problems []error
	current := old
	attempt := func(ips []model.FixedIP) error {
		next := current.Clone()
		next.FixedIPs = ips
		if err := p.s.opts.Ports.Update(p.tx, auth.System, current, next, schema.Given{"fixed_ips": true}); err != nil {
			return err
		}
		current = next
		return nil
	}
	stays := func(f model.FixedIP) bool {
		return slices.ContainsFunc(served, func(s *model.Subnet) bool { return s.ID == f.SubnetID })
	}
	if kept := slices.DeleteFunc(slices.Clone(old.FixedIPs), func(f model.FixedIP) bool { return !stays(f) }); len(kept) <
		len(old.FixedIPs) {
		if err := attempt(kept); err != nil {
			problems = append(problems, err)
		}
	}
	for _, s := range served {
		has := slices.ContainsFunc(current.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID })
		if has {
			continue
		}
		if err := attempt(append(slices.Clone(current.FixedIPs), model.FixedIP{SubnetID: s.ID})); err != nil {
			problems = append(problems, fmt.Errorf("subnet %s: %w", s.ID, err))
		}
	}
	return errors.Join(problems...)
}

// DeviceID is the device_id of the port through which the host serves the network. It is the one that Neutron gives
// (neutron.common.utils.get_dhcp_agent_device_id), which other programs look for: made of the host's name without its
// domain.
func DeviceID(networkID, host string) string {
	short, _, _ := strings.Cut(host, ".")
	return "dhcp" + uuid.NewSHA1(uuid.NameSpaceDNS, []byte(short)).String() + "-" + networkID
}
