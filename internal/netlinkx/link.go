package netlinkx

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attribute numbers of the kernel's interface that the library does not name.
const (
	// extSkipStats (RTEXT_FILTER_SKIP_STATS) leaves the counters out of a dump of links: half of its size.
	extSkipStats = 1 << 3
	inet6Conf    = 2 // IFLA_INET6_CONF: the array of the device's IPv6 settings
	// Index in that array.
	devconfDisableIPv6 = 26
)

// Link is what an agent needs to know of a device.
type Link struct {
	Index  int
	Name   string
	Alias  string
	MAC    MAC
	Kind   string // "bridge", "vxlan", "veth", "tun" …; empty for hardware
	MTU    int
	Up     bool
	Master int // the index of the bridge to which it belongs; 0: none
	// Parent is, of a veth device, the index of the other end in the namespace of that one.
	Parent int
	Bridge *BridgeInfo
	VXLAN  *VXLANInfo
	// Port is set when the device is a port of a Linux bridge. Flooded says that the bridge then hands it what is for everybody,
	// and for somebody whose place is not known.
	Port    *PortInfo
	Flooded bool
	// IPv6 is nil where the device has no IPv6 at all, for instance because its MTU is below 1280.
	IPv6 *IPv6Info
}

// BridgeInfo are the attributes of a bridge, times in hundredths of a second.
type BridgeInfo struct {
	STP               bool
	ForwardDelay      uint32
	AgeingTime        uint32
	MulticastSnooping bool
	// CallIPTables and CallIP6Tables (nf_call_iptables, nf_call_ip6tables): br_netfilter has what is bridged pass through
	// the hooks of the IP families. They are set by SetBridgeNetfilter only.
	CallIPTables, CallIP6Tables bool
}

// VXLANInfo are the attributes of a VXLAN device.
type VXLANInfo struct {
	ID       int
	Local    netip.Addr
	Port     int
	Learning bool
}

// PortInfo are the attributes that a device has as a port of a bridge.
type PortInfo struct {
	// AnswerARP is proxy_arp_wifi: the bridge answers ARP requests for neighbours behind this port by itself.
	AnswerARP bool
	// NeighSuppress is neigh_suppress, which also holds back gratuitous ARP.
	NeighSuppress bool
}

// IPv6Info are the IPv6 settings of a device.
type IPv6Info struct {
	Disabled bool // disable_ipv6: the device has no address, and can get none
}

// Links returns all devices of the namespace, by name.
func (h *Handle) Links() (map[string]*Link, error) {
	links := map[string]*Link{}
	build := func() *nl.NetlinkRequest {
		req := h.request(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(extSkipStats)))
		return req
	}
	err := h.dump("devices", build, func() { clear(links) }, func(m []byte) error {
		l, err := parseLink(m)
		if err != nil {
			return err
		}
		links[l.Name] = l
		return nil
	})
	if err != nil {
		return nil, err
	}
	return links, nil
}

// eachAttr calls f for every attribute in b. Nothing is copied: f must not keep the value.
func eachAttr(b []byte, f func(kind int, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		f(int(binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK), b[unix.SizeofRtAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

func u32(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(b))
}

func flag(b []byte) bool { return len(b) > 0 && b[0] != 0 }

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

func parseLink(m []byte) (*Link, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return nil, unix.EBADMSG
	}
	header := nl.DeserializeIfInfomsg(m)
	l := &Link{Index: int(header.Index), Up: header.Flags&unix.IFF_UP != 0}
	eachAttr(m[unix.SizeofIfInfomsg:], func(kind int, v []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = text(v)
		case unix.IFLA_IFALIAS:
			l.Alias = text(v)
		case unix.IFLA_ADDRESS:
			if len(v) == len(l.MAC) {
				l.MAC = MAC(v)
			}
		case unix.IFLA_MTU:
			l.MTU = u32(v)
		case unix.IFLA_MASTER:
			l.Master = u32(v)
		case unix.IFLA_LINK:
			l.Parent = u32(v)
		case unix.IFLA_LINKINFO:
			parseLinkInfo(l, v)
		case unix.IFLA_PROTINFO:
			if header.Family == unix.AF_BRIDGE { // a bridge tells of its port
				parsePort(l, v)
			}
		case unix.IFLA_AF_SPEC:
			eachAttr(v, func(family int, v []byte) {
				if family == unix.AF_INET6 {
					eachAttr(v, func(kind int, v []byte) { parseIPv6(l, kind, v) })
				}
			})
		}
	})
	return l, nil
}

func parseLinkInfo(l *Link, b []byte) {
	var data, slaveData []byte
	var slaveKind string
	eachAttr(b, func(kind int, v []byte) {
		switch kind {
		case nl.IFLA_INFO_KIND:
			l.Kind = text(v)
		case nl.IFLA_INFO_DATA:
			data = v
		case nl.IFLA_INFO_SLAVE_KIND:
			slaveKind = text(v)
		case nl.IFLA_INFO_SLAVE_DATA:
			slaveData = v
		}
	})
	switch l.Kind {
	case "bridge":
		l.Bridge = &BridgeInfo{}
		eachAttr(data, func(kind int, v []byte) { parseBridge(l.Bridge, kind, v) })
	case "vxlan":
		l.VXLAN = &VXLANInfo{}
		eachAttr(data, func(kind int, v []byte) { parseVXLAN(l.VXLAN, kind, v) })
	}
	if slaveKind == "bridge" {
		parsePort(l, slaveData)
	}
}

func parsePort(l *Link, b []byte) {
	l.Port, l.Flooded = &PortInfo{}, true
	eachAttr(b, func(kind int, v []byte) {
		switch kind {
		case nl.IFLA_BRPORT_PROXYARP_WIFI:
			l.Port.AnswerARP = flag(v)
		case nl.IFLA_BRPORT_NEIGH_SUPPRESS:
			l.Port.NeighSuppress = flag(v)
		case nl.IFLA_BRPORT_UNICAST_FLOOD, nl.IFLA_BRPORT_MCAST_FLOOD, nl.IFLA_BRPORT_BCAST_FLOOD:
			l.Flooded = l.Flooded && flag(v)
		}
	})
}

func parseBridge(b *BridgeInfo, kind int, v []byte) {
	switch kind {
	case nl.IFLA_BR_STP_STATE:
		b.STP = u32(v) != 0
	case nl.IFLA_BR_FORWARD_DELAY:
		b.ForwardDelay = uint32(u32(v))
	case nl.IFLA_BR_AGEING_TIME:
		b.AgeingTime = uint32(u32(v))
	case nl.IFLA_BR_MCAST_SNOOPING:
		b.MulticastSnooping = flag(v)
	case nl.IFLA_BR_NF_CALL_IPTABLES:
		b.CallIPTables = flag(v)
	case nl.IFLA_BR_NF_CALL_IP6TABLES:
		b.CallIP6Tables = flag(v)
	}
}

func parseVXLAN(x *VXLANInfo, kind int, v []byte) {
	switch kind {
	case nl.IFLA_VXLAN_ID:
		x.ID = u32(v)
	case nl.IFLA_VXLAN_LOCAL, nl.IFLA_VXLAN_LOCAL6:
		x.Local, _ = netip.AddrFromSlice(v)
	case nl.IFLA_VXLAN_PORT:
		if len(v) >= 2 {
			x.Port = int(binary.BigEndian.Uint16(v))
		}
	case nl.IFLA_VXLAN_LEARNING:
		x.Learning = flag(v)
	}
}

func parseIPv6(l *Link, kind int, v []byte) {
	at := func(i int) int {
		if len(v) < 4*(i+1) {
			return 0
		}
		return int(int32(binary.NativeEndian.Uint32(v[4*i:])))
	}
	if kind == inet6Conf {
		l.IPv6 = &IPv6Info{Disabled: at(devconfDisableIPv6) != 0}
	}
}

// LinkByName returns one device; the error is unix.ENODEV when there is none of that name.
func (h *Handle) LinkByName(name string) (*Link, error) {
	req := h.request(unix.RTM_GETLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(extSkipStats)))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("read device %s: %w", name, err)
	}
	if len(messages) == 0 {
		return nil, fmt.Errorf("read device %s: %w", name, unix.ENODEV)
	}
	return parseLink(messages[0])
}

// AddBridge makes a bridge, down, with the MAC and the attributes given. Its MTU is set afterwards: the kernel would
// otherwise follow the smallest MTU of the ports. With a zero MAC the bridge takes one of its ports', and whenever that
// changes the kernel throws away all neighbour entries of the bridge.
func (h *Handle) AddBridge(name string, mac MAC, info BridgeInfo) error {
	req, data := h.newLink(name, 0, "bridge")
	if mac != (MAC{}) {
		req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]))
	}
	addBridgeAttributes(data, info)
	return h.do(req)
}

// SetBridge sets the attributes of a bridge.
func (h *Handle) SetBridge(index int, info BridgeInfo) error {
	// STP first and alone: while it is on, the kernel refuses forward delays under two seconds.
	stp := func(data *nl.RtAttr) { data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(number(info.STP))) }
	if err := h.changeBridge(index, stp); err != nil {
		return err
	}
	return h.changeBridge(index, func(data *nl.RtAttr) { addBridgeAttributes(data, info) })
}

// SetBridgeNetfilter has br_netfilter take what a bridge forwards, or not, whatever the switches for all bridges say.
func (h *Handle) SetBridgeNetfilter(index int, on bool) error {
	return h.changeBridge(index, func(data *nl.RtAttr) {
		data.AddRtAttr(nl.IFLA_BR_NF_CALL_IPTABLES, nl.Uint8Attr(uint8(number(on))))
		data.AddRtAttr(nl.IFLA_BR_NF_CALL_IP6TABLES, nl.Uint8Attr(uint8(number(on))))
	})
}

func (h *Handle) changeBridge(index int, add func(data *nl.RtAttr)) error {
	req := h.request(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(index)
	req.AddData(message)
	linkInfo := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	linkInfo.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	add(linkInfo.AddRtAttr(nl.IFLA_INFO_DATA, nil))
	req.AddData(linkInfo)
	return h.do(req)
}

func addBridgeAttributes(data *nl.RtAttr, info BridgeInfo) {
	data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(number(info.STP)))
	data.AddRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(info.ForwardDelay))
	data.AddRtAttr(nl.IFLA_BR_AGEING_TIME, nl.Uint32Attr(info.AgeingTime))
	data.AddRtAttr(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(uint8(number(info.MulticastSnooping))))
}

// AddVXLAN makes a VXLAN device, down, without a flooding destination.
func (h *Handle) AddVXLAN(name string, mtu int, info VXLANInfo) error {
	req, data := h.newLink(name, mtu, "vxlan")
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(uint32(info.ID)))
	if info.Local.Is4() {
		data.AddRtAttr(nl.IFLA_VXLAN_LOCAL, info.Local.AsSlice())
	} else {
		data.AddRtAttr(nl.IFLA_VXLAN_LOCAL6, info.Local.AsSlice())
	}
	data.AddRtAttr(nl.IFLA_VXLAN_PORT, nl.BEUint16Attr(uint16(info.Port)))
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, nl.Uint8Attr(uint8(number(info.Learning))))
	return h.do(req)
}

// newLink begins a message that makes a device; the caller adds the attributes of its kind to the second result.
func (h *Handle) newLink(name string, mtu int, kind string) (*nl.NetlinkRequest, *nl.RtAttr) {
	req := h.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if mtu != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	}
	linkInfo := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	linkInfo.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	data := linkInfo.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	req.AddData(linkInfo)
	return req, data
}

func number(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// DeleteLink removes a device.
func (h *Handle) DeleteLink(index int) error { return h.lib.LinkDel(byIndex(index)) }

// SetAlias sets the ifalias, the mark by which an agent knows its own devices.
func (h *Handle) SetAlias(index int, alias string) error {
	return h.lib.LinkSetAlias(byIndex(index), alias)
}

// SetMTU sets the MTU in bytes.
func (h *Handle) SetMTU(index, mtu int) error { return h.lib.LinkSetMTU(byIndex(index), mtu) }

// SetUp puts a device up.
func (h *Handle) SetUp(index int) error { return h.lib.LinkSetUp(byIndex(index)) }

// SetDown puts a device down.
func (h *Handle) SetDown(index int) error { return h.lib.LinkSetDown(byIndex(index)) }

// SetMaster makes a device a port of a bridge; master 0 takes it out of its bridge.
func (h *Handle) SetMaster(index, master int) error {
	return h.lib.LinkSetMasterByIndex(byIndex(index), master)
}

// SetPort sets the attributes of a port of a bridge.
func (h *Handle) SetPort(index int, info PortInfo) error {
	return h.changePort(index, map[int]bool{
		nl.IFLA_BRPORT_PROXYARP_WIFI: info.AnswerARP, nl.IFLA_BRPORT_NEIGH_SUPPRESS: info.NeighSuppress,
	})
}

// SetFlooded has the bridge hand its port what is for everybody, or not; see Link.
func (h *Handle) SetFlooded(index int, on bool) error {
	return h.changePort(index, map[int]bool{
		nl.IFLA_BRPORT_UNICAST_FLOOD: on, nl.IFLA_BRPORT_MCAST_FLOOD: on, nl.IFLA_BRPORT_BCAST_FLOOD: on,
	})
}

func (h *Handle) changePort(index int, attributes map[int]bool) error {
	req := h.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_BRIDGE)
	message.Index = int32(index)
	req.AddData(message)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	for kind, on := range attributes {
		port.AddRtAttr(kind, nl.Uint8Attr(uint8(number(on))))
	}
	req.AddData(port)
	return h.do(req)
}

// AddVeth makes a pair of connected devices; the peer is made in the namespace given, or here when that is nil.
func (h *Handle) AddVeth(name, peer string, peerNS interface{ Fd() int }) error {
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: peer}
	veth.Name = name
	if peerNS != nil {
		veth.PeerNamespace = netlink.NsFd(peerNS.Fd())
	}
	return h.lib.LinkAdd(veth)
}

// SetHardwareAddr sets the MAC of a device.
func (h *Handle) SetHardwareAddr(index int, mac MAC) error {
	return h.lib.LinkSetHardwareAddr(byIndex(index), mac[:])
}

// AddAddress gives a device an address with its prefix length. IPv6 addresses are usable at once: no duplicate address
// detection.
func (h *Handle) AddAddress(index int, address netip.Prefix) error {
	return h.lib.AddrReplace(byIndex(index), &netlink.Addr{
		IPNet: &net.IPNet{
			IP:   address.Addr().AsSlice(),
			Mask: net.CIDRMask(address.Bits(), address.Addr().BitLen()),
		},
		Flags: unix.IFA_F_NODAD,
	})
}
