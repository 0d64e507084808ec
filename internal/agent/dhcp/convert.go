package dhcp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// defaultLease is that of Neutron, for a document that names none.
const defaultLease = 24 * time.Hour

// defaultMTU is used for the devices where the network names none.
const defaultMTU = 1500

// documents are those that concern one network: the dhcp-network document and its dhcp-hosts, by key.
type documents map[string]*sb.Document

// same says whether nothing has changed. Documents never change, so it is enough to compare pointers.
func (d documents) same(other documents) bool { return maps.Equal(d, other) }

// group sorts the documents of the view by network.
func group(view *agent.View) map[string]documents {
	out := map[string]documents{}
	add := func(network string, d *sb.Document) {
		if out[network] == nil {
			out[network] = documents{}
		}
		out[network][d.GetKey()] = d
	}
	for d := range view.All() {
		if n := d.GetDhcpNetwork(); n != nil {
			add(n.GetNetworkId(), d)
		}
		if h := d.GetDhcpHost(); h != nil {
			add(h.GetNetworkId(), d)
		}
	}
	return out
}

// wanted is the DHCP server of a network as it should be.
type wanted struct {
	network, port string
	mac           net.HardwareAddr
	mtu           int
	addresses     []netip.Prefix
	config        dnsmasq.Config
	files         dnsmasq.Files
}

func (w *wanted) namespace() string { return "qdhcp-" + w.network }
func (w *wanted) hostDevice() string {
	return "tap" + w.port[:11]
}
func (w *wanted) insideDevice() string { return "ns-" + w.port[:11] }

// mark is the ifalias of both ends; it is the one of all devices of ports, since the outer end is the device of a port.
func (w *wanted) mark() string { return "neutrino:port:" + w.port }

// conversion is what the documents of a network ask for.
type conversion struct {
	// server is nil if there is nothing to serve, or if the document is too broken to tell.
	server *wanted
	// broken says that the network's document cannot be read: what is running goes on as it is.
	broken bool
	// reasons has an entry for each document: empty if it can be done.
	reasons map[string]string
}

// convert works out the server of a network. Nothing in a document can make it fail as a whole: a host or a subnet that
// cannot be served is left out and has its reason.
func convert(docs documents, base dnsmasq.Config) conversion {
	c := conversion{reasons: map[string]string{}}
	var network *sb.DhcpNetwork
	var networkKey string
	var hosts []*sb.Document
	for key, d := range docs {
		c.reasons[key] = ""
		if d.GetDhcpHost() != nil {
			hosts = append(hosts, d)
		} else {
			network, networkKey = d.GetDhcpNetwork(), key
		}
	}
	if network == nil {
		c.failAll(hosts, "this host does not serve DHCP on the network")
		return c
	}
	w, problems, err := convertNetwork(network, base)
	if err != nil {
		c.broken = true
		c.reasons[networkKey] = err.Error()
		c.failAll(hosts, "the network cannot be served: "+err.Error())
		return c
	}
	subnets, more := convertSubnets(network, w)
	problems = append(problems, more...)
	c.reasons[networkKey] = strings.Join(problems, "; ")
	if len(w.config.Subnets) == 0 {
		c.broken = len(problems) > 0
		if c.broken {
			c.failAll(hosts, "no subnet of the network can be served")
		}
		return c
	}
	c.convertHosts(hosts, w, subnets)
	if w.files, err = dnsmasq.Render(w.config); err != nil {
		// Every part was checked before; this is what is left, such as a path of ours.
		c.broken = true
		c.reasons[networkKey] = err.Error()
		return c
	}
	c.server = w
	return c
}

func (c *conversion) failAll(hosts []*sb.Document, reason string) {
	for _, d := range hosts {
		c.reasons[d.GetKey()] = reason
	}
}

// convertNetwork reads all but the subnets. The error is about what no server can do without; problems are about what
// is left out.
func convertNetwork(n *sb.DhcpNetwork, base dnsmasq.Config) (w *wanted, problems []string, err error) {
	if !isID(n.GetNetworkId()) || !isID(n.GetPortId()) {
		return nil, nil, fmt.Errorf("network_id %q or port_id %q is not a UUID", n.GetNetworkId(), n.GetPortId())
	}
	mac, err := net.ParseMAC(n.GetMac())
	if err != nil || len(mac) != 6 {
		return nil, nil, fmt.Errorf("mac: %q is not an Ethernet address", n.GetMac())
	}
	w = &wanted{network: n.GetNetworkId(), port: n.GetPortId(), mac: mac, mtu: int(n.GetMtu()), config: base}
	w.config.Dir = filepath.Join(base.Dir, w.network)
	w.config.Interface = w.insideDevice()
	w.config.Domain = strings.TrimSuffix(n.GetDnsDomain(), ".")
	w.config.MTU = n.GetMtu()
	if w.mtu == 0 {
		w.mtu = defaultMTU
	}
	err = w.config.Validate()
	var field *dnsmasq.FieldError
	if errors.As(err, &field) && field.Field == "domain" {
		problems = append(problems, err.Error())
		w.config.Domain = ""
		err = w.config.Validate()
	}
	if err != nil {
		return nil, nil, err
	}
	return w, problems, nil
}

// servable is a subnet that hosts may have addresses in.
type servable struct {
	prefix  netip.Prefix
	server  netip.Addr
	enabled bool
	reason  string // why it is not served although it should be
}

// convertSubnets adds the subnets that can be served to w, and returns all by id.
func convertSubnets(n *sb.DhcpNetwork, w *wanted) (map[string]servable, []string) {
	all := map[string]servable{}
	var problems []string
	onLink := onLinkRoutes(n)
	for _, doc := range n.GetSubnets() {
		if !doc.GetEnableDhcp() {
			all[doc.GetSubnetId()] = servable{}
			continue
		}
		s, err := convertSubnet(doc)
		if err == nil {
			// Neighbouring subnets on the same link are reached directly, as in Neutron, as long as there is room.
			with := s
			with.Routes = append(onLink.except(s.Prefix), s.Routes...)
			if s.Prefix.Addr().Is4() && with.Validate() == nil {
				s = with
			}
			err = s.Validate()
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("subnet %q: %v", doc.GetSubnetId(), err))
			all[doc.GetSubnetId()] = servable{enabled: true, reason: err.Error()}
			continue
		}
		all[s.ID] = servable{prefix: s.Prefix, server: s.Server, enabled: true}
		w.addresses = append(w.addresses, netip.PrefixFrom(s.Server, s.Prefix.Bits()))
		w.config.Subnets = append(w.config.Subnets, s)
	}
	return all, problems
}

func convertSubnet(doc *sb.DhcpSubnet) (dnsmasq.Subnet, error) {
	s := dnsmasq.Subnet{ID: doc.GetSubnetId(), Lease: time.Duration(doc.GetLeaseSeconds()) * time.Second}
	if s.Lease == 0 {
		s.Lease = defaultLease
	}
	var err error
	if s.Prefix, err = netip.ParsePrefix(doc.GetCidr()); err != nil {
		return s, fmt.Errorf("cidr: %q is not a prefix", doc.GetCidr())
	}
	if s.Server, err = netip.ParseAddr(doc.GetServerIp()); err != nil {
		return s, fmt.Errorf("server_ip: %q is not an address", doc.GetServerIp())
	}
	if text := doc.GetGatewayIp(); text != "" {
		if s.Gateway, err = netip.ParseAddr(text); err != nil {
			return s, fmt.Errorf("gateway_ip: %q is not an address", text)
		}
	}
	for _, text := range doc.GetDnsNameservers() {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return s, fmt.Errorf("dns_nameservers: %q is not an address", text)
		}
		s.Nameservers = append(s.Nameservers, a)
	}
	for _, r := range doc.GetHostRoutes() {
		to, err := netip.ParsePrefix(r.GetDestination())
		if err != nil {
			return s, fmt.Errorf("host_routes: %q is not a prefix", r.GetDestination())
		}
		via, err := netip.ParseAddr(r.GetNexthop())
		if err != nil {
			return s, fmt.Errorf("host_routes: %q is not an address", r.GetNexthop())
		}
		if to.Bits() == 0 {
			// A default route among the host routes is the gateway of a subnet without one, as in Neutron.
			if !s.Gateway.IsValid() {
				s.Gateway = via
			}
			continue
		}
		s.Routes = append(s.Routes, dnsmasq.Route{Destination: to, NextHop: via})
	}
	return s, nil
}

// prefixes are the IPv4 prefixes of a network.
type prefixes []netip.Prefix

func onLinkRoutes(n *sb.DhcpNetwork) prefixes {
	var out prefixes
	for _, doc := range n.GetSubnets() {
		if p, err := netip.ParsePrefix(doc.GetCidr()); err == nil && p.Addr().Is4() {
			out = append(out, p.Masked())
		}
	}
	return out
}

func (p prefixes) except(own netip.Prefix) []dnsmasq.Route {
	var out []dnsmasq.Route
	for _, other := range p {
		if other != own {
			out = append(out, dnsmasq.Route{Destination: other, NextHop: netip.IPv4Unspecified()})
		}
	}
	return out
}

// convertHosts adds the hosts that can be served to w. Of two hosts which claim the same address or MAC, the one with
// the smaller port id is served: dnsmasq would refuse both.
func (c *conversion) convertHosts(docs []*sb.Document, w *wanted, subnets map[string]servable) {
	slices.SortFunc(docs, func(a, b *sb.Document) int {
		return cmp.Compare(a.GetDhcpHost().GetPortId(), b.GetDhcpHost().GetPortId())
	})
	owner := map[string]string{w.mac.String(): w.port} // of addresses and MACs
	for _, d := range docs {
		host, err := convertHost(d.GetDhcpHost(), subnets)
		if err == nil && host != nil {
			err = claim(owner, host)
		}
		if err != nil {
			c.reasons[d.GetKey()] = err.Error()
			continue
		}
		if host != nil {
			w.config.Hosts = append(w.config.Hosts, *host)
		}
	}
}

// claim notes the MAC and the addresses of the host as taken, unless one of them is already.
func claim(owner map[string]string, h *dnsmasq.Host) error {
	keys := []string{h.MAC.String()}
	for _, a := range h.Addresses {
		keys = append(keys, a.String())
	}
	for _, k := range keys {
		if other, taken := owner[k]; taken {
			return fmt.Errorf("%s belongs to port %s already", k, other)
		}
	}
	for _, k := range keys {
		owner[k] = h.ID
	}
	return nil
}

// convertHost returns nil if the host has no address in a subnet with DHCP.
func convertHost(doc *sb.DhcpHost, subnets map[string]servable) (*dnsmasq.Host, error) {
	mac, err := net.ParseMAC(doc.GetMac())
	if err != nil {
		return nil, fmt.Errorf("mac: %q is not an Ethernet address", doc.GetMac())
	}
	host := &dnsmasq.Host{ID: doc.GetPortId(), MAC: mac}
	served := map[string]bool{} // IPv4 subnets in which it has its address: DHCP can give only one
	for _, a := range doc.GetAddresses() {
		subnet, known := subnets[a.GetSubnetId()]
		if !known {
			return nil, fmt.Errorf("addresses: there is no subnet %q", a.GetSubnetId())
		}
		if !subnet.enabled {
			continue
		}
		if subnet.reason != "" {
			return nil, fmt.Errorf("subnet %q cannot be served: %s", a.GetSubnetId(), subnet.reason)
		}
		ip, err := netip.ParseAddr(a.GetIp())
		if err != nil {
			return nil, fmt.Errorf("addresses: %q is not an address", a.GetIp())
		}
		if !subnet.prefix.Contains(ip) || ip == subnet.server {
			return nil, fmt.Errorf("addresses: %v is not for a host in %v", ip, subnet.prefix)
		}
		if ip.Is4() && served[a.GetSubnetId()] {
			continue
		}
		served[a.GetSubnetId()] = true
		host.Addresses = append(host.Addresses, ip)
	}
	if len(host.Addresses) == 0 {
		return nil, nil
	}
	if host.Name, err = dnsmasq.HostName(doc.GetHostname(), host.Addresses[0]); err != nil {
		return nil, err
	}
	return host, host.Validate()
}

// isID accepts only the canonical form of a UUID: it becomes part of paths and names of devices.
func isID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil
}
