package filter_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	icmp, tcp, udpNumber, icmpv6 = 1, 6, 17, 58
)

func TestOnlyWhatARuleAllowsArrives(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	if reaches(a, ip4(2)) || reaches(a, ip6(2)) {
		t.Error("without a rule, a ping is answered")
	}
	if got := l.dropped(2); got["ingress no-rule"] == 0 {
		t.Errorf("what was dropped: %v", got)
	}
	l.apply(open("default", ingress(4, icmp), ingress(6, icmpv6)))
	if !answers(a, ip4(2)) || !reaches(a, ip6(2)) || !reaches(b, ip4(1)) {
		t.Errorf("with a rule, a ping is not answered\n%s", l.ruleset())
	}
	l.apply(open("default"))
	if reaches(a, ip4(2)) || reaches(a, ip6(2)) {
		t.Error("without the rule, a ping is answered again")
	}
}

func TestAMemberOfARemoteGroupIsLetIn(t *testing.T) {
	l := newLab(t, networkA)
	fromFriends := &sb.SecurityGroupRule{IpVersion: 4, RemoteSet: "group:friends"}
	l.apply(open("default", fromFriends), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	if reaches(a, ip4(2)) {
		t.Error("a stranger is let in")
	}
	for name, prefixes := range map[string][]string{
		"its address": {ip4(1) + "/32"}, "a block": {"10.0.0.0/24"}, "everything": {"0.0.0.0/0"},
		"blocks that overlap": {"10.0.0.0/30", "10.0.0.0/29", "10.0.0.8/29"},
	} {
		member := memberDocument("group:friends", "x", prefixes...)
		l.apply(member)
		if !answers(a, ip4(2)) {
			t.Errorf("%s: a friend is not let in", name)
		}
		l.remove(member.Key)
		if reaches(a, ip4(2)) {
			t.Errorf("%s: a former friend is let in", name)
		}
	}
}

// Two members may have the same address, and the set has it until both are gone.
func TestMembersAreCounted(t *testing.T) {
	l := newLab(t, networkA)
	one, two := memberDocument("group:friends", "one", ip4(1)+"/32"), memberDocument("group:friends", "two", ip4(1)+"/32")
	l.apply(open("default", &sb.SecurityGroupRule{IpVersion: 4, RemoteSet: "group:friends"}), one, two,
		portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	l.remove(one.Key)
	if !answers(a, ip4(2)) {
		t.Error("the address left with the first of its members")
	}
	l.remove(two.Key)
	if reaches(a, ip4(2)) {
		t.Error("the address stays behind its last member")
	}
}

func TestAPortIsClosedUntilItsFiltersAreIn(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(everything("all"), portDocument(port(networkA, 1, "all")))
	a := l.workload(networkA, 1)
	b := l.workload(networkA, 2) // somebody has put it into the bridge before its document came
	capture := b.Capture("eth0", "arp or icmp or ip6")
	if reaches(a, ip4(2)) || reaches(b, ip4(1)) {
		t.Error("a port without filters is open")
	}
	if seen := capture.Stop(); strings.Contains(seen, mac(1)) {
		t.Errorf("it sees:\n%s", seen)
	}
	l.apply(portDocument(port(networkA, 2, "all")))
	testkit.Eventually(t, 5*time.Second, "open with its filters", func() bool { return reaches(a, ip4(2)) && reaches(b, ip4(1)) })
	l.remove("port/" + portID(2))
	if reaches(a, ip4(2)) || reaches(b, ip4(1)) {
		t.Error("it is open when its binding is gone")
	}
}

func TestForeignBridgesAreNotTouched(t *testing.T) {
	l := newLab(t, networkA)
	l.apply()
	l.Check(l.NL.AddBridge("br-foreign", [6]byte{}, bridgeInfo))
	l.Check(l.NL.SetUp(l.Link("br-foreign").Index))
	var all []*testkit.Host
	for i, name := range []string{"vnet0", "tap1"} {
		w := l.Plug(name, mac(i+1), ip4(i+1)+"/16")
		l.Check(l.NL.SetMaster(l.Link(name).Index, l.Link("br-foreign").Index))
		l.Check(l.NL.SetUp(l.Link(name).Index))
		all = append(all, w)
	}
	if !answers(all[0], ip4(2)) {
		t.Error("the ports of a foreign bridge cannot reach each other")
	}
	if info := l.Link("br-foreign").Bridge; info.CallIPTables || info.CallIP6Tables {
		t.Error("the packets of a foreign bridge are followed")
	}
}

func TestNetworksWithTheSameAddressesDoNotShareConnections(t *testing.T) {
	l := newLab(t, networkA, networkB)
	// The same addresses in both networks; in B nobody may come in.
	documents := []*sb.Document{open("in", ingress(4, icmp)), open("closed")}
	for n, p := range map[int]*sb.Port{1: port(networkA, 1, "in"), 2: port(networkA, 2, "in"), 3: port(networkB, 3, "closed"),
		4: port(networkB, 4, "closed")} {
		p.Ips = []string{ip4((n-1)%2+1) + "/16"}
		documents = append(documents, portDocument(p))
	}
	l.apply(documents...)
	var w []*testkit.Host
	for n := 1; n <= 4; n++ {
		network := networkA
		if n > 2 {
			network = networkB
		}
		w = append(w, l.Plug(device(n), mac(n), ip4((n-1)%2+1)+"/16"))
		l.attach(network, device(n))
	}
	if !answers(w[0], ip4(2)) {
		t.Fatal("a ping in network A is not answered")
	}
	if reaches(w[2], ip4(2)) {
		t.Error("a ping in network B is answered")
	}
	zones := map[uint16]bool{}
	table, err := conntrack.Open(l.NS)
	l.Check(err)
	defer table.Close()
	_, err = table.Find(func(c conntrack.Connection) conntrack.Fate {
		zones[c.Zone] = true
		return conntrack.Fate{Mark: c.Mark}
	})
	l.Check(err)
	if len(zones) != 1 || zones[0] {
		t.Errorf("what was let in is in the zones %v, not in one", zones)
	}
}

// talk is a TCP connection that says a word and hears it again.
type talk struct {
	client, server net.Conn
}

func connect(t *testing.T, from, to *testkit.Host, address string) *talk {
	t.Helper()
	var listener net.Listener
	to.Check(netns.Do(to.NS, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	}))
	defer listener.Close()
	x := &talk{}
	from.Check(netns.Do(from.NS, func() (err error) {
		x.client, err = net.DialTimeout("tcp", address, 2*time.Second)
		return err
	}))
	var err error
	x.server, err = listener.Accept()
	to.Check(err)
	t.Cleanup(func() {
		x.client.Close()
		x.server.Close()
	})
	return x
}

// says tells whether a word from one end arrives at the other within the time.
func says(from, to net.Conn, within time.Duration) bool {
	if _, err := from.Write([]byte("word")); err != nil {
		return false
	}
	if err := to.SetReadDeadline(time.Now().Add(within)); err != nil {
		return false
	}
	_, err := to.Read(make([]byte, 100))
	return err == nil
}

func TestAChangedRuleCutsWhatItForbidsAndNothingElse(t *testing.T) {
	l := newLab(t, networkA)
	ssh, web := ingress(4, tcp, 22), ingress(4, tcp, 80)
	l.apply(open("default", ssh, web), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	onSSH, onWeb := connect(t, a, b, ip4(2)+":22"), connect(t, a, b, ip4(2)+":80")
	if !says(onSSH.client, onSSH.server, time.Second) || !says(onWeb.client, onWeb.server, time.Second) {
		t.Fatal("connections do not work")
	}
	l.apply(open("default", web))
	if !says(onWeb.client, onWeb.server, time.Second) || !says(onWeb.server, onWeb.client, time.Second) {
		t.Error("a connection that is still allowed was cut")
	}
	// Also when the side that may still send goes on: its packets begin no connection to which others were answers.
	says(onSSH.server, onSSH.client, 100*time.Millisecond)
	if says(onSSH.client, onSSH.server, 500*time.Millisecond) {
		t.Error("a connection that is forbidden goes on")
	}
	l.apply(open("default", ssh, web))
	if err := onSSH.server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := onSSH.server.Read(make([]byte, 100)); err != nil {
		t.Error("once it is allowed again, it does not go on")
	}
}

func TestStatelessGroupsNeedRulesForBothDirections(t *testing.T) {
	l := newLab(t, networkA)
	stateless := func(rules ...*sb.SecurityGroupRule) *sb.Document {
		d := groupDocument("plain", rules...)
		d.GetSecurityGroup().Stateful = false
		return d
	}
	l.apply(everything("all"), stateless(egress(4)), portDocument(port(networkA, 1, "plain")), portDocument(port(networkA, 2, "all")))
	a := l.workload(networkA, 1)
	b := l.workload(networkA, 2)
	if reaches(a, ip4(2)) {
		t.Error("an answer is let in without a rule")
	}
	l.apply(stateless(egress(4), ingress(4, icmp)))
	if !answers(a, ip4(2)) {
		t.Error("with a rule for answers there is none")
	}
	l.apply(stateless(ingress(4, icmp)))
	if reaches(b, ip4(1)) {
		t.Error("an answer is let out without a rule")
	}
}

func TestAnAgentThatStartsAgainChangesNothing(t *testing.T) {
	l := newLab(t, networkA, networkB)
	pair := port(networkA, 2, "default", "web")
	pair.AddressPairs = []*sb.AddressPair{{Mac: mac(2), Prefix: "10.9.0.0/16"}, {Mac: mac(2), Prefix: "fd00:9::/64"}}
	l.apply(open("default", &sb.SecurityGroupRule{IpVersion: 4, RemoteSet: "group:friends"}, ingress(6, icmpv6, 128)),
		groupDocument("web", ingress(4, tcp, 80), ingress(4, tcp, 8000, 8100)), memberDocument("group:friends", "x", "10.0.0.0/24"),
		memberDocument("group:friends", "y", "10.0.7.1/32", "fd00::7/128"), portDocument(port(networkA, 1, "default")),
		portDocument(pair), portDocument(port(networkB, 3)))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	running := connect(t, b, a, ip4(1)+":5000")
	l.reconcile() // with the devices
	before := l.ruleset()
	l.part.Close()
	if !says(running.client, running.server, time.Second) {
		t.Error("without an agent nothing passes")
	}
	l.start()
	l.reconcile()
	if after := l.ruleset(); withoutCounters(after) != withoutCounters(before) {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if n := l.part.Changes(); n != 0 {
		t.Errorf("%d changes", n)
	}
	if !says(running.server, running.client, time.Second) {
		t.Error("a connection was cut")
	}
}

func TestWhatHappenedWhileNoAgentRanIsPutRight(t *testing.T) {
	for _, command := range []string{
		"flush ruleset", "flush table bridge neutrino-filter", "delete table inet neutrino-track",
		"insert rule bridge neutrino-filter arrive accept", "flush map bridge neutrino-filter identities4",
	} {
		l := newLab(t, networkA)
		l.apply(open("default", ingress(4, icmp)), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2)))
		a, b := l.workload(networkA, 1), l.workload(networkA, 2)
		l.part.Close()
		l.Run("nft", command)
		l.start()
		l.reconcile()
		if reaches(a, ip4(2)) || reaches(b, ip4(1)) {
			t.Errorf("after %q: open", command)
		}
		l.apply(portDocument(port(networkA, 2, "default")))
		testkit.Eventually(t, 5*time.Second, "open after "+command, func() bool { return reaches(a, ip4(2)) })
	}
}

func TestNobodyElseCanOpenTheFilters(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default"), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	for _, command := range []string{
		"flush ruleset", "flush table bridge neutrino-filter", "delete table bridge neutrino-filter",
		"delete table inet neutrino-track", "insert rule bridge neutrino-filter arrive accept",
	} {
		_, _ = l.Try("nft", command) // may be refused, or not
		if reaches(a, ip4(2)) {
			t.Errorf("open after %q", command)
		}
	}
}

func TestTheSocketShowsWhatIsInForce(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default", ingress(4, icmp), &sb.SecurityGroupRule{RuleId: "friends", IpVersion: 4, RemoteSet: "group:friends"}),
		memberDocument("group:friends", "x", "10.0.9.1/32"), portDocument(port(networkA, 1, "default")),
		portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	reaches(a, ip4(2))
	reaches(a, ip6(2))
	v, err := l.part.Show(portID(2))
	if err != nil {
		t.Fatal(err)
	}
	counted, members := uint64(0), 0
	for _, r := range v.Rules {
		if r.Rule == "default-rule-2" {
			counted += r.Packets
		}
		if r.Rule == "friends" {
			members += r.Members
		}
	}
	if counted == 0 || members != 1 || !v.Filtered || v.Zone == 0 || len(v.Chains) != 2 {
		t.Errorf("%+v", v)
	}
	families, err := l.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		found = found || f.GetName() == "neutrino_port_dropped_packets_total" && strings.Contains(f.String(), portID(2)) &&
			strings.Contains(f.String(), "no-rule")
	}
	if !found {
		t.Error("the metrics do not have what was dropped")
	}
}

// withoutCounters leaves out what packets change.
func withoutCounters(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "expires") {
			continue // what packets have made
		}
		if before, counter, ok := strings.Cut(line, "counter packets"); ok {
			_, after, _ := strings.Cut(counter, " #")
			line = before + after
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}
