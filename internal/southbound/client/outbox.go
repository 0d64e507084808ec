package client

import (
	"maps"
	"slices"
	"sync"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// outbox holds what is to be said to the server: the newest acknowledgement, and the newest status of each document and
// gateway group. So
// it is bounded by the number of documents, however slow the server is.
type outbox struct {
	wake chan struct{} // capacity 1

	mu       sync.Mutex
	isOpen   bool
	revision int64
	acked    bool // revision is to be sent
	statuses map[string]*sb.ObjectStatus
	order    []string // the keys of statuses, as they came first
	roles    map[uint32]*sb.GatewayRole
}

// open empties the outbox and lets it take things, for a new stream.
func (o *outbox) open() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.isOpen, o.acked, o.order, o.statuses = true, false, nil, map[string]*sb.ObjectStatus{}
	o.roles = map[uint32]*sb.GatewayRole{}
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.isOpen = false
}

func (o *outbox) ack(revision int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isOpen {
		o.revision, o.acked = revision, true
		o.signal()
	}
}

func (o *outbox) report(statuses []*sb.ObjectStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isOpen {
		return
	}
	for _, s := range statuses {
		if _, waiting := o.statuses[s.GetKey()]; !waiting {
			o.order = append(o.order, s.GetKey())
		}
		o.statuses[s.GetKey()] = s
	}
	o.signal()
}

func (o *outbox) reportRoles(roles []*sb.GatewayRole) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isOpen {
		return
	}
	for _, r := range roles {
		o.roles[r.GetGroup()] = r
	}
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be sent: reports first, since an acknowledgement says that they have been made.
func (o *outbox) take() []*sb.FromAgent {
	o.mu.Lock()
	defer o.mu.Unlock()
	var messages []*sb.FromAgent
	if len(o.roles) > 0 { // there are 200 at most
		report := &sb.Report{Roles: slices.Collect(maps.Values(o.roles))}
		messages = append(messages, &sb.FromAgent{Message: &sb.FromAgent_Report{Report: report}})
		clear(o.roles)
	}
	for start := 0; start < len(o.order); start += maxStatuses {
		report := &sb.Report{}
		for _, key := range o.order[start:min(start+maxStatuses, len(o.order))] {
			report.Statuses = append(report.Statuses, o.statuses[key])
		}
		messages = append(messages, &sb.FromAgent{Message: &sb.FromAgent_Report{Report: report}})
	}
	o.order = nil
	clear(o.statuses)
	if o.acked {
		messages = append(messages, &sb.FromAgent{Message: &sb.FromAgent_Ack{Ack: &sb.Ack{Revision: o.revision}}})
		o.acked = false
	}
	return messages
}
