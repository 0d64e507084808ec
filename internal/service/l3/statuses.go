package l3

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Statuses remembers what hosts have reported of the documents of gateway groups. In the state is what the active host of a
// group says; when another takes over, which has nothing new to report, what it said before becomes the status.
//
// It is kept in memory: a host reports everything again when it connects. It is safe for concurrent use.
type Statuses struct {
	mu    sync.Mutex
	hosts map[string]map[string]*remembered // by host and group
}

type remembered struct {
	byKey map[string]port.Status
	// sweepAt is the number of statuses at which it is looked which of them are of documents that are no longer there.
	sweepAt int
}

// leastSweep is the fewest statuses that are worth a sweep.
const leastSweep = 64

// Remember keeps those of the statuses that are of documents of gateway groups. It has to be called before they are entered
// by Report.
func (s *Statuses) Remember(r state.Reader, host string, statuses []port.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range statuses {
		group := groupOf(r, st.Key)
		if group == "" {
			continue
		}
		if s.hosts == nil {
			s.hosts = map[string]map[string]*remembered{}
		}
		if s.hosts[host] == nil {
			s.hosts[host] = map[string]*remembered{}
		}
		m := s.hosts[host][group]
		if m == nil {
			m = &remembered{byKey: map[string]port.Status{}, sweepAt: leastSweep}
			s.hosts[host][group] = m
		}
		m.byKey[st.Key] = st
		if len(m.byKey) >= m.sweepAt {
			maps.DeleteFunc(m.byKey, func(key string, _ port.Status) bool { return groupOf(r, key) != group })
			m.sweepAt = max(leastSweep, 2*len(m.byKey))
		}
	}
}

// Forget drops what the host has reported: it has connected anew.
func (s *Statuses) Forget(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hosts, host)
}

// Of returns what the host has reported last of the group's documents, in order of their keys: at most limit statuses, of
// keys after the given one.
func (s *Statuses) Of(host, group, after string, limit int) []port.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.hosts[host][group]
	if m == nil {
		return nil
	}
	var list []port.Status
	for _, key := range slices.Sorted(maps.Keys(m.byKey)) {
		if key > after && len(list) < limit {
			list = append(list, m.byKey[key])
		}
	}
	return list
}

// groupOf is the gateway group that the document is of; empty: it is of none.
func groupOf(r state.Reader, key string) string {
	kind, id, _ := strings.Cut(key, "/")
	switch kind {
	case "port":
		if p, ok := state.Ports.Get(r, id); ok {
			return p.Binding.Group()
		}
	case "port-forwarding":
		if fw, ok := state.PortForwardings.Get(r, id); ok {
			return groupOf(r, "floating-ip/"+fw.FloatingIPID)
		}
	case "floating-ip":
		if f, ok := state.FloatingIPs.Get(r, id); ok {
			return groupOf(r, "router/"+f.RouterID)
		}
	case "router":
		if o, ok := state.Routers.Get(r, id); ok {
			return o.GatewayGroup
		}
	}
	return ""
}
