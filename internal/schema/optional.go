package schema

import (
	"fmt"
	"net/netip"
	"strconv"
)

// optional accepts and shows null for what is not set at all, where the zero value means something else.
func optional[V any](inner codec[V]) codec[*V] {
	return codec[*V]{
		shape: inner.shape.orNull(),
		parse: func(raw any) (*V, error) {
			if raw == nil {
				return nil, nil
			}
			v, err := inner.parse(raw)
			if err != nil {
				return nil, err
			}
			return &v, nil
		},
		append: func(b []byte, v *V) []byte {
			if v == nil {
				return append(b, "null"...)
			}
			return inner.append(b, *v)
		},
		text: func(v *V) string {
			if v == nil {
				return ""
			}
			return inner.text(*v)
		},
		compare: func(a, b *V) int {
			switch {
			case a == nil && b == nil:
				return 0
			case a == nil:
				return -1
			case b == nil:
				return 1
			}
			return inner.compare(*a, *b)
		},
	}
}

// numeral is an integer that is shown as a string: so the networking API spells the prefix lengths of subnet pools.
func numeral(least, most int) codec[int] {
	c := integer(least, most)
	c.shape.ShownType = "string"
	c.append = func(b []byte, v int) []byte { return append(strconv.AppendInt(append(b, '"'), int64(v), 10), '"') }
	return c
}

// sequence is an array of at most most values, which may be equal. null is the empty one.
func sequence[V any](most int, item codec[V]) codec[[]V] {
	c := list(most, item)
	c.parse = func(raw any) ([]V, error) {
		values, ok := raw.([]any)
		if raw != nil && !ok {
			return nil, fmt.Errorf("'%s' is not a list", quote(raw))
		}
		if len(values) > most {
			return nil, fmt.Errorf("it has %d items, and at most %d are allowed", len(values), most)
		}
		var out []V
		for _, r := range values {
			v, err := item.parse(r)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	return c
}

// prefixes is a list of address blocks. They may overlap: the rules make them compact.
func prefixes(most int) codec[[]netip.Prefix] {
	return list(most, prefix())
}

// ParsePrefixes validates the value of the member "prefixes" in the body of an action on a subnet pool.
func ParsePrefixes(raw any) ([]netip.Prefix, error) { return prefixes(maxPrefixes).parse(raw) }
