package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// chains is the text that iptables-restore reads for one table.
type chains struct {
	table        string
	names, rules bytes.Buffer
}

func (c *chains) chain(name string) { fmt.Fprintf(&c.names, ":%s - [0:0]\n", name) }

func (c *chains) rule(format string, args ...any) { fmt.Fprintf(&c.rules, "-A "+format+"\n", args...) }

func (c *chains) String() string {
	return "*" + c.table + "\n" + c.names.String() + c.rules.String() + "COMMIT\n"
}

// neutronChains is what the iptables driver of Neutron writes for so many ports of one network on a host with bridges: the
// zone of each port in raw, then in filter two rules for each in the chain that all bridged packets go through, two more
// in the one behind it, and three chains of its own. What every packet goes through is there; left out, to the advantage
// of these chains, are the sets of remote groups, which packets of connections do not reach, and what the agent has
// ebtables do about MACs and ARP. The ports that are measured are those in the middle.
func neutronChains(ports int) string {
	const top = "neutron-linuxbri-"
	raw, filter := &chains{table: "raw"}, &chains{table: "filter"}
	raw.chain(top + "PREROUTING")
	raw.rule("PREROUTING -j %sPREROUTING", top)
	for _, name := range []string{"neutron-filter-top", top + "local", top + "FORWARD", top + "sg-chain", top + "sg-fallback"} {
		filter.chain(name)
	}
	filter.rule("FORWARD -j neutron-filter-top")
	filter.rule("FORWARD -j %sFORWARD", top)
	filter.rule("neutron-filter-top -j %slocal", top)
	filter.rule("%ssg-fallback -j DROP", top)
	names := make([]int, ports)
	for i := range names {
		names[i] = 100000 + i
	}
	names[ports/2-1], names[ports/2] = 1, 2
	for i, n := range names {
		last := names[ports-1-i] // this chain has the ports that came last first
		for _, d := range []string{"in", "out"} {
			filter.rule("%sFORWARD -m physdev --physdev-%s %s --physdev-is-bridged -m comment --comment \"Direct traffic from "+
				"the VM interface to the security group chain.\" -j %ssg-chain", top, d, device(last), top)
		}
		zone := fmt.Sprintf("-m comment --comment \"Set zone for %s\" -j CT --zone 4097", device(n)[4:])
		raw.rule("%sPREROUTING -m physdev --physdev-in %s %s", top, bridge(networkA), zone)
		raw.rule("%sPREROUTING -i %s %s", top, bridge(networkA), zone)
		raw.rule("%sPREROUTING -m physdev --physdev-in %s %s", top, device(n), zone)
		neutronPort(filter, top, n)
	}
	filter.rule("%ssg-chain -j ACCEPT", top)
	return raw.String() + filter.String()
}

// neutronPort writes the chains of a port with the groups of the benchmark.
func neutronPort(c *chains, top string, n int) {
	name := device(n)[3 : 3+10]
	in, out, spoof := top+"i"+name, top+"o"+name, top+"s"+name
	for _, chain := range []string{in, out, spoof} {
		c.chain(chain)
	}
	for _, d := range []struct{ direction, chain string }{{"out", in}, {"in", out}} {
		c.rule("%ssg-chain -m physdev --physdev-%s %s --physdev-is-bridged -m comment --comment \"Jump to the VM specific "+
			"chain.\" -j %s", top, d.direction, device(n), d.chain)
	}
	c.rule("%s -s %s/32 -m mac --mac-source %s -m comment --comment \"Allow traffic from defined IP/MAC pairs.\" -j RETURN",
		spoof, ip4(n&0xffff), mac(n&0xffff))
	c.rule("%s -m comment --comment \"Drop traffic without an IP/MAC allow rule.\" -j DROP", spoof)
	c.rule("%s -s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67 -j RETURN", out)
	c.rule("%s -j %s", out, spoof)
	c.rule("%s -p udp -m udp --sport 68 --dport 67 -j RETURN", out)
	c.rule("%s -p udp -m udp --sport 67 --dport 68 -j DROP", out)
	for _, chain := range []string{in, out} {
		c.rule("%s -m state --state RELATED,ESTABLISHED -m comment --comment \"Direct packets associated with a known session "+
			"to the RETURN chain.\" -j RETURN", chain)
	}
	c.rule("%s -j RETURN", out)
	c.rule("%s -p icmp -j RETURN", in)
	for _, port := range []int{22, 443, 5201} {
		c.rule("%s -p tcp -m tcp --dport %d -j RETURN", in, port)
	}
	c.rule("%s -p udp -m udp -m multiport --dports 5000:5201 -j RETURN", in)
	c.rule("%s -s 192.0.2.0/24 -j RETURN", in)
	for _, chain := range []string{in, out} {
		c.rule("%s -m state --state INVALID -m comment --comment \"Drop packets that appear related to an existing "+
			"connection (e.g. TCP ACK/FIN) but do not have an entry in conntrack.\" -j DROP", chain)
		c.rule("%s -m comment --comment \"Send unmatched traffic to the fallback chain.\" -j %ssg-fallback", chain, top)
	}
}

// restore has iptables put the chains in place, and says in which of its forms: the legacy one where the kernel has it,
// since that is several times as fast with such chains as the one on nftables, which is the usual one today.
func restore(b *testing.B, l *lab, text string) (form string) {
	b.Helper()
	err := errors.New("no iptables")
	for _, form = range []string{"legacy", "nft"} {
		err = netns.Do(l.NS, func() error {
			cmd := exec.Command("iptables-" + form + "-restore")
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", cmd, err, out)
			}
			return nil
		})
		if err == nil {
			break
		}
	}
	l.Check(err)
	return form
}
