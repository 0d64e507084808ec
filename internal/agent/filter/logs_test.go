package filter_test

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/agent/packetlog"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// logDocument is a log of everything; change says what it is about.
func logDocument(id string, change func(l *sb.Log)) *sb.Document {
	l := &sb.Log{LogId: id, ProjectId: "blue", Accept: true, Drop: true}
	if change != nil {
		change(l)
	}
	return &sb.Document{Key: "log/" + id, Body: &sb.Document_Log{Log: l}}
}

func ofPort(n int) func(*sb.Log) { return func(l *sb.Log) { l.PortId = portID(n) } }

// recording waits until the kernel hands over what is recorded.
func (l *lab) recording() {
	l.t.Helper()
	testkit.Eventually(l.t, 5*time.Second, "somebody reads what is recorded", l.read)
}

// read says whether somebody reads what is recorded.
func (l *lab) read() bool {
	_, err := l.Try("grep", "-q", "^ *9696 ", "/proc/self/net/netfilter/nfnetlink_log")
	return err == nil
}

// records are what has been written down of a port, when that is at least n lines and no more have come for a while. What
// the workloads say to all by themselves is left out.
func (l *lab) records(port, n int) []packetlog.Record {
	l.t.Helper()
	file := packetlog.New(l.logDir, packetlog.DefaultSize, packetlog.DefaultFiles)
	var all []packetlog.Record
	read := func() (err error) {
		all, err = file.Read(portID(port), 10000)
		all = slices.DeleteFunc(all, func(r packetlog.Record) bool { return r.Destination.IsMulticast() })
		return err
	}
	testkit.Eventually(l.t, 5*time.Second, fmt.Sprintf("%d lines of port %d", n, port), func() bool {
		l.Check(read())
		return len(all) >= n
	})
	time.Sleep(400 * time.Millisecond) //nolint:forbidigo // more would be too much; the kernel collects for 100 ms
	l.Check(read())
	return all
}

// send sends a datagram to port 9 of the address, from a port.
func send(w *testkit.Host, from int, address string, times int) {
	w.Check(netns.Do(w.NS, func() error {
		conn, err := net.DialUDP("udp", &net.UDPAddr{Port: from}, &net.UDPAddr{IP: net.ParseIP(address), Port: 9})
		if err != nil {
			return err
		}
		defer conn.Close()
		for range times {
			// An error tells of an answer to an earlier one: nobody listens there.
			_, _ = conn.Write([]byte("x\n{\"event\":\"ACCEPT\"}\n"))
		}
		return nil
	}))
}

func TestAcceptedAndDroppedConnectionsAreRecordedOnce(t *testing.T) {
	l := newLab(t, networkA)
	watch(t, l)
	l.apply(open("default", ingress(4, tcp, 22), ingress(6, tcp, 22)), logDocument("log-1", ofPort(2)),
		portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	l.recording()
	for _, address := range []string{ip4(2), "[" + ip6(2) + "]"} {
		x := connect(t, a, b, address+":22")
		for range 10 {
			if !says(x.client, x.server, time.Second) || !says(x.server, x.client, time.Second) {
				t.Fatal("the connection does not work")
			}
		}
	}
	send(a, 4444, ip4(2), 1)
	all := l.records(2, 3)
	if len(all) != 3 {
		t.Fatalf("%d lines: %+v", len(all), all)
	}
	for i, want := range []packetlog.Record{
		{Event: "ACCEPT", SecurityGroup: "default", Rule: "default-rule-2", Packet: packetlog.Packet{
			EtherType: "ipv4", Source: addr(ip4(1)), Destination: addr(ip4(2)), Protocol: "tcp"}},
		{Event: "ACCEPT", SecurityGroup: "default", Rule: "default-rule-3", Packet: packetlog.Packet{
			EtherType: "ipv6", Source: addr(ip6(1)), Destination: addr(ip6(2)), Protocol: "tcp"}},
		{Event: "DROP", Reason: "no-rule", Packet: packetlog.Packet{
			EtherType: "ipv4", Source: addr(ip4(1)), Destination: addr(ip4(2)), Protocol: "udp"}},
	} {
		want.Log, want.Project, want.Port, want.Direction = "log-1", "blue", portID(2), "ingress"
		want.SourceMAC, want.DestinationMAC = mac(1), mac(2)
		got := all[i]
		toPort := map[string]uint16{"ACCEPT": 22, "DROP": 9}[want.Event]
		if got.SourcePort == nil || got.DestinationPort == nil || *got.DestinationPort != toPort ||
			want.Event == "DROP" && *got.SourcePort != 4444 || time.Since(got.Time) > time.Minute {
			t.Errorf("line %d: %+v", i, got)
		}
		got.Time, got.SourcePort, got.DestinationPort, got.Number = want.Time, nil, nil, 0
		if got != want {
			t.Errorf("line %d:\n%+v, not\n%+v", i, got, want)
		}
	}
}

func TestWhatANewDeviceGetsIsRecordedAtOnce(t *testing.T) {
	l := newLab(t, networkA)
	watch(t, l)
	l.apply(open("default"), logDocument("log-1", func(*sb.Log) {}))
	for n := 1; n <= 4; n++ {
		l.apply(portDocument(port(networkA, n, "default")))
	}
	a := l.workload(networkA, 1)
	l.recording()
	for n := 2; n <= 4; n++ { // one soon after the other, and others' packets have been recorded before
		l.workload(networkA, n)
		send(a, 4444, ip4(n), 1)
	}
	for n := 2; n <= 4; n++ {
		l.records(n, 1)
	}
}

func TestALieIsRecordedOnItsWayOut(t *testing.T) {
	l := newLab(t, networkA)
	watch(t, l)
	l.apply(open("default"), logDocument("log-1", ofPort(1)), portDocument(port(networkA, 1, "default")),
		portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	l.recording()
	a.Run("ip", "addr", "add", "10.0.77.77/16", "dev", "eth0")
	_, _ = a.Try("ping", "-n", "-c", "1", "-W", "0.2", "-I", "10.0.77.77", ip4(2)) // has no answer
	all := l.records(1, 1)
	reasons := map[string]bool{}
	for _, r := range all {
		reasons[r.Event+" "+r.Direction+" "+r.Reason] = true
	}
	if !reasons["DROP egress arp-sender"] {
		t.Errorf("%v", reasons)
	}
}

func TestWhatGoesOnWithoutAnswersIsRecordedOnce(t *testing.T) {
	l := newLab(t, networkA)
	watch(t, l)
	l.apply(open("default", ingress(4, udpNumber)), logDocument("log-1", ofPort(2)),
		portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a, b := l.workload(networkA, 1), l.workload(networkA, 2)
	b.Run("iptables", "-A", "OUTPUT", "-p", "icmp", "-j", "DROP") // or it would say that nobody listens
	l.recording()
	send(a, 5000, ip4(2), 50)
	send(a, 5001, ip4(2), 50)
	if all := l.records(2, 2); len(all) != 2 {
		t.Errorf("%d lines", len(all))
	}
}

func TestALogIsLimited(t *testing.T) {
	l := newLab(t, networkA)
	watch(t, l)
	l.apply(open("default"), logDocument("log-1", ofPort(2)), logDocument("log-2", func(*sb.Log) {}),
		portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	l.recording()
	reaches(a, ip4(2)) // ARP
	before := len(l.records(2, 1))
	start := time.Now()
	for range 20 {
		send(a, 4444, ip4(2), 500)
	}
	seconds := time.Since(start).Seconds()
	count := map[string]float64{}
	for _, r := range l.records(2, 2)[before:] {
		count[r.Log]++
	}
	for _, id := range []string{"log-1", "log-2"} {
		if most := 25 + 100*(seconds+0.5); count[id] < 20 || count[id] > most {
			t.Errorf("%s: %.0f lines within %.2f s; at most %.0f are allowed", id, count[id], seconds, most)
		}
	}
	if dropped := l.dropped(2)["ingress no-rule"]; dropped < 9000 {
		t.Errorf("only %d packets were dropped", dropped)
	}
}

func TestALogIsAboutWhatItSays(t *testing.T) {
	red := port(networkA, 3, "default", "other")
	red.ProjectId = "red"
	for _, tc := range []struct {
		name   string
		change func(l *sb.Log)
		// ports that are concerned, and what their lines say
		want map[int]string
	}{
		{"a port", ofPort(2), map[int]string{2: "ACCEPT default"}},
		{"drops of a port", func(l *sb.Log) { l.PortId, l.Accept = portID(2), false }, nil},
		{"a group", func(l *sb.Log) { l.SecurityGroup, l.Drop = "other", false }, map[int]string{3: "ACCEPT other"}},
		{"a group, of its own project", func(l *sb.Log) { l.SecurityGroup, l.OwnPorts = "other", true }, nil},
		{"all of a project", func(l *sb.Log) { l.OwnPorts = true }, map[int]string{2: "ACCEPT default"}},
		{"a port of another project", func(l *sb.Log) { l.PortId, l.OwnPorts = portID(3), true }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, networkA)
			watch(t, l)
			sender, blue := port(networkA, 1, "out"), port(networkA, 2, "default")
			sender.ProjectId, blue.ProjectId = "red", "blue"
			l.apply(open("out"), groupDocument("default", ingress(4, icmp)), groupDocument("other", ingress(4, udpNumber)),
				portDocument(sender), portDocument(blue), portDocument(red), logDocument("log-1", tc.change),
				logDocument("log-all", nil))
			a := l.workload(networkA, 1)
			l.workload(networkA, 2)
			l.workload(networkA, 3)
			l.recording()
			for n := 2; n <= 3; n++ {
				reaches(a, ip4(n))
			}
			send(a, 4444, ip4(3), 1)
			l.records(3, 2) // of log-all; those of log-1 have come before, or will not
			for n := 1; n <= 3; n++ {
				got := map[string]bool{}
				for _, r := range l.records(n, 0) {
					if r.Log == "log-1" && r.EtherType == "ipv4" {
						got[r.Event+" "+r.SecurityGroup] = true
					}
				}
				if want := tc.want[n]; want == "" && len(got) > 0 || want != "" && !got[want] {
					t.Errorf("port %d: %v, not %q", n, got, want)
				}
			}
		})
	}
}

// TestKnownConnectionsPassAsWithoutLogs compares the ways of packets of connections: what they meet up to the rule that
// accepts them is the same with and without logs.
func TestKnownConnectionsPassAsWithoutLogs(t *testing.T) {
	l := newLab(t, networkA)
	watch(t, l)
	ports := []*sb.Document{portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default"))}
	l.apply(append(ports, open("default", ingress(4, icmp)))...)
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	without := l.chains()
	l.apply(logDocument("log-1", ofPort(2)))
	with := l.chains()
	added := 0
	for name, text := range with {
		logs := strings.HasPrefix(name, "drop.") || strings.HasPrefix(name, "accepted.") || strings.HasPrefix(name, "record.") ||
			strings.HasPrefix(name, "egress.") || strings.HasPrefix(name, "ingress.")
		switch {
		case logs && text != without[name]:
			added++
		case !logs && text != without[name]:
			t.Errorf("chain %s was\n%s\nis\n%s", name, without[name], text)
		}
	}
	if added < 10 {
		t.Errorf("only %d chains have changed", added)
	}
	// And they do not get to the chains that have.
	l.recording()
	reaches(a, ip4(2))
	all := l.records(2, 1)
	if !answers(a, ip4(2)) || len(all) != 1 {
		t.Errorf("%d lines of one ping", len(all))
	}
}

// chains are the chains of all our tables, without counters.
func (l *lab) chains() map[string]string {
	all, name := map[string]string{}, ""
	for line := range strings.Lines(withoutCounters(l.Run("nft", "list", "ruleset"))) {
		switch text := strings.TrimSpace(line); {
		case strings.HasPrefix(text, "chain "):
			name = text[len("chain ") : len(text)-len(" {")]
		case text == "}":
			name = ""
		}
		all[name] += line
	}
	delete(all, "") // what is not in a chain
	return all
}

func TestLogsAreFoundAgainAndLeaveNothing(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default", ingress(4, icmp)), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	before := withoutHandles(withoutCounters(l.ruleset()))
	logs := []*sb.Document{
		logDocument("log-1", ofPort(2)), logDocument("log-2", nil),
		logDocument("log-3", func(l *sb.Log) { l.SecurityGroup, l.Drop = "default", false }),
	}
	l.apply(logs...)
	with := l.ruleset()
	l.part.Close()
	l.start()
	watch(t, l)
	l.reconcile()
	if n := l.part.Changes(); n != 0 {
		t.Errorf("%d changes when the agent starts again", n)
	}
	l.recording()
	if after := l.ruleset(); withoutCounters(after) != withoutCounters(with) {
		t.Errorf("before:\n%s\nafter:\n%s", with, after)
	}
	for _, d := range logs {
		l.remove(d.Key)
	}
	if after := withoutHandles(withoutCounters(l.ruleset())); after != before {
		t.Errorf("with logs that are gone:\n%s\nbefore there were any:\n%s", after, before)
	}
	if text := l.Run("nft", "list", "limits"); strings.Contains(text, "limit") {
		t.Errorf("left behind: %s", text)
	}
	testkit.Eventually(t, 5*time.Second, "nobody reads any more", func() bool { return !l.read() })
}

var handle = regexp.MustCompile(` # handle \d+`)

func withoutHandles(text string) string { return handle.ReplaceAllString(text, "") }

func TestABadLogHoldsUpNothing(t *testing.T) {
	l := newLab(t, networkA)
	bad := logDocument("log-1", func(l *sb.Log) { l.LogId = "x\n{\"event\":\"ACCEPT\"}" })
	status := l.try(open("default", ingress(4, icmp)), bad, portDocument(port(networkA, 1, "default")),
		portDocument(port(networkA, 2, "default")))
	if s := status["log/log-1"]; s.State != sb.ObjectStatus_STATE_ERROR {
		t.Errorf("%+v", s)
	}
	a := l.workload(networkA, 1)
	l.workload(networkA, 2)
	testkit.Eventually(t, 5*time.Second, "the ports reach each other", func() bool { return reaches(a, ip4(2)) })
}

// TestLogsFollowEveryChange goes through random changes of ports, groups and logs: nothing is in error, and after some of
// them a fresh process has nothing to change.
func TestLogsFollowEveryChange(t *testing.T) {
	l := newLab(t, networkA)
	rapid.Check(t, func(r *rapid.T) {
		groups := []string{"one", "two"}
		pick := func(what string) bool { return rapid.Bool().Draw(r, what) }
		for range rapid.IntRange(1, 12).Draw(r, "changes") {
			n := rapid.IntRange(1, 3).Draw(r, "which")
			group := rapid.SampledFrom(groups).Draw(r, "group")
			var d *sb.Document
			switch rapid.SampledFrom([]string{"port", "port", "group", "log", "log"}).Draw(r, "kind") {
			case "port":
				p := port(networkA, n, rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 0, 2, rapid.ID).Draw(r, "groups")...)
				p.ProjectId, p.PortSecurity = rapid.SampledFrom([]string{"blue", "red"}).Draw(r, "project"), pick("filtered")
				d = portDocument(p)
			case "group":
				d = groupDocument(group, ingress(4, tcp, uint32(n)))
				d.GetSecurityGroup().Stateful = pick("stateful")
			case "log":
				d = logDocument(fmt.Sprintf("log-%d", n), func(l *sb.Log) {
					l.Accept, l.Drop, l.OwnPorts = pick("accept"), pick("drop"), pick("own")
					if pick("of a group") {
						l.SecurityGroup = group
					}
					if pick("of a port") {
						l.PortId = portID(n)
					}
				})
			}
			if pick("gone") {
				delete(l.docs, d.Key)
			} else {
				l.docs[d.Key] = d
			}
			for key, s := range l.reconcile() {
				if s.State == sb.ObjectStatus_STATE_ERROR && !strings.Contains(s.Reason, "is not known to this host") {
					r.Fatalf("%s: %s", key, s.Reason)
				}
			}
		}
		l.part.Close()
		l.start()
		l.reconcile()
		if n := l.part.Changes(); n != 0 {
			r.Fatalf("a fresh process has %d changes to make", n)
		}
	})
}
