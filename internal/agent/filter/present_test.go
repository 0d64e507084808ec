package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/testkit"
)

// present are the elements of the sets that go by the index of a device.
func present(l *lab) string {
	return strings.Join(strings.Fields(l.Run("sh", "-c",
		"for s in 'map bridge neutrino-filter present-identities4' 'set bridge neutrino-filter present'; do nft list $s; done |"+
			" grep -A9 elements || true")), " ")
}

// TestIndexesFollowTheDevices: a device that goes takes what was known by its index along, whether it is deleted or gets
// another name, and one that comes under the name is known again.
func TestIndexesFollowTheDevices(t *testing.T) {
	for name, gone := range map[string]string{
		"deleted": "ip link delete DEVICE", "renamed": "ip link set DEVICE name other0",
		"renamed to another port": "ip link set DEVICE name tap99999999-99",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, networkA)
			watch(t, l)
			l.apply(everything("all"), portDocument(port(networkA, 1, "all")), portDocument(port(networkA, 2, "all")))
			none := present(l)
			if none != "" {
				t.Fatalf("without devices there is %s", none)
			}
			a := l.workload(networkA, 1)
			l.workload(networkA, 2)
			testkit.Eventually(t, 5*time.Second, "known by their indexes", func() bool {
				l.reconcile()
				return strings.Count(present(l), ip4(1))+strings.Count(present(l), ip4(2)) == 2
			})
			if !answers(a, ip4(2)) {
				t.Error("with its index known, nothing passes")
			}
			l.Run("sh", "-c", strings.ReplaceAll(gone, "DEVICE", device(2)))
			testkit.Eventually(t, 5*time.Second, "only one known", func() bool {
				l.reconcile()
				return strings.Count(present(l), ip4(1)) == 1 && !strings.Contains(present(l), ip4(2))
			})
		})
	}
}

// TestAStatelessPortIsNotAmongThoseThatTakeConnections: its rules have the word.
func TestAStatelessPortIsNotAmongThoseThatTakeConnections(t *testing.T) {
	l := newLab(t, networkA)
	group := everything("all")
	group.GetSecurityGroup().Stateful = false
	l.apply(group, portDocument(port(networkA, 1, "all")))
	l.workload(networkA, 1)
	l.reconcile()
	if text := present(l); strings.Count(text, "elements") != 1 || !strings.Contains(text, ip4(1)) {
		t.Errorf("known by index: %s", text)
	}
}
