package dnsmasq

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sampleLog = `Dec 31 23:59:58 dnsmasq-dhcp[7]: 3525 available DHCP subnet: 10.0.0.0/255.255.255.0
Dec 31 23:59:58 dnsmasq-dhcp[7]: 3525 DHCPDISCOVER(ns-aa) fa:16:3e:00:00:01 
Dec 31 23:59:58 dnsmasq-dhcp[7]: 3525 DHCPOFFER(ns-aa) 10.0.0.3 fa:16:3e:00:00:01 
Jan  1 00:00:01 dnsmasq-dhcp[7]: 3525 DHCPREQUEST(ns-aa) 10.0.0.3 fa:16:3e:00:00:01 
Jan  1 00:00:01 dnsmasq-dhcp[7]: 3525 DHCPACK(ns-aa) 10.0.0.3 fa:16:3e:00:00:01 web
Jan  1 00:00:02 dnsmasq-dhcp[7]: 99 DHCPDISCOVER(ns-aa) fa:16:3e:00:00:02 no address available
Jan  1 00:00:02 dnsmasq-dhcp[7]: 99 client provides name: DHCPACK(x) 10.0.0.9 fa:16:3e:00:00:01
`

func TestLogIsReadPerClient(t *testing.T) {
	dir := t.TempDir()
	text := sampleLog + strings.Repeat("x", 100_000) + "\n" // a line without end must not hide what follows or precedes
	if err := os.WriteFile(filepath.Join(dir, LogFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2030, 1, 1, 0, 1, 0, 0, time.UTC)
	got, err := ReadLog(dir, mac(1), now, 100)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr("10.0.0.3")
	want := []Message{
		{Time: time.Date(2029, 12, 31, 23, 59, 58, 0, time.UTC), Type: "DHCPDISCOVER"},
		{Time: time.Date(2029, 12, 31, 23, 59, 58, 0, time.UTC), Type: "DHCPOFFER", Address: address},
		{Time: time.Date(2030, 1, 1, 0, 0, 1, 0, time.UTC), Type: "DHCPREQUEST", Address: address},
		{Time: time.Date(2030, 1, 1, 0, 0, 1, 0, time.UTC), Type: "DHCPACK", Address: address, Note: "web"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got, _ := ReadLog(dir, mac(2), now, 100); len(got) != 1 || got[0].Note != "no address available" {
		t.Errorf("a refusal was read as %+v", got)
	}
	if got, _ := ReadLog(dir, mac(1), now, 2); len(got) != 2 || got[1].Type != "DHCPACK" {
		t.Errorf("the newest two are %+v", got)
	}
}

func TestLogCannotFillTheDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, LogFile)
	if err := BoundLog(dir); err != nil {
		t.Fatalf("no log yet: %v", err)
	}
	if err := os.WriteFile(path, append(bytes.Repeat([]byte("x\n"), maxLog), sampleLog...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := BoundLog(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("the log was not cut: %v %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(dir, oldLogFile)); err != nil || info.Size() != maxLog {
		t.Errorf("the older piece: %v %v", info, err)
	}
	got, err := ReadLog(dir, mac(1), time.Now(), 100)
	if err != nil || len(got) != 4 {
		t.Errorf("after the cut %d messages are left (%v), want the newest four", len(got), err)
	}
}

func FuzzLogLine(f *testing.F) {
	for line := range strings.Lines(sampleLog) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if m, client, ok := parseLine(line, time.Unix(0, 0)); ok && (len(client) != 17 || !strings.HasPrefix(m.Type, "DHCP")) {
			t.Errorf("%q was read as %+v of %q", line, m, client)
		}
	})
}

func TestStaleLeasesAreDropped(t *testing.T) {
	leases := "1900000000 fa:16:3e:00:00:01 10.0.0.3 web 01:fa\n" +
		"1900000000 fa:16:3e:00:00:09 10.0.0.4 * *\n" +
		"duid 00:01\n"
	hosts := []Host{
		{MAC: mac(1), Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.3")}},
		{MAC: mac(2), Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")}},
	}
	kept, stale := WithoutStaleLeases([]byte(leases), hosts)
	if want := "1900000000 fa:16:3e:00:00:01 10.0.0.3 web 01:fa\nduid 00:01\n"; string(kept) != want || stale != 1 {
		t.Errorf("kept %q, dropped %d", kept, stale)
	}
}
