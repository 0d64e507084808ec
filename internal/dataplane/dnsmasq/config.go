// Package dnsmasq drives dnsmasq, the DHCP server of one network on one host.
//
// It has three parts, which can be read alone:
//
//   - config.go and render.go turn a typed Config into the files that dnsmasq reads. They are pure functions. Nothing
//     that a tenant wrote gets into a file unless it fits the narrow grammar of its field; everything else is a
//     FieldError that names the field. A line can therefore not be injected (compare CVE-2021-40085, where a newline
//     in a DHCP option was enough).
//   - log.go and leases.go read what dnsmasq writes: who asked for an address and what became of it, and which
//     addresses are leased to whom.
//   - process.go starts a dnsmasq which outlives us, and finds it again: by pid, start time and network namespace
//     together, never by pid alone.
//
// The option names and the format of each file are those of dnsmasq(8), version 2.80 and later.
package dnsmasq

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Limits of dnsmasq and of DHCP.
const (
	// maxOption is the longest value of a DHCP option in bytes (RFC 2132, section 2: the length is one byte).
	maxOption = 255
	// maxLine is how long a line may be: dnsmasq reads lines of 1,024 characters and takes the rest for a new line.
	maxLine = 1000
	// maxInterface is the longest name of a network device (IFNAMSIZ less its zero byte).
	maxInterface = 15
	// minPrefix6 is the shortest IPv6 prefix for which dnsmasq answers DHCPv6.
	minPrefix6 = 64
	// minLease is the shortest lease that dnsmasq accepts.
	minLease = 2 * time.Minute
)

// Config is all that one dnsmasq is told.
type Config struct {
	// Dir holds the files of this dnsmasq; absolute.
	Dir string
	// User is whom dnsmasq becomes after it has opened its files and sockets.
	User string
	// Interface is the device on which it listens; it listens on no other.
	Interface string
	// Domain is given to clients and is the domain of the names in DNS; empty: none.
	Domain string
	// MTU in bytes is given to clients (option 26); 0: not sent.
	MTU uint32
	// Authoritative lets dnsmasq confirm a lease which it does not know, if it is the one that the client should have.
	// So a server that was moved, or lost its lease file, refuses nobody. With several servers on one network it has to
	// be false: an authoritative server refuses clients that chose another server's offer.
	Authoritative bool
	Subnets       []Subnet
	Hosts         []Host
}

// Subnet is a range in which hosts get addresses; no others do.
type Subnet struct {
	// ID names the subnet in tags.
	ID     string
	Prefix netip.Prefix
	// Server is dnsmasq's own address in the subnet. Clients are told to ask it for names if there are no Nameservers.
	Server netip.Addr
	// Gateway is the default router; the zero value: none.
	Gateway netip.Addr
	// Nameservers for the clients. Only 0.0.0.0 (or ::) means that no nameserver is given, as in Neutron.
	Nameservers []netip.Addr
	// Routes other than the default route; IPv4 only (DHCPv6 has no routes).
	Routes []Route
	// Lease is the time after which a client has to have renewed; whole seconds, at least two minutes.
	Lease time.Duration
}

// Route is a classless static route (RFC 3442).
type Route struct {
	Destination netip.Prefix
	// NextHop 0.0.0.0 means that the destination is on the link.
	NextHop netip.Addr
}

// Host is a client and the addresses that it gets, at most one IPv4 address in a subnet.
type Host struct {
	// ID names the host in its tag.
	ID        string
	MAC       net.HardwareAddr
	Addresses []netip.Addr
	// Name without a domain, see ExpressibleName.
	Name string
}

// FieldError says which value cannot be given to dnsmasq, and why.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

func badField(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Validate checks all but the subnets and hosts.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.Dir) || !only(c.Dir, "/._-+@=:") {
		return badField("dir", "%q is not an absolute path of letters, digits and /._-+@=:", c.Dir)
	}
	if c.User == "" || !only(c.User, "_-") {
		return badField("user", "%q is not a name of a user", c.User)
	}
	if c.Interface == "" || len(c.Interface) > maxInterface || !only(c.Interface, "_-.") {
		return badField("interface", "%q is not a name of a device", c.Interface)
	}
	if err := checkDomain("domain", c.Domain); c.Domain != "" && err != nil {
		return err
	}
	if c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535) {
		return badField("mtu", "%d is not between 68 and 65535", c.MTU)
	}
	return nil
}

// Validate checks the subnet alone.
func (s Subnet) Validate() error {
	if err := checkID("subnet id", s.ID); err != nil {
		return err
	}
	if !s.Prefix.IsValid() || s.Prefix != s.Prefix.Masked() {
		return badField("cidr", "%v is not a network", s.Prefix)
	}
	if s.Prefix.Addr().Is6() && s.Prefix.Bits() < minPrefix6 {
		return badField("cidr", "%v: DHCPv6 needs a prefix of %d bits or more", s.Prefix, minPrefix6)
	}
	if !s.Server.IsValid() || !s.Prefix.Contains(s.Server) || s.Server.Zone() != "" {
		return badField("server_ip", "%v is not in %v", s.Server, s.Prefix)
	}
	if s.Gateway.IsValid() && (s.Gateway.Is4() != s.Prefix.Addr().Is4() || s.Gateway.Zone() != "") {
		return badField("gateway_ip", "%v does not fit %v", s.Gateway, s.Prefix)
	}
	for _, a := range s.Nameservers {
		if !a.IsValid() || a.Is4() != s.Prefix.Addr().Is4() || a.Zone() != "" {
			return badField("dns_nameservers", "%v does not fit %v", a, s.Prefix)
		}
	}
	if s.Lease < minLease || s.Lease%time.Second != 0 || s.Lease/time.Second > 1<<31 {
		return badField("lease_seconds", "%v is not whole seconds from %v on", s.Lease, minLease)
	}
	if len(s.Nameservers)*4 > maxOption {
		return badField("dns_nameservers", "%d of them do not fit into a DHCP option", len(s.Nameservers))
	}
	return s.checkRoutes()
}

func (s Subnet) checkRoutes() error {
	if s.Prefix.Addr().Is6() {
		return nil // DHCPv6 has no routes; they are not sent
	}
	size := 5 // the default route
	for _, r := range s.Routes {
		if !r.Destination.IsValid() || !r.Destination.Addr().Is4() || !r.NextHop.Is4() {
			return badField("host_routes", "%v via %v is not an IPv4 route", r.Destination, r.NextHop)
		}
		size += 5 + (r.Destination.Bits()+7)/8 // RFC 3442: the length, the significant bytes, the router
	}
	if size > maxOption || len(s.routeText()) > maxLine {
		return badField("host_routes", "%d routes do not fit into a DHCP option of %d bytes", len(s.Routes), maxOption)
	}
	return nil
}

// Validate checks the host alone.
func (h Host) Validate() error {
	if err := checkID("port id", h.ID); err != nil {
		return err
	}
	if len(h.MAC) != 6 || h.MAC[0]&1 == 1 || h.MAC.String() == "00:00:00:00:00:00" {
		return badField("mac", "%q is not a unicast Ethernet address", h.MAC.String())
	}
	if !ExpressibleName(h.Name) {
		return badField("hostname", "%q is not a name that dnsmasq can be given", h.Name)
	}
	if len(h.Addresses) == 0 {
		return badField("addresses", "there is none")
	}
	for _, a := range h.Addresses {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
			return badField("addresses", "%v is not an address of a host", a)
		}
	}
	return nil
}

// ExpressibleName says whether the name is a label of DNS (RFC 1123) which dnsmasq does not take for something else: in
// the line of a host, "12h" or "90" is a lease time, and "ignore" is an order.
func ExpressibleName(name string) bool {
	if checkLabel(name) != nil {
		return false
	}
	switch strings.ToLower(name) {
	case "ignore", "infinite", "deprecated":
		return false
	}
	digits := strings.TrimLeft(name, "0123456789")
	return digits == name || len(digits) > 1
}

func checkLabel(label string) error {
	switch {
	case label == "" || len(label) > 63:
		return fmt.Errorf("a label has 1 to 63 characters")
	case !only(label, "-"):
		return fmt.Errorf("it may hold letters, digits and hyphens only")
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("a label neither begins nor ends with a hyphen")
	}
	return nil
}

func checkDomain(field, domain string) error {
	if len(domain) > 253 {
		return badField(field, "it is longer than 253 characters")
	}
	for label := range strings.SplitSeq(domain, ".") {
		if err := checkLabel(label); err != nil {
			return badField(field, "%q: %v", domain, err)
		}
	}
	return nil
}

// checkID accepts what may be part of a tag.
func checkID(field, id string) error {
	if id == "" || len(id) > 64 || !only(id, "-") {
		return badField(field, "%q may hold up to 64 letters, digits and hyphens only", id)
	}
	return nil
}

// only says whether s holds nothing but ASCII letters, digits and the characters of extra. Every string that is written
// into a file has passed through here.
func only(s, extra string) bool {
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		digit := r >= '0' && r <= '9'
		if !letter && !digit && !strings.ContainsRune(extra, r) {
			return false
		}
	}
	return true
}

// HostName is the name that a host gets: the first label of the one it asks for or, if that is empty or cannot be
// expressed, one made of its address as in Neutron (host-10-0-0-3). A name that is none by the rules of DNS is an error.
func HostName(name string, address netip.Addr) (string, error) {
	generated := "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(address.StringExpanded())
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return generated, nil
	}
	if err := checkDomain("hostname", name); err != nil {
		return "", err
	}
	if first, _, _ := strings.Cut(name, "."); ExpressibleName(first) {
		return first, nil
	}
	return generated, nil
}
