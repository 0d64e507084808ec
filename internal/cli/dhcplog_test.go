package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent/dhcp"
)

func messages(types string) (out []dhcp.LogMessage) {
	for i, letter := range types {
		out = append(out, dhcp.LogMessage{Time: time.Unix(int64(i/4), 0), Type: string(letter)})
	}
	return out
}

func TestFollowShowsEachMessageOnce(t *testing.T) {
	all := messages("abcdefghij")
	for _, c := range []struct {
		name        string
		before, now []dhcp.LogMessage
		want        int
	}{
		{"nothing before", nil, all, 0},
		{"nothing new", all, all, 10},
		{"two new", all[:8], all, 8},
		{"two new, three dropped", all[:8], all[3:], 5},
		{"all replaced", all[:2], all[5:], 0},
		{"log cut to nothing", all, nil, 0},
	} {
		if got := newFrom(c.before, c.now); got != c.want {
			t.Errorf("%s: new from %d, want %d", c.name, got, c.want)
		}
	}
}

func TestDHCPLogSaysWhatIsMissing(t *testing.T) {
	log := dhcp.Log{Port: "p", MAC: "fa:16:3e:00:00:01", Network: "n", Missing: []string{"DHCPOFFER", "DHCPACK"}}
	log.Messages = []dhcp.LogMessage{{Type: "DHCPDISCOVER", Note: "\x1b[2Jno address available"}}
	var out bytes.Buffer
	printDHCPLog(&out, log)
	for _, want := range []string{"missing in the last exchange: DHCPOFFER, DHCPACK", "DHCPDISCOVER", `\x1b[2Jno address available`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	out.Reset()
	log.Messages, log.Missing = nil, []string{"DHCPDISCOVER"}
	printDHCPLog(&out, log)
	if !strings.Contains(out.String(), "it has not asked") {
		t.Errorf("silence is not explained:\n%s", &out)
	}
}
