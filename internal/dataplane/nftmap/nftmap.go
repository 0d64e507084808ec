// Package nftmap changes the elements of named nftables maps and sets over netlink, and tells whether the rules of a
// table are still as they were written.
//
// Rules are text, written by the program nft (package nft): they are few, change seldom and are to be read by people.
// Elements are many and change one by one; here one costs a message (some 100 µs), not a process (some ms). Apply makes
// any number of changes in one transaction.
//
// The form of the messages is that of linux/netfilter/nf_tables.h: a batch is a row of netlink messages between two
// marks, and either all of them count or none.
//
//	Conn      the socket in a namespace, and its two ways to ask: dump and batch (socket.go)
//	Elements  reads a map, Apply changes it
//	Written   marks a table as complete, and tells later whether anybody has changed its rules (written.go)
package nftmap

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Table names a table; Family is unix.NFPROTO_INET and so on.
type Table struct {
	Family uint8
	Name   string
}

// Elements are those of a map, key → value; of a set, the values are empty. Both are the bytes as the kernel compares
// them: numbers in network order, and in a concatenation each part is filled up to a multiple of four bytes.
type Elements map[string]string

// Change is what to do with the elements of one map. What is removed goes first, so that a key can get another value.
type Change struct {
	Set    string
	Remove []string
	Add    Elements
}

// Messages and attributes of nf_tables.h.
const (
	delTable                           = 2
	newChain, getChain                 = 3, 4
	getRule                            = 7
	newElement, getElement, delElement = 12, 13, 14

	attrTable    = 1 // NFTA_SET_ELEM_LIST_TABLE; of chains and rules, too
	attrSet      = 2 // NFTA_SET_ELEM_LIST_SET
	attrElements = 3 // NFTA_SET_ELEM_LIST_ELEMENTS
	attrElement  = 1 // NFTA_LIST_ELEM
	attrKey      = 1 // NFTA_SET_ELEM_KEY
	attrData     = 2 // NFTA_SET_ELEM_DATA
	attrValue    = 1 // NFTA_DATA_VALUE
)

// elementsAtOnce bounds the elements of one message: the length of an attribute has 16 bits.
const elementsAtOnce = 500

// Elements reads all elements of the map or set. The error wraps unix.ENOENT when there is no such table or map.
func (c *Conn) Elements(t Table, set string) (Elements, error) {
	all := Elements{}
	request := func() *nl.NetlinkRequest {
		req := newRequest(getElement, unix.NLM_F_DUMP, t.Family)
		req.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(t.Name)))
		req.AddData(nl.NewRtAttr(attrSet, nl.ZeroTerminated(set)))
		return req
	}
	err := c.dump(request, func() { clear(all) }, func(m []byte) {
		eachAttr(m, func(kind int, v []byte) {
			if kind == attrElements {
				eachAttr(v, func(_ int, element []byte) { all.parse(element) })
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the elements of %s in the nftables table %s: %w", set, t.Name, err)
	}
	return all, nil
}

func (e Elements) parse(element []byte) {
	var key, value string
	eachAttr(element, func(kind int, v []byte) {
		switch kind {
		case attrKey:
			eachAttr(v, func(_ int, v []byte) { key = string(v) })
		case attrData:
			eachAttr(v, func(_ int, v []byte) { value = string(v) })
		}
	})
	e[key] = value
}

// Difference is what has to be done to a map that has these elements, so that it has those that are wanted.
func Difference(set string, have, want Elements) Change {
	change := Change{Set: set, Add: Elements{}}
	for key, value := range have {
		if w, wanted := want[key]; !wanted || w != value {
			change.Remove = append(change.Remove, key)
		}
	}
	for key, value := range want {
		if h, has := have[key]; !has || h != value {
			change.Add[key] = value
		}
	}
	return change
}

// Apply makes the changes, all of them or, with an error, none.
func (c *Conn) Apply(t Table, changes ...Change) error {
	var batch []*nl.NetlinkRequest
	for _, change := range changes {
		removed := make(Elements, len(change.Remove))
		for _, key := range change.Remove {
			removed[key] = ""
		}
		batch = append(batch, elementMessages(delElement, 0, t, change.Set, removed)...)
		batch = append(batch, elementMessages(newElement, unix.NLM_F_CREATE, t, change.Set, change.Add)...)
	}
	if len(batch) == 0 {
		return nil
	}
	if err := c.batch(batch); err != nil {
		return fmt.Errorf("change elements in the nftables table %s: %w", t.Name, err)
	}
	return nil
}

func elementMessages(kind, flags int, t Table, set string, elements Elements) []*nl.NetlinkRequest {
	var messages []*nl.NetlinkRequest
	var list *nl.RtAttr
	n := 0
	for key, value := range elements {
		if n%elementsAtOnce == 0 {
			req := newRequest(kind, flags|unix.NLM_F_ACK, t.Family)
			req.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(t.Name)))
			req.AddData(nl.NewRtAttr(attrSet, nl.ZeroTerminated(set)))
			list = nl.NewRtAttr(attrElements|unix.NLA_F_NESTED, nil)
			req.AddData(list)
			messages = append(messages, req)
		}
		n++
		element := list.AddRtAttr(attrElement|unix.NLA_F_NESTED, nil)
		element.AddRtAttr(attrKey|unix.NLA_F_NESTED, nil).AddRtAttr(attrValue, []byte(key))
		if value != "" {
			element.AddRtAttr(attrData|unix.NLA_F_NESTED, nil).AddRtAttr(attrValue, []byte(value))
		}
	}
	return messages
}

// Delete removes the table with all that is in it. It is no error if there is none, or none with chains: that is
// looked at first, since a transaction that fails has its sender wait for tens of milliseconds in the kernel.
func (c *Conn) Delete(t Table) error {
	if _, _, err := c.mark(t, ""); errors.Is(err, unix.ENOENT) {
		return nil
	}
	req := newRequest(delTable, unix.NLM_F_ACK, t.Family)
	req.AddData(nl.NewRtAttr(attrTable, nl.ZeroTerminated(t.Name)))
	if err := c.batch([]*nl.NetlinkRequest{req}); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete the nftables table %s: %w", t.Name, err)
	}
	return nil
}

// eachAttr calls f for every attribute in b.
func eachAttr(b []byte, f func(kind int, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return
		}
		f(int(binary.NativeEndian.Uint16(b[2:])&nl.NLA_TYPE_MASK), b[unix.SizeofNlAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}
