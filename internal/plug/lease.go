package plug

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// resend is the time after which an unanswered message is sent again. It is short: the server is one hop away, and what
// is lost is lost since the port has only just been wired.
const resend = 250 * time.Millisecond

// Lease is what a DHCP server gave.
type Lease struct {
	Address netip.Prefix
	Server  netip.Addr
	// Routes are those of option 121 or, without it, the default route of option 3 (RFC 3442).
	Routes []Route
	DNS    []netip.Addr
	Domain string
	Name   string
	// MTU is 0 if none was given.
	MTU      int
	Duration time.Duration
	// Took is the time from the first DISCOVER to the ACK.
	Took time.Duration
	// Ack is the server's last message.
	Ack *dhcpv4.DHCPv4
}

// Route is a route; without a Via, or with 0.0.0.0, its destination is on the link.
type Route struct {
	Destination netip.Prefix
	Via         netip.Addr
}

// Ask gets a lease over the device in the namespace. Nothing is set.
func Ask(ctx context.Context, ns *netns.Handle, device string) (Lease, error) {
	retries := 40
	if deadline, set := ctx.Deadline(); set {
		retries = max(1, int(time.Until(deadline)/resend))
	}
	var client *nclient4.Client
	// The socket belongs to the namespace in which it was made; it may be used from anywhere.
	err := netns.Do(ns, func() (err error) {
		client, err = nclient4.New(device, nclient4.WithTimeout(resend), nclient4.WithRetry(retries))
		return err
	})
	if err != nil {
		return Lease{}, fmt.Errorf("prepare DHCP on %s: %w", device, err)
	}
	defer client.Close()

	begun := time.Now()
	got, err := client.Request(ctx, dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionDomainName, dhcpv4.OptionHostName, dhcpv4.OptionInterfaceMTU))
	if err != nil {
		return Lease{}, fmt.Errorf("no lease by DHCP after %v: %w", time.Since(begun).Round(time.Millisecond), err)
	}
	lease, err := parse(got.ACK)
	lease.Took = time.Since(begun)
	return lease, err
}

func parse(ack *dhcpv4.DHCPv4) (Lease, error) {
	address, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || address.IsUnspecified() {
		return Lease{}, errors.New("the DHCP server gave no address")
	}
	ones, bits := ack.SubnetMask().Size()
	if bits == 0 {
		return Lease{}, errors.New("the DHCP server gave no mask")
	}
	l := Lease{
		Address: netip.PrefixFrom(address, ones), Domain: ack.DomainName(), Name: ack.HostName(),
		Duration: ack.IPAddressLeaseTime(0), DNS: convert(ack.DNS()), Ack: ack,
	}
	if server := convert([]net.IP{ack.ServerIdentifier()}); len(server) == 1 {
		l.Server = server[0]
	}
	if mtu := ack.Options.Get(dhcpv4.OptionInterfaceMTU); len(mtu) == 2 {
		l.MTU = int(binary.BigEndian.Uint16(mtu))
	}
	if routes := ack.ClasslessStaticRoute(); len(routes) > 0 {
		for _, r := range routes {
			to, ok := netip.AddrFromSlice(r.Dest.IP.To4())
			via := convert([]net.IP{r.Router})
			if ones, _ := r.Dest.Mask.Size(); ok && len(via) == 1 {
				l.Routes = append(l.Routes, Route{Destination: netip.PrefixFrom(to, ones), Via: via[0]})
			}
		}
		return l, nil
	}
	if routers := convert(ack.Router()); len(routers) > 0 { // the first is the preferred one
		l.Routes = []Route{{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: routers[0]}}
	}
	return l, nil
}

func convert(ips []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok {
			out = append(out, a)
		}
	}
	return out
}
