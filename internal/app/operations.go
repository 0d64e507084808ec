package app

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/neutrino-net/neutrino/internal/southbound"
	"github.com/neutrino-net/neutrino/internal/state"
)

// ServerStatus is what GET /status answers.
type ServerStatus struct {
	Version  string                 `json:"version"`
	Started  time.Time              `json:"started"`
	Revision int64                  `json:"revision"`
	Problem  string                 `json:"problem,omitempty"`
	Counts   map[string]int         `json:"counts"`
	Hosts    []southbound.HostState `json:"hosts"`
}

// operations adds what those who run the server ask: healthz and readyz for everybody, metrics and status for
// administrators and for loopback.
func (s *server) operations() {
	s.rest.Handle("GET /healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	}))
	s.rest.Handle("GET /readyz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := s.problem(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}))
	s.rest.Handle("GET /metrics", s.guarded(promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})))
	s.rest.Handle("GET /status", s.guarded(http.HandlerFunc(s.status)))
	s.rest.Handle("DELETE /hosts/{host}", http.HandlerFunc(s.removeHost))
}

// removeHost makes the certificates of a host worthless, for administrators only: being on this machine is not enough.
func (s *server) removeHost(w http.ResponseWriter, r *http.Request) {
	if !s.admin(r) {
		http.Error(w, "only for administrators (X-Auth-Token)", http.StatusForbidden)
		return
	}
	there, err := s.hosts.Remove(r.Context(), r.PathValue("host"))
	switch {
	case err != nil:
		http.Error(w, "the state cannot be written now", http.StatusServiceUnavailable)
	case !there:
		http.Error(w, "no such host has joined", http.StatusNotFound)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *server) admin(r *http.Request) bool {
	c, err := s.authenticator.Authenticate(r.Context(), r.Header.Get("X-Auth-Token"))
	return err == nil && c.Admin()
}

// problem says why the server is not ready, or nil.
func (s *server) problem() error {
	if err := s.store.Err(); err != nil {
		return err
	}
	return s.etcd.Space()
}

// guarded lets in who comes from this machine, or is an administrator.
func (s *server) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		ip, err := netip.ParseAddr(host)
		local := err == nil && ip.Unmap().IsLoopback() && r.Header.Get("X-Forwarded-For") == ""
		if !local && !s.admin(r) {
			http.Error(w, "only for administrators (X-Auth-Token), and for this machine", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) {
	snap := s.store.Read()
	st := ServerStatus{
		Version: s.Version, Started: s.started.UTC(), Revision: snap.Revision, Hosts: s.hosts.Hosts(),
		Counts: map[string]int{
			"networks": state.Networks.Len(snap), "subnets": state.Subnets.Len(snap), "ports": state.Ports.Len(snap),
		},
	}
	if err := s.problem(); err != nil {
		st.Problem = err.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(st)
}
