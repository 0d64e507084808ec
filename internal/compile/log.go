package compile

import (
	"iter"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Logs. A host has a log document if any filtered port of it is concerned; which ones are, the host finds out by itself,
// so that a port more or less changes no document. Each change of a port costs one lookup for each log that names the
// port or one of its groups, and for those of its project that name nothing.

const kindLog = "log"

// logDocument: the log is enabled, and concerns a filtered port of the host.
func logDocument(r state.Reader, host, id string) *sb.Log {
	l, ok := state.Logs.Get(r, id)
	if !ok || !l.Enabled || l.ResourceType != model.LogSecurityGroup {
		return nil
	}
	doc := &sb.Log{
		LogId: l.ID, ProjectId: l.ProjectID, Accept: l.Event != model.LogDrop, Drop: l.Event != model.LogAccept,
		PortId: l.TargetID, SecurityGroup: l.ResourceID, OwnPorts: ownPorts(r, l),
	}
	if !logsPortOf(r, host, l, doc.OwnPorts) {
		return nil
	}
	return doc
}

// ownPorts says whether the log is about ports of its own project only. Others may have a group of it, where it is
// shared. Whoever logs a group or a port that is none of his own is an administrator, or the rules had refused it.
func ownPorts(r state.Reader, l *model.Log) bool {
	if l.TargetID != "" {
		return false
	}
	g, ok := state.SecurityGroups.Get(r, l.ResourceID)
	return !ok || g.ProjectID == l.ProjectID
}

func logsPortOf(r state.Reader, host string, l *model.Log, own bool) bool {
	switch {
	case l.TargetID != "":
		p, ok := state.Ports.Get(r, l.TargetID)
		return ok && state.HasPort(r, p, host) && p.Filtered() && (l.ResourceID == "" || slices.Contains(p.SecurityGroupIDs, l.ResourceID))
	case l.ResourceID != "":
		for p := range state.PortsBySecurityGroupHost.List(r, l.ResourceID+"/"+host) {
			if !own || p.ProjectID == l.ProjectID {
				return true
			}
		}
		return false
	}
	return state.FilteredPortsByProjectHost.Has(r, l.ProjectID+"/"+host)
}

// portLogs are the logs that may concern the port; one may come several times.
func portLogs(r state.Reader, p *model.Port) iter.Seq[*model.Log] {
	return func(yield func(*model.Log) bool) {
		for _, subject := range append([]string{p.ID}, p.SecurityGroupIDs...) {
			for l := range state.LogsBySubject.List(r, subject) {
				if !yield(l) {
					return
				}
			}
		}
		for l := range state.LogsOfAll.List(r, p.ProjectID) {
			if !yield(l) {
				return
			}
		}
	}
}

// logKeys yields the keys of the logs that may concern ports of the host, each once. It returns false when yield does.
func logKeys(r state.Reader, host string, yield func(string) bool) bool {
	seen := map[string]bool{}
	for p := range state.PortsByHost.List(r, host) {
		if !p.Filtered() {
			continue
		}
		for l := range portLogs(r, p) {
			if seen[l.ID] {
				continue
			}
			seen[l.ID] = true
			if !yield(kindLog + "/" + l.ID) {
				return false
			}
		}
	}
	return true
}

// logsOfPort looks at the logs that may concern the port as it is, or as it was. Those that have changed with it are
// looked at by themselves.
func (a *affected) logsOfPort(old, now *model.Port) {
	for _, p := range []*model.Port{old, now} {
		if p == nil || !p.Binding.Bound() || !p.Filtered() {
			continue
		}
		for l := range portLogs(a.after, p) {
			a.add(p.Binding.Host, kindLog, l.ID)
		}
	}
}

func (a *affected) log(old, now *model.Log) {
	for _, l := range []*model.Log{old, now} {
		if l == nil {
			continue
		}
		for _, r := range []state.Reader{a.before, a.after} {
			for host := range logHosts(r, l) {
				a.add(host, kindLog, l.ID)
			}
		}
	}
}

// logsOfGroup looks at the logs of a group that comes or goes.
func (a *affected) logsOfGroup(id string) {
	for l := range state.LogsBySubject.List(a.after, id) {
		a.log(nil, l)
	}
}

// logHosts are the hosts with filtered ports that the log may concern.
func logHosts(r state.Reader, l *model.Log) iter.Seq[string] {
	switch {
	case l.TargetID != "":
		return func(yield func(string) bool) {
			if p, ok := state.Ports.Get(r, l.TargetID); ok && p.Binding.Bound() {
				yield(p.Binding.Host)
			}
		}
	case l.ResourceID != "":
		return groupHosts(r, l.ResourceID)
	}
	return state.FilteredPortsByProjectHost.Parts(r, l.ProjectID+"/")
}
