package filter_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	fwAllow = sb.FirewallRule_ACTION_ALLOW
	fwDeny  = sb.FirewallRule_ACTION_DENY

	protoUDP = 17
)

// firewall is the document of a group with the ports given by number.
func firewall(id string, ingress, egress []*sb.FirewallRule, ports ...int) *sb.Document {
	g := &sb.FirewallGroup{GroupId: id, Ingress: ingress, Egress: egress}
	for _, n := range ports {
		g.Ports = append(g.Ports, portID(n))
	}
	for i, r := range append(ingress, egress...) {
		r.RuleId = fmt.Sprintf("%s-%d", id, i)
	}
	return &sb.Document{Key: "firewall-group/" + id, Body: &sb.Document_FirewallGroup{FirewallGroup: g}}
}

// fw is a rule; protocol 0 is any, ports are those of the destination.
func fw(action sb.FirewallRule_Action, version, protocol uint32, ports ...uint32) *sb.FirewallRule {
	r := &sb.FirewallRule{IpVersion: version, Action: action}
	if protocol != 0 {
		r.Protocol = &protocol
	}
	if len(ports) > 0 {
		r.DestinationFirst, r.DestinationLast = ports[0], ports[len(ports)-1]
	}
	return r
}

func fwList(rules ...*sb.FirewallRule) []*sb.FirewallRule { return rules }

// anything lets everything through.
func anything() []*sb.FirewallRule { return fwList(fw(fwAllow, 4, 0), fw(fwAllow, 6, 0)) }

// asks says whether a host that serves is reached.
func asks(from *testkit.Host, network, address string, port int) bool {
	_, err := from.Ask(network, net.JoinHostPort(address, fmt.Sprint(port)))
	return err == nil
}

func TestSecurityGroupAndFirewallHaveToAcceptBoth(t *testing.T) {
	l := newLab(t, networkA)
	all := open("default", ingress(4, 0), ingress(6, 0))
	l.apply(all, portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")),
		portDocument(port(networkA, 3, "default")))
	a, b, c := l.workload(networkA, 1), l.workload(networkA, 2), l.workload(networkA, 3)
	for _, n := range []int{80, 81, 82} {
		b.Serve(n)
		c.Serve(n)
	}
	within := fw(fwAllow, 6, protoUDP, 80)
	within.Source = ip6(1) + "/128"
	l.apply(firewall("g", fwList(
		fw(fwDeny, 4, tcp, 81), fw(fwAllow, 4, tcp, 80, 82), fw(fwAllow, 6, icmpv6), within, fw(fwDeny, 6, 0),
	), anything(), 2))
	for _, x := range []struct {
		network, address string
		port             int
		want             bool
	}{
		{"tcp", ip4(2), 80, true}, {"tcp", ip4(2), 81, false}, {"tcp", ip4(2), 82, true}, {"udp", ip4(2), 80, false},
		{"tcp", ip6(2), 80, false}, {"udp", ip6(2), 80, true}, {"tcp", ip4(3), 81, true}, {"udp", ip6(3), 81, true},
	} {
		if got := asks(a, x.network, x.address, x.port); got != x.want {
			t.Errorf("%s to %s, port %d: reached %v", x.network, x.address, x.port, got)
		}
	}
	if asks(c, "udp", ip6(2), 80) {
		t.Error("a source that no rule is about is let in")
	}
	if reaches(a, ip4(2)) || !answers(a, ip6(2)) {
		t.Error("pings are not as the rules say")
	}
	if !asks(b, "tcp", ip4(3), 80) || !answers(b, ip4(1)) {
		t.Error("what the egress policy allows is not let out")
	}
	if got := l.dropped(2); got["ingress firewall"] == 0 {
		t.Errorf("what was dropped: %v", got)
	}
	l.apply(open("default")) // the security group lets in nothing any more
	if asks(a, "tcp", ip4(2), 80) {
		t.Error("what the security group forbids is let in by the firewall")
	}
	l.apply(all, firewall("g", anything(), nil, 2)) // without an egress policy
	if asks(b, "tcp", ip4(3), 80) || !asks(a, "tcp", ip4(2), 81) {
		t.Error("without an egress policy, it is not as it should be: only answers are let out")
	}
	l.remove("firewall-group/g")
	if !asks(b, "tcp", ip4(3), 80) {
		t.Error("without the firewall nothing is let out")
	}
}

// A firewall is there for ports without port security, too.
func TestAFirewallNeedsNoPortSecurity(t *testing.T) {
	l := newLab(t, networkA)
	free := port(networkA, 2)
	free.PortSecurity = false
	closed := firewall("off", nil, nil, 2)
	closed.GetFirewallGroup().Closed = true
	l.apply(open("default", ingress(4, 0)), portDocument(port(networkA, 1, "default")), portDocument(free))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	b.Serve(80)
	b.Serve(81)
	if !asks(a, "tcp", ip4(2), 81) {
		t.Fatal("a port that nothing filters is not reached")
	}
	l.apply(firewall("g", fwList(fw(fwAllow, 4, tcp, 80)), nil, 2))
	if !asks(a, "tcp", ip4(2), 80) || asks(a, "tcp", ip4(2), 81) || reaches(b, ip4(1)) {
		t.Error("the firewall of an unfiltered port is not in force")
	}
	l.remove("firewall-group/g")
	l.apply(closed)
	if asks(a, "tcp", ip4(2), 80) {
		t.Error("a firewall that is switched off lets something in")
	}
}

// working returns what expects that a word of the client arrives, or does not.
func working(t *testing.T) func(what string, x *talk, want bool) {
	return func(what string, x *talk, want bool) {
		t.Helper()
		within := time.Second
		if !want {
			within = 300 * time.Millisecond
		}
		says(x.server, x.client, 100*time.Millisecond) // who may still send begins no connection to which others were answers
		if says(x.client, x.server, within) != want {
			t.Errorf("%s: it works: %v", what, !want)
		}
	}
}

func TestAChangedFirewallCutsWhatItForbids(t *testing.T) {
	l := newLab(t, networkA)
	free := port(networkA, 2)
	free.PortSecurity = false
	rules := func(first ...*sb.FirewallRule) *sb.Document {
		return firewall("g", append(first, fw(fwAllow, 4, tcp, 80)), anything(), 2)
	}
	l.apply(open("default", ingress(4, 0)), portDocument(port(networkA, 1, "default")), portDocument(free),
		rules(fw(fwAllow, 4, tcp, 22)))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	ssh, web := connect(t, a, b, ip4(2)+":22"), connect(t, a, b, ip4(2)+":80")
	works := working(t)
	works("at first", ssh, true)
	l.apply(rules())
	works("without its rule", ssh, false)
	works("with its rule", web, true)
	closed := rules()
	closed.GetFirewallGroup().Closed = true
	l.apply(closed)
	works("closed", web, false)
	l.remove("firewall-group/g")
	works("without the firewall, taken up again", web, true)
}

// A document that cannot be understood closes its own ports, and says why; a new agent changes nothing.
func TestABadFirewallClosesItsPortsOnly(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default", ingress(4, 0)), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")),
		portDocument(port(networkA, 3, "default")))
	a, b, c := l.workload(networkA, 1), l.workload(networkA, 2), l.workload(networkA, 3)
	b.Serve(80)
	c.Serve(80)
	status := l.try(firewall("bad", append(anything(), fw(fwAllow, 4, icmp, 80)), anything(), 2), firewall("good", anything(), nil, 3))
	if s := status["firewall-group/bad"]; s.State != sb.ObjectStatus_STATE_ERROR {
		t.Errorf("the bad one is %v", s)
	}
	if s := status["firewall-group/good"]; s.State != sb.ObjectStatus_STATE_DONE {
		t.Errorf("the good one is %v", s)
	}
	if asks(a, "tcp", ip4(2), 80) || !asks(a, "tcp", ip4(3), 80) {
		t.Error("not the bad firewall's port, and only that, is closed")
	}
	l.part.Close()
	l.start()
	l.reconcile()
	if n := l.part.Changes(); n != 0 {
		t.Errorf("a new agent changes %d objects", n)
	}
	// A port that moves to another group, in one step.
	l.apply(firewall("bad", anything(), anything()), firewall("good", anything(), nil, 2, 3))
	if !asks(a, "tcp", ip4(2), 80) || reaches(b, ip4(1)) {
		t.Error("a port that has moved to another group is not filtered by that")
	}
}
