package l3

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Report enters what the agent of a host has reported on routers, floating IPs, port forwardings and gateway groups. Only
// what the host serves counts (of the hosts of a gateway group, what the active one says); the rest is passed over, as are
// reports that are no news.
//
// It understands router/<id>, local-router/<id>, floating-ip/<id>, port-forwarding/<id> and gateway-group/<number>.
func Report(tx *state.Tx, host string, statuses []port.Status) {
	for _, st := range statuses {
		kind, id, _ := strings.Cut(st.Key, "/")
		switch kind {
		case "router":
			if r, ok := state.Routers.Get(tx, id); ok && serves(tx, host, r) {
				reportRouter(tx, r, st)
			}
		case "local-router":
			reportLocal(tx, host, id, st)
		case "floating-ip":
			if f, ok := state.FloatingIPs.Get(tx, id); ok {
				if translatesFloating(tx, host, f) {
					reportFloatingIP(tx, f, st)
				}
			}
		case "port-forwarding":
			fw, ok := state.PortForwardings.Get(tx, id)
			if !ok {
				continue
			}
			if f, ok := state.FloatingIPs.Get(tx, fw.FloatingIPID); ok && translates(tx, host, f.RouterID) {
				reportForwarding(tx, fw, st)
			}
		case "gateway-group":
			if g, ok := state.GatewayGroups.Get(tx, id); ok && slices.Contains(g.Hosts, host) {
				reportGroup(tx, g, host, st)
			}
		}
	}
}

// serves says whether the host speaks for any of those ports of the router that are central.
func serves(r state.Reader, host string, router *model.Router) bool {
	for _, id := range router.CentralIDs() {
		if p, ok := state.Ports.Get(r, id); ok && port.Speaks(r, p, host) {
			return true
		}
	}
	return false
}

// translates says whether the host speaks for the gateway of the router.
func translates(r state.Reader, host, routerID string) bool {
	router, ok := state.Routers.Get(r, routerID)
	if !ok || router.Gateway == nil {
		return false
	}
	p, ok := state.Ports.Get(r, router.Gateway.PortID)
	return ok && port.Speaks(r, p, host)
}

func reportRouter(tx *state.Tx, r *model.Router, st port.Status) {
	if reason := because(st); reason != r.HostReason {
		r = r.Clone()
		r.HostReason = reason
		state.Routers.Put(tx, r)
	}
}

func reportFloatingIP(tx *state.Tx, f *model.FloatingIP, st port.Status) {
	now := f.Clone()
	now.Status, now.HostReason = model.FloatingIPDown, because(st)
	if st.State == port.Done {
		now.Status = model.FloatingIPActive
	}
	if now.Status != f.Status || now.HostReason != f.HostReason {
		state.FloatingIPs.Put(tx, now)
	}
}

func reportForwarding(tx *state.Tx, fw *model.PortForwarding, st port.Status) {
	if reason := because(st); reason != fw.HostReason {
		fw = fw.Clone()
		fw.HostReason = reason
		state.PortForwardings.Put(tx, fw)
	}
}

// reportGroup enters what keeps a host from taking part in a group. It shows in the Reason, which EnsureGroup makes.
func reportGroup(tx *state.Tx, g *model.GatewayGroup, host string, st port.Status) {
	reason := strings.TrimSuffix(because(st), ".")
	if reason == g.Failing[host] {
		return
	}
	g = g.Clone()
	if reason == "" {
		delete(g.Failing, host)
	} else {
		if g.Failing == nil {
			g.Failing = map[string]string{}
		}
		g.Failing[host] = reason
	}
	state.GatewayGroups.Put(tx, g)
}

// because is the reason of a report that something failed, as a sentence.
func because(st port.Status) string {
	switch {
	case st.State != port.Failed:
		return ""
	case strings.TrimSpace(st.Reason) == "":
		return "The host gave no reason."
	}
	return sentence(strings.TrimRight(strings.ToValidUTF8(st.Reason, ""), ". "))
}
