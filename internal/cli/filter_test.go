package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/agent/filter"
	"github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
)

func TestFiltersAreShownWithWhatTheyCount(t *testing.T) {
	var out bytes.Buffer
	err := printFilters(&out, filter.View{
		Port: "p", Device: "tap0", Network: "n", Zone: 7, Family: "inet", Filtered: true, Stateful: true,
		Chains: []string{"ports-egress.1", "ports-ingress.1"},
		Rules: []filter.RuleView{{
			Direction: "ingress", Group: "g", Rule: "r", Set: "group.f.ipv4", Members: 3,
			Counter: ruleset.Counter{Packets: 5, Bytes: 420},
		}},
		Firewalls: []filter.FirewallView{
			{Direction: "ingress", Group: "fg", Interface: "leg", Rule: "fr", Action: "allow", Counter: ruleset.Counter{Packets: 2, Bytes: 80}},
			{Direction: "egress", Group: "fg", Action: "drop"},
		},
		Drops: []filter.DropView{{Direction: "egress", Reason: "source-mac", Counter: ruleset.Counter{Packets: 9, Bytes: 540}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"connections in zone 7 (inet family)", "chains ports-egress.1, ports-ingress.1", "ingress r g group.f.ipv4 3 5 420",
		"egress source-mac 9 540", "ingress fr allow fg leg 2 80", "egress (all) drop fg - 0 0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	out.Reset()
	if err := printFilters(&out, filter.View{Port: "p"}); err != nil || !strings.Contains(out.String(), "not filtered") {
		t.Errorf("error %v, and:\n%s", err, &out)
	}
}
