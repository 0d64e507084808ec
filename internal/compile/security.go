package compile

import (
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Security groups. A host has a security-group document for each group that a filtered port of it has, and the members
// of each set that a rule of these groups refers to, one document a member: nothing is multiplied, neither rules by
// ports nor rules by members. Whether a host wants a set is asked of two indexes: which groups have rules that refer to
// it, and whether ports of the host have one of these groups.

// Document keys of set members are "set-member/<set>/<member>".
const (
	kindSecurityGroup = "security-group"
	kindSetMember     = "set-member"
)

// The prefixes of the names of sets, as model.GroupSet and model.AddressSet make them.
var (
	groupSetPrefix   = model.GroupSet("")
	addressSetPrefix = model.AddressSet("")
)

// filters fills in what is filtered of the port, and by what.
func filters(doc *sb.Port, p *model.Port) {
	doc.PortSecurity = p.PortSecurityEnabled
	doc.SecurityGroups = slices.Compact(slices.Sorted(slices.Values(p.SecurityGroupIDs)))
	for _, pair := range p.AllowedAddressPairs {
		doc.AddressPairs = append(doc.AddressPairs, &sb.AddressPair{Mac: pair.MAC, Prefix: pair.IP.Masked().String()})
	}
}

// securityGroup: a filtered port of the host has the group.
func securityGroup(r state.Reader, host, id string) *sb.SecurityGroup {
	g, ok := state.SecurityGroups.Get(r, id)
	if !ok || !hostHasGroup(r, host, id) {
		return nil
	}
	doc := &sb.SecurityGroup{GroupId: id, Stateful: g.Stateful}
	for rule := range state.SecurityGroupRulesByGroup.List(r, id) {
		if compiled := securityGroupRule(rule); compiled != nil {
			doc.Rules = append(doc.Rules, compiled)
		}
	}
	return doc
}

// Protocol numbers (IANA) that a rule treats in its own way.
const (
	protoICMP   = 1
	protoICMPv6 = 58
)

// portProtocols are the protocols whose destination ports a rule may bound: TCP, UDP, DCCP, SCTP, UDP-Lite.
var portProtocols = []uint32{6, 17, 33, 132, 136}

// securityGroupRule is nil for a rule that says nothing sensible, which the API lets nobody store: then it allows
// nothing, rather than more than was meant.
func securityGroupRule(rule *model.SecurityGroupRule) *sb.SecurityGroupRule {
	doc := &sb.SecurityGroupRule{RuleId: rule.ID, Egress: rule.Direction == model.Egress, IpVersion: 4}
	if rule.EtherType == model.IPv6 {
		doc.IpVersion = 6
	}
	if rule.Protocol != "" {
		number, ok := model.ProtocolNumber(rule.Protocol)
		if !ok {
			return nil
		}
		doc.Protocol = ruleProtocol(unsigned(number), doc.IpVersion)
	}
	if (rule.PortMin != nil || rule.PortMax != nil) && !rulePorts(doc, rule) {
		return nil
	}
	if p := rule.RemotePrefix; p.IsValid() {
		if p.Addr().Is4() != (doc.IpVersion == 4) {
			return nil
		}
		if p.Bits() > 0 { // else from everywhere: no condition
			doc.RemotePrefix = p.Masked().String()
		}
	}
	doc.RemoteSet = rule.RemoteSet()
	return doc
}

// ruleProtocol is the protocol that is matched. 0 (ip, hopopt) means any, as in Neutron; ICMP of IPv6 is ICMPv6 by
// whatever number it was asked for.
func ruleProtocol(number, ipVersion uint32) *uint32 {
	switch {
	case number == 0:
		return nil
	case number == protoICMP && ipVersion == 6:
		number = protoICMPv6
	}
	return &number
}

// rulePorts sets the range of ports, or the type and code of ICMP. It is not ok where they make no sense.
func rulePorts(doc *sb.SecurityGroupRule, rule *model.SecurityGroupRule) (ok bool) {
	protocol, limit := doc.GetProtocol(), 65535
	icmp := protocol == protoICMP || protocol == protoICMPv6
	switch {
	case icmp:
		limit = 255
	case !slices.Contains(portProtocols, protocol):
		return false
	case rule.PortMin == nil || rule.PortMax == nil || *rule.PortMin > *rule.PortMax:
		return false
	}
	if rule.PortMin == nil { // a code without a type
		return false
	}
	for _, end := range []struct {
		from *int
		into **uint32
	}{{rule.PortMin, &doc.PortMin}, {rule.PortMax, &doc.PortMax}} {
		if end.from == nil {
			continue
		}
		if *end.from < 0 || *end.from > limit {
			return false
		}
		value := unsigned(*end.from)
		*end.into = &value
	}
	return true
}

// setMember: a rule of a group that a filtered port of the host has refers to the set. id is "<set>/<member>".
func setMember(r state.Reader, host, id string) *sb.SetMember {
	set, member, _ := strings.Cut(id, "/")
	doc := &sb.SetMember{Set: set, Member: member, Prefixes: memberPrefixes(r, set, member)}
	if len(doc.Prefixes) == 0 || !hostWantsSet(r, host, set) {
		return nil
	}
	return doc
}

// memberPrefixes are the blocks that a member brings into a set; none where it is not in the set. A port with the group
// brings its fixed addresses and the blocks of its pairs, one without fixed addresses nothing: so Neutron counts them.
func memberPrefixes(r state.Reader, set, member string) []string {
	if id, ok := strings.CutPrefix(set, addressSetPrefix); ok {
		g, exists := state.AddressGroups.Get(r, id)
		block, err := netip.ParsePrefix(member)
		if !exists || err != nil || block.String() != member {
			return nil
		}
		if _, found := slices.BinarySearchFunc(g.Addresses, block, netip.Prefix.Compare); !found {
			return nil
		}
		return []string{member}
	}
	id, ok := strings.CutPrefix(set, groupSetPrefix)
	p, exists := state.Ports.Get(r, member)
	if !ok || !exists || len(p.FixedIPs) == 0 || !slices.Contains(p.SecurityGroupIDs, id) {
		return nil
	}
	blocks := make([]netip.Prefix, 0, len(p.FixedIPs)+len(p.AllowedAddressPairs))
	for _, f := range p.FixedIPs {
		blocks = append(blocks, netip.PrefixFrom(f.IP, f.IP.BitLen()))
	}
	for _, pair := range p.AllowedAddressPairs {
		blocks = append(blocks, pair.IP.Masked())
	}
	slices.SortFunc(blocks, netip.Prefix.Compare)
	texts := make([]string, 0, len(blocks))
	for _, block := range slices.Compact(blocks) {
		texts = append(texts, block.String())
	}
	return texts
}

// setMembers iterates over the members that the set has, or may have.
func setMembers(r state.Reader, set string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if id, ok := strings.CutPrefix(set, groupSetPrefix); ok {
			for p := range state.PortsBySecurityGroup.List(r, id) {
				if !yield(p.ID) {
					return
				}
			}
			return
		}
		g, ok := state.AddressGroups.Get(r, strings.TrimPrefix(set, addressSetPrefix))
		if !ok {
			return
		}
		for _, block := range g.Addresses {
			if !yield(block.String()) {
				return
			}
		}
	}
}

// hostHasGroup says whether a filtered port of the host has the group.
func hostHasGroup(r state.Reader, host, groupID string) bool {
	return state.PortsBySecurityGroupHost.Has(r, groupID+"/"+host)
}

// groupHosts iterates over the hosts with a filtered port that has the group, each once.
func groupHosts(r state.Reader, groupID string) iter.Seq[string] {
	return state.PortsBySecurityGroupHost.Parts(r, groupID+"/")
}

// hostWantsSet says whether a rule of any group that the host has refers to the set.
func hostWantsSet(r state.Reader, host, set string) bool {
	for groupID := range state.SecurityGroupRulesByRemoteSet.Parts(r, set+"/") {
		if hostHasGroup(r, host, groupID) {
			return true
		}
	}
	return false
}

// setHosts are the hosts that want the set.
func setHosts(r state.Reader, set string) map[string]bool {
	hosts := map[string]bool{}
	for groupID := range state.SecurityGroupRulesByRemoteSet.Parts(r, set+"/") {
		for host := range groupHosts(r, groupID) {
			hosts[host] = true
		}
	}
	return hosts
}

// securityKeys yields the keys of the groups that the host has, and of the members of the sets that it wants. It
// returns false when yield does.
func securityKeys(r state.Reader, host string, yield func(string) bool) bool {
	groups, sets := map[string]bool{}, map[string]bool{}
	for p := range state.PortsByHost.List(r, host) {
		if !p.Filtered() {
			continue
		}
		for _, id := range p.SecurityGroupIDs {
			if groups[id] {
				continue
			}
			groups[id] = true
			if !yield(kindSecurityGroup + "/" + id) {
				return false
			}
			for set := range groupSets(r, id) {
				sets[set] = true
			}
		}
	}
	for set := range sets {
		for member := range setMembers(r, set) {
			if !yield(kindSetMember + "/" + set + "/" + member) {
				return false
			}
		}
	}
	return true
}

// groupSets iterates over the sets that the rules of the group refer to; one may come several times.
func groupSets(r state.Reader, groupID string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rule := range state.SecurityGroupRulesByGroup.List(r, groupID) {
			if set := rule.RemoteSet(); set != "" && !yield(set) {
				return
			}
		}
	}
}
