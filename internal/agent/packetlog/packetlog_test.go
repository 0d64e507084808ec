package packetlog_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/agent/packetlog"
)

func record(port, reason string) packetlog.Record {
	return packetlog.Record{Event: packetlog.Drop, Log: "log", Port: port, Direction: "ingress", Reason: reason}
}

func TestARecordComesBack(t *testing.T) {
	f := packetlog.New(t.TempDir(), 1<<20, 2)
	defer f.Close()
	port := uint16(22)
	want := record("port-1", "no-rule")
	want.Packet = packetlog.Packet{EtherType: "ipv4", Source: netip.MustParseAddr("10.0.0.1"), Protocol: "tcp", DestinationPort: &port}
	for _, r := range []packetlog.Record{want, record("port-2", "no-rule")} {
		if err := f.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Read("port-1", 10)
	if err != nil || len(got) != 1 || got[0].Source != want.Source || *got[0].DestinationPort != port {
		t.Errorf("%+v, %v", got, err)
	}
	if all, err := f.Read("", 10); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestTheLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	f := packetlog.New(dir, 2000, 3)
	defer f.Close()
	for range 200 {
		if err := f.Write(record("port", "no-rule")); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Write(record("port", "the last one")); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, entry := range files {
		info, err := entry.Info()
		if err != nil || info.Size() > 2000 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes, mode %v, %v", entry.Name(), info.Size(), info.Mode(), err)
		}
	}
	got, err := f.Read("port", 5)
	if err != nil || len(got) != 5 || got[4].Reason != "the last one" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnotherProcessGoesOn(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "packets.log"), []byte(`{"event":"DR`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f := packetlog.New(dir, 1<<20, 2)
		if err := f.Write(record("port", "no-rule")); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if got, err := packetlog.New(dir, 1<<20, 2).Read("", 10); err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestNothingInjectsALine: whatever a workload sends, and whatever ids may be one day, a record is one line.
func TestNothingInjectsALine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := record(rapid.String().Draw(t, "port"), rapid.SampledFrom([]string{"x\n{\"event\":\"ACCEPT\"}", "\r\u2028"}).Draw(t, "reason"))
		etherType := rapid.SampledFrom([]uint16{0x0800, 0x86dd, 0x0806, 0x88cc}).Draw(t, "type")
		r.Packet = packetlog.Parse(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "link"), etherType,
			rapid.SliceOfN(rapid.Byte(), 0, 128).Draw(t, "payload"))
		line, err := json.Marshal(r)
		if err != nil || strings.ContainsAny(string(line), "\n\r\u2028") {
			t.Fatalf("%q, %v", line, err)
		}
	})
}

func TestHeadersAreRead(t *testing.T) {
	link := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	ipv4 := func(protocol byte, fragment byte, rest ...byte) []byte {
		return append([]byte{0x45, 0, 0, 0, 0, 0, 0, fragment, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, rest...)
	}
	ipv6 := func(next byte, rest ...byte) []byte {
		b := make([]byte, 40, 100)
		b[6], b[23], b[39] = next, 1, 2
		return append(b, rest...)
	}
	for _, tc := range []struct {
		name      string
		etherType uint16
		payload   []byte
		want      string // what the line ends with
	}{
		{"TCP", 0x0800, ipv4(6, 0, 0, 22, 1, 0), `"source":"10.0.0.1","destination":"10.0.0.2","protocol":"tcp","source_port":22,"destination_port":256}`},
		{"a later part", 0x0800, ipv4(6, 1, 0, 22, 1, 0), `"destination":"10.0.0.2","protocol":"tcp"}`},
		{"ICMP", 0x0800, ipv4(1, 0, 8, 0, 0, 0), `"protocol":"icmp","icmp_type":8,"icmp_code":0}`},
		{"VRRP", 0x0800, ipv4(112, 0, 1, 2, 3, 4), `"protocol":"112"}`},
		{"cut", 0x0800, ipv4(6, 0)[:12], `"ether_type":"ipv4"}`},
		{"behind headers", 0x86dd, ipv6(0, append([]byte{60, 0, 0, 0, 0, 0, 0, 0}, 17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2)...),
			`"source":"::1","destination":"::2","protocol":"udp","source_port":1,"destination_port":2}`},
		{"a later part in IPv6", 0x86dd, ipv6(44, 17, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0, 2), `"destination":"::2","protocol":"udp"}`},
		{"headers that lie about their length", 0x86dd, ipv6(60, 17, 200, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2), `"destination":"::2"}`},
		{"ARP", 0x0806, []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2},
			`"ether_type":"arp","source":"10.0.0.1","destination":"10.0.0.2"}`},
		{"anything else", 0x88cc, []byte{1, 2, 3}, `"source_mac":"02:00:00:00:00:01","destination_mac":"02:00:00:00:00:02","ether_type":"0x88cc"}`},
	} {
		line, err := json.Marshal(packetlog.Parse(link, tc.etherType, tc.payload))
		if err != nil || !strings.HasSuffix(string(line), tc.want) {
			t.Errorf("%s: %s, %v", tc.name, line, err)
		}
	}
}
