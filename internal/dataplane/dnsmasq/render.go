package dnsmasq

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Names of the files in Config.Dir.
const (
	ConfFile    = "conf"    // read once, at the start
	HostsFile   = "hosts"   // read at the start and at SIGHUP: clients and their addresses
	OptionsFile = "opts"    // read at the start and at SIGHUP: what clients are told
	NamesFile   = "names"   // read at the start and at SIGHUP: names for DNS
	LeasesFile  = "leases"  // written by dnsmasq
	LogFile     = "log"     // written by dnsmasq
	PIDFile     = "pid"     // written by dnsmasq
	StateFile   = "state"   // written by us: which process reads these files
	oldLogFile  = "log.old" // the log before it was cut
)

// maxLeases bounds what dnsmasq may remember, whatever a prefix would allow.
const maxLeases = 1 << 20

// Files is what dnsmasq reads.
type Files struct {
	Conf, Hosts, Options, Names []byte
}

// ConfHash changes when dnsmasq has to be started again to see the change.
func (f Files) ConfHash() string { return hash(f.Conf) }

// ReloadHash changes when a SIGHUP is enough.
func (f Files) ReloadHash() string { return hash(f.Hosts, f.Options, f.Names) }

func hash(texts ...[]byte) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:", len(t)) // so that moving text from one file to the next changes the sum
		h.Write(t)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Render writes the files. The first value that cannot be written is returned as a *FieldError, and no file is.
// The files do not depend on the order of the subnets and hosts.
func Render(c Config) (Files, error) {
	if err := c.Validate(); err != nil {
		return Files{}, err
	}
	for _, s := range c.Subnets {
		if err := s.Validate(); err != nil {
			return Files{}, fmt.Errorf("subnet %q: %w", s.ID, err)
		}
	}
	for _, h := range c.Hosts {
		if err := h.Validate(); err != nil {
			return Files{}, fmt.Errorf("host %q: %w", h.ID, err)
		}
	}
	c.Subnets = slices.SortedFunc(slices.Values(c.Subnets), func(a, b Subnet) int { return strings.Compare(a.ID, b.ID) })
	c.Hosts = slices.SortedFunc(slices.Values(c.Hosts), func(a, b Host) int { return strings.Compare(a.ID, b.ID) })
	return Files{Conf: c.conf(), Hosts: c.hosts(), Options: c.options(), Names: c.names()}, nil
}

// conf is the configuration proper.
func (c Config) conf() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	path := func(name string) string { return filepath.Join(c.Dir, name) }

	line("# Written by neutrino-agent; changes are overwritten.")
	line("user=%s", c.User)
	line("pid-file=%s", path(PIDFile))
	line("log-facility=%s", path(LogFile))
	line("log-dhcp")
	line("")
	line("# One device, whenever it appears, and nothing else: no name or server of this host is known to clients.")
	line("interface=%s", c.Interface)
	line("except-interface=lo")
	line("bind-dynamic")
	line("no-hosts")
	line("no-resolv")
	line("no-poll")
	line("addn-hosts=%s", path(NamesFile))
	if c.Domain != "" {
		line("domain=%s", c.Domain)
	}
	line("")
	line("# Addresses for known hosts only; a name that a client claims is not believed.")
	line("dhcp-hostsfile=%s", path(HostsFile))
	line("dhcp-optsfile=%s", path(OptionsFile))
	line("dhcp-leasefile=%s", path(LeasesFile))
	line("dhcp-ignore-names")
	if c.Authoritative {
		line("dhcp-authoritative")
	}
	leases := 0
	for _, s := range c.Subnets {
		leases = min(maxLeases, leases+s.size())
		line("%s", s.rangeText())
	}
	line("dhcp-lease-max=%d", leases)
	if c.MTU != 0 {
		line("dhcp-option-force=option:mtu,%d", c.MTU)
	}
	return b.Bytes()
}

// size is the number of addresses, bounded.
func (s Subnet) size() int {
	free := s.Prefix.Addr().BitLen() - s.Prefix.Bits()
	return 1 << min(free, bits.Len(maxLeases)-1)
}

func (s Subnet) tag() string { return "subnet-" + s.ID }

func (s Subnet) rangeText() string {
	lease := int64(s.Lease / time.Second)
	if s.Prefix.Addr().Is6() {
		return fmt.Sprintf("dhcp-range=set:%s,%s,static,%d,%ds", s.tag(), s.Prefix.Addr(), s.Prefix.Bits(), lease)
	}
	mask := net.IP(net.CIDRMask(s.Prefix.Bits(), 32))
	return fmt.Sprintf("dhcp-range=set:%s,%s,static,%s,%ds", s.tag(), s.Prefix.Addr(), mask, lease)
}

// hosts has a line for each host, and another one for each further IPv4 address, since a line can hold only one. It sets
// no tags: dnsmasq 2.90 crashes when a tagged line of a host with a lease is gone from the file that it reads again.
func (c Config) hosts() []byte {
	var b bytes.Buffer
	for _, h := range c.Hosts {
		var v4, v6 []netip.Addr
		for _, a := range h.Addresses {
			if a.Is4() {
				v4 = append(v4, a)
			} else {
				v6 = append(v6, a)
			}
		}
		b.WriteString(h.MAC.String())
		if len(v4) > 0 {
			fmt.Fprintf(&b, ",%s", v4[0])
		}
		for _, a := range v6 {
			fmt.Fprintf(&b, ",[%s]", a)
		}
		fmt.Fprintf(&b, ",%s\n", h.Name)
		for _, a := range v4[min(1, len(v4)):] {
			fmt.Fprintf(&b, "%s,%s,%s\n", h.MAC, a, h.Name)
		}
	}
	return b.Bytes()
}

// names makes the hosts known to DNS, also those that got their lease from another server.
func (c Config) names() []byte {
	var b bytes.Buffer
	for _, h := range c.Hosts {
		for _, a := range h.Addresses {
			if c.Domain == "" {
				fmt.Fprintf(&b, "%s %s\n", a, h.Name)
			} else {
				fmt.Fprintf(&b, "%s %s.%s %s\n", a, h.Name, c.Domain, h.Name)
			}
		}
	}
	return b.Bytes()
}

// options tells the clients of each subnet about routers and nameservers. An option without a value is not sent; if it
// were left out, dnsmasq would send itself.
func (c Config) options() []byte {
	var b bytes.Buffer
	for _, s := range c.Subnets {
		if s.Prefix.Addr().Is6() {
			s.options6(&b, c.Domain)
		} else {
			s.options4(&b)
		}
	}
	return b.Bytes()
}

func (s Subnet) options4(b *bytes.Buffer) {
	option := func(name string, values ...string) {
		fmt.Fprintln(b, strings.Join(append([]string{"tag:" + s.tag(), name}, values...), ","))
	}
	option("option:dns-server", s.nameservers()...)
	if len(s.Routes) > 0 {
		option("option:classless-static-route", s.routeText()) // 121, RFC 3442
		option("249", s.routeText())                           // the same for old Windows
	}
	if s.Gateway.IsValid() {
		option("option:router", s.Gateway.String())
	} else {
		option("option:router")
	}
}

func (s Subnet) options6(b *bytes.Buffer, domain string) {
	var servers []string
	for _, a := range s.nameservers() {
		servers = append(servers, "["+a+"]")
	}
	fmt.Fprintln(b, strings.Join(append([]string{"tag:" + s.tag(), "option6:dns-server"}, servers...), ","))
	if domain != "" {
		fmt.Fprintf(b, "tag:%s,option6:domain-search,%s\n", s.tag(), domain)
	}
}

func (s Subnet) nameservers() []string {
	if len(s.Nameservers) == 0 {
		return []string{s.Server.String()}
	}
	if len(s.Nameservers) == 1 && s.Nameservers[0].IsUnspecified() {
		return nil
	}
	var out []string
	for _, a := range s.Nameservers {
		out = append(out, a.String())
	}
	return out
}

// routeText is the value of option 121. A client that gets it ignores the router option (RFC 3442), so the default
// route is in it, too.
func (s Subnet) routeText() string {
	var parts []string
	for _, r := range s.Routes {
		parts = append(parts, r.Destination.Masked().String(), r.NextHop.String())
	}
	if s.Gateway.IsValid() {
		parts = append(parts, "0.0.0.0/0", s.Gateway.String())
	}
	return strings.Join(parts, ",")
}
