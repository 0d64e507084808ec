// Package compile turns the state into what each host has to do.
//
// The view of a host is a set of documents (proto/southbound/v1): the ports bound to it, the segments through which it
// reaches their networks, the neighbours of these ports on other hosts, the security groups that filter them with the
// addresses that these refer to, the logs of what these let pass and drop, and the DHCP service it gives. The package is pure: state in, documents out. It has no
// memory, no clock and no goroutine.
//
// Read in this order:
//   - Document says what a key means for a host in a state. It is the only place where documents are made, so a view
//     computed at once and a view kept up to date step by step cannot differ in content.
//   - Keys lists the keys for which a host may have a document; Documents is both together, the full view.
//   - Affected (affected.go) says which documents a commit may have changed. It may name too many, never too few: who
//     keeps a view asks Document again for each of them and compares the hash.
//
// A host's view holds only what its own ports and services need. This is also what limits a captured host: it can read
// nothing else.
package compile

import (
	"hash/fnv"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The kinds of documents. A key is "<kind>/<id>".
const (
	kindPort        = "port"
	kindSegment     = "segment"
	kindNeighbour   = "neighbour"
	kindDHCPNetwork = "dhcp-network"
	kindDHCPHost    = "dhcp-host"
)

// Options are what documents need besides the state.
type Options struct {
	// LeaseSeconds is the time for which DHCP gives an address; default 86400, as in Neutron.
	LeaseSeconds uint32
	// DNSDomain is told to workloads of networks that have no dns_domain; default "openstacklocal".
	DNSDomain string
	// RouterLease is the lease on which hosts hold the ports of routers; 0: they need none. See service/l3.
	RouterLease time.Duration
	// GatewayInterval is how often the active host of a gateway group advertises itself; default DefaultGatewayInterval.
	GatewayInterval time.Duration
}

// Compiler makes documents. It is safe for concurrent use.
type Compiler struct{ opts Options }

// New returns a compiler.
func New(opts Options) *Compiler {
	if opts.LeaseSeconds == 0 {
		opts.LeaseSeconds = 86400
	}
	if opts.DNSDomain == "" {
		opts.DNSDomain = "openstacklocal"
	}
	if opts.GatewayInterval == 0 {
		opts.GatewayInterval = DefaultGatewayInterval
	}
	return &Compiler{opts: opts}
}

// Document returns the document of the key in the view of the host, or nil when the host has none.
func (c *Compiler) Document(r state.Reader, host, key string) *sb.Document {
	kind, id, ok := strings.Cut(key, "/")
	if !ok || id == "" || host == "" {
		return nil
	}
	d := &sb.Document{Key: key}
	switch kind {
	case kindPort:
		if body := port(r, host, id); body != nil {
			if routerPort(body.DeviceOwner) {
				body.LeaseSeconds = unsigned(int(c.opts.RouterLease / time.Second))
			}
			d.Body = &sb.Document_Port{Port: body}
		}
	case kindSegment:
		if body := segment(r, host, id); body != nil {
			d.Body = &sb.Document_Segment{Segment: body}
		}
	case kindNeighbour:
		if body := neighbour(r, host, id); body != nil {
			d.Body = &sb.Document_Neighbour{Neighbour: body}
		}
	case kindDHCPNetwork:
		if body := c.dhcpNetwork(r, host, id); body != nil {
			d.Body = &sb.Document_DhcpNetwork{DhcpNetwork: body}
		}
	case kindDHCPHost:
		if body := dhcpHost(r, host, id); body != nil {
			d.Body = &sb.Document_DhcpHost{DhcpHost: body}
		}
	case kindSecurityGroup:
		if body := securityGroup(r, host, id); body != nil {
			d.Body = &sb.Document_SecurityGroup{SecurityGroup: body}
		}
	case kindSetMember:
		if body := setMember(r, host, id); body != nil {
			d.Body = &sb.Document_SetMember{SetMember: body}
		}
	case kindLog:
		if body := logDocument(r, host, id); body != nil {
			d.Body = &sb.Document_Log{Log: body}
		}
	case kindLocalRouter:
		if body := localRouter(r, host, id); body != nil {
			d.Body = &sb.Document_LocalRouter{LocalRouter: body}
		}
	case kindRouter:
		if body := router(r, host, id); body != nil {
			d.Body = &sb.Document_Router{Router: body}
		}
	case kindFloatingIP:
		if body := floatingIP(r, host, id); body != nil {
			d.Body = &sb.Document_FloatingIp{FloatingIp: body}
		}
	case kindPortForwarding:
		if body := portForwarding(r, host, id); body != nil {
			d.Body = &sb.Document_PortForwarding{PortForwarding: body}
		}
	case kindGatewayGroup:
		if body := c.gatewayGroup(r, host, id); body != nil {
			d.Body = &sb.Document_GatewayGroup{GatewayGroup: body}
		}
	case kindFirewallGroup:
		if body := firewallGroup(r, host, id); body != nil {
			d.Body = &sb.Document_FirewallGroup{FirewallGroup: body}
		}
	}
	if d.Body == nil || !seal(d) {
		return nil
	}
	return d
}

// seal sets the document's hash: FNV-1a over its deterministic encoding. An encoding that differs between two versions
// of the server costs a document sent again, nothing else. A document that cannot be encoded (a string that is not
// UTF-8, which the API lets nobody store) is none: sending it would end the stream, and so hold up all others.
func seal(d *sb.Document) bool {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	if err != nil {
		return false
	}
	h := fnv.New64a()
	h.Write(encoded) // never fails
	d.Hash = h.Sum64()
	return true
}

// Keys iterates over all keys for which the host may have a document, each once. For some there may be none.
func (c *Compiler) Keys(r state.Reader, host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for g := range state.HostGroups(r, host) {
			if !yield(kindGatewayGroup + "/" + g.ID) {
				return
			}
		}
		for p := range state.HostPorts(r, host) {
			seen[kindPort+"/"+p.ID] = true
			if !yield(kindPort+"/"+p.ID) || !routerKeys(r, p, seen, yield) || !networkKeys(r, host, p.NetworkID, seen, yield) {
				return
			}
		}
		if !distributedKeys(r, host, seen, yield) || !securityKeys(r, host, yield) || !logKeys(r, host, yield) ||
			!firewallKeys(r, host, yield) {
			return
		}
		for b := range state.DHCPBindingsByHost.List(r, host) {
			if !yield(kindDHCPNetwork + "/" + b.NetworkID) {
				return
			}
			for p := range state.PortsByNetwork.List(r, b.NetworkID) {
				if !yield(kindDHCPHost + "/" + p.ID) {
					return
				}
			}
		}
	}
}

// networkKeys yields the keys of a network that the host is on, as far as they are not seen yet. It returns false when
// yield does.
func networkKeys(r state.Reader, host, networkID string, seen map[string]bool, yield func(string) bool) bool {
	if seen[networkID] {
		return true
	}
	seen[networkID] = true
	return yield(kindSegment+"/"+networkID) && neighbourKeys(r, host, networkID, yield)
}

// Documents iterates over the full view of the host.
func (c *Compiler) Documents(r state.Reader, host string) iter.Seq[*sb.Document] {
	return func(yield func(*sb.Document) bool) {
		for key := range c.Keys(r, host) {
			if d := c.Document(r, host, key); d != nil && !yield(d) {
				return
			}
		}
	}
}

// unsigned makes a document's number of one of the model's. What is out of range becomes 0, which the host refuses with
// a reason, instead of a wrapped value that it would take.
func unsigned(n int) uint32 {
	if n < 0 || int64(n) > 1<<32-1 {
		return 0
	}
	return uint32(n)
}

// bindingID is the id of the DHCP binding of a network on a host.
func bindingID(networkID, host string) string { return networkID + ":" + host }
