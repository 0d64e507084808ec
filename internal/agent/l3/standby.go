package l3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// A router of a gateway group is programmed in full on each host of the group, and forwards on the active one only.
// The others keep it mute: a table of the netdev family drops what comes in and goes out on every leg, before
// anything answers and after anything speaks, but for the legs in a set. To become active is to put the legs into
// the set and to announce the addresses; nothing else changes, so it costs the same whatever the router is.
//
// The set is empty until somebody says that the host is active: without an agent, and after a boot, a router is mute.
//
// The legs have the same MACs on all hosts of the group, and where these are is learned by the bridges and tunnels of the
// hosts, from what the active router says. So a leg that is mute is never up before it is, or it would draw the traffic by
// what a device says when it comes up; and the bridge of its host forgets that its MAC was there, so that the workloads of
// that host are led to the active one, too.

// Roles tells which gateway groups this host is the active one of. Its methods are called by several goroutines.
type Roles interface {
	// Active says whether the host is the active one of the group. As long as that is not known, after a restart of the
	// agent, everything stays as it is.
	Active(group string) (active, known bool)
	// Prepare is called right before a router that was mute speaks, for what its namespace has to know by then.
	Prepare(router string, ns *netns.Handle)
}

const (
	standbyTable = "neutrino-standby"
	activeLegs   = "active" // the set of that table
)

var standbyTableID = nftmap.Table{Family: unix.NFPROTO_NETDEV, Name: standbyTable}

// standby is what it takes to switch a router, without waiting for a pass.
type standby struct {
	router, group string   // never change
	gateways      []string // the keys that standbys.byGateway has for it

	// mu lets one switch the router at a time; ns is nil when the router is gone.
	mu     sync.Mutex
	ns     *netns.Handle
	legs   []string
	wanted *wanted
	index  map[string]int
	active bool // as last applied
	// untold: since it is active, nobody has been told.
	untold bool
}

// standbys are those of all routers that belong to a group.
type standbys struct {
	mu        sync.Mutex
	byRouter  map[string]*standby
	byGateway map[string]*standby // by the outer ends of the legs on external networks
	// switching is how many calls of Switch there are now, switched what they have switched.
	switching int
	switched  []*standby
}

// begin is for a call of Switch that begins: it returns the routers that there are.
func (s *standbys) begin() map[string]*standby {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.switching++
	return maps.Clone(s.byRouter)
}

// end takes what a call of Switch has switched, and gives the last one what all of them have.
func (s *standbys) end(switched []*standby) (all []*standby) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.switching--
	s.switched = append(s.switched, switched...)
	if s.switching > 0 {
		return nil
	}
	all, s.switched = s.switched, nil
	return all
}

func (s *standbys) get(router string) *standby {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byRouter[router]
}

func (s *standbys) put(router string, x *standby) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byRouter[router] = x
	s.dropGateways(x)
	for i := range x.wanted.legs {
		if l := &x.wanted.legs[i]; l.gateway {
			x.gateways = append(x.gateways, l.host)
			s.byGateway[l.host] = x
		}
	}
}

func (s *standbys) dropGateways(x *standby) {
	for _, device := range x.gateways {
		delete(s.byGateway, device)
	}
	x.gateways = nil
}

// gateway is the router of which the device is the outer end of a leg on an external network, or nil.
func (s *standbys) gateway(device string) *standby {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byGateway[device]
}

// forget ends the switching of a router, and waits for one that is under way.
func (s *standbys) forget(router string) {
	s.mu.Lock()
	x := s.byRouter[router]
	delete(s.byRouter, router)
	if x != nil {
		s.dropGateways(x)
	}
	s.mu.Unlock()
	if x != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.ns = nil
	}
}

// renderStandby is the table that keeps the legs mute, and its set with the elements given.
func renderStandby(legs []string, elements nftmap.Elements) string {
	if len(elements) == 0 {
		return renderMute(legs)
	}
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(elements)) {
		texts = append(texts, fmt.Sprintf("%q", strings.TrimRight(key, "\x00")))
	}
	head := "\t\ttype ifname\n"
	return strings.Replace(renderMute(legs), head, head+"\t\telements = { "+strings.Join(texts, ", ")+" }\n", 1)
}

func renderMute(legs []string) string {
	quoted := make([]string, len(legs))
	for i, l := range legs {
		quoted[i] = fmt.Sprintf("%q", l)
	}
	devices := strings.Join(quoted, ", ")
	return fmt.Sprintf(`	set %[1]s {
		type ifname
	}

	chain in {
		type filter hook ingress devices = { %[2]s } priority 0; policy drop;
		iifname @%[1]s accept
	}

	chain out {
		type filter hook egress devices = { %[2]s } priority 0; policy drop;
		oifname @%[1]s accept
	}
`, activeLegs, devices)
}

// ifname is the name of a device as an element of a set: 16 bytes (IFNAMSIZ).
func ifname(device string) string {
	return device + strings.Repeat("\x00", unix.IFNAMSIZ-len(device))
}

// ensureStandby keeps the router mute where the host is not the active one of its group. It comes before the addresses,
// so that a router which is new never speaks.
func (s *session) ensureStandby(legs map[string]int) error {
	known := s.part.standbys.get(s.router.id)
	if s.group == "" {
		if known != nil {
			s.part.standbys.forget(s.router.id)
		}
		if s.settled {
			return nil
		}
		return errors.Join(s.nft.Delete(standbyTableID), s.part.flood(s.wanted, true))
	}
	if s.part.options.Roles == nil {
		return fmt.Errorf("this host is in no gateway group")
	}
	if known != nil && known.group != s.group {
		s.part.standbys.forget(s.router.id)
		known = nil
	}
	if known == nil {
		known = &standby{router: s.router.id, group: s.group}
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	known.ns, known.wanted, known.index = s.ns, s.wanted, maps.Clone(legs)
	known.legs = slices.Sorted(maps.Keys(legs))
	s.part.standbys.put(s.router.id, known)
	if len(legs) == 0 {
		return nil // there is nothing that could speak
	}
	return s.makeStandby(known)
}

// makeStandby makes the table and its set right; the lock of known is held.
func (s *session) makeStandby(known *standby) error {
	have, err := s.nft.Elements(standbyTableID, activeLegs)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	active, sure := s.part.options.Roles.Active(known.group)
	if !sure {
		active = len(have) > 0
	}
	if active && len(have) == 0 {
		s.part.options.Roles.Prepare(s.router.id, s.ns)
	}
	want := known.elements(active)
	rules := renderMute(known.legs)
	written, err := s.nft.Written(standbyTableID, rules)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	change := difference(activeLegs, have, want)
	switch {
	case !written:
		s.drift("standby", "the table %s", standbyTable)
		client := nft.Client{Namespace: s.ns, Program: s.part.options.NFT}
		table := nft.Table{Family: "netdev", Name: standbyTable, Rules: renderStandby(known.legs, want)}
		if err := client.Replace(s.ctx, table); err != nil {
			return fmt.Errorf("keep the router mute: %w", err)
		}
		err = s.nft.MarkWritten(standbyTableID, rules)
	case len(change.Remove)+len(change.Add) > 0:
		if active == known.active {
			s.drift("standby", "the legs that are active")
		}
		err = s.nft.Apply(standbyTableID, change)
	}
	known.active, known.untold = active, active && (known.untold || len(have) == 0)
	if !active && err == nil && len(have) > 0 {
		s.part.forgetPlaces(known)
	}
	return errors.Join(err, s.part.flood(s.wanted, active))
}

// flood has the bridge of the external network hand the gateway what is for everybody, or not: what is mute needs none of
// it. All routers have a leg there, and each broadcast costs as much as there are legs that get it. A leg that is in no
// bridge yet gets everything.
func (p *Part) flood(w *wanted, on bool) error {
	for i := range w.legs {
		if !w.legs[i].gateway {
			continue
		}
		device, err := p.host.LinkByName(w.legs[i].host)
		if err != nil || device.Port == nil || device.Flooded == on {
			continue // one that is not there has nothing to get
		}
		if err := p.host.SetFlooded(device.Index, on); err != nil && !netlinkx.Gone(err) {
			return fmt.Errorf("change what the bridge hands to %s: %w", w.legs[i].host, err)
		}
	}
	return nil
}

// maxFlooded bounds the legs that wait for keepQuiet; thousands come into bridges when a host starts.
const maxFlooded = 16384

// heard takes note of a bridge that hands a leg what is for everybody: it may just have come into the bridge, and its router
// may be mute.
func (p *Part) heard(e netlinkx.Event) {
	if !e.OfPort || e.Deleted || !e.Link.Flooded {
		return
	}
	if x := p.standbys.gateway(e.Link.Name); x != nil {
		select {
		case p.flooded <- x:
		default: // the next pass that looks at it finds it
		}
	}
}

// keepQuiet has mute routers handed less whenever their legs have come into a bridge.
func (p *Part) keepQuiet(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case x := <-p.flooded:
			x.mu.Lock()
			if x.ns != nil && !x.active {
				if err := p.flood(x.wanted, false); err != nil {
					p.options.Logger.Warn("a mute router is handed broadcasts", "part", name, "router", x.router, "error", err)
				}
			}
			x.mu.Unlock()
		}
	}
}

// forgetPlaces has the bridges of this host forget that the MACs of mute legs are here.
func (p *Part) forgetPlaces(x *standby) {
	for i := range x.wanted.legs {
		l := &x.wanted.legs[i]
		device, err := p.host.LinkByName(l.host)
		if err != nil {
			continue
		}
		// It is an error if there is nothing to forget, and what cannot be forgotten expires.
		_ = p.host.DeleteNeigh(netlinkx.Neigh{
			Family: unix.AF_BRIDGE, Index: device.Index, MAC: netlinkx.MAC(l.mac), Flags: netlink.NTF_MASTER,
		})
	}
}

// elements are those of the set of active legs.
func (x *standby) elements(active bool) nftmap.Elements {
	want := nftmap.Elements{}
	if active {
		for _, l := range x.legs {
			want[ifname(l)] = ""
		}
	}
	return want
}

// moved is an address of each leg, to be announced by the host that becomes active. One is enough: the legs have the
// same MACs on all hosts of the group, so what the network has to learn is where those are, and not who has an
// address.
func moved(w *wanted, legs map[string]int) (all []place) {
	for i := range w.legs {
		l := &w.legs[i]
		if index := legs[l.device]; index != 0 && len(l.addresses) > 0 {
			all = append(all, place{l.device, index, l.addresses[0]})
		}
	}
	return all
}

// calm is how long other work waits after routers have been switched: groups move one after the other, and from one host to
// another, which may share more than a network.
const calm = 2 * time.Second

// Switch makes the routers of gateway groups active or mute, as Roles tells now; it is to be called when that has
// changed. Routers that are not programmed yet become what they have to be by the pass that programs them.
func (p *Part) Switch() error {
	var switched []*standby
	release := p.speaker.hold()
	defer func() {
		pause := time.Duration(0)
		if len(switched) > 0 {
			pause = calm
		}
		time.AfterFunc(pause, func() {
			release()
			p.again() // for what was kept waiting
		})
	}()
	all := p.standbys.begin()
	var mu sync.Mutex
	var failed []error
	var workers errgroup.Group
	workers.SetLimit(runtime.GOMAXPROCS(0))
	// Who has to fall silent goes first: better nobody answers for an address than two.
	var ids, last []string
	for id, x := range all {
		if active, _ := p.options.Roles.Active(x.group); active {
			last = append(last, id)
		} else {
			ids = append(ids, id)
		}
	}
	// First of all, they are handed less: what the other host's routers announce meanwhile is for everybody, and each leg that
	// hears it costs.
	quiet, err := p.quieten(all, ids)
	for _, id := range append(ids, last...) {
		workers.Go(func() error {
			did, err := p.switchOne(id, all[id])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, fmt.Errorf("router %s: %w", id, err))
			}
			if did {
				switched = append(switched, all[id])
			}
			return nil
		})
	}
	err = errors.Join(err, workers.Wait())
	for _, x := range quiet {
		x.mu.Lock()
		if x.active { // after all
			switched = append(switched, x)
		}
		x.mu.Unlock()
	}
	// What follows is not as urgent. Announcements are for everybody: those of all routers would go to all others.
	done := p.standbys.end(switched)
	for _, x := range done {
		x.mu.Lock()
		switch {
		case x.ns == nil:
		case x.active:
			if active, _ := p.options.Roles.Active(x.group); active { // else it is about to fall silent
				err = errors.Join(err, p.flood(x.wanted, true))
			}
		default:
			p.forgetPlaces(x)
		}
		x.mu.Unlock()
	}
	return errors.Join(err, errors.Join(failed...))
}

// quieten has the bridges hand less to the routers that are to fall silent, and returns these.
func (p *Part) quieten(all map[string]*standby, ids []string) (quiet []*standby, err error) {
	for _, id := range ids {
		x := all[id]
		x.mu.Lock()
		if active, known := p.options.Roles.Active(x.group); x.ns != nil && x.active && known && !active {
			quiet = append(quiet, x)
			err = errors.Join(err, p.flood(x.wanted, false))
		}
		x.mu.Unlock()
	}
	return quiet, err
}

// switchOne switches a router, and says whether there was something to do.
func (p *Part) switchOne(router string, x *standby) (did bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	active, known := p.options.Roles.Active(x.group)
	if x.ns == nil || !known || x.active == active {
		return false, nil
	}
	conn, err := nftmap.Dial(x.ns)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	have, err := conn.Elements(standbyTableID, activeLegs)
	if err != nil {
		return false, err
	}
	if active {
		p.options.Roles.Prepare(router, x.ns)
		if active, _ = p.options.Roles.Active(x.group); !active {
			return false, nil // another host has taken over meanwhile
		}
	}
	if err := conn.Apply(standbyTableID, difference(activeLegs, have, x.elements(active))); err != nil {
		return false, err
	}
	x.active, x.untold = active, active
	if !active {
		p.speaker.hush(router)
		return true, nil
	}
	p.tell(x)
	return true, nil
}

// tell announces a router that has become active. While it is still being programmed for the first time, it cannot be heard:
// the pass that does so tells it then. The lock of x is held.
func (p *Part) tell(x *standby) {
	if p.speaker.announce(x.router, x.ns, x.wanted, moved(x.wanted, x.index)) {
		p.speaker.again(x.router)
		x.untold = false
	}
}

// announce announces the addresses that have been added, if the router may be heard, and the router if it has become active.
func (s *session) announce(added []place) error {
	x := s.part.standbys.get(s.router.id)
	if x == nil {
		s.part.speaker.announce(s.router.id, s.ns, s.wanted, added)
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.ns == nil || !x.active:
		return nil
	case !x.untold:
		s.part.speaker.announce(s.router.id, s.ns, s.wanted, added)
		return nil
	}
	if s.part.tell(x); x.untold {
		return errors.New("the router is active, and could not be announced")
	}
	return nil
}

// Announce announces the active routers of the groups again: where other hosts have learned that their MACs are may be out
// of date, for they did not hear the announcement when the host became active, or heard another host after it.
func (p *Part) Announce(groups map[string]bool) {
	p.standbys.mu.Lock()
	all := maps.Clone(p.standbys.byRouter)
	p.standbys.mu.Unlock()
	for router, x := range all {
		x.mu.Lock()
		if groups[x.group] && x.active && x.ns != nil {
			p.speaker.repeat(router, x.ns, x.wanted, moved(x.wanted, x.index))
		}
		x.mu.Unlock()
	}
}
