package agent_test

import (
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// slowPart has to be heard about ports, and takes its time.
type slowPart struct {
	fakePart
}

func (p *slowPart) Reports(kind string) bool { return kind == "port" }

func TestAPortIsToldOfWhenAllHaveSpoken(t *testing.T) {
	release := make(chan struct{})
	slow := &slowPart{}
	slow.set(func(view *agent.View) ([]agent.Status, error) {
		<-release
		return []agent.Status{{Key: "port/a", State: sb.ObjectStatus_STATE_DONE}}, nil
	})
	quick := &fakePart{}
	a := run(t, t.TempDir(), quick, slow)
	a.OnBatch([]*sb.Document{
		{Key: "port/a", Body: &sb.Document_Port{Port: &sb.Port{PortId: "a"}}}, {Key: "segment/n"},
	}, nil, 1, true)
	testkit.Eventually(t, 5*time.Second, "told of the segment", a.heard("segment/n DONE"))
	if a.heard("port/a DONE")() {
		t.Error("the port was told of before it was filtered")
	}
	close(release)
	testkit.Eventually(t, 5*time.Second, "told of the port", a.heard("port/a DONE"))
}

// A status that parts have come to by different documents is about none, until they have all seen the same.
func TestAStatusSaysWhichDocumentItIsAbout(t *testing.T) {
	release := make(chan struct{}, 1)
	done := []agent.Status{{Key: "port/a", State: sb.ObjectStatus_STATE_DONE}}
	slow, quick := &slowPart{}, &fakePart{}
	slow.set(func(*agent.View) ([]agent.Status, error) {
		<-release
		return done, nil
	})
	quick.set(func(*agent.View) ([]agent.Status, error) { return done, nil })
	a := run(t, t.TempDir(), quick, slow)
	about := func(hash uint64) func() bool {
		return func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			last, told := a.about["port/a"]
			return told && last == hash
		}
	}
	send := func(hash uint64) {
		a.OnBatch([]*sb.Document{{
			Key: "port/a", Hash: hash, Body: &sb.Document_Port{Port: &sb.Port{PortId: "a"}},
		}}, nil, int64(hash), true)
	}
	release <- struct{}{}
	send(7)
	testkit.Eventually(t, 5*time.Second, "told of the first", about(7))
	send(8)
	testkit.Eventually(t, 5*time.Second, "told of none", about(0))
	close(release)
	testkit.Eventually(t, 5*time.Second, "told of the second", about(8))
}

func TestAViewKnowsWhatChanged(t *testing.T) {
	document := func(key string) *sb.Document { return &sb.Document{Key: key} }
	first := agent.NewView(1, document("a"), document("b"))
	second := first.Next(2, []*sb.Document{document("c")}, []string{"a"})
	other := agent.NewView(2, first.Document("a"), document("b"))
	for _, c := range []struct {
		name      string
		now, then *agent.View
		want      int
	}{
		{"everything", first, nil, 2}, {"what came and went", second, first, 2}, {"compared", other, first, 1},
		{"compared, with what is gone", agent.NewView(3), first, 2},
	} {
		if keys := c.now.Changed(c.then); len(keys) != c.want {
			t.Errorf("%s: %v", c.name, keys)
		}
	}
	if second.Document("a") != nil || first.Document("c") != nil || second.Len() != 2 {
		t.Error("a view was changed by the next one")
	}
}
