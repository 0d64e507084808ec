package nft_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// rules are as nft prints them.
const rules = `
	chain input {
		type filter hook input priority -300; policy accept;
		iifname "x*" drop
	}
`

func tables() []nft.Table {
	return []nft.Table{{Family: "inet", Name: "ours", Rules: rules}, {Family: "arp", Name: "ours", Rules: rules}}
}

func fixture(t *testing.T) (*testkit.Host, *nft.Client) {
	h := testkit.NewHost(t, "nft")
	h.Run("nft", "add table inet theirs")
	return h, &nft.Client{Namespace: h.NS}
}

func TestKeeperRepairsItsTablesAndTouchesNoOther(t *testing.T) {
	h, client := fixture(t)
	var drift []string
	k := nft.NewKeeper(client, func(what string) { drift = append(drift, what) }, tables()...)
	if err := k.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	right := h.Run("nft", "list ruleset")
	if !strings.Contains(right, "table inet theirs") || strings.Count(right, `iifname "x*" drop`) != 2 {
		t.Fatalf("the first time:\n%s", right)
	}
	for _, c := range []struct{ command, drift string }{
		{"flush table inet ours", "changed"},
		{"delete table arp ours", "missing"},
		{"insert rule inet ours input accept", "changed"},
		{"add chain inet ours input { policy drop; }", "changed"},
	} {
		h.Run("nft", c.command)
		drift = nil
		for range 2 {
			if err := k.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		// A table that is written anew is listed last.
		if got := h.Run("nft", "list ruleset"); !slices.Equal(lines(got), lines(right)) || !slices.Equal(drift, []string{c.drift}) {
			t.Errorf("after %q, drift %v:\n%s", c.command, drift, got)
		}
	}
}

func lines(text string) []string { return slices.Sorted(strings.Lines(text)) }

func TestKeeperAdoptsWhatAFormerProcessWrote(t *testing.T) {
	h, client := fixture(t)
	drift := func(what string) { t.Errorf("drift: %s", what) }
	if err := nft.NewKeeper(client, drift, tables()...).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := h.Run("nft", "-a", "list ruleset") // with handles, which a table that is written anew gets anew
	if err := nft.NewKeeper(client, drift, tables()...).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := h.Run("nft", "-a", "list ruleset"); after != before {
		t.Errorf("written anew:\n%s", after)
	}
	// Those of an older program are replaced, and that is no drift.
	h.Run("nft", "add rule inet ours input drop")
	if err := nft.NewKeeper(client, drift, tables()...).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := h.Run("nft", "list ruleset"); strings.Count(after, "drop") != 2 {
		t.Errorf("not replaced:\n%s", after)
	}
}

func TestReplaceIsAllOrNothing(t *testing.T) {
	h, client := fixture(t)
	all := append(tables(), nft.Table{Family: "inet", Name: "broken", Rules: "chain c { nonsense }"})
	if err := client.Replace(t.Context(), all...); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Errorf("error %v", err)
	}
	if got := h.Run("nft", "list ruleset"); strings.Contains(got, "ours") {
		t.Errorf("half of it was written:\n%s", got)
	}
}

func TestAMissingProgramIsNamed(t *testing.T) {
	client := &nft.Client{Program: "no-such-nft"}
	if err := nft.NewKeeper(client, func(string) {}, tables()...).Ensure(t.Context()); !errors.Is(err, nft.ErrNotInstalled) {
		t.Errorf("error %v", err)
	}
}

func TestWatchHearsOfItsTablesOnly(t *testing.T) {
	h, client := fixture(t)
	if err := client.Replace(t.Context(), tables()...); err != nil {
		t.Fatal(err)
	}
	var heard atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Watch(ctx, func() { heard.Add(1) }, tables()...) }()
	testkit.Eventually(t, 5*time.Second, "subscribed", func() bool { return heard.Load() == 1 })
	h.Run("nft", "add chain inet theirs ours; add table ip ours")
	h.Run("nft", "flush table arp ours")
	testkit.Eventually(t, 5*time.Second, "told of the flushed table", func() bool { return heard.Load() > 1 })
	if n := heard.Load(); n != 2 {
		t.Errorf("told %d times, want once more after the start", n)
	}
	for _, command := range []string{"delete table inet ours", "flush ruleset"} {
		n := heard.Load()
		h.Run("nft", command)
		testkit.Eventually(t, 5*time.Second, "told of: "+command, func() bool { return heard.Load() > n })
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
