package l3_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	allow  = sb.FirewallRule_ACTION_ALLOW
	deny   = sb.FirewallRule_ACTION_DENY
	reject = sb.FirewallRule_ACTION_REJECT
)

// firewall puts a group with the ports of the legs and returns its key.
func (c *cloud) firewall(g *sb.FirewallGroup, legs ...*sb.RouterLeg) (key string) {
	if g.GroupId == "" {
		g.GroupId = uuid.NewString()
	}
	for _, l := range legs {
		g.Ports = append(g.Ports, l.PortId)
	}
	c.put(&sb.Document{Key: "firewall-group/" + g.GroupId, Body: &sb.Document_FirewallGroup{FirewallGroup: g}})
	return "firewall-group/" + g.GroupId
}

// fwRule is a rule about a protocol (0: any) and destination ports (0: any); change says more.
func fwRule(action sb.FirewallRule_Action, protocol, first, last uint32, change ...func(*sb.FirewallRule)) *sb.FirewallRule {
	r := &sb.FirewallRule{
		RuleId: uuid.NewString(), IpVersion: 4, Action: action, DestinationFirst: first, DestinationLast: last,
	}
	if protocol != 0 {
		r.Protocol = proto.Uint32(protocol)
	}
	for _, f := range change {
		f(r)
	}
	return r
}

func from(block string) func(*sb.FirewallRule) { return func(r *sb.FirewallRule) { r.Source = block } }
func to(block string) func(*sb.FirewallRule) {
	return func(r *sb.FirewallRule) { r.Destination = block }
}
func six(r *sb.FirewallRule) { r.IpVersion = 6 }

// fromPorts bounds the source ports.
func fromPorts(first, last uint32) func(*sb.FirewallRule) {
	return func(r *sb.FirewallRule) { r.SourceFirst, r.SourceLast = first, last }
}

const (
	tcp, udp, icmp, icmp6 = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6
)

func TestTheFirstRuleOfAFirewallThatMatchesDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, port := range []int{81, 82, 83, 90} {
		w.a1.Serve(port)
	}
	w.floating(w.router, "203.0.113.11", "10.0.1.11")
	w.firewall(&sb.FirewallGroup{
		Ingress: []*sb.FirewallRule{
			fwRule(deny, tcp, 81, 81),
			fwRule(allow, tcp, 80, 82, to("10.0.1.11/32")), // as it is behind the translation
			fwRule(reject, udp, 90, 90, from("10.0.2.0/24")),
			fwRule(allow, udp, 90, 90, fromPorts(1024, 65535)),
			fwRule(allow, icmp, 0, 0),
		},
		Egress: []*sb.FirewallRule{
			fwRule(allow, tcp, 80, 80, to("10.0.2.0/24")),
			fwRule(allow, tcp, 80, 80, from("10.0.1.12/32")), // as it is before the translation
		},
	}, w.redLeg)
	w.start()
	w.apply()
	w.allDone()
	expect(t, w.b, "tcp", "10.0.1.11:80", "10.0.2.10")
	expect(t, w.b, "tcp", "10.0.1.11:82", "10.0.2.10")
	refuse(t, w.b, "tcp", "10.0.1.11:81")
	refuse(t, w.b, "tcp", "10.0.1.11:83")
	refuse(t, w.b, "tcp", "10.0.1.12:80")
	refuse(t, w.b, "udp", "10.0.1.11:80")
	if _, err := w.b.Ask("udp", "10.0.1.11:90"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("what is rejected is answered with %v", err)
	}
	expect(t, w.internet, "udp", "203.0.113.11:90", "203.0.113.254")
	expect(t, w.internet, "tcp", "203.0.113.11:80", "203.0.113.254")
	refuse(t, w.internet, "tcp", "203.0.113.11:83")
	if w.b.Ping("10.0.1.11", 2) == 0 {
		t.Error("ICMP that is allowed does not arrive")
	}
	expect(t, w.a1, "tcp", "10.0.2.10:80", "10.0.1.11")
	refuse(t, w.a1, "udp", "10.0.2.10:80")
	refuse(t, w.a1, "tcp", "203.0.113.254:80")
	expect(t, w.a2, "tcp", "203.0.113.254:80", "203.0.113.5")
	if w.a1.Ping("10.0.1.1", 2) == 0 {
		t.Error("the router itself cannot be reached: it is none of a firewall's business")
	}
	expect(t, w.b, "udp", "203.0.113.254:80", "203.0.113.5") // through no leg of the group
}

func TestFirewallsOfIPv6(t *testing.T) {
	t.Parallel()
	w := newWorld6(t)
	w.b.Serve(90)
	w.firewall(&sb.FirewallGroup{
		Ingress: []*sb.FirewallRule{
			fwRule(allow, tcp, 80, 80, six, from("2001:db8:f::/64")),
			fwRule(reject, udp, 90, 90, six, to("2001:db8:2::10/128")),
			fwRule(allow, icmp6, 0, 0, six),
			fwRule(allow, 0, 0, 0), // IPv4, whatever it is
		},
	}, w.blueLeg)
	w.start()
	w.apply()
	w.allDone()
	expect(t, w.internet, "tcp", "[2001:db8:2::10]:80", "2001:db8:f::254")
	refuse(t, w.internet, "tcp", "[2001:db8:2::10]:90")
	refuse(t, w.internet, "udp", "[2001:db8:2::10]:80")
	if _, err := w.internet.Ask("udp", "[2001:db8:2::10]:90"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("what is rejected is answered with %v", err)
	}
	if _, err := w.internet.Try("ping", "-c", "1", "-W", "2", "2001:db8:2::10"); err != nil {
		t.Error("ICMPv6 that is allowed does not arrive")
	}
	refuse(t, w.b, "tcp", "[2001:db8:f::254]:80") // there is no egress policy
	expect(t, w.a1, "tcp", "10.0.2.10:80", "10.0.1.11")
}

// What a changed firewall forbids is cut, and nothing else; also where the other side may send.
func TestAChangedFirewallCutsWhatItForbids(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.floating(w.router, "203.0.113.12", "10.0.1.12")
	ours := fwRule(allow, tcp, 7, 7, from("10.0.2.0/24"))
	g := &sb.FirewallGroup{
		Ingress: []*sb.FirewallRule{ours, fwRule(allow, tcp, 7, 7, from("203.0.113.0/24"), to("10.0.1.12/32"))},
		Egress:  []*sb.FirewallRule{fwRule(allow, 0, 0, 0)},
	}
	key := w.firewall(g, w.redLeg)
	w.start()
	w.apply()
	w.allDone()
	cut, kept := stream(t, w.b, w.a1, "10.0.1.11"), stream(t, w.internet, w.a2, "203.0.113.12")
	out := stream(t, w.a1, w.b, "10.0.2.10")
	works := func(what string, s *tcpStream, want bool) {
		t.Helper()
		if err := s.echo(); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	works("at first", cut, true)
	works("by the floating IP, at first", kept, true)
	works("outward, at first", out, true)
	change := func(f func(*sb.FirewallGroup)) {
		g = proto.Clone(g).(*sb.FirewallGroup)
		f(g)
		w.firewall(g)
		w.apply()
		w.allDone()
	}
	change(func(g *sb.FirewallGroup) { g.Ingress = slices.Delete(g.Ingress, 0, 1) })
	works("without its rule", cut, false)
	works("by the floating IP, after the change", kept, true)
	works("outward, after the change", out, true)
	change(func(g *sb.FirewallGroup) { g.Closed = true })
	works("by the floating IP, closed", kept, false)
	works("outward, closed", out, false)
	delete(w.documents, key)
	w.apply()
	if tables := w.inside(w.router).Run("nft", "list", "tables"); strings.Contains(tables, "neutrino-firewall") {
		t.Errorf("without a firewall the tables are\n%s", tables)
	}
	expect(t, w.b, "udp", "10.0.1.11:80", "10.0.2.10")
}

// A rule that cannot be understood closes the legs of its group, and no others; a new agent changes nothing.
func TestABadFirewallClosesItsLegsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := w.firewall(&sb.FirewallGroup{
		Ingress: []*sb.FirewallRule{fwRule(allow, 0, 0, 0), fwRule(allow, icmp, 80, 80)}, Egress: []*sb.FirewallRule{fwRule(allow, 0, 0, 0)},
	}, w.redLeg)
	w.firewall(&sb.FirewallGroup{
		Ingress: []*sb.FirewallRule{fwRule(allow, tcp, 80, 80)}, Egress: []*sb.FirewallRule{fwRule(allow, 0, 0, 0)},
	}, w.blueLeg)
	w.start()
	w.apply()
	if reason := w.reason(bad); !strings.Contains(reason, "cannot be understood") {
		t.Errorf("the reason is %q", reason)
	}
	refuse(t, w.a1, "tcp", "10.0.2.10:80")
	expect(t, w.b, "tcp", "203.0.113.254:80", "203.0.113.5")
	w.stop()
	w.start()
	w.apply()
	if n := w.drift(""); n != 0 {
		t.Errorf("a new agent has repaired %v things", n)
	}
	w.inside(w.router).Run("nft", "flush", "table", "inet", "neutrino-firewall")
	testkit.Eventually(t, patience, "a firewall that somebody flushed is noticed", func() bool { return w.drift("firewall") > 0 })
	w.apply() // what was noticed is repaired
	refuse(t, w.a1, "tcp", "10.0.2.10:80")
}
