// Package veth connects a network namespace with the host by a pair of devices, and repairs the pair when a part of it
// was changed or removed. Both ends carry a mark (ifalias); a device without it is never touched.
//
// The outer end is the device of a port, and as such belongs to whoever wires ports: whether it is up, its bridge and its
// MTU (after it was made) are not touched here, or the two would fight over a port that is administratively down.
package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// Pair is a pair as it should be.
type Pair struct {
	// HostNamespace is that of the outer end; nil: the namespace of the process.
	HostNamespace *netns.Handle
	// Host is the name of the outer end, Inside that of the other one.
	Host, Inside string
	// MAC is that of the inner end.
	MAC net.HardwareAddr
	// MTU in bytes; of the outer end only when it is made.
	MTU int
	// Mark is the ifalias by which both ends are known as ours.
	Mark string
	// Held leaves an inner end down that is down: it is put up when something is in place that it must not speak without.
	Held bool
}

// State says what Ensure found and made.
type State struct {
	// Index is that of the inner device.
	Index int
	// Made says that there was no pair, or only a useless half, and that it was made anew.
	Made bool
	// Changed says that the pair was there, but some attribute was not as it should be.
	Changed bool
}

// ends are netlink sockets on the two sides.
type ends struct{ host, inside *netlink.Handle }

// Handle returns the library's netlink handle, bound to the namespace.
func Handle(ns *netns.Handle) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket in namespace %s: %w", ns.Name(), err)
	}
	return h, nil
}

func open(outer, ns *netns.Handle) (ends, error) {
	host, err := hostHandle(outer)
	if err != nil {
		return ends{}, err
	}
	inside, err := Handle(ns)
	if err != nil {
		host.Close()
		return ends{}, err
	}
	return ends{host, inside}, nil
}

func hostHandle(outer *netns.Handle) (*netlink.Handle, error) {
	if outer != nil {
		return Handle(outer)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return h, nil
}

func (e ends) Close() {
	e.host.Close()
	e.inside.Close()
}

// Ensure makes the pair, or makes right what is wrong with it, and puts the inner end up if it is not held. A pair that is right is left
// untouched.
func Ensure(ns *netns.Handle, p Pair) (State, error) {
	e, err := open(p.HostNamespace, ns)
	if err != nil {
		return State{}, err
	}
	defer e.Close()
	host, err := find(e.host, p.Host)
	if err != nil {
		return State{}, err
	}
	inside, err := find(e.inside, p.Inside)
	if err != nil {
		return State{}, err
	}
	var state State
	if !connected(host, inside) {
		if err := e.clear(p, host, inside); err != nil {
			return State{}, err
		}
		if host, inside, err = e.make(ns, p); err != nil {
			return State{}, err
		}
		state.Made = true
	}
	state.Index = inside.Attrs().Index
	hostChanged, err := adjust(host, "alias", host.Attrs().Alias != p.Mark,
		func() error { return e.host.LinkSetAlias(host, p.Mark) })
	if err != nil {
		return state, err
	}
	insideChanged, err := adjustInside(e.inside, inside, p)
	state.Changed = !state.Made && (hostChanged || insideChanged)
	return state, err
}

// adjustInside makes the attributes of the inner end right.
func adjustInside(h *netlink.Handle, link netlink.Link, p Pair) (changed bool, err error) {
	attrs := link.Attrs()
	for _, a := range []struct {
		what  string
		wrong bool
		set   func() error
	}{
		{"alias", attrs.Alias != p.Mark, func() error { return h.LinkSetAlias(link, p.Mark) }},
		{"MTU", attrs.MTU != p.MTU, func() error { return h.LinkSetMTU(link, p.MTU) }},
		{"MAC", attrs.HardwareAddr.String() != p.MAC.String(), func() error { return h.LinkSetHardwareAddr(link, p.MAC) }},
		{"state", attrs.Flags&net.FlagUp == 0 && !p.Held, func() error { return h.LinkSetUp(link) }},
	} {
		done, err := adjust(link, a.what, a.wrong, a.set)
		changed = changed || done
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// adjust sets one attribute if it is wrong.
func adjust(link netlink.Link, what string, wrong bool, set func() error) (changed bool, err error) {
	if !wrong {
		return false, nil
	}
	if err := set(); err != nil {
		return false, fmt.Errorf("set the %s of the device %s: %w", what, link.Attrs().Name, err)
	}
	return true, nil
}

// connected says whether the two are the ends of one pair. The index of the peer is relative to the peer's namespace,
// so both directions are compared.
func connected(host, inside netlink.Link) bool {
	return host != nil && inside != nil && host.Type() == "veth" && inside.Type() == "veth" &&
		host.Attrs().ParentIndex == inside.Attrs().Index && inside.Attrs().ParentIndex == host.Attrs().Index
}

// clear removes halves of ours which are in the way.
func (e ends) clear(p Pair, host, inside netlink.Link) error {
	for _, half := range []struct {
		handle *netlink.Handle
		link   netlink.Link
	}{{e.host, host}, {e.inside, inside}} {
		if half.link == nil {
			continue
		}
		if half.link.Attrs().Alias != p.Mark {
			return fmt.Errorf("the device %s exists and is not ours (its alias is %q)",
				half.link.Attrs().Name, half.link.Attrs().Alias)
		}
		if err := half.handle.LinkDel(half.link); err != nil && !gone(err) {
			return fmt.Errorf("remove the device %s: %w", half.link.Attrs().Name, err)
		}
	}
	return nil
}

func (e ends) make(ns *netns.Handle, p Pair) (host, inside netlink.Link, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = p.Host, p.MTU
	err = e.host.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: p.Inside, PeerHardwareAddr: p.MAC, PeerMTU: uint32(p.MTU),
		PeerNamespace: netlink.NsFd(ns.Fd()),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make the devices %s and %s: %w", p.Host, p.Inside, err)
	}
	if host, err = e.host.LinkByName(p.Host); err == nil {
		inside, err = e.inside.LinkByName(p.Inside)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look at the new devices %s and %s: %w", p.Host, p.Inside, err)
	}
	return host, inside, nil
}

// Remove removes the pair by its end on the host. A device without the mark stays, and is an error; none is none.
func Remove(name, mark string) (removed bool, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	link, err := find(h, name)
	if err != nil || link == nil {
		return false, err
	}
	if link.Attrs().Alias != mark {
		return false, fmt.Errorf("the device %s is not ours (its alias is %q): it stays", name, link.Attrs().Alias)
	}
	if err := h.LinkDel(link); err != nil && !gone(err) {
		return false, fmt.Errorf("remove the device %s: %w", name, err)
	}
	return true, nil
}

// SetAddresses gives the device exactly these addresses, link-local ones of IPv6 apart, and reports the changes.
func SetAddresses(ns *netns.Handle, index int, want []netip.Prefix) (added, removed []netip.Prefix, err error) {
	h, err := Handle(ns)
	if err != nil {
		return nil, nil, err
	}
	defer h.Close()
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	present, err := addresses(h, link)
	if err != nil {
		return nil, nil, err
	}
	missing := map[netip.Prefix]bool{}
	for _, p := range want {
		missing[p] = true
	}
	for _, p := range present {
		if missing[p] {
			delete(missing, p)
			continue
		}
		if err := h.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return added, removed, fmt.Errorf("remove the address %v: %w", p, err)
		}
		removed = append(removed, p)
	}
	for _, p := range want {
		if !missing[p] {
			continue
		}
		// Nobody else has the address, so IPv6 need not wait to find that out.
		if err := h.AddrReplace(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
			return added, removed, fmt.Errorf("add the address %v: %w", p, err)
		}
		added = append(added, p)
	}
	return added, removed, nil
}

func addresses(h *netlink.Handle, link netlink.Link) ([]netip.Prefix, error) {
	var list []netlink.Addr
	err := retry(func() (err error) {
		list, err = h.AddrList(link, netlink.FAMILY_ALL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the addresses: %w", err)
	}
	var out []netip.Prefix
	for _, a := range list {
		address, ok := netip.AddrFromSlice(a.IP)
		if address = address.Unmap(); !ok || address.Is6() && address.IsLinkLocalUnicast() {
			continue
		}
		ones, _ := a.Mask.Size()
		out = append(out, netip.PrefixFrom(address, ones))
	}
	return out, nil
}

// retry repeats a dump that was interrupted because the table changed meanwhile.
func retry(dump func() error) (err error) {
	for range 5 {
		if err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// find returns nil if there is no such device.
func find(h *netlink.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the device %s: %w", name, err)
	}
	return link, nil
}

// gone says that somebody else was faster.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)
}

// LoopbackUp puts lo of the namespace up.
func LoopbackUp(ns *netns.Handle) error {
	h, err := Handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("put lo of namespace %s up: %w", ns.Name(), err)
	}
	return nil
}
