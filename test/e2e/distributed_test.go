package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	api "github.com/neutrino-net/neutrino/internal/lab/cloud"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// startDistributed makes the networks and a distributed router, whose central part is on the host network.
func startDistributed(t *testing.T) *routed { return startRoutedBy(t, object{"distributed": true}) }

// TestWaysThroughADistributedRouter: who is seen as whom, on every way.
func TestWaysThroughADistributedRouter(t *testing.T) {
	waysThroughADistributedRouter(t, startDistributed(t))
}

// TestWaysThroughADistributedRouterWithAStandby: the same when the central part is highly available.
func TestWaysThroughADistributedRouterWithAStandby(t *testing.T) {
	waysThroughADistributedRouter(t, startRoutedBy(t, object{"distributed": true, "ha": true}))
}

func waysThroughADistributedRouter(t *testing.T, w *routed) {
	t.Helper()
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	c, d := w.member(w.blue, "c", "compute1"), w.member(w.red, "d", "compute2")
	ofC, ofD, shared := w.floating(c.ID), w.floating(d.ID), w.floating("")
	w.forward(shared.str("id"), object{
		"protocol": "tcp", "external_port": 8080, "internal_port": 80, "internal_port_id": b.ID,
		"internal_ip_address": address(b, 4),
	})
	for _, p := range []place{at(a), at(b), at(c), at(d), out()} {
		w.serve(t, p, 80)
	}
	for _, f := range []answer{ofC, ofD, shared} {
		w.active(f.str("id"))
	}
	fip := func(f answer) string { return f.str("floating_ip_address") }
	v4 := func(ip string) string { return ip + ":80" }
	v6 := func(ip string) string { return "[" + ip + "]:80" }
	for _, way := range []struct {
		name     string
		from     place
		to, seen string
	}{
		{"east-west", at(a), v4(address(b, 4)), address(a, 4)},
		{"east-west and back", at(b), v4(address(a, 4)), address(b, 4)},
		{"east-west on one host", at(a), v4(address(c, 4)), address(a, 4)},
		{"east-west with IPv6", at(b), v6(address(a, 6)), address(b, 6)},
		{"east-west with IPv6 on one host", at(a), v6(address(c, 6)), address(a, 6)},
		{"within a network", at(a), v4(address(d, 4)), address(a, 4)},
		{"out, as the router", at(a), v4(outside), w.gateway},
		{"out, beyond the gateway", at(b), v4(beyond), w.gateway},
		{"out with IPv6, as itself", at(a), v6(outside6), address(a, 6)},
		{"in with IPv6", out(), v6(address(b, 6)), outside6},
		{"out by a floating IP", at(c), v4(beyond), fip(ofC)},
		{"in by a floating IP", out(), v4(fip(ofC)), outside},
		{"east-west of one with a floating IP", at(c), v4(address(d, 4)), address(c, 4)},
		{"hairpin", at(a), v4(fip(ofC)), w.gateway},
		{"hairpin from another host", at(b), v4(fip(ofC)), w.gateway},
		{"hairpin between two floating IPs", at(d), v4(fip(ofC)), fip(ofD)},
		{"a floating IP to itself", at(d), v4(fip(ofD)), fip(ofD)},
		{"in by a forwarded port", out(), fip(shared) + ":8080", outside},
		{"hairpin by a forwarded port", at(a), fip(shared) + ":8080", w.gateway},
	} {
		t.Run(way.name, func(t *testing.T) { w.expect(t, way.from, way.to, way.seen) })
	}
	t.Run("the central part is not in the way", func(t *testing.T) {
		w.t = t
		central := w.central(t)
		before := w.tunnelled(central)
		if lost := w.ping(a, b, 300); lost != 0 {
			t.Errorf("%d of 300 pings were lost", lost)
		}
		if n := w.tunnelled(central) - before; n > 30 {
			t.Errorf("the host of the central part has seen %d packets meanwhile", n)
		}
	})
	t.Run("each host answers for its own floating IPs", func(t *testing.T) {
		w.t = t
		if own, other := w.macOf(fip(ofC)), w.macOf(fip(ofD)); own == other || own == w.macOf(w.gateway) || other == w.macOf(w.gateway) {
			t.Errorf("the MACs are %s, %s, that of the gateway %s", own, other, w.macOf(w.gateway))
		}
	})
	t.Run("no host sees the router of another", func(t *testing.T) {
		w.t = t
		w.legsAreLocal("compute1", "compute2", "network") // the last has the DHCP servers
	})
	t.Run("statuses", func(t *testing.T) {
		w.t = t
		if r := w.show("routers", w.router); r.str("status") != "ACTIVE" || r["status_reason"] != nil {
			t.Errorf("the router is %s: %v", r.str("status"), r["status_reason"])
		}
		for owner, central := range map[string]bool{
			"network:router_interface_distributed": false, "network:router_gateway": true, "network:router_centralized_snat": true,
		} {
			// A busy machine may have the standby take over at any time.
			w.eventually(20*time.Second, "ports of "+owner, func() error {
				host := ""
				if central {
					host = w.central(t)
				}
				ports, err := w.client.Ports(t.Context(), map[string]string{"device_owner": owner})
				if err == nil && len(ports) == 0 {
					err = errors.New("there are none")
				}
				for _, p := range ports {
					if p.Status != "ACTIVE" || p.Host != host {
						err = errors.Join(err, fmt.Errorf("one is %s on %q instead of %q", p.Status, p.Host, host))
					}
				}
				return err
			})
		}
	})
	w.floatingIPsMove(t, a, c, d, fip(ofC), ofD)
}

// central is the host that has the central part of the router.
func (r *routed) central(t *testing.T) (host string) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "the gateway on a host", func() bool {
		ports, err := r.client.Ports(t.Context(), map[string]string{"device_owner": "network:router_gateway"})
		if err != nil || len(ports) != 1 {
			t.Fatalf("%d gateways: %v", len(ports), err)
		}
		host = ports[0].Host
		return host != ""
	})
	return host
}

// floatingIPsMove: that of c goes with it to the other host, that of d is taken away.
func (r *routed) floatingIPsMove(t *testing.T, a, c, d api.Port, ofC string, ofD answer) {
	t.Helper()
	t.Run("a floating IP moves with its port", func(t *testing.T) {
		r.t = t
		r.run("compute1", "ip", "netns", "delete", c.Name)
		r.s.Must(t, 200, "PUT", "/ports/"+c.ID, object{"port": object{"binding:host_id": "compute2"}}, nil)
		moved, err := r.client.Port(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		r.plug(moved)
		r.serve(t, at(moved), 80)
		r.expect(t, out(), ofC+":80", outside)
		r.expect(t, at(moved), beyond+":80", ofC)
		r.expect(t, at(a), address(c, 4)+":80", address(a, 4))
	})
	t.Run("a floating IP is taken away", func(t *testing.T) {
		r.t = t
		r.s.Must(t, 200, "PUT", "/floatingips/"+ofD.str("id"), object{"floatingip": object{"port_id": nil}}, nil)
		r.unreachable(t, out(), ofD.str("floating_ip_address")+":80")
		r.expect(t, at(d), beyond+":80", r.gateway)
	})
}

// tunnelled counts what has come to the host by its tunnels.
func (w *world) tunnelled(host string) (packets int) {
	w.t.Helper()
	for line := range strings.Lines(w.run(host, "cat", "/proc/net/dev")) {
		fields := strings.Fields(line)
		if len(fields) > 2 && strings.HasPrefix(fields[0], "vxlan-") {
			n, err := strconv.Atoi(fields[2])
			if err != nil {
				w.t.Fatal(err)
			}
			packets += n
		}
	}
	return packets
}

// macOf is the MAC by which the internet reaches the address.
func (w *world) macOf(ip string) string {
	w.t.Helper()
	fields := strings.Fields(w.run(internet, "ip", "neigh", "show", ip))
	if at := slices.Index(fields, "lladdr"); at >= 0 && at+1 < len(fields) {
		return fields[at+1]
	}
	return ""
}

// legsAreLocal expects each host to have its own leg in each network, and to know of no other.
func (r *routed) legsAreLocal(hosts ...string) {
	r.t.Helper()
	ports, err := r.client.Ports(r.t.Context(), map[string]string{"device_owner": "network:router_interface_distributed"})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, host := range hosts {
		entries := r.run(host, "bridge", "fdb", "show")
		for _, p := range ports {
			for line := range strings.Lines(entries) {
				if strings.HasPrefix(line, p.MAC) && !strings.Contains(line, "dev tap"+p.ID[:11]) {
					r.t.Errorf("%s: %s", host, line)
				}
			}
			if !strings.Contains(entries, p.MAC+" dev tap"+p.ID[:11]) {
				r.t.Errorf("%s has no leg %s:\n%s", host, p.MAC, entries)
			}
		}
	}
}

// TestAPairBehindADistributedRouterMoves: two workloads share an address by VRRP of their own. It is reached from another
// subnet, on a third host, wherever it is; and its floating IP is the central part's.
func TestAPairBehindADistributedRouterMoves(t *testing.T) {
	w := startDistributed(t)
	first, second := w.member(w.blue, "first", "compute1"), w.member(w.blue, "second", "compute2")
	client := w.member(w.red, "client", "network2")
	vip := w.make("ports", object{"network_id": w.blue, "name": "vip"})
	shared := vip["fixed_ips"].([]any)[0].(map[string]any)["ip_address"].(string)
	f := w.floating(vip.str("id"))
	for _, p := range []api.Port{first, second} {
		w.serve(t, at(p), 80)
	}
	w.active(f.str("id"))
	for i := range 4 {
		from, to := second, first
		if i%2 == 1 {
			from, to = first, second
		}
		if i > 0 {
			w.run(from.Host, "ip", "-n", from.Name, "address", "delete", shared+"/32", "dev", "eth0")
		}
		w.run(to.Host, "ip", "-n", to.Name, "address", "add", shared+"/32", "dev", "eth0")
		w.announce(at(to), shared)
		begin := time.Now()
		w.expect(t, at(client), shared+":80", address(client, 4))
		w.expect(t, out(), f.str("floating_ip_address")+":80", outside)
		t.Logf("reached at %s after %v", to.Host, time.Since(begin).Round(time.Millisecond))
	}
	for _, p := range []api.Port{first, second} {
		gateway := strings.Fields(w.run(p.Host, "ip", "-n", p.Name, "neigh", "show", "10.2.0.1"))
		at := slices.Index(gateway, "lladdr")
		if at < 0 || gateway[at+1] != w.leg(w.blue).MAC {
			t.Errorf("%s takes %v for its gateway, which is %s", p.Name, gateway, w.leg(w.blue).MAC)
		}
	}
}

// leg is the IPv4 interface of the distributed router in the network.
func (r *routed) leg(network string) api.Port {
	r.t.Helper()
	ports, err := r.client.Ports(r.t.Context(),
		map[string]string{"device_owner": "network:router_interface_distributed", "network_id": network})
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(ports, func(p api.Port) bool { return address(p, 4) != "" })
	return ports[i]
}

// announce sends gratuitous ARP for the address from the workload's eth0.
func (w *world) announce(p place, ip string) {
	w.t.Helper()
	err := w.within(p, func() error {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		everybody := []byte{255, 255, 255, 255, 255, 255}
		address := netip.MustParseAddr(ip).AsSlice()
		frame := slices.Concat(everybody, device.HardwareAddr, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1},
			device.HardwareAddr, address, everybody, address)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index, Halen: 6})
	})
	if err != nil {
		w.t.Fatal(fmt.Errorf("announce %s: %w", ip, err))
	}
}

// TestNobodyNoticesThatTheAgentOfALocalPartIsKilled: the agent of a host with a part of a distributed router is killed with
// -9 and started again; what goes between networks, and in by a floating IP that is there, loses nothing, and nothing is
// repaired.
func TestNobodyNoticesThatTheAgentOfALocalPartIsKilled(t *testing.T) {
	w := startDistributed(t)
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	f := w.floating(a.ID)
	w.active(f.str("id"))
	w.serve(t, at(a), 80)
	w.serve(t, at(b), 80)
	w.expect(t, out(), f.str("floating_ip_address")+":80", outside)
	w.expect(t, at(a), address(b, 4)+":80", address(a, 4))
	inwards := make(chan string, 1)
	go func() {
		text, _ := w.host(internet).Run(t.Context(), "ping", "-n", "-q", "-i", "0.01", "-c", "500", "-W", "2",
			f.str("floating_ip_address")) // the text tells of losses
		inwards <- text
	}()
	wait := w.background(a, b, 500)
	w.kill("compute1", "agent")
	killed, _ := w.record.Process("compute1", "agent")
	w.eventually(5*time.Second, "the agent is dead", func() error {
		if killed.Alive() {
			return fmt.Errorf("process %d lives", killed.PID)
		}
		return nil
	})
	w.up()
	if lost := wait(); lost != 0 {
		t.Errorf("%d of 500 pings between the networks were lost", lost)
	}
	text := <-inwards
	if m := received.FindStringSubmatch(text); m == nil || m[1] != m[2] {
		t.Errorf("in by the floating IP: %s", strings.TrimSpace(text))
	}
	if n := w.drift("compute1"); n != 0 {
		t.Errorf("the new agent has repaired %d things on a host that was right", n)
	}
}
