package conntrack_test

import (
	"net/netip"
	"testing"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// TestEachNamespaceHasItsConnections: the kernel has one table for all of them.
func TestEachNamespaceHasItsConnections(t *testing.T) {
	open := func(name string) *conntrack.Table {
		h := testkit.NewHost(t, name)
		h.Run("nft", "add table inet x; add chain inet x y { type filter hook prerouting priority 0; ct state new accept; }")
		table, err := conntrack.Open(h.NS)
		h.Check(err)
		t.Cleanup(table.Close)
		return table
	}
	a, b := open("a"), open("b")
	from, to := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	for port := range uint16(3) {
		flow := conntrack.Flow{
			Original: conntrack.Tuple{Source: from, Destination: to, Protocol: 17, SourcePort: 1000 + port, DestinationPort: 53},
			Reply:    conntrack.Tuple{Source: to, Destination: from, Protocol: 17, SourcePort: 53, DestinationPort: 1000 + port},
			Timeout:  60,
		}
		if err := a.Insert(flow); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		table *conntrack.Table
		want  int
	}{{a, 3}, {b, 0}} {
		n, err := c.table.Count()
		if err != nil || n != c.want {
			t.Errorf("%d connections are counted (%v), want %d", n, err, c.want)
		}
		found := 0
		if err := c.table.Flows(func(conntrack.Flow) { found++ }); err != nil || found != c.want {
			t.Errorf("%d connections are read (%v), want %d", found, err, c.want)
		}
	}
}
