package ruleset

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Types of data, as nft and the kernel number them.
const (
	typeInteger = 4
	typeMark    = 19
	typeVerdict = 0xffffff00 // NFT_DATA_VERDICT
)

// Where a comment stands in the user data of a rule (libnftnl, udata.h).
const commentType = 0

func (t *Table) message(kind uint16, flags uint16, of string, build func(b *buffer)) message {
	m := message{kind: kind, flags: flags, family: t.family, of: of}
	build(&m.body)
	return m
}

func (t *Table) newTable(flags uint32) message {
	return t.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "", func(b *buffer) {
		b.text(unix.NFTA_TABLE_NAME, t.name)
		b.u32(unix.NFTA_TABLE_FLAGS, flags)
	})
}

func (t *Table) delTable() message {
	return t.message(unix.NFT_MSG_DELTABLE, 0, "", func(b *buffer) { b.text(unix.NFTA_TABLE_NAME, t.name) })
}

func (t *Table) newChain(name string, c Chain) message {
	return t.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, name, func(b *buffer) {
		b.text(unix.NFTA_CHAIN_TABLE, t.name)
		b.text(unix.NFTA_CHAIN_NAME, name)
		if c.Base == nil {
			return
		}
		b.nest(unix.NFTA_CHAIN_HOOK, func() {
			b.u32(unix.NFTA_HOOK_HOOKNUM, c.Base.Hook)
			b.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.Base.Priority))
		})
		b.u32(unix.NFTA_CHAIN_POLICY, uint32(Accept.code))
		b.text(unix.NFTA_CHAIN_TYPE, "filter")
	})
}

func (t *Table) delChain(name string) message {
	return t.message(unix.NFT_MSG_DELCHAIN, 0, name, func(b *buffer) {
		b.text(unix.NFTA_CHAIN_TABLE, t.name)
		b.text(unix.NFTA_CHAIN_NAME, name)
	})
}

func (t *Table) newRule(chain string, r Rule) message {
	return t.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, chain, func(b *buffer) {
		b.text(unix.NFTA_RULE_TABLE, t.name)
		b.text(unix.NFTA_RULE_CHAIN, chain)
		b.nest(unix.NFTA_RULE_EXPRESSIONS, func() { *b = append(*b, r.body...) })
		comment := append([]byte{commentType, byte(len(r.comment) + 1)}, r.comment...)
		b.bytes(unix.NFTA_RULE_USERDATA, append(comment, 0))
	})
}

// delRule removes a rule, or with handle 0 all rules of the chain.
func (t *Table) delRule(chain string, handle uint64) message {
	return t.message(unix.NFT_MSG_DELRULE, 0, chain, func(b *buffer) {
		b.text(unix.NFTA_RULE_TABLE, t.name)
		b.text(unix.NFTA_RULE_CHAIN, chain)
		if handle != 0 {
			b.u64(unix.NFTA_RULE_HANDLE, handle)
		}
	})
}

func (s Set) flags() uint32 {
	var flags uint32
	if s.Intervals {
		flags |= unix.NFT_SET_INTERVAL
		if len(s.Key) > 1 {
			flags |= setConcat
		}
	}
	switch s.Holds {
	case Limits:
		flags |= setObject
	case Verdicts, Zones, Marks:
		flags |= unix.NFT_SET_MAP
	case Counters, Visits:
		flags |= unix.NFT_SET_EVAL
	}
	if s.Timeout != 0 {
		flags |= unix.NFT_SET_TIMEOUT
	}
	return flags
}

// Of linux/netfilter/nf_tables.h, where the library has no name: NFT_SET_CONCAT is a key of several ranges.
const (
	setConcat     = 0x80
	setObject     = 0x40 // NFT_SET_OBJECT
	setObjectType = 15   // NFTA_SET_OBJ_TYPE
	setExpression = 17   // NFTA_SET_EXPR
)

func (t *Table) newSet(name string, s Set) message {
	return t.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, name, func(b *buffer) {
		b.text(unix.NFTA_SET_TABLE, t.name)
		b.text(unix.NFTA_SET_NAME, name)
		b.u32(unix.NFTA_SET_ID, 1) // required, and used by nobody
		b.u32(unix.NFTA_SET_FLAGS, s.flags())
		b.u32(unix.NFTA_SET_KEY_TYPE, s.keyType())
		b.u32(unix.NFTA_SET_KEY_LEN, uint32(s.keyLength()))
		switch s.Holds {
		case Verdicts:
			b.u32(unix.NFTA_SET_DATA_TYPE, typeVerdict)
			b.u32(unix.NFTA_SET_DATA_LEN, 0)
		case Zones:
			b.u32(unix.NFTA_SET_DATA_TYPE, typeInteger)
			b.u32(unix.NFTA_SET_DATA_LEN, 2)
		case Marks:
			b.u32(unix.NFTA_SET_DATA_TYPE, typeMark)
			b.u32(unix.NFTA_SET_DATA_LEN, 4)
		case Limits:
			b.u32(setObjectType, unix.NFT_OBJECT_LIMIT)
		case Counters:
			b.nest(setExpression, func() {
				b.text(unix.NFTA_EXPR_NAME, "counter")
				b.nest(unix.NFTA_EXPR_DATA, func() {})
			})
		}
		if s.Timeout != 0 {
			b.u64(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout.Milliseconds()))
		}
		b.nest(unix.NFTA_SET_DESC, func() { s.describe(b) })
		// Keys are shown as if in network byte order, but for names.
		order := byte(2)
		if len(s.Key) == 1 && (s.Key[0] == DeviceName || s.Key[0] == DeviceIndex) {
			order = 1
		}
		b.bytes(unix.NFTA_SET_USERDATA, []byte{0, 4, order, 0, 0, 0})
	})
}

func (s Set) describe(b *buffer) {
	if s.Size != 0 {
		b.u32(unix.NFTA_SET_DESC_SIZE, s.Size)
	}
	if len(s.Key) < 2 || !s.Intervals {
		return
	}
	const concat, fieldLength = 2, 1 // NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
	b.nest(concat, func() {
		for _, f := range s.Key {
			b.nest(unix.NFTA_LIST_ELEM, func() { b.u32(fieldLength, uint32(f.length)) })
		}
	})
}

func (t *Table) delSet(name string) message {
	return t.message(unix.NFT_MSG_DELSET, 0, name, func(b *buffer) {
		b.text(unix.NFTA_SET_TABLE, t.name)
		b.text(unix.NFTA_SET_NAME, name)
	})
}

// maxElements bounds the elements in a message: a list of attributes has 64 KiB at most.
const maxElements = 400

type entry struct {
	Element
	Value
}

// elements makes the messages that add or remove elements.
func (t *Table) elements(kind uint16, name string, s Set, all []entry) []message {
	var messages []message
	for len(all) > 0 {
		n := min(len(all), maxElements)
		var flags uint16
		if kind == unix.NFT_MSG_NEWSETELEM {
			flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
		}
		messages = append(messages, t.message(kind, flags, name, func(b *buffer) {
			b.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name)
			b.text(unix.NFTA_SET_ELEM_LIST_SET, name)
			b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
				for _, e := range all[:n] {
					s.element(b, e)
				}
			})
		}))
		all = all[n:]
	}
	return messages
}

func (s Set) element(b *buffer, e entry) {
	key := func(kind int, value string) {
		b.nest(kind, func() { b.bytes(unix.NFTA_DATA_VALUE, []byte(value)) })
	}
	b.nest(unix.NFTA_LIST_ELEM, func() {
		key(unix.NFTA_SET_ELEM_KEY, e.First)
		if s.Intervals && len(s.Key) > 1 {
			key(setElementKeyEnd, e.Last)
		}
		switch s.Holds {
		case Verdicts:
			b.nest(unix.NFTA_SET_ELEM_DATA, func() { b.verdict(e.Verdict) })
		case Zones:
			b.nest(unix.NFTA_SET_ELEM_DATA, func() {
				b.bytes(unix.NFTA_DATA_VALUE, binary.NativeEndian.AppendUint16(nil, e.Zone))
			})
		case Marks:
			b.nest(unix.NFTA_SET_ELEM_DATA, func() { b.bytes(unix.NFTA_DATA_VALUE, Native(e.Mark)) })
		case Limits:
			b.text(unix.NFTA_SET_ELEM_OBJREF, e.Limit)
		}
	})
	if !s.Intervals || len(s.Key) > 1 {
		return
	}
	// In a set of one field, an interval is two elements: the first key, and the one after the last.
	if end, ok := successor(e.Last); ok {
		b.nest(unix.NFTA_LIST_ELEM, func() {
			b.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
			key(unix.NFTA_SET_ELEM_KEY, end)
		})
	}
}

const setElementKeyEnd = 10 // NFTA_SET_ELEM_KEY_END

// successor is the next key; false after the very last one.
func successor(key string) (string, bool) {
	b := []byte(key)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]++
		if b[i] != 0 {
			return string(b), true
		}
	}
	return "", false
}

// predecessor is the key before; the first one has none.
func predecessor(key string) string {
	b := []byte(key)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	return string(b)
}
