package floatingip

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// maxForwardings is how many port forwardings a floating IP may have.
const maxForwardings = 1000

// Forwardings are the rules of port forwardings. The zero value is ready.
type Forwardings struct{}

// Create checks the forwarding, ties its floating IP to the router that translates, and stores it.
func (Forwardings) Create(tx *state.Tx, c *auth.Caller, p *model.PortForwarding, _ schema.Given) error {
	f, ok := state.FloatingIPs.Get(tx, p.FloatingIPID)
	if !ok {
		return fault.Missing("FloatingIP", p.FloatingIPID)
	}
	p.ProjectID = f.ProjectID
	if f.PortID != "" {
		return alreadyAssociated(f, p.InternalPortID, f.FixedIP)
	}
	if state.PortForwardingsByFloatingIP.Count(tx, f.ID) >= maxForwardings {
		return fault.New(fault.Conflict, "OverQuota", "Floating IP %s has %d port forwardings, which is the most it may have.",
			f.ID, maxForwardings)
	}
	through, err := forward(tx, c, f, p)
	if err != nil {
		return err
	}
	if f.RouterID != through.ID {
		f = f.Clone()
		f.RouterID, f.Status = through.ID, model.FloatingIPDown
		state.FloatingIPs.Put(tx, f)
	}
	state.PortForwardings.Put(tx, p)
	return nil
}

// Update checks the changed forwarding and stores it. Another internal port takes its own first address, unless one is
// given.
func (Forwardings) Update(tx *state.Tx, c *auth.Caller, old, p *model.PortForwarding, given schema.Given) error {
	f, ok := state.FloatingIPs.Get(tx, p.FloatingIPID)
	if !ok {
		return fault.Missing("FloatingIP", p.FloatingIPID)
	}
	if p.InternalPortID != old.InternalPortID && !given.Has("internal_ip_address") {
		p.InternalIP = netip.Addr{}
	}
	if _, err := forward(tx, c, f, p); err != nil {
		return err
	}
	state.PortForwardings.Put(tx, p)
	return nil
}

// Delete deletes the forwarding. With its last one, a floating IP is free for any router.
func (Forwardings) Delete(tx *state.Tx, _ *auth.Caller, p *model.PortForwarding) error {
	dropForwarding(tx, p)
	return nil
}

func dropForwarding(tx *state.Tx, p *model.PortForwarding) {
	state.PortForwardings.Delete(tx, p.ID)
	f, ok := state.FloatingIPs.Get(tx, p.FloatingIPID)
	if !ok || f.PortID != "" || state.PortForwardingsByFloatingIP.Has(tx, f.ID) {
		return
	}
	f = f.Clone()
	release(f)
	f.Status = model.FloatingIPDown
	state.FloatingIPs.Put(tx, f)
}

// forward checks the forwarding against its floating IP and the others, and returns the router that translates.
func forward(tx *state.Tx, c *auth.Caller, f *model.FloatingIP, p *model.PortForwarding) (*model.Router, error) {
	if err := checkRanges(p); err != nil {
		return nil, err
	}
	internal, err := internalPort(tx, c, f, p.InternalPortID)
	if err != nil {
		return nil, err
	}
	for o := range state.FloatingIPsByPort.List(tx, internal.ID) {
		return nil, fault.New(fault.Conflict, "PortHasBindingFloatingIP", "Cannot create port forwarding to floating IP %s (%s) "+
			"with port %s using fixed IP %s, as that port already has a binding floating IP.",
			o.Address, o.ID, internal.ID, o.FixedIP)
	}
	subnetID, err := forwardTo(internal, p)
	if err != nil {
		return nil, err
	}
	through, err := translator(tx, f, internal, subnetID)
	if err != nil {
		return nil, badForwarding("External network %s is not reachable from subnet %s. Cannot set Port forwarding for port %s "+
			"with Floating IP %s", f.NetworkID, subnetID, internal.ID, f.ID)
	}
	if f.RouterID != "" && f.RouterID != through.ID && othersThan(tx, f, p) {
		return nil, badForwarding("The Floating IP %s had been set on router %s, the internal Neutron port %s can not reach it",
			f.ID, f.RouterID, internal.ID)
	}
	return through, checkCollisions(tx, p)
}

// othersThan says whether the floating IP has forwardings besides this one: they tie it to its router.
func othersThan(r state.Reader, f *model.FloatingIP, p *model.PortForwarding) bool {
	for o := range state.PortForwardingsByFloatingIP.List(r, f.ID) {
		if o.ID != p.ID {
			return true
		}
	}
	return false
}

// forwardTo checks the internal address, or chooses the port's first one of IPv4. It returns the subnet it is of.
func forwardTo(internal *model.Port, p *model.PortForwarding) (subnetID string, err error) {
	addresses := ipv4(internal)
	if len(addresses) == 0 {
		return "", badForwarding("Requested internal port %s must allocate an IPv4 address at least", internal.ID)
	}
	if !p.InternalIP.IsValid() {
		p.InternalIP = addresses[0].IP
	}
	at := slices.IndexFunc(addresses, func(f model.FixedIP) bool { return f.IP == p.InternalIP })
	if at < 0 {
		return "", badForwarding("Requested internal IP address %s is not suitable for internal neutron port %s",
			p.InternalIP, internal.ID)
	}
	return addresses[at].SubnetID, nil
}

// checkRanges wants as many internal ports as external ones, or a single one.
func checkRanges(p *model.PortForwarding) error {
	switch {
	case p.External.First == 0:
		return badForwarding("external_port or external_port_range must be specified")
	case p.Internal.First == 0:
		return badForwarding("internal_port or internal_port_range must be specified")
	case !p.Internal.Single() && p.Internal.Last-p.Internal.First != p.External.Last-p.External.First:
		return badForwarding("Invalid ranges of internal and/or external ports. The relation between internal and external " +
			"ports must be N-N or 1-N")
	}
	return nil
}

// checkCollisions refuses ports that another forwarding has: outside of the same floating IP, inside of the same address.
func checkCollisions(r state.Reader, p *model.PortForwarding) error {
	collide := func(key string, have, wanted model.PortRange) error {
		return badForwarding("There is a port collision with the %s. The following ranges collide: %d:%d and %d:%d",
			key, have.First, have.Last, wanted.First, wanted.Last)
	}
	for o := range state.PortForwardingsByFloatingIP.List(r, p.FloatingIPID) {
		if o.ID != p.ID && o.Protocol == p.Protocol && o.External.Overlaps(p.External) {
			return collide("external_port_range", o.External, p.External)
		}
	}
	for o := range state.PortForwardingsByPort.List(r, p.InternalPortID) {
		if o.ID != p.ID && o.Protocol == p.Protocol && o.InternalIP == p.InternalIP && o.Internal.Overlaps(p.Internal) {
			return collide("internal_port_range", o.Internal, p.Internal)
		}
	}
	return nil
}

func badForwarding(format string, args ...any) error {
	return badOf("port_forwarding", format, args...)
}
