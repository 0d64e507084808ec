package testkit_test

import (
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/testkit"
)

func TestAMonitorTellsWhatHandsDoAndNotWhatTheKernelLearns(t *testing.T) {
	hosts := testkit.Underlay(t, 2)
	stop := hosts[0].Monitor()
	if hosts[0].Ping("192.0.2.2", 1) != 1 {
		t.Fatal("no answer")
	}
	if events := stop(); len(events) > 0 {
		t.Errorf("a ping has changed %v", events)
	}

	for command, wanted := range map[string]string{
		"ip neigh replace 192.0.2.9 lladdr fa:16:3e:00:00:09 dev eth0 nud permanent": "192.0.2.9",
		"ip link set eth0 alias x": "link eth0",
	} {
		words := strings.Fields(command)
		stop := hosts[0].Monitor()
		hosts[0].Run(words[0], words[1:]...)
		if events := stop(); len(events) != 1 || !strings.Contains(events[0], wanted) {
			t.Errorf("%s: %v", command, events)
		}
	}
	stop = hosts[0].Monitor()
	hosts[0].Run("ip", "neigh", "del", "192.0.2.9", "dev", "eth0")
	if events := stop(); len(events) == 0 || !strings.Contains(events[0], "192.0.2.9") {
		t.Errorf("a neighbour that was taken away: %v", events)
	}
}
