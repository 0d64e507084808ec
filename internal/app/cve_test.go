package app

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Mistakes that Neutron has made, by their names, against the whole API. Where the rule itself lives in one package, that
// package has a test of the same name.

// make makes an object and returns its id.
func (w *whole) make(token, path, name, attributes string) string {
	w.t.Helper()
	a := w.must(201, token, "POST", "/v2.0/"+path, `{"`+name+`":`+attributes+`}`)
	return a.body[name].(map[string]any)["id"].(string)
}

// refused sends a request that has to be answered with the status and leave the state alone.
func (w *whole) refused(status int, token, method, path, body string) *answer {
	w.t.Helper()
	before := w.server.store.Read()
	a := w.must(status, token, method, path, body)
	if w.server.store.Read() != before {
		w.t.Errorf("%s %s was refused, but the state changed", method, path)
	}
	return a
}

// A project could plug a port into the router of another one by naming the router as its device.
func TestCVE20140056ADeviceIDIsNoWayIntoAForeignRouter(t *testing.T) {
	w := newWhole(t)
	router := w.make(alice, "routers", "router", `{}`)
	shared := w.make(admin, "networks", "network", `{"shared":true}`)
	plug := `"device_id":"` + router + `","device_owner":"network:router_interface"`
	w.refused(409, bob, "POST", "/v2.0/ports", `{"port":{"network_id":"`+w.make(bob, "networks", "network", `{}`)+`",`+plug+`}}`)
	w.refused(403, bob, "POST", "/v2.0/ports", `{"port":{"network_id":"`+shared+`",`+plug+`}}`)
	port := w.make(bob, "ports", "port", `{"network_id":"`+shared+`"}`)
	w.refused(403, bob, "PUT", "/v2.0/ports/"+port, `{"port":{`+plug+`}}`)
}

// Allowed address pairs without a limit made hosts apply rules for ever.
func TestCVE20143555AddressPairsAreBounded(t *testing.T) {
	w := newWhole(t)
	network := w.make(alice, "networks", "network", `{}`)
	pairs := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"ip_address":"10.%d.%d.%d"}`, i>>16, i>>8&255, i&255)
		}
		return `"allowed_address_pairs":[` + strings.Join(list, ",") + `]`
	}
	create := func(n int) string { return `{"network_id":"` + network + `",` + pairs(n) + `}` }
	port := w.make(alice, "ports", "port", create(10))
	for _, n := range []int{11, 10_000} {
		for _, a := range []*answer{
			w.refused(400, alice, "POST", "/v2.0/ports", `{"port":`+create(n)+`}`),
			w.refused(400, alice, "POST", "/v2.0/ports", `{"ports":[`+create(1)+`,`+create(n)+`]}`),
			w.refused(400, alice, "PUT", "/v2.0/ports/"+port, `{"port":{`+pairs(n)+`}}`),
		} {
			if a.errorType() != "AllowedAddressPairExhausted" {
				t.Errorf("%d pairs: %s", n, a.raw)
			}
		}
	}
}

// A name server of some dozen characters kept a regular expression busy for ever. All texts that are looked at closely
// are tried: what they cost must not grow faster than they are long.
func TestCVE20147821NoTextKeepsTheServerBusy(t *testing.T) {
	w := newWhole(t)
	network := w.make(alice, "networks", "network", `{}`)
	subnet := w.make(alice, "subnets", "subnet", `{"network_id":"`+network+`","ip_version":4,"cidr":"10.0.0.0/24"}`)
	port := w.make(alice, "ports", "port", `{"network_id":"`+network+`"}`)
	for _, piece := range []string{"a", "1", "1.", "a-", "a.", ":", "0:", "/", "1/", " ", "%61"} {
		evil := strings.Repeat(piece, 100_000/len(piece)) + "!"
		for _, c := range []struct{ path, body string }{
			{"subnets/" + subnet, `{"subnet":{"dns_nameservers":["` + evil + `"]}}`},
			{"subnets/" + subnet, `{"subnet":{"host_routes":[{"destination":"` + evil + `","nexthop":"` + evil + `"}]}}`},
			{"subnets/" + subnet, `{"subnet":{"gateway_ip":"` + evil + `"}}`},
			{"ports/" + port, `{"port":{"mac_address":"` + evil + `"}}`},
			{"ports/" + port, `{"port":{"dns_name":"` + evil + `"}}`},
			{"ports/" + port, `{"port":{"fixed_ips":[{"ip_address":"` + evil + `"}]}}`},
			{"ports/" + port, `{"port":{"extra_dhcp_opts":[{"opt_name":"` + evil + `","opt_value":"x"}]}}`},
			{"networks/" + network, `{"network":{"dns_domain":"` + evil + `"}}`},
		} {
			start := time.Now()
			a := w.refused(400, alice, "PUT", "/v2.0/"+c.path, c.body)
			if took := time.Since(start); took > time.Second {
				t.Errorf("%.60s… took %s", c.body, took)
			}
			if len(a.raw) > 4<<10 {
				t.Errorf("%.60s… was answered with %d bytes", c.body, len(a.raw))
			}
		}
	}
}
