package ruleset

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Family is the address family of a table.
type Family uint8

// The families that are used, of linux/netfilter.h.
const (
	INet   Family = unix.NFPROTO_INET
	ARP    Family = unix.NFPROTO_ARP
	Bridge Family = unix.NFPROTO_BRIDGE
)

func (f Family) String() string {
	switch f {
	case INet:
		return "inet"
	case ARP:
		return "arp"
	case Bridge:
		return "bridge"
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// Base says that packets enter a chain by itself; its policy is to accept, so that nobody else's traffic depends on it.
type Base struct {
	// Hook is NF_INET_PRE_ROUTING (0), NF_INET_FORWARD (2) …; those of the bridge family have the same numbers.
	Hook uint32
	// Priority orders the chains of a hook: lower ones come first.
	Priority int32
}

// The hooks, of linux/netfilter.h.
const (
	Prerouting  = unix.NF_INET_PRE_ROUTING
	Forward     = unix.NF_INET_FORWARD
	Postrouting = unix.NF_INET_POST_ROUTING
	ARPOutput   = 1 // NF_ARP_OUT
)

// Chain is a list of rules.
type Chain struct {
	// Base is nil for a chain that is only jumped to.
	Base  *Base
	Rules []Rule
	// AnyOrder says that the order of the rules does not matter, as where all of them accept: then one rule comes and
	// goes, and the others keep their place and their counters.
	AnyOrder bool
	// Vouches says that the rules tell of a packet that all other chains have let it pass. They are written when those are in
	// place and the packets that had passed before, when there was nothing to stop them, are through.
	Vouches bool
}

// Rule is what a packet is asked, and what becomes of it.
type Rule struct {
	comment string
	body    []byte
}

// maxLabel bounds labels: the comment of a rule has 128 bytes at most.
const maxLabel = 100

// NewRule makes a rule of expressions. The label says what it is for, in at most 100 bytes; it need not be unique.
func NewRule(label string, exprs ...Expr) Rule {
	body := slices.Concat(exprs...)
	hash := fnv.New64a()
	hash.Write(body)
	if len(label) > maxLabel {
		label = label[:maxLabel]
	}
	return Rule{comment: label + " #" + hex.EncodeToString(hash.Sum(nil)), body: body}
}

// Comment is the label and the hash of the expressions: what the rule is known by.
func (r Rule) Comment() string { return r.comment }

// Field is a part of the key of a set, as nft numbers its data types (datatype.h), which it needs to show elements.
type Field struct{ number, length int }

// The fields of keys, with their lengths in bytes.
var (
	DeviceName  = Field{41, unix.IFNAMSIZ}
	DeviceIndex = Field{20, 4}
	MAC         = Field{9, 6}
	IPv4        = Field{7, 4}
	IPv6        = Field{8, 16}
	Upper       = Field{12, 1} // the number of the upper layer's protocol
	Ports       = Field{4, 4}  // its first four bytes
)

// padded is the room that the field takes in a key of several.
func (f Field) padded() int { return (f.length + 3) &^ 3 }

// Holds is what a set holds for each key.
type Holds int

// What sets hold.
const (
	Nothing Holds = iota // it is a set, not a map
	Verdicts
	Zones    // zones of connection tracking
	Marks    // marks of packets
	Counters // one for each key; packets add the keys (see CountIn), which go away after the timeout
	Visits   // nothing; packets add the keys (see Remember), which go away after the timeout
	Limits   // names of limits (see WantLimit)
)

// byPackets says that packets add the elements.
func (h Holds) byPackets() bool { return h == Counters || h == Visits }

// Set is the declaration of a set or map.
type Set struct {
	Key   []Field
	Holds Holds
	// Intervals: elements are ranges of keys, which must not overlap; in a key of one field they must not touch, either.
	Intervals bool
	// Timeout is after how long an element that no packet has asked for is dropped; 0: never.
	Timeout time.Duration
	// Size bounds the number of elements; 0: as many as memory allows.
	Size uint32
}

func (s Set) keyLength() int {
	if len(s.Key) == 1 {
		return s.Key[0].length
	}
	n := 0
	for _, f := range s.Key {
		n += f.padded()
	}
	return n
}

func (s Set) keyType() uint32 {
	var n uint32
	for _, f := range s.Key {
		n = n<<6 | uint32(f.number)
	}
	return n
}

// Element is the key of an element: one key, or all from the first to the last one in a set of intervals.
type Element struct{ First, Last string }

// Key joins the fields of a key, each padded as the kernel wants it.
func Key(fields ...[]byte) string {
	if len(fields) == 1 {
		return string(fields[0])
	}
	var key []byte
	for _, f := range fields {
		key = append(key, f...)
		key = append(key, make([]byte, -len(f)&3)...)
	}
	return string(key)
}

// Device is the key field of a device's name.
func Device(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// Index is the key field of a device's index.
func Index(n int) []byte { return Native(uint32(n)) }

// Value is what a map holds for an element; the zero Value in a set.
type Value struct {
	// Verdict is one of the verdicts below, in a map of verdicts.
	Verdict Verdict
	// Zone is a zone of connection tracking, in a map of zones.
	Zone uint16
	// Mark is a mark of packets, in a map of marks.
	Mark uint32
	// Limit is the name of a limit, in a map of limits.
	Limit string
}

// Verdict ends the way of a packet through a chain.
type Verdict struct {
	code  int32
	chain string
}

// The verdicts, of linux/netfilter/nf_tables.h.
var (
	Accept = Verdict{code: 1}
	Drop   = Verdict{code: 0}
	Return = Verdict{code: unix.NFT_RETURN}
)

// Jump goes to a chain, and comes back where that ends.
func Jump(chain string) Verdict { return Verdict{unix.NFT_JUMP, chain} }

// Goto goes to a chain and does not come back.
func Goto(chain string) Verdict { return Verdict{unix.NFT_GOTO, chain} }

// Chain is where a Jump or Goto leads; empty for others.
func (v Verdict) Chain() string { return v.chain }
