package netlinkx

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Route is a unicast route.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr // the zero Addr: on the link
	Index       int        // of the device
	// Protocol says who made the route, as in /etc/iproute2/rt_protos.
	Protocol int
	// Table is that of the route; 0: the main one.
	Table int
}

// Routes returns the routes that carry the protocol number.
func (h *Handle) Routes(protocol int) ([]Route, error) {
	var all []Route
	build := func() *nl.NetlinkRequest {
		req := h.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{})
		return req
	}
	err := h.dump("routes", build, func() { all = all[:0] }, func(m []byte) error {
		if len(m) < unix.SizeofRtMsg {
			return unix.EBADMSG
		}
		header := nl.DeserializeRtMsg(m)
		if int(header.Protocol) == protocol && header.Type == unix.RTN_UNICAST &&
			header.Flags&unix.RTM_F_CLONED == 0 {
			all = append(all, parseRoute(header, m[unix.SizeofRtMsg:]))
		}
		return nil
	})
	return all, err
}

func parseRoute(header *nl.RtMsg, attributes []byte) Route {
	r := Route{Protocol: int(header.Protocol), Table: int(header.Table)}
	destination := netip.IPv4Unspecified()
	if header.Family == unix.AF_INET6 {
		destination = netip.IPv6Unspecified()
	}
	eachAttr(attributes, func(kind int, v []byte) {
		switch kind {
		case unix.RTA_DST:
			destination, _ = netip.AddrFromSlice(v)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(v)
		case unix.RTA_OIF:
			r.Index = u32(v)
		case unix.RTA_TABLE:
			r.Table = u32(v)
		}
	})
	if r.Table == unix.RT_TABLE_MAIN {
		r.Table = 0
	}
	r.Destination = netip.PrefixFrom(destination, int(header.Dst_len))
	return r
}

// SetRoute adds a route, or replaces the one to the same destination. The gateway is taken to be on the device's link,
// whatever the addresses of the device are.
func (h *Handle) SetRoute(r Route) error {
	return h.do(h.routeRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, r))
}

// DeleteRoute removes a route.
func (h *Handle) DeleteRoute(r Route) error { return h.do(h.routeRequest(unix.RTM_DELROUTE, 0, r)) }

func (h *Handle) routeRequest(kind, flags int, r Route) *nl.NetlinkRequest {
	req := h.request(kind, flags|unix.NLM_F_ACK)
	message := &nl.RtMsg{}
	message.Family = uint8(familyOf(r.Destination.Addr()))
	message.Dst_len = uint8(r.Destination.Bits())
	message.Table, message.Protocol, message.Type = unix.RT_TABLE_MAIN, uint8(r.Protocol), unix.RTN_UNICAST
	if r.Gateway.IsValid() {
		message.Flags = unix.RTNH_F_ONLINK
	} else {
		message.Scope = unix.RT_SCOPE_LINK
	}
	req.AddData(message)
	if r.Destination.Bits() > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_DST, r.Destination.Masked().Addr().AsSlice()))
	}
	if r.Gateway.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, r.Gateway.AsSlice()))
	}
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.Index))))
	if r.Table != 0 {
		message.Table = unix.RT_TABLE_UNSPEC
		req.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	}
	return req
}

// Proxies returns the addresses for which the devices answer neighbour solicitations on behalf of others.
func (h *Handle) Proxies(family int) ([]Neigh, error) {
	var all []Neigh
	build := func() *nl.NetlinkRequest {
		req := h.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.AddData(&netlink.Ndmsg{Family: uint8(family), Flags: netlink.NTF_PROXY})
		return req
	}
	err := h.dump("proxied neighbours", build, func() { all = all[:0] }, func(m []byte) error {
		n, err := parseNeigh(m)
		if err == nil {
			all = append(all, n)
		}
		return err
	})
	return all, err
}
