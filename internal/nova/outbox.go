package nova

import (
	"reflect"
	"strings"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// The events that Nova knows about ports.
const (
	eventPlugged   = "network-vif-plugged"
	eventUnplugged = "network-vif-unplugged"
	eventDeleted   = "network-vif-deleted"
	eventChanged   = "network-changed"
)

// The outcomes that an event can have.
const (
	statusCompleted = "completed"
	statusFailed    = "failed"
)

// maxEvents bounds the queue. A port has at most four events in it, so this is reached only by a Nova that is away for
// long; then the oldest events go first.
const maxEvents = 20_000

// Outbox writes the events that follow from changes into the queue. The zero value is ready for use.
type Outbox struct {
	// next is the sequence number of the next event; 0 until the queue has been looked at.
	next int64
}

// Derive is for state.Options: it queues what Nova has to know of the changes, in their own transaction.
func (o *Outbox) Derive(tx *state.Tx, changes []state.Change) error {
	for _, c := range changes {
		switch c.Kind {
		case state.Ports.Kind():
			before, _ := c.Old.(*model.Port)
			after, _ := c.New.(*model.Port)
			o.portChanged(tx, before, after)
		case state.FloatingIPs.Kind():
			before, _ := c.Old.(*model.FloatingIP)
			after, _ := c.New.(*model.FloatingIP)
			o.floatingIPChanged(tx, before, after)
		}
	}
	return nil
}

// portChanged queues what a change of a port, made (before is nil), changed or deleted (after is nil), means to Nova.
func (o *Outbox) portChanged(tx *state.Tx, before, after *model.Port) {
	if after == nil {
		if ofServer(before) {
			o.put(tx, before, eventDeleted, "")
		}
		return
	}
	if !ofServer(after) {
		return
	}
	var from model.PortStatus // none: the port is new
	if before != nil {
		from = before.Status
		if differs(before, after) {
			o.put(tx, after, eventChanged, "")
		}
	}
	switch {
	case from == after.Status:
	case after.Status == model.PortActive:
		o.put(tx, after, eventPlugged, statusCompleted)
	case after.Status == model.PortError && from != model.PortActive:
		o.put(tx, after, eventPlugged, statusFailed)
	case after.Status == model.PortDown && from == model.PortActive:
		o.put(tx, after, eventUnplugged, statusCompleted)
	}
}

// floatingIPChanged queues that the addresses of a port have changed: of the one that lost the floating IP, and of the
// one that got it.
func (o *Outbox) floatingIPChanged(tx *state.Tx, before, after *model.FloatingIP) {
	var lost, got string
	if before != nil {
		lost = before.PortID
	}
	if after != nil {
		got = after.PortID
	}
	if before != nil && after != nil && lost == got && before.FixedIP == after.FixedIP {
		return
	}
	for _, id := range []string{lost, got} {
		if p, ok := state.Ports.Get(tx, id); ok && ofServer(p) {
			o.put(tx, p, eventChanged, "")
		}
	}
}

// ofServer says whether the port belongs to a server of Nova's.
func ofServer(p *model.Port) bool {
	return strings.HasPrefix(p.DeviceOwner, "compute:") && uuid.Validate(p.DeviceID) == nil
}

// differs says whether the port has changed but for what hosts report of it: Nova keeps a copy of most of the rest.
func differs(before, after *model.Port) bool {
	a, b := *before, *after
	for _, p := range []*model.Port{&a, &b} {
		p.Status, p.StatusReason, p.Wired, p.WiringReason, p.DHCPReason = "", "", false, "", ""
		p.RevisionNumber, p.UpdatedAt = 0, p.CreatedAt
	}
	return !reflect.DeepEqual(a, b)
}

// put adds an event at the end of the queue. One that says the same and still waits is replaced: what counts is the order
// of the last news.
func (o *Outbox) put(tx *state.Tx, p *model.Port, event, status string) {
	if o.next == 0 {
		o.next = 1
		for e := range state.NovaEvents.All(tx) {
			o.next = max(o.next, e.Sequence+1)
		}
	}
	if state.NovaEvents.Len(tx) >= maxEvents {
		for _, oldest := range state.NovaEventsBySequence.From(tx, "") {
			state.NovaEvents.Delete(tx, oldest.ID)
			break
		}
	}
	state.NovaEvents.Put(tx, &model.NovaEvent{
		Meta:     model.Meta{ID: p.ID + ":" + p.DeviceID + ":" + event},
		Sequence: o.next, Event: event, Status: status, ServerID: p.DeviceID, PortID: p.ID,
	})
	o.next++
}
