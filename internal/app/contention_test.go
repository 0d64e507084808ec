package app

import (
	"fmt"
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// together lets 64 clients send n requests of a kind at the same time, and counts the answers by status and error type.
func (w *whole) together(n int, request func(i int) (token, path, body string)) map[string]int {
	w.t.Helper()
	const clients = 64
	var mu sync.Mutex
	answers := map[string]int{}
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for i := range next {
				token, path, body := request(i)
				method := "POST"
				if body == "" {
					method = "GET"
				}
				a := w.do(token, method, "/v2.0/"+path, body)
				mu.Lock()
				answers[fmt.Sprint(a.status, " ", a.errorType())]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return answers
}

func (w *whole) expect(got map[string]int, want map[string]int) {
	w.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("the answers are %v, want %v", got, want)
	}
}

func TestSixtyFourClients(t *testing.T) {
	t.Run("create ports with a quota of 100", func(t *testing.T) {
		w := newWhole(t, func(o *ServerOptions) { o.Quotas = []string{"port=100"} })
		network := w.make(alice, "networks", "network", `{}`)
		w.expect(w.together(300, func(int) (string, string, string) {
			return alice, "ports", `{"port":{"network_id":"` + network + `"}}`
		}), map[string]int{"201 ": 100, "409 OverQuota": 200})
	})
	t.Run("take the addresses of a /26", func(t *testing.T) {
		w := newWhole(t)
		network := w.make(alice, "networks", "network", `{}`)
		w.make(alice, "subnets", "subnet", `{"network_id":"`+network+`","ip_version":4,"cidr":"10.0.0.0/26","enable_dhcp":false}`)
		w.expect(w.together(100, func(int) (string, string, string) {
			return alice, "ports", `{"port":{"network_id":"` + network + `"}}`
		}), map[string]int{"201 ": 61, "409 IpAddressGenerationFailure": 39})
		seen := map[string]bool{}
		for p := range state.Ports.All(w.server.store.Read()) {
			for _, f := range p.FixedIPs {
				if seen[f.IP.String()] {
					t.Errorf("two ports have %s", f.IP)
				}
				seen[f.IP.String()] = true
			}
		}
	})
	t.Run("book VNIs", func(t *testing.T) {
		w := newWhole(t, func(o *ServerOptions) { o.VNIRanges, o.Quotas = "1:50", []string{"network=-1"} })
		w.expect(w.together(100, func(int) (string, string, string) { return alice, "networks", `{"network":{}}` }),
			map[string]int{"201 ": 50, "503 NoNetworkAvailable": 50})
		seen := map[int]bool{}
		for n := range state.Networks.All(w.server.store.Read()) {
			if id := n.Segments[0].SegmentationID; seen[id] {
				t.Errorf("two networks have VNI %d", id)
			} else {
				seen[id] = true
			}
		}
	})
	t.Run("take floating IPs", func(t *testing.T) {
		w := newWhole(t)
		out := w.make(admin, "networks", "network", `{"router:external":true}`)
		w.make(admin, "subnets", "subnet", `{"network_id":"`+out+`","ip_version":4,"cidr":"198.51.100.0/27"}`)
		w.expect(w.together(60, func(int) (string, string, string) {
			return alice, "floatingips", `{"floatingip":{"floating_network_id":"` + out + `"}}`
		}), map[string]int{"201 ": 29, "409 IpAddressGenerationFailure": 31})
		seen := map[string]bool{}
		for f := range state.FloatingIPs.All(w.server.store.Read()) {
			if seen[f.Address.String()] {
				t.Errorf("there are two floating IPs %s", f.Address)
			}
			seen[f.Address.String()] = true
		}
	})
	t.Run("need the default security group", func(t *testing.T) {
		w := newWhole(t)
		network := w.make(admin, "networks", "network", `{"shared":true}`)
		w.expect(w.together(128, func(i int) (string, string, string) {
			if i%2 == 0 {
				return alice, "security-groups", ""
			}
			return alice, "ports", `{"port":{"network_id":"` + network + `"}}`
		}), map[string]int{"200 ": 64, "201 ": 64})
		groups := 0
		for g := range state.SecurityGroups.All(w.server.store.Read()) {
			if g.ProjectID == "a" && g.Name == model.DefaultGroupName {
				groups++
			}
		}
		if groups != 1 {
			t.Errorf("the project has %d default groups", groups)
		}
	})
}
