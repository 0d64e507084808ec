package state

import (
	"encoding/json"
	"time"

	"github.com/cilium/statedb/part"
	"github.com/google/uuid"
)

// Snapshot is the state as of one revision. It never changes and may be kept and read by anyone.
type Snapshot struct {
	trees []*part.Tree[any]
	// Revision is the etcd revision of the newest commit in it.
	Revision int64
}

func emptySnapshot() *Snapshot {
	s := &Snapshot{trees: make([]*part.Tree[any], catalog.slots)}
	for i := range s.trees {
		s.trees[i] = part.New[any](part.RootOnlyWatch)
	}
	return s
}

func (s *Snapshot) tree(slot int) part.Ops[any] { return s.trees[slot] }

// Tx is a transaction: an overlay on the newest state that sees its own changes. It belongs to the function that Update
// called, and ends with it.
type Tx struct {
	base *Snapshot
	txns []*part.Txn[any]
	now  time.Time
	// writes has, for each key changed, the table, the id and the new object (nil: deleted), in order of first change.
	writes []write
	byKey  map[string]int
}

type write struct {
	table anyTable
	id    string
	obj   any
	old   any
}

func newTx(base *Snapshot, now time.Time) *Tx {
	return &Tx{base: base, txns: make([]*part.Txn[any], len(base.trees)), now: now, byKey: map[string]int{}}
}

// Now is the time of the transaction, the same for all its changes, in UTC and whole seconds like the API shows it.
func (tx *Tx) Now() time.Time { return tx.now }

// NewID returns a new random id (UUID version 4).
func (tx *Tx) NewID() string { return uuid.NewString() }

func (tx *Tx) tree(slot int) part.Ops[any] {
	if t := tx.txns[slot]; t != nil {
		return t
	}
	return tx.base.trees[slot]
}

func (tx *Tx) txn(slot int) *part.Txn[any] {
	if tx.txns[slot] == nil {
		tx.txns[slot] = tx.base.trees[slot].Txn()
	}
	return tx.txns[slot]
}

func (tx *Tx) record(t anyTable, id string, obj any) {
	key := t.Kind() + "/" + id
	if i, ok := tx.byKey[key]; ok {
		tx.writes[i].obj = obj
		return
	}
	old, _, _ := tx.base.trees[slotOf(t)].Get([]byte(id))
	tx.byKey[key] = len(tx.writes)
	tx.writes = append(tx.writes, write{table: t, id: id, obj: obj, old: old})
}

// changes appends what the transaction has changed, in order of first change.
func (tx *Tx) changes(into []Change) []Change {
	for _, w := range tx.writes {
		if w.obj != nil || w.old != nil {
			into = append(into, Change{Kind: w.table.Kind(), ID: w.id, Old: w.old, New: w.obj})
		}
	}
	return into
}

// snapshot freezes the transaction into a state that further transactions can build on.
func (tx *Tx) snapshot() *Snapshot {
	s := &Snapshot{trees: make([]*part.Tree[any], len(tx.base.trees)), Revision: tx.base.Revision}
	for i, t := range tx.base.trees {
		if tx.txns[i] != nil {
			// Without notifying: nobody watches the trees, and a base whose first successor was refused by the log
			// has a second one, which would close the same watch channel again.
			t = tx.txns[i].Commit()
		}
		s.trees[i] = t
	}
	return s
}

// entries are the durable form of the writes.
func (tx *Tx) entries(into []Entry) ([]Entry, error) {
	for _, w := range tx.writes {
		e := Entry{Kind: w.table.Kind(), ID: w.id}
		if w.obj != nil {
			v, err := json.Marshal(w.obj)
			if err != nil {
				return nil, err
			}
			e.Value = v
		} else if w.old == nil {
			continue // made and deleted in the same transaction
		}
		into = append(into, e)
	}
	return into, nil
}
