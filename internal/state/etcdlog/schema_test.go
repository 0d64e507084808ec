package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/state/etcdlog"
)

func TestAStateOfANewerVersionIsRefused(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	opts := e.LogOptions()
	opts.Schema = &etcdlog.Schema{Version: 7}
	entries(t, newLog(t, opts))
	_, err := newLog(t, e.LogOptions()).Load(context.Background(), func(state.Entry) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "newer version of neutrino: its schema is 7, this program knows 1") {
		t.Errorf("the error is %v", err)
	}
}

func TestAStateThatCannotBeUpgradedIsRefused(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	entries(t, newLog(t, e.LogOptions()))
	opts := e.LogOptions()
	opts.Schema = &etcdlog.Schema{Version: 2}
	_, err := newLog(t, opts).Load(context.Background(), func(state.Entry) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "cannot upgrade") {
		t.Errorf("the error is %v", err)
	}
}

// An upgrade over two versions, of more objects than one commit holds, that is interrupted in the middle.
func TestAnUpgradeGoesOnWhereItWasInterrupted(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	old := newLog(t, e.LogOptions())
	entries(t, old)
	const objects = 5000
	want := map[string]string{}
	var batch []state.Entry
	for i := range objects {
		id := fmt.Sprintf("%05d", i)
		batch = append(batch, put(id, `"v1"`))
		if i != 17 {
			want["network/"+id] = `"v1 v2 v3"`
		}
		if len(batch) == 2500 {
			if _, err := old.Append(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}

	crash := errors.New("crash")
	calls := 0
	appendVersion := func(version string) etcdlog.Upgrade {
		return func(_, id string, value []byte) ([]byte, error) {
			if calls++; calls == 3000 {
				return nil, crash
			}
			if version == "v2" && id == "00017" {
				return nil, nil // this version has no such object any more
			}
			return []byte(strings.TrimSuffix(string(value), `"`) + " " + version + `"`), nil
		}
	}
	opts := e.LogOptions()
	opts.Schema = &etcdlog.Schema{Version: 3, Upgrades: map[int]etcdlog.Upgrade{
		1: appendVersion("v2"), 2: appendVersion("v3"),
	}}
	_, err := newLog(t, opts).Load(t.Context(), func(state.Entry) error { return nil })
	if !errors.Is(err, crash) {
		t.Fatalf("the first start: %v", err)
	}
	l := newLog(t, opts)
	got, _ := entries(t, l)
	if !maps.Equal(got, want) {
		t.Errorf("after the upgrade there are %d objects that differ from the %d wanted; 00000 is %s", len(got), len(want),
			got["network/00000"])
	}
	if _, err := l.Append(t.Context(), []state.Entry{put("new", `"v3"`)}); err != nil {
		t.Error(err)
	}
	calls = -1 << 30
	if again, _ := entries(t, newLog(t, opts)); len(again) != len(want)+1 || again["network/00001"] != `"v1 v2 v3"` {
		t.Errorf("a later start upgraded again: %d objects, 00001 is %s", len(again), again["network/00001"])
	}
}

func TestKeysWithoutAHeadAreNotTakenForAnEmptyStore(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir()})
	if _, err := e.Client().Put(t.Context(), "/neutrino/network/a", "{}"); err != nil {
		t.Fatal(err)
	}
	_, err := newLog(t, e.LogOptions()).Load(t.Context(), func(state.Entry) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "/neutrino/meta/head") {
		t.Errorf("the error is %v", err)
	}
}
