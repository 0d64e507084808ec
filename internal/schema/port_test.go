package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

// decodePort decodes the JSON of one attribute, as the API does, and returns it as the API shows it.
func decodePort(t *testing.T, name, value string) (shown string, err error) {
	t.Helper()
	body := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(`{"` + name + `":` + value + `}`))
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil {
		t.Fatal(err)
	}
	var p model.Port
	if _, err := Port.Decode(&p, body, Update); err != nil {
		return "", err
	}
	return string(Port.Attribute(name).Append(nil, &p)), nil
}

func TestValuesOfPorts(t *testing.T) {
	const mac = `"mac_address":"fa:16:3e:00:00:01"`
	eleven := "[" + strings.TrimSuffix(strings.Repeat(`{"ip_address":"10.0.0.1"},`, 11), ",") + "]"
	option := func(name, value string) string {
		return fmt.Sprintf(`[{"opt_name":%q,"opt_value":%s}]`, name, value)
	}
	for _, c := range []struct {
		name, attribute, value string
		want                   string // "": as given
		fault                  string // the type of the error
	}{
		{name: "address", attribute: "allowed_address_pairs", value: `[{"ip_address":"10.0.0.1",` + mac + `}]`},
		{name: "block with host bits", attribute: "allowed_address_pairs", value: `[{"ip_address":"10.0.0.1/24",` + mac + `}]`},
		{name: "single block", attribute: "allowed_address_pairs", value: `[{"ip_address":"10.0.0.1/32",` + mac + `}]`},
		{name: "IPv6", attribute: "allowed_address_pairs", value: `[{"ip_address":"2001:DB8::/64",` + mac + `}]`,
			want: `[{"ip_address":"2001:db8::/64",` + mac + `}]`},
		{name: "null pairs", attribute: "allowed_address_pairs", value: `null`, want: `[]`},
		{name: "no address", attribute: "allowed_address_pairs", value: `[{` + mac + `}]`, fault: "AllowedAddressPairsMissingIP"},
		{name: "twice", attribute: "allowed_address_pairs", fault: "DuplicateAddressPairInRequest",
			value: `[{"ip_address":"10.0.0.1"},{"ip_address":"10.0.0.1"}]`},
		{name: "too many pairs", attribute: "allowed_address_pairs", value: eleven, fault: "AllowedAddressPairExhausted"},
		{name: "no address at all", attribute: "allowed_address_pairs", value: `[{"ip_address":"x"}]`, fault: "HTTPBadRequest"},
		{name: "a MAC of several", attribute: "allowed_address_pairs", fault: "HTTPBadRequest",
			value: `[{"ip_address":"10.0.0.1","mac_address":"01:00:5e:00:00:01"}]`},
		{name: "another member", attribute: "allowed_address_pairs", value: `[{"ip_address":"10.0.0.1","x":1}]`, fault: "HTTPBadRequest"},

		{name: "option", attribute: "extra_dhcp_opts", value: option("bootfile-name", `"pxelinux.0"`),
			want: `[{"opt_name":"bootfile-name","opt_value":"pxelinux.0","ip_version":4}]`},
		{name: "blank router", attribute: "extra_dhcp_opts", value: option("router", `""`),
			want: `[{"opt_name":"router","opt_value":"","ip_version":4}]`},
		{name: "blank option", attribute: "extra_dhcp_opts", value: option("tftp-server", `" "`), fault: "HTTPBadRequest"},
		{name: "no value", attribute: "extra_dhcp_opts", value: `[{"opt_name":"tftp-server"}]`, fault: "HTTPBadRequest"},
		{name: "long value", attribute: "extra_dhcp_opts", value: option("x", `"`+strings.Repeat("a", 256)+`"`), fault: "HTTPBadRequest"},
		{name: "IPv5", attribute: "extra_dhcp_opts", fault: "HTTPBadRequest",
			value: `[{"opt_name":"x","opt_value":"y","ip_version":5}]`},
		{name: "twice the same option", attribute: "extra_dhcp_opts", fault: "HTTPBadRequest",
			value: `[{"opt_name":"x","opt_value":"y"},{"opt_name":"x","opt_value":"z"}]`},
		{name: "the same for both versions", attribute: "extra_dhcp_opts",
			value: `[{"opt_name":"x","opt_value":"y","ip_version":4},{"opt_name":"x","opt_value":"z","ip_version":6}]`},

		{name: "name", attribute: "dns_name", value: `"Web-1"`, want: `"web-1"`},
		{name: "complete name", attribute: "dns_name", value: `"web.example.org."`},
		{name: "hyphen", attribute: "dns_name", value: `"-web"`, fault: "HTTPBadRequest"},
		{name: "underscore", attribute: "dns_name", value: `"w_b"`, fault: "HTTPBadRequest"},
		{name: "numeric top level", attribute: "dns_name", value: `"web.1"`, fault: "HTTPBadRequest"},
		{name: "domain without a dot", attribute: "dns_domain", value: `"example.org"`, fault: "HTTPBadRequest"},

		{name: "groups once", attribute: "security_groups", want: `["11111111-1111-1111-1111-111111111111"]`,
			value: `["11111111-1111-1111-1111-111111111111","11111111-1111-1111-1111-111111111111"]`},
		{name: "no group", attribute: "security_groups", value: `["x"]`, fault: "HTTPBadRequest"},
		{name: "no observer", attribute: "data_plane_status", value: `null`},
		{name: "observed", attribute: "data_plane_status", value: `"DOWN"`},
		{name: "misobserved", attribute: "data_plane_status", value: `"UP"`, fault: "HTTPBadRequest"},
		{name: "NUMA", attribute: "numa_affinity_policy", value: `"required"`},
		{name: "no host", attribute: "binding:host_id", value: `null`, want: `""`},
		{name: "accelerator", attribute: "binding:vnic_type", value: `"accelerator-direct"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decodePort(t, c.attribute, c.value)
			if c.fault != "" {
				if f := fault.As(err); f == nil || f.Type != c.fault || f.Kind != fault.Invalid {
					t.Fatalf("%s, %v", got, err)
				}
				return
			}
			var want, have any
			if c.want == "" {
				c.want = c.value
			}
			if err != nil || json.Unmarshal([]byte(got), &have) != nil || json.Unmarshal([]byte(c.want), &want) != nil {
				t.Fatalf("%s, %v", got, err)
			}
			if fmt.Sprint(have) != fmt.Sprint(want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// CVE-2021-40085: a line break in an option became a setting of the DHCP server.
func TestCVE202140085NoLineBreaksInDHCPOptions(t *testing.T) {
	for _, evil := range []string{"\n", "\r", "\x00", "\v", "\f", "\x1c", "\u0085", "\u2028", "\u2029", "\x7f"} {
		for _, o := range []map[string]any{
			{"opt_name": "x", "opt_value": "a" + evil + "dhcp-script=/bin/sh"},
			{"opt_name": "router", "opt_value": evil},
			{"opt_name": "x" + evil + "y", "opt_value": "a"},
			{"opt_name": "x" + evil, "opt_value": "a"},
		} {
			if got, err := readDHCPOption(o); err == nil {
				t.Errorf("%q became %+v", o, got)
			}
		}
	}
	for _, name := range []string{"", "tag:x,option:y", "a b", "a,b", "a=b", "#", "-x", strings.Repeat("a", 65)} {
		if _, err := readDHCPOption(map[string]any{"opt_name": name, "opt_value": "a"}); err == nil {
			t.Errorf("an option may be called %q", name)
		}
	}
}

func TestFiltersOfPortsKnowOtherSpellings(t *testing.T) {
	mac := Port.Attribute("mac_address")
	for _, spelt := range []string{"FA:16:3E:00:00:01", "fa-16-3e-00-00-01", "fa16.3e00.0001"} {
		if got := mac.Canonical(spelt); got != "fa:16:3e:00:00:01" {
			t.Errorf("%s is %s", spelt, got)
		}
	}
	if got := mac.Canonical("no MAC"); got != "no MAC" {
		t.Error(got)
	}
}

func TestNamesOfAddresses(t *testing.T) {
	var p model.Port
	if _, err := Port.Decode(&p, map[string]any{"fixed_ips": []any{map[string]any{"ip_address": "2001:db8::5"}}}, Update); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, domain, want string }{
		{"", "", `[{"ip_address":"2001:db8::5","hostname":"host-2001-db8--5","fqdn":"host-2001-db8--5.openstacklocal."}]`},
		{"web", "example.org", `[{"ip_address":"2001:db8::5","hostname":"web","fqdn":"web.example.org."}]`},
		{"web.example.org.", "example.org", `[{"ip_address":"2001:db8::5","hostname":"web.example.org.","fqdn":"web.example.org."}]`},
	} {
		p.DNSName, p.View = c.name, nil
		if c.domain != "" {
			p.View = &model.PortView{DNSDomain: c.domain}
		}
		if got := string(Port.Attribute("dns_assignment").Append(nil, &p)); got != c.want {
			t.Errorf("%q: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSubPortsOfARequest(t *testing.T) {
	const a, b = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	sub := func(id string, rest ...any) map[string]any {
		m := map[string]any{"port_id": id}
		for i := 0; i+1 < len(rest); i += 2 {
			m[rest[i].(string)] = rest[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name string
		list any
		bad  bool
	}{
		{name: "named only", list: []any{sub(a), sub(b)}},
		{name: "tagged", list: []any{sub(a, "segmentation_type", "vlan", "segmentation_id", 5)}},
		{name: "inherited", list: []any{sub(a, "segmentation_type", "inherit"), sub(b, "segmentation_type", "inherit")}},
		{name: "no list", list: "x", bad: true},
		{name: "null", list: nil, bad: true},
		{name: "no port", list: []any{map[string]any{"segmentation_id": 5}}, bad: true},
		{name: "bad port", list: []any{sub("x")}, bad: true},
		{name: "twice", list: []any{sub(a), sub(a)}, bad: true},
		{name: "same tag", list: []any{sub(a, "segmentation_type", "vlan", "segmentation_id", 5),
			sub(b, "segmentation_type", "vlan", "segmentation_id", 5)}, bad: true},
		{name: "no tag", list: []any{sub(a, "segmentation_type", "vlan")}, bad: true},
		{name: "no type", list: []any{sub(a, "segmentation_id", 5)}, bad: true},
		{name: "tag 0", list: []any{sub(a, "segmentation_type", "vlan", "segmentation_id", 0)}, bad: true},
		{name: "tag 4095", list: []any{sub(a, "segmentation_type", "vlan", "segmentation_id", 4095)}, bad: true},
		{name: "another member", list: []any{sub(a, "x", 1)}, bad: true},
	} {
		if _, err := ParseSubPorts(map[string]any{"sub_ports": c.list}); (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
