package gateway_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/testkit"
)

// reaches expects that who asks the address is seen as the one given.
func reaches(t testing.TB, from *testkit.Host, address, as string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	testkit.Eventually(t, patience, from.Name+" reaching "+address+" as "+as, func() bool {
		who, err := from.Ask("tcp", address)
		if err != nil {
			last = err.Error()
			return false
		}
		last = "seen as " + who.String()
		return who.Addr().String() == as
	})
}

func TestOneHostRoutesForTheWorkloadsOfAll(t *testing.T) {
	w := newWorld(t, 3, fastInterval)
	w.build()
	w.internet.Serve(80)
	w.vm.Serve(80)
	owner := w.owner().name()
	reaches(t, w.vm, "203.0.113.254:80", "203.0.113.10")
	reaches(t, w.internet, "203.0.113.10:80", "203.0.113.254")
	for _, vm := range w.local { // two of them beside a standby
		reaches(t, vm, "203.0.113.254:80", "203.0.113.5")
	}
	for _, address := range []string{"203.0.113.5", "203.0.113.10"} {
		if n := w.answers(addr(address)); n != 1 {
			t.Errorf("%d hosts answer for %s", n, address)
		}
	}
	testkit.Eventually(t, patience, "told to the server", func() bool {
		for _, g := range w.gatewayHosts() {
			r := w.server.role(g.name(), groupNumber)
			if r.GetActive() != (g.name() == owner) || r.GetClaim().GetHost() != owner || r.GetClaim().GetEpoch() != 1 {
				return false
			}
		}
		return true
	})
}

func TestTheDeathOfAnAgentLosesNothing(t *testing.T) {
	w := newWorld(t, 2, fastInterval)
	w.build()
	s := newStream(t, w.vm, w.internet, "203.0.113.254:7")
	in := newStream(t, w.internet, w.vm, "203.0.113.10:8")
	processes := w.hosts[0].keepalived()
	for range 2 {
		for _, g := range w.gatewayHosts() {
			g.kill()
			time.Sleep(5 * fastInterval) //nolint:forbidigo // longer than a host would be waited for
			g.start()
			w.settle()
		}
	}
	w.vm.Serve(80)
	reaches(t, w.internet, "203.0.113.10:80", "203.0.113.254")
	for _, s := range []*stream{s, in} {
		if lost, sent := s.lost(); lost != 0 || sent < 400 {
			t.Errorf("of %d packets, %d were lost", sent, lost)
		}
	}
	if now := w.hosts[0].keepalived(); !slices.Equal(now, processes) || len(now) != 2 {
		t.Errorf("keepalived was started anew: %v became %v", processes, now)
	}
	if claim := w.server.role("gw1", groupNumber).GetClaim(); claim.GetEpoch() != 1 {
		t.Errorf("there were takeovers: the claim is %v", claim)
	}
}

func TestConnectionsSurviveTheDeathOfTheActiveHost(t *testing.T) {
	for _, c := range []struct {
		name     string
		interval time.Duration
		within   time.Duration
	}{{"default timers", defaultInterval, 3 * time.Second}, {"fast timers", fastInterval, time.Second}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2, c.interval)
			w.build()
			out := newDownload(t, w.local[1], w.internet, "203.0.113.254:8080", "203.0.113.254:8080")
			in := newDownload(t, w.internet, w.vm, "10.0.0.10:8081", "203.0.113.10:8081")
			streams := []*stream{
				newStream(t, w.vm, w.internet, "203.0.113.254:7"), newStream(t, w.internet, w.vm, "203.0.113.10:8"),
				newStream(t, w.local[1], w.internet, "203.0.113.254:9"),
			}
			out.goesOn(t, "the download through SNAT")
			in.goesOn(t, "the download from a floating IP")
			time.Sleep(3 * c.interval) //nolint:forbidigo // the connections are told to the other host

			for _, s := range streams {
				s.mark()
			}
			w.hosts[0].die()
			testkit.Eventually(t, patience, "all streams flowing at the second host", func() bool {
				return w.hosts[1].speaks(w.router) && !slices.ContainsFunc(streams, func(s *stream) bool { return !s.flows() })
			})
			for i, s := range streams {
				took := s.outage()
				t.Logf("stream %d: no answer for %v", i, took)
				if took > c.within || took < 2*c.interval {
					t.Errorf("stream %d: no answer for %v; more than %v and less than %v is meant", i, took, 2*c.interval, c.within)
				}
			}
			out.goesOn(t, "the download through SNAT, at the second host")
			in.goesOn(t, "the download from a floating IP, at the second host")

			// It comes back, and takes nothing away.
			w.hosts[0].boot()
			w.settle()
			out.goesOn(t, "the download through SNAT, with the first host back")
			if w.owner() != w.hosts[1] {
				t.Error("the host that came back has taken the group away")
			}
		})
	}
}

func TestAKeepalivedThatIsKilledIsReplacedByTheOtherHost(t *testing.T) {
	w := newWorld(t, 2, fastInterval)
	w.build()
	s := newStream(t, w.vm, w.internet, "203.0.113.254:7")
	s.mark()
	w.hosts[0].killKeepalived()
	testkit.Eventually(t, patience, "the second host active", func() bool { return w.owner() == w.hosts[1] && s.flows() })
	if took := s.outage(); took > time.Second {
		t.Errorf("no answer for %v", took)
	}
	testkit.Eventually(t, patience, "a new keepalived on the first host", func() bool { return len(w.hosts[0].keepalived()) == 2 })
	w.settle()
	if w.owner() != w.hosts[1] {
		t.Error("the host whose keepalived came back has taken the group away")
	}
}

func TestTheLossOfTheExternalLinkMovesTheGroup(t *testing.T) {
	w := newWorld(t, 2, fastInterval)
	w.build()
	s := newStream(t, w.vm, w.internet, "203.0.113.254:7")
	s.mark()
	w.outside.Run("ip", "link", "set", "o1", "down")
	testkit.Eventually(t, patience, "the second host active", func() bool { return w.owner() == w.hosts[1] && s.flows() })
	t.Logf("no answer for %v", s.outage())
	w.outside.Run("ip", "link", "set", "o1", "up")
	w.settle()
	if w.owner() != w.hosts[1] {
		t.Error("the host whose link came back has taken the group away")
	}
}

func TestAfterAPartitionOneHostAnswers(t *testing.T) {
	w := newWorld(t, 2, fastInterval)
	w.build()
	w.internet.Serve(80)
	for round := range 3 {
		w.divide(true)
		testkit.Eventually(t, patience, "both active", func() bool {
			return w.hosts[0].speaks(w.router) && w.hosts[1].speaks(w.router)
		})
		if n := w.answers(addr("203.0.113.5")); n != 2 {
			t.Errorf("round %d: divided, %d hosts answer", round, n)
		}
		healed := time.Now()
		w.divide(false)
		time.Sleep(time.Until(healed.Add(fastInterval + time.Second))) //nolint:forbidigo // it is the time limit that is tested
		for range 10 {
			if n := w.answers(addr("203.0.113.5")); n != 1 {
				t.Fatalf("round %d: %v after healing, %d hosts answer", round, time.Since(healed), n)
			}
		}
		for _, vm := range append(w.local, w.vm) {
			start := time.Now()
			reaches(t, vm, "203.0.113.254:80", map[bool]string{true: "203.0.113.10", false: "203.0.113.5"}[vm == w.vm])
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("round %d: a workload was cut off for %v after healing", round, took)
			}
		}
	}
}

// divide cuts the first host off from all other gateway hosts and from the server, by whom it would hear of a claim, or
// ends that.
func (w *world) divide(is bool) { w.cut(w.hosts[0], is, testkit.UnderlayIP(w.gateways+1).String()) }

// cut cuts the host off from the other gateway hosts and some others on the underlay, or ends that; the external network
// stays.
func (w *world) cut(g *gatewayHost, is bool, others ...string) {
	if g.alone = is; !is {
		_, _ = g.Try("nft", "delete", "table", "ip", "cut") // there is none where nothing was cut
		return
	}
	var rules strings.Builder
	rules.WriteString("add table ip cut\nadd chain ip cut in { type filter hook input priority 0; }\n" +
		"add chain ip cut out { type filter hook output priority 0; }\n")
	for _, other := range w.gatewayHosts() {
		if other != g {
			others = append(others, testkit.UnderlayIP(other.index).String())
		}
	}
	for _, a := range others {
		rules.WriteString("add rule ip cut in ip saddr " + a + " drop\nadd rule ip cut out ip daddr " + a + " drop\n")
	}
	g.Run("nft", rules.String())
}

func TestAHostWithoutKeepalivedSaysSo(t *testing.T) {
	w := newWorld(t, 2, fastInterval)
	tools := t.TempDir()
	w.hosts[0].Run("sh", "-c", "for p in nft ip; do ln -s $(PATH=$PATH:/usr/sbin:/sbin command -v $p) "+tools+"/$p; done")
	w.hosts[0].path = tools
	w.hosts[0].up = false // it will not have everything done
	w.build()
	if !w.hosts[1].speaks(w.router) || w.hosts[0].speaks(w.router) {
		t.Error("the host with keepalived is not the active one")
	}
	testkit.Eventually(t, patience, "the reason told", func() bool {
		wrong := w.server.wrong("gw1")
		return len(wrong) == 1 && strings.Contains(wrong[0], "gateway-group/7") && strings.Contains(wrong[0], "not installed")
	})
	w.internet.Serve(80)
	reaches(t, w.local[0], "203.0.113.254:80", "203.0.113.5")
}
