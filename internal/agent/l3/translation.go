package l3

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
)

// ensureTranslations makes the router's table right: as a whole when its rules are others, and otherwise element by
// element. It returns what is not translated any more as it was.
func (s *session) ensureTranslations() (stale stale, err error) {
	written, err := s.nft.Written(routerTableID, s.rules)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return stale, err
	}
	var changes []nftmap.Change
	for _, name := range slices.Sorted(maps.Keys(s.elements)) {
		have, err := s.nft.Elements(routerTableID, name)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return stale, err
		}
		change := difference(name, have, s.elements[name])
		stale.add(change, have)
		if len(change.Remove)+len(change.Add) > 0 {
			changes = append(changes, change)
		}
	}
	if before := s.router.applied; before != nil && before.snat != s.snat {
		stale.addresses = append(stale.addresses, before.snat)
	}
	if !written {
		return stale, s.writeTable()
	}
	if len(changes) == 0 {
		return stale, nil
	}
	s.drift("translation", "%d maps", len(changes))
	return stale, s.nft.Apply(routerTableID, changes...)
}

// writeTable replaces the table, with all its elements, by one transaction.
func (s *session) writeTable() error {
	s.drift("rules", "the table %s", routerTable)
	client := nft.Client{Namespace: s.ns, Program: s.part.options.NFT}
	if err := client.Replace(s.ctx, s.withElements()); err != nil {
		return err
	}
	return s.nft.MarkWritten(routerTableID, s.rules)
}

// difference is what has to be done to the elements of a map.
func difference(name string, have, want nftmap.Elements) nftmap.Change {
	return nftmap.Difference(name, have, want)
}

// stale is what connections must not go on with.
type stale struct {
	// addresses are those in the external network whose translations have changed; endpoints are the keys of forwarded
	// ports of which the same is true.
	addresses []netip.Addr
	endpoints []string
}

// add takes the changes of a map into account, which had these elements; nil: there was no router. What is
// translated from now on counts, too: until now the router may have forwarded it as it was, and would go on so.
func (s *stale) add(c nftmap.Change, have nftmap.Elements) {
	if have == nil {
		return
	}
	switch c.Set {
	case fixedOf:
		for _, key := range slices.Concat(c.Remove, slices.Collect(maps.Keys(c.Add))) {
			s.addresses = append(s.addresses, parse4Bytes(key))
		}
	case floatingOf:
		for _, key := range c.Remove {
			s.addresses = append(s.addresses, parse4Bytes(have[key]))
		}
	case forwarded:
		s.endpoints = append(slices.Concat(s.endpoints, c.Remove), slices.Collect(maps.Keys(c.Add))...)
	}
}

// forget removes what the kernel remembers of connections whose translation is not what it was, and of no others.
func (s *session) forget(stale stale, removed []netip.Addr) error {
	m := matcher{addresses: map[netip.Addr]bool{}, endpoints: map[string]bool{}}
	for _, ip := range slices.Concat(stale.addresses, removed) {
		if ip.Is4() {
			m.addresses[ip] = true
		}
	}
	for _, key := range stale.endpoints {
		m.endpoints[key] = true
	}
	if len(m.addresses)+len(m.endpoints) == 0 {
		return nil
	}
	h, err := netlink.NewHandleAt(vnetns.NsHandle(s.ns.Fd()), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open a socket for connections: %w", err)
	}
	defer h.Close()
	if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, m); err != nil {
		return fmt.Errorf("forget connections whose translation has changed: %w", err)
	}
	return nil
}

// matcher implements netlink.CustomConntrackFilter.
type matcher struct {
	addresses map[netip.Addr]bool
	endpoints map[string]bool
}

// MatchConntrackFlow says whether the connection was made to a stale address, or answers come back to one.
func (m matcher) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	to, _ := netip.AddrFromSlice(f.Forward.DstIP)
	back, _ := netip.AddrFromSlice(f.Reverse.DstIP)
	to, back = to.Unmap(), back.Unmap()
	return m.addresses[to] || m.addresses[back] ||
		to.Is4() && m.endpoints[endpoint(to, f.Forward.Protocol, uint32(f.Forward.DstPort))]
}

// ensureHelpers keeps the table of helpers.
func (s *session) ensureHelpers() error {
	written, err := s.nft.Written(helpersTableID, s.helpers)
	switch {
	case errors.Is(err, unix.ENOENT) && s.helpers == "":
		return nil
	case err != nil && !errors.Is(err, unix.ENOENT):
		return err
	case written:
		return nil
	}
	s.drift("helpers", "the table %s", helpersTable)
	if s.helpers == "" {
		return s.nft.Delete(helpersTableID)
	}
	client := nft.Client{Namespace: s.ns, Program: s.part.options.NFT}
	table := nft.Table{Family: "inet", Name: helpersTable, Rules: s.helpers}
	if err := client.Replace(s.ctx, table); err != nil {
		return fmt.Errorf("have connection tracking use its helpers: %w", err)
	}
	return s.nft.MarkWritten(helpersTableID, s.helpers)
}
