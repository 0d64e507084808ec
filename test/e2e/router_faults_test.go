package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

var received = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// TestNobodyNoticesThatARoutersAgentIsKilled: the agent of the host that routes is killed with -9 and started again, three
// times; pings at 100/s in by a floating IP, out by source NAT and between networks lose nothing, and nothing is repaired.
func TestNobodyNoticesThatARoutersAgentIsKilled(t *testing.T) {
	w := startRouted(t)
	a, b := w.member(w.red, "a", "compute1"), w.member(w.blue, "b", "compute2")
	f := w.floating(b.ID)
	w.active(f.str("id"))
	fip := f.str("floating_ip_address")
	w.serve(t, at(b), 80)
	w.expect(t, out(), fip+":80", outside)
	w.expect(t, at(a), address(b, 4)+":80", address(a, 4))
	before := w.drift("network")

	const count = 600
	ways := map[string]struct {
		from place
		to   string
	}{
		"in": {out(), fip}, "out": {at(a), beyond}, "between networks": {at(a), address(b, 4)},
	}
	type result struct{ way, text string }
	results := make(chan result)
	for name, way := range ways {
		argv := []string{"ping", "-n", "-q", "-i", "0.01", "-c", fmt.Sprint(count), "-W", "2", way.to}
		if way.from.namespace != "" {
			argv = append([]string{"ip", "netns", "exec", way.from.namespace}, argv...)
		}
		go func() {
			text, _ := w.host(way.from.host).Run(t.Context(), argv...) // the text tells of losses
			results <- result{name, text}
		}()
	}
	for range 3 {
		w.kill("network", "agent")
		killed, _ := w.record.Process("network", "agent")
		w.eventually(5*time.Second, "the agent is dead", func() error {
			if killed.Alive() {
				return fmt.Errorf("process %d lives", killed.PID)
			}
			return nil
		})
		w.up()
	}
	for range ways {
		r := <-results
		if m := received.FindStringSubmatch(r.text); m == nil || m[1] != m[2] {
			t.Errorf("%s: %s", r.way, strings.TrimSpace(r.text))
		}
	}
	if after := w.drift("network"); after != 0 {
		t.Errorf("the new agent has repaired %d things on a host that was right (before: %d)", after, before)
	}
}
