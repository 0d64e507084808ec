package secgroup_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// parse reads the attributes of a rule as they come over the wire.
func parse(t interface{ Fatal(...any) }, text string) st.Body {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var b st.Body
	if err := d.Decode(&b); err != nil {
		t.Fatal(text, err)
	}
	return b
}

func with(b st.Body, group string) st.Body {
	b["security_group_id"] = group
	return b
}

func TestBadRulesAreRefused(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	theirs := st.Must(w.CreateSecurityGroup(other, st.Body{}))(t)
	addresses := st.Must(w.CreateAddressGroup(st.Member, st.Body{}))(t)
	hidden := st.Must(w.CreateAddressGroup(other, st.Body{}))(t)
	for want, bodies := range map[string][]string{
		"HTTPBadRequest": {
			`{"direction":"sideways"}`, `{"direction":null}`,
		},
		"SecurityGroupRuleInvalidEtherType": {
			`{"ethertype":"IPv5"}`, `{"ethertype":null}`, `{"ethertype":4}`,
		},
		"SecurityGroupRuleInvalidProtocol": {
			`{"protocol":"tpc"}`, `{"protocol":256}`, `{"protocol":-1}`, `{"protocol":""}`, `{"protocol":6.5}`,
			`{"protocol":true}`, `{"protocol":["tcp"]}`,
		},
		"SecurityGroupInvalidPortValue": {
			`{"protocol":"tcp","port_range_min":-16,"port_range_max":80}`,
			`{"protocol":"tcp","port_range_min":80,"port_range_max":65536}`,
			`{"protocol":"tcp","port_range_min":0,"port_range_max":80}`,
			`{"protocol":"tcp","port_range_min":"http","port_range_max":80}`,
		},
		"SecurityGroupInvalidPortRange": {
			`{"protocol":"tcp","port_range_min":80,"port_range_max":79}`, `{"protocol":"tcp","port_range_max":6}`,
			`{"protocol":"udp","port_range_min":6}`,
		},
		"SecurityGroupProtocolRequiredWithPorts": {
			`{"port_range_min":80,"port_range_max":80}`,
		},
		"SecurityGroupInvalidIcmpValue": {
			`{"protocol":"icmp","port_range_min":300,"port_range_max":1}`,
			`{"protocol":"icmp","port_range_min":1,"port_range_max":256}`,
		},
		"SecurityGroupMissingIcmpType": {
			`{"protocol":"icmp","port_range_max":6}`,
		},
		"InvalidCIDR": {
			`{"remote_ip_prefix":"192.168.1./24"}`, `{"remote_ip_prefix":"192.168.1.1/33"}`,
			`{"remote_ip_prefix":"256"}`, `{"remote_ip_prefix":256}`,
			`{"remote_ip_prefix":"::ffff:10.0.0.1/128","ethertype":"IPv6"}`,
			`{"remote_ip_prefix":"fe80::1%eth0","ethertype":"IPv6"}`,
		},
		"SecurityGroupRuleParameterConflict": {
			`{"remote_ip_prefix":"fd00::/64"}`, `{"remote_ip_prefix":"10.0.0.0/8","ethertype":"ipv6"}`,
		},
		"SecurityGroupEthertypeConflictWithProtocol": {
			`{"protocol":"icmpv6"}`, `{"protocol":"58"}`, `{"protocol":"ipv6-route"}`,
		},
		"SecurityGroupMultipleRemoteEntites": {
			`{"remote_ip_prefix":"10.0.0.0/8","remote_group_id":"` + g.ID + `"}`,
			`{"remote_address_group_id":"` + addresses.ID + `","remote_group_id":"` + g.ID + `"}`,
			`{"remote_address_group_id":"` + addresses.ID + `","remote_ip_prefix":"10.0.0.0/8"}`,
		},
		"SecurityGroupNotFound": {
			`{"remote_group_id":"bad_group_id"}`, `{"remote_group_id":"` + theirs.ID + `"}`,
			`{"security_group_id":"` + theirs.ID + `"}`,
			`{"security_group_id":"7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6"}`,
		},
		"AddressGroupNotFound": {
			`{"remote_address_group_id":"7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6"}`,
			`{"remote_address_group_id":"` + hidden.ID + `"}`,
		},
	} {
		for _, body := range bodies {
			t.Run(body, func(t *testing.T) {
				b := parse(t, body)
				if b["security_group_id"] == nil {
					b["security_group_id"] = g.ID
				}
				kind := fault.Invalid
				if strings.HasSuffix(want, "NotFound") {
					kind = fault.NotFound
				}
				_, err := w.CreateSecurityGroupRule(st.Member, b)
				st.WantFault(t, err, kind, want)
			})
		}
	}
	if got := rulesOf(w, g); len(got) != 2 {
		t.Errorf("a refused rule was stored: %q", got)
	}
}

// TestCVE_2019_9735 is about ports on protocols that have none: they broke the filter of a whole host.
func TestCVE_2019_9735(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	for number := range 256 {
		allowed := slices.Contains([]int{1, 6, 17, 33, 132, 136}, number)
		_, err := w.CreateSecurityGroupRule(st.Member, st.Body{
			"security_group_id": g.ID, "protocol": strconv.Itoa(number), "port_range_min": 8, "port_range_max": 8,
		})
		switch f := fault.As(err); {
		case allowed && err != nil:
			t.Errorf("protocol %d: %v", number, err)
		case !allowed && (f == nil || f.Type != "SecurityGroupInvalidProtocolForPort" &&
			f.Type != "SecurityGroupEthertypeConflictWithProtocol"):
			t.Errorf("protocol %d with ports was not refused as such: %v", number, err)
		}
	}
}

// TestCVE_2014_0187 is about addresses without a prefix length, which opened a port to everybody.
func TestCVE_2014_0187(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	for address, want := range map[string]string{"10.0.0.5": "10.0.0.5/32", "2001:DB8::5": "2001:db8::5/128"} {
		version := "IPv4"
		if strings.Contains(address, ":") {
			version = "IPv6"
		}
		r := st.Must(w.CreateSecurityGroupRule(st.Member, st.Body{
			"security_group_id": g.ID, "ethertype": version, "remote_ip_prefix": address,
		}))(t)
		if r.RemotePrefix.String() != want {
			t.Errorf("%s is stored as %s", address, r.RemotePrefix)
		}
	}
}

func TestRulesAreStoredInTheirNormalForm(t *testing.T) {
	w := st.New(t, st.Options{})
	for body, want := range map[string]string{
		`{"protocol":"TCP"}`:                                             `tcp`,
		`{"protocol":6}`:                                                 `6`,
		`{"protocol":"06"}`:                                              `6`,
		`{"protocol":"any"}`:                                             ``,
		`{"protocol":null}`:                                              ``,
		`{"protocol":"icmp","ethertype":"IPv6"}`:                         `ipv6-icmp`,
		`{"protocol":"icmpv6","ethertype":"ipv6"}`:                       `ipv6-icmp`,
		`{"protocol":1,"ethertype":"IPv6"}`:                              `58`,
		`{"protocol":"icmp","port_range_min":11}`:                        `icmp 11 -`,
		`{"protocol":"icmp","port_range_min":0,"port_range_max":0}`:      `icmp 0 0`,
		`{"protocol":"tcp","port_range_min":1,"port_range_max":65535}`:   `tcp`,
		`{"port_range_min":1,"port_range_max":65535}`:                    ``,
		`{"protocol":"udp","port_range_min":"53","port_range_max":"53"}`: `udp 53 53`,
		`{"remote_ip_prefix":"10.0.0.34/24"}`:                            ` from 10.0.0.34/24 (10.0.0.0/24)`,
		`{"remote_ip_prefix":""}`:                                        ``,
	} {
		g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
		r, err := w.CreateSecurityGroupRule(st.Member, with(parse(t, body), g.ID))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		got := r.Protocol
		if r.PortMin != nil || r.PortMax != nil {
			got += " " + number(r.PortMin) + " " + number(r.PortMax)
		}
		if r.RemotePrefix.IsValid() {
			got += fmt.Sprintf(" from %s (%s)", r.RemotePrefix, r.RemotePrefix.Masked())
		}
		if got != want {
			t.Errorf("%s is stored as %q, want %q", body, got, want)
		}
	}
}

func number(p *int) string {
	if p == nil {
		return "-"
	}
	return strconv.Itoa(*p)
}

func TestRepeatedRulesAreRefused(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	for _, c := range []struct {
		first  string
		repeat []string // the same in other words
		differ []string
	}{
		{
			`{"protocol":"tcp","port_range_min":66,"port_range_max":67}`,
			[]string{`{"protocol":6,"port_range_min":66,"port_range_max":67}`,
				`{"protocol":"TCP","port_range_min":"66","port_range_max":67,"description":"another"}`,
				`{"protocol":"tcp","port_range_min":66,"port_range_max":67,"remote_ip_prefix":"0.0.0.0/0"}`},
			[]string{`{"protocol":"tcp","port_range_min":66,"port_range_max":68}`,
				`{"protocol":"tcp","port_range_min":66,"port_range_max":67,"direction":"egress"}`,
				`{"protocol":"tcp","port_range_min":66,"port_range_max":67,"ethertype":"IPv6"}`,
				`{"protocol":"tcp","port_range_min":66,"port_range_max":67,"remote_ip_prefix":"10.0.0.0/8"}`},
		},
		{
			`{"protocol":"icmpv6","ethertype":"IPv6"}`,
			[]string{`{"protocol":58,"ethertype":"IPv6"}`, `{"protocol":"icmp","ethertype":"IPv6"}`,
				`{"protocol":1,"ethertype":"IPv6"}`},
			[]string{`{"protocol":"icmpv6","ethertype":"IPv6","port_range_min":0}`,
				`{"protocol":"icmpv6","ethertype":"IPv6","port_range_min":0,"port_range_max":0}`},
		},
		{`{"protocol":"ip"}`, []string{`{"protocol":"0"}`}, []string{`{"protocol":"hopopt"}`, `{}`}},
	} {
		first := st.Must(w.CreateSecurityGroupRule(st.Member, with(parse(t, c.first), g.ID)))(t)
		for _, body := range c.repeat {
			_, err := w.CreateSecurityGroupRule(st.Member, with(parse(t, body), g.ID))
			st.WantFault(t, err, fault.Conflict, "SecurityGroupRuleExists")
			if !strings.Contains(err.Error(), first.ID) {
				t.Errorf("the error does not name the rule: %s", err)
			}
		}
		for _, body := range c.differ {
			st.Must(w.CreateSecurityGroupRule(st.Member, with(parse(t, body), g.ID)))(t)
		}
	}
	// In another group it is another rule.
	g2 := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	st.Must(w.CreateSecurityGroupRule(st.Member, st.Body{"security_group_id": g2.ID, "protocol": "ip"}))(t)
}

func TestRulesOfOneRequestBelongTogether(t *testing.T) {
	rule := func(group, project, protocol string) *model.SecurityGroupRule {
		return &model.SecurityGroupRule{
			Meta: model.Meta{ProjectID: project}, GroupID: group,
			Direction: model.Ingress, EtherType: model.IPv4, Protocol: protocol,
		}
	}
	check := func(rules ...*model.SecurityGroupRule) error { return secgroup.GroupRules{}.CheckBulk(rules) }
	if err := check(rule("g", "p", "tcp"), rule("g", "p", "udp")); err != nil {
		t.Error(err)
	}
	st.WantFault(t, check(rule("g", "p", "tcp"), rule("h", "p", "tcp")), fault.Invalid, "SecurityGroupNotSingleGroupRules")
	st.WantFault(t, check(rule("g", "p", "tcp"), rule("g", "q", "udp")), fault.Invalid,
		"SecurityGroupRulesNotSingleProject")
	st.WantFault(t, check(rule("g", "p", "tcp"), rule("g", "p", "6")), fault.Conflict, "DuplicateSecurityGroupRuleInPost")
	st.WantFault(t, check(rule("g", "p", "tcp"), rule("g", "p", "icmpv6")), fault.Invalid,
		"SecurityGroupEthertypeConflictWithProtocol")
}

// TestStoredRulesCanBeCompiled throws random rules at a group. Whatever is accepted is in a form that a packet filter
// takes as it is, and no two rules say the same.
func TestStoredRulesCanBeCompiled(t *testing.T) {
	w := st.New(t, st.Options{})
	addresses := st.Must(w.CreateAddressGroup(st.Member, st.Body{}))(t)
	rapid.Check(t, func(t *rapid.T) {
		g, err := w.CreateSecurityGroup(st.Member, st.Body{})
		if err != nil {
			t.Fatal(err)
		}
		port := rapid.OneOf(rapid.IntRange(-1, 9), rapid.IntRange(250, 260), rapid.IntRange(65533, 65537))
		for range rapid.IntRange(1, 30).Draw(t, "rules") {
			b := st.Body{"security_group_id": g.ID}
			maybe := func(name string, value any) {
				if rapid.Bool().Draw(t, "with "+name) {
					b[name] = value
				}
			}
			maybe("direction", rapid.SampledFrom([]string{"ingress", "egress", "any"}).Draw(t, "direction"))
			maybe("ethertype", rapid.SampledFrom([]string{"IPv4", "IPv6", "ipv6", "ARP"}).Draw(t, "ethertype"))
			maybe("protocol", rapid.SampledFrom([]string{"tcp", "6", "udp", "icmp", "icmpv6", "ipv6-icmp", "1", "58", "any",
				"0", "ip", "gre", "sctp", "132", "ipv6-frag", "44", "256", "vrrp"}).Draw(t, "protocol"))
			maybe("port_range_min", port.Draw(t, "min"))
			maybe("port_range_max", port.Draw(t, "max"))
			maybe("remote_ip_prefix", rapid.SampledFrom([]string{"10.0.0.7/8", "10.0.0.7", "0.0.0.0/0", "::/0", "fd00::1/64",
				"::ffff:10.0.0.1/120", "10.0.0.0/-1"}).Draw(t, "prefix"))
			maybe("remote_group_id", g.ID)
			maybe("remote_address_group_id", addresses.ID)
			if _, err := w.CreateSecurityGroupRule(st.Member, b); err != nil && fault.As(err) == nil {
				t.Fatalf("%v: %v", b, err)
			}
		}
		seen := map[string]bool{}
		for r := range state.SecurityGroupRulesByGroup.List(w.Store.Read(), g.ID) {
			if problem := unfit(r); problem != "" {
				t.Fatalf("%+v: %s", r, problem)
			}
			if seen[r.Match()] {
				t.Fatalf("%+v is there twice", r)
			}
			seen[r.Match()] = true
		}
	})
}

// unfit says what a packet filter could not make of a rule.
func unfit(r *model.SecurityGroupRule) string {
	number, known := model.ProtocolNumber(r.Protocol)
	remotes := 0
	for _, is := range []bool{r.RemotePrefix.IsValid(), r.RemoteGroupID != "", r.RemoteAddressGroupID != ""} {
		if is {
			remotes++
		}
	}
	ranged := r.PortMin != nil || r.PortMax != nil
	icmp := known && (number == 1 && r.EtherType == model.IPv4 || number == 58 && r.EtherType == model.IPv6)
	switch {
	case r.Direction != model.Ingress && r.Direction != model.Egress:
		return "unknown direction"
	case r.EtherType != model.IPv4 && r.EtherType != model.IPv6:
		return "unknown ethertype"
	case r.Protocol != "" && !known:
		return "unknown protocol"
	case number == 58 && r.EtherType == model.IPv4 || known && number == 1 && r.EtherType == model.IPv6:
		return "ICMP of the other IP version"
	case remotes > 1:
		return "several remotes"
	case r.RemotePrefix.IsValid() && r.RemotePrefix.Addr().Is4() != (r.EtherType == model.IPv4):
		return "addresses of the other IP version"
	case r.RemotePrefix.Addr().Is4In6():
		return "an address that is of both IP versions"
	case !ranged:
		return ""
	case icmp:
		if r.PortMin == nil || *r.PortMin > 255 || r.PortMax != nil && *r.PortMax > 255 {
			return "no ICMP type and code"
		}
	case !slices.Contains([]int{6, 17, 33, 132, 136}, number):
		return "ports of a protocol without ports"
	case r.PortMin == nil || r.PortMax == nil || *r.PortMin < 1 || *r.PortMin > *r.PortMax || *r.PortMax > 65535:
		return "no range of ports"
	case *r.PortMin == 1 && *r.PortMax == 65535:
		return "a range that says nothing"
	}
	return ""
}
