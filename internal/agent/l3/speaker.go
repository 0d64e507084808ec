package l3

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// When the routers speak. Those of advertisements are the bounds of RFC 4861, section 6.2.1.
const (
	minInterval = 30 * time.Second // between two unsolicited advertisements, at random up to maxInterval
	maxInterval = 100 * time.Second
	// firstInterval is the pause after each of the first firstAdverts advertisements of what is new.
	firstInterval = 2 * time.Second
	firstAdverts  = 3
	// minAnswerPause bounds the answers to solicitations on one leg; who asks more often waits for a common one.
	minAnswerPause = 20 * time.Millisecond
)

// closers is how many sockets are closed at the same time, each by a thread that waits.
const closers = 16

// holdPause is that after which a look is taken whether repetitions are still held back.
const holdPause = 50 * time.Millisecond

// announcePause is that before an address is announced again, since its network may not have been wired the first time.
// There is no other time: an announcement goes to everybody in the network, and hundreds may have to be made.
const announcePause = 1500 * time.Millisecond

// speaker sends what routers say by themselves: announcements of addresses, and router advertisements. One goroutine
// (run) keeps the time; each router with advertisements has a goroutine that hears solicitations.
type speaker struct {
	log     *slog.Logger
	woken   chan struct{}
	readers sync.WaitGroup
	closing chan struct{} // bounds the sockets that are being closed at the same time

	// held is by how many repetitions of announcements are held back: they come after all first ones.
	held atomic.Int32

	mu     sync.Mutex
	voices map[string]*voice // by router
	next   time.Time         // when the next of them has something to say, as far as run knows
}

// voice is what one router has to say.
type voice struct {
	legs map[string]*spokenLeg // by device
	// icmp is the socket for advertisements; nil while there are none.
	icmp *os.File
	// packet is the socket for announcements; nil while there are none.
	packet        *os.File
	announcements []announcement
}

// spokenLeg is a leg on which advertisements are sent.
type spokenLeg struct {
	index   int
	mac     net.HardwareAddr
	mtu     int
	blocks  []advertised
	gone    []netip.Prefix // announced before, and not valid any more
	sent    int            // since the blocks have changed
	next    time.Time
	answers time.Time // the last one
}

type announcement struct {
	leg   place
	mac   net.HardwareAddr
	again bool
	next  time.Time
}

func newSpeaker(log *slog.Logger) *speaker {
	return &speaker{
		log: log, woken: make(chan struct{}, 1), closing: make(chan struct{}, closers), voices: map[string]*voice{},
	}
}

// want takes what the router has to advertise, from indexes of its devices by name.
func (s *speaker) want(router string, ns *netns.Handle, w *wanted, legs map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.voices[router]
	if v == nil {
		v = &voice{legs: map[string]*spokenLeg{}}
		s.voices[router] = v
	}
	now := time.Now()
	speaking := false
	for i := range w.legs {
		l := &w.legs[i]
		if index := legs[l.device]; index != 0 {
			v.update(l, index, now)
		}
		speaking = speaking || v.legs[l.device] != nil
	}
	maps.DeleteFunc(v.legs, func(device string, _ *spokenLeg) bool { return legs[device] == 0 })
	if speaking && v.icmp == nil {
		if err := s.listen(v, ns); err != nil {
			s.log.Error("router advertisements cannot be sent", "router", router, "error", err)
		}
	}
	s.wake()
}

// update takes what is advertised on a leg.
func (v *voice) update(l *leg, index int, now time.Time) {
	known := v.legs[l.device]
	if known == nil && len(l.advertised) == 0 {
		return
	}
	same := known != nil && known.index == index
	if same && known.mtu == l.mtu && slices.EqualFunc(known.blocks, l.advertised, advertised.equal) {
		return
	}
	fresh := &spokenLeg{index: index, mac: l.mac, mtu: l.mtu, blocks: l.advertised, next: now}
	if same {
		for _, p := range known.prefixes() {
			if !slices.Contains(fresh.prefixes(), p) {
				fresh.gone = append(fresh.gone, p)
			}
		}
	}
	v.legs[l.device] = fresh
}

func (l *spokenLeg) prefixes() (all []netip.Prefix) {
	for _, b := range l.blocks {
		all = append(all, b.prefix)
	}
	return append(all, l.gone...)
}

func (a advertised) equal(b advertised) bool {
	return a.prefix == b.prefix && a.mode == b.mode && slices.Equal(a.dns, b.dns)
}

// announce tells the networks of addresses that have appeared, at once and once more. It says whether it could.
func (s *speaker) announce(router string, ns *netns.Handle, w *wanted, places []place) bool {
	return s.announcements(router, ns, w, places, func(v *voice, a announcement) {
		v.announcements = append(v.announcements, a)
		s.announceDue(router, v, time.Now())
	})
}

// repeat tells of addresses again, soon. Those that are due to be told again anyway, are not told twice.
func (s *speaker) repeat(router string, ns *netns.Handle, w *wanted, places []place) {
	s.announcements(router, ns, w, places, func(v *voice, a announcement) {
		v.announcements = slices.DeleteFunc(v.announcements, func(b announcement) bool { return b.again && b.leg == a.leg })
		a.again = true
		v.announcements = append(v.announcements, a)
	})
}

// announcements has add take in an announcement for each place. It says whether the router can be heard.
func (s *speaker) announcements(router string, ns *netns.Handle, w *wanted, places []place, add func(*voice, announcement)) bool {
	if len(places) == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.voices[router]
	if v == nil {
		return false
	}
	if v.packet == nil {
		var err error
		if v.packet, err = openPacket(ns); err != nil {
			s.log.Warn("addresses cannot be announced", "router", router, "error", err)
			return false
		}
	}
	for _, p := range places {
		i := slices.IndexFunc(w.legs, func(l leg) bool { return l.device == p.device })
		add(v, announcement{leg: p, mac: w.legs[i].mac})
	}
	for _, a := range v.announcements {
		s.expect(a.next)
	}
	return true
}

// hush drops what is still to be announced: the router is not to be heard any more.
func (s *speaker) hush(router string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.voices[router]; v != nil {
		v.announcements = nil
		s.closePacket(v)
	}
}

// holding says whether something is held back.
func (s *speaker) holding() bool { return s.held.Load() > 0 }

// hold holds back what is only said again, until the function that it returns is called.
func (s *speaker) hold() (release func()) {
	s.held.Add(1)
	return func() {
		s.held.Add(-1)
		s.wake()
	}
}

// again has a router advertise itself anew: nobody has heard it until now.
func (s *speaker) again(router string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.voices[router]; v != nil {
		for _, l := range v.legs {
			l.sent, l.next = 0, time.Now()
			s.expect(l.next)
		}
	}
}

// farewell says that the router is going from a network: hosts look for another one at once.
func (s *speaker) farewell(router, device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.voices[router]; v != nil && v.legs[device] != nil {
		s.part(router, v, device)
	}
}

func (s *speaker) part(router string, v *voice, device string) {
	l := v.legs[device]
	l.gone, l.blocks = l.prefixes(), nil
	s.advertise(router, v, l, allNodes)
	delete(v.legs, device)
}

// leave takes leave of all networks of a router that is going.
func (s *speaker) leave(router string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.voices[router]; v != nil {
		for device := range v.legs {
			s.part(router, v, device)
		}
	}
}

// forget ends what the router has to say.
func (s *speaker) forget(router string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.voices[router]; v != nil {
		s.silence(v)
		delete(s.voices, router)
	}
}

func (s *speaker) silence(v *voice) {
	s.closePacket(v)
	if v.icmp != nil {
		v.icmp.Close()
		v.icmp = nil
	}
}

// close ends all voices, and waits for their goroutines.
func (s *speaker) close() {
	s.mu.Lock()
	for router, v := range s.voices {
		s.silence(v)
		delete(s.voices, router)
	}
	s.mu.Unlock()
	s.readers.Wait()
}

// expect has run look at the voices at that time, if it would not do so anyway. The lock is held.
func (s *speaker) expect(t time.Time) {
	if t.Before(s.next) {
		s.next = t
		s.wake()
	}
}

func (s *speaker) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// run keeps the time until ctx ends.
func (s *speaker) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.woken:
		case <-timer.C:
		}
		timer.Reset(time.Until(s.speakDue(time.Now())))
	}
}

// speakDue sends what is due and returns when the next thing will be.
func (s *speaker) speakDue(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := now.Add(maxInterval)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for router, v := range s.voices {
		s.announceDue(router, v, now)
		for _, a := range v.announcements {
			sooner(a.next)
		}
		for device, l := range v.legs {
			if !l.next.After(now) {
				s.advertise(router, v, l, allNodes)
				l.scheduled(now)
			}
			if len(l.blocks) == 0 && l.sent >= firstAdverts {
				delete(v.legs, device) // everybody has heard that it is over
				continue
			}
			sooner(l.next)
		}
	}
	s.next = next
	return next
}

// scheduled sets the time of the next advertisement after one.
func (l *spokenLeg) scheduled(now time.Time) {
	l.sent++
	if l.sent < firstAdverts {
		l.next = now.Add(firstInterval)
		return
	}
	l.gone = nil
	l.next = now.Add(minInterval + rand.N(maxInterval-minInterval))
}

// announceDue sends the announcements that are due and closes their socket after the last one.
func (s *speaker) announceDue(router string, v *voice, now time.Time) {
	left := v.announcements[:0]
	for _, a := range v.announcements {
		if a.again && s.holding() {
			a.next = later(a.next, now.Add(holdPause))
		}
		if a.next.After(now) {
			left = append(left, a)
			continue
		}
		s.send(router, v, a)
		if !a.again {
			a.again, a.next = true, now.Add(announcePause)
			left = append(left, a)
		}
	}
	v.announcements = left
	if len(left) == 0 {
		s.closePacket(v)
	}
}

// send sends an announcement. A leg that is gone meanwhile has nothing to announce.
func (s *speaker) send(router string, v *voice, a announcement) {
	if err := a.send(v.packet); err != nil && !errors.Is(err, os.ErrClosed) {
		s.log.Debug("an address was not announced", "router", router, "address", a.leg.prefix, "error", err)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// closePacket closes the socket of announcements, beside everything else: the kernel lets who closes such a socket wait
// until nobody can be using it, which takes tens of milliseconds.
func (s *speaker) closePacket(v *voice) {
	f := v.packet
	if f == nil {
		return
	}
	v.packet = nil
	s.readers.Go(func() {
		s.closing <- struct{}{}
		f.Close()
		<-s.closing
	})
}

// advertise sends one advertisement on a leg.
func (s *speaker) advertise(router string, v *voice, l *spokenLeg, to netip.Addr) {
	if v.icmp == nil {
		return
	}
	if err := sendICMPv6(v.icmp, l.index, to, l.message()); err != nil && !errors.Is(err, os.ErrClosed) {
		s.log.Debug("a router advertisement was not sent", "router", router, "to", to, "error", err)
	}
}

// listen opens the router's socket for advertisements, and hears solicitations on it.
func (s *speaker) listen(v *voice, ns *netns.Handle) error {
	f, err := openICMPv6(ns)
	if err != nil {
		return err
	}
	v.icmp = f
	router := ns.Name()
	s.readers.Go(func() {
		readSolicitations(f, func(index int, from netip.Addr) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if v.icmp == f {
				s.answer(router, v, index, from)
			}
		})
	})
	return nil
}

// answer answers a solicitation: to who asked, or to everybody if it has no address yet or many ask.
func (s *speaker) answer(router string, v *voice, index int, from netip.Addr) {
	for _, l := range v.legs {
		if l.index != index {
			continue
		}
		now := time.Now()
		if from.IsLinkLocalUnicast() && now.Sub(l.answers) >= minAnswerPause {
			l.answers = now
			s.advertise(router, v, l, from)
			return
		}
		if soon := now.Add(rand.N(500 * time.Millisecond)); soon.Before(l.next) { // RFC 4861, section 6.2.6
			l.next = soon
			s.expect(soon)
		}
		return
	}
}
