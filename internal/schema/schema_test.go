package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

func body(t *testing.T, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBadInputNamesTheAttribute(t *testing.T) {
	const network = `"network_id":"7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6"`
	subnet := func(text string, op Op) error {
		_, err := Subnet.Decode(&model.Subnet{}, body(t, text), op)
		return err
	}
	port := func(text string, op Op) error {
		_, err := Port.Decode(&model.Port{}, body(t, text), op)
		return err
	}
	net := func(text string, op Op) error {
		_, err := Network.Decode(&model.Network{}, body(t, text), op)
		return err
	}
	for _, c := range []struct {
		name   string
		decode func(string, Op) error
		op     Op
		body   string
		want   string // a part of the message
	}{
		{"unknown attribute", net, Create, `{"colour":"red"}`, "Unrecognized attribute(s) 'colour'"},
		{"number for a name", net, Create, `{"name":5}`, "name"},
		{"object for a name", net, Create, `{"name":{}}`, "name"},
		{"long name", net, Create, `{"name":"` + strings.Repeat("x", 256) + `"}`, "name"},
		{"control character", net, Create, `{"description":"a\u0000b"}`, "description"},
		{"word for a boolean", net, Create, `{"admin_state_up":"maybe"}`, "admin_state_up"},
		{"huge MTU", net, Create, `{"mtu":99999999999999999999999}`, "mtu"},
		{"negative MTU", net, Create, `{"mtu":-1}`, "mtu"},
		{"fraction", net, Create, `{"mtu":1400.5}`, "mtu"},
		{"unknown network type", net, Create, `{"provider:network_type":"token-ring"}`, "provider:network_type"},
		{"VNI too large", net, Create, `{"provider:segmentation_id":16777216}`, "provider:segmentation_id"},
		{"status given", net, Create, `{"status":"DOWN"}`, "'status' not allowed in POST"},
		{"id changed", net, Update, `{"id":"7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6"}`, "read-only attribute id"},
		{"two owners", net, Create, `{"project_id":"a","tenant_id":"b"}`, "do not match"},
		{"no network", subnet, Create, `{"ip_version":4}`, "'network_id' not specified"},
		{"IP version 5", subnet, Create, `{` + network + `,"ip_version":5}`, "ip_version"},
		{"bad CIDR", subnet, Create, `{` + network + `,"ip_version":4,"cidr":"10.0.0.0/33"}`, "cidr"},
		{"CIDR of another type", subnet, Create, `{` + network + `,"ip_version":4,"cidr":["10.0.0.0/24"]}`, "cidr"},
		{"bad gateway", subnet, Update, `{"gateway_ip":"10.0.0"}`, "gateway_ip"},
		{"pool without end", subnet, Update, `{"allocation_pools":[{"start":"10.0.0.2"}]}`, "allocation_pools"},
		{"pool with a stranger", subnet, Update, `{"allocation_pools":[{"start":"10.0.0.2","end":"10.0.0.3","x":1}]}`, "allocation_pools"},
		{"newline in a name server", subnet, Update, `{"dns_nameservers":["1.1.1.1\nserver=x"]}`, "dns_nameservers"},
		{"too many name servers", subnet, Update, `{"dns_nameservers":["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4","1.1.1.5","1.1.1.6"]}`, "dns_nameservers"},
		{"name server twice", subnet, Update, `{"dns_nameservers":["1.1.1.1","1.1.1.1"]}`, "dns_nameservers"},
		{"zone in an address", subnet, Update, `{"dns_nameservers":["fe80::1%eth0"]}`, "dns_nameservers"},
		{"route of two versions", subnet, Update, `{"host_routes":[{"destination":"10.0.0.0/8","nexthop":"fd00::1"}]}`, "host_routes"},
		{"multicast MAC", port, Update, `{"mac_address":"01:00:5e:00:00:01"}`, "mac_address"},
		{"zero MAC", port, Update, `{"mac_address":"00:00:00:00:00:00"}`, "mac_address"},
		{"short MAC", port, Update, `{"mac_address":"fa:16:3e"}`, "mac_address"},
		{"fixed IP without anything", port, Update, `{"fixed_ips":[{}]}`, "fixed_ips"},
		{"fixed IP twice", port, Update, `{"fixed_ips":[{"ip_address":"10.0.0.1"},{"ip_address":"10.0.0.1"}]}`, "fixed_ips"},
		{"fixed IPs as text", port, Update, `{"fixed_ips":"10.0.0.1"}`, "fixed_ips"},
		{"unknown VNIC type", port, Update, `{"binding:vnic_type":"quantum"}`, "binding:vnic_type"},
		{"profile as list", port, Update, `{"binding:profile":[]}`, "binding:profile"},
		{"huge profile", port, Update, `{"binding:profile":{"a":"` + strings.Repeat("x", 5000) + `"}}`, "binding:profile"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.decode(c.body, c.op)
			f := fault.As(err)
			if f == nil || f.Kind != fault.Invalid {
				t.Fatalf("got %v, want a fault of kind Invalid", err)
			}
			if !strings.Contains(f.Message, c.want) {
				t.Errorf("the message %q does not say %q", f.Message, c.want)
			}
			if len(f.Message) > 600 {
				t.Errorf("the message has %d bytes: what the client sent is quoted without a bound", len(f.Message))
			}
		})
	}
}

func TestDefaultsAndGivenAttributes(t *testing.T) {
	var p model.Port
	given, err := Port.Decode(&p, body(t, `{"network_id":"7C7AC3A5-7e0e-4b0a-9d58-0ea3b0c1b9d6","mac_address":"FA-16-3E-00-00-01",
		"fixed_ips":[{"subnet_id":"7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6"},{"subnet_id":"7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6"}]}`), Create)
	if err != nil {
		t.Fatal(err)
	}
	if !p.AdminStateUp || p.Binding.VNICType != "normal" {
		t.Errorf("defaults are missing: %+v", p)
	}
	if p.MAC != "fa:16:3e:00:00:01" || p.NetworkID != "7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6" {
		t.Errorf("values are not in their normal form: %s, %s", p.MAC, p.NetworkID)
	}
	if len(p.FixedIPs) != 2 {
		t.Errorf("two addresses of one subnet were asked for, got %d", len(p.FixedIPs))
	}
	if !given.Has("mac_address") || given.Has("admin_state_up") {
		t.Errorf("given is %v", given)
	}
}

func TestViewsAreValidJSON(t *testing.T) {
	port := &model.Port{Meta: model.Meta{Name: "a\"<é\n", ProjectID: "p"}, Binding: model.Binding{VIFType: model.VIFBridge}}
	for _, a := range Port.Attributes {
		if v := a.Append(nil, port); !json.Valid(v) {
			t.Errorf("%s: %s is not JSON", a.Name, v)
		}
	}
	for _, a := range Subnet.Attributes {
		if v := a.Append(nil, &model.Subnet{}); !json.Valid(v) {
			t.Errorf("%s: %s is not JSON", a.Name, v)
		}
	}
	for _, a := range Agent.Attributes {
		if v := a.Append(nil, &model.Agent{}); !json.Valid(v) {
			t.Errorf("%s: %s is not JSON", a.Name, v)
		}
	}
}
