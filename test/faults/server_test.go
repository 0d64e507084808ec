package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/test/cloud"
)

// rounds is how often a kill test kills: 20 times, or NEUTRINO_KILL_ROUNDS times in `make soak`.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("NEUTRINO_KILL_ROUNDS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("NEUTRINO_KILL_ROUNDS is %q, not a number of rounds", text)
	}
	return n
}

// TestKilledServerLosesNoAcknowledgedWrite kills the server at random moments while clients create, rename and delete
// ports. After each restart what was acknowledged has to be there, and a bulk request has to be there whole or not at all.
func TestKilledServerLosesNoAcknowledgedWrite(t *testing.T) {
	s := cloud.Start(t, "--quota", "port=-1")
	client := s.Client("admin")
	network, _ := client.Network(t, "net", "10.0.0.0/16")
	k := &killTest{network: network, names: map[string]string{}, groups: map[string]int{}}
	var slowest time.Duration
	for round := range rounds(t) {
		k.round = round
		k.writeUntilKilled(t, s, client)
		s.Restart()
		slowest = max(slowest, s.Ready)
		client = s.Client("admin")
		k.check(t, client)
	}
	t.Logf("%d rounds, %d acknowledged writes, slowest restart %v", rounds(t), k.acknowledged, slowest)
}

type killTest struct {
	network string
	round   int

	mu           sync.Mutex
	names        map[string]string // port id → the name last acknowledged; "" when its deletion was
	doubtful     map[string]bool   // ports with a request that was not answered
	groups       map[string]int    // name of a bulk request → 0: doubtful, 1: acknowledged
	acknowledged int
}

const bulk = 5

// writeUntilKilled lets four clients write until the server is killed at a random moment.
func (k *killTest) writeUntilKilled(t *testing.T, s *cloud.Server, client *cloud.Client) {
	k.doubtful = map[string]bool{}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; k.write(t, client, fmt.Sprintf("r%d-w%d-%d", k.round, w, i)); i++ {
			}
		})
	}
	time.Sleep(time.Duration(20+rand.IntN(300)) * time.Millisecond) //nolint:forbidigo // it dies at a random moment
	s.Kill()
	writers.Wait()
}

type ports struct {
	Ports []struct {
		ID, Name string
	}
}

// write creates a group of ports in bulk, renames the first and deletes the last. It returns false when the server is gone.
func (k *killTest) write(t *testing.T, client *cloud.Client, group string) bool {
	ctx := t.Context()
	var body []any
	for range bulk {
		body = append(body, map[string]any{"network_id": k.network, "name": group})
	}
	k.mu.Lock()
	k.groups[group] = 0
	k.mu.Unlock()
	var made ports
	status, text, err := client.Do(ctx, "POST", "/ports", map[string]any{"ports": body}, &made)
	if err != nil {
		return false
	}
	if status != 201 {
		t.Errorf("bulk create: %d %s", status, text)
		return false
	}
	k.mu.Lock()
	k.acknowledged++
	k.groups[group] = 1
	for _, p := range made.Ports {
		k.names[p.ID] = group
	}
	k.mu.Unlock()

	first, last := made.Ports[0].ID, made.Ports[bulk-1].ID
	k.begin(first)
	status, _, err = client.Do(ctx, "PUT", "/ports/"+first, map[string]any{"port": map[string]any{"name": group + "-renamed"}}, nil)
	if err != nil || status != 200 {
		return false
	}
	k.end(first, group+"-renamed")
	k.begin(last)
	status, _, err = client.Do(ctx, "DELETE", "/ports/"+last, nil, nil)
	if err != nil || status != 204 {
		return false
	}
	k.end(last, "")
	return true
}

func (k *killTest) begin(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubtful[id] = true
}

func (k *killTest) end(id, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.doubtful, id)
	k.names[id] = name
	k.acknowledged++
}

func (k *killTest) check(t *testing.T, client *cloud.Client) {
	t.Helper()
	var all ports
	client.Must(t, 200, "GET", "/ports?fields=id&fields=name&network_id="+k.network, nil, &all)
	there := map[string]string{}
	ofGroup := map[string]int{}
	for _, p := range all.Ports {
		there[p.ID] = p.Name
		ofGroup[p.Name]++
	}
	for id, name := range k.names {
		got, ok := there[id]
		switch {
		case k.doubtful[id]:
			k.names[id] = got // whatever it is now has to stay
			if !ok {
				k.names[id] = ""
			}
		case name == "" && ok:
			t.Errorf("round %d: the port %s is there, its deletion was acknowledged", k.round, id)
		case name != "" && got != name:
			t.Errorf("round %d: the port %s is called %q, acknowledged was %q", k.round, id, got, name)
		}
	}
	for group, state := range k.groups {
		if n := ofGroup[group]; state == 0 && n != 0 && n != bulk {
			t.Errorf("round %d: %d of %d ports of the bulk request %s are there", k.round, n, bulk, group)
		}
		delete(k.groups, group)
	}
}
