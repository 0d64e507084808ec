package port

import (
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// State is what became of a document on a host.
type State int

// The states of a document.
const (
	// Absent: nothing is wrong, but the device has not appeared on the host.
	Absent State = iota
	// Done: the host is as the document wants it.
	Done
	// Failed: the document could not be applied; the reason says why.
	Failed
)

// Status is a host's report on one document, by its key "<kind>/<id>".
type Status struct {
	Key    string
	State  State
	Reason string
	// Hash is that of the document that it is about; 0: not known.
	Hash uint64
}

// maxReason bounds what a host can make the state hold.
const maxReason = 512

// Report enters what the agent of a host has reported. Only what concerns a port that the host speaks for, or that it
// serves with DHCP, counts; the rest is passed over, as are reports that are no news. One call should bring
// no more statuses than a commit can hold changes.
//
// It understands port/<id>, dhcp-host/<port id>, and dhcp-network/<network id>, which is shown on the port of the DHCP
// server.
func (s *Rules) Report(tx *state.Tx, host string, statuses []Status) {
	for _, st := range statuses {
		kind, id, _ := strings.Cut(st.Key, "/")
		switch kind {
		case "port":
			reportWiring(tx, host, id, st)
		case "dhcp-host":
			p, ok := state.Ports.Get(tx, id)
			if !ok {
				continue
			}
			if _, serves := state.DHCPBindings.Get(tx, p.NetworkID+":"+host); serves {
				reportDHCP(tx, p, st)
			}
		case "dhcp-network":
			b, ok := state.DHCPBindings.Get(tx, id+":"+host)
			if !ok {
				continue
			}
			if p, ok := state.Ports.Get(tx, b.PortID); ok && p.Binding.Host == host {
				reportDHCP(tx, p, st)
			}
		}
	}
}

// Speaks says whether what the host reports of the port counts: the port is bound to it, or it is the active one of the hosts
// of the port's gateway group. While none of them is known to be active, nobody speaks: nothing is forwarded then.
func Speaks(r state.Reader, p *model.Port, host string) bool {
	if id := p.Binding.Group(); id != "" {
		g, ok := state.GatewayGroups.Get(r, id)
		return ok && g.Active() == host
	}
	return p.Binding.Bound() && p.Binding.Host == host
}

func reportWiring(tx *state.Tx, host, id string, st Status) {
	p, ok := state.Ports.Get(tx, id)
	if ok && p.Binding.VIFType == model.VIFDistributed {
		reportDistributed(tx, host, p, st)
		return
	}
	if !ok || !Speaks(tx, p, host) {
		return
	}
	now := p.Clone()
	now.Wired, now.WiringReason = st.State == Done, ""
	if st.State == Failed {
		now.WiringReason = because(st)
	}
	putIfNews(tx, p, now)
}

func reportDHCP(tx *state.Tx, p *model.Port, st Status) {
	now := p.Clone()
	now.DHCPReason = ""
	if st.State == Failed {
		now.DHCPReason = because(st)
	}
	putIfNews(tx, p, now)
}

// ForgetDHCP drops what a host has reported on the DHCP service of the network's ports: it no longer gives it.
func ForgetDHCP(tx *state.Tx, networkID string) {
	var stale []*model.Port
	for p := range state.PortsByNetwork.List(tx, networkID) {
		if p.DHCPReason != "" {
			stale = append(stale, p)
		}
	}
	for _, p := range stale {
		now := p.Clone()
		now.DHCPReason = ""
		putIfNews(tx, p, now)
	}
}

func putIfNews(tx *state.Tx, old, now *model.Port) {
	settle(now)
	if now.Status != old.Status || now.StatusReason != old.StatusReason || now.Wired != old.Wired ||
		now.WiringReason != old.WiringReason || now.DHCPReason != old.DHCPReason {
		state.Ports.Put(tx, now)
	}
}

// because is the reason of a report: one line of valid text.
func because(st Status) string {
	reason := strings.Join(strings.Fields(strings.ToValidUTF8(st.Reason, "")), " ")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	if reason == "" {
		return "the host gave no reason"
	}
	return reason
}

// settle derives the status, and the reason that the API shows, from what is known of the port.
func settle(p *model.Port) {
	p.Status = model.PortDown
	if p.Wired && p.AdminStateUp && (p.Binding.Bound() || p.Binding.VIFType == model.VIFDistributed) {
		p.Status = model.PortActive
	}
	var reasons []string
	if p.WiringReason != "" {
		reasons = append(reasons, p.WiringReason)
	}
	if p.DHCPReason != "" {
		reasons = append(reasons, "DHCP: "+p.DHCPReason)
	}
	p.StatusReason = strings.Join(reasons, "; ")
}
