package l3_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/testkit"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Whatever a router has been, it ends as one that is made anew from its last documents.
func TestAnyWayLeadsToTheSameRouter(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			legs := []*sb.RouterLeg{w.redLeg, w.blueLeg, w.gateway}
			random := rand.New(rand.NewPCG(seed, 1))
			w.start()
			for range 8 {
				w.mutate(random, legs)
			}
			inside := w.inside(w.router)
			want := wired(t, inside)
			w.stop()

			w.host.Check(netns.Delete(inside.Name))
			for _, l := range legs {
				if tap := "tap" + l.PortId[:11]; w.exists(tap) {
					w.host.Check(w.host.NL.DeleteLink(w.host.Link(tap).Index))
				}
			}
			w.start()
			w.apply()
			if diff := cmp.Diff(wired(t, w.inside(w.router)), want); diff != "" {
				t.Errorf("the router that has changed step by step (+) is not as one that is made anew (-):\n%s", diff)
			}
		})
	}
}

// wired is the state of a router all of whose legs have a carrier.
func wired(t *testing.T, inside *testkit.Host) (state string) {
	t.Helper()
	testkit.Eventually(t, patience, "wired", func() bool {
		state = stable(inside)
		return !strings.Contains(state, "NO-CARRIER")
	})
	return state
}

func (w *world) exists(device string) bool {
	_, err := w.host.NL.LinkByName(device)
	return err == nil
}

// mutate gives the router other documents, some of them as before, and applies them.
func (w *world) mutate(random *rand.Rand, legs []*sb.RouterLeg) {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	often := func() bool { return random.IntN(4) > 0 }
	for key, d := range w.documents {
		if d.GetFloatingIp() != nil || d.GetPortForwarding() != nil {
			delete(w.documents, key)
		}
	}
	r := w.clone()
	r.Legs, r.Routes, r.DefaultGateways, r.NdpProxied, r.ConntrackHelpers = nil, nil, nil, nil, nil
	r.EnableSnat = often()
	for _, l := range legs {
		if l.Gateway || often() {
			l = cloneLeg(l)
			l.Mtu = uint32(1300 + 100*random.IntN(2))
			l.Scope4 = pick("", "", "one", "two")
			if often() {
				l.Ips = append(l.Ips, "2001:db8:"+l.Ips[0][len(l.Ips[0])-4:len(l.Ips[0])-3]+"::1/64")
			}
			r.Legs = append(r.Legs, l)
		}
	}
	if often() {
		r.DefaultGateways = []string{pick("203.0.113.254", "203.0.113.253")}
	}
	if often() {
		r.Routes = []*sb.Route{
			{Destination: pick("10.9.0.0/24", "10.8.0.0/24"), Nexthop: pick("10.0.1.12", "10.0.2.10", "203.0.113.9")},
		}
		r.NdpProxied = []string{pick("2001:db8::7", "2001:db8::8")}
	}
	if !often() {
		r.ConntrackHelpers = []*sb.ConntrackHelper{{Protocol: "tcp", Port: 21, Helper: "ftp"}}
	}
	for i := range 6 {
		if often() {
			w.floating(r, fmt.Sprintf("203.0.113.%d", 20+i), fmt.Sprintf("10.0.%d.%d", 1+random.IntN(2), 20+i))
		}
	}
	w.floating(r, "203.0.113.40", "")
	for i := range uint32(3) {
		w.forward(r, &sb.PortForwarding{
			Address: "203.0.113.40", Protocol: pick("tcp", "udp"), ExternalFirst: 100 * i, ExternalLast: 100*i + 5,
			InternalIp: pick("10.0.1.11", "10.0.2.10"), InternalFirst: 80, InternalLast: 80 + uint32(random.IntN(2)*5),
		})
	}
	w.router = r
	w.putRouter(r)
	w.apply()
}
