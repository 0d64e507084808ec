package e2e

import (
	"fmt"
	"testing"
	"time"
)

// firewall makes what its name says, by the path and the name of the object.
func (r *routed) firewall(kind, path string, body object) string {
	r.t.Helper()
	var got map[string]answer
	r.s.Must(r.t, 201, "POST", "/fwaas/"+path, object{kind: body}, &got)
	return got[kind].str("id")
}

// allows is a policy that lets through what comes in to the TCP port.
func (r *routed) allows(port int) string {
	r.t.Helper()
	rule := r.firewall("firewall_rule", "firewall_rules", object{"protocol": "tcp", "destination_port": port, "action": "allow"})
	return r.firewall("firewall_policy", "firewall_policies", object{"name": "allow", "firewall_rules": []string{rule}})
}

// inForce waits until the group has the status.
func (r *routed) inForce(group, status string) {
	r.t.Helper()
	r.eventually(10*time.Second, "the firewall group is "+status, func() error {
		var got map[string]answer
		r.s.Must(r.t, 200, "GET", "/fwaas/firewall_groups/"+group, nil, &got)
		if g := got["firewall_group"]; g.str("status") != status {
			return fmt.Errorf("it is %s: %v", g.str("status"), g["status_reason"])
		}
		return nil
	})
}

// A firewall group is in force on the leg of a router, and on the port of a server, as soon as it says so.
func TestFirewallGroupsAreInForceWhenTheySayTheyAre(t *testing.T) {
	w := startRouted(t)
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	w.s.Must(t, 200, "PUT", "/ports/"+b.ID, object{"port": object{"device_owner": "compute:nova"}}, nil)
	w.serve(t, at(b), 80)
	w.serve(t, at(b), 81)
	on := func(port int) string { return fmt.Sprintf("%s:%d", address(b, 4), port) }
	closed := func(what string, port int) {
		t.Helper()
		if _, err := w.seen(at(a), on(port)); err == nil {
			t.Errorf("%s, port %d is reached", what, port)
		}
	}
	w.expect(t, at(a), on(81), address(a, 4))

	legs, err := w.client.Ports(t.Context(), map[string]string{"network_id": w.blue, "device_owner": "network:router_interface"})
	if err != nil || len(legs) == 0 {
		t.Fatalf("the router's ports: %v", err)
	}
	var ports []string
	for _, l := range legs {
		ports = append(ports, l.ID)
	}
	policy := w.allows(80)
	group := w.firewall("firewall_group", "firewall_groups", object{"ingress_firewall_policy_id": policy, "ports": ports})
	w.inForce(group, "ACTIVE")
	closed("on the router", 81)
	w.expect(t, at(a), on(80), address(a, 4))
	change := func(attributes object) {
		w.s.Must(t, 200, "PUT", "/fwaas/firewall_groups/"+group, object{"firewall_group": attributes}, nil)
	}
	change(object{"admin_state_up": false})
	w.inForce(group, "DOWN")
	closed("switched off", 80)

	change(object{"admin_state_up": true, "ports": []string{b.ID}})
	w.inForce(group, "ACTIVE")
	closed("on the server's port", 81)
	w.expect(t, at(a), on(80), address(a, 4)) // the router may take a moment more to let go of it
	closed("on the server's port, with nothing else in between", 81)
	change(object{"ports": []string{}})
	w.inForce(group, "INACTIVE")
	w.expect(t, at(a), on(81), address(a, 4))
}

// The group of a distributed router's interface is in force wherever that forwards: from one host to another, within one, and
// by floating IPs. What is not routed meets no firewall.
func TestAFirewallOfADistributedRouterIsInForceOnAllHosts(t *testing.T) {
	w := startDistributed(t)
	a, b, c := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2"), w.member(w.blue, "c", "compute1")
	for _, p := range []place{at(a), at(b), at(c), out()} {
		for _, port := range []int{80, 81, 443} {
			w.serve(t, p, port)
		}
	}
	floating := w.floating(c.ID)
	w.active(floating.str("id"))
	on := func(ip string, port int) string { return fmt.Sprintf("%s:%d", ip, port) }
	closed := func(what string, from place, to string) {
		t.Helper()
		if _, err := w.seen(from, to); err == nil {
			t.Errorf("%s: %s is reached", what, to)
		}
	}
	fip := floating.str("floating_ip_address")
	w.expect(t, at(a), on(address(b, 4), 81), address(a, 4))
	w.expect(t, out(), on(fip, 81), outside)

	legs, err := w.client.Ports(t.Context(), map[string]string{
		"network_id": w.blue, "device_owner": "network:router_interface_distributed",
	})
	if err != nil || len(legs) == 0 {
		t.Fatalf("the router's ports: %v", err)
	}
	var ports []string
	for _, l := range legs {
		ports = append(ports, l.ID)
	}
	group := w.firewall("firewall_group", "firewall_groups", object{
		"ingress_firewall_policy_id": w.allows(80), "egress_firewall_policy_id": w.allows(443), "ports": ports,
	})
	w.inForce(group, "ACTIVE")
	for _, to := range []string{address(b, 4), address(c, 4)} {
		closed("from a network to another", at(a), on(to, 81))
		w.expect(t, at(a), on(to, 80), address(a, 4))
	}
	closed("by a floating IP", out(), on(fip, 81))
	w.expect(t, out(), on(fip, 80), outside)
	closed("out", at(b), on(outside, 80))
	w.expect(t, at(b), on(outside, 443), w.gateway)
	w.expect(t, at(b), on(address(a, 4), 443), address(b, 4))
	w.expect(t, at(b), on(address(c, 4), 81), address(b, 4))

	d := w.member(w.blue, "d", "network2") // a host that has had nothing of the network
	for _, port := range []int{80, 81} {
		w.serve(t, at(d), port)
	}
	closed("to a host that is new on the network", at(a), on(address(d, 4), 81))
	w.expect(t, at(a), on(address(d, 4), 80), address(a, 4))
	w.inForce(group, "ACTIVE")

	w.s.Must(t, 200, "PUT", "/fwaas/firewall_groups/"+group, object{"firewall_group": object{"ports": []string{}}}, nil)
	w.inForce(group, "INACTIVE")
	w.expect(t, at(a), on(address(b, 4), 81), address(a, 4))
	w.expect(t, out(), on(fip, 81), outside)
}
