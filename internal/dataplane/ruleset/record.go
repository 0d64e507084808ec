package ruleset

import "golang.org/x/sys/unix"

// MaxPrefix is the greatest length of a prefix of recorded packets, in bytes (NF_LOG_PREFIXLEN, less its end).
const MaxPrefix = 127

// Log hands a copy of the packet, at most size bytes of it, to whoever reads the group of NFLOG, with the prefix. Without a
// reader it costs next to nothing.
func Log(group uint16, prefix string, size uint32) Expr {
	return expression("log", func(b *buffer) {
		b.bytes(unix.NFTA_LOG_GROUP, be16(group))
		b.text(unix.NFTA_LOG_PREFIX, prefix[:min(len(prefix), MaxPrefix)])
		b.u32(unix.NFTA_LOG_SNAPLEN, size)
	})
}

// Limit is how often something may happen: PerSecond on average, and Burst at once.
type Limit struct {
	PerSecond uint64
	Burst     uint32
}

// LimitIn matches as long as the key that begins in the register is within the limit. The key is counted in the set, which
// holds Limits; it does not match where there is no room for another key.
func LimitIn(set string, key Register, limit Limit) Expr {
	return dynamic(set, key, "limit", func(b *buffer) {
		b.u64(unix.NFTA_LIMIT_RATE, limit.PerSecond)
		b.u64(unix.NFTA_LIMIT_UNIT, 1) // a second
		b.u32(unix.NFTA_LIMIT_BURST, limit.Burst)
		b.u32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
	})
}
