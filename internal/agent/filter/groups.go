package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
)

// groupChain is the name of the chain with a group's rules of one direction.
func groupChain(id string, egress bool) string {
	if egress {
		return "egress." + id
	}
	return "ingress." + id
}

// portsChain is the name of the chain of all ports with these groups.
func portsChain(groups []string, egress, stateful bool) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%t %s", stateful, strings.Join(groups, " ")))
	direction := "ports-ingress."
	if egress {
		direction = "ports-egress."
	}
	return direction + hex.EncodeToString(sum[:8])
}

// memberSets are the names of the two sets with the addresses of a set's members: single ones, and blocks.
func memberSets(set string, v6 bool) (single, blocks string) {
	version := ".ipv4"
	if v6 {
		version = ".ipv6"
	}
	name := strings.Replace(set, ":", ".", 1) + version
	return name, name + "-blocks"
}

// chain makes the rules of one direction. Each one only lets pass, so their order does not matter. accepted is what then
// becomes of a packet.
func (g *group) chain(egress bool, accepted rs.Verdict) rs.Chain {
	c := rs.Chain{AnyOrder: true}
	for _, r := range g.rules {
		if r.egress == egress {
			c.Rules = append(c.Rules, r.compile(accepted)...)
		}
	}
	return c
}

func (r rule) compile(accepted rs.Verdict) []rs.Rule {
	match := r.match()
	make := func(remote rs.Expr, from string) rs.Rule {
		return rs.NewRule(strings.TrimSpace(r.label()+from), match, remote, rs.Count(), rs.Then(accepted))
	}
	if r.set == "" {
		return []rs.Rule{make(r.inBlock(), "")}
	}
	single, blocks := memberSets(r.set, r.v6)
	return []rs.Rule{
		make(join(r.loadRemote(), rs.In(single, first)), " @"+single),
		make(join(r.loadRemote(), rs.In(blocks, first)), " @"+blocks),
	}
}

// label begins with the id, by which the rule's counters are found again.
func (r rule) label() string { return r.id }

// match is everything but the other end.
func (r rule) match() rs.Expr {
	match := slices.Clone(isIPv4)
	if r.v6 {
		match = slices.Clone(isIPv6)
	}
	if r.protocol >= 0 {
		match = append(match, isProtocol(byte(r.protocol))...)
	}
	switch {
	case r.first >= 0 && r.first == r.last:
		match = append(match, rs.Read(first, rs.Transport, 2, 2)...)
		match = append(match, rs.Equal(first, byte(r.first>>8), byte(r.first))...)
	case r.first >= 0:
		match = append(match, rs.Read(first, rs.Transport, 2, 2)...)
		match = append(match, rs.Between(first, uint16(r.first), uint16(r.last))...)
	case r.kind >= 0:
		match = append(match, icmpType(byte(r.kind))...)
		if r.code >= 0 {
			match = append(match, rs.Read(first, rs.Transport, 1, 1)...)
			match = append(match, rs.Equal(first, byte(r.code))...)
		}
	}
	return match
}

// loadRemote loads the address of the other end.
func (r rule) loadRemote() rs.Expr {
	offset, length := r.remoteField()
	return rs.Read(first, rs.Network, offset, length)
}

func (r rule) remoteField() (offset, length int) {
	switch {
	case r.v6 && r.egress:
		return 24, 16
	case r.v6:
		return 8, 16
	case r.egress:
		return 16, 4
	}
	return 12, 4
}

// inBlock matches if the other end is in the remote prefix.
func (r rule) inBlock() rs.Expr {
	if !r.remote.IsValid() {
		return nil
	}
	offset, _ := r.remoteField()
	bits := r.remote.Bits()
	length := (bits + 7) / 8
	value := r.remote.Addr().AsSlice()[:length]
	load := rs.Read(first, rs.Network, offset, length)
	if bits%8 == 0 {
		return join(load, rs.Equal(first, value...))
	}
	mask := slices.Repeat([]byte{0xff}, length)
	mask[length-1] <<= 8 - bits%8
	return join(load, rs.And(first, mask), rs.Equal(first, value...))
}
