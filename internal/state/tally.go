package state

import "slices"

// Tally counts the objects of a table by a key, so that how many there are is known without looking at them. An object
// may have no, one or several keys, and the same one several times.
type Tally[T any] struct {
	slot int
	keys func(*T) []string
}

func newTally[T any](t *Table[T], keys func(*T) []string) *Tally[T] {
	c := &Tally[T]{slot: catalog.slots, keys: keys}
	catalog.slots++
	t.tallies = append(t.tallies, c)
	return c
}

// Count returns how many times objects have the key. It is as quick as Table.Get.
func (c *Tally[T]) Count(r Reader, key string) int {
	n, _, ok := r.tree(c.slot).Get([]byte(key))
	if !ok {
		return 0
	}
	return n.(int)
}

// moved takes an object out of the tally, as it was, and puts it in, as it is; nil: it was not, or is not any more.
func (c *Tally[T]) moved(tx *Tx, was, is *T) {
	var before, after []string
	if was != nil {
		before = c.keys(was)
	}
	if is != nil {
		after = c.keys(is)
	}
	if slices.Equal(before, after) {
		return
	}
	for _, key := range before {
		c.add(tx, key, -1)
	}
	for _, key := range after {
		c.add(tx, key, 1)
	}
}

func (c *Tally[T]) add(tx *Tx, key string, by int) {
	if n := c.Count(tx, key) + by; n > 0 {
		tx.txn(c.slot).Insert([]byte(key), n)
	} else {
		tx.txn(c.slot).Delete([]byte(key))
	}
}
