package nftmap_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

var table = nftmap.Table{Family: unix.NFPROTO_INET, Name: "test"}

const source = `table inet test {
	map one { type ipv4_addr : ipv4_addr; }
	map two { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
	set three { type ipv4_addr; }
	chain nat {
		type nat hook prerouting priority -100; policy accept;
		dnat ip to ip daddr map @one
		iifname { "a", "b" } tcp dport 80 accept
	}
}`

// open makes a namespace with the table.
func open(t *testing.T) (*testkit.Host, *nftmap.Conn) {
	t.Helper()
	h := testkit.NewHost(t, "nft")
	h.Run("sh", "-c", "echo '"+source+"' | nft -f -")
	c, err := nftmap.Dial(h.NS)
	h.Check(err)
	t.Cleanup(c.Close)
	return h, c
}

// four is an IPv4 address as bytes.
func four(n int) string { return string([]byte{10, 0, byte(n >> 8), byte(n)}) }

func TestElementsAreChangedOneByOne(t *testing.T) {
	h, c := open(t)
	// More than fit into one message.
	many := nftmap.Elements{}
	for i := range 3000 {
		many[four(i)] = four(i + 1)
	}
	endpoint := four(1) + "\x06\x00\x00\x00" + "\x00\x50\x00\x00"
	h.Check(c.Apply(table,
		nftmap.Change{Set: "one", Add: many},
		nftmap.Change{Set: "two", Add: nftmap.Elements{endpoint: four(2) + "\x1f\x90\x00\x00"}},
		nftmap.Change{Set: "three", Add: nftmap.Elements{four(9): ""}}))
	have, err := c.Elements(table, "one")
	h.Check(err)
	if !maps.Equal(have, many) {
		t.Errorf("%d elements were read, not the %d that were added", len(have), len(many))
	}
	text := h.Run("nft", "-nn", "list", "table", "inet", "test")
	for _, want := range []string{"10.0.0.1 . 6 . 80 : 10.0.0.2 . 8080", "10.0.0.9 }", "10.0.2.1 : 10.0.2.2"} {
		if !strings.Contains(text, want) {
			t.Errorf("nft does not show %q", want)
		}
	}

	h.Check(c.Apply(table, nftmap.Change{
		Set: "one", Remove: []string{four(1), four(2)}, Add: nftmap.Elements{four(2): four(77)},
	}))
	delete(many, four(1))
	many[four(2)] = four(77)
	if have, err = c.Elements(table, "one"); err != nil || !maps.Equal(have, many) {
		t.Errorf("after one was removed and one got another value: %d elements, %v", len(have), err)
	}
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	h, c := open(t)
	err := c.Apply(table,
		nftmap.Change{Set: "one", Add: nftmap.Elements{four(1): four(2)}},
		nftmap.Change{Set: "missing", Add: nftmap.Elements{four(1): four(2)}})
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("a change of a map that is not there: %v", err)
	}
	if err := c.Apply(table, nftmap.Change{Set: "one", Remove: []string{four(5)}}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the removal of an element that is not there: %v", err)
	}
	have, err := c.Elements(table, "one")
	h.Check(err)
	if len(have) != 0 {
		t.Errorf("%d elements of a failed transaction are there", len(have))
	}
	if _, err := c.Elements(table, "missing"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the elements of a map that is not there: %v", err)
	}
	h.Check(c.Apply(table, nftmap.Change{Set: "one", Add: nftmap.Elements{four(1): four(2)}})) // the socket is still of use
}

func TestAChangeOfTheRulesIsSeen(t *testing.T) {
	handle := func(rule string) string {
		return " inet test nat handle $(nft -a list chain inet test nat | sed -n 's/.*" + rule + ".*handle //p')"
	}
	for name, x := range map[string]struct {
		change  string
		written bool
	}{
		"nothing":                   {"true", true},
		"an element":                {"nft add element inet test one '{ 10.1.1.1 : 10.2.2.2 }'", true},
		"another table":             {"nft add table inet other; nft add chain inet other x", true},
		"one rule more":             {"nft add rule inet test nat drop", false},
		"one rule less":             {"nft delete rule" + handle("tcp"), false},
		"one rule for another":      {"nft replace rule" + handle("tcp") + " drop", false},
		"a chain":                   {"nft add chain inet test more", false},
		"a policy":                  {"nft add chain inet test nat '{ policy drop; }'", false},
		"the table":                 {"nft delete table inet test", false},
		"the table for the same":    {"nft delete table inet test; echo '" + source + "' | nft -f -", false}, // without its mark
		"a rule, and back":          {"nft add rule inet test nat drop; nft delete rule" + handle("drop"), true},
		"a rule in the mark itself": {"nft add rule inet test $(nft list table inet test | grep -o 'written-[0-9a-f]*') drop", false},
	} {
		t.Run(name, func(t *testing.T) {
			h, c := open(t)
			if written, err := c.Written(table, source); err != nil || written {
				t.Fatalf("a table without the mark: %v, %v", written, err)
			}
			h.Check(c.MarkWritten(table, source))
			h.Run("sh", "-c", x.change)
			other, err := nftmap.Dial(h.NS) // as a new process would
			h.Check(err)
			defer other.Close()
			written, err := other.Written(table, source)
			if written != x.written || err != nil && !errors.Is(err, unix.ENOENT) {
				t.Errorf("written: %v, %v", written, err)
			}
			if written, _ := other.Written(table, source+" "); written {
				t.Error("it is taken for a table of another source")
			}
		})
	}
}

func TestDeleteIsFinal(t *testing.T) {
	h, c := open(t)
	for range 2 {
		h.Check(c.Delete(table))
	}
	if text := h.Run("nft", "list", "ruleset"); text != "" {
		t.Errorf("left: %s", text)
	}
	if _, err := c.Written(table, source); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a table that is not there: %v", err)
	}
}

func BenchmarkOneElement(b *testing.B) {
	h := testkit.NewHost(b, "nft")
	h.Run("sh", "-c", "echo '"+source+"' | nft -f -")
	c, err := nftmap.Dial(h.NS)
	h.Check(err)
	defer c.Close()
	b.Run("netlink", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			h.Check(c.Apply(table, nftmap.Change{Set: "one", Add: nftmap.Elements{four(i): four(i)}}))
		}
	})
	b.Run("program", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			h.Run("nft", "add", "element", "inet", "test", "one", fmt.Sprintf("{ 10.1.%d.%d : 10.0.0.1 }", i>>8&255, i&255))
		}
	})
}
