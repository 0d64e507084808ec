// Package ctsync lets established connections survive when another host becomes active for a gateway group: the hosts of
// the group tell each other which connections the kernel tracks in the namespaces of their common routers. By the same way
// they tell what they are for the groups that they share.
//
// Read in this order: trust.go says who is believed; publish.go tells the others what happens in our namespaces, from the
// kernel's events (package dataplane/conntrack); follow.go hears what they tell; store.go keeps it in memory, and puts it
// into the kernel at a takeover. ctsync.go, here, holds what they share and runs them.
//
// A standby keeps connections in its own memory and not in its kernel: there they would need to be kept from expiring, and
// taken out again. Putting them in at a takeover takes 35 to 65 µs of CPU for each.
//
// There are no roles in this package. Each host follows all others of its groups. One on standby has no traffic in its
// namespaces, and so nothing to tell. After a lost connection, or lost events, all is told anew, and what was not is
// forgotten; so nothing depends on any single message.
package ctsync

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	pb "github.com/neutrino-net/neutrino/proto/hostsync/v1"
)

// Router is one whose connections are synchronised.
type Router struct {
	ID string
	// Namespace is the name of its network namespace on this host, which has to exist.
	Namespace string
	// Peers are the names of the other hosts of its group.
	Peers []string
}

// Group is a gateway group of this host.
type Group struct {
	Number uint32
	// Peers are the names of its other hosts.
	Peers []string
}

// Wanted is what a Sync does.
type Wanted struct {
	Groups  []Group
	Routers []Router
	// Addresses are, by name, where the other hosts are reached: address and TCP port.
	Addresses map[string]string
}

// Options are what a Sync needs.
type Options struct {
	// Host is the name of this host.
	Host string
	// Identity returns the host's certificate, and the authority of the cluster. It is asked for each connection, since
	// certificates are renewed.
	Identity func() (tls.Certificate, *x509.CertPool, error)
	// Heard is told what another host is for the groups that the two share: with the first message of a connection, and
	// from then on at least every second; and nil when the host is not heard any more. Several hosts may be heard at the
	// same time. Nil: nobody asks.
	Heard func(host string, groups []*pb.Group)
	// MaxFlows bounds the connections that are remembered for other hosts; 0: DefaultMaxFlows.
	MaxFlows int
	// Logger is required.
	Logger *slog.Logger
}

// DefaultPort is the TCP port at which hosts tell each other.
const DefaultPort = 9699

// DefaultMaxFlows connections take about 250 MiB.
const DefaultMaxFlows = 1 << 20

// Sync exchanges connections with other hosts. Serve and Run do the work; Want says what it is.
type Sync struct {
	options Options
	store   *store
	wake    chan struct{}

	mu        sync.Mutex
	wanted    Wanted
	peers     map[string]map[string]bool // by router: who may hear of it, and tell of it
	groups    map[uint32]map[string]bool // by group: the same
	told      []*pb.Group                // what this host is for its groups
	followers map[*follower]bool
}

// New makes a Sync.
func New(options Options) *Sync {
	if options.MaxFlows == 0 {
		options.MaxFlows = DefaultMaxFlows
	}
	if options.Heard == nil {
		options.Heard = func(string, []*pb.Group) {}
	}
	return &Sync{
		options: options, store: newStore(options.MaxFlows), wake: make(chan struct{}, 1),
		peers: map[string]map[string]bool{}, followers: map[*follower]bool{},
	}
}

// Want replaces what is to be done. What is remembered of routers and hosts that are not in it is forgotten.
func (s *Sync) Want(w Wanted) {
	peers, groups := make(map[string]map[string]bool, len(w.Routers)), make(map[uint32]map[string]bool, len(w.Groups))
	for _, r := range w.Routers {
		peers[r.ID] = s.others(r.Peers)
	}
	for _, g := range w.Groups {
		groups[g.Number] = s.others(g.Peers)
	}
	s.mu.Lock()
	before := s.peers
	s.wanted, s.peers, s.groups = w, peers, groups
	for f := range s.followers {
		for id := range peers {
			if peers[id][f.host] && !before[id][f.host] {
				f.lost(id) // it has not heard of this router yet
			}
		}
	}
	s.mu.Unlock()
	s.store.keep(peers)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sync) others(hosts []string) map[string]bool {
	all := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		if h != s.options.Host {
			all[h] = true
		}
	}
	return all
}

// Tell sets what this host is for its groups, which those are told that share them.
func (s *Sync) Tell(groups []*pb.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = groups
	for f := range s.followers {
		f.regroup()
	}
}

// common are those of the groups that this host shares with the other.
func (s *Sync) common(host string, groups []*pb.Group) []*pb.Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	shared := []*pb.Group{}
	for _, g := range groups {
		if s.groups[g.GetNumber()][host] {
			shared = append(shared, g)
		}
	}
	return shared
}

// shares says whether the other host is in the router's group.
func (s *Sync) shares(router, host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[router][host]
}

// known says whether there is any group or router that this host shares with the other.
func (s *Sync) known(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	shares := func(p map[string]bool) bool { return p[host] }
	return slices.ContainsFunc(slices.Collect(maps.Values(s.groups)), shares) ||
		slices.ContainsFunc(slices.Collect(maps.Values(s.peers)), shares)
}

// task is a goroutine for one router or one host.
type task struct {
	cancel context.CancelFunc
	about  string // the namespace or the address
}

// Run listens to the kernel and to the other hosts until ctx ends.
func (s *Sync) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sources, streams := map[string]task{}, map[string]task{}
	for {
		s.mu.Lock()
		namespaces, addresses := map[string]string{}, map[string]string{}
		for _, r := range s.wanted.Routers {
			namespaces[r.ID] = r.Namespace
		}
		for _, peers := range slices.Concat(slices.Collect(maps.Values(s.peers)), slices.Collect(maps.Values(s.groups))) {
			for p := range peers {
				if a, ok := s.wanted.Addresses[p]; ok {
					addresses[p] = a
				}
			}
		}
		s.mu.Unlock()
		adjust(ctx, &running, sources, namespaces, s.watch)
		adjust(ctx, &running, streams, addresses, s.follow)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}

// adjust starts and ends tasks so that there is one for each name, about what is wanted.
func adjust(
	ctx context.Context, running *sync.WaitGroup, tasks map[string]task, wanted map[string]string,
	work func(ctx context.Context, name, about string),
) {
	for name, t := range tasks {
		if about, ok := wanted[name]; !ok || about != t.about {
			t.cancel()
			delete(tasks, name)
		}
	}
	for name, about := range wanted {
		if _, ok := tasks[name]; ok {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		tasks[name] = task{cancel, about}
		running.Go(func() {
			defer cancel()
			work(ctx, name, about)
		})
	}
}

// lasting says whether a connection is one that another host is to go on with: both sides have spoken, and it has not been
// closed. A connection that is only beginning begins again by itself.
func lasting(f conntrack.Flow) bool {
	if f.Original.Protocol == protocolTCP && f.State != 0 {
		return f.State >= conntrack.TCPEstablished && f.State <= conntrack.TCPLastAck
	}
	return f.Status&conntrack.SeenReply != 0
}

const protocolTCP = 6

func toWire(f conntrack.Flow) *pb.Connection {
	return &pb.Connection{
		Original: tupleToWire(f.Original), Reply: tupleToWire(f.Reply), Zone: uint32(f.Zone), Status: f.Status,
		Mark: f.Mark, Timeout: f.Timeout, TcpState: uint32(f.State),
		TcpScales: uint32(f.ScaleOriginal) | uint32(f.ScaleReply)<<8,
	}
}

func tupleToWire(t conntrack.Tuple) *pb.Tuple {
	return &pb.Tuple{
		Source: t.Source.AsSlice(), Destination: t.Destination.AsSlice(), Protocol: uint32(t.Protocol),
		SourcePort: uint32(t.SourcePort), DestinationPort: uint32(t.DestinationPort),
	}
}

// fromWire is not ok for what no kernel tracks.
func fromWire(c *pb.Connection) (f conntrack.Flow, ok bool) {
	original, ok1 := tupleFromWire(c.GetOriginal())
	reply, ok2 := tupleFromWire(c.GetReply())
	f = conntrack.Flow{
		Original: original, Reply: reply, Zone: uint16(c.GetZone()), Status: c.GetStatus(), Mark: c.GetMark(),
		Timeout: c.GetTimeout(), State: uint8(c.GetTcpState()),
		ScaleOriginal: uint8(c.GetTcpScales()), ScaleReply: uint8(c.GetTcpScales() >> 8),
	}
	return f, ok1 && ok2 && original.Source.Is4() == reply.Source.Is4() && original.Protocol == reply.Protocol
}

func tupleFromWire(t *pb.Tuple) (conntrack.Tuple, bool) {
	source, ok1 := netip.AddrFromSlice(t.GetSource())
	destination, ok2 := netip.AddrFromSlice(t.GetDestination())
	return conntrack.Tuple{
		Source: source, Destination: destination, Protocol: uint8(t.GetProtocol()),
		SourcePort: uint16(t.GetSourcePort()), DestinationPort: uint16(t.GetDestinationPort()),
	}, ok1 && ok2 && source.Is4() == destination.Is4()
}
