package e2e

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/lab"
	api "github.com/neutrino-net/neutrino/internal/lab/cloud"
	"github.com/neutrino-net/neutrino/test/cloud"
)

// routed is a lab with an external network, of both IP versions, and the networks red and blue behind one router.
type routed struct {
	*world
	s                 *cloud.Client
	public, red, blue string
	router, gateway   string // the router's id, and its IPv4 address outside
	gateway6          string
}

// The addresses of the internet, and what is beyond it.
var (
	internet = lab.Internet().Name
	outside  = lab.Internet().Address.String()
	beyond   = lab.Internet().Others[0].String()
)

const (
	outside6 = "2001:db8:ff::1"
	redRange = "10.1.0.0/24"
	// redRange6 and blueRange6 are routed to the router by the internet.
	redRange6, blueRange6 = "2001:db8:a::/64", "2001:db8:b::/64"
)

// object is the body of a request.
type object = map[string]any

// startRouted makes the networks and the router.
func startRouted(t testing.TB, serverArgs ...string) *routed {
	t.Helper()
	return startRoutedBy(t, object{}, serverArgs...)
}

// startRoutedBy makes the networks and a router of the kind.
func startRoutedBy(t testing.TB, kind object, serverArgs ...string) *routed {
	t.Helper()
	r := &routed{world: start(t, serverArgs...)}
	r.s = r.login()
	r.run(internet, "ip", "address", "add", outside6+"/64", "dev", "eth0", "nodad")
	r.public = r.make("networks", object{
		"name": "public", "router:external": true, "provider:network_type": "flat",
		"provider:physical_network": lab.PhysicalNetwork,
	}).str("id")
	r.make("subnets", object{
		"network_id": r.public, "ip_version": 4, "cidr": "203.0.113.0/24", "gateway_ip": outside, "enable_dhcp": false,
	})
	r.make("subnets", object{
		"network_id": r.public, "ip_version": 6, "cidr": "2001:db8:ff::/64", "gateway_ip": outside6, "enable_dhcp": false,
	})
	router := object{"name": "r", "external_gateway_info": object{"network_id": r.public}}
	maps.Copy(router, kind)
	r.router = r.make("routers", router).str("id")
	r.red = r.behind("red", redRange, redRange6)
	r.blue = r.behind("blue", "10.2.0.0/24", blueRange6)
	r.gateway, r.gateway6 = r.gatewayAddresses()
	for _, block := range []string{redRange6, blueRange6} {
		r.run(internet, "ip", "route", "add", block, "via", r.gateway6)
	}
	return r
}

// login logs in as the administrator.
func (w *world) login() *cloud.Client {
	w.t.Helper()
	return cloud.Login(w.t, w.record.CloudsFile(), "admin", "http://"+w.record.API+"/v2.0")
}

// answer is an object of an answer.
type answer map[string]any

func (a answer) str(name string) string { s, _ := a[name].(string); return s }

// make makes an object of the collection.
func (r *routed) make(collection string, body object) answer {
	r.t.Helper()
	singular := strings.TrimSuffix(collection, "s")
	var got map[string]answer
	r.s.Must(r.t, 201, "POST", "/"+collection, object{singular: body}, &got)
	return got[singular]
}

// show reads an object.
func (r *routed) show(collection, id string) answer {
	r.t.Helper()
	var got map[string]answer
	r.s.Must(r.t, 200, "GET", "/"+collection+"/"+id, nil, &got)
	return got[strings.TrimSuffix(collection, "s")]
}

// behind makes a network with a subnet for each block, and attaches the router to them.
func (r *routed) behind(name string, blocks ...string) string {
	r.t.Helper()
	n := r.make("networks", object{"name": name}).str("id")
	for _, block := range blocks {
		body := object{"network_id": n, "cidr": block, "ip_version": 4}
		if netip.MustParsePrefix(block).Addr().Is6() {
			body["ip_version"], body["ipv6_ra_mode"], body["ipv6_address_mode"] = 6, "slaac", "slaac"
		}
		r.attach(r.make("subnets", body).str("id"))
	}
	return n
}

func (r *routed) attach(subnet string) {
	r.t.Helper()
	r.s.Must(r.t, 200, "PUT", "/routers/"+r.router+"/add_router_interface", object{"subnet_id": subnet}, nil)
}

// gatewayAddresses are the addresses of the router outside, of each IP version.
func (r *routed) gatewayAddresses() (four, six string) {
	r.t.Helper()
	info, _ := r.show("routers", r.router)["external_gateway_info"].(map[string]any)
	all, _ := info["external_fixed_ips"].([]any)
	for _, f := range all {
		ip, _ := f.(map[string]any)["ip_address"].(string)
		if strings.Contains(ip, ":") {
			six = ip
		} else {
			four = ip
		}
	}
	if four == "" || six == "" {
		r.t.Fatalf("the gateway is %v", info)
	}
	return four, six
}

// member plugs a workload that nothing filters: the tests are about the way, not about the gate.
func (r *routed) member(network, name, host string) api.Port {
	r.t.Helper()
	id := r.make("ports", object{
		"network_id": network, "name": name, "binding:host_id": host, "port_security_enabled": false,
	}).str("id")
	p, err := r.client.Port(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	r.plug(p)
	return p
}

// address is the port's address of the IP version.
func address(p api.Port, version int) string {
	for _, f := range p.FixedIPs {
		if strings.Contains(f.IPAddress, ":") == (version == 6) {
			return f.IPAddress
		}
	}
	return ""
}

// floating books a floating IP for the port; empty: for none.
func (r *routed) floating(port string) answer {
	r.t.Helper()
	body := object{"floating_network_id": r.public}
	if port != "" {
		body["port_id"] = port
	}
	return r.make("floatingips", body)
}

// place is where somebody is: a namespace of a host, or the host itself.
type place struct{ host, namespace string }

func at(p api.Port) place { return place{p.Host, p.Name} }

// out is the internet.
func out() place { return place{host: internet} }

func (w *world) within(p place, fn func() error) error {
	w.t.Helper()
	if p.namespace == "" {
		return w.host(p.host).Do(fn)
	}
	return w.host(p.host).DoIn(p.namespace, fn)
}

// serve listens on the TCP port there until the test ends, and tells everyone who connects from which address that was.
func (w *world) serve(t *testing.T, p place, port int) {
	t.Helper()
	var listener net.Listener
	err := w.within(p, func() (err error) {
		listener, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			fmt.Fprintln(conn, peer)
			conn.Close()
		}
	}()
}

// seen connects from there to the address, and returns as whom it was seen.
func (w *world) seen(from place, to string) (as string, err error) {
	var conn net.Conn
	err = w.within(from, func() (err error) {
		conn, err = net.DialTimeout("tcp", to, 500*time.Millisecond)
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// expect waits until a connection from there to the address is seen as one of the address want.
func (w *world) expect(t *testing.T, from place, to, want string) {
	t.Helper()
	var as string
	var err error
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		if as, err = w.seen(from, to); err == nil && as == want {
			return
		}
	}
	t.Errorf("from %v to %s: seen as %q (%v), want %q", from, to, as, err, want)
}

// unreachable waits until nobody answers at the address any more.
func (w *world) unreachable(t *testing.T, from place, to string) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		if _, err := w.seen(from, to); err != nil {
			return
		}
	}
	t.Errorf("from %v to %s: it is still answered", from, to)
}

// active waits until the floating IP is ACTIVE.
func (r *routed) active(id string) {
	r.t.Helper()
	r.eventually(10*time.Second, "the floating IP is ACTIVE", func() error {
		if f := r.show("floatingips", id); f.str("status") != "ACTIVE" {
			return fmt.Errorf("it is %s: %v", f.str("status"), f["status_reason"])
		}
		return nil
	})
}
