package keepalived

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func unicast() Group {
	return Group{
		ID: 7, Interface: "eth0", Source: netip.MustParseAddr("192.0.2.1"),
		Peers:    []netip.Addr{netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("192.0.2.2")},
		Priority: 102, Bonus: 40, Interval: 200 * time.Millisecond,
		Tracked: []Tracked{{"eth1", 200}, {"br-ex", 100}},
	}
}

func multicast() Group { return Group{ID: 200, Interface: "eth0", Priority: 1, Interval: time.Second} }

func TestRenderGolden(t *testing.T) {
	groups := []Group{multicast(), unicast()}
	got := render("/var/lib/neutrino/keepalived", groups)
	path := filepath.Join("testdata", "groups.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
	}
	slices.Reverse(groups)
	slices.Reverse(groups[0].Peers)
	slices.Reverse(groups[0].Tracked)
	groups[0].Bonus++
	if diff := cmp.Diff(string(got), string(render("/var/lib/neutrino/keepalived", groups))); diff != "" {
		t.Errorf("another order or bonus gives another file: keepalived would be reloaded for nothing\n%s", diff)
	}
}

func TestKeepalivedAcceptsWhatIsRendered(t *testing.T) {
	dir := t.TempDir()
	groups := []Group{multicast(), unicast()}
	for _, g := range groups {
		if err := os.WriteFile(filepath.Join(dir, bonusFile(g.ID)), []byte("0\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		conf []byte
		good bool
	}{
		{"rendered", render(dir, groups), true},
		{"broken", append(render(dir, groups), "vrrp_instance x {\n"...), false},
	} {
		if err := os.WriteFile(filepath.Join(dir, c.name), c.conf, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := check(t.Context(), "keepalived", dir, c.name); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestValuesThatKeepalivedCannotBeGivenAreRefused(t *testing.T) {
	for _, c := range []struct {
		field  string
		change func(g *Group)
	}{
		{"id", func(g *Group) { g.ID = 0 }},
		{"interface", func(g *Group) { g.Interface = "" }},
		{"interface", func(g *Group) { g.Interface = "lo" }},
		{"interface", func(g *Group) { g.Interface = "eth0\n}" }},
		{"interface", func(g *Group) { g.Interface = "sixteen-characte" }},
		{"priority", func(g *Group) { g.Priority = 0 }},
		{"priority", func(g *Group) { g.Priority = 255 }},
		{"interval", func(g *Group) { g.Interval = 0 }},
		{"interval", func(g *Group) { g.Interval = 15 * time.Millisecond }},
		{"interval", func(g *Group) { g.Interval = 41 * time.Second }},
		{"peers", func(g *Group) { g.Source = netip.Addr{} }},
		{"peers", func(g *Group) { g.Peers[0] = g.Source }},
		{"peers", func(g *Group) { g.Peers[0] = netip.MustParseAddr("2001:db8::1") }},
		{"peers", func(g *Group) { g.Source, g.Peers = netip.MustParseAddr("fe80::1%eth0"), nil }},
		{"tracked", func(g *Group) { g.Tracked[0].Penalty = 0 }},
		{"tracked", func(g *Group) { g.Tracked[0].Interface = "eth1 weight 5" }},
		{"tracked", func(g *Group) { g.Tracked[1] = g.Tracked[0] }},
	} {
		g := unicast()
		c.change(&g)
		var field *FieldError
		if err := g.Validate(); !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%+v: got %v, want an error about %s", g, err, c.field)
		}
	}
	if err := unicast().Validate(); err != nil {
		t.Error(err)
	}
}
