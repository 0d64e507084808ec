package ruleset

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// actual is what the kernel has of a table.
type actual struct {
	exists bool
	flags  uint32
	chains map[string]*actualChain
	sets   map[string]*actualSet
	limits map[string]bool
}

type actualChain struct {
	base  *Base
	rules []actualRule
	// blind: rules were added of which we do not know the handles yet.
	blind bool
}

type actualRule struct {
	comment string
	handle  uint64
}

type actualSet struct {
	flags, keyType uint32
	elements       map[Element]Value
}

// read reads the whole table. Elements of sets of counters are not read: packets make them.
func (t *Table) read() (*actual, error) {
	a := &actual{}
	err := t.conn.query(unix.NFT_MSG_GETTABLE, 0, t.family, t.named(unix.NFTA_TABLE_NAME), func(b []byte) {
		a.exists, a.flags = true, number(find(b, unix.NFTA_TABLE_FLAGS))
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	a.chains, a.sets, a.limits = map[string]*actualChain{}, map[string]*actualSet{}, map[string]bool{}
	if !a.exists {
		return a, nil
	}
	// Chains and rules of all tables of the family come in one dump: a filter by table is not known to older kernels.
	err = t.conn.dump(unix.NFT_MSG_GETCHAIN, t.family, nil, func() { clear(a.chains) }, func(b []byte) {
		if text(find(b, unix.NFTA_CHAIN_TABLE)) == t.name {
			a.chains[text(find(b, unix.NFTA_CHAIN_NAME))] = parseChain(b)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := t.readRules(a.chains, ""); err != nil {
		return nil, err
	}
	err = t.conn.dump(unix.NFT_MSG_GETSET, t.family, t.named(unix.NFTA_SET_TABLE), func() { clear(a.sets) }, func(b []byte) {
		if text(find(b, unix.NFTA_SET_TABLE)) == t.name {
			a.sets[text(find(b, unix.NFTA_SET_NAME))] = &actualSet{
				flags: number(find(b, unix.NFTA_SET_FLAGS)), keyType: number(find(b, unix.NFTA_SET_KEY_TYPE)),
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := t.readLimits(a); err != nil {
		return nil, err
	}
	for name, s := range a.sets {
		if err := t.readElements(name, s); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// named asks for what is in the table: kind is the attribute that names it, which differs by what is asked for.
//
//nolint:unparam // all these attributes have the number 1
func (t *Table) named(kind int) buffer {
	var b buffer
	b.text(kind, t.name)
	return b
}

func parseChain(b []byte) *actualChain {
	c := &actualChain{}
	if hook := find(b, unix.NFTA_CHAIN_HOOK); hook != nil {
		c.base = &Base{number(find(hook, unix.NFTA_HOOK_HOOKNUM)), int32(number(find(hook, unix.NFTA_HOOK_PRIORITY)))}
	}
	return c
}

// readRules reads the rules of one chain, or with an empty name those of all.
func (t *Table) readRules(chains map[string]*actualChain, chain string) error {
	request := t.named(unix.NFTA_RULE_TABLE)
	if chain != "" {
		request.text(unix.NFTA_RULE_CHAIN, chain)
	}
	reset := func() {
		for _, c := range chains {
			c.rules, c.blind = nil, false
		}
	}
	return t.conn.dump(unix.NFT_MSG_GETRULE, t.family, request, reset, func(b []byte) {
		var r actualRule
		var in *actualChain
		var ours bool
		for kind, v := range attributes(b) {
			switch kind {
			case unix.NFTA_RULE_TABLE:
				ours = text(v) == t.name
			case unix.NFTA_RULE_CHAIN:
				in = chains[text(v)]
			case unix.NFTA_RULE_HANDLE:
				r.handle = number64(v)
			case unix.NFTA_RULE_USERDATA:
				if len(v) > 2 && v[0] == commentType {
					r.comment = text(v[2:])
				}
			}
		}
		if ours && in != nil {
			in.rules = append(in.rules, r)
		}
	})
}

func (t *Table) readElements(name string, s *actualSet) error {
	if s.flags&unix.NFT_SET_EVAL != 0 {
		return nil
	}
	request := t.named(unix.NFTA_SET_ELEM_LIST_TABLE)
	request.text(unix.NFTA_SET_ELEM_LIST_SET, name)
	intervals := s.flags&unix.NFT_SET_INTERVAL != 0 && s.flags&setConcat == 0
	var bounds []bound
	reset := func() { s.elements, bounds = map[Element]Value{}, nil }
	err := t.conn.dump(unix.NFT_MSG_GETSETELEM, t.family, request, reset, func(b []byte) {
		for kind, list := range attributes(b) {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			for _, e := range attributes(list) {
				first := string(find(e, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE))
				if intervals {
					end := number(find(e, unix.NFTA_SET_ELEM_FLAGS))&unix.NFT_SET_ELEM_INTERVAL_END != 0
					bounds = append(bounds, bound{first, end})
					continue
				}
				last := string(find(e, setElementKeyEnd, unix.NFTA_DATA_VALUE))
				v := parseValue(find(e, unix.NFTA_SET_ELEM_DATA))
				v.Limit = text(find(e, unix.NFTA_SET_ELEM_OBJREF))
				s.elements[Element{first, last}] = v
			}
		}
	})
	for _, e := range pairs(bounds) {
		s.elements[e] = Value{}
	}
	return err
}

// bound is one end of an interval, as the kernel keeps it.
type bound struct {
	key string
	end bool
}

// pairs makes intervals of their bounds, in whatever order these come.
func pairs(bounds []bound) []Element {
	slices.SortFunc(bounds, func(x, y bound) int { return strings.Compare(x.key, y.key) })
	var all []Element
	for i, b := range bounds {
		switch {
		case b.end:
		case i+1 < len(bounds) && bounds[i+1].end:
			all = append(all, Element{b.key, predecessor(bounds[i+1].key)})
		default: // nothing is above it
			all = append(all, Element{b.key, strings.Repeat("\xff", len(b.key))})
		}
	}
	return all
}

func parseValue(b []byte) (v Value) {
	for kind, data := range attributes(b) {
		switch kind {
		case unix.NFTA_DATA_VERDICT:
			v.Verdict.code = int32(number(find(data, unix.NFTA_VERDICT_CODE)))
			v.Verdict.chain = text(find(data, unix.NFTA_VERDICT_CHAIN))
		case unix.NFTA_DATA_VALUE:
			switch len(data) {
			case 2:
				v.Zone = binary.NativeEndian.Uint16(data)
			case 4:
				v.Mark = binary.NativeEndian.Uint32(data)
			}
		}
	}
	return v
}

// Counter is how often something was counted.
type Counter struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Counters reads a set of counters, by key.
func (t *Table) Counters(set string) (map[string]Counter, error) {
	request := t.named(unix.NFTA_SET_ELEM_LIST_TABLE)
	request.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	counters := map[string]Counter{}
	err := t.conn.dump(unix.NFT_MSG_GETSETELEM, t.family, request, func() { clear(counters) }, func(b []byte) {
		for _, e := range attributes(find(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			key := string(find(e, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE))
			counters[key] = parseCounter(find(e, unix.NFTA_SET_ELEM_EXPR, unix.NFTA_EXPR_DATA))
		}
	})
	return counters, err
}

func parseCounter(b []byte) Counter {
	return Counter{
		Packets: number64(find(b, unix.NFTA_COUNTER_PACKETS)), Bytes: number64(find(b, unix.NFTA_COUNTER_BYTES)),
	}
}

// RuleCounter is a rule of a chain, by its comment, and what it has counted.
type RuleCounter struct {
	Comment string
	Counter Counter
}

// RuleCounters reads the rules of a chain, in their order.
func (t *Table) RuleCounters(chain string) ([]RuleCounter, error) {
	request := t.named(unix.NFTA_RULE_TABLE)
	request.text(unix.NFTA_RULE_CHAIN, chain)
	var rules []RuleCounter
	err := t.conn.dump(unix.NFT_MSG_GETRULE, t.family, request, func() { rules = nil }, func(b []byte) {
		if text(find(b, unix.NFTA_RULE_TABLE)) != t.name || text(find(b, unix.NFTA_RULE_CHAIN)) != chain {
			return
		}
		var r RuleCounter
		if data := find(b, unix.NFTA_RULE_USERDATA); len(data) > 2 && data[0] == commentType {
			r.Comment = text(data[2:])
		}
		for _, e := range attributes(find(b, unix.NFTA_RULE_EXPRESSIONS)) {
			if text(find(e, unix.NFTA_EXPR_NAME)) == "counter" {
				r.Counter = parseCounter(find(e, unix.NFTA_EXPR_DATA))
			}
		}
		rules = append(rules, r)
	})
	return rules, err
}
