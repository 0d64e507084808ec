package ipam

import (
	"net/netip"

	"go4.org/netipx"
)

// Compact returns the blocks as few as can be, sorted and without overlaps.
func Compact(blocks ...netip.Prefix) []netip.Prefix { return set(blocks).Prefixes() }

// Covered says whether all addresses of the blocks are in the whole.
func Covered(whole, blocks []netip.Prefix) bool {
	return len(Without(blocks, whole)) == 0
}

// Overlapping says whether an address is both in one of the blocks a and in one of b.
func Overlapping(a, b []netip.Prefix) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	return set(a).Overlaps(set(b))
}

// Without returns the whole without the blocks, compact.
func Without(whole, blocks []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	for _, p := range whole {
		b.AddPrefix(p)
	}
	for _, p := range blocks {
		b.RemovePrefix(p)
	}
	s, err := b.IPSet()
	if err != nil { // blocks are valid: the API and the rules see to it
		return nil
	}
	return s.Prefixes()
}

// Carve finds a free block of bits in length: within the whole, and without an address of what is taken. It takes it
// from the smallest free block that is large enough, and there from the beginning, so that large blocks stay whole as
// long as possible. Its cost is that of sorting what is taken. ok is false where there is no such block.
func Carve(whole, taken []netip.Prefix, bits int) (block netip.Prefix, ok bool) {
	free := Without(whole, taken)
	var best netip.Prefix
	for _, f := range free {
		if f.Bits() <= bits && (!best.IsValid() || f.Bits() > best.Bits()) {
			best = f
		}
	}
	if !best.IsValid() {
		return best, false
	}
	return netip.PrefixFrom(best.Addr(), bits), true
}

func set(blocks []netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, p := range blocks {
		b.AddPrefix(p)
	}
	s, err := b.IPSet()
	if err != nil { // as in Without
		return new(netipx.IPSet)
	}
	return s
}
