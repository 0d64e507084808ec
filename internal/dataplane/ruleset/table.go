package ruleset

import (
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"
)

// Table is a table of ours: what is wanted of it, and what the kernel has. One goroutine at a time may use it.
type Table struct {
	conn   *Conn
	family Family
	name   string

	chains map[string]Chain
	sets   map[string]*wantedSet
	limits map[string]Limit

	// have is what the kernel has; nil when that is to be found out.
	have *actual
	// owned: the table belongs to our socket. Else others can change it, as far as the kernel is concerned.
	owned bool
	// generation is that of the ruleset when have was right.
	generation uint32
	// What may differ between the wanted and the actual.
	dirtyChains   map[string]bool
	dirtySets     map[string]bool
	dirtyElements map[string]map[Element]bool
	// drifted: somebody else had changed what was right before the last Apply.
	drifted, reread bool
	// refused are the objects that the kernel did not take as they are wanted now.
	refused map[string]error
}

type wantedSet struct {
	Set
	elements map[Element]Value
}

// NewTable makes a table of which nothing is wanted yet; the kernel is not touched before Apply.
func NewTable(conn *Conn, family Family, name string) *Table {
	return &Table{
		conn: conn, family: family, name: name,
		chains: map[string]Chain{}, sets: map[string]*wantedSet{}, limits: map[string]Limit{},
		dirtyChains: map[string]bool{}, dirtySets: map[string]bool{}, dirtyElements: map[string]map[Element]bool{},
		refused: map[string]error{},
	}
}

// WantChain sets the wanted rules of a chain.
func (t *Table) WantChain(name string, c Chain) {
	t.chains[name] = c
	t.touchChain(name)
}

// DropChain removes a chain; nothing that is wanted may lead to it.
func (t *Table) DropChain(name string) {
	delete(t.chains, name)
	t.touchChain(name)
}

func (t *Table) touchChain(name string) {
	t.dirtyChains[name] = true
	delete(t.refused, name)
}

// WantSet declares a set. Its elements stay; a set is never declared in two ways.
func (t *Table) WantSet(name string, s Set) {
	if t.sets[name] != nil {
		return
	}
	t.sets[name] = &wantedSet{Set: s, elements: map[Element]Value{}}
	t.dirtySets[name] = true
	if t.have == nil || t.have.sets[name] == nil {
		return
	}
	// It was dropped since the last Apply, and the kernel still has the elements of its former life.
	for e := range t.have.sets[name].elements {
		t.touchElement(name, e)
	}
}

// DropSet removes a set with its elements; no wanted rule may ask it.
func (t *Table) DropSet(name string) {
	delete(t.sets, name)
	delete(t.dirtyElements, name)
	delete(t.refused, name)
	t.dirtySets[name] = true
}

// Put sets the wanted value of an element of a set that has been declared.
func (t *Table) Put(set string, e Element, v Value) {
	s := t.sets[set]
	if old, ok := s.elements[e]; ok && old == v {
		return
	}
	s.elements[e] = v
	t.touchElement(set, e)
}

// Remove removes an element, if there is one.
func (t *Table) Remove(set string, e Element) {
	if s := t.sets[set]; s != nil {
		if _, ok := s.elements[e]; ok {
			delete(s.elements, e)
			t.touchElement(set, e)
		}
	}
}

func (t *Table) touchElement(set string, e Element) {
	if t.dirtyElements[set] == nil {
		t.dirtyElements[set] = map[Element]bool{}
	}
	t.dirtyElements[set][e] = true
	delete(t.refused, set)
}

// Elements are the wanted elements of a set; they must not be changed.
func (t *Table) Elements(set string) map[Element]Value {
	if s := t.sets[set]; s != nil {
		return s.elements
	}
	return nil
}

// Actual reads the elements that the kernel has of a set, before it is known what is wanted of them. There are none where
// there is no such table or set.
func (t *Table) Actual(set string) (map[Element]Value, error) {
	if err := t.observe(); err != nil {
		return nil, err
	}
	if s := t.have.sets[set]; s != nil {
		return maps.Clone(s.elements), nil
	}
	return nil, nil
}

// Err is why the kernel does not have an object as it is wanted, or nil.
func (t *Table) Err(name string) error { return t.refused[name] }

// Refusing says whether there is anything that the kernel did not take.
func (t *Table) Refusing() bool { return len(t.refused) > 0 }

// Drifted says whether the last Apply put right what somebody else had changed.
func (t *Table) Drifted() bool { return t.drifted }

func (t *Table) String() string { return t.family.String() + " " + t.name }

// Exists says whether the kernel has the table, as far as that was read.
func (t *Table) Exists() bool { return t.have != nil && t.have.exists }

// Exposed says that others can change the table, as far as the kernel is concerned: it belongs to no process.
func (t *Table) Exposed() bool { return t.Exists() && !t.owned }

// Forget has the next Apply read the table anew.
func (t *Table) Forget() { t.have = nil }

// The flags of tables that belong to a process and outlive it (NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST).
const (
	flagOwner   = 2
	flagPersist = 4
)

// ErrOwned says that another process, which is alive, keeps the table.
var ErrOwned = errors.New("another process keeps the table")

// observe reads the table if it is not known what the kernel has.
func (t *Table) observe() error {
	generation, err := t.conn.generation()
	if err != nil {
		return fmt.Errorf("read the generation of the ruleset: %w", err)
	}
	if t.have != nil && (t.owned || generation == t.generation) {
		return nil
	}
	// With changes of our own under way, it could not be told whose they are.
	t.reread = t.reread || t.have != nil && len(t.dirtyChains)+len(t.dirtySets)+len(t.dirtyElements) == 0
	have, err := t.read()
	if err != nil {
		return fmt.Errorf("read the nftables table %s: %w", t, err)
	}
	t.owned = t.owned && have.exists
	switch {
	case t.owned || !have.exists || have.flags&(flagOwner|flagPersist) == 0:
	case have.flags&flagOwner != 0:
		return fmt.Errorf("nftables table %s: %w", t, ErrOwned)
	default:
		// It has outlived its process: it is ours from now on.
		if err := t.conn.commit([]message{t.newTable(flagOwner | flagPersist)}, 0); err != nil {
			return fmt.Errorf("take over the nftables table %s: %w", t, err)
		}
		t.owned = true
	}
	t.have, t.generation = have, generation
	t.touchAll()
	return nil
}

// create makes an empty table, one of our own where the kernel can do it.
func (t *Table) create() error {
	err := t.conn.commit([]message{t.newTable(flagOwner | flagPersist)}, 0)
	t.owned = true
	if isRefused(err, unix.EOPNOTSUPP) || isRefused(err, unix.EINVAL) {
		err = t.conn.commit([]message{t.newTable(0)}, 0)
		t.owned = false
	}
	if err != nil {
		t.owned = false
		return fmt.Errorf("make the nftables table %s: %w", t, err)
	}
	t.have.exists = true
	t.generation, err = t.conn.generation()
	return err
}

func isRefused(err error, errno unix.Errno) bool {
	var refused Refused
	if !errors.As(err, &refused) {
		return false
	}
	for _, reason := range refused {
		if errors.Is(reason, errno) {
			return true
		}
	}
	return false
}

// touchAll marks everything as to be compared.
func (t *Table) touchAll() {
	for name := range t.chains {
		t.dirtyChains[name] = true
	}
	for name := range t.have.chains {
		t.dirtyChains[name] = true
	}
	for name, s := range t.sets {
		t.dirtySets[name] = true
		have := t.have.sets[name]
		all := map[Element]bool{}
		for e, v := range s.elements {
			if have == nil || have.elements[e] != v || !has(have.elements, e) {
				all[e] = true
			}
		}
		if have != nil && !s.Holds.byPackets() {
			for e := range have.elements {
				if !has(s.elements, e) {
					all[e] = true
				}
			}
		}
		if len(all) > 0 {
			t.dirtyElements[name] = all
		}
	}
	for name := range t.have.sets {
		t.dirtySets[name] = true
	}
	clear(t.refused)
}

func has[K comparable, V any](m map[K]V, key K) bool {
	_, ok := m[key]
	return ok
}

// Delete removes the table with all that is in it, if it is there.
func (t *Table) Delete() error {
	if err := t.conn.commit([]message{t.delTable()}, 0); err != nil && !isRefused(err, unix.ENOENT) {
		return fmt.Errorf("remove the nftables table %s: %w", t, err)
	}
	t.have, t.owned = nil, false
	return nil
}
