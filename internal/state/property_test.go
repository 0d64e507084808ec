package state_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// drawPort makes a port out of few values, so that keys coincide.
func drawPort(t *rapid.T) *model.Port {
	few := func(what string, values ...string) string { return rapid.SampledFrom(values).Draw(t, what) }
	p := &model.Port{
		Meta:      model.Meta{ID: few("id", "a", "b", "ab", "c", "d"), Name: few("name", "", "x", "x\x00", "xy")},
		NetworkID: few("network", "n1", "n2"),
		MAC:       few("mac", "m1", "m2"),
		DeviceID:  few("device", "", "d1", "d2"),
		Binding: model.Binding{
			Host:    few("host", "h1", "h2"),
			VIFType: model.VIFType(few("vif", "unbound", "bridge", "binding_failed")),
		},
	}
	p.ProjectID = few("project", "p1", "p2")
	for range rapid.IntRange(0, 2).Draw(t, "addresses") {
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{
			SubnetID: few("subnet", "s1", "s2"),
			IP:       netip.MustParseAddr(few("address", "10.0.0.1", "10.0.0.20", "fd00::1")),
		})
	}
	return p
}

// portKeys are the keys of each index of ports, computed anew from what the documentation of the index says.
var portKeys = []struct {
	name  string
	index *state.Index[model.Port]
	keys  func(*model.Port) []string
}{
	{"project", state.PortsByProject, func(p *model.Port) []string { return []string{p.ProjectID} }},
	{"network", state.PortsByNetwork, func(p *model.Port) []string { return []string{p.NetworkID} }},
	{"name", state.PortsByName, func(p *model.Port) []string { return unlessEmpty(p.Name) }},
	{"device", state.PortsByDevice, func(p *model.Port) []string { return unlessEmpty(p.DeviceID) }},
	{"MAC", state.PortsByMAC, func(p *model.Port) []string { return []string{p.NetworkID + "/" + p.MAC} }},
	{"address", state.PortsByIP, func(p *model.Port) (keys []string) {
		for _, f := range p.FixedIPs {
			keys = append(keys, state.IPKey(f.SubnetID, f.IP))
		}
		return keys
	}},
	{"host", state.PortsByHost, func(p *model.Port) []string {
		return ifBound(p, p.Binding.Host)
	}},
	{"network and host", state.PortsByNetworkHost, func(p *model.Port) []string {
		return ifBound(p, p.NetworkID+"/"+p.Binding.Host)
	}},
}

func unlessEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func ifBound(p *model.Port, key string) []string {
	if p.Binding.VIFType != model.VIFBridge {
		return nil
	}
	return []string{key}
}

func portIDs(ports iter.Seq[*model.Port]) (ids []string) {
	for p := range ports {
		ids = append(ids, p.ID)
	}
	return ids
}

// checkPorts compares a table and all its indexes with a plain map.
func checkPorts(t *rapid.T, r state.Reader, want map[string]*model.Port) {
	if got := portIDs(state.Ports.All(r)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Fatalf("the table has %v, want %v", got, slices.Sorted(maps.Keys(want)))
	}
	if n := state.Ports.Len(r); n != len(want) {
		t.Fatalf("the table says it has %d ports, want %d", n, len(want))
	}
	for _, project := range []string{"p1", "p2"} {
		owned := 0
		for _, p := range want {
			if p.ProjectID == project {
				owned++
			}
		}
		if n := state.Ports.Count(r, project); n != owned {
			t.Fatalf("the table says that %s owns %d ports, want %d", project, n, owned)
		}
	}
	addresses := map[string]int{}
	for _, p := range want {
		for _, f := range p.FixedIPs {
			addresses[f.SubnetID]++
		}
	}
	for subnet, n := range addresses {
		if got := state.AddressesBySubnet.Count(r, subnet); got != n {
			t.Fatalf("the tally says that %d addresses of %s are taken, want %d", got, subnet, n)
		}
	}
	for id, p := range want {
		if got, ok := state.Ports.Get(r, id); !ok || got != p && cmp.Diff(got, p, netipCompare) != "" {
			t.Fatalf("port %s is %v, want %v", id, got, p)
		}
	}
	for _, ix := range portKeys {
		byKey := map[string][]string{}
		for id, p := range want {
			for _, key := range slices.Compact(slices.Sorted(slices.Values(ix.keys(p)))) {
				byKey[key] = append(byKey[key], id)
			}
		}
		total := 0
		for key, ids := range byKey {
			slices.Sort(ids)
			total += len(ids)
			if got := portIDs(ix.index.List(r, key)); !slices.Equal(got, ids) {
				t.Fatalf("by %s %q: %v, want %v", ix.name, key, got, ids)
			}
		}
		walked := 0
		for range ix.index.From(r, "") {
			walked++
		}
		if walked != total {
			t.Fatalf("by %s: %d entries, want %d", ix.name, walked, total)
		}
	}
}

var netipCompare = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Random transactions, some of which fail, against a plain map: table, indexes and the durable side agree after each,
// and after a restart.
func TestTablesAndIndexesAgreeWithAPlainMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory()
		log := m.log()
		refused := false
		log.before = func([]state.Entry) error {
			if refused {
				return errors.New("refused")
			}
			return nil
		}
		s, err := state.Open(ctx, state.Options{Log: log, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		want := map[string]*model.Port{}
		for step := range rapid.IntRange(1, 8).Draw(t, "transactions") {
			next := maps.Clone(want)
			fails := rapid.IntRange(0, 3).Draw(t, "fails") == 0
			refused = rapid.IntRange(0, 5).Draw(t, "refused") == 0
			_, err := s.Update(ctx, func(tx *state.Tx) error {
				for range rapid.IntRange(1, 5).Draw(t, "changes") {
					p := drawPort(t)
					if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
						if _, was := next[p.ID]; state.Ports.Delete(tx, p.ID) != was {
							return fmt.Errorf("Delete says that port %s was there: %v", p.ID, !was)
						}
						delete(next, p.ID)
					} else {
						state.Ports.Put(tx, p)
						next[p.ID] = p
					}
				}
				checkPorts(t, tx, next)
				if fails {
					return errDeliberate
				}
				return nil
			})
			switch {
			case err == nil:
				want = next
			case errors.Is(err, errDeliberate) && fails, errors.Is(err, state.ErrUnavailable) && refused:
			default:
				t.Fatalf("transaction %d: %v", step, err)
			}
			checkPorts(t, s.Read(), want)
			if got := m.ids("port"); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("durable are %v, want %v", got, slices.Sorted(maps.Keys(want)))
			}
		}
		again, err := state.Open(ctx, state.Options{Log: m.log(), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		checkPorts(t, again.Read(), want)
	})
}

var errDeliberate = errors.New("a deliberate failure")
