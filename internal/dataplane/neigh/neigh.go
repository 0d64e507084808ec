// Package neigh keeps permanent neighbour entries on bridges: which MAC has an address on another host. From them the
// bridge answers the ARP requests of local workloads, so that these are not sent to every host of the network.
//
// Entries carry a protocol number of ours; others are left alone.
package neigh

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/reconcile"
)

// Protocol is the number (NDA_PROTOCOL) by which entries of ours are known. Like the protocol numbers of routes it has
// no meaning to the kernel; it is none of those that iproute2 names.
const Protocol = 78

// Table are the wanted entries of one bridge. Only IPv4 addresses may be in it: see the package link on ARP answers.
type Table map[netip.Addr]netlinkx.MAC

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
	entries *reconcile.Tracker[key, netlinkx.MAC]
}

type key struct {
	index int
	ip    netip.Addr
}

// New makes a driver.
func New(options Options) *Driver {
	return &Driver{
		Options: options,
		entries: reconcile.NewTracker[key](func(w, a netlinkx.MAC) bool { return w == a }),
	}
}

// Apply makes the entries of the bridges, which are given by index, as they are wanted. The error is that of reading the
// kernel's table; entries that are refused are told by Err.
func (d *Driver) Apply(tables map[int]Table) (raced bool, err error) {
	wanted := make(map[key]netlinkx.MAC)
	for index, t := range tables {
		for ip, mac := range t {
			wanted[key{index, ip}] = mac
		}
	}
	read, err := d.Handle.Neighbours(unix.AF_INET, func(n netlinkx.Neigh) bool {
		_, ours := tables[n.Index]
		return ours && n.Protocol == Protocol && n.State&netlink.NUD_PERMANENT != 0
	})
	if err != nil {
		return false, err
	}
	actual := make(map[key]netlinkx.MAC, len(read))
	for _, n := range read {
		actual[key{n.Index, n.IP}] = n.MAC
	}
	d.entries.Want(wanted)
	d.entries.Observe(actual)

	for _, x := range d.entries.Deletes(d.Now()) {
		if err := d.Handle.DeleteNeigh(entry(x.Key, x.Actual)); err != nil && !netlinkx.Gone(err) {
			d.entries.Failed(x.Key, fmt.Errorf("remove neighbour %s: %w", x.Key.ip, err), d.Now())
			continue
		}
		d.entries.Deleted(x.Key)
		if x.Drift {
			d.Drift("neighbour", describe(x.Key, x.Actual), "not wanted")
		}
	}
	for _, u := range d.entries.Updates(d.Now()) {
		switch err := d.Handle.SetNeigh(entry(u.Key, u.Wanted)); {
		case netlinkx.Gone(err):
			raced = true
		case err != nil:
			d.entries.Failed(u.Key, fmt.Errorf("set neighbour %s: %w", describe(u.Key, u.Wanted), err), d.Now())
		default:
			d.entries.Updated(u.Key)
			if u.Drift {
				d.Drift("neighbour", describe(u.Key, u.Wanted), "missing or changed")
			}
		}
	}
	d.entries.Settle()
	return raced, nil
}

// Failing says whether some entry could not be applied, and waits to be tried again.
func (d *Driver) Failing() bool { return d.entries.Failing() }

// Err returns why the entry of an address is not as it is wanted, or nil.
func (d *Driver) Err(index int, ip netip.Addr) error { return d.entries.Err(key{index, ip}) }

func entry(k key, mac netlinkx.MAC) netlinkx.Neigh {
	return netlinkx.Neigh{
		Family: unix.AF_INET, Index: k.index, IP: k.ip, MAC: mac, State: netlink.NUD_PERMANENT, Protocol: Protocol,
	}
}

func describe(k key, mac netlinkx.MAC) string {
	return fmt.Sprintf("%s at %s, device %d", k.ip, mac, k.index)
}
