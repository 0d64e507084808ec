package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// createWire makes the namespace of a wire with its bridge, and gives every host an interface on it. The hosts exist.
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
			if err := l.attach(w, bridge, h); err != nil {
				return fmt.Errorf("joining %s: %w", h.Name, err)
			}
		}
		return nil
	})
}

// attach joins a host to the wire in whose namespace the calling thread is: a veth pair, one end in the bridge and
// named after the host, the other one in the host, with its address.
func (l *Lab) attach(w wire, bridge netlink.Link, h Spec) error {
	hostNS, err := os.Open(l.pin(h.Name, "net"))
	if err != nil {
		return err
	}
	defer hostNS.Close()
	pair := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: h.Name, MasterIndex: bridge.Attrs().Index},
		PeerName:         w.device,
		PeerNamespace:    netlink.NsFd(int(hostNS.Fd())),
		PeerHardwareAddr: underlayMAC(h.Address),
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
	return l.addressFarEnd(w, h)
}

// addressFarEnd gives the host's interface its address and brings it up.
func (l *Lab) addressFarEnd(w wire, h Spec) error {
	handle, closeHandle, err := l.netlinkAt(h.Name)
	if err != nil {
		return err
	}
	defer closeHandle()
	far, err := handle.LinkByName(w.device)
	if err != nil {
		return fmt.Errorf("finding %s: %w", w.device, err)
	}
	prefix := netip.PrefixFrom(h.Address, w.bits)
	address := &netlink.Addr{IPNet: &net.IPNet{
		IP: h.Address.AsSlice(), Mask: net.CIDRMask(prefix.Bits(), h.Address.BitLen()),
	}}
	if err := handle.AddrAdd(far, address); err != nil {
		return fmt.Errorf("adding %s to %s: %w", prefix, w.device, err)
	}
	if err := handle.LinkSetUp(far); err != nil {
		return fmt.Errorf("bringing %s up: %w", w.device, err)
	}
	return nil
}

// underlayMAC is locally administered and ends with the address, so that a capture can be read without a table.
func underlayMAC(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x00, b[0], b[1], b[2], b[3]}
}
