// Package link makes the devices of the Linux bridge dataplane as they are wanted: a bridge for each network, a VXLAN
// device for each tunnelled one, and the ports' devices as members of their bridges.
//
// The driver reads all devices once a pass (Observe) and compares them with what is wanted. Each step of the pass is a
// method, so that the caller decides the order in which devices and forwarding entries come and go. A step that fails
// for one object goes on with the others; Errors says what was refused, and why.
//
// How a fresh process knows what is ours: by the ifalias of bridges and VXLAN devices (BridgeMark, TunnelMark). A
// bridge of the right name that somebody else made (Nova's os-vif makes them, and the agents of Neutron did) is adopted:
// its attributes and our members are kept right, and it is never removed. Devices of ports belong to who made them:
// they are put into bridges and taken out, never removed and never renamed.
package link

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
)

// The marks that bridges and VXLAN devices of ours carry as ifalias, followed by the id of the network.
const (
	BridgeMark = "neutrino:network:"
	TunnelMark = "neutrino:segment:"
)

// VXLANPort is the UDP port of the tunnels, as assigned by IANA (RFC 7348).
const VXLANPort = 4789

// ageingTime is how long a bridge remembers a learned address, in hundredths of a second. It is never 0: a bridge that
// forgets at once floods every frame to all ports.
const ageingTime = 300 * 100

// Bridge is the wanted bridge of a network.
type Bridge struct {
	Name      string
	NetworkID string
	// MAC pins the address of the bridge. Without that a bridge takes the lowest address of its members, and the
	// kernel drops all neighbour entries of a device whose address changes.
	MAC netlinkx.MAC
	MTU int // bytes
}

// Tunnel is the wanted VXLAN device of a network.
type Tunnel struct {
	Name      string
	NetworkID string
	Bridge    string // of which it is a member
	VNI       int
	Local     netip.Addr // the address of this host on the underlay
	MTU       int
}

// Port is the wanted state of a port's device, where that exists.
type Port struct {
	Device string
	// Bridge is empty for a port that is administratively down: its device is in no bridge, and down.
	Bridge string
	MTU    int
}

// Wanted is all that the driver has to see to.
type Wanted struct {
	Bridges []Bridge
	Tunnels []Tunnel
	Uplinks []Uplink
	Ports   []Port
	// Mapped names the interfaces that operators have given to flat networks, wanted or not.
	Mapped map[string]bool
	// Untouched names bridges and tunnels that are not wanted now but must not be removed either, since their documents
	// cannot be understood, and the ports that such a bridge keeps. Whatever else is in it is taken out as usual.
	Untouched map[string]bool
	// Held is why no bridge may be put up at present; nil: they may. One that is up stays so.
	Held error
	// Closed is why no port may be let into a bridge at present; nil: they may. One that is in stays so.
	Closed error
}

// Options configure a Driver. All are required.
type Options struct {
	Handle *netlinkx.Handle
	// Drift is called for every repaired object that somebody else had changed.
	Drift func(kind, object, difference string)
	Now   func() time.Time
}

// Driver keeps the devices. One goroutine at a time may use it.
type Driver struct {
	Options
	links   map[string]*netlinkx.Link
	names   map[int]string
	bridges *reconcile.Tracker[string, bridgeState]
	tunnels *reconcile.Tracker[string, tunnelState]
	uplinks *reconcile.Tracker[string, uplinkState]
	members *reconcile.Tracker[memberKey, memberState]
	held    error
	closed  error
	// ours are the bridges that have been seen with our mark, so that wiping the mark off is drift, not adoption.
	ours map[string]bool
	// raced: a device went away between reading and changing it. The pass is to be repeated.
	raced bool
}

// New makes a driver.
func New(options Options) *Driver {
	return &Driver{
		Options: options,
		bridges: reconcile.NewTracker[string](bridgeState.satisfiedBy),
		tunnels: reconcile.NewTracker[string](func(w, a tunnelState) bool { return w == a }),
		uplinks: reconcile.NewTracker[string](uplinkState.satisfiedBy),
		members: reconcile.NewTracker[memberKey](func(w, a memberState) bool { return w == a }),
		ours:    map[string]bool{},
	}
}

// memberKey tells a device from a later one of the same name: a workload that is started again is no drift.
type memberKey struct {
	name  string
	index int
}

type memberState struct {
	Bridge string
	MTU    int
	Up     bool
	// Quiet: the device has no IPv6 of its own, which would show the host to the workloads; see silent.
	Quiet bool
}

// portDevice and networkBridge match the names that devices of ports and bridges of networks have by convention. A port's
// device in a network's bridge without a document is that of a port that is gone, or is not known yet, and must carry no
// traffic. The bridge need not be wanted or marked: it may be an adopted one whose network has left the host.
var (
	portDevice    = regexp.MustCompile(`^tap[0-9a-f-]{11}$`)
	networkBridge = regexp.MustCompile(`^brq[0-9a-f-]{11}$`)
)

// Observe reads the devices and prepares the steps of a pass.
func (d *Driver) Observe(w Wanted) error {
	links, err := d.Handle.Links()
	if err != nil {
		return err
	}
	d.links, d.raced, d.held, d.closed = links, false, w.Held, w.Closed
	d.names = make(map[int]string, len(links))
	for name, l := range links {
		d.names[l.Index] = name
	}
	d.observeBridges(w)
	d.observeTunnels(w)
	d.observeUplinks(w)
	d.observeMembers(w)
	return nil
}

func (d *Driver) observeMembers(w Wanted) {
	wanted := make(map[memberKey]memberState, len(w.Ports))
	actual := make(map[memberKey]memberState, len(w.Ports))
	for _, p := range w.Ports {
		l := d.links[p.Device]
		if l == nil {
			continue // absent; nothing can be done until it appears
		}
		key := memberKey{p.Device, l.Index}
		wanted[key] = memberState{Bridge: p.Bridge, MTU: p.MTU, Up: p.Bridge != "", Quiet: true}
		actual[key] = d.memberState(l)
	}
	for name, l := range d.links {
		key := memberKey{name, l.Index}
		bridge := d.names[l.Master]
		if _, done := actual[key]; !done && portDevice.MatchString(name) && networkBridge.MatchString(bridge) && !w.Untouched[name] {
			actual[key] = d.memberState(l)
		}
	}
	d.members.Want(wanted)
	d.members.Observe(actual)
}

func (d *Driver) memberState(l *netlinkx.Link) memberState {
	return memberState{Bridge: d.names[l.Master], MTU: l.MTU, Up: l.Up, Quiet: silent(l)}
}

// silent says whether the device itself has no IPv6: then it has no address (the kernel refuses any) and is deaf to router
// advertisements, which come from workloads here. What is forwarded has nothing to do with that.
func silent(l *netlinkx.Link) bool { return l.IPv6 == nil || l.IPv6.Disabled }

// silence switches IPv6 of the device itself off. resized: its MTU has just been changed. Below 1280 (RFC 8200, section 5)
// the kernel takes IPv6 off a device, and above it makes it anew with the defaults: on, with an address.
func (d *Driver) silence(name string, quiet, resized bool) error {
	if resized {
		l, err := d.reread(name)
		if err != nil {
			return err
		}
		quiet = silent(l)
	}
	if quiet {
		return nil
	}
	if err := d.Handle.SetSysctlIPv6(name, "disable_ipv6", 1); err != nil {
		return fmt.Errorf("switch IPv6 of %s off: %w", name, err)
	}
	return nil
}

// Exists says whether there is a device of the name; it is asked after Observe.
func (d *Driver) Exists(name string) bool { return d.links[name] != nil }

// Index is the index of a device, or 0.
func (d *Driver) Index(name string) int {
	if l := d.links[name]; l != nil {
		return l.Index
	}
	return 0
}

// Member is the index of a device that is in a bridge, or 0.
func (d *Driver) Member(name string) int {
	if l := d.links[name]; l != nil && l.Master != 0 {
		return l.Index
	}
	return 0
}

// Raced says whether a device went away during the pass, which is then to be repeated.
func (d *Driver) Raced() bool { return d.raced }

// DetachPorts takes the devices of former ports out of the bridges.
func (d *Driver) DetachPorts() {
	for _, x := range d.members.Deletes(d.Now()) {
		if err := d.detach(x.Key.index); err != nil && !netlinkx.Gone(err) {
			d.members.Failed(x.Key, fmt.Errorf("take %s out of %s: %w", x.Key.name, x.Actual.Bridge, err), d.Now())
			continue
		}
		d.members.Deleted(x.Key)
	}
}

// detach also puts the device down, and that first: a device that is up and in no bridge hands what the workload sends
// to the host itself.
func (d *Driver) detach(index int) error {
	if err := d.Handle.SetDown(index); err != nil {
		return err
	}
	return d.Handle.SetMaster(index, 0)
}

// AttachPorts makes the devices of ports that exist as they are wanted.
func (d *Driver) AttachPorts() {
	for _, u := range d.members.Updates(d.Now()) {
		if err := d.attach(u); err != nil {
			d.failed(err, func() { d.members.Failed(u.Key, err, d.Now()) })
			continue
		}
		d.members.Updated(u.Key)
		if u.Drift {
			d.Drift("member", u.Key.name, differences(u.Wanted, u.Actual))
		}
	}
}

// attach goes from safe to open: a port that is put into a bridge is complete before it is up, and one that is to be
// down is down before anything else.
func (d *Driver) attach(u reconcile.Update[memberKey, memberState]) error {
	name, index, want, have := u.Key.name, u.Key.index, u.Wanted, u.Actual
	if have.Up && !want.Up {
		if err := d.Handle.SetDown(index); err != nil {
			return fmt.Errorf("set %s down: %w", name, err)
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
	if d.closed != nil && (want.Bridge != have.Bridge || want.Up && !have.Up) && want.Bridge != "" {
		return d.closed
	}
	if have.Bridge != want.Bridge {
		if want.Bridge != "" && d.Index(want.Bridge) == 0 {
			return fmt.Errorf("put %s into bridge %s: there is no such bridge", name, want.Bridge)
		}
		if err := d.Handle.SetMaster(index, d.Index(want.Bridge)); err != nil {
			return fmt.Errorf("put %s into bridge %q: %w", name, want.Bridge, err)
		}
	}
	if want.Up && !have.Up {
		if bridge := d.links[want.Bridge]; d.held != nil && (bridge == nil || !bridge.Up) {
			return d.held
		}
		if err := d.Handle.SetUp(index); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return nil
}

// PortErr returns why the device of a port is not as it is wanted, or nil.
func (d *Driver) PortErr(device string) error {
	return d.members.Err(memberKey{device, d.Index(device)})
}

// Settle closes the pass.
func (d *Driver) Settle() {
	d.bridges.Settle()
	d.tunnels.Settle()
	d.uplinks.Settle()
	d.members.Settle()
}

// failed sorts an error: a device that went away meanwhile makes the pass repeat, everything else is recorded.
func (d *Driver) failed(err error, record func()) {
	if netlinkx.Gone(err) {
		d.raced = true
		return
	}
	record()
}

// differences says which fields differ between two states, for the log.
func differences(wanted, actual any) string {
	w, a := strings.Fields(fmt.Sprintf("%+v", wanted)), strings.Fields(fmt.Sprintf("%+v", actual))
	if len(w) != len(a) {
		return fmt.Sprintf("%+v instead of %+v", actual, wanted)
	}
	var all []string
	for i := range w {
		if w[i] != a[i] {
			all = append(all, strings.Trim(a[i], "{}")+" instead of "+strings.Trim(w[i], "{}"))
		}
	}
	return strings.Join(all, ", ")
}
