package l3_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	"github.com/neutrino-net/neutrino/internal/service/port"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func reportOf(tx *state.Tx, host, key, reason string) {
	s := port.Status{Key: key, State: port.Done, Reason: reason}
	if reason != "" {
		s.State = port.Failed
	}
	l3.Report(tx, host, []port.Status{s})
}

func TestTheNewestClaimOfAMemberHolds(t *testing.T) {
	w := newWorld(t, 0)
	known := model.GatewayClaim{Epoch: 5, Rank: 1, Host: "b"}
	put := func() {
		st.Must(0, w.Update(func(tx *state.Tx) error {
			state.GatewayGroups.Put(tx, &model.GatewayGroup{
				Meta: model.Meta{ID: "7"}, Hosts: []string{"a", "b", "c"}, Leaving: []string{"d"}, Claim: known,
			})
			return nil
		}))(t)
	}
	for _, c := range []struct {
		name, from, group string
		claim             model.GatewayClaim
		accepted, taken   bool
	}{
		{"a takeover", "a", "7", model.GatewayClaim{Epoch: 6, Host: "a"}, true, true},
		{"one that another host tells of", "b", "7", model.GatewayClaim{Epoch: 6, Rank: 2, Host: "c"}, true, true},
		{"the owner again, with a newer one", "b", "7", model.GatewayClaim{Epoch: 7, Rank: 1, Host: "b"}, true, false},
		{"the same epoch, of a host that comes before", "a", "7", model.GatewayClaim{Epoch: 5, Host: "a"}, true, true},
		{"of a host that is leaving", "a", "7", model.GatewayClaim{Epoch: 6, Host: "d"}, true, true},
		{"after many takeovers without a server", "a", "7", model.GatewayClaim{Epoch: 5 + 1<<16, Host: "a"}, true, true},
		{"the same", "b", "7", known, false, false},
		{"an older one", "a", "7", model.GatewayClaim{Epoch: 4, Host: "a"}, false, false},
		{"nobody's", "a", "7", model.GatewayClaim{}, false, false},
		{"the same epoch, of a host that comes after", "c", "7", model.GatewayClaim{Epoch: 5, Rank: 2, Host: "c"}, false, false},
		{"an epoch that nobody could beat", "a", "7", model.GatewayClaim{Epoch: math.MaxUint64, Host: "a"}, false, false},
		{"more than can have been missed", "a", "7", model.GatewayClaim{Epoch: 6 + 1<<16, Host: "a"}, false, false},
		{"no place of a group", "a", "7", model.GatewayClaim{Epoch: 6, Rank: 3, Host: "a"}, false, false},
		{"a host outside, for itself", "e", "7", model.GatewayClaim{Epoch: 6, Host: "e"}, false, false},
		{"a host outside, for one of the group", "e", "7", model.GatewayClaim{Epoch: 6, Host: "a"}, false, false},
		{"a host of the group, for one outside", "a", "7", model.GatewayClaim{Epoch: 6, Host: "e"}, false, false},
		{"a host that is leaving says it", "d", "7", model.GatewayClaim{Epoch: 6, Host: "d"}, false, false},
		{"a group that is not there", "a", "8", model.GatewayClaim{Epoch: 6, Host: "a"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			put()
			var taken []string
			st.Must(0, w.Update(func(tx *state.Tx) error {
				taken = l3.Claims(tx, c.from, []l3.Role{{Group: c.group, Claim: c.claim}})
				return nil
			}))(t)
			want := known
			if c.accepted {
				want = c.claim
			}
			w.t = t
			if got := w.group("7").Claim; got != want {
				t.Errorf("the claim is %+v, want %+v", got, want)
			}
			if (len(taken) == 1) != c.taken {
				t.Errorf("groups with another active host: %v", taken)
			}
		})
	}
}

// What standbys report does not show, until one of them has taken over: then it shows without being said again.
func TestStatusesAreThoseOfTheActiveHost(t *testing.T) {
	w := newWorld(t, 0)
	for i := range 3 {
		w.host(fmt.Sprintf("host%d", i+1), true)
	}
	id := w.router(w.highlyAvailable(), true)
	w.settle(id)
	g := w.groupOf(id)
	first, second := g.Hosts[0], g.Hosts[1]
	p := st.Must(w.CreatePort(st.Member, st.Body{"network_id": w.inside.ID}))(t)
	f := &model.FloatingIP{Meta: model.Meta{ID: uuid.NewString(), ProjectID: "p1"}, NetworkID: w.public.ID, PortID: p.ID}
	st.Must(0, w.Update(func(tx *state.Tx) error { return w.fips.Create(tx, st.Member, f, nil) }))(t)
	leg := w.get(id).InterfaceIDs[0]

	var memory l3.Statuses
	enter := func(host string, list []port.Status) {
		t.Helper()
		st.Must(0, w.Update(func(tx *state.Tx) error {
			w.Ports.Report(tx, host, list)
			l3.Report(tx, host, list)
			return nil
		}))(t)
	}
	report := func(host string, s port.State, reason string) {
		t.Helper()
		var list []port.Status
		for _, key := range []string{"port/" + leg, "floating-ip/" + f.ID, "router/" + id} {
			list = append(list, port.Status{Key: key, State: s, Reason: reason})
		}
		memory.Remember(w.Store.Read(), host, list)
		enter(host, list)
	}
	expect := func(when string, up bool, reason string) {
		t.Helper()
		got, _ := state.FloatingIPs.Get(w.Store.Read(), f.ID)
		p := w.Port(t, leg)
		if (got.Status == model.FloatingIPActive) != up || (p.Status == model.PortActive) != up ||
			got.HostReason != reason || w.get(id).HostReason != reason {
			t.Errorf("%s: the floating IP is %s %q, the port %s %q, the router %q",
				when, got.Status, got.HostReason, p.Status, p.StatusReason, w.get(id).HostReason)
		}
	}
	report(first, port.Done, "")
	report(second, port.Failed, "no room")
	expect("nobody is active", false, "")
	w.claim(g.ID, first)
	enter(first, memory.Of(first, g.ID, "", 100))
	expect("the first is active", true, "")
	report(second, port.Failed, "still no room")
	expect("a standby says something", true, "")
	w.claim(g.ID, second)
	enter(second, memory.Of(second, g.ID, "", 100))
	expect("the second has taken over", false, "Still no room.")
	report(first, port.Done, "")
	expect("the first is a standby now", false, "Still no room.")
	report(second, port.Done, "")
	expect("the second has found room", true, "")
	memory.Forget(second)
	if list := memory.Of(second, g.ID, "", 100); len(list) != 0 {
		t.Errorf("a host that was forgotten has said %v", list)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	w := newWorld(t, 0)
	for i := range 2 {
		w.host(fmt.Sprintf("host%d", i+1), true)
	}
	id := w.router(w.highlyAvailable(), true)
	w.settle(id)
	g := w.groupOf(id)
	var memory l3.Statuses
	for range 300 {
		f := &model.FloatingIP{Meta: model.Meta{ID: uuid.NewString()}, RouterID: id}
		put := func(tx *state.Tx) error { state.FloatingIPs.Put(tx, f); return nil }
		st.Must(0, w.Update(put))(t)
		memory.Remember(w.Store.Read(), "host1", []port.Status{{Key: "floating-ip/" + f.ID, State: port.Done}})
		st.Must(0, w.Update(func(tx *state.Tx) error { state.FloatingIPs.Delete(tx, f.ID); return nil }))(t)
	}
	if n := len(memory.Of("host1", g.ID, "", 1000)); n > 64 {
		t.Errorf("%d statuses of floating IPs that are gone are remembered", n)
	}
}
