package l3

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/nftmap"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The maps of a router's table. One floating IP is one element in each of the first two; a port forwarding has an
// element for each of its ports in the third.
const (
	fixedOf    = "fixed-of"    // floating IP → fixed IP, for what comes in
	floatingOf = "floating-of" // fixed IP → floating IP, for what goes out
	forwarded  = "forwarded"   // floating IP, protocol, port → fixed IP, port
)

// protocols are those whose ports can be forwarded: they have their ports in the first four bytes.
var protocols = map[string]byte{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "dccp": unix.IPPROTO_DCCP,
	"udplite": unix.IPPROTO_UDPLITE,
}

// translations turns floating IPs and port forwardings into elements of maps.
type translations struct {
	*conversion
	*wanted
	elements map[string]nftmap.Elements
	// addresses → key of the document that has it.
	addresses, fixed map[netip.Addr]string
}

func (t *translations) convert(docs documents) {
	t.elements = map[string]nftmap.Elements{fixedOf: {}, floatingOf: {}, forwarded: {}}
	t.addresses, t.fixed = map[netip.Addr]string{}, map[netip.Addr]string{}
	keys := slices.Sorted(maps.Keys(docs))
	for _, key := range keys {
		if f := docs[key].GetFloatingIp(); f != nil {
			t.note(key, t.floating(key, f))
		}
	}
	for _, key := range keys {
		if f := docs[key].GetPortForwarding(); f != nil {
			t.note(key, t.forward(f))
		}
	}
}

func (t *translations) note(key string, err error) {
	if err != nil {
		t.reasons[key] = err.Error()
	}
}

func (t *translations) floating(key string, f *sb.FloatingIp) error {
	address, err := parse4(f.GetAddress())
	if err != nil {
		return err
	}
	g := t.gateway()
	if g == nil {
		return fmt.Errorf("the router has no leg in the external network")
	}
	if other, taken := t.addresses[address]; taken {
		return fmt.Errorf("%s is that of %s already", address, other)
	}
	for _, l := range t.legs {
		if slices.ContainsFunc(l.addresses, func(p netip.Prefix) bool { return p.Addr() == address }) {
			return fmt.Errorf("%s is an address of the router itself", address)
		}
	}
	if f.GetFixedIp() != "" {
		fixed, err := parse4(f.GetFixedIp())
		if err != nil {
			return err
		}
		if other, taken := t.fixed[fixed]; taken {
			return fmt.Errorf("%s has the floating IP of %s already", fixed, other)
		}
		t.fixed[fixed] = key
		t.elements[fixedOf][bytes4(address)] = bytes4(fixed)
		t.elements[floatingOf][bytes4(fixed)] = bytes4(address)
	}
	t.addresses[address] = key
	g.addresses = append(g.addresses, netip.PrefixFrom(address, 32))
	return nil
}

func (t *translations) forward(f *sb.PortForwarding) error {
	address, err := parse4(f.GetAddress())
	if err != nil {
		return err
	}
	internal, err := parse4(f.GetInternalIp())
	if err != nil {
		return err
	}
	protocol, known := protocols[f.GetProtocol()]
	if !known {
		return fmt.Errorf("the ports of protocol %.20q cannot be forwarded", f.GetProtocol())
	}
	if _, have := t.addresses[address]; !have {
		return fmt.Errorf("the router does not have the floating IP %s", address)
	}
	if _, whole := t.elements[fixedOf][bytes4(address)]; whole {
		return fmt.Errorf("the floating IP %s stands for a fixed address as a whole", address)
	}
	external := portRange{f.GetExternalFirst(), f.GetExternalLast()}
	inside := portRange{f.GetInternalFirst(), f.GetInternalLast()}
	if !external.valid() || !inside.valid() || inside.size() != 1 && inside.size() != external.size() {
		return fmt.Errorf("the ports %v cannot be forwarded to %v", external, inside)
	}
	added := nftmap.Elements{}
	for i := range external.size() {
		key := endpoint(address, protocol, external.first+i)
		if _, taken := t.elements[forwarded][key]; taken {
			return fmt.Errorf("port %d of %s is forwarded already", external.first+i, address)
		}
		added[key] = target(internal, inside.first+min(i, inside.size()-1))
	}
	maps.Copy(t.elements[forwarded], added)
	return nil
}

// portRange are ports from first to last.
type portRange struct{ first, last uint32 }

func (r portRange) valid() bool    { return r.first >= 1 && r.first <= r.last && r.last <= 65535 }
func (r portRange) size() uint32   { return r.last - r.first + 1 }
func (r portRange) String() string { return fmt.Sprintf("%d-%d", r.first, r.last) }

func parse4(text string) (netip.Addr, error) {
	ip, err := parseAddr(text)
	if err == nil && !ip.Is4() {
		err = fmt.Errorf("%s is no IPv4 address", ip)
	}
	return ip, err
}

func bytes4(ip netip.Addr) string { return string(ip.AsSlice()) }

// endpoint and target are key and value of the map forwarded, as bytes: each part is filled up to four of them.
func endpoint(ip netip.Addr, protocol byte, port uint32) string {
	return bytes4(ip) + string([]byte{protocol, 0, 0, 0}) + portBytes(port)
}

func target(ip netip.Addr, port uint32) string { return bytes4(ip) + portBytes(port) }

func portBytes(port uint32) string {
	return string(append(binary.BigEndian.AppendUint16(nil, uint16(port)), 0, 0))
}

// parseEndpoint and parse4Bytes read keys and values back.
func parseEndpoint(key string) (ip netip.Addr, protocol byte, port uint16) {
	if len(key) != 12 {
		return netip.Addr{}, 0, 0
	}
	return parse4Bytes(key), key[4], binary.BigEndian.Uint16([]byte(key[8:]))
}

func parse4Bytes(b string) netip.Addr {
	if len(b) < 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte([]byte(b[:4])))
}
