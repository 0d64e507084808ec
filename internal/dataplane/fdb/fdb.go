// Package fdb keeps the forwarding entries of VXLAN devices: behind which tunnel endpoint a MAC is, and to which
// endpoints frames go that are meant for everybody or for an unknown MAC.
//
// Each remote MAC has two entries. One on the VXLAN device itself says which endpoint the frame is sent to. One on the
// bridge says that the MAC is behind the VXLAN device; the bridge answers ARP only for MACs of which it knows that, and
// the entry is sticky, so that a workload which borrows the MAC as a source address does not draw its traffic away.
//
// A device of this host can have static MACs, too: those of a router that other hosts have as well, which are to be
// nowhere else than here.
//
// Everything static on a VXLAN device of ours is ours. Entries that the kernel has learned (addresses that move between
// workloads are not programmed, but learned) are left alone.
package fdb

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
)

// Table is what is wanted on one VXLAN device, or on one member of a bridge that is none.
type Table struct {
	// Remotes are the endpoints behind which the MACs are.
	Remotes map[netlinkx.MAC]netip.Addr
	// Flood are the endpoints that get frames for everybody: the hosts with a port of the network, and no others.
	Flood map[netip.Addr]bool
	// Local are MACs that are behind the device, whoever else speaks from them.
	Local []netlinkx.MAC
}

// Options configure a Driver. All are required.
type Options struct {
	Handle *netlinkx.Handle
	// Drift is called for every repaired entry that somebody else had changed.
	Drift func(kind, object, difference string)
	Now   func() time.Time
}

// Driver keeps the entries. One goroutine at a time may use it.
type Driver struct {
	Options
	entries *reconcile.Tracker[key, value]
}

// key names an entry: on the device itself or on the bridge; flooding entries have the zero MAC and one entry for each
// endpoint.
type key struct {
	index    int
	onBridge bool
	mac      netlinkx.MAC
	flood    netip.Addr
}

type value struct {
	VTEP   netip.Addr
	Sticky bool
}

// New makes a driver.
func New(options Options) *Driver {
	return &Driver{
		Options: options,
		entries: reconcile.NewTracker[key](func(w, a value) bool { return w == a }),
	}
}

// Apply makes the entries of the devices, which are given by index, as they are wanted. The error is that of reading
// the kernel's table; entries that are refused are told by Err.
func (d *Driver) Apply(tables map[int]Table) (raced bool, err error) {
	wanted, actual := make(map[key]value), make(map[key]value)
	for index, t := range tables {
		for mac, vtep := range t.Remotes {
			wanted[key{index: index, mac: mac}] = value{VTEP: vtep}
			wanted[key{index: index, mac: mac, onBridge: true}] = value{Sticky: true}
		}
		for _, mac := range t.Local {
			wanted[key{index: index, mac: mac, onBridge: true}] = value{Sticky: true}
		}
		for vtep := range t.Flood {
			wanted[key{index: index, flood: vtep}] = value{VTEP: vtep}
		}
	}
	for index := range tables {
		read, err := d.Handle.Forwarding(index, func(n netlinkx.Neigh) bool {
			// On a bridge, permanent means an address of the host itself: not ours to touch.
			return n.Index == index && n.Static() && (n.Master == 0 || n.State&netlink.NUD_PERMANENT == 0)
		})
		if netlinkx.Gone(err) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		for _, n := range read {
			k := key{index: n.Index, mac: n.MAC, onBridge: n.Master != 0}
			if n.MAC == (netlinkx.MAC{}) {
				k.flood = n.IP
			}
			actual[k] = value{VTEP: n.IP, Sticky: n.Flags&netlink.NTF_STICKY != 0}
		}
	}
	d.entries.Want(wanted)
	d.entries.Observe(actual)
	d.remove()
	raced = d.add()
	d.entries.Settle()
	return raced, nil
}

func (d *Driver) add() (raced bool) {
	for _, u := range d.entries.Updates(d.Now()) {
		set := d.Handle.SetNeigh
		if u.Key.flood.IsValid() {
			set = d.Handle.AppendNeigh
		}
		switch err := set(entry(u.Key, u.Wanted)); {
		case netlinkx.Gone(err):
			raced = true
		case err != nil:
			d.entries.Failed(u.Key, fmt.Errorf("set forwarding entry %s: %w", describe(u.Key, u.Wanted), err), d.Now())
		default:
			d.entries.Updated(u.Key)
			if u.Drift {
				d.Drift("fdb", describe(u.Key, u.Wanted), "missing or changed")
			}
		}
	}
	return raced
}

func (d *Driver) remove() {
	for _, x := range d.entries.Deletes(d.Now()) {
		err := d.Handle.DeleteNeigh(entry(x.Key, x.Actual))
		if err != nil && !netlinkx.Gone(err) {
			d.entries.Failed(x.Key, fmt.Errorf("remove forwarding entry %s: %w", describe(x.Key, x.Actual), err), d.Now())
			continue
		}
		d.entries.Deleted(x.Key)
		if x.Drift {
			d.Drift("fdb", describe(x.Key, x.Actual), "not wanted")
		}
	}
}

// Failing says whether some entry could not be applied, and waits to be tried again.
func (d *Driver) Failing() bool { return d.entries.Failing() }

// Err returns why the entries of a MAC are not as they are wanted, or nil.
func (d *Driver) Err(index int, mac netlinkx.MAC) error {
	if err := d.entries.Err(key{index: index, mac: mac}); err != nil {
		return err
	}
	return d.entries.Err(key{index: index, mac: mac, onBridge: true})
}

// FloodErr returns why the endpoint does not get the frames for everybody, or nil.
func (d *Driver) FloodErr(index int, vtep netip.Addr) error {
	return d.entries.Err(key{index: index, flood: vtep})
}

func entry(k key, v value) netlinkx.Neigh {
	n := netlinkx.Neigh{Family: unix.AF_BRIDGE, Index: k.index, MAC: k.mac, IP: v.VTEP}
	if k.onBridge {
		n.State, n.Flags = netlink.NUD_NOARP, netlink.NTF_MASTER
		if v.Sticky {
			n.Flags |= netlink.NTF_STICKY
		}
		return n
	}
	n.State, n.Flags = netlink.NUD_PERMANENT, netlink.NTF_SELF
	return n
}

func describe(k key, v value) string {
	switch {
	case k.onBridge:
		return fmt.Sprintf("%s on the bridge, device %d", k.mac, k.index)
	case k.flood.IsValid():
		return fmt.Sprintf("for everybody to %s, device %d", k.flood, k.index)
	}
	return fmt.Sprintf("%s to %s, device %d", k.mac, v.VTEP, k.index)
}
