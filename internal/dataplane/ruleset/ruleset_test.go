package ruleset_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

func open(t testing.TB, h *testkit.Host) *rs.Conn {
	t.Helper()
	conn, err := rs.Open(h.NS)
	h.Check(err)
	t.Cleanup(conn.Close)
	return conn
}

func apply(t testing.TB, table *rs.Table) int {
	t.Helper()
	n, err := table.Apply()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func address(text string) string { return string(netip.MustParseAddr(text).AsSlice()) }

func interval(first, last string) rs.Element {
	return rs.Element{First: address(first), Last: address(last)}
}

func device(name string) rs.Element { return rs.Element{First: rs.Key(rs.Device(name))} }

// want is a table with everything that there is.
func want(conn *rs.Conn) *rs.Table {
	t := rs.NewTable(conn, rs.Bridge, "ours")
	t.WantSet("single", rs.Set{Key: []rs.Field{rs.IPv4}})
	t.WantSet("blocks", rs.Set{Key: []rs.Field{rs.IPv4}, Intervals: true})
	t.WantSet("pairs", rs.Set{Key: []rs.Field{rs.DeviceName, rs.MAC, rs.IPv4}})
	t.WantSet("pair-blocks", rs.Set{Key: []rs.Field{rs.DeviceName, rs.MAC, rs.IPv6}, Intervals: true})
	t.WantSet("ways", rs.Set{Key: []rs.Field{rs.DeviceName}, Holds: rs.Verdicts})
	t.WantSet("drops", rs.Set{Key: []rs.Field{rs.DeviceName}, Holds: rs.Counters, Timeout: time.Hour, Size: 100})
	t.WantLimit("slow", rs.Limit{PerSecond: 100, Burst: 25})
	t.WantSet("visits", rs.Set{Key: []rs.Field{rs.IPv4, rs.Upper, rs.Ports}, Holds: rs.Visits, Timeout: time.Minute, Size: 100})
	t.WantSet("rates", rs.Set{Key: []rs.Field{rs.DeviceName}, Holds: rs.Limits})
	t.Put("rates", device("tap1"), rs.Value{Limit: "slow"})
	t.Put("single", rs.Element{First: address("10.0.0.1")}, rs.Value{})
	t.Put("blocks", interval("10.1.0.0", "10.1.0.255"), rs.Value{})
	t.Put("blocks", interval("10.1.2.0", "10.1.2.255"), rs.Value{})
	t.Put("blocks", interval("128.0.0.0", "255.255.255.255"), rs.Value{})
	mac := []byte{2, 0, 0, 0, 0, 1}
	t.Put("pairs", rs.Element{First: rs.Key(rs.Device("tap1"), mac, []byte{10, 0, 0, 1})}, rs.Value{})
	t.Put("pair-blocks", rs.Element{
		First: rs.Key(rs.Device("tap1"), mac, []byte(address("fd00::"))),
		Last:  rs.Key(rs.Device("tap1"), mac, []byte(address("fd00::ffff"))),
	}, rs.Value{})
	t.Put("ways", device("tap1"), rs.Value{Verdict: rs.Jump("group")})
	t.Put("ways", device("tap2"), rs.Value{Verdict: rs.Accept})
	t.WantChain("base", rs.Chain{Base: &rs.Base{Hook: rs.Forward, Priority: 10}, Rules: []rs.Rule{
		rs.NewRule("the way", rs.Load(rs.R(0), rs.InDevice), rs.Go("ways", rs.R(0))),
	}})
	t.WantChain("group", group(80, 443))
	t.WantChain("record", rs.Chain{Rules: []rs.Rule{
		rs.NewRule("", rs.Load(rs.R(0), rs.InDevice), rs.Within("rates", rs.R(0)),
			rs.Log(7, "what it is about", 128)),
		rs.NewRule("", rs.Read(rs.R(0), rs.Network, 12, 4), rs.Load(rs.R(1), rs.Protocol), rs.Read(rs.R(2), rs.Transport, 0, 4),
			rs.Remember("visits", rs.R(0))),
	}})
	return t
}

// group is a chain that accepts TCP to the ports.
func group(ports ...uint16) rs.Chain {
	c := rs.Chain{AnyOrder: true}
	for _, port := range ports {
		c.Rules = append(c.Rules, rs.NewRule(fmt.Sprintf("port %d", port),
			rs.Read(rs.R(0), rs.Link, 12, 2), rs.Equal(rs.R(0), 8, 0),
			rs.Load(rs.R(0), rs.Protocol), rs.Equal(rs.R(0), 6),
			rs.Read(rs.R(0), rs.Transport, 2, 2), rs.Between(rs.R(0), port, port),
			rs.Read(rs.R(0), rs.Network, 12, 4), rs.In("blocks", rs.R(0)),
			rs.Count(), rs.Then(rs.Accept)))
	}
	return c
}

func TestTheKernelHasWhatIsWanted(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	table := want(open(t, h))
	if apply(t, table) == 0 {
		t.Error("nothing changed")
	}
	got := h.Run("nft", "list", "table", "bridge", "ours")
	for _, line := range []string{
		"10.1.0.0/24, 10.1.2.0/24", "128.0.0.0/1", `"tap1" : jump group`, `"tap2" : accept`, `"tap1" . 02:00:00:00:00:01 . 10.0.0.1`,
		"fd00::/112", "type filter hook forward priority 10; policy accept;", "iifname vmap @ways",
		"tcp dport 80", "ip saddr @blocks counter packets 0 bytes 0 accept", "flags dynamic,timeout",
		"rate 100/second burst 25 packets", "limit name iifname map @rates", `log prefix "what it is about" group 7 snaplen 128`,
		`"tap1" : "slow"`, "update @visits {",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	if n := apply(t, table); n != 0 {
		t.Errorf("%d changes of a table that is right", n)
	}
}

func TestANewProcessChangesNothing(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	conn := open(t, h)
	apply(t, want(conn))
	before := h.Run("nft", "-a", "list", "ruleset")
	conn.Close()
	if n := apply(t, want(open(t, h))); n != 0 {
		t.Errorf("%d changes", n)
	}
	if after := h.Run("nft", "-a", "list", "ruleset"); strings.ReplaceAll(after, "flags owner", "") !=
		strings.ReplaceAll(before, "flags owner", "") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestOnlyTheDifferenceIsWritten(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	table := want(open(t, h))
	apply(t, table)
	steps := []struct {
		name    string
		do      func()
		changes int
		has     string
		hasNot  string
	}{
		{"a rule more", func() { table.WantChain("group", group(80, 443, 22)) }, 1, "tcp dport 22", ""},
		{"a rule less", func() { table.WantChain("group", group(443, 22)) }, 1, "tcp dport 443", "tcp dport 80"},
		{"an address more", func() { table.Put("single", rs.Element{First: address("10.0.0.2")}, rs.Value{}) }, 1, "10.0.0.2", ""},
		{"a block becomes larger", func() {
			table.Remove("blocks", interval("10.1.0.0", "10.1.0.255"))
			table.Put("blocks", interval("10.1.0.0", "10.1.1.255"), rs.Value{})
		}, 2, "10.1.0.0/23", "10.1.0.0/24"},
		{"a device goes another way", func() { table.Put("ways", device("tap2"), rs.Value{Verdict: rs.Drop}) }, 1, `"tap2" : drop`, ""},
		{"a chain goes", func() {
			table.Remove("ways", device("tap1"))
			table.DropChain("group")
		}, 2, "", "chain group"},
		{"a set goes", func() { table.DropSet("blocks") }, 1, "", "set blocks"},
		{"a limit goes", func() {
			table.Remove("rates", device("tap1"))
			table.DropLimit("slow")
		}, 2, "map rates", "limit slow"},
		{"a set goes and comes back", func() {
			table.DropSet("single")
			table.WantSet("single", rs.Set{Key: []rs.Field{rs.IPv4}})
			table.Put("single", rs.Element{First: address("10.0.0.2")}, rs.Value{})
		}, 1, "10.0.0.2", "elements = { 10.0.0.1"},
	}
	for _, s := range steps {
		s.do()
		if n := apply(t, table); n != s.changes {
			t.Errorf("%s: %d changes, not %d", s.name, n, s.changes)
		}
		got := h.Run("nft", "list", "table", "bridge", "ours")
		if !strings.Contains(got, s.has) || s.hasNot != "" && strings.Contains(got, s.hasNot) {
			t.Errorf("%s:\n%s", s.name, got)
		}
		// What is believed is what is there.
		table.Forget()
		if n := apply(t, table); n != 0 {
			t.Errorf("%s: %d changes after reading", s.name, n)
		}
	}
}

func TestOneRefusedObjectStopsNoOther(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	table := want(open(t, h))
	table.WantChain("bad", rs.Chain{Rules: []rs.Rule{rs.NewRule("of no set", rs.In("nowhere", rs.R(0)))}})
	apply(t, table)
	if table.Err("bad") == nil || table.Err("group") != nil {
		t.Errorf("errors %v and %v", table.Err("bad"), table.Err("group"))
	}
	if got := h.Run("nft", "list", "table", "bridge", "ours"); !strings.Contains(got, "dport 443") || strings.Contains(got, "bad") {
		t.Errorf("%s", got)
	}
	table.WantChain("bad", group(1))
	apply(t, table)
	if err := table.Err("bad"); err != nil {
		t.Error(err)
	}
}

func TestNobodyElseCanOpenTheTable(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	conn := open(t, h)
	table := want(conn)
	apply(t, table)
	before := h.Run("nft", "list", "ruleset")
	for _, command := range []string{
		"flush ruleset", "flush table bridge ours", "delete table bridge ours", "delete element bridge ours ways { tap1 }",
		"insert rule bridge ours group accept",
	} {
		_, _ = h.Try("nft", command) // is refused, or leaves the table out
		if after := h.Run("nft", "list", "ruleset"); after != before {
			t.Errorf("after %q:\n%s", command, after)
		}
	}
	if _, err := want(open(t, h)).Apply(); err == nil {
		t.Error("a second process could take it")
	}
	// Once its process is gone, it is there and can be changed; the next process puts it right.
	conn.Close()
	h.Run("nft", "insert rule bridge ours group accept")
	h.Run("nft", "delete element bridge ours ways { tap2 }")
	if n := apply(t, want(open(t, h))); n != 2 {
		t.Errorf("%d changes, not 2", n)
	}
	if after := h.Run("nft", "list", "ruleset"); after != before {
		t.Errorf("put right:\n%s", after)
	}
}

func TestATableOfAnotherVersionIsReplaced(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	h.Run("nft", "add table bridge ours; add set bridge ours blocks { type mark; }; add chain bridge ours base;"+
		"add rule bridge ours base meta mark @blocks accept; add table bridge theirs")
	table := want(open(t, h))
	apply(t, table)
	got := h.Run("nft", "list", "ruleset")
	if !strings.Contains(got, "10.1.0.0/24") || !strings.Contains(got, "theirs") || strings.Contains(got, "meta mark") {
		t.Errorf("%s", got)
	}
}

// Kernels before 6.9 have no tables of a process that outlive it. A table that was there before without an owner is like
// theirs: what others change is found by the generation of the ruleset.
func TestATableOfNobodyIsPutRight(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	h.Run("nft", "add table bridge ours")
	table := want(open(t, h))
	apply(t, table)
	for _, command := range []string{
		"insert rule bridge ours group accept", "flush table bridge ours", "delete element bridge ours ways { tap2 }",
		"delete element bridge ours blocks { 10.1.2.0/24 }", "delete table bridge ours",
	} {
		h.Run("nft", command)
		if n := apply(t, table); n == 0 || !table.Drifted() {
			t.Errorf("after %q: %d changes, drift %v", command, n, table.Drifted())
		}
		table.Forget() // what is there, not what is believed
		if n := apply(t, table); n != 0 || table.Drifted() {
			t.Errorf("after %q: %d changes of what is right", command, n)
		}
	}
	h.Run("nft", "add table inet theirs")
	if n := apply(t, table); n != 0 || table.Drifted() {
		t.Errorf("a table of somebody else: %d changes", n)
	}
}

// TestWhatVouchesIsNeverThereAlone: others empty a table of nobody again and again, also between a reading and the change
// that is made upon it. What says that the others have seen a packet is there with them or not at all.
func TestWhatVouchesIsNeverThereAlone(t *testing.T) {
	h := testkit.NewHost(t, "ruleset")
	h.Run("nft", "add table bridge ours")
	table := rs.NewTable(open(t, h), rs.Bridge, "ours")
	table.WantChain("asks", rs.Chain{
		Base: &rs.Base{Hook: rs.Forward}, Rules: []rs.Rule{rs.NewRule("asks", rs.Then(rs.Drop))},
	})
	table.WantChain("vouches", rs.Chain{
		Base: &rs.Base{Hook: rs.Postrouting}, Vouches: true, Rules: []rs.Rule{rs.NewRule("vouches", rs.Then(rs.Accept))},
	})
	transactions := monitor(t, h)
	var others sync.WaitGroup
	var flushed atomic.Int32
	for range 4 {
		others.Go(func() {
			for range 20 {
				if out, err := h.Try("nft", "flush table bridge ours"); err != nil {
					t.Error(err, out)
				}
				flushed.Add(1)
			}
		})
	}
	repaired := 0
	for flushed.Load() < 80 {
		if apply(t, table) > 0 {
			repaired++
		}
	}
	others.Wait()
	apply(t, table)
	asks, vouches := false, false
	for _, transaction := range transactions() {
		for _, line := range transaction {
			action, rule, _ := strings.Cut(line, " rule bridge ours ")
			switch name, _, _ := strings.Cut(rule, " "); name {
			case "asks":
				asks = action == "add"
			case "vouches":
				vouches = action == "add"
			}
		}
		if vouches && !asks {
			t.Errorf("alone since %q", transaction)
		}
	}
	if !asks || !vouches || repaired < 10 {
		t.Errorf("repaired %d times; there at the end: %v, %v", repaired, asks, vouches)
	}
}

// monitor records the changes of the ruleset of the host, by transaction, until they are asked for.
func monitor(t testing.TB, h *testkit.Host) (transactions func() [][]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "transactions")
	file, err := os.Create(path)
	h.Check(err)
	defer file.Close()
	cmd := exec.Command("nft", "monitor")
	cmd.Stdout = file
	h.Check(netns.Do(h.NS, cmd.Start))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	// told waits until the monitor has told of a change that is made now: it listens, and all before has been told.
	told := func(table string) string {
		var text []byte
		testkit.Eventually(t, 10*time.Second, "told by the monitor", func() bool {
			h.Run("nft", "add table ip "+table+"; delete table ip "+table)
			text, err = os.ReadFile(path)
			h.Check(err)
			return bytes.Contains(text, []byte(" table ip "+table))
		})
		return string(text)
	}
	told("begin")
	return func() (all [][]string) {
		var now []string
		for line := range strings.Lines(told("end")) {
			if strings.HasPrefix(line, "# new generation") {
				all, now = append(all, now), nil
			} else {
				now = append(now, strings.TrimSpace(line))
			}
		}
		return all
	}
}
