package ruleset

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// buffer collects netlink attributes. Numbers are in network byte order, as nfnetlink has them.
type buffer []byte

// align pads to the boundary of four bytes on which each attribute begins.
func (b *buffer) align() {
	for len(*b)%4 != 0 {
		*b = append(*b, 0)
	}
}

func (b *buffer) bytes(kind int, value []byte) {
	*b = binary.NativeEndian.AppendUint16(*b, uint16(unix.SizeofNlAttr+len(value)))
	*b = binary.NativeEndian.AppendUint16(*b, uint16(kind))
	*b = append(*b, value...)
	b.align()
}

func (b *buffer) text(kind int, value string) { b.bytes(kind, append([]byte(value), 0)) }

func (b *buffer) u32(kind int, value uint32) {
	b.bytes(kind, binary.BigEndian.AppendUint32(nil, value))
}

func (b *buffer) u64(kind int, value uint64) {
	b.bytes(kind, binary.BigEndian.AppendUint64(nil, value))
}

func (b *buffer) nest(kind int, build func()) {
	start := len(*b)
	*b = append(*b, 0, 0, 0, 0)
	build()
	binary.NativeEndian.PutUint16((*b)[start:], uint16(len(*b)-start))
	binary.NativeEndian.PutUint16((*b)[start+2:], uint16(kind)|unix.NLA_F_NESTED)
}

func (b *buffer) verdict(v Verdict) {
	b.nest(unix.NFTA_DATA_VERDICT, func() {
		b.u32(unix.NFTA_VERDICT_CODE, uint32(v.code))
		if v.chain != "" {
			b.text(unix.NFTA_VERDICT_CHAIN, v.chain)
		}
	})
}

// attributes iterates over the attributes in b; what does not look like one ends it.
func attributes(b []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			kind := int(binary.NativeEndian.Uint16(b[2:]) & ^uint16(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER))
			if !yield(kind, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// find follows a path of nested attributes to a value; nil if there is none.
func find(b []byte, path ...int) []byte {
	for _, want := range path {
		var found []byte
		for kind, v := range attributes(b) {
			if kind == want {
				found = v
				break
			}
		}
		if found == nil {
			return nil
		}
		b = found
	}
	return b
}

func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func number64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
