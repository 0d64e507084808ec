package l2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/link"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// The legs of a distributed router are on many hosts with the same MAC and addresses. Each host's own workloads are to be
// served by its own leg, and no other host is to notice that there are several. So at the devices through which a network
// leaves the host (its tunnel, or the interface of a flat one) there is a border:
//
//   - Nothing passes it to or from the MAC of a leg, in no direction, nor does a question for the address of one.
//   - What a leg sends to workloads of other hosts leaves with the host's own MAC for that leg (tunnel_mac). It is known
//     to the other hosts as that of a neighbour without addresses.
//   - ARP requests of a leg, for addresses that nobody has told (address pairs may be anywhere), leave as probes from that
//     MAC, without an address of the sender (RFC 5227): so no workload takes this host for its gateway. The answer comes to
//     the MAC, and is handed to the leg. Other ARP of a leg, and all its neighbour discovery, stay on the host.
//
// These rules are the whole of it; what is particular is in the sets. (tunnel has the keys of leg-mac: the kernel of
// Debian 12 does not say whether a map has a key.)
const anycastTable = "neutrino-anycast"

const anycastRules = `	map tunnel-mac {
		type ifname . ether_addr : ether_addr
	}

	map leg-mac {
		type ifname . ether_addr : ether_addr
	}

	set leg {
		type ifname . ether_addr
	}

	set tunnel {
		type ifname . ether_addr
	}

	set leg-address {
		type ifname . ipv4_addr
	}

	chain enter {
		type filter hook prerouting priority -400; policy accept;
		iifname . ether saddr @leg drop
		iifname . ether daddr @leg drop
		arp operation 1 iifname . arp daddr ip @leg-address drop
		iifname . ether daddr @tunnel goto to-leg
	}

	chain to-leg {
		arp daddr ether set iifname . ether daddr map @leg-mac
		ether daddr set iifname . ether daddr map @leg-mac
	}

	chain leave {
		type filter hook postrouting priority 400; policy accept;
		oifname . ether daddr @leg drop
		arp operation 1 oifname . arp daddr ip @leg-address drop
		oifname . ether saddr @leg goto from-leg
	}

	chain from-leg {
		arp operation != 1 drop
		icmpv6 type 133-137 drop
		arp saddr ip set 0.0.0.0
		arp saddr ether set oifname . ether saddr map @tunnel-mac
		ether saddr set oifname . ether saddr map @tunnel-mac
	}
`

var anycastTableID = nftmap.Table{Family: unix.NFPROTO_BRIDGE, Name: anycastTable}

// anycastLeg is the leg of a distributed router on this host.
type anycastLeg struct {
	key, device, network string
	// border is the device through which the network leaves the host; empty: there is none.
	border         string
	mac, tunnelMAC netlinkx.MAC
	ips            []netip.Addr
}

// anycast notes that the port is the leg of a distributed router.
func (c *converter) anycast(l anycastLeg, tunnelMAC string, ips []string) error {
	var err error
	if l.tunnelMAC, err = parseMAC(tunnelMAC); err != nil {
		return fmt.Errorf("tunnel_mac: %w", err)
	}
	for _, text := range ips {
		ip, err := parseIP(text)
		if err != nil {
			return err
		}
		if ip.Is4() {
			l.ips = append(l.ips, ip)
		}
	}
	s := c.segments[l.network]
	l.border = s.tunnel + s.uplink // one of them at most
	c.legs = append(c.legs, l)
	return nil
}

// anycastElements are the elements of the sets.
func anycastElements(legs []anycastLeg) map[string]nftmap.Elements {
	all := map[string]nftmap.Elements{"tunnel-mac": {}, "leg-mac": {}, "leg": {}, "tunnel": {}, "leg-address": {}}
	for _, l := range legs {
		if l.border == "" {
			continue
		}
		all["leg"][macKey(l.border, l.mac)] = ""
		all["tunnel-mac"][macKey(l.border, l.mac)] = string(l.tunnelMAC[:])
		all["tunnel"][macKey(l.border, l.tunnelMAC)] = ""
		all["leg-mac"][macKey(l.border, l.tunnelMAC)] = string(l.mac[:])
		for _, ip := range l.ips {
			all["leg-address"][ifname(l.border)+string(ip.AsSlice())] = ""
		}
	}
	return all
}

// macKey and ifname are keys as the kernel compares them: parts are filled up to four bytes.
func macKey(device string, mac netlinkx.MAC) string {
	return ifname(device) + string(mac[:]) + "\x00\x00"
}

func ifname(device string) string {
	return device + strings.Repeat("\x00", max(0, unix.IFNAMSIZ-len(device)))
}

// ensureAnycast makes the border what the legs need. As long as it is not, no leg is let into its bridge.
func (p *Part) ensureAnycast(ctx context.Context, w *Wanted) {
	same := p.bordered == w && p.unbordered == nil && !p.borderStale.Swap(false)
	if same && time.Since(p.borderSeen) < guardInterval {
		return
	}
	err := p.makeBorder(ctx, anycastElements(w.legs), len(w.legs) > 0)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		err = fmt.Errorf("what its legs have in common with other hosts would be seen there: %w", err)
		if p.unbordered == nil {
			p.options.Logger.Error("legs of distributed routers are kept off", "part", name, "error", err)
		}
	}
	p.bordered, p.unbordered, p.borderSeen = w, err, time.Now()
}

// makeBorder writes the table if its rules are not ours, and changes the elements that differ.
func (p *Part) makeBorder(ctx context.Context, elements map[string]nftmap.Elements, needed bool) error {
	ns := p.options.Namespace
	if ns == nil {
		own, err := netns.Current()
		if err != nil {
			return err
		}
		defer own.Close()
		ns = own
	}
	conn, err := nftmap.Dial(ns)
	if err != nil {
		return err
	}
	defer conn.Close()
	if !needed {
		return conn.Delete(anycastTableID)
	}
	settled := p.bordered != nil && p.unbordered == nil && len(p.bordered.legs) > 0
	written, err := conn.Written(anycastTableID, anycastRules)
	switch {
	case err != nil && !errors.Is(err, unix.ENOENT):
		return err
	case !written:
		if settled {
			p.drift("anycast", anycastTable, "changed or missing")
		}
		table := nft.Table{Family: "bridge", Name: anycastTable, Rules: anycastRules}
		if err := p.nft.Replace(ctx, table); err != nil {
			return err
		}
		if err := conn.MarkWritten(anycastTableID, anycastRules); err != nil {
			return err
		}
	}
	var changes []nftmap.Change
	for _, set := range slices.Sorted(maps.Keys(elements)) {
		have, err := conn.Elements(anycastTableID, set)
		if err != nil {
			return err
		}
		c := nftmap.Difference(set, have, elements[set])
		if len(c.Remove)+len(c.Add) > 0 {
			changes = append(changes, c)
		}
	}
	return conn.Apply(anycastTableID, changes...)
}

// keptOff is what is wanted of the devices; while there is no border, without the legs of distributed routers.
func (p *Part) keptOff(w *Wanted) link.Wanted {
	links := w.Links
	if p.unbordered == nil || len(w.legs) == 0 {
		return links
	}
	links.Ports = slices.Clone(links.Ports)
	for i := range links.Ports {
		if slices.ContainsFunc(w.legs, func(l anycastLeg) bool { return l.device == links.Ports[i].Device }) {
			links.Ports[i].Bridge = ""
		}
	}
	return links
}
