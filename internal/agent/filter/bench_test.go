package filter_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// within reports a figure, and fails when it is not below its budget.
func within(b *testing.B, name string, value, budget float64) {
	b.Helper()
	b.ReportMetric(value, name)
	if value >= budget {
		b.Errorf("%s is %.3f; the budget is %.3f", name, value, budget)
	}
}

// atLeast reports a share, and fails when it is below what is promised.
func atLeast(b *testing.B, name string, value, promised float64) {
	b.Helper()
	b.ReportMetric(value, name)
	if value < promised {
		b.Errorf("%s is %.3f; at least %.3f is promised", name, value, promised)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// realistic is a group as people make them: out everywhere, in by some ports, from each other and from a block.
func realistic(n int) *sb.Document {
	id := fmt.Sprintf("group-%d", n)
	rules := []*sb.SecurityGroupRule{
		egress(4), egress(6), ingress(4, icmp), ingress(6, icmpv6), ingress(4, tcp, 22), ingress(4, tcp, 443),
		ingress(4, udpNumber, 5000, 5100), {IpVersion: 4, RemoteSet: "group:" + id}, {IpVersion: 6, RemoteSet: "group:" + id},
		{IpVersion: 4, RemotePrefix: "192.0.2.0/24"},
	}
	return groupDocument(id, rules...)
}

// ports documents with three of the groups each, which have as many members.
func manyPorts(ports, groups int) (all []*sb.Document) {
	for n := range groups {
		all = append(all, realistic(n))
	}
	for n := 1; n <= ports; n++ {
		mine := []string{}
		for i := range 3 {
			group := fmt.Sprintf("group-%d", (n+i*7)%groups)
			mine = append(mine, group)
			all = append(all, memberDocument("group:"+group, portID(n), ip4(n)+"/32", ip6(n)+"/128"))
		}
		all = append(all, portDocument(port(networkA, n, mine...)))
	}
	return all
}

// timed reconciles what is there with the documents added, and says how long the part took, in seconds.
func (l *lab) timed(documents ...*sb.Document) float64 {
	l.t.Helper()
	if l.revision++; l.view == nil {
		l.view = agent.NewView(0)
	}
	l.view = l.view.Next(l.revision, documents, nil)
	start := time.Now()
	statuses, err := l.part.Reconcile(l.t.Context(), l.view)
	took := time.Since(start).Seconds()
	l.Check(err)
	for _, s := range statuses {
		if s.State != sb.ObjectStatus_STATE_DONE {
			l.t.Fatalf("%s: %s", s.Key, s.Reason)
		}
	}
	return took
}

// BenchmarkProgramming: 1,000 ports with 3 groups each from nothing in under 3 s, found again by a restarted agent with 0
// changes; a rule more in a group that all of them have in under 50 ms.
func BenchmarkProgramming(b *testing.B) {
	const ports, groups = 1000, 50
	var fromNothing, restart, rule, narrower []float64
	for b.Loop() {
		l := newLab(b, networkA)
		documents := manyPorts(ports, groups)
		shared := open("shared")
		for _, d := range documents {
			if p := d.GetPort(); p != nil {
				p.SecurityGroups[0] = "shared"
			}
		}
		fromNothing = append(fromNothing, l.timed(append(documents, shared)...))
		for i := range 5 {
			rule = append(rule, 1000*l.timed(open("shared", ingress(4, tcp, uint32(1000+i)))))
		}
		narrower = append(narrower, 1000*l.timed(open("shared")))
		l.part.Close()
		l.start()
		restart = append(restart, l.timed())
		if n := l.part.Changes(); n != 0 {
			b.Errorf("%d changes when the agent starts again", n)
		}
	}
	within(b, "from-nothing-s", median(fromNothing), 3)
	within(b, "one-rule-ms", median(rule), 50)
	b.ReportMetric(median(narrower), "one-rule-less-ms")
	b.ReportMetric(median(restart), "restart-s")
}

// BenchmarkOneMember: an address more in a group with 10,000 members, in under 10 ms.
func BenchmarkOneMember(b *testing.B) {
	const members = 10000
	l := newLab(b, networkA)
	documents := []*sb.Document{
		open("default", &sb.SecurityGroupRule{IpVersion: 4, RemoteSet: "group:big"}), portDocument(port(networkA, 1, "default")),
	}
	for n := range members {
		documents = append(documents, memberDocument("group:big", portID(n), ip4(n)+"/32", ip6(n)+"/128"))
	}
	b.ReportMetric(l.timed(documents...), "from-nothing-s")
	var took []float64
	n := members
	for b.Loop() {
		n++
		took = append(took, 1000*l.timed(memberDocument("group:big", portID(n), ip4(n)+"/32", ip6(n)+"/128")))
		if l.part.Changes() != 2 {
			b.Fatalf("%d changes", l.part.Changes())
		}
	}
	within(b, "one-member-ms", median(took), 10)
}

// BenchmarkLargePolicies has no bounds but those of patience: 10,000 blocks as members, 500 rules in a group, 1,000 groups.
func BenchmarkLargePolicies(b *testing.B) {
	blocks := func() (all []*sb.Document) {
		for n := range 10000 {
			block := fmt.Sprintf("10.%d.%d.0/25", n>>8, n&255)
			all = append(all, memberDocument("addresses:list", fmt.Sprintf("m-%d", n), block, fmt.Sprintf("fd00:%x::/48", n)))
		}
		return append(all, open("default", &sb.SecurityGroupRule{IpVersion: 4, RemoteSet: "addresses:list"},
			&sb.SecurityGroupRule{IpVersion: 6, RemoteSet: "addresses:list"}))
	}
	rules := func() []*sb.Document {
		var all []*sb.SecurityGroupRule
		for n := range 500 {
			all = append(all, ingress(4, tcp, uint32(n*10), uint32(n*10+5)))
		}
		return []*sb.Document{open("default", all...)}
	}
	groups := func() (all []*sb.Document) {
		for n := range 1000 {
			all = append(all, realistic(n))
		}
		return append(all, open("default"))
	}
	for b.Loop() {
		for name, make := range map[string]func() []*sb.Document{"blocks-s": blocks, "rules-s": rules, "groups-s": groups} {
			l := newLab(b, networkA)
			documents := append(make(), portDocument(port(networkA, 1, "default")))
			within(b, name, l.timed(documents...), 10)
			l.part.Close()
			l.start()
			l.timed()
			if n := l.part.Changes(); n != 0 {
				b.Errorf("%s: %d changes when the agent starts again", name, n)
			}
		}
	}
}
