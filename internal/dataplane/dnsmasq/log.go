package dnsmasq

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// maxLog is the size in bytes at which the log is cut, and the size of the piece before it that is kept.
const maxLog = 1 << 20

// Message is a step of a DHCP exchange, as dnsmasq logged it.
type Message struct {
	// Time has the resolution of dnsmasq's log: one second.
	Time time.Time
	// Type is DHCPDISCOVER, DHCPOFFER, DHCPREQUEST, DHCPACK, DHCPNAK, DHCPDECLINE, DHCPRELEASE or DHCPINFORM.
	Type string
	// Address that it is about, if any.
	Address netip.Addr
	// Note is the rest of the line: the name of the client, or the reason of a refusal.
	Note string
}

// logLine: "Nov 22 01:40:38 dnsmasq-dhcp[77]: 123 DHCPOFFER(ns-x) 10.0.0.3 fa:16:3e:00:00:01 name". The transaction id
// is there with log-dhcp, the address is missing in a DISCOVER.
var logLine = regexp.MustCompile(`^([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) dnsmasq-dhcp\[\d+\]: (?:\d+ )?` +
	`(DHCP[A-Z]+)\([^)]*\) (?:(\d+\.\d+\.\d+\.\d+) )?([0-9a-f]{2}(?::[0-9a-f]{2}){5})(?: (.*?))?\s*$`)

// ReadLog returns the messages of the client in the log of the directory, the oldest first, at most limit and of those
// the newest. Now is needed since the lines have no year.
func ReadLog(dir string, mac net.HardwareAddr, now time.Time, limit int) ([]Message, error) {
	var out []Message
	for _, name := range []string{oldLogFile, LogFile} {
		f, err := os.Open(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the DHCP log: %w", err)
		}
		messages, err := parseLog(f, mac, now)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the DHCP log: %w", err)
		}
		out = append(out, messages...)
	}
	return out[max(0, len(out)-limit):], nil
}

func parseLog(r io.Reader, mac net.HardwareAddr, now time.Time) ([]Message, error) {
	want := []byte(mac.String())
	var out []Message
	// A line that is longer than the buffer is no message; it is skipped and not held in memory.
	lines := bufio.NewReaderSize(r, 4096)
	for {
		line, tooLong, err := lines.ReadLine()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if tooLong || !bytes.Contains(line, want) {
			continue
		}
		if m, client, ok := parseLine(string(line), now); ok && client == mac.String() {
			out = append(out, m)
		}
	}
}

func parseLine(line string, now time.Time) (m Message, client string, ok bool) {
	parts := logLine.FindStringSubmatch(line)
	if parts == nil {
		return Message{}, "", false
	}
	at, err := time.ParseInLocation(time.Stamp, parts[1], now.Location())
	if err != nil {
		return Message{}, "", false
	}
	at = at.AddDate(now.Year(), 0, 0)
	if at.After(now.Add(24 * time.Hour)) {
		at = at.AddDate(-1, 0, 0) // a line of last year
	}
	m = Message{Time: at, Type: parts[2], Note: parts[5]}
	if parts[3] != "" {
		m.Address, _ = netip.ParseAddr(parts[3])
	}
	return m, parts[4], true
}

// BoundLog cuts the log of the directory once it is too long, and keeps what was in it as the older piece. A client that
// asks without end can so fill no disk. dnsmasq appends, hence it goes on at the new end of the file by itself; lines
// written during the cut may be lost.
func BoundLog(dir string) error {
	path := filepath.Join(dir, LogFile)
	info, err := os.Stat(path)
	if os.IsNotExist(err) || err == nil && info.Size() <= maxLog {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the DHCP log: %w", err)
	}
	if err := keepTail(path, filepath.Join(dir, oldLogFile), info.Size()); err != nil {
		return fmt.Errorf("keeping the DHCP log: %w", err)
	}
	if err := os.Truncate(path, 0); err != nil {
		return fmt.Errorf("cutting the DHCP log: %w", err)
	}
	return nil
}

func keepTail(from, to string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(in, max(0, size-maxLog), maxLog))
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}
