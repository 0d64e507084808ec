package firewall

import (
	"fmt"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// documentKind begins the keys of the documents that are about firewall groups.
const documentKind = "firewall-group"

// Documents tells what hosts are sent of a group.
type Documents interface {
	// FirewallHosts returns the hosts of the group's ports, and the ports that are on none.
	FirewallHosts(r state.Reader, groupID string) (hosts, unplaced []string)
	// Hash is that of the document that a host has to have; 0: it has to have none.
	Hash(r state.Reader, host, key string) uint64
}

// View makes groups look as they are to be shown: with the status that follows from what their hosts have said last. A host's
// word counts only if it is about the very document that the host has to have now, so that a group which has changed is never
// shown as in force before it is.
func View(docs Documents) func(r state.Reader, _ *auth.Caller) func(*model.FirewallGroup) *model.FirewallGroup {
	return func(r state.Reader, _ *auth.Caller) func(*model.FirewallGroup) *model.FirewallGroup {
		return func(g *model.FirewallGroup) *model.FirewallGroup {
			seen := *g // its lists are not changed
			seen.View = status(r, docs, g)
			return &seen
		}
	}
}

func status(r state.Reader, docs Documents, g *model.FirewallGroup) model.FirewallView {
	if len(g.PortIDs) == 0 || !g.Filters() {
		return model.FirewallView{Status: model.FirewallInactive}
	}
	hosts, unplaced := docs.FirewallHosts(r, g.ID)
	var failed, waiting []string
	for _, host := range hosts {
		word, said := state.FirewallReports.Get(r, reportID(g.ID, host))
		switch {
		case !said || word.Hash != docs.Hash(r, host, documentKind+"/"+g.ID):
			waiting = append(waiting, host)
		case word.Reason != "":
			failed = append(failed, host+": "+word.Reason)
		}
	}
	switch {
	case len(failed) > 0:
		return model.FirewallView{Status: model.FirewallError, Reason: clip(strings.Join(failed, "; "))}
	case len(waiting) > 0:
		return model.FirewallView{
			Status: model.FirewallPending, Reason: clip("Waiting for " + strings.Join(waiting, ", ") + "."),
		}
	case !g.AdminStateUp:
		return model.FirewallView{Status: model.FirewallDown}
	case len(unplaced) > 0:
		return model.FirewallView{
			Status: model.FirewallDown, Reason: clip("On no host: port " + strings.Join(unplaced, ", port ") + "."),
		}
	}
	return model.FirewallView{Status: model.FirewallActive}
}

// clip bounds what is shown of many reasons.
func clip(s string) string {
	const most = 1000
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func reportID(groupID, host string) string { return groupID + ":" + host }

// Report enters what the agent of a host has reported on firewall groups. What is no news is passed over.
//
// It understands firewall-group/<id>.
func Report(tx *state.Tx, host string, statuses []port.Status) {
	for _, st := range statuses {
		kind, id, _ := strings.Cut(st.Key, "/")
		if kind != documentKind {
			continue
		}
		if _, ok := state.FirewallGroups.Get(tx, id); !ok {
			continue
		}
		now := &model.FirewallReport{
			Meta: model.Meta{ID: reportID(id, host)}, GroupID: id, Host: host, Hash: st.Hash, Reason: because(st),
		}
		if old, ok := state.FirewallReports.Get(tx, now.ID); !ok || old.Hash != now.Hash || old.Reason != now.Reason {
			state.FirewallReports.Put(tx, now)
		}
	}
}

// because is why the group is not in force on the host that has reported; empty: it is.
func because(st port.Status) string {
	switch {
	case st.State == port.Done:
		return ""
	case st.State == port.Absent:
		return "it is not in force yet"
	case strings.TrimSpace(st.Reason) == "":
		return "the host gave no reason"
	}
	return fmt.Sprintf("%.512s", strings.TrimRight(strings.ToValidUTF8(st.Reason, ""), ". "))
}
