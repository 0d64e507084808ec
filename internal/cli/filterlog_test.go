package cli

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent/packetlog"
)

func TestFilterLogLines(t *testing.T) {
	from, to, kind, code := uint16(40000), uint16(22), uint8(8), uint8(0)
	ends := packetlog.Packet{EtherType: "ipv4", Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("10.0.0.2")}
	accepted, dropped, frame := ends, ends, packetlog.Packet{EtherType: "0x88cc", SourceMAC: "02:00:00:00:00:01", DestinationMAC: "02:00:00:00:00:02"}
	accepted.Protocol, accepted.SourcePort, accepted.DestinationPort = "tcp", &from, &to
	dropped.Protocol, dropped.ICMPType, dropped.ICMPCode = "icmp", &kind, &code
	var out strings.Builder
	err := printFilterLog(&out, []packetlog.Record{
		{Event: "ACCEPT", Direction: "ingress", Port: "port-1", SecurityGroup: "group", Rule: "rule-1", Log: "log-1", Packet: accepted},
		{Event: "DROP", Direction: "ingress", Port: "port-1", Reason: "no-rule", Log: "log-1", Packet: dropped},
		{Event: "DROP", Direction: "egress", Port: "port-1", Reason: "ethertype", Log: "log\n\x1b[2J", Packet: frame},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%q", lines)
	}
	for i, words := range []string{
		"ACCEPT ingress port-1 tcp 10.0.0.1:40000 10.0.0.2:22 rule rule-1 log-1",
		"DROP ingress port-1 icmp 8/0 10.0.0.1 10.0.0.2 no-rule log-1",
		`DROP egress port-1 0x88cc 02:00:00:00:00:01 02:00:00:00:00:02 ethertype log\n\x1b[2J`,
	} {
		if got := strings.Join(strings.Fields(lines[i+1])[2:], " "); got != words {
			t.Errorf("%q, not %q", got, words)
		}
	}
}

func TestFollowingShowsEachRecordOnce(t *testing.T) {
	at := func(seconds int64, log string) packetlog.Record {
		return packetlog.Record{Time: time.Unix(seconds, 0), Log: log}
	}
	all := []packetlog.Record{at(1, "a"), at(1, "b"), at(2, "a"), at(2, "b")}
	for before := range len(all) + 1 {
		if got := behind(all[:before], all); got != before {
			t.Errorf("after %d: %d", before, got)
		}
	}
	if got := behind(all[:1], all[1:]); got != 0 {
		t.Errorf("when what was shown is gone: %d", got)
	}
}
