package agent

import (
	"context"
	"iter"
	"maps"
	"slices"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Part makes one kind of thing real on the host: the l2 part wires ports, the dhcp part runs DHCP servers.
//
// A part is level-triggered: Reconcile compares what the view wants with what the host has, and does the difference. It
// is called after every change of the view, after every event that the part announced, and now and then without reason;
// never twice at the same time. It never touches anything that does not carry our mark, and changes nothing on a host
// that is already right.
type Part interface {
	// Name is for logs and metrics, for instance "l2".
	Name() string
	// Reconcile does the work and returns the status of every document that the part is responsible for. A document
	// that cannot be applied gets a status with the reason and holds up no other. The error is for trouble that
	// concerns no single document: then the statuses do not count and the view is not acknowledged, unless the error is
	// a *Retry. Like statuses in error, it makes the loop call again after a pause.
	Reconcile(ctx context.Context, view *View) ([]Status, error)
	// Watch announces changes on the host that may be drift or a device that appeared, by calling changed (which never
	// blocks), until ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// Reporter is a Part without whose word nothing is told of some documents: what the other parts did about a port is not
// all that it needs.
type Reporter interface {
	// Reports says whether it has a status for every document of the kind, the part of the key before the first slash.
	Reports(kind string) bool
}

// Gateway is a Part that knows what the host is for its gateway groups. When that changes, it has a pass made.
type Gateway interface {
	// Gateways returns it for all groups; none while it is not known.
	Gateways() []*sb.GatewayRole
}

// Retry is the error of a pass whose statuses are good and whose view is applied, but which has left something undone
// that no document is about any more: the remains of one that is gone.
type Retry struct{ Err error }

func (r *Retry) Error() string { return r.Err.Error() }

// Unwrap returns the reason.
func (r *Retry) Unwrap() error { return r.Err }

// Status is what became of a document.
type Status struct {
	Key    string
	State  sb.ObjectStatus_State
	Reason string
}

// View is what the host has to do: the documents that the server has sent, by key. It never changes.
type View struct {
	documents map[string]*sb.Document
	// Revision is that of the newest batch in it.
	Revision int64
	// stream is the number of the stream on which it was complete; 0: it was not since the agent began.
	stream int64
	// id tells the view from others, from is that of the view that it follows, changed are the keys that may differ.
	id, from *identity
	changed  []string
}

// identity is nothing but itself; it is not empty, or two of them could be at the same place.
type identity struct{ _ byte }

// NewView makes a view of documents.
func NewView(revision int64, documents ...*sb.Document) *View {
	v := &View{documents: make(map[string]*sb.Document, len(documents)), Revision: revision, id: new(identity)}
	for _, d := range documents {
		v.documents[d.Key] = d
	}
	return v
}

// Next makes the view that follows when documents come or change, and others go.
func (v *View) Next(revision int64, put []*sb.Document, del []string) *View {
	next := &View{
		documents: maps.Clone(v.documents), Revision: revision,
		id: new(identity), from: v.id, changed: slices.Clone(del),
	}
	for _, d := range put {
		next.documents[d.Key] = d
		next.changed = append(next.changed, d.Key)
	}
	for _, key := range del {
		delete(next.documents, key)
	}
	return next
}

// Changed returns the keys of the documents that may differ between an earlier view and this one. It is quick where this
// one follows the other at once; what did not change has the same document in both.
func (v *View) Changed(since *View) []string {
	if since != nil && since.id != nil && v.from == since.id {
		return v.changed
	}
	var keys []string
	for key, d := range v.documents {
		if since == nil || since.documents[key] != d {
			keys = append(keys, key)
		}
	}
	if since != nil {
		for key := range since.documents {
			if v.documents[key] == nil {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// Len is the number of documents.
func (v *View) Len() int { return len(v.documents) }

// All iterates over the documents in no particular order.
func (v *View) All() iter.Seq[*sb.Document] {
	return func(yield func(*sb.Document) bool) {
		for _, d := range v.documents {
			if !yield(d) {
				return
			}
		}
	}
}

// Document returns the document of the key, or nil.
func (v *View) Document(key string) *sb.Document { return v.documents[key] }

// Port returns the port document of the id, or nil.
func (v *View) Port(id string) *sb.Port { return v.documents["port/"+id].GetPort() }

// Segment returns the segment through which this host reaches the network, or nil.
func (v *View) Segment(networkID string) *sb.Segment {
	return v.documents["segment/"+networkID].GetSegment()
}

// DHCPNetwork returns what this host has to serve on the network, or nil.
func (v *View) DHCPNetwork(networkID string) *sb.DhcpNetwork {
	return v.documents["dhcp-network/"+networkID].GetDhcpNetwork()
}
