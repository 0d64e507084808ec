// Package floatingip holds the rules of floating IPs and of their port forwardings.
//
// The address of a floating IP is booked by a port that it owns on the external network, so that the addresses of
// floating IPs, gateways and other ports cannot clash. A floating IP either stands for one address of a port, or hands
// some of its transport ports to several by port forwardings; in both cases one router translates.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and return
// a *fault.Error, after which the transaction is dropped.
//
// Read in this order:
//   - floatingip.go: create, update, delete, as the API asks for them.
//   - associate.go: which address of a port a floating IP stands for, and which router translates.
//   - forwarding.go: port forwardings.
//   - guard.go: what becomes of floating IPs when ports and networks change or go.
//   - view.go: how floating IPs look to those who read them, and the pools they are from.
package floatingip

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/service/router"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Options are what the rules of floating IPs need.
type Options struct {
	Ports *port.Rules // required: they make the ports that book addresses
}

// Rules are the rules of floating IPs.
type Rules struct{ opts Options }

// New returns the rules.
func New(opts Options) *Rules { return &Rules{opts: opts} }

// Create books an address for the floating IP, associates it with the port that is asked for, and stores it.
func (s *Rules) Create(tx *state.Tx, c *auth.Caller, f *model.FloatingIP, _ schema.Given) error {
	n, err := network.Find(tx, c, f.NetworkID)
	if err != nil {
		return err
	}
	if !n.External {
		return bad("Network %s is not a valid external network", n.ID)
	}
	if err := qos.CheckChange(tx, c, "", f.QoSPolicyID); err != nil {
		return err
	}
	// The subnets of an external network may be named by all who use it; of others nobody is told that there are such.
	if sub, ok := state.Subnets.Get(tx, f.SubnetID); ok && sub.NetworkID != n.ID {
		if _, err := network.Find(tx, c, sub.NetworkID); err != nil {
			return fault.Missing("Subnet", sub.ID)
		}
	}
	if err := s.book(tx, f); err != nil {
		return err
	}
	wanted := target{f.PortID, f.FixedIP}
	f.Status = model.FloatingIPDown
	release(f)
	if err := associate(tx, c, f, wanted); err != nil {
		return err
	}
	state.FloatingIPs.Put(tx, f)
	return nil
}

// book makes the port that holds the address: the one that is asked for, or any.
func (s *Rules) book(tx *state.Tx, f *model.FloatingIP) error {
	ipv4 := func(s *model.Subnet) bool { return s.IPVersion == 4 }
	if !slices.ContainsFunc(slices.Collect(state.SubnetsByNetwork.List(tx, f.NetworkID)), ipv4) {
		return bad("Network %s does not contain any IPv4 subnet", f.NetworkID)
	}
	p := router.Port(tx, "", f.NetworkID, f.ID, model.DeviceOwnerFloatingIP)
	given := schema.Given{"port_security_enabled": true}
	if f.SubnetID != "" || f.Address.IsValid() {
		p.FixedIPs = []model.FixedIP{{SubnetID: f.SubnetID, IP: f.Address}}
		given["fixed_ips"] = true
	}
	if err := s.opts.Ports.Create(tx, auth.System, p, given); err != nil {
		return err
	}
	at := slices.IndexFunc(p.FixedIPs, func(ip model.FixedIP) bool { return ip.IP.Is4() })
	if at < 0 {
		return fault.New(fault.Invalid, "ExternalIpAddressExhausted",
			"Unable to find any IP address on external network %s.", f.NetworkID)
	}
	f.Address, f.BookingID, f.SubnetID = p.FixedIPs[at].IP, p.ID, ""
	return nil
}

// Update associates the floating IP with another port, or with none, and stores it.
func (s *Rules) Update(tx *state.Tx, c *auth.Caller, old, f *model.FloatingIP, given schema.Given) error {
	if err := qos.CheckChange(tx, c, old.QoSPolicyID, f.QoSPolicyID); err != nil {
		return err
	}
	if given.Any("port_id", "fixed_ip_address") {
		if !given.Has("fixed_ip_address") {
			f.FixedIP = netip.Addr{}
		}
		if !given.Has("port_id") && f.FixedIP.IsValid() {
			return errNoPort
		}
		wanted := target{f.PortID, f.FixedIP}
		if wanted.portID != "" && state.PortForwardingsByFloatingIP.Has(tx, f.ID) {
			return inUse(f)
		}
		f.PortID, f.FixedIP, f.RouterID = old.PortID, old.FixedIP, old.RouterID
		if old.PortID != "" {
			release(f)
		}
		if err := associate(tx, c, f, wanted); err != nil {
			return err
		}
		if f.PortID != old.PortID || f.FixedIP != old.FixedIP || f.RouterID != old.RouterID {
			f.Status = model.FloatingIPDown
		} else {
			f.Status = old.Status
		}
	}
	state.FloatingIPs.Put(tx, f)
	return nil
}

// Delete deletes the floating IP and gives its address back. Port forwardings forbid it: the fault is
// FipInUseByPortForwarding (409).
func (s *Rules) Delete(tx *state.Tx, _ *auth.Caller, f *model.FloatingIP) error {
	if state.PortForwardingsByFloatingIP.Has(tx, f.ID) {
		return inUse(f)
	}
	if p, ok := state.Ports.Get(tx, f.BookingID); ok {
		if err := s.opts.Ports.Delete(tx, auth.System, p); err != nil {
			return err
		}
	}
	state.FloatingIPs.Delete(tx, f.ID)
	return nil
}

func inUse(f *model.FloatingIP) error {
	return fault.New(fault.Conflict, "FipInUseByPortForwarding",
		"Floating IP %s in use by Port Forwarding resources.", f.ID)
}

var errNoPort = bad("fixed_ip_address cannot be specified without a port_id")

// bad is the 400 of a request that does not fit the floating IP.
func bad(format string, args ...any) error { return badOf("floatingip", format, args...) }

func badOf(resource, format string, args ...any) error {
	return fault.New(fault.Invalid, "BadRequest", "Bad %s request: %s.", resource, fmt.Sprintf(format, args...))
}
