package link

import (
	"fmt"
	"strings"

	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
)

// bridgeState is what is kept right on a bridge.
type bridgeState struct {
	Kind    string
	Alias   string
	MAC     netlinkx.MAC
	STP     bool
	Delay   uint32 // forward delay
	Forgets bool   // ageing time 0
	Snoops  bool   // multicast snooping
	MTU     int
	Up      bool
	Quiet   bool // no IPv6 of its own, see silent
	// Adopted: made by somebody else, so the alias is theirs.
	Adopted bool
}

func (w bridgeState) satisfiedBy(a bridgeState) bool {
	if a.Adopted {
		a.Adopted, a.Alias = w.Adopted, w.Alias
	}
	return w == a
}

func (d *Driver) observeBridges(w Wanted) {
	wanted := make(map[string]bridgeState, len(w.Bridges))
	actual := make(map[string]bridgeState, len(w.Bridges))
	for _, b := range w.Bridges {
		wanted[b.Name] = bridgeState{
			Kind: "bridge", Alias: BridgeMark + b.NetworkID, MAC: b.MAC, MTU: b.MTU, Up: true, Quiet: true,
		}
		if l := d.links[b.Name]; l != nil {
			actual[b.Name] = d.bridgeState(l)
		}
	}
	foreign := map[int]bool{} // bridges with a member that somebody else put there
	for name, l := range d.links {
		if l.Master != 0 && !portDevice.MatchString(name) && !strings.HasPrefix(l.Alias, TunnelMark) &&
			!w.Mapped[name] {
			foreign[l.Master] = true
		}
	}
	for name, l := range d.links {
		if l.Kind != "bridge" || !strings.HasPrefix(l.Alias, BridgeMark) {
			continue
		}
		d.ours[name] = true
		if _, is := wanted[name]; !is && !w.Untouched[name] && !foreign[l.Index] {
			actual[name] = d.bridgeState(l)
		}
	}
	for name := range d.ours {
		if d.links[name] == nil {
			delete(d.ours, name)
		}
	}
	d.bridges.Want(wanted)
	d.bridges.Observe(actual)
}

func (d *Driver) bridgeState(l *netlinkx.Link) bridgeState {
	if l.Bridge == nil {
		return bridgeState{Kind: l.Kind}
	}
	marked := strings.HasPrefix(l.Alias, BridgeMark) || d.ours[l.Name]
	return bridgeState{
		Kind: l.Kind, Alias: l.Alias, MAC: l.MAC, STP: l.Bridge.STP, Delay: l.Bridge.ForwardDelay,
		Forgets: l.Bridge.AgeingTime == 0, Snoops: l.Bridge.MulticastSnooping, MTU: l.MTU, Up: l.Up,
		Quiet: silent(l),
		// A bridge that is down and unmarked is one of ours whose making was cut short by a crash.
		Adopted: !marked && l.Up,
	}
}

// ApplyBridges makes the bridges as they are wanted.
func (d *Driver) ApplyBridges() {
	for _, u := range d.bridges.Updates(d.Now()) {
		if err := d.setBridge(u); err != nil {
			d.failed(err, func() { d.bridges.Failed(u.Key, err, d.Now()) })
			continue
		}
		d.bridges.Updated(u.Key)
		if u.Drift {
			d.Drift("bridge", u.Key, difference(u.Exists, u.Wanted, u.Actual))
		}
	}
}

func (d *Driver) setBridge(u reconcile.Update[string, bridgeState]) error {
	name, want, have := u.Key, u.Wanted, u.Actual
	info := netlinkx.BridgeInfo{STP: want.STP, ForwardDelay: want.Delay, AgeingTime: ageingTime}
	if u.Exists && have.Kind != "bridge" {
		return fmt.Errorf("bridge %s: there is a device of that name which is a %q", name, have.Kind)
	}
	if d.held != nil && !(u.Exists && have.Up) {
		return d.held
	}
	if !u.Exists {
		if err := d.Handle.AddBridge(name, want.MAC, info); err != nil {
			return fmt.Errorf("make bridge %s: %w", name, err)
		}
		l, err := d.reread(name)
		if err != nil {
			return err
		}
		have = d.bridgeState(l)
	}
	l := d.links[name]
	if have.Alias != want.Alias && !have.Adopted {
		if err := d.Handle.SetAlias(l.Index, want.Alias); err != nil {
			return fmt.Errorf("mark bridge %s: %w", name, err)
		}
		d.ours[name] = true
	}
	if have.MAC != want.MAC {
		if err := d.Handle.SetHardwareAddr(l.Index, want.MAC); err != nil {
			return fmt.Errorf("set mac %s of bridge %s: %w", want.MAC, name, err)
		}
	}
	if have.STP != want.STP || have.Delay != want.Delay || have.Snoops != want.Snoops || have.Forgets != want.Forgets {
		if !have.Forgets {
			info.AgeingTime = l.Bridge.AgeingTime
		}
		if err := d.Handle.SetBridge(l.Index, info); err != nil {
			return fmt.Errorf("set the attributes of bridge %s: %w", name, err)
		}
	}
	if have.MTU != want.MTU {
		if err := d.Handle.SetMTU(l.Index, want.MTU); err != nil {
			return fmt.Errorf("set mtu %d of bridge %s: %w", want.MTU, name, err)
		}
	}
	if err := d.silence(name, have.Quiet, have.MTU != want.MTU); err != nil {
		return err
	}
	if !have.Up {
		if err := d.Handle.SetUp(l.Index); err != nil {
			return fmt.Errorf("set bridge %s up: %w", name, err)
		}
	}
	return nil
}

// DeleteBridges removes our bridges of networks that are gone.
func (d *Driver) DeleteBridges() {
	for _, x := range d.bridges.Deletes(d.Now()) {
		if err := d.Handle.DeleteLink(d.Index(x.Key)); err != nil && !netlinkx.Gone(err) {
			d.bridges.Failed(x.Key, fmt.Errorf("remove bridge %s: %w", x.Key, err), d.Now())
			continue
		}
		d.bridges.Deleted(x.Key)
		delete(d.links, x.Key)
	}
}

// BridgeErr returns why the bridge is not as it is wanted, or nil.
func (d *Driver) BridgeErr(name string) error { return d.bridges.Err(name) }

// reread reads a device that has just been made.
func (d *Driver) reread(name string) (*netlinkx.Link, error) {
	l, err := d.Handle.LinkByName(name)
	if err != nil {
		return nil, err
	}
	d.links[name], d.names[l.Index] = l, name
	return l, nil
}

func difference(exists bool, wanted, actual any) string {
	if !exists {
		return "missing"
	}
	return differences(wanted, actual)
}
