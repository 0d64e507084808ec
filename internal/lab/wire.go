package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// createWire makes the namespace of a wire with its bridge, and gives the hosts their interfaces on it. The hosts exist.
func (l *Lab) createWire(w wire, hosts []Spec) error {
	only := []kind{{"net", unix.CLONE_NEWNET}}
	return l.createPinned(w.namespace, only, func() error {
		// Frames are to be switched, nothing more: no addresses and no IPv6 chatter of the bridge itself.
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: w.namespace}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("making the bridge: %w", err)
		}
		if err := netlink.LinkSetUp(bridge); err != nil {
			return fmt.Errorf("bringing the bridge up: %w", err)
		}
		for _, h := range hosts {
			e, joins := w.end(h)
			if !joins {
				continue
			}
			if err := l.attach(e, bridge, h); err != nil {
				return fmt.Errorf("joining %s: %w", h.Name, err)
			}
		}
		return nil
	})
}

// attach joins a host to the wire in whose namespace the calling thread is: a veth pair, one end in the bridge and
// named after the host, the other one in the host.
func (l *Lab) attach(e end, bridge netlink.Link, h Spec) error {
	hostNS, err := os.Open(l.pin(h.Name, "net"))
	if err != nil {
		return err
	}
	defer hostNS.Close()
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: h.Name, MasterIndex: bridge.Attrs().Index},
		PeerName:      e.device,
		PeerNamespace: netlink.NsFd(int(hostNS.Fd())),
	}
	if e.address.IsValid() {
		pair.PeerHardwareAddr = addressMAC(e.address.Addr())
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("making the veth pair: %w", err)
	}
	near, err := netlink.LinkByName(h.Name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(near); err != nil {
		return fmt.Errorf("bringing %s up: %w", h.Name, err)
	}
	return l.raiseFarEnd(e, h)
}

// raiseFarEnd gives the host's interface its address, if it has one, and brings it up.
func (l *Lab) raiseFarEnd(e end, h Spec) error {
	handle, closeHandle, err := l.netlinkAt(h.Name)
	if err != nil {
		return err
	}
	defer closeHandle()
	if e.address.IsValid() {
		if err := addAddress(handle, e.device, e.address); err != nil {
			return err
		}
	}
	far, err := handle.LinkByName(e.device)
	if err != nil {
		return fmt.Errorf("finding %s: %w", e.device, err)
	}
	if err := handle.LinkSetUp(far); err != nil {
		return fmt.Errorf("bringing %s up: %w", e.device, err)
	}
	return nil
}

// addOthers gives a host its further addresses.
func (l *Lab) addOthers(h Spec) error {
	if len(h.Others) == 0 {
		return nil
	}
	handle, closeHandle, err := l.netlinkAt(h.Name)
	if err != nil {
		return err
	}
	defer closeHandle()
	for _, a := range h.Others {
		if err := addAddress(handle, "lo", netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	return nil
}

func addAddress(handle *netlink.Handle, device string, prefix netip.Prefix) error {
	link, err := handle.LinkByName(device)
	if err != nil {
		return fmt.Errorf("finding %s: %w", device, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{
		IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}}
	if err := handle.AddrAdd(link, address); err != nil {
		return fmt.Errorf("adding %s to %s: %w", prefix, device, err)
	}
	return nil
}

// addressMAC is locally administered and ends with the address, so that a capture can be read without a table.
func addressMAC(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x00, b[0], b[1], b[2], b[3]}
}
