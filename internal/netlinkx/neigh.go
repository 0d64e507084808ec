package netlinkx

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// MAC is a comparable Ethernet address.
type MAC [6]byte

// String is the address in lower case with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Neigh is an entry of a neighbour table (Family IPv4 or IPv6: which MAC has an address) or of a forwarding table
// (Family AF_BRIDGE: behind which port, or behind which tunnel endpoint, is a MAC).
type Neigh struct {
	Family int
	Index  int // of the device
	MAC    MAC
	// IP is the neighbour's address; in a forwarding entry of a VXLAN device, the remote tunnel endpoint.
	IP    netip.Addr
	State int // NUD_*
	Flags int // NTF_*
	// Master is the index of the bridge, for a forwarding entry of a bridge.
	Master int
	// Protocol says who made the entry of a neighbour table; 0 where nobody said so.
	Protocol int
}

// Static says whether the entry was put there to stay, in contrast to one that the kernel has learned.
func (n Neigh) Static() bool { return n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 }

// sizeofNdmsg is the size of struct ndmsg, the header of every neighbour message.
const sizeofNdmsg = 12

// Neighbours returns the entries of one family (unix.AF_INET or AF_INET6) for which keep is true. The entries are not
// collected first, so a table with many foreign entries costs no memory.
func (h *Handle) Neighbours(family int, keep func(Neigh) bool) ([]Neigh, error) {
	return h.neighbours("neighbours", family, keep, func(req *nl.NetlinkRequest) {
		req.AddData(&netlink.Ndmsg{Family: uint8(family)})
	})
}

// Forwarding returns the forwarding entries of a port of a bridge for which keep is true: those of the device itself and
// those of the bridge that point to it. One port at a time, because the kernel goes through the bridge's whole table
// again for each port: a dump of everything costs ports times entries.
func (h *Handle) Forwarding(port int, keep func(Neigh) bool) ([]Neigh, error) {
	return h.neighbours("forwarding entries", unix.AF_BRIDGE, keep, func(req *nl.NetlinkRequest) {
		// For this family the kernel takes the header of a link, whose index is that of the port.
		header := nl.NewIfInfomsg(unix.AF_BRIDGE)
		header.Index = int32(port)
		req.AddData(header)
	})
}

func (h *Handle) neighbours(what string, family int, keep func(Neigh) bool, fill func(*nl.NetlinkRequest)) ([]Neigh, error) {
	var all []Neigh
	build := func() *nl.NetlinkRequest {
		req := h.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		fill(req)
		return req
	}
	err := h.dump(what, build, func() { all = all[:0] }, func(m []byte) error {
		n, err := parseNeigh(m)
		if err != nil {
			return err
		}
		if n.Family == family && keep(n) {
			all = append(all, n)
		}
		return nil
	})
	return all, err
}

func parseNeigh(m []byte) (Neigh, error) {
	if len(m) < sizeofNdmsg {
		return Neigh{}, unix.EBADMSG
	}
	n := Neigh{
		Family: int(m[0]),
		Index:  int(int32(binary.NativeEndian.Uint32(m[4:]))),
		State:  int(binary.NativeEndian.Uint16(m[8:])),
		Flags:  int(m[10]),
	}
	eachAttr(m[sizeofNdmsg:], func(kind int, v []byte) {
		switch kind {
		case netlink.NDA_DST:
			n.IP, _ = netip.AddrFromSlice(v)
		case netlink.NDA_LLADDR:
			copy(n.MAC[:], v)
		case netlink.NDA_MASTER:
			n.Master = u32(v)
		case netlink.NDA_PROTOCOL:
			if len(v) > 0 {
				n.Protocol = int(v[0])
			}
		}
	})
	return n, nil
}

// SetNeigh adds or replaces an entry.
func (h *Handle) SetNeigh(n Neigh) error {
	return h.do(h.neighRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, n))
}

// AppendNeigh adds one more destination to a forwarding entry of a VXLAN device (for the all-zero MAC: one more host
// to which unknown and broadcast frames are sent).
func (h *Handle) AppendNeigh(n Neigh) error {
	return h.do(h.neighRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_APPEND, n))
}

// DeleteNeigh removes an entry; for a MAC with several destinations, the one given.
func (h *Handle) DeleteNeigh(n Neigh) error {
	n.State = 0
	return h.do(h.neighRequest(unix.RTM_DELNEIGH, 0, n))
}

func (h *Handle) neighRequest(kind, flags int, n Neigh) *nl.NetlinkRequest {
	req := h.request(kind, flags|unix.NLM_F_ACK)
	req.AddData(&netlink.Ndmsg{
		Family: uint8(n.Family), Index: uint32(n.Index), State: uint16(n.State), Flags: uint8(n.Flags),
	})
	if n.IP.IsValid() {
		req.AddData(nl.NewRtAttr(netlink.NDA_DST, n.IP.AsSlice()))
	}
	if n.Family == unix.AF_BRIDGE || kind == unix.RTM_NEWNEIGH {
		req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, n.MAC[:]))
	}
	if n.Protocol != 0 && kind == unix.RTM_NEWNEIGH {
		req.AddData(nl.NewRtAttr(netlink.NDA_PROTOCOL, []byte{byte(n.Protocol)}))
	}
	return req
}
