package dnsmasq

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func mac(last byte) net.HardwareAddr { return net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, last} }

func plain() Config {
	return Config{
		Dir: "/var/lib/neutrino/dhcp/net1", User: "nobody", Interface: "ns-11111111-11", Domain: "example.org",
		MTU: 1450, Authoritative: true,
		Subnets: []Subnet{{
			ID: "sub1", Prefix: netip.MustParsePrefix("10.0.0.0/24"), Server: netip.MustParseAddr("10.0.0.2"),
			Gateway: netip.MustParseAddr("10.0.0.1"), Lease: 24 * time.Hour,
		}},
		Hosts: []Host{
			{ID: "p2", MAC: mac(2), Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")}, Name: "web-2"},
			{ID: "p1", MAC: mac(1), Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.3")}, Name: "host-10-0-0-3"},
		},
	}
}

func goldenCases() map[string]Config {
	routes := plain()
	routes.Domain, routes.MTU, routes.Authoritative = "", 0, false
	routes.Subnets[0].Nameservers = []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("1.1.1.1")}
	routes.Subnets[0].Routes = []Route{
		{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParseAddr("10.0.0.9")},
		{netip.MustParsePrefix("10.8.0.0/24"), netip.IPv4Unspecified()},
	}

	isolated := plain()
	isolated.Subnets[0].Gateway = netip.Addr{}
	isolated.Subnets[0].Nameservers = []netip.Addr{netip.IPv4Unspecified()}

	dual := plain()
	dual.Subnets = append(dual.Subnets,
		Subnet{
			ID: "sub2", Prefix: netip.MustParsePrefix("10.1.0.0/16"), Server: netip.MustParseAddr("10.1.0.2"),
			Gateway: netip.MustParseAddr("10.1.0.1"), Lease: 2 * time.Minute,
		},
		Subnet{
			ID: "sub6", Prefix: netip.MustParsePrefix("2001:db8::/64"), Server: netip.MustParseAddr("2001:db8::2"),
			Gateway: netip.MustParseAddr("2001:db8::1"), Lease: time.Hour,
		})
	dual.Hosts[0].Addresses = append(dual.Hosts[0].Addresses,
		netip.MustParseAddr("2001:db8::4"), netip.MustParseAddr("10.1.0.4"), netip.MustParseAddr("2001:db8::5"))

	empty := plain()
	empty.Hosts = nil
	return map[string]Config{"plain": plain(), "routes": routes, "isolated": isolated, "dual-stack": dual, "empty": empty}
}

// Each golden file shows the four files one after the other; dnsmasq's own parser has to accept them.
func TestRenderGolden(t *testing.T) {
	for name, config := range goldenCases() {
		t.Run(name, func(t *testing.T) {
			files, err := Render(config)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			fmt.Fprintf(&got, "== conf\n%s\n== hosts\n%s\n== opts\n%s\n== names\n%s",
				files.Conf, files.Hosts, files.Options, files.Names)
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
			}
			acceptedByDnsmasq(t, config)
		})
	}
}

// acceptedByDnsmasq lets dnsmasq parse the files. It does not read the hosts and options files in a test run, so their
// lines are put into the configuration.
func acceptedByDnsmasq(t *testing.T, config Config) {
	t.Helper()
	config.Dir = t.TempDir()
	files, err := Render(config)
	if err != nil {
		t.Fatal(err)
	}
	conf := bytes.NewBuffer(files.Conf)
	for line := range strings.Lines(string(files.Hosts)) {
		conf.WriteString("dhcp-host=" + line)
	}
	for line := range strings.Lines(string(files.Options)) {
		conf.WriteString("dhcp-option=" + line)
	}
	path := filepath.Join(config.Dir, "all")
	if err := os.WriteFile(path, conf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("dnsmasq", "--test", "-C", path).CombinedOutput(); err != nil {
		t.Errorf("dnsmasq refuses its configuration: %v: %s\n%s", err, out, conf)
	}
}

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	a, err := Render(goldenCases()["dual-stack"])
	if err != nil {
		t.Fatal(err)
	}
	turned := goldenCases()["dual-stack"]
	slices.Reverse(turned.Hosts)
	slices.Reverse(turned.Subnets)
	b, err := Render(turned)
	if err != nil {
		t.Fatal(err)
	}
	if a.ConfHash() != b.ConfHash() || a.ReloadHash() != b.ReloadHash() {
		t.Error("another order gives other files: dnsmasq would be restarted for nothing")
	}
}

// CVE-2021-40085: a newline in a value that reached dnsmasq's files added a line of the attacker's choice.
func TestCVE202140085NothingCanInjectALine(t *testing.T) {
	attacks := []string{"a\nserver=/evil/1.2.3.4", "a\r\nx", "a,set:known", "a b", "a\x00", "a#", `a"`, `a\`, "a=b", "ａ", "a;b"}
	fields := map[string]func(*Config, string){
		"dir":       func(c *Config, s string) { c.Dir = "/" + s },
		"user":      func(c *Config, s string) { c.User = s },
		"interface": func(c *Config, s string) { c.Interface = s },
		"domain":    func(c *Config, s string) { c.Domain = s },
		"subnet id": func(c *Config, s string) { c.Subnets[0].ID = s },
		"port id":   func(c *Config, s string) { c.Hosts[0].ID = s },
		"hostname":  func(c *Config, s string) { c.Hosts[0].Name = s },
	}
	for field, set := range fields {
		for _, attack := range attacks {
			if field == "dir" && attack == "a=b" {
				continue // harmless in a path
			}
			c := plain()
			set(&c, attack)
			files, err := Render(c)
			var bad *FieldError
			if !errors.As(err, &bad) || bad.Field != field {
				t.Errorf("%s = %q: got %v, want it refused by name", field, attack, err)
			}
			if files.Conf != nil || files.Hosts != nil {
				t.Errorf("%s = %q: files in spite of the error", field, attack)
			}
		}
	}
}

// Zones are the only part of an address that holds free text.
func TestZonesAreRefused(t *testing.T) {
	zoned := netip.MustParseAddr("fe80::1%x\ny")
	c := goldenCases()["dual-stack"]
	for name, change := range map[string]func(*Config){
		"host":       func(c *Config) { c.Hosts[0].Addresses = []netip.Addr{zoned} },
		"gateway":    func(c *Config) { c.Subnets[2].Gateway = zoned },
		"nameserver": func(c *Config) { c.Subnets[2].Nameservers = []netip.Addr{zoned} },
	} {
		c := c
		c.Subnets, c.Hosts = slices.Clone(c.Subnets), slices.Clone(c.Hosts)
		change(&c)
		if _, err := Render(c); err == nil {
			t.Errorf("%s with a zone was accepted", name)
		}
	}
}

// Whatever is put in: either it is refused, or the files have exactly the lines that the numbers of subnets and hosts
// explain.
func TestNoInputChangesTheNumberOfLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := plain()
		c.Hosts[0].Name = rapid.String().Draw(t, "name")
		c.Domain = rapid.String().Draw(t, "domain")
		files, err := Render(c)
		if err != nil {
			return
		}
		if n := bytes.Count(files.Hosts, []byte("\n")); n != 2 {
			t.Fatalf("%d lines for 2 hosts: %q", n, files.Hosts)
		}
		if n := bytes.Count(files.Names, []byte("\n")); n != 2 {
			t.Fatalf("%d lines for 2 names: %q", n, files.Names)
		}
	})
}

func TestNamesThatDnsmasqMisreads(t *testing.T) {
	for name, want := range map[string]bool{
		"web": true, "3com": true, "a-b": true, "12ab": true,
		"12h": false, "90": false, "5d": false, "infinite": false, "ignore": false, "IGNORE": false, "": false, "-a": false,
		"a.b": false, strings.Repeat("a", 64): false,
	} {
		if got := ExpressibleName(name); got != want {
			t.Errorf("ExpressibleName(%q) = %v", name, got)
		}
	}
}

func TestValuesOutOfRange(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"multicast mac":  func(c *Config) { c.Hosts[0].MAC = net.HardwareAddr{1, 0, 0, 0, 0, 1} },
		"short mac":      func(c *Config) { c.Hosts[0].MAC = c.Hosts[0].MAC[:5] },
		"no address":     func(c *Config) { c.Hosts[0].Addresses = nil },
		"server outside": func(c *Config) { c.Subnets[0].Server = netip.MustParseAddr("10.2.0.1") },
		"host bits":      func(c *Config) { c.Subnets[0].Prefix = netip.MustParsePrefix("10.0.0.1/24") },
		"wide IPv6": func(c *Config) {
			c.Subnets[0].Prefix = netip.MustParsePrefix("2001:db8::/48")
			c.Subnets[0].Server = netip.MustParseAddr("2001:db8::1")
		},
		"short lease": func(c *Config) { c.Subnets[0].Lease = time.Second },
		"tiny mtu":    func(c *Config) { c.MTU = 1 },
		"too many routes": func(c *Config) {
			for i := range 60 {
				c.Subnets[0].Routes = append(c.Subnets[0].Routes, Route{
					netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24), netip.MustParseAddr("10.0.0.9")})
			}
		},
		"too many nameservers": func(c *Config) {
			for range 64 {
				c.Subnets[0].Nameservers = append(c.Subnets[0].Nameservers, netip.MustParseAddr("9.9.9.9"))
			}
		},
	} {
		c := plain()
		change(&c)
		var bad *FieldError
		if _, err := Render(c); !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want a FieldError", name, err)
		}
	}
}
