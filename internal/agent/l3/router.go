package l3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// router is one router, as wanted and as it was last seen.
type router struct {
	part *Part
	id   string
	log  *slog.Logger

	docs       documents
	conversion conversion
	todo       bool // the documents are others than those that were last worked on

	// err is why the last work failed; blocked is what of it concerns the translations; audited is when work last
	// succeeded.
	err, blocked error
	audited      time.Time
	// applied is what a pass of ours has seen to be right: whatever differs from it afterwards is drift. It is nil while
	// an agent is still finding out what the one before has left.
	applied *wanted

	ns          *netns.Handle
	inode       uint64
	watched     bool
	directories directories // in ns
}

// session is the work on one router, with sockets in its namespace.
type session struct {
	*router
	*wanted
	ctx context.Context
	nl  *netlinkx.Handle
	nft *nftmap.Conn
	// links are the devices inside, by name.
	links map[string]*netlinkx.Link
	// settled: what is wanted has been seen to be right before.
	settled bool
	// settings: those of the kernel are to be looked at.
	settings bool
	// held are the legs that are down until it is certain that they are mute.
	held []string
}

// want takes the router's documents; nil: there are none any more.
func (r *router) want(docs documents) {
	if !r.docs.same(docs) {
		r.docs, r.conversion, r.todo = docs, convert(docs), true
	}
}

// reason is what is wrong with a document of the router; empty: nothing. What is wrong with the router is told of
// its own document, and of the others only if they depend on it.
func (r *router) reason(key string, own bool) string {
	reason := r.conversion.reasons[key]
	switch {
	case own && r.err != nil && reason != "":
		return reason + "; " + r.err.Error()
	case own && r.err != nil:
		return r.err.Error()
	case reason == "" && r.blocked != nil:
		return "the router is not as it should be: " + r.blocked.Error()
	}
	return reason
}

// reconcile makes the router as its documents want it, and keeps the error. Without settings, it does not look at those
// of the kernel, which takes long: they are right if nothing but tables has changed.
func (r *router) reconcile(ctx context.Context, settings bool) {
	before := r.err
	r.blocked = nil
	r.err = guarded(func() error {
		if r.conversion.router != nil {
			return r.ensure(ctx, r.conversion.router, settings)
		}
		return r.remove()
	})
	if ctx.Err() != nil {
		return // cut short by the end of the agent
	}
	r.todo = false
	if r.err == nil && settings {
		r.audited = time.Now()
	}
	if r.err != nil && (before == nil || before.Error() != r.err.Error()) { // it is tried again and again: said once
		r.log.Error("the router is not as it should be", "error", r.err)
	}
}

// ensure goes from the outside to the inside. Each step looks first, and does nothing if all is right. What cannot
// be had in one step holds up no other: an error of a leg or of a route leaves the rest of the router at work.
func (r *router) ensure(ctx context.Context, w *wanted, settings bool) error {
	if err := r.ensureNamespace(); err != nil {
		r.blocked = err
		return err
	}
	nl, err := netlinkx.Open(r.ns)
	if err != nil {
		r.blocked = err
		return err
	}
	defer nl.Close()
	conn, err := nftmap.Dial(r.ns)
	if err != nil {
		r.blocked = err
		return err
	}
	defer conn.Close()
	s := &session{router: r, wanted: w, ctx: ctx, nl: nl, nft: conn, settled: r.applied == w}
	s.settings = settings || !s.settled
	err = s.run()
	if err == nil {
		r.applied = w
	}
	return err
}

// run is the one order of things. Translations are there before the addresses that they are for, and go before them, so
// that a packet to a floating IP never ends in the router itself; what the kernel remembers of them goes last.
func (s *session) run() error {
	var errs []error
	blocking := func(err error) {
		if err != nil {
			errs = append(errs, err)
			s.blocked = err
		}
	}
	blocking(s.setForwarding())
	legs, err := s.ensureLegs()
	blocking(err)
	if len(errs) > 0 && legs == nil {
		return errors.Join(errs...)
	}
	if err := s.ensureStandby(legs); err != nil {
		s.blocked = err
		return errors.Join(append(errs, err)...) // rather no router than a second one
	}
	if err := s.ensureFirewall(); err != nil {
		s.blocked = err
		return errors.Join(append(errs, err)...) // rather no router than one without its firewalls
	}
	blocking(s.raise(legs))
	stale, err := s.ensureTranslations()
	blocking(err)
	added, removed, err := s.ensureAddresses(legs)
	blocking(err)
	errs = append(errs, s.ensureRoutes(legs), s.ensureRules(), s.ensureNeighbours(legs), s.ensureProxies(legs),
		s.ensureHelpers())
	s.part.speaker.want(s.router.id, s.ns, s.wanted, legs)
	errs = append(errs, s.announce(added))
	blocking(s.forget(stale, removed)) // the slowest step: the kernel goes through its whole table of connections
	return errors.Join(errs...)
}

// drift counts a repair, unless there was no time at which all was right.
func (s *session) drift(kind, format string, args ...any) {
	if s.settled {
		s.part.drift(s.log, kind, fmt.Sprintf(format, args...))
	}
}

// ensureNamespace makes or finds the namespace, opens it and marks it. If only its name is gone, it gets the name back:
// whoever sends through the router notices nothing.
func (r *router) ensureNamespace() error {
	name := Namespace(r.id)
	h, err := netns.Open(name)
	if errors.Is(err, netns.ErrNotExist) {
		if r.ns != nil {
			if err := netns.Restore(r.ns); err != nil {
				return err
			}
			r.part.drift(r.log, "namespace", name+" had lost its name")
			return nil
		}
		h, err = netns.Create(name)
	}
	if err != nil {
		return err
	}
	inode, err := h.Inode()
	switch {
	case err != nil:
	case r.ns != nil && r.inode == inode:
		return h.Close()
	default:
		err = r.claim(h)
	}
	if err != nil {
		h.Close()
		return err
	}
	if r.ns != nil {
		r.part.drift(r.log, "namespace", name+" was replaced")
		r.release()
	}
	r.ns, r.inode = h, inode
	return r.watch()
}

// watch hears of what happens in the namespace, from before it is looked at.
func (r *router) watch() error {
	if r.watched {
		return nil
	}
	for _, names := range []string{Namespace(""), central} {
		if err := r.part.watcher.WatchNames(names); err != nil {
			return err
		}
	}
	if err := r.part.watcher.Add(r.ns); err != nil {
		return err
	}
	r.watched = true
	return nil
}

// mark is the alias of loopback in a namespace of ours. It names the host, too: the names of namespaces may be
// shared by hosts that are namespaces themselves.
func (r *router) mark() string { return fmt.Sprintf("neutrino:router:%s:%d", r.id, r.part.hostInode) }

// claim marks a namespace as ours. One that somebody else is at work in, for instance an agent of Neutron, is refused.
func (r *router) claim(ns *netns.Handle) error {
	nl, err := netlinkx.Open(ns)
	if err != nil {
		return err
	}
	defer nl.Close()
	links, err := nl.Links()
	if err != nil {
		return err
	}
	lo := links["lo"]
	if lo == nil {
		return fmt.Errorf("the namespace %s has no loopback device", ns.Name())
	}
	if lo.Alias != r.mark() {
		for name := range links {
			if name != "lo" {
				return fmt.Errorf("the namespace %s exists and is not ours: it holds the device %s", ns.Name(), name)
			}
		}
		if err := nl.SetAlias(lo.Index, r.mark()); err != nil {
			return fmt.Errorf("mark the namespace %s: %w", ns.Name(), err)
		}
	}
	return nil
}

// remove takes the router off the host, if it is ours.
func (r *router) remove() error {
	r.applied = nil
	h, err := netns.Open(Namespace(r.id))
	if errors.Is(err, netns.ErrNotExist) {
		r.release()
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	nl, err := netlinkx.Open(h)
	if err != nil {
		return err
	}
	defer nl.Close()
	links, err := nl.Links()
	if err != nil {
		return err
	}
	if lo := links["lo"]; lo == nil || lo.Alias != r.mark() {
		r.release()
		return nil
	}
	r.part.speaker.leave(r.id)
	// The namespace itself lives on while anybody has it open, so its devices are not left to its end.
	for name, l := range links {
		if !strings.HasPrefix(l.Alias, portMark) {
			continue
		}
		if err := nl.DeleteLink(l.Index); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove the device %s: %w", name, err)
		}
	}
	r.release()
	if err := netns.Delete(Namespace(r.id)); err != nil {
		return err
	}
	r.log.Info("removed the router")
	return nil
}

// release gives the handles up; what has been programmed stays.
func (r *router) release() {
	r.part.watcher.Drop(Namespace(r.id))
	r.part.speaker.forget(r.id)
	r.part.standbys.forget(r.id)
	if r.ns != nil {
		r.ns.Close()
		r.directories.close()
		r.ns, r.watched = nil, false
	}
	r.applied = nil
}
