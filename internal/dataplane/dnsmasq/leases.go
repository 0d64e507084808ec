package dnsmasq

import (
	"net/netip"
	"strings"
)

// Lease is a line of dnsmasq's lease file: an address and the client that has it.
type Lease struct {
	MAC     string
	Address netip.Addr
	line    string
}

// ParseLeases reads the IPv4 leases of a lease file: "expiry mac address name client-id" in each line.
func ParseLeases(text []byte) []Lease {
	var out []Lease
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		address, err := netip.ParseAddr(fields[2])
		if err != nil || !address.Is4() {
			continue
		}
		out = append(out, Lease{MAC: strings.ToLower(fields[1]), Address: address, line: line})
	}
	return out
}

// WithoutStaleLeases returns the lease file without the leases of addresses that now belong to another host, and how
// many those were. dnsmasq would not give such an address to its new owner until the old lease has run out.
func WithoutStaleLeases(text []byte, hosts []Host) (kept []byte, stale int) {
	owner := make(map[netip.Addr]string, len(hosts))
	for _, h := range hosts {
		for _, a := range h.Addresses {
			owner[a] = h.MAC.String()
		}
	}
	drop := map[string]bool{}
	for _, l := range ParseLeases(text) {
		if mac, known := owner[l.Address]; known && mac != l.MAC {
			drop[l.line] = true
		}
	}
	for line := range strings.Lines(string(text)) {
		if !drop[line] {
			kept = append(kept, line...)
		}
	}
	return kept, len(drop)
}
