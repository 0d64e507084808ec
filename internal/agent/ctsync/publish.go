package ctsync

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	pb "github.com/neutrino-net/neutrino/proto/hostsync/v1"
)

const (
	// collect is how long changes are gathered before they are sent: a connection that lives shorter is never told of.
	collect = 20 * time.Millisecond
	// maxBatch is the number of connections in a message, each of about 70 bytes.
	maxBatch = 2000
	// maxPending bounds the changes that wait for a slow host. With more of them, it is told everything anew later.
	maxPending = 50_000
	// silence is after what time a host that says nothing is taken for dead; beat is how often it says something.
	silence = 3 * time.Second
	beat    = time.Second
	// firstPause is that before a failed attempt is repeated, which grows to lastPause: at first, what is missing is often
	// just being made.
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// follower is another host that listens, and what it has to be told.
type follower struct {
	host string
	wake chan struct{}

	mu      sync.Mutex
	pending map[string]map[key]conntrack.Event // by router; the newest of each connection
	count   int
	resets  map[string]bool // routers of which all has to be told
	groups  bool            // the groups have to be told
}

// regroup has the groups told.
func (f *follower) regroup() {
	f.mu.Lock()
	f.groups = true
	f.mu.Unlock()
	f.poke()
}

// lost has all of the router told anew.
func (f *follower) lost(router string) {
	f.mu.Lock()
	f.reset(router)
	f.mu.Unlock()
	f.poke()
}

func (f *follower) reset(router string) {
	f.count -= len(f.pending[router])
	delete(f.pending, router)
	f.resets[router] = true
}

func (f *follower) add(router string, e conntrack.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending[router] == nil {
		f.pending[router] = map[key]conntrack.Event{}
	}
	changes, k := f.pending[router], key{e.Original, e.Zone}
	old, known := changes[k]
	if known && !e.Gone && !old.Gone && e.State == 0 {
		e.State, e.ScaleOriginal, e.ScaleReply = old.State, old.ScaleOriginal, old.ScaleReply
	}
	changes[k] = e
	if !known {
		f.count++
	}
	if f.count > maxPending {
		f.reset(router)
	}
	f.poke()
}

func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be told, and forgets it.
func (f *follower) take() (groups bool, resets map[string]bool, pending map[string]map[key]conntrack.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	groups, resets, pending = f.groups, f.resets, f.pending
	f.groups, f.resets, f.pending, f.count = false, map[string]bool{}, map[string]map[key]conntrack.Event{}, 0
	return groups, resets, pending
}

// watch tells followers of what happens in the namespace of a router.
func (s *Sync) watch(ctx context.Context, router, namespace string) {
	for wait := firstPause; ctx.Err() == nil; wait = pause(ctx, wait) {
		ns, err := netns.Open(namespace)
		if err == nil {
			err = conntrack.Follow(ctx, ns, func(e conntrack.Event) { s.tell(router, e) })
			ns.Close()
		}
		if err != nil && !errors.Is(err, netns.ErrNotExist) {
			s.options.Logger.Warn("connections are not followed", "router", router, "error", err)
		}
	}
}

// pause waits, or until ctx ends, and returns how long to wait the next time.
func pause(ctx context.Context, wait time.Duration) time.Duration {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return min(2*wait, lastPause)
}

func (s *Sync) tell(router string, e conntrack.Event) {
	// Of what ends, the kernel says how far it had come; the others do not know of a connection that nobody answered.
	if !e.Lost && !e.Gone && !lasting(e.Flow) {
		if e.State < conntrack.TCPTimeWait {
			return
		}
		e.Gone = true
	}
	if e.Gone && e.Status&conntrack.SeenReply == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.followers {
		switch {
		case !s.peers[router][f.host]:
		case e.Lost:
			f.lost(router)
		default:
			f.add(router, e)
		}
	}
}

// Serve answers other hosts until ctx ends, and returns nil then. It owns the listener.
func (s *Sync) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(s.config(func(host string) error {
			if !s.known(host) {
				return errors.New("the other host shares no gateway group")
			}
			return nil
		}))),
		grpc.MaxRecvMsgSize(4<<10),
		grpc.MaxConcurrentStreams(2),
		grpc.WaitForHandlers(true),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: silence, Timeout: silence}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	pb.RegisterHostSyncServer(server, &service{sync: s})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// service is the side that is followed.
type service struct {
	pb.UnimplementedHostSyncServer
	sync *Sync
}

// Follow implements the service.
func (v *service) Follow(_ *pb.FollowRequest, stream grpc.ServerStreamingServer[pb.Batch]) error {
	s := v.sync
	p, _ := peer.FromContext(stream.Context())
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return status.Error(codes.Unauthenticated, "there is no certificate")
	}
	host, err := s.verify(info.State)
	if err != nil {
		return status.Error(codes.Unauthenticated, "the certificate is not one of a host")
	}
	f := &follower{
		host: host, wake: make(chan struct{}, 1), pending: map[string]map[key]conntrack.Event{}, resets: map[string]bool{},
		groups: true,
	}
	s.mu.Lock()
	for id, peers := range s.peers {
		f.resets[id] = peers[host]
	}
	s.followers[f] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.followers, f)
		s.mu.Unlock()
	}()
	f.poke()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-ticker.C:
			f.regroup()
			continue
		case <-f.wake:
		}
		if err := s.report(f, stream.Send); err != nil {
			return err
		}
		timer := time.NewTimer(collect)
		select {
		case <-stream.Context().Done():
			timer.Stop()
			return stream.Context().Err()
		case <-timer.C:
		}
	}
}

// report sends what the follower has to be told.
func (s *Sync) report(f *follower, send func(*pb.Batch) error) error {
	groups, resets, pending := f.take()
	if groups { // they come first: who is active is more urgent than with which connections
		s.mu.Lock()
		told := s.told
		s.mu.Unlock()
		if err := send(&pb.Batch{Groups: s.common(f.host, told)}); err != nil {
			return err
		}
	}
	for router := range resets {
		if !s.shares(router, f.host) {
			continue
		}
		if err := s.reportAll(router, send); err != nil {
			return err
		}
	}
	for router, changes := range pending {
		if !s.shares(router, f.host) {
			continue
		}
		b := &pb.RouterBatch{RouterId: router}
		for _, e := range changes {
			if e.Gone {
				b.Gone = append(b.Gone, &pb.Connection{Original: tupleToWire(e.Original), Reply: tupleToWire(e.Reply),
					Zone: uint32(e.Zone)})
			} else {
				b.Changed = append(b.Changed, toWire(e.Flow))
			}
			if len(b.Gone)+len(b.Changed) >= maxBatch {
				if err := send(&pb.Batch{Routers: []*pb.RouterBatch{b}}); err != nil {
					return err
				}
				b = &pb.RouterBatch{RouterId: router}
			}
		}
		if err := send(&pb.Batch{Routers: []*pb.RouterBatch{b}}); err != nil {
			return err
		}
	}
	return nil
}

// reportAll sends all connections of a router. What changes meanwhile is pending, and is sent afterwards. A namespace that
// is not there has none; as soon as it is watched, all is told anew.
func (s *Sync) reportAll(router string, send func(*pb.Batch) error) error {
	b := &pb.RouterBatch{RouterId: router, Reset_: true}
	all, err := s.flows(router)
	if err != nil && !errors.Is(err, netns.ErrNotExist) {
		return err
	}
	for _, f := range all {
		if b.Changed = append(b.Changed, toWire(f)); len(b.Changed) >= maxBatch {
			if err := send(&pb.Batch{Routers: []*pb.RouterBatch{b}}); err != nil {
				return err
			}
			b = &pb.RouterBatch{RouterId: router}
		}
	}
	b.Complete = true
	return send(&pb.Batch{Routers: []*pb.RouterBatch{b}})
}

func (s *Sync) flows(router string) ([]conntrack.Flow, error) {
	s.mu.Lock()
	namespace := ""
	for _, r := range s.wanted.Routers {
		if r.ID == router {
			namespace = r.Namespace
		}
	}
	s.mu.Unlock()
	ns, err := netns.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	kernel, err := conntrack.Open(ns)
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	var all []conntrack.Flow
	err = kernel.Flows(func(f conntrack.Flow) {
		if lasting(f) {
			all = append(all, f)
		}
	})
	return all, err
}
