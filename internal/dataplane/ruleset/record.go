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

// WantLimit declares a limit. What a name says never changes: another limit has another name.
func (t *Table) WantLimit(name string, l Limit) { t.limits[name] = l }

// DropLimit removes a limit; no wanted element may name it.
func (t *Table) DropLimit(name string) { delete(t.limits, name) }

// Within matches as long as the limit that the map has for the key that begins in the register is kept. It does not match
// where there is none.
func Within(limits string, key Register) Expr {
	return expression("objref", func(b *buffer) {
		b.u32(unix.NFTA_OBJREF_SET_SREG, uint32(key))
		b.text(unix.NFTA_OBJREF_SET_NAME, limits)
	})
}

func (t *Table) newLimit(name string, l Limit) message {
	return t.message(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE, name, func(b *buffer) {
		t.nameLimit(b, name)
		b.nest(unix.NFTA_OBJ_DATA, func() {
			b.u64(unix.NFTA_LIMIT_RATE, l.PerSecond)
			b.u64(unix.NFTA_LIMIT_UNIT, 1) // a second
			b.u32(unix.NFTA_LIMIT_BURST, l.Burst)
			b.u32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
		})
	})
}

func (t *Table) delLimit(name string) message {
	return t.message(unix.NFT_MSG_DELOBJ, 0, name, func(b *buffer) { t.nameLimit(b, name) })
}

func (t *Table) nameLimit(b *buffer, name string) {
	b.text(unix.NFTA_OBJ_TABLE, t.name)
	b.text(unix.NFTA_OBJ_NAME, name)
	b.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_LIMIT)
}

func (t *Table) readLimits(a *actual) error {
	request := t.named(unix.NFTA_OBJ_TABLE)
	request.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_LIMIT)
	return t.conn.dump(unix.NFT_MSG_GETOBJ, t.family, request, func() { clear(a.limits) }, func(b []byte) {
		if text(find(b, unix.NFTA_OBJ_TABLE)) == t.name && number(find(b, unix.NFTA_OBJ_TYPE)) == unix.NFT_OBJECT_LIMIT {
			a.limits[text(find(b, unix.NFTA_OBJ_NAME))] = true
		}
	})
}

// newLimits adds those that are missing. There are few of them, so all are looked at.
func (p *plan) newLimits() {
	for name, l := range p.limits {
		if !p.have.limits[name] && p.refused[name] == nil {
			p.add(p.newLimit(name, l))
			p.changes++
			p.then(func() { p.have.limits[name] = true })
		}
	}
}

func (p *plan) removeLimits() {
	for name := range p.have.limits {
		if _, wanted := p.limits[name]; !wanted && p.refused[name] == nil {
			p.add(p.delLimit(name))
			p.changes++
			p.then(func() { delete(p.have.limits, name) })
		}
	}
}
