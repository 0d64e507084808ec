package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// maxWait bounds how long a question may wait for its answer.
const maxWait = time.Minute

// HostStatus is the answer to GET /v1/status.
type HostStatus struct {
	Host  string   `json:"host"`
	Roles []string `json:"roles"`
	// Connected is missing where the stream does not say.
	Connected *bool `json:"connected,omitempty"`
	// Complete is false while the agent knows too little to touch anything.
	Complete  bool           `json:"complete"`
	Revision  int64          `json:"revision"`
	Documents int            `json:"documents"`
	Parts     []PartStatus   `json:"parts"`
	Errors    []ObjectStatus `json:"errors"`
	// Groups are the gateway groups of the host.
	Groups []GroupStatus `json:"gateway_groups,omitempty"`
}

// GroupStatus is what the host is for a gateway group.
type GroupStatus struct {
	Number uint32 `json:"number"`
	Active bool   `json:"active"`
	// Owner and Epoch are those of the newest claim that the host knows; see package gatewaygroup.
	Owner string `json:"owner"`
	Epoch uint64 `json:"epoch"`
}

// PartStatus is what a part did last.
type PartStatus struct {
	Name string `json:"name"`
	// LastReconcile is zero before the first pass.
	LastReconcile time.Time `json:"last_reconcile,omitzero"`
	Milliseconds  float64   `json:"milliseconds"`
	Error         string    `json:"error,omitempty"`
	FailedObjects int       `json:"failed_objects"`
}

// ObjectStatus is what became of a document; Status is "DONE", "ABSENT", "ERROR" or "PENDING".
type ObjectStatus struct {
	Key    string `json:"key"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// PortInfo is the answer to GET /v1/ports/{id}: what one who plugs a workload needs to know.
type PortInfo struct {
	ID           string `json:"id"`
	NetworkID    string `json:"network_id"`
	Device       string `json:"device"`
	MAC          string `json:"mac_address"`
	MTU          int    `json:"mtu"`
	AdminStateUp bool   `json:"admin_state_up"`
	// IPs have the prefix length of their subnets, as in 10.0.0.3/24.
	IPs      []string `json:"ips"`
	Gateways []string `json:"gateways"`
	Status   string   `json:"status"`
	Reason   string   `json:"reason,omitempty"`
}

// listen makes the socket, for the owner only. One that a dead agent left is replaced; one that answers is not.
func listen(ctx context.Context, path string) (net.Listener, error) {
	dialer := net.Dialer{Timeout: time.Second}
	// Whoever is told to end just now must not take the silence for that of a dead agent.
	if conn, err := dialer.DialContext(context.WithoutCancel(ctx), "unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another agent answers on %s", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the agent's socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace the agent's socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the agent's socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("protect the agent's socket: %w", err)
	}
	return listener, nil
}

// serve answers on the socket until ctx ends.
func (a *Agent) serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", a.getStatus)
	mux.HandleFunc("GET /v1/ports/{id}", a.getPort)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.options.Registry, promhttp.HandlerOpts{}))
	for pattern, handler := range a.options.Handlers {
		mux.Handle(pattern, handler)
	}
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the agent's socket: %w", err)
	}
	return nil
}

func (a *Agent) getStatus(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.Status())
}

// Status is what GET /v1/status answers.
func (a *Agent) Status() HostStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := HostStatus{Host: a.options.Host, Complete: a.view != nil, Errors: []ObjectStatus{}}
	for _, role := range a.options.Roles {
		s.Roles = append(s.Roles, string(role))
	}
	if c, ok := a.uplink.(interface{ Connected() bool }); ok {
		connected := c.Connected()
		s.Connected = &connected
	}
	if a.view != nil {
		s.Revision, s.Documents = a.view.Revision, a.view.Len()
	}
	for _, r := range a.runners {
		p := PartStatus{Name: r.part.Name()}
		if last := r.last.Load(); last != nil {
			p.LastReconcile, p.FailedObjects = last.at.UTC(), last.failed
			p.Milliseconds = float64(last.took.Microseconds()) / 1000
			if last.err != nil {
				p.Error = last.err.Error()
			}
		}
		s.Parts = append(s.Parts, p)
	}
	for _, statuses := range a.report.byPart {
		for _, status := range statuses {
			if status.State == sb.ObjectStatus_STATE_ERROR {
				s.Errors = append(s.Errors, ObjectStatus{status.Key, stateName(status.State), status.Reason})
			}
		}
	}
	if a.gateway != nil {
		for _, r := range a.gateway.Gateways() {
			claim := r.GetClaim()
			s.Groups = append(s.Groups, GroupStatus{r.GetGroup(), r.GetActive(), claim.GetHost(), claim.GetEpoch()})
		}
		slices.SortFunc(s.Groups, func(x, y GroupStatus) int { return cmp.Compare(x.Number, y.Number) })
	}
	slices.SortFunc(s.Errors, func(x, y ObjectStatus) int { return strings.Compare(x.Key, y.Key) })
	return s
}

func stateName(s sb.ObjectStatus_State) string { return strings.TrimPrefix(s.String(), "STATE_") }

// getPort answers what is known of a port; with ?wait=10s it waits until its document has arrived.
func (a *Agent) getPort(w http.ResponseWriter, r *http.Request) {
	var wait time.Duration
	if text := r.URL.Query().Get("wait"); text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 {
			fail(w, http.StatusBadRequest, "wait is no duration: use something like 10s")
			return
		}
	}
	deadline := time.After(min(wait, maxWait))
	for {
		info, changed := a.port(r.PathValue("id"))
		if info != nil {
			answer(w, http.StatusOK, info)
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-deadline:
			fail(w, http.StatusNotFound, "no port of this id is bound to this host")
			return
		}
	}
}

// port returns what is known of a port, or nil and a channel that is closed at the next change.
func (a *Agent) port(id string) (*PortInfo, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.view == nil || a.view.Port(id) == nil {
		return nil, a.changed
	}
	p := a.view.Port(id)
	info := &PortInfo{
		ID: id, NetworkID: p.NetworkId, Device: p.Device, MAC: p.Mac, MTU: int(p.Mtu), AdminStateUp: p.AdminStateUp,
		IPs: append([]string{}, p.Ips...), Gateways: append([]string{}, p.Gateways...), Status: "PENDING",
	}
	if s, ok := a.report.status("port/" + id); ok {
		info.Status, info.Reason = stateName(s.State), s.Reason
	}
	return info, nil
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// An error here means that the one who asked has gone.
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, code int, reason string) {
	answer(w, code, map[string]string{"error": reason})
}
