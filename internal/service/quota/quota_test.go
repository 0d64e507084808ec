package quota_test

import (
	"encoding/json"
	"testing"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/service/quota"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// tracking returns a Service that knows networks and ports.
func tracking(changed map[string]int) *quota.Service {
	s := quota.New(changed)
	s.Track("network", state.Networks.Count)
	s.Track("port", state.Ports.Count)
	return s
}

func TestTheLimitIsTheProjectsElseTheDefault(t *testing.T) {
	w := st.New(t, st.Options{})
	s := tracking(map[string]int{"network": 1})
	take := func(project string) error {
		return w.Update(func(tx *state.Tx) error { return s.Take(tx, project, "network", 1) })
	}
	st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	st.WantFault(t, take("p1"), fault.OverQuota, "OverQuota")
	if err := take("p2"); err != nil {
		t.Errorf("another project: %v", err)
	}
	if err := take(""); err != nil {
		t.Errorf("no project: %v", err)
	}
	for _, c := range []struct {
		limit any
		full  bool
	}{{2, false}, {json.Number("1"), true}, {"-1", false}, {0, true}} {
		err := w.Update(func(tx *state.Tx) error { return s.Set(tx, "p1", map[string]any{"network": c.limit}, false) })
		if err != nil {
			t.Fatal(err)
		}
		if got := take("p1") != nil; got != c.full {
			t.Errorf("limit %v: full: %v", c.limit, got)
		}
	}
	if err := w.Update(func(tx *state.Tx) error { return s.Reset(tx, "p1") }); err != nil {
		t.Fatal(err)
	}
	st.WantFault(t, take("p1"), fault.OverQuota, "OverQuota")
	st.WantFault(t, w.Update(func(tx *state.Tx) error { return s.Reset(tx, "p1") }), fault.NotFound, "TenantQuotaNotFound")
}

func TestBadLimitsAreRefused(t *testing.T) {
	w := st.New(t, st.Options{})
	s := tracking(nil)
	st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	for name, c := range map[string]struct {
		project string
		limits  map[string]any
		check   bool
	}{
		"an unknown kind":        {"p1", map[string]any{"colour": 1}, false},
		"less than -1":           {"p1", map[string]any{"network": -2}, false},
		"too much":               {"p1", map[string]any{"network": 1 << 31}, false},
		"a word":                 {"p1", map[string]any{"network": "many"}, false},
		"a list":                 {"p1", map[string]any{"network": []any{1}}, false},
		"nothing":                {"p1", map[string]any{"network": nil}, false},
		"a truth":                {"p1", map[string]any{"network": true}, false},
		"a fraction":             {"p1", map[string]any{"network": json.Number("1.5")}, false},
		"less than is used":      {"p1", map[string]any{"network": 0}, true},
		"a strange project":      {"p/1", map[string]any{"network": 1}, false},
		"one good and one not":   {"p1", map[string]any{"network": 1, "port": "x"}, false},
		"a project of no name":   {"", map[string]any{"network": 1}, false},
		"a control character":    {"p\x00", map[string]any{"network": 1}, false},
		"a key of the log's own": {"../head", map[string]any{"network": 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.Update(func(tx *state.Tx) error { return s.Set(tx, c.project, c.limits, c.check) })
			if f := fault.As(err); f == nil || f.Kind != fault.Invalid {
				t.Errorf("error %v", err)
			}
			if n := state.Quotas.Len(w.Store.Read()); n != 0 {
				t.Errorf("%d quotas are stored", n)
			}
		})
	}
}

func TestDetailsTellLimitAndUsage(t *testing.T) {
	w := st.New(t, st.Options{})
	s := tracking(nil)
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	for range 3 {
		st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t)
	}
	got := s.Details(w.Store.Read(), "p1")
	if got["network"] != (quota.Usage{Limit: 100, Used: 1}) || got["port"] != (quota.Usage{Limit: 500, Used: 3}) || len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestDefaultsOfTheCommandLine(t *testing.T) {
	limits, err := quota.ParseDefaults([]string{"port=1000", "network=-1"})
	if err != nil || limits["port"] != 1000 || limits["network"] != -1 {
		t.Errorf("%v, %v", limits, err)
	}
	for _, bad := range []string{"port", "port=", "port=x", "port=-2", "port=1.5"} {
		if _, err := quota.ParseDefaults([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if got := tracking(map[string]int{"prot": 1, "port": 2, "router": 3}).Unknown(); len(got) != 1 || got[0] != "prot" {
		t.Errorf("unknown are %v", got)
	}
}
