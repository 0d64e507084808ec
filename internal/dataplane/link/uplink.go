package link

import (
	"fmt"

	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// Uplink is the interface of the host through which a flat network is reached: it becomes a member of the network's
// bridge.
//
// The interface belongs to the host and keeps its name, MTU and alias. That its membership is ours is known by the
// operator's mapping, which names it (Wanted.Mapped): such an interface is in the bridge of a network that wants it, and
// in no other bridge of a network. It has to be free: one with addresses of the host is refused. The host would lose them
// with the interface, and they cannot be kept on the bridge, for what a network's bridge hands to the host is dropped.
type Uplink struct {
	Device string
	Bridge string
	MTU    int // bytes; the interface has to carry as much
}

// uplinkState is what is kept right on an uplink.
type uplinkState struct {
	Bridge string
	MTU    int
	Up     bool
}

// satisfiedBy: an interface that carries more than the network needs is right.
func (w uplinkState) satisfiedBy(a uplinkState) bool {
	return w.Bridge == a.Bridge && w.Up == a.Up && w.MTU <= a.MTU
}

func (d *Driver) observeUplinks(w Wanted) {
	wanted := make(map[string]uplinkState, len(w.Uplinks))
	actual := make(map[string]uplinkState, len(w.Uplinks))
	for _, u := range w.Uplinks {
		wanted[u.Device] = uplinkState{Bridge: u.Bridge, MTU: u.MTU, Up: true}
		if l := d.links[u.Device]; l != nil {
			actual[u.Device] = d.uplinkState(l)
		}
	}
	for name := range w.Mapped {
		l := d.links[name]
		if _, is := wanted[name]; is || l == nil {
			continue
		}
		if bridge := d.names[l.Master]; networkBridge.MatchString(bridge) && !w.Untouched[bridge] {
			actual[name] = d.uplinkState(l)
		}
	}
	d.uplinks.Want(wanted)
	d.uplinks.Observe(actual)
}

func (d *Driver) uplinkState(l *netlinkx.Link) uplinkState {
	return uplinkState{Bridge: d.names[l.Master], MTU: l.MTU, Up: l.Up}
}

// ApplyUplinks puts the uplinks into their bridges, which come first.
func (d *Driver) ApplyUplinks() {
	for _, u := range d.uplinks.Updates(d.Now()) {
		if err := d.setUplink(u.Key, u.Wanted, u.Actual); err != nil {
			d.failed(err, func() { d.uplinks.Failed(u.Key, err, d.Now()) })
			continue
		}
		d.uplinks.Updated(u.Key)
		if u.Drift {
			d.Drift("uplink", u.Key, difference(u.Exists, u.Wanted, u.Actual))
		}
	}
}

func (d *Driver) setUplink(name string, want, have uplinkState) error {
	l := d.links[name]
	switch {
	case l == nil:
		return fmt.Errorf("there is no interface %s, which the bridge mappings of this host name", name)
	case l.Kind == "bridge":
		return fmt.Errorf("%s is a bridge: the bridge mappings of this host have to name an interface", name)
	case have.MTU < want.MTU:
		return fmt.Errorf("interface %s carries packets of %d bytes, and the network has an MTU of %d",
			name, have.MTU, want.MTU)
	case have.Bridge != want.Bridge:
		if err := d.enslave(l, have.Bridge, want.Bridge); err != nil {
			return err
		}
	}
	if !have.Up {
		if err := d.Handle.SetUp(l.Index); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return nil
}

// enslave puts a free interface into the bridge.
func (d *Driver) enslave(l *netlinkx.Link, from, to string) error {
	if l.Master != 0 && !networkBridge.MatchString(from) {
		return fmt.Errorf("interface %s is a member of %s already", l.Name, from)
	}
	addresses, err := d.Handle.Addresses()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if a.Index == l.Index && !a.Prefix.Addr().IsLinkLocalUnicast() {
			return fmt.Errorf("interface %s has the address %s of this host: a flat network takes an interface for itself",
				l.Name, a.Prefix)
		}
	}
	if d.Index(to) == 0 {
		return fmt.Errorf("put %s into bridge %s: there is no such bridge", l.Name, to)
	}
	if err := d.Handle.SetMaster(l.Index, d.Index(to)); err != nil {
		return fmt.Errorf("put %s into bridge %s: %w", l.Name, to, err)
	}
	return nil
}

// DetachUplinks takes the interfaces of networks that are gone out of their bridges. They stay up.
func (d *Driver) DetachUplinks() {
	for _, x := range d.uplinks.Deletes(d.Now()) {
		if err := d.Handle.SetMaster(d.Index(x.Key), 0); err != nil && !netlinkx.Gone(err) {
			d.uplinks.Failed(x.Key, fmt.Errorf("take %s out of %s: %w", x.Key, x.Actual.Bridge, err), d.Now())
			continue
		}
		d.uplinks.Deleted(x.Key)
	}
}

// UplinkErr returns why the uplink is not as it is wanted, or nil.
func (d *Driver) UplinkErr(device string) error { return d.uplinks.Err(device) }
