package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/cilium/statedb/part"

	"github.com/neutrino-net/neutrino/internal/model"
)

// Reader is where objects are read from: a Snapshot, or a Tx, which also sees its own changes.
type Reader interface {
	tree(slot int) part.Ops[any]
}

// Table is the declaration of a resource kind: its name in etcd, and its indexes. The objects are in snapshots.
// T is the struct type; objects are *T, immutable once stored.
type Table[T any] struct {
	kind    string
	slot    int
	counts  int // the slot of the number of objects of each project
	indexes []*Index[T]
	tallies []*Tally[T]
	meta    func(*T) *model.Meta
}

// Index finds the objects of a table by a key other than the id. An object may have no, one or several keys.
type Index[T any] struct {
	slot int
	keys func(*T) []string
}

// anyTable is what the store needs to know of a table whatever its type.
type anyTable interface {
	Kind() string
	decode(value []byte) (any, error)
	put(tx *Tx, obj any) (old any)
	primary() int
}

// catalog is the set of tables, filled by the declarations in tables.go while the package is initialised and never
// changed afterwards.
var catalog struct {
	tables []anyTable
	byKind map[string]anyTable
	slots  int
}

func newTable[T any, P interface {
	*T
	model.Object
}](kind string) *Table[T] {
	t := &Table[T]{kind: kind, slot: catalog.slots, meta: func(o *T) *model.Meta { return P(o).GetMeta() }}
	t.counts = catalog.slots + 1
	catalog.slots += 2
	catalog.tables = append(catalog.tables, t)
	if catalog.byKind == nil {
		catalog.byKind = map[string]anyTable{}
	}
	if catalog.byKind[kind] != nil {
		panic("state: two tables of kind " + kind)
	}
	catalog.byKind[kind] = t
	return t
}

func newIndex[T any](t *Table[T], keys func(*T) []string) *Index[T] {
	ix := &Index[T]{slot: catalog.slots, keys: keys}
	catalog.slots++
	t.indexes = append(t.indexes, ix)
	return ix
}

// Kind is the name of the table, and of its keys in etcd: /neutrino/<kind>/<id>.
func (t *Table[T]) Kind() string { return t.kind }

// Get returns the object with the id.
func (t *Table[T]) Get(r Reader, id string) (*T, bool) {
	v, _, ok := r.tree(t.slot).Get([]byte(id))
	if !ok {
		return nil, false
	}
	return v.(*T), true
}

// All iterates over the objects in order of their ids.
func (t *Table[T]) All(r Reader) iter.Seq[*T] {
	return values[T](func() *part.Iterator[any] { return r.tree(t.slot).Iterator() })
}

// Len returns the number of objects.
func (t *Table[T]) Len(r Reader) int { return r.tree(t.slot).Len() }

// Count returns how many objects the project owns. It is as quick as Get: the number is kept, not counted.
func (t *Table[T]) Count(r Reader, projectID string) int {
	n, _, ok := r.tree(t.counts).Get([]byte(projectID))
	if !ok {
		return 0
	}
	return n.(int)
}

// count changes the number of objects that the project owns.
func (t *Table[T]) count(tx *Tx, projectID string, by int) {
	if projectID == "" {
		return
	}
	if n := t.Count(tx, projectID) + by; n > 0 {
		tx.txn(t.counts).Insert([]byte(projectID), n)
	} else {
		tx.txn(t.counts).Delete([]byte(projectID))
	}
}

// Put inserts or replaces an object. It sets the revision number and the time of the change, and for a new object the
// time of its creation; the caller must not change the object any more.
func (t *Table[T]) Put(tx *Tx, obj *T) {
	m := t.meta(obj)
	if m.ID == "" {
		panic("state: an object of kind " + t.kind + " without an id")
	}
	if stored, ok := t.Get(tx, m.ID); ok && stored == obj {
		panic("state: a stored object of kind " + t.kind + " was changed in place")
	}
	m.UpdatedAt = tx.Now()
	if old, ok := t.Get(tx.base, m.ID); ok {
		m.RevisionNumber = t.meta(old).RevisionNumber + 1
		m.CreatedAt = t.meta(old).CreatedAt
	} else {
		m.RevisionNumber = 1
		m.CreatedAt = m.UpdatedAt
	}
	t.put(tx, obj)
	tx.record(t, m.ID, obj)
}

// Delete removes the object with the id and says whether there was one.
func (t *Table[T]) Delete(tx *Tx, id string) bool {
	if t.remove(tx, id) == nil {
		return false
	}
	tx.record(t, id, nil)
	return true
}

// List iterates over the objects that have the key, in order of their ids.
func (ix *Index[T]) List(r Reader, key string) iter.Seq[*T] {
	return values[T](func() *part.Iterator[any] {
		it, _ := r.tree(ix.slot).Prefix(indexKey(key, ""))
		return it
	})
}

// First returns an object that has the key.
func (ix *Index[T]) First(r Reader, key string) (*T, bool) {
	for o := range ix.List(r, key) {
		return o, true
	}
	return nil, false
}

// Has says whether an object has the key.
func (ix *Index[T]) Has(r Reader, key string) bool {
	_, ok := ix.First(r, key)
	return ok
}

// Count counts the objects that have the key. It walks them.
func (ix *Index[T]) Count(r Reader, key string) (n int) {
	for range ix.List(r, key) {
		n++
	}
	return n
}

// From iterates over (key, object) pairs with a key of at least from, in byte order of the keys.
func (ix *Index[T]) From(r Reader, from string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		it := r.tree(ix.slot).LowerBound([]byte(escape.Replace(from)))
		for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
			key, _, _ := strings.Cut(string(k), "\x00")
			if !yield(unescape.Replace(key), v.(*T)) {
				return
			}
		}
	}
}

// Parts iterates over what follows the prefix in the keys that begin with it, each once, in order. It costs one lookup a
// key, whatever the number of objects that have it.
func (ix *Index[T]) Parts(r Reader, prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		from := prefix
		for from != "" {
			next := ""
			for key := range ix.From(r, from) {
				part, ok := strings.CutPrefix(key, prefix)
				if !ok || !yield(part) {
					return
				}
				// In the index, keys end with a zero byte and the object's id: this is the least key behind all of them.
				next = key + "\x01"
				break
			}
			from = next
		}
	}
}

func values[T any](start func() *part.Iterator[any]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		it := start()
		for _, v, ok := it.Next(); ok; _, v, ok = it.Next() {
			if !yield(v.(*T)) {
				return
			}
		}
	}
}

func (t *Table[T]) primary() int { return t.slot }

func (t *Table[T]) decode(value []byte) (any, error) {
	obj := new(T)
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber() // free-form values, such as a binding's profile, come back as they were given
	if err := d.Decode(obj); err != nil {
		return nil, fmt.Errorf("reading a %s: %w", t.kind, err)
	}
	return obj, nil
}

// put changes the trees only: revision and durable side are Put's.
func (t *Table[T]) put(tx *Tx, obj any) any {
	o := obj.(*T)
	id := t.meta(o).ID
	old, had := tx.txn(t.slot).Insert([]byte(id), obj)
	if owner := t.meta(o).ProjectID; !had {
		t.count(tx, owner, 1)
	} else if before := t.meta(old.(*T)).ProjectID; before != owner {
		t.count(tx, before, -1)
		t.count(tx, owner, 1)
	}
	was, _ := old.(*T)
	for _, c := range t.tallies {
		c.moved(tx, was, o)
	}
	for _, ix := range t.indexes {
		keys := ix.keys(o)
		if had {
			for _, k := range ix.keys(old.(*T)) {
				tx.txn(ix.slot).Delete(indexKey(k, id))
			}
		}
		for _, k := range keys {
			tx.txn(ix.slot).Insert(indexKey(k, id), obj)
		}
	}
	return old
}

func (t *Table[T]) remove(tx *Tx, id string) any {
	old, had := tx.txn(t.slot).Delete([]byte(id))
	if !had {
		return nil
	}
	t.count(tx, t.meta(old.(*T)).ProjectID, -1)
	for _, c := range t.tallies {
		c.moved(tx, old.(*T), nil)
	}
	for _, ix := range t.indexes {
		for _, k := range ix.keys(old.(*T)) {
			tx.txn(ix.slot).Delete(indexKey(k, id))
		}
	}
	return old
}

// escape keeps zero bytes out of index keys, where one ends the key: a name may hold any character, and objects whose
// names begin alike must not be found under each other's. The order of the keys stays what it was.
var (
	escape   = strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02")
	unescape = strings.NewReplacer("\x01\x01", "\x00", "\x01\x02", "\x01")
)

func indexKey(key, id string) []byte {
	key = escape.Replace(key)
	b := make([]byte, 0, len(key)+1+len(id))
	b = append(b, key...)
	b = append(b, 0)
	return append(b, id...)
}
