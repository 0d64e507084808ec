// Package localip holds the rules of local IPs: addresses that mean another port on each host, namely the one that is
// associated with the address there.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
//
//   - localip.go: the local IPs, and the port that holds the address of each.
//   - association.go: the ports that answer for a local IP.
package localip

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Ports are the rules of ports.
type Ports interface {
	Create(tx *state.Tx, c *auth.Caller, p *model.Port, given schema.Given) error
	Delete(tx *state.Tx, c *auth.Caller, p *model.Port) error
}

// Rules are the rules of local IPs.
type Rules struct {
	Ports Ports // required
}

// Create finds or makes the port that holds the address, and stores the local IP.
func (s Rules) Create(tx *state.Tx, c *auth.Caller, l *model.LocalIP, given schema.Given) error {
	var p *model.Port
	var err error
	switch {
	case given.Has("local_port_id"):
		p, err = ownPort(tx, c, "local_ip", l.LocalPortID)
	case given.Has("network_id"):
		p, err = s.makePort(tx, c, l)
	default:
		return fault.New(fault.Invalid, "LocalIPPortOrNetworkRequired",
			"Either Port ID or Network ID must be specified for Local IP create.")
	}
	if err != nil {
		return err
	}
	l.LocalPortID, l.NetworkID = p.ID, p.NetworkID
	if l.Address, err = fixedIP(p, l.Address); err != nil {
		return err
	}
	state.LocalIPs.Put(tx, l)
	return nil
}

// Update stores the local IP.
func (Rules) Update(tx *state.Tx, _ *auth.Caller, _, l *model.LocalIP, _ schema.Given) error {
	state.LocalIPs.Put(tx, l)
	return nil
}

// Delete deletes the local IP, and the port if it was made for it. Ports that are associated forbid it: the fault is
// LocalIPInUse (409).
func (s Rules) Delete(tx *state.Tx, _ *auth.Caller, l *model.LocalIP) error {
	if state.LocalIPAssociationsByLocalIP.Has(tx, l.ID) {
		return fault.New(fault.Conflict, "LocalIPInUse", "Local IP %s is still associated with one or more ports.", l.ID)
	}
	state.LocalIPs.Delete(tx, l.ID)
	if p, ok := state.Ports.Get(tx, l.LocalPortID); ok && p.DeviceOwner == model.DeviceOwnerLocalIP && p.DeviceID == l.ID {
		return s.Ports.Delete(tx, auth.System, p)
	}
	return nil
}

// ownPort returns the port, if it is the caller's.
func ownPort(r state.Reader, c *auth.Caller, resource, id string) (*model.Port, error) {
	p, ok := state.Ports.Get(r, id)
	if !ok || !c.Admin() && p.ProjectID != c.ProjectID {
		return nil, fault.New(fault.Invalid, "BadRequest", "Bad %s request: Port %s not found.", resource, id)
	}
	return p, nil
}

// makePort makes the port that holds the address, on a network of the caller's or one that is shared with it.
func (s Rules) makePort(tx *state.Tx, c *auth.Caller, l *model.LocalIP) (*model.Port, error) {
	n, err := network.Find(tx, c, l.NetworkID)
	if err != nil {
		return nil, err
	}
	if !c.Admin() && n.ProjectID != c.ProjectID && !rbac.Shared(tx, network.RBACType, n.ID, c.ProjectID) {
		return nil, fault.New(fault.Forbidden, "PolicyNotAuthorized", "rule:create_port is disallowed by policy")
	}
	if !hasIPv4(tx, n.ID) {
		return nil, fault.New(fault.Invalid, "BadRequest",
			"Bad local_ip request: Network %s does not contain any IPv4 subnet.", n.ID)
	}
	p := &model.Port{
		Meta: model.Meta{ID: tx.NewID(), ProjectID: l.ProjectID}, NetworkID: n.ID, AdminStateUp: true,
		DeviceOwner: model.DeviceOwnerLocalIP, DeviceID: l.ID,
	}
	given := schema.Given{"device_owner": true, "device_id": true, "port_security_enabled": true, "security_groups": true}
	if l.Address.IsValid() {
		p.FixedIPs = []model.FixedIP{{IP: l.Address}}
		given["fixed_ips"] = true
	}
	if err := s.Ports.Create(tx, auth.System, p, given); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP.Is4() })
	if i >= 0 && !l.Address.IsValid() {
		l.Address = p.FixedIPs[i].IP
	}
	return p, nil
}

func hasIPv4(r state.Reader, networkID string) bool {
	for sub := range state.SubnetsByNetwork.List(r, networkID) {
		if sub.IPVersion == 4 {
			return true
		}
	}
	return false
}

// fixedIP returns the address of the port that is meant: the wanted one, or the only one there is.
func fixedIP(p *model.Port, wanted netip.Addr) (netip.Addr, error) {
	if len(p.FixedIPs) == 0 {
		return wanted, fault.New(fault.Invalid, "LocalIPNoIP", "Specified Port %s has no fixed IPs configured.", p.ID)
	}
	if !wanted.IsValid() {
		if len(p.FixedIPs) > 1 {
			return wanted, fault.New(fault.Invalid, "LocalIPNoRequestedIP",
				"Specified Port %s has several IPs, should specify exact IP address to use for Local IP.", p.ID)
		}
		return p.FixedIPs[0].IP, nil
	}
	for _, f := range p.FixedIPs {
		if f.IP == wanted {
			return wanted, nil
		}
	}
	return wanted, fault.New(fault.Invalid, "LocalIPRequestedIPNotFound",
		"Specified Port %s does not have requested IP address: %s.", p.ID, wanted)
}

// Guard keeps the ports that hold addresses of local IPs; it is a port.Follower.
type Guard struct{}

// PortDeleted refuses that a port which holds the address of a local IP is deleted by itself: the fault is
// ServicePortInUse (409). Of other ports it removes the associations.
func (Guard) PortDeleted(tx *state.Tx, p *model.Port) error {
	if state.LocalIPsByPort.Has(tx, p.ID) {
		return fault.New(fault.Conflict, "ServicePortInUse",
			"Port %s cannot be deleted directly via the port API: still referenced by Local IPs.", p.ID)
	}
	for _, a := range slices.Collect(state.LocalIPAssociationsByPort.List(tx, p.ID)) {
		state.LocalIPAssociations.Delete(tx, a.ID)
	}
	return nil
}
