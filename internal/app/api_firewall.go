package app

import (
	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/service/firewall"
	"github.com/neutrino-net/neutrino/internal/state"
)

// firewallAPI registers firewall groups, with their policies and rules.
func (s *server) firewallAPI() error {
	s.hosts.ports.Follow(firewall.Guard{})
	return rest.RegisterFirewalls(s.rest, documents{s.compiler})
}

// documents tells the rules what hosts are sent.
type documents struct{ *compile.Compiler }

// Hash implements firewall.Documents.
func (d documents) Hash(r state.Reader, host, key string) uint64 {
	return d.Document(r, host, key).GetHash()
}
