package l3

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/neigh"
	"github.com/neutrino-net/neutrino/internal/dataplane/veth"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// protocol is the number by which routes and addresses of ours are known, the same as that of neighbours.
const protocol = neigh.Protocol

// ensureLegs makes the devices right and removes those of ports that the router has no more. It returns the indexes of
// the inner devices by name, without those that could not be had; nil: it could not look.
func (s *session) ensureLegs() (map[string]int, error) {
	links, err := s.nl.Links()
	if err != nil {
		return nil, err
	}
	s.links = links
	var errs []error
	errs = append(errs, s.loopbackUp(), s.removeOldLegs())
	indexes := make(map[string]int, len(s.legs))
	for i := range s.legs {
		l := &s.legs[i]
		index, err := s.ensureLeg(l)
		if err == nil {
			indexes[l.device] = index
			err = s.setLeg(l)
		}
		errs = append(errs, err)
	}
	return indexes, errors.Join(errs...)
}

func (s *session) loopbackUp() error {
	lo := s.links["lo"]
	if lo == nil || lo.Up {
		return nil
	}
	return s.nl.SetUp(lo.Index)
}

// removeOldLegs removes our devices that are not wanted. Their outer ends go with them.
func (s *session) removeOldLegs() error {
	keep := map[string]bool{}
	for i := range s.legs {
		keep[s.legs[i].device] = true
	}
	var errs []error
	for name, l := range s.links {
		if keep[name] || s.untouched[l.Alias] || !strings.HasPrefix(l.Alias, portMark) {
			continue
		}
		s.part.speaker.farewell(s.router.id, name)
		if err := s.nl.DeleteLink(l.Index); err != nil && !netlinkx.Gone(err) {
			errs = append(errs, fmt.Errorf("remove the device %s: %w", name, err))
			continue
		}
		s.drift("link", "removed %s", name)
	}
	return errors.Join(errs...)
}

// ensureLeg makes the pair of devices, or repairs it; one that is right costs a look.
func (s *session) ensureLeg(l *leg) (index int, err error) {
	host, err := s.part.host.LinkByName(l.host)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return 0, err
	}
	if inside := s.links[l.device]; err == nil && right(l, host, inside) {
		return inside.Index, nil
	}
	if s.group != "" {
		s.held = append(s.held, l.device)
	}
	state, err := veth.Ensure(s.ns, veth.Pair{
		HostNamespace: s.part.options.Namespace,
		Host:          l.host, Inside: l.device, MAC: l.mac, MTU: l.mtu, Mark: l.mark(), Held: s.group != "",
	})
	if err != nil {
		return 0, err
	}
	if state.Made || state.Changed {
		s.settings = true // those of a new device are not ours
		s.drift("link", "%s", l.device)
	}
	return state.Index, nil
}

// raise puts up the legs that were held down until the router was mute: a device that comes up speaks at once (multicast
// memberships, IPv6), and the networks would learn that its MAC is here.
func (s *session) raise(legs map[string]int) error {
	var errs []error
	for _, device := range s.held {
		if index := legs[device]; index != 0 {
			if err := s.nl.SetUp(index); err != nil && !netlinkx.Gone(err) {
				errs = append(errs, fmt.Errorf("set %s up: %w", device, err))
			}
		}
	}
	return errors.Join(errs...)
}

func right(l *leg, host, inside *netlinkx.Link) bool {
	return inside != nil && host.Parent == inside.Index && inside.Parent == host.Index &&
		host.Alias == l.mark() && inside.Alias == l.mark() && inside.Up && inside.MTU == l.mtu &&
		inside.MAC == netlinkx.MAC(l.mac)
}

// place is an address on a leg.
type place struct {
	device string
	index  int
	prefix netip.Prefix
}

// ensureAddresses gives the legs exactly their addresses: the devices are ours, and so is whatever address is on them.
// A floating IP that stayed on a host which has it no more would be answered for twice.
func (s *session) ensureAddresses(legs map[string]int) (added []place, removed []netip.Addr, err error) {
	present, err := s.nl.Addresses()
	if err != nil {
		return nil, nil, err
	}
	missing, devices := map[place]bool{}, map[int]string{}
	for i := range s.legs {
		l := &s.legs[i]
		if index, have := legs[l.device]; have {
			devices[index] = l.device
			for _, p := range l.addresses {
				missing[place{l.device, index, p}] = true
			}
		}
	}
	var errs []error
	for _, a := range present {
		device, ours := devices[a.Index]
		where := place{device, a.Index, a.Prefix}
		if !ours || missing[where] {
			delete(missing, where)
			continue
		}
		if err := s.nl.DeleteAddress(a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !netlinkx.Gone(err) {
			errs = append(errs, fmt.Errorf("remove the address %s from %s: %w", a.Prefix, device, err))
			continue
		}
		removed = append(removed, a.Prefix.Addr())
		s.drift("address", "removed %s from %s", a.Prefix, device)
	}
	for i := range s.legs { // in their order: the first address of a leg is the one that it speaks from
		l := &s.legs[i]
		for _, p := range l.addresses {
			where := place{l.device, legs[l.device], p}
			if !missing[where] {
				continue
			}
			err := s.nl.SetAddress(netlinkx.Address{Index: where.index, Prefix: p, Protocol: protocol})
			if err != nil {
				errs = append(errs, fmt.Errorf("add the address %s to %s: %w", p, l.device, err))
				continue
			}
			added = append(added, where)
			s.drift("address", "added %s to %s", p, l.device)
		}
	}
	return added, removed, errors.Join(errs...)
}

// ensureRoutes makes our routes right. Those with another protocol number are somebody else's.
func (s *session) ensureRoutes(legs map[string]int) error {
	present, err := s.nl.Routes(protocol)
	if err != nil {
		return err
	}
	missing := map[netlinkx.Route]bool{}
	for _, r := range s.routes {
		if index, have := legs[r.device]; have {
			missing[netlinkx.Route{
				Destination: r.destination, Gateway: r.via, Index: index, Protocol: protocol, Table: r.table,
			}] = true
		}
	}
	wanted := maps.Clone(missing)
	var errs []error
	type slot struct {
		destination netip.Prefix
		table       int
	}
	replaced := map[slot]bool{}
	for _, r := range present {
		delete(missing, r)
	}
	for r := range missing {
		if err := s.nl.SetRoute(r); err != nil {
			errs = append(errs, fmt.Errorf("add the route to %s via %s: %w", r.Destination, r.Gateway, err))
			continue
		}
		replaced[slot{r.Destination, r.Table}] = true
		s.drift("route", "to %s via %s", r.Destination, r.Gateway)
	}
	for _, r := range present {
		if wanted[r] || replaced[slot{r.Destination, r.Table}] && r.Destination.Addr().Is4() {
			continue // the kernel replaces a route of IPv4 to the same destination
		}
		if err := s.nl.DeleteRoute(r); err != nil && !netlinkx.Gone(err) {
			errs = append(errs, fmt.Errorf("remove the route to %s via %s: %w", r.Destination, r.Gateway, err))
			continue
		}
		s.drift("route", "removed the one to %s via %s", r.Destination, r.Gateway)
	}
	return errors.Join(errs...)
}

// ensureProxies makes the gateway leg answer neighbour solicitations for the proxied addresses, and for no others.
func (s *session) ensureProxies(legs map[string]int) error {
	g := s.gateway()
	if g == nil || legs[g.device] == 0 {
		return nil
	}
	present, err := s.nl.Proxies(unix.AF_INET6)
	if err != nil {
		return err
	}
	have := map[netip.Addr]bool{}
	var errs []error
	for _, n := range present {
		if n.Index != legs[g.device] {
			continue
		}
		have[n.IP] = true
		if !slices.Contains(s.proxies, n.IP) {
			errs = append(errs, s.nl.DeleteNeigh(n))
			s.drift("proxy", "removed %s", n.IP)
		}
	}
	for _, ip := range s.proxies {
		if have[ip] {
			continue
		}
		n := netlinkx.Neigh{Family: unix.AF_INET6, Index: legs[g.device], IP: ip, Flags: ntfProxy, Protocol: protocol}
		if err := s.nl.SetNeigh(n); err != nil {
			errs = append(errs, fmt.Errorf("answer solicitations for %s: %w", ip, err))
			continue
		}
		s.drift("proxy", "added %s", ip)
	}
	return errors.Join(errs...)
}

// ntfProxy is NTF_PROXY: an entry that says for whom to answer.
const ntfProxy = 0x08
