// Package reconcile holds what every reconciler of the agent has in common and nothing that touches the host: the
// difference between what is wanted and what is there, as a type; and the metrics of the work.
//
// A reconciler's pass is always the same: say what is wanted (Want), read the kernel and say what is there (Observe), go
// through Updates and Deletes, do each and say how it went (Updated, Deleted, Failed), and close the pass (Settle).
//
// The tracker remembers what has been applied, which is how it tells work from drift. A difference on an object that was
// wanted like this before, and was right before, is drift: somebody else changed it. So is an object that was never
// wanted and that appears on what is ours. One that was wanted once is none when it goes, whether or not it was ever right. Drift is repaired like everything else, and it is also counted and logged.
package reconcile

import (
	"maps"
	"time"
)

// Backoff bounds for objects that cannot be applied. After each failure the pause doubles.
const (
	FirstPause = 100 * time.Millisecond
	LastPause  = 30 * time.Second
)

// Update is an object that is not as it is wanted.
type Update[K comparable, V any] struct {
	Key    K
	Wanted V
	// Actual is what is there; it counts only where Exists is true.
	Actual V
	Exists bool
	// Drift: the object was right before, and its wanted value has not changed since.
	Drift bool
}

// Delete is an object that is there and is not wanted.
type Delete[K comparable, V any] struct {
	Key    K
	Actual V
	// Drift: the object was not there when the last pass ended, and we never made or changed it.
	Drift bool
}

// Tracker holds the wanted and the actual objects of one kind, by key, and computes the difference. It does no I/O, knows
// no clock and is not safe for concurrent use: one goroutine owns it.
type Tracker[K comparable, V any] struct {
	equal  func(wanted, actual V) bool
	wanted map[K]V
	actual map[K]V
	// applied are the values that were right; ours are the objects that have been wanted since they appeared, right or not.
	applied map[K]V
	ours    map[K]bool
	failed  map[K]failure[V]
	settled bool
}

type failure[V any] struct {
	err    error
	value  V // that could not be applied; a new wanted value is tried at once
	update bool
	pause  time.Duration
	until  time.Time
}

// NewTracker makes a tracker. equal says whether an actual value is as good as a wanted one.
func NewTracker[K comparable, V any](equal func(wanted, actual V) bool) *Tracker[K, V] {
	return &Tracker[K, V]{
		equal:   equal,
		applied: map[K]V{},
		ours:    map[K]bool{},
		failed:  map[K]failure[V]{},
	}
}

// Want replaces the wanted objects. The map belongs to the tracker from then on.
func (t *Tracker[K, V]) Want(wanted map[K]V) { t.wanted = wanted }

// Observe replaces the actual objects. The map belongs to the tracker from then on.
func (t *Tracker[K, V]) Observe(actual map[K]V) { t.actual = actual }

// Actual returns what is there under the key.
func (t *Tracker[K, V]) Actual(key K) (V, bool) {
	v, ok := t.actual[key]
	return v, ok
}

// Updates returns the objects that have to be made or changed, without those whose pause after a failure lasts on.
func (t *Tracker[K, V]) Updates(now time.Time) []Update[K, V] {
	var all []Update[K, V]
	for key, wanted := range t.wanted {
		actual, exists := t.actual[key]
		if exists && t.equal(wanted, actual) {
			continue
		}
		if f, ok := t.failed[key]; ok && f.update && now.Before(f.until) && t.equal(wanted, f.value) {
			continue
		}
		applied, was := t.applied[key]
		all = append(all, Update[K, V]{
			Key: key, Wanted: wanted, Actual: actual, Exists: exists,
			Drift: was && t.equal(wanted, applied),
		})
	}
	return all
}

// Deletes returns the objects that are there and not wanted, without those whose pause after a failure lasts on.
func (t *Tracker[K, V]) Deletes(now time.Time) []Delete[K, V] {
	var all []Delete[K, V]
	for key, actual := range t.actual {
		if _, ok := t.wanted[key]; ok {
			continue
		}
		if f, ok := t.failed[key]; ok && !f.update && now.Before(f.until) {
			continue
		}
		all = append(all, Delete[K, V]{Key: key, Actual: actual, Drift: t.settled && !t.ours[key]})
	}
	return all
}

// Updated records that the object is now as it is wanted.
func (t *Tracker[K, V]) Updated(key K) {
	wanted := t.wanted[key]
	t.set(key, wanted)
	t.applied[key], t.ours[key] = wanted, true
	delete(t.failed, key)
}

// Deleted records that the object is gone.
func (t *Tracker[K, V]) Deleted(key K) {
	delete(t.actual, key)
	delete(t.applied, key)
	delete(t.ours, key)
	delete(t.failed, key)
}

// Failed records that an update or a deletion was refused, and when it was tried. The object is left alone for a pause
// that doubles with each failure, or until its wanted value changes.
func (t *Tracker[K, V]) Failed(key K, err error, now time.Time) {
	wanted, update := t.wanted[key]
	f := t.failed[key]
	if f.err == nil || f.update != update || (update && !t.equal(wanted, f.value)) {
		f = failure[V]{pause: FirstPause / 2}
	}
	f.err, f.value, f.update = err, wanted, update
	f.pause = min(2*f.pause, LastPause)
	f.until = now.Add(f.pause)
	t.failed[key] = f
	if update {
		delete(t.applied, key)
		t.ours[key] = true // it may be half made
	}
}

// Err returns why the object is not as it is wanted, or nil.
func (t *Tracker[K, V]) Err(key K) error { return t.failed[key].err }

// Failing says whether some object could not be updated or deleted, and waits to be tried again.
func (t *Tracker[K, V]) Failing() bool { return len(t.failed) > 0 }

// Settle closes a pass: what is wanted and there counts as applied from now on, and failures of objects that are neither
// wanted nor there are forgotten.
func (t *Tracker[K, V]) Settle() {
	for key, wanted := range t.wanted {
		if actual, ok := t.actual[key]; ok && t.equal(wanted, actual) {
			t.applied[key], t.ours[key] = wanted, true
			delete(t.failed, key)
		}
	}
	forget(t.applied, t.past)
	forget(t.ours, t.past)
	forget(t.failed, t.past)
	t.settled = true
}

// past says whether the object is neither wanted nor there.
func (t *Tracker[K, V]) past(key K) bool {
	_, wanted := t.wanted[key]
	_, there := t.actual[key]
	return !wanted && !there
}

func forget[K comparable, V any](m map[K]V, past func(K) bool) {
	maps.DeleteFunc(m, func(key K, _ V) bool { return past(key) })
}

func (t *Tracker[K, V]) set(key K, value V) {
	if t.actual == nil {
		t.actual = map[K]V{}
	}
	t.actual[key] = value
}
