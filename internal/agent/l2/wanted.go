package l2

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/fdb"
	"github.com/neutrino-net/neutrino/internal/dataplane/link"
	"github.com/neutrino-net/neutrino/internal/dataplane/neigh"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Bounds of what a document may say.
const (
	minMTU = 68 // RFC 791: every link carries at least this
	maxMTU = 65535
	maxVNI = 1<<24 - 1 // RFC 7348: 24 bits
)

// Wanted is the view as tables for the drivers, and for each document what it became in them. It is computed without
// looking at the host.
type Wanted struct {
	Links link.Wanted
	// Forwarding entries by the name of the VXLAN device, and neighbours by the name of the bridge.
	Forwarding map[string]fdb.Table
	Neighbours map[string]neigh.Table
	// Problems are documents that cannot be understood, or not be had together with others, and why.
	Problems map[string]string

	segments map[string]segment // by network
	ports    []port
	peers    []peer
	legs     []anycastLeg // of distributed routers
}

type segment struct {
	key, bridge string
	// tunnel is the VXLAN device, uplink the interface of a flat network; both are empty for one that is local to the host.
	tunnel, uplink string
	mtu            int
	// problem is why the segment is not wanted, for those who depend on it.
	problem string
}

type port struct {
	key, device, network string
	distributed          bool // it is the leg of a distributed router
}

type peer struct {
	key, network string
	mac          netlinkx.MAC
	ips          []netip.Addr
	vtep         netip.Addr
	// vteps are set instead of all but the first two, for a port that moves between hosts.
	vteps []netip.Addr
}

// Site is how the host is attached to the networks outside.
type Site struct {
	// TunnelIP is the address of the host on the underlay; the zero Addr where it has none.
	TunnelIP netip.Addr
	// Mappings has the interface for each physical network that the host is attached to.
	Mappings map[string]string
}

// mapped are the interfaces of the physical networks.
func (s Site) mapped() map[string]bool {
	devices := make(map[string]bool, len(s.Mappings))
	for _, device := range s.Mappings {
		devices[device] = true
	}
	return devices
}

// Convert computes what the documents of the view want of the host. Where two documents exclude each other, the first by
// key wins.
func Convert(view *agent.View, site Site) *Wanted {
	w := &Wanted{
		Links:      link.Wanted{Untouched: map[string]bool{}, Mapped: site.mapped()},
		Forwarding: map[string]fdb.Table{},
		Neighbours: map[string]neigh.Table{},
		Problems:   map[string]string{},
		segments:   map[string]segment{},
	}
	documents := slices.SortedFunc(view.All(), func(a, b *sb.Document) int { return strings.Compare(a.Key, b.Key) })
	c := converter{Wanted: w, Site: site, names: map[string]string{}, macs: map[station]string{}}
	// Ports and peers refer to segments, peers must not take what is a local port's: so, in this order.
	c.each(documents, "segment/", c.segment)
	c.each(documents, "port/", c.port)
	c.each(documents, "neighbour/", c.neighbour)
	return w
}

type converter struct {
	*Wanted
	Site
	names map[string]string  // device → key of the document that has it
	macs  map[station]string // → key of the document that has it
}

func (c *converter) each(documents []*sb.Document, prefix string, convert func(d *sb.Document) error) {
	for _, d := range documents {
		if !strings.HasPrefix(d.Key, prefix) {
			continue
		}
		if err := convert(d); err != nil {
			c.Problems[d.Key] = err.Error()
		}
	}
}

// claim gives a name to the first document that asks for it; what tells the attribute.
func claim[N comparable](names map[N]string, what string, name N, key string) error {
	if other, taken := names[name]; taken {
		return fmt.Errorf("%s belongs to %s already", what, other)
	}
	names[name] = key
	return nil
}

// station is a MAC on a network.
type station struct {
	network string
	mac     netlinkx.MAC
}

func (c *converter) segment(d *sb.Document) error {
	body := d.GetSegment()
	if err := checkID(d.Key, "segment/", body.GetNetworkId()); err != nil {
		return err
	}
	s := segment{key: d.Key, bridge: model.BridgeName(body.NetworkId), mtu: int(body.Mtu)}
	if body.NetworkType == string(model.TypeVXLAN) {
		s.tunnel = fmt.Sprintf("vxlan-%d", body.SegmentationId)
	}
	if body.NetworkType == string(model.TypeFlat) {
		s.uplink = c.Mappings[body.PhysicalNetwork]
	}
	err := c.checkSegment(body, s)
	if err != nil {
		// The document may have been right before: what it made then stays until it is right again or gone.
		c.Links.Untouched[s.bridge], c.Links.Untouched[s.tunnel] = true, true
		s.problem = err.Error()
	}
	c.segments[body.NetworkId] = s
	if err != nil {
		return err
	}
	c.Links.Bridges = append(c.Links.Bridges, link.Bridge{
		Name: s.bridge, NetworkID: body.NetworkId, MAC: bridgeMAC(body.NetworkId, c.TunnelIP), MTU: s.mtu,
	})
	if s.uplink != "" {
		c.Links.Uplinks = append(c.Links.Uplinks, link.Uplink{Device: s.uplink, Bridge: s.bridge, MTU: s.mtu})
	}
	if s.tunnel != "" {
		c.Links.Tunnels = append(c.Links.Tunnels, link.Tunnel{
			Name: s.tunnel, NetworkID: body.NetworkId, Bridge: s.bridge,
			VNI: int(body.SegmentationId), Local: c.TunnelIP, MTU: s.mtu,
		})
		c.Forwarding[s.tunnel] = fdb.Table{Remotes: map[netlinkx.MAC]netip.Addr{}, Flood: map[netip.Addr]bool{}}
		c.Neighbours[s.bridge] = neigh.Table{}
	}
	return nil
}

// bridgeMAC is the address of a network's bridge: always the same on a host, and different on each.
func bridgeMAC(networkID string, tunnelIP netip.Addr) netlinkx.MAC {
	sum := sha256.Sum256([]byte(networkID + " " + tunnelIP.String()))
	// 0x4e: locally administered, one device.
	return netlinkx.MAC{0x4e, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

func (c *converter) checkSegment(body *sb.Segment, s segment) error {
	if body.Mtu < minMTU || body.Mtu > maxMTU {
		return fmt.Errorf("mtu %d is not in the range %d to %d", body.Mtu, minMTU, maxMTU)
	}
	switch model.NetworkType(body.NetworkType) {
	case model.TypeLocal:
	case model.TypeFlat:
		if s.uplink == "" {
			return fmt.Errorf("this host has no interface on physical network %.60q: start its agent with --bridge-mappings",
				body.PhysicalNetwork)
		}
		if err := claim(c.names, "interface "+s.uplink, s.uplink, s.key); err != nil {
			return err
		}
	case model.TypeVXLAN:
		if body.SegmentationId < 1 || body.SegmentationId > maxVNI {
			return fmt.Errorf("segmentation_id %d is no VNI: it is not in the range 1 to %d", body.SegmentationId, maxVNI)
		}
		if !c.TunnelIP.IsValid() {
			return fmt.Errorf("this host has no tunnel address, so it cannot reach vxlan networks: " +
				"start its agent with one")
		}
		if err := claim(c.names, fmt.Sprintf("segmentation_id %d", body.SegmentationId), s.tunnel, s.key); err != nil {
			return err
		}
	default:
		return fmt.Errorf("network type %.20q is not supported by this host yet", body.NetworkType)
	}
	return claim(c.names, "the bridge name "+s.bridge, s.bridge, s.key)
}

// devicePattern are the names that a port's device may have. Nothing else on the host is ever put into a bridge.
var devicePattern = regexp.MustCompile(`^tap[0-9A-Za-z-]{1,11}$`)

func (c *converter) port(d *sb.Document) error {
	body := d.GetPort()
	if err := checkID(d.Key, "port/", body.GetPortId()); err != nil {
		return err
	}
	if !devicePattern.MatchString(body.Device) {
		return fmt.Errorf("device %.40q is no name of a port's device", body.Device)
	}
	mac, err := parseMAC(body.Mac)
	if err != nil {
		return err
	}
	if body.Mtu < minMTU || body.Mtu > maxMTU {
		return fmt.Errorf("mtu %d is not in the range %d to %d", body.Mtu, minMTU, maxMTU)
	}
	s, ok := c.segments[body.NetworkId]
	if !ok {
		return fmt.Errorf("this host has no segment of network %.40q", body.NetworkId)
	}
	if s.problem != "" {
		// It stays where it is, like its bridge, as long as its own document wants it there.
		c.Links.Untouched[body.Device] = body.AdminStateUp
		return fmt.Errorf("its network cannot be reached from this host: %s", s.problem)
	}
	if err := claim(c.names, "device "+body.Device, body.Device, d.Key); err != nil {
		return err
	}
	if err := claim(c.macs, "mac "+body.Mac, station{body.NetworkId, mac}, d.Key); err != nil {
		return err
	}
	if body.TunnelMac != "" {
		l := anycastLeg{key: d.Key, device: body.Device, network: body.NetworkId, mac: mac}
		if err := c.anycast(l, body.TunnelMac, body.Ips); err != nil {
			return err
		}
	}
	wanted := link.Port{Device: body.Device, MTU: int(body.Mtu)}
	if body.AdminStateUp {
		wanted.Bridge = s.bridge
	}
	c.Links.Ports = append(c.Links.Ports, wanted)
	c.ports = append(c.ports, port{d.Key, body.Device, body.NetworkId, body.TunnelMac != ""})
	return nil
}

func (c *converter) neighbour(d *sb.Document) error {
	body := d.GetNeighbour()
	if err := checkID(d.Key, "neighbour/", body.GetPortId()); err != nil {
		return err
	}
	if len(body.Vteps) > 0 {
		return c.moving(d)
	}
	mac, err := parseMAC(body.Mac)
	if err != nil {
		return err
	}
	vtep, err := c.parseVTEP(body.Vtep)
	if err != nil {
		return err
	}
	ips := make([]netip.Addr, 0, len(body.Ips))
	for _, text := range body.Ips {
		ip, err := parseIP(text)
		if err != nil {
			return err
		}
		ips = append(ips, ip)
	}
	s, err := c.tunnelOf(body.NetworkId)
	if err != nil {
		return err
	}
	if err := claim(c.macs, "mac "+body.Mac, station{body.NetworkId, mac}, d.Key); err != nil {
		return err
	}
	c.Forwarding[s.tunnel].Remotes[mac] = vtep
	c.Forwarding[s.tunnel].Flood[vtep] = true
	for _, ip := range ips {
		// IPv6 solicitations are not answered by the bridge (see package link), so entries would have no use.
		if _, taken := c.Neighbours[s.bridge][ip]; !taken && ip.Is4() {
			c.Neighbours[s.bridge][ip] = mac
		}
	}
	c.peers = append(c.peers, peer{key: d.Key, network: body.NetworkId, mac: mac, ips: ips, vtep: vtep})
	return nil
}

// moving is a neighbour that is now at one host and now at another, and is announced to the network when it moves, not to
// us. So what goes to everybody goes to all these hosts, and the tunnel and the bridge learn where its MAC is: an entry
// that was put there would stay when it moves. This host may be one of them; then it has a port document, too.
func (c *converter) moving(d *sb.Document) error {
	body := d.GetNeighbour()
	s, err := c.tunnelOf(body.NetworkId)
	if err != nil {
		return err
	}
	x := peer{key: d.Key, network: body.NetworkId}
	for _, text := range body.Vteps {
		if own, err := netip.ParseAddr(text); err == nil && own.Unmap() == c.TunnelIP {
			continue
		}
		vtep, err := c.parseVTEP(text)
		if err != nil {
			return err
		}
		x.vteps = append(x.vteps, vtep)
	}
	for _, vtep := range x.vteps {
		c.Forwarding[s.tunnel].Flood[vtep] = true
	}
	c.peers = append(c.peers, x)
	return nil
}

// tunnelOf returns the segment of a network that has a tunnel.
func (c *converter) tunnelOf(network string) (segment, error) {
	s, ok := c.segments[network]
	switch {
	case !ok:
		return s, fmt.Errorf("this host has no segment of network %.40q", network)
	case s.problem != "":
		return s, fmt.Errorf("its network cannot be reached from this host: %s", s.problem)
	case s.tunnel == "":
		return s, fmt.Errorf("its network has no tunnel")
	}
	return s, nil
}

// checkID refuses ids that could not be part of a device's name, and bodies that do not belong to their key.
func checkID(key, prefix, id string) error {
	if key[len(prefix):] != id || len(id) == 0 || len(id) > maxID || strings.Trim(id, idCharacters) != "" || id[0] == '-' {
		return fmt.Errorf("the document has no body of its kind, or its id is not that of its key")
	}
	return nil
}

// What an id may be made of; in practice it is a UUID.
const (
	maxID        = 64
	idCharacters = "-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func parseMAC(text string) (netlinkx.MAC, error) {
	parsed, err := net.ParseMAC(text)
	if err != nil || len(parsed) != 6 {
		return netlinkx.MAC{}, fmt.Errorf("mac %.40q is no Ethernet address", text)
	}
	mac := netlinkx.MAC(parsed)
	if mac == (netlinkx.MAC{}) || mac[0]&1 != 0 {
		return mac, fmt.Errorf("mac %s is zero or a group address: it cannot be that of a port", mac)
	}
	return mac, nil
}

func (c *converter) parseVTEP(text string) (netip.Addr, error) {
	vtep, err := netip.ParseAddr(text)
	if err != nil || vtep.Zone() != "" || !vtep.IsGlobalUnicast() {
		return vtep, fmt.Errorf("vtep %.60q is no address of a host", text)
	}
	vtep = vtep.Unmap()
	if vtep == c.TunnelIP {
		return vtep, fmt.Errorf("vtep %s is this host itself", vtep)
	}
	if c.TunnelIP.IsValid() && vtep.Is4() != c.TunnelIP.Is4() {
		return vtep, fmt.Errorf("vtep %s is of another IP version than this host's tunnel address %s", vtep, c.TunnelIP)
	}
	return vtep, nil
}

// parseIP reads an address, with or without the prefix length of its subnet.
func parseIP(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		prefix, prefixErr := netip.ParsePrefix(text)
		if prefixErr != nil {
			return ip, fmt.Errorf("ip %.60q is no address", text)
		}
		ip = prefix.Addr()
	}
	if ip = ip.Unmap(); ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
		return ip, fmt.Errorf("ip %.60q cannot be the address of a port", text)
	}
	return ip, nil
}

// Keys returns the keys of the documents with a problem, sorted.
func (w *Wanted) Keys() []string { return slices.Sorted(maps.Keys(w.Problems)) }
