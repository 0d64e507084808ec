package ruleset

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Expr is an expression of a rule, or several of them, as the kernel reads them. A rule goes through its expressions from
// left to right; the first that does not match ends it.
type Expr []byte

// Register is a place where expressions leave values for those after them; it has four bytes, and what is longer goes on
// in the next ones. A key of several fields is loaded side by side.
type Register uint32

// R is the n-th register, from 0 to 15.
func R(n int) Register { return Register(unix.NFT_REG32_00 + n) }

// Header is where the offsets of a payload begin.
type Header uint32

// The headers of a packet. Transport is behind the extension headers of IPv6.
const (
	Link      Header = unix.NFT_PAYLOAD_LL_HEADER
	Network   Header = unix.NFT_PAYLOAD_NETWORK_HEADER
	Transport Header = unix.NFT_PAYLOAD_TRANSPORT_HEADER
)

// Meta is something that is known of a packet without reading it.
type Meta uint32

// What can be asked of a packet.
const (
	InDevice  Meta = unix.NFT_META_IIFNAME
	OutDevice Meta = unix.NFT_META_OIFNAME
	InIndex   Meta = unix.NFT_META_IIF
	OutIndex  Meta = unix.NFT_META_OIF
	EtherType Meta = unix.NFT_META_PROTOCOL // behind a VLAN tag, if there is one
	Protocol  Meta = unix.NFT_META_L4PROTO  // of the upper layer
	Mark      Meta = unix.NFT_META_MARK
)

func expression(name string, build func(b *buffer)) Expr {
	var b buffer
	b.nest(unix.NFTA_LIST_ELEM, func() {
		b.text(unix.NFTA_EXPR_NAME, name)
		b.nest(unix.NFTA_EXPR_DATA, func() { build(&b) })
	})
	return Expr(b)
}

// Load puts a fact about the packet into a register.
func Load(to Register, what Meta) Expr {
	return expression("meta", func(b *buffer) {
		b.u32(unix.NFTA_META_KEY, uint32(what))
		b.u32(unix.NFTA_META_DREG, uint32(to))
	})
}

// SetMark makes the content of a register the mark of the packet.
func SetMark(from Register) Expr {
	return expression("meta", func(b *buffer) {
		b.u32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
		b.u32(unix.NFTA_META_SREG, uint32(from))
	})
}

// LoadState puts the state of the packet's connection into a register: one bit, in the byte order of the machine.
func LoadState(to Register) Expr {
	return expression("ct", func(b *buffer) {
		b.u32(unix.NFTA_CT_KEY, unix.NFT_CT_STATE)
		b.u32(unix.NFTA_CT_DREG, uint32(to))
	})
}

// LoadConnMark puts the mark of the packet's connection into a register.
func LoadConnMark(to Register) Expr {
	return expression("ct", func(b *buffer) {
		b.u32(unix.NFTA_CT_KEY, unix.NFT_CT_MARK)
		b.u32(unix.NFTA_CT_DREG, uint32(to))
	})
}

// The states of connections, of linux/netfilter/nf_conntrack_common.h.
const (
	StateEstablished uint32 = 1 << 1
	StateRelated     uint32 = 1 << 2
)

// SetZone has the packet tracked in the zone that a register holds.
func SetZone(from Register) Expr {
	return expression("ct", func(b *buffer) {
		b.u32(unix.NFTA_CT_KEY, unix.NFT_CT_ZONE)
		b.u32(unix.NFTA_CT_SREG, uint32(from))
	})
}

// Read puts bytes of the packet into a register. It does not match where the packet is too short, or is a fragment
// without that header.
func Read(to Register, from Header, offset, length int) Expr {
	return expression("payload", func(b *buffer) {
		b.u32(unix.NFTA_PAYLOAD_DREG, uint32(to))
		b.u32(unix.NFTA_PAYLOAD_BASE, uint32(from))
		b.u32(unix.NFTA_PAYLOAD_OFFSET, uint32(offset))
		b.u32(unix.NFTA_PAYLOAD_LEN, uint32(length))
	})
}

func compare(op uint32, register Register, value []byte) Expr {
	return expression("cmp", func(b *buffer) {
		b.u32(unix.NFTA_CMP_SREG, uint32(register))
		b.u32(unix.NFTA_CMP_OP, op)
		b.nest(unix.NFTA_CMP_DATA, func() { b.bytes(unix.NFTA_DATA_VALUE, value) })
	})
}

// Equal matches if the register begins with the value.
func Equal(register Register, value ...byte) Expr { return compare(unix.NFT_CMP_EQ, register, value) }

// Differs matches if the register does not begin with the value.
func Differs(register Register, value ...byte) Expr {
	return compare(unix.NFT_CMP_NEQ, register, value)
}

// Between matches if the register, in network byte order, is not below the first and not above the last.
func Between(register Register, first, last uint16) Expr {
	return append(compare(unix.NFT_CMP_GTE, register, be16(first)), compare(unix.NFT_CMP_LTE, register, be16(last))...)
}

// And masks a register in place.
func And(register Register, mask []byte) Expr {
	return expression("bitwise", func(b *buffer) {
		b.u32(unix.NFTA_BITWISE_SREG, uint32(register))
		b.u32(unix.NFTA_BITWISE_DREG, uint32(register))
		b.u32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		b.nest(unix.NFTA_BITWISE_MASK, func() { b.bytes(unix.NFTA_DATA_VALUE, mask) })
		b.nest(unix.NFTA_BITWISE_XOR, func() { b.bytes(unix.NFTA_DATA_VALUE, make([]byte, len(mask))) })
	})
}

// In matches if the set has the key that begins in the register.
func In(set string, key Register) Expr { return lookup(set, key, nil) }

// NotIn matches if the set has not got the key.
func NotIn(set string, key Register) Expr {
	return lookup(set, key, func(b *buffer) { b.u32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV) })
}

// Map puts what the map has for the key into a register; it does not match where there is nothing.
func Map(name string, key, to Register) Expr {
	return lookup(name, key, func(b *buffer) { b.u32(unix.NFTA_LOOKUP_DREG, uint32(to)) })
}

// Go follows the verdict that the map has for the key; it does not match where there is none.
func Go(name string, key Register) Expr {
	return lookup(name, key, func(b *buffer) { b.u32(unix.NFTA_LOOKUP_DREG, unix.NFT_REG_VERDICT) })
}

func lookup(set string, key Register, more func(b *buffer)) Expr {
	return expression("lookup", func(b *buffer) {
		b.text(unix.NFTA_LOOKUP_SET, set)
		b.u32(unix.NFTA_LOOKUP_SREG, uint32(key))
		if more != nil {
			more(b)
		}
	})
}

// Put writes a value into a register.
func Put(to Register, value ...byte) Expr {
	return expression("immediate", func(b *buffer) {
		b.u32(unix.NFTA_IMMEDIATE_DREG, uint32(to))
		b.nest(unix.NFTA_IMMEDIATE_DATA, func() { b.bytes(unix.NFTA_DATA_VALUE, value) })
	})
}

// Then ends the rule with a verdict.
func Then(v Verdict) Expr {
	return expression("immediate", func(b *buffer) {
		b.u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		b.nest(unix.NFTA_IMMEDIATE_DATA, func() { b.verdict(v) })
	})
}

// Count counts packets and bytes.
func Count() Expr {
	return expression("counter", func(b *buffer) {})
}

// CountIn counts packets and bytes in a set of counters, under the key that begins in the register.
func CountIn(set string, key Register) Expr {
	return dynamic(set, key, "counter", func(*buffer) {})
}

// Remember adds the key that begins in the register to a set of visits, or has its time begin anew. It does not match
// where there is no room.
func Remember(set string, key Register) Expr { return dynamic(set, key, "", nil) }

// dynamic adds the key to a set, unless it is there, and evaluates the expression that it has there, if any.
func dynamic(set string, key Register, name string, build func(b *buffer)) Expr {
	return expression("dynset", func(b *buffer) {
		b.text(unix.NFTA_DYNSET_SET_NAME, set)
		b.u32(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_UPDATE)
		b.u32(unix.NFTA_DYNSET_SREG_KEY, uint32(key))
		if name == "" {
			return
		}
		b.nest(unix.NFTA_DYNSET_EXPR, func() {
			b.text(unix.NFTA_EXPR_NAME, name)
			b.nest(unix.NFTA_EXPR_DATA, func() { build(b) })
		})
	})
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// Native is a number of four bytes as the machine orders them, as marks and states are.
func Native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
