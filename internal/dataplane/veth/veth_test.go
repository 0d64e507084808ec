package veth_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/veth"
)

func setUp(t *testing.T) (*netns.Handle, veth.Pair) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	name := fmt.Sprintf("vethtest-%d", os.Getpid())
	ns, err := netns.Create(name)
	must(t, err)
	pair := veth.Pair{
		Host: fmt.Sprintf("vt%d", os.Getpid()), Inside: "eth0", MAC: net.HardwareAddr{0xfa, 0x16, 0x3e, 1, 2, 3}, MTU: 1400,
		Mark: "neutrino:port:test",
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(pair.Host); err == nil {
			must(t, netlink.LinkDel(l))
		}
		ns.Close()
		must(t, netns.Delete(name))
	})
	return ns, pair
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each state is one that a person, or a crash between two steps, can leave. After Ensure all are the same.
func TestEnsureRepairsEveryState(t *testing.T) {
	ns, pair := setUp(t)
	first, err := veth.Ensure(ns, pair)
	if err != nil || !first.Made {
		t.Fatalf("%+v %v", first, err)
	}
	inside, err := veth.Handle(ns)
	must(t, err)
	defer inside.Close()
	for _, c := range []struct {
		name          string
		spoil         func(host, inner netlink.Link) error
		made, changed bool
	}{
		{"nothing", func(_, _ netlink.Link) error { return nil }, false, false},
		{"outer end deleted", func(host, _ netlink.Link) error { return netlink.LinkDel(host) }, true, false},
		{"inner end down", func(_, inner netlink.Link) error { return inside.LinkSetDown(inner) }, false, true},
		{"MTU", func(_, inner netlink.Link) error { return inside.LinkSetMTU(inner, 1300) }, false, true},
		{"MAC", func(_, inner netlink.Link) error {
			return inside.LinkSetHardwareAddr(inner, net.HardwareAddr{2, 0, 0, 0, 0, 1})
		}, false, true},
		{"marks lost", func(host, inner netlink.Link) error {
			if err := netlink.LinkSetAlias(host, ""); err != nil {
				return err
			}
			return inside.LinkSetAlias(inner, "")
		}, false, true},
		{"outer end moved to another pair", func(host, _ netlink.Link) error {
			if err := netlink.LinkDel(host); err != nil {
				return err
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name = pair.Host
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: pair.Host + "p"}); err != nil {
				return err
			}
			other, err := netlink.LinkByName(pair.Host)
			if err != nil {
				return err
			}
			return netlink.LinkSetAlias(other, pair.Mark)
		}, true, false},
		{"outer end down: the business of others", func(host, _ netlink.Link) error { return netlink.LinkSetDown(host) }, false, false},
	} {
		host, err := netlink.LinkByName(pair.Host)
		must(t, err)
		inner, err := inside.LinkByName(pair.Inside)
		must(t, err)
		must(t, c.spoil(host, inner))
		got, err := veth.Ensure(ns, pair)
		if err != nil || got.Made != c.made || got.Changed != c.changed {
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
		inner, err = inside.LinkByName(pair.Inside)
		must(t, err)
		a := inner.Attrs()
		if a.MTU != 1400 || a.HardwareAddr.String() != pair.MAC.String() || a.Alias != pair.Mark ||
			a.Flags&net.FlagUp == 0 || a.Index != got.Index {
			t.Errorf("%s: the inner end is %+v", c.name, a)
		}
	}
}

func TestADeviceWithoutTheMarkIsNotTouched(t *testing.T) {
	ns, pair := setUp(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = pair.Host
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	if _, err := veth.Ensure(ns, pair); err == nil || !strings.Contains(err.Error(), "not ours") {
		t.Errorf("Ensure: %v", err)
	}
	if removed, err := veth.Remove(pair.Host, pair.Mark); err == nil || removed {
		t.Errorf("Remove: %v %v", removed, err)
	}
	if l, err := netlink.LinkByName(pair.Host); err != nil || l.Type() != "bridge" {
		t.Errorf("the foreign device: %v %v", l, err)
	}
}

func TestAddressesAreExactlyThoseWanted(t *testing.T) {
	ns, pair := setUp(t)
	state, err := veth.Ensure(ns, pair)
	must(t, err)
	parse := func(texts ...string) (out []netip.Prefix) {
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, c := range []struct{ want, added, removed []netip.Prefix }{
		{parse("10.5.0.2/24", "2001:db8::2/64"), parse("10.5.0.2/24", "2001:db8::2/64"), nil},
		{parse("10.5.0.2/24", "2001:db8::2/64"), nil, nil},
		{parse("10.5.0.2/16"), parse("10.5.0.2/16"), parse("10.5.0.2/24", "2001:db8::2/64")},
		{nil, nil, parse("10.5.0.2/16")},
	} {
		added, removed, err := veth.SetAddresses(ns, state.Index, c.want)
		if err != nil || !slices.Equal(added, c.added) || !slices.Equal(removed, c.removed) {
			t.Errorf("want %v: added %v, removed %v, %v", c.want, added, removed, err)
		}
	}
}
