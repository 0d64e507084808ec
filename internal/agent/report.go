package agent

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// reports is what the server has been told, and what it is to be told. The agent's lock guards it.
type reports struct {
	// byPart are the statuses of each part's last pass, by key.
	byPart []map[string]said
	// reporters are the parts that have to be heard; nil for the others.
	reporters []Reporter
	// done is the newest view that each part has reconciled.
	done []reconciled
	// told is what the server knows of each document. A document that has changed is told of again: the server may have
	// forgotten what it knew, as it does of a port that was bound elsewhere meanwhile.
	told map[string]told
	// roles are those of gateway groups that the server knows.
	roles map[uint32]*sb.GatewayRole
	// acked is the sequence of the view that has been acknowledged.
	acked int64
	// complete is the view for which everything in byPart has been told; nil if there is something to tell.
	complete *View
}

type reconciled struct{ sequence, revision int64 }

type told struct {
	hash uint64
	said
}

// said is a status, and the hash of the document that it is about.
type said struct {
	Status
	of uint64
}

func (r *reports) init(parts []Part) {
	r.byPart = make([]map[string]said, len(parts))
	r.done = make([]reconciled, len(parts))
	r.reporters = make([]Reporter, len(parts))
	for i, part := range parts {
		r.reporters[i], _ = part.(Reporter)
	}
	r.forget()
}

// forget makes everything be told again.
func (r *reports) forget() {
	r.told = map[string]told{}
	r.roles = map[uint32]*sb.GatewayRole{}
	r.acked = 0
	r.complete = nil
}

// status merges what the parts say of a document: the worst counts. ok is false when no part says anything, or one that
// has to be heard has said nothing yet. Where they have looked at different documents, it is about none.
func (r *reports) status(key string) (merged said, ok bool) {
	kind, _, _ := strings.Cut(key, "/")
	for i, statuses := range r.byPart {
		s, has := statuses[key]
		switch {
		case !has && r.reporters[i] != nil && r.reporters[i].Reports(kind):
			return said{}, false
		case !has:
			continue
		case ok && s.of != merged.of:
			s.of, merged.of = 0, 0
		}
		if !ok || severity(s.Status) > severity(merged.Status) {
			merged, ok = s, true
		}
	}
	return merged, ok
}

func severity(s Status) int {
	switch s.State {
	case sb.ObjectStatus_STATE_ERROR:
		return 2
	case sb.ObjectStatus_STATE_ABSENT:
		return 1
	}
	return 0
}

// passed takes the result of a part's pass.
func (a *Agent) passed(part int, view *View, sequence int64, statuses []Status, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		// A pass with an error says nothing of single documents, and has not applied the view.
		byKey := make(map[string]said, len(statuses))
		for _, s := range statuses {
			byKey[s.Key] = said{s, view.documents[s.Key].GetHash()}
		}
		if !maps.Equal(a.report.byPart[part], byKey) {
			a.report.byPart[part], a.report.complete = byKey, nil
		}
		a.report.done[part] = reconciled{sequence, view.Revision}
	}
	a.tell()
	a.announce()
}

// newRoles are the roles in gateway groups that the server does not know yet. The lock is held.
func (a *Agent) newRoles() (news []*sb.GatewayRole) {
	if a.gateway == nil {
		return nil
	}
	now := map[uint32]*sb.GatewayRole{}
	for _, r := range a.gateway.Gateways() {
		now[r.Group] = r
		if !proto.Equal(a.report.roles[r.Group], r) {
			news = append(news, r)
		}
	}
	a.report.roles = now
	slices.SortFunc(news, func(x, y *sb.GatewayRole) int { return cmp.Compare(x.Group, y.Group) })
	return news
}

// tell reports what the server does not know yet, and then acknowledges what all parts have reconciled. The lock is held.
func (a *Agent) tell() {
	if a.uplink == nil {
		return
	}
	if a.view == nil || a.report.complete != a.view {
		a.tellStatuses()
		a.report.complete = a.view
	}
	if roles := a.newRoles(); len(roles) > 0 {
		a.uplink.ReportRoles(roles)
	}
	oldest := reconciled{a.sequence, 0}
	if a.view != nil {
		oldest.revision = a.view.Revision
	}
	for _, done := range a.report.done {
		if done.sequence < oldest.sequence {
			oldest = done
		}
	}
	if oldest.sequence > a.report.acked {
		a.report.acked = oldest.sequence
		a.uplink.Ack(oldest.revision)
	}
}

// tellStatuses reports what the server does not know yet of documents. The lock is held.
func (a *Agent) tellStatuses() {
	var news []*sb.ObjectStatus
	keys := map[string]bool{}
	for _, statuses := range a.report.byPart {
		for key := range statuses {
			keys[key] = true
		}
	}
	for key := range keys {
		status, ok := a.report.status(key)
		if !ok {
			continue
		}
		now := told{said: status}
		if a.view != nil {
			now.hash = a.view.documents[key].GetHash()
		}
		if known, ok := a.report.told[key]; !ok || known != now {
			a.report.told[key] = now
			news = append(news, &sb.ObjectStatus{Key: key, State: status.State, Reason: status.Reason, Hash: status.of})
		}
	}
	for key := range a.report.told {
		if !keys[key] {
			delete(a.report.told, key)
		}
	}
	if len(news) > 0 {
		slices.SortFunc(news, func(x, y *sb.ObjectStatus) int { return strings.Compare(x.Key, y.Key) })
		a.uplink.Report(news)
	}
}
