package netlinkx

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ifaProto is IFA_PROTO, which says who gave a device an address (kernel 5.18 and later).
const ifaProto = 11

// Address is an address of a device.
type Address struct {
	Index    int
	Prefix   netip.Prefix
	Protocol int // who gave it; 0: nobody said so. The kernel numbers its own 1 to 3.
}

// Addresses returns the addresses of all devices, of both IP versions.
func (h *Handle) Addresses() ([]Address, error) {
	var all []Address
	build := func() *nl.NetlinkRequest {
		req := h.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		return req
	}
	err := h.dump("addresses", build, func() { all = all[:0] }, func(m []byte) error {
		a, err := parseAddress(m)
		if err == nil {
			all = append(all, a)
		}
		return err
	})
	return all, err
}

func parseAddress(m []byte) (Address, error) {
	if len(m) < unix.SizeofIfAddrmsg {
		return Address{}, unix.EBADMSG
	}
	a := Address{Index: int(binary.NativeEndian.Uint32(m[4:]))}
	var local, other netip.Addr
	eachAttr(m[unix.SizeofIfAddrmsg:], func(kind int, v []byte) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS: // the peer's, where there is also a local one
			other, _ = netip.AddrFromSlice(v)
		case ifaProto:
			if len(v) > 0 {
				a.Protocol = int(v[0])
			}
		}
	})
	if !local.IsValid() {
		local = other
	}
	a.Prefix = netip.PrefixFrom(local, int(m[1]))
	return a, nil
}

// SetAddress gives a device an address. One of IPv6 is usable at once, without duplicate address detection.
func (h *Handle) SetAddress(a Address) error {
	return h.do(h.addressRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a))
}

// DeleteAddress takes an address off a device.
func (h *Handle) DeleteAddress(a Address) error {
	return h.do(h.addressRequest(unix.RTM_DELADDR, 0, a))
}

func (h *Handle) addressRequest(kind, flags int, a Address) *nl.NetlinkRequest {
	ip := a.Prefix.Addr()
	req := h.request(kind, flags|unix.NLM_F_ACK)
	message := nl.NewIfAddrmsg(familyOf(ip))
	message.Index, message.Prefixlen = uint32(a.Index), uint8(a.Prefix.Bits())
	req.AddData(message)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, ip.AsSlice()))
	if kind == unix.RTM_NEWADDR {
		req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_NODAD)))
		req.AddData(nl.NewRtAttr(ifaProto, []byte{byte(a.Protocol)}))
	}
	return req
}

func familyOf(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
