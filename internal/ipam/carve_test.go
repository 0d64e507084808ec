package ipam_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/ipam"
)

func blocks(text string) (out []netip.Prefix) {
	for _, p := range strings.Fields(text) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestCarve(t *testing.T) {
	for _, c := range []struct {
		name         string
		whole, taken string
		bits         int
		want         string
	}{
		{"the first of an empty pool", "10.0.0.0/8", "", 24, "10.0.0.0/24"},
		{"the next", "10.0.0.0/8", "10.0.0.0/24", 24, "10.0.1.0/24"},
		{"a hole that fits before a larger one", "10.0.0.0/16", "10.0.0.0/24 10.0.2.0/23", 24, "10.0.1.0/24"},
		{"the smallest that is large enough", "10.0.0.0/16 192.168.0.0/24", "", 26, "192.168.0.0/26"},
		{"the whole", "10.0.0.0/24", "", 24, "10.0.0.0/24"},
		{"none is left", "10.0.0.0/24", "10.0.0.0/25 10.0.0.128/25", 28, ""},
		{"none is large enough", "10.0.0.0/24", "10.0.0.64/26", 24, ""},
		{"larger than the pool", "10.0.0.0/24", "", 23, ""},
		{"IPv6", "2001:db8::/48", "2001:db8::/64", 64, "2001:db8:0:1::/64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := ipam.Carve(blocks(c.whole), blocks(c.taken), c.bits)
			if ok != (c.want != "") || ok && got.String() != c.want {
				t.Errorf("got %v, %v", got, ok)
			}
		})
	}
}

func TestBlocksAsSets(t *testing.T) {
	if got := ipam.Compact(blocks("10.0.1.0/24 10.0.0.0/24 10.0.0.128/25")...); !slices.Equal(got, blocks("10.0.0.0/23")) {
		t.Errorf("compact: %v", got)
	}
	if got := ipam.Without(blocks("10.0.0.0/24"), blocks("10.0.0.0/25")); !slices.Equal(got, blocks("10.0.0.128/25")) {
		t.Errorf("without: %v", got)
	}
	if !ipam.Covered(blocks("10.0.0.0/25 10.0.0.128/25"), blocks("10.0.0.0/24")) {
		t.Error("two halves do not cover the whole")
	}
	if ipam.Covered(blocks("10.0.0.0/25"), blocks("10.0.0.0/24")) || ipam.Overlapping(blocks("10.0.0.0/25"), blocks("10.0.0.128/25")) {
		t.Error("a half covers the whole, or the other half")
	}
	if ipam.Overlapping(nil, blocks("10.0.0.0/8")) || !ipam.Overlapping(blocks("10.0.0.0/8"), blocks("10.1.0.0/16")) {
		t.Error("overlaps are wrong")
	}
}

// TestCarvedBlocksNeverOverlap carves and frees at random: a carved block is within the whole and apart from all others,
// and when it is said that there is none, no block of that length is free.
func TestCarvedBlocksNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := blocks("10.0.0.0/25 10.0.1.0/26")
		var taken []netip.Prefix
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(taken) > 0 && rapid.Bool().Draw(t, "free") {
				i := rapid.IntRange(0, len(taken)-1).Draw(t, "which")
				taken = slices.Delete(taken, i, i+1)
				continue
			}
			bits := rapid.IntRange(25, 32).Draw(t, "bits")
			got, ok := ipam.Carve(whole, taken, bits)
			if !ok {
				for ip := netip.MustParseAddr("10.0.0.0"); ip.Less(netip.MustParseAddr("10.0.2.0")); ip = ip.Next() {
					b := netip.PrefixFrom(ip, bits)
					if b == b.Masked() && ipam.Covered(whole, []netip.Prefix{b}) && !ipam.Overlapping(taken, []netip.Prefix{b}) {
						t.Fatalf("no /%d was found beside %v, but %v is free", bits, taken, b)
					}
				}
				continue
			}
			if got != got.Masked() || got.Bits() != bits || !ipam.Covered(whole, []netip.Prefix{got}) ||
				ipam.Overlapping(taken, []netip.Prefix{got}) {
				t.Fatalf("%v was carved out of %v beside %v", got, whole, taken)
			}
			taken = append(taken, got)
		}
	})
}
