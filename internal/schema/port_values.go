package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

// The most items that the lists of a port may have.
const (
	maxFixedIPs       = 32
	maxAddressPairs   = 10 // as in Neutron
	maxSecurityGroups = 64
	// MaxDHCPOptions bounds the extra DHCP options of a port.
	MaxDHCPOptions = 64
)

// fixedIPs are a list in which only addresses must not repeat: two addresses of one subnet can be asked for.
func fixedIPs() codec[[]model.FixedIP] {
	item := fixedIP()
	c := list(maxFixedIPs, item)
	c.parse = func(raw any) ([]model.FixedIP, error) {
		values, err := items(raw, maxFixedIPs)
		if err != nil {
			return nil, err
		}
		out := make([]model.FixedIP, 0, len(values))
		for _, r := range values {
			f, err := item.parse(r)
			if err != nil {
				return nil, err
			}
			if f.IP.IsValid() && slices.ContainsFunc(out, func(o model.FixedIP) bool { return o.IP == f.IP }) {
				return nil, fmt.Errorf("duplicate IP address '%s'", f.IP)
			}
			out = append(out, f)
		}
		return out, nil
	}
	return c
}

// items are the items of a list; null is the empty list.
func items(raw any, most int) ([]any, error) {
	values, ok := raw.([]any)
	if raw != nil && !ok {
		return nil, fmt.Errorf("'%s' is not a list", quote(raw))
	}
	if len(values) > most {
		return nil, fmt.Errorf("it has %d items, and at most %d are allowed", len(values), most)
	}
	return values, nil
}

// matchFixedIP understands ip_address=A, subnet_id=S and ip_address_substr=T.
func matchFixedIP(p *model.Port, value string) bool {
	key, want, _ := strings.Cut(value, "=")
	return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool {
		switch key {
		case "ip_address":
			return sameAddress(f.IP, want)
		case "subnet_id":
			return f.SubnetID == want
		case "ip_address_substr":
			return strings.Contains(f.IP.String(), want)
		}
		return false
	})
}

// sameAddress compares with an address however it is spelt.
func sameAddress(ip netip.Addr, text string) bool {
	if ip.String() == text {
		return true
	}
	other, err := netip.ParseAddr(text)
	return err == nil && other == ip
}

// securityGroups are the ids of groups, each once; null, unlike the empty list, leaves the choice to the rules.
func securityGroups() codec[[]string] {
	c := list(maxSecurityGroups, id())
	c.parse = func(raw any) ([]string, error) {
		values, err := items(raw, maxSecurityGroups)
		if err != nil || raw == nil {
			return nil, err
		}
		out := make([]string, 0, len(values))
		for _, r := range values {
			v, err := id().parse(r)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
		return out, nil
	}
	return c
}

// addressPairs are the allowed address pairs of a port. The faults are AllowedAddressPairExhausted,
// AllowedAddressPairsMissingIP and DuplicateAddressPairInRequest, all 400.
func addressPairs() codec[[]model.AddressPair] {
	item := addressPair()
	c := list(maxAddressPairs, item)
	c.parse = func(raw any) ([]model.AddressPair, error) {
		if values, ok := raw.([]any); ok && len(values) > maxAddressPairs {
			return nil, fault.New(fault.Invalid, "AllowedAddressPairExhausted",
				"The number of allowed address pair exceeds the maximum %d.", maxAddressPairs)
		}
		values, err := items(raw, maxAddressPairs)
		if err != nil {
			return nil, err
		}
		out := make([]model.AddressPair, 0, len(values))
		for _, r := range values {
			pair, err := item.parse(r)
			if err != nil {
				return nil, err
			}
			same := func(o model.AddressPair) bool { return o.IP == pair.IP && o.MAC == pair.MAC }
			if slices.ContainsFunc(out, same) {
				return nil, DuplicatePair(pair)
			}
			out = append(out, pair)
		}
		return out, nil
	}
	return c
}

// DuplicatePair is the fault of a pair that a port would have twice.
func DuplicatePair(pair model.AddressPair) error {
	return fault.New(fault.Invalid, "DuplicateAddressPairInRequest",
		"Request contains duplicate address pair: mac_address %s ip_address %s.", pair.MAC, pair.Text())
}

// addressPair is an address, or a block in which host bits may be set, and a MAC that may be left out.
func addressPair() codec[model.AddressPair] {
	return object([]Member{must("ip_address", aText), may("mac_address", mac().shape)},
		func(m map[string]any) (pair model.AddressPair, err error) {
			if raw := m["mac_address"]; raw != nil {
				if pair.MAC, err = mac().parse(raw); err != nil {
					return pair, err
				}
			}
			raw, given := m["ip_address"]
			if !given {
				return pair, fault.New(fault.Invalid, "AllowedAddressPairsMissingIP",
					"AllowedAddressPair must contain ip_address")
			}
			s, _ := raw.(string)
			if pair.Plain = !strings.Contains(s, "/"); pair.Plain {
				ip, err := parseAddr(raw)
				pair.IP = netip.PrefixFrom(ip, ip.BitLen())
				return pair, err
			}
			if _, err := parsePrefix(raw); err != nil {
				return pair, err
			}
			pair.IP, err = netip.ParsePrefix(s)
			return pair, err
		},
		func(pair model.AddressPair) any {
			return map[string]string{"ip_address": pair.Text(), "mac_address": pair.MAC}
		})
}

// matchAddressPair understands ip_address=A and mac_address=M.
func matchAddressPair(p *model.Port, value string) bool {
	key, want, _ := strings.Cut(value, "=")
	return slices.ContainsFunc(p.AllowedAddressPairs, func(a model.AddressPair) bool {
		switch key {
		case "ip_address":
			return a.Text() == want
		case "mac_address":
			return a.MAC == strings.ToLower(want)
		}
		return false
	})
}

// The bounds of an extra DHCP option, in characters.
const (
	maxOptionName  = 64
	maxOptionValue = 255
)

// optionName is how an option may be called: by number or by name, with what dnsmasq puts before it. Other characters
// could end the name in the configuration of a DHCP server.
var optionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]*$`)

// blankable are the options that may have an empty value, which tells a client that there is none.
var blankable = []string{"router", "classless-static-route"}

// dhcpOptionMembers are the members of an extra DHCP option.
var dhcpOptionMembers = []Member{
	must("opt_name", text(maxOptionName).shape), must("opt_value", text(maxOptionValue).shape.orNull()),
	may("ip_version", ipVersion().shape),
}

// dhcpOptions are the extra DHCP options of a port.
func dhcpOptions() codec[[]model.DHCPOption] {
	item := object(dhcpOptionMembers, readDHCPOption,
		func(o model.DHCPOption) any { return o })
	item.text = func(o model.DHCPOption) string { return fmt.Sprint(o.Name, "/", o.IPVersion) }
	return list(MaxDHCPOptions, item)
}

// readDHCPOption reads an option. Its value has to be one line: it ends up in the configuration of a DHCP server, and
// a second line would be another setting there (CVE-2021-40085).
func readDHCPOption(m map[string]any) (o model.DHCPOption, err error) {
	name, ok := m["opt_name"].(string)
	if !ok || len(name) > maxOptionName || !optionName.MatchString(name) {
		return o, fmt.Errorf("'%s' is not the name of a DHCP option", quote(m["opt_name"]))
	}
	o.Name, o.IPVersion = name, 4
	if raw, given := m["ip_version"]; given {
		if o.IPVersion, err = integer(4, 6).parse(raw); err != nil || o.IPVersion == 5 {
			return o, fmt.Errorf("'%s' is not in [4, 6]", quote(raw))
		}
	}
	raw, given := m["opt_value"]
	if !given {
		return o, errors.New("an option needs opt_value")
	}
	if raw == nil {
		o.Remove = true
		return o, nil
	}
	if o.Value, ok = raw.(string); !ok {
		return o, fmt.Errorf("'%s' is not a valid string", quote(raw))
	}
	switch {
	case utf8.RuneCountInString(o.Value) > maxOptionValue:
		return o, fmt.Errorf("'%s' exceeds maximum length of %d", clip(o.Value), maxOptionValue)
	case !utf8.ValidString(o.Value) || strings.IndexFunc(o.Value, breaksLine) >= 0:
		return o, fmt.Errorf("Multi-line string is not allowed: '%s'", clip(o.Value))
	case strings.TrimSpace(o.Value) == "" && !slices.Contains(blankable, o.Name):
		return o, fmt.Errorf("'%s' Blank strings are not permitted", clip(o.Value))
	}
	return o, nil
}

// breaksLine says whether some program could take the character for the end of a line, or for anything else than text.
func breaksLine(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

// hostName is the name of a workload, with a dot at its end where it is complete. It is stored in lower case.
func hostName() codec[string] {
	return domainCodec(func(s string) error {
		name := strings.TrimSuffix(s, ".")
		if err := checkLabels(name, maxDomain-1); err != nil {
			return err
		}
		if at := strings.LastIndexByte(name, '.'); at >= 0 && strings.Trim(name[at+1:], "0123456789") == "" {
			return fmt.Errorf("'%s' not a valid PQDN or FQDN. Reason: TLD '%s' must not be all numeric", clip(s), name[at+1:])
		}
		return nil
	})
}

// nameAssignment is what an address of a port is called.
type nameAssignment struct {
	IP       string `json:"ip_address"`
	Hostname string `json:"hostname"`
	FQDN     string `json:"fqdn"`
}

var assignments = anArray(anObject(
	may("ip_address", address().shape), may("hostname", aText), may("fqdn", aText)))

// dnsAssignment are the names of all addresses of the port: its own, or one made of the address.
func dnsAssignment(p *model.Port) any {
	domain := model.DefaultDNSDomain
	if p.View != nil {
		domain = p.View.DNSDomain
	}
	names := make([]nameAssignment, len(p.FixedIPs))
	for i, f := range p.FixedIPs {
		n := nameAssignment{IP: f.IP.String(), Hostname: p.DNSName}
		if n.Hostname == "" {
			n.Hostname = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(n.IP)
		}
		if n.FQDN = n.Hostname; !strings.HasSuffix(n.FQDN, ".") {
			n.FQDN += "." + domain + "."
		}
		names[i] = n
	}
	return names
}
