package reconcile_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/reconcile"
)

var errRefused = errors.New("refused")

func newTracker() *reconcile.Tracker[string, int] {
	return reconcile.NewTracker[string](func(a, b int) bool { return a == b })
}

// pass plays a whole pass against a kernel that refuses the values for which refuse is true, and returns the keys of
// drifted objects.
func pass(t *reconcile.Tracker[string, int], wanted, kernel map[string]int, now time.Time,
	refuse func(string) bool) (work int, drifted map[string]bool) {
	drifted = map[string]bool{}
	t.Want(maps.Clone(wanted))
	t.Observe(maps.Clone(kernel))
	for _, u := range t.Updates(now) {
		work++
		if u.Drift {
			drifted[u.Key] = true
		}
		if refuse(u.Key) {
			t.Failed(u.Key, errRefused, now)
			continue
		}
		kernel[u.Key] = u.Wanted
		t.Updated(u.Key)
	}
	for _, d := range t.Deletes(now) {
		work++
		if d.Drift {
			drifted[d.Key] = true
		}
		if refuse(d.Key) {
			t.Failed(d.Key, errRefused, now)
			continue
		}
		delete(kernel, d.Key)
		t.Deleted(d.Key)
	}
	t.Settle()
	return work, drifted
}

func never(string) bool { return false }

// The properties of the type: whatever sequence of wishes and of meddling comes, a pass ends with the kernel as wanted;
// the pass after it has nothing to do; and drift is reported exactly for what was meddled with.
func TestEveryPassConvergesAndDriftIsExactlyTheMeddling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		objects := rapid.MapOf(key, rapid.IntRange(1, 3))
		tracker := newTracker()
		kernel := objects.Draw(t, "kernel at start")
		now := time.Unix(0, 0)
		var before map[string]int
		for range rapid.IntRange(1, 8).Draw(t, "passes") {
			wanted := objects.Draw(t, "wanted")
			if before != nil && rapid.Bool().Draw(t, "wishes stay") {
				wanted = before
			}
			meddled := map[string]bool{}
			if before != nil {
				for k, v := range rapid.MapOf(key, rapid.IntRange(0, 3)).Draw(t, "meddling") {
					old, had := kernel[k]
					if v == 0 {
						delete(kernel, k)
					} else {
						kernel[k] = v
					}
					if now, has := kernel[k]; has != had || now != old {
						meddled[k] = true
					}
				}
			}
			expected := map[string]bool{}
			for k := range meddled {
				want, wants := wanted[k]
				was, wanting := before[k]
				have, has := kernel[k]
				switch {
				case wants && wanting && want == was && (!has || have != want):
					expected[k] = true
				case !wants && !wanting && has:
					expected[k] = true
				}
			}
			_, drifted := pass(tracker, wanted, kernel, now, never)
			if !maps.Equal(kernel, wanted) {
				t.Fatalf("kernel %v, wanted %v", kernel, wanted)
			}
			if !maps.Equal(drifted, expected) {
				t.Fatalf("drift %v, meddled with %v", drifted, expected)
			}
			if work, _ := pass(tracker, wanted, kernel, now, never); work != 0 {
				t.Fatalf("a second pass had %d things to do", work)
			}
			before = wanted
		}
	})
}

func TestOneRefusedObjectHoldsUpNoOther(t *testing.T) {
	tracker, kernel, now := newTracker(), map[string]int{}, time.Unix(0, 0)
	wanted := map[string]int{"bad": 1, "good": 1, "fine": 2}
	bad := func(k string) bool { return k == "bad" }
	pass(tracker, wanted, kernel, now, bad)
	if len(kernel) != 2 || tracker.Err("bad") == nil || tracker.Err("good") != nil {
		t.Fatalf("kernel %v, errors %v / %v", kernel, tracker.Err("bad"), tracker.Err("good"))
	}
	if work, _ := pass(tracker, wanted, kernel, now, bad); work != 0 {
		t.Error("the refused object was tried again at once")
	}
	if work, _ := pass(tracker, wanted, kernel, now.Add(reconcile.FirstPause), bad); work != 1 {
		t.Error("the refused object was not tried after the pause")
	}
	if work, _ := pass(tracker, wanted, kernel, now.Add(2*reconcile.FirstPause), bad); work != 0 {
		t.Error("the second pause is not longer than the first")
	}
	wanted["bad"] = 2
	if work, _ := pass(tracker, wanted, kernel, now.Add(2*reconcile.FirstPause), never); work != 1 {
		t.Error("a new wish was not tried at once")
	}
	if tracker.Err("bad") != nil {
		t.Error("the error outlived the success")
	}
}

// An object that we made, or tried to, is ours whether or not its last update went well.
func TestRemovingAnObjectWhoseUpdateFailedIsNoDrift(t *testing.T) {
	now := time.Unix(0, 0)
	always := func(string) bool { return true }
	for name, play := range map[string]func(*reconcile.Tracker[string, int], map[string]int){
		"made, then refused": func(tracker *reconcile.Tracker[string, int], kernel map[string]int) {
			pass(tracker, map[string]int{"a": 1}, kernel, now, never)
			pass(tracker, map[string]int{"a": 2}, kernel, now, always)
		},
		"half made": func(tracker *reconcile.Tracker[string, int], kernel map[string]int) {
			pass(tracker, map[string]int{"a": 1}, kernel, now, always)
			kernel["a"] = 7
		},
	} {
		t.Run(name, func(t *testing.T) {
			tracker, kernel := newTracker(), map[string]int{}
			pass(tracker, nil, kernel, now, never)
			play(tracker, kernel)
			if _, drifted := pass(tracker, nil, kernel, now.Add(time.Minute), never); len(drifted) != 0 || len(kernel) != 0 {
				t.Fatalf("drift %v, kernel %v", drifted, kernel)
			}
			// What appears under its name later is somebody else's again.
			kernel["a"] = 3
			if _, drifted := pass(tracker, nil, kernel, now.Add(time.Hour), never); !drifted["a"] {
				t.Error("a foreign object was taken for ours")
			}
		})
	}
}

func TestThePauseHasABound(t *testing.T) {
	tracker, now := newTracker(), time.Unix(0, 0)
	tracker.Want(map[string]int{"bad": 1})
	for range 100 {
		tracker.Failed("bad", errRefused, now)
	}
	if n := len(tracker.Updates(now.Add(reconcile.LastPause))); n != 1 {
		t.Errorf("after the longest pause %d objects are tried, want 1", n)
	}
}

func TestForeignObjectsOnAFreshStartAreNoDrift(t *testing.T) {
	_, drifted := pass(newTracker(), map[string]int{"a": 1}, map[string]int{"a": 2, "b": 1}, time.Unix(0, 0), never)
	if len(drifted) != 0 {
		t.Errorf("the first pass found drift: %v", drifted)
	}
}

func TestMetricsAreSharedByAllPartsOfARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	reconcile.NewMetrics(registry).Drift("l2", "fdb")
	reconcile.NewMetrics(registry).Drift("l2", "fdb")
	reconcile.NewMetrics(registry).Pass("l2", time.Millisecond, true)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "neutrino_drift_repaired_total" {
			continue
		}
		if n := family.GetMetric()[0].GetCounter().GetValue(); n != 2 {
			t.Errorf("counted %v, want 2", n)
		}
		return
	}
	t.Error("no such metric")
}
