package link

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
)

// tunnelState is what is kept right on a VXLAN device.
type tunnelState struct {
	Kind     string
	VNI      int
	Local    netip.Addr
	Port     int
	Learning bool
	Alias    string
	MTU      int
	Bridge   string
	// AnswersARP: ARP requests for neighbours behind the tunnel are answered on this host, from the neighbour table of
	// the bridge, and are not sent into the tunnel.
	//
	// The bridge port has two settings that do so. neigh_suppress would answer IPv6 solicitations as well, but it
	// also holds back every gratuitous ARP and unsolicited advertisement, so that an address which moves to another
	// workload (VRRP) would stay unknown on the other hosts until their caches expire. proxy_arp_wifi answers ARP and
	// lets those through.
	AnswersARP bool
	Suppress   bool
	Up         bool
	Quiet      bool
}

// identity are the attributes that the kernel cannot change on a device: when they differ, it is made anew.
func (s tunnelState) identity() tunnelState {
	return tunnelState{VNI: s.VNI, Local: s.Local, Port: s.Port, Learning: s.Learning}
}

func (d *Driver) observeTunnels(w Wanted) {
	wanted := make(map[string]tunnelState, len(w.Tunnels))
	actual := make(map[string]tunnelState, len(w.Tunnels))
	for _, t := range w.Tunnels {
		wanted[t.Name] = tunnelState{
			Kind: "vxlan", VNI: t.VNI, Local: t.Local, Port: VXLANPort, Learning: true,
			Alias: TunnelMark + t.NetworkID, MTU: t.MTU, Bridge: t.Bridge, AnswersARP: true, Up: true, Quiet: true,
		}
		// A VXLAN device of the right name is taken for ours even without a mark: it was left by a crash, or by the
		// agent of Neutron which this one replaces.
		if l := d.links[t.Name]; l != nil {
			actual[t.Name] = d.tunnelState(l)
		}
	}
	for name, l := range d.links {
		if _, is := wanted[name]; !is && l.Kind == "vxlan" && strings.HasPrefix(l.Alias, TunnelMark) &&
			!w.Untouched[name] {
			actual[name] = d.tunnelState(l)
		}
	}
	d.tunnels.Want(wanted)
	d.tunnels.Observe(actual)
}

func (d *Driver) tunnelState(l *netlinkx.Link) tunnelState {
	s := tunnelState{
		Kind: l.Kind, Alias: l.Alias, MTU: l.MTU, Bridge: d.names[l.Master], Up: l.Up, Quiet: silent(l),
	}
	if l.VXLAN != nil {
		s.VNI, s.Local, s.Port, s.Learning = l.VXLAN.ID, l.VXLAN.Local, l.VXLAN.Port, l.VXLAN.Learning
	}
	if l.Port != nil {
		s.AnswersARP, s.Suppress = l.Port.AnswerARP, l.Port.NeighSuppress
	}
	return s
}

// ApplyTunnels makes the VXLAN devices as they are wanted. The bridges come first.
func (d *Driver) ApplyTunnels() {
	for _, u := range d.tunnels.Updates(d.Now()) {
		if err := d.setTunnel(u); err != nil {
			d.failed(err, func() { d.tunnels.Failed(u.Key, err, d.Now()) })
			continue
		}
		d.tunnels.Updated(u.Key)
		if u.Drift {
			d.Drift("vxlan", u.Key, difference(u.Exists, u.Wanted, u.Actual))
		}
	}
}

func (d *Driver) setTunnel(u reconcile.Update[string, tunnelState]) error {
	name, want, have := u.Key, u.Wanted, u.Actual
	if u.Exists && have.Kind != "vxlan" {
		return fmt.Errorf("device %s: there is a device of that name which is a %q", name, have.Kind)
	}
	if !u.Exists || have.identity() != want.identity() {
		l, err := d.makeTunnel(name, want, u.Exists)
		if err != nil {
			return err
		}
		have = d.tunnelState(l)
	}
	index := d.Index(name)
	if have.Alias != want.Alias {
		if err := d.Handle.SetAlias(index, want.Alias); err != nil {
			return fmt.Errorf("mark %s: %w", name, err)
		}
	}
	if have.MTU != want.MTU {
		if err := d.Handle.SetMTU(index, want.MTU); err != nil {
			return fmt.Errorf("set mtu %d of %s: %w", want.MTU, name, err)
		}
	}
	if err := d.silence(name, have.Quiet, have.MTU != want.MTU); err != nil {
		return err
	}
	if have.Bridge != want.Bridge {
		if d.Index(want.Bridge) == 0 {
			return fmt.Errorf("put %s into bridge %s: there is no such bridge", name, want.Bridge)
		}
		if err := d.Handle.SetMaster(index, d.Index(want.Bridge)); err != nil {
			return fmt.Errorf("put %s into bridge %s: %w", name, want.Bridge, err)
		}
		have.AnswersARP, have.Suppress = false, false // a new member starts with the defaults
	}
	if have.AnswersARP != want.AnswersARP || have.Suppress != want.Suppress {
		port := netlinkx.PortInfo{AnswerARP: want.AnswersARP, NeighSuppress: want.Suppress}
		if err := d.Handle.SetPort(index, port); err != nil {
			return fmt.Errorf("set proxy_arp_wifi of %s: %w", name, err)
		}
	}
	if !have.Up {
		if err := d.Handle.SetUp(index); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return nil
}

// makeTunnel makes the device, in place of one whose identity is wrong.
func (d *Driver) makeTunnel(name string, want tunnelState, replace bool) (*netlinkx.Link, error) {
	if replace {
		if err := d.Handle.DeleteLink(d.Index(name)); err != nil && !netlinkx.Gone(err) {
			return nil, fmt.Errorf("remove %s, which has another VNI, address or port: %w", name, err)
		}
	}
	info := netlinkx.VXLANInfo{ID: want.VNI, Local: want.Local, Port: want.Port, Learning: want.Learning}
	if err := d.Handle.AddVXLAN(name, want.MTU, info); err != nil {
		return nil, fmt.Errorf("make %s with vni %d, local address %s and mtu %d: %w",
			name, want.VNI, want.Local, want.MTU, err)
	}
	return d.reread(name)
}

// DeleteTunnels removes our VXLAN devices of networks that are gone.
func (d *Driver) DeleteTunnels() {
	for _, x := range d.tunnels.Deletes(d.Now()) {
		if err := d.Handle.DeleteLink(d.Index(x.Key)); err != nil && !netlinkx.Gone(err) {
			d.tunnels.Failed(x.Key, fmt.Errorf("remove %s: %w", x.Key, err), d.Now())
			continue
		}
		d.tunnels.Deleted(x.Key)
		delete(d.links, x.Key)
	}
}

// TunnelErr returns why the VXLAN device is not as it is wanted, or nil.
func (d *Driver) TunnelErr(name string) error { return d.tunnels.Err(name) }
