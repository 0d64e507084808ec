package rbac_test

import (
	"iter"
	"slices"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func policy(id, target string) *model.RBACPolicy {
	return &model.RBACPolicy{ObjectType: "network", ObjectID: id, Action: model.AccessShared, Target: target}
}

func TestSharedIsAskedByProject(t *testing.T) {
	w := st.New(t, st.Options{})
	rules := rbac.New(network.Sharing())
	var ids []string
	for range 3 {
		ids = append(ids, st.Must(w.CreateNetwork(st.Member, st.Body{}))(t).ID)
	}
	grant := func(c *auth.Caller, p *model.RBACPolicy) error {
		return w.Update(func(tx *state.Tx) error {
			p.ID, p.ProjectID = tx.NewID(), c.ProjectID
			return rules.Create(tx, c, p, nil)
		})
	}
	for _, p := range []*model.RBACPolicy{policy(ids[0], "p2"), policy(ids[1], "p3"), policy(ids[1], "*"), policy(ids[1], "p2")} {
		if err := grant(st.Member, p); err != nil {
			t.Fatal(err)
		}
	}
	st.WantFault(t, grant(st.Member, policy(ids[1], "p2")), fault.Conflict, "DuplicateRbacPolicy")
	r := w.Store.Read()
	for project, want := range map[string][]string{"p2": ids[:2], "p3": ids[1:2], "p4": ids[1:2], "": ids[1:2], "*": ids[1:2]} {
		got := slices.Collect(rbac.SharedWith(r, "network", project))
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("with %q are shared %v, want %v", project, got, want)
		}
		for _, id := range ids {
			if got := rbac.Shared(r, "network", id, project); got != slices.Contains(want, id) {
				t.Errorf("%s is shared with %q: %v", id, project, got)
			}
		}
	}
	if n := w.Network(t, ids[1]); !n.Shared {
		t.Error("a network that is shared with all does not say so")
	}
	view := rbac.View("network", func(n *model.Network) *bool { return &n.Shared })
	n := w.Network(t, ids[0])
	if seen := view(r, &auth.Caller{ProjectID: "p2"})(n); !seen.Shared || n.Shared {
		t.Errorf("p2 sees shared: %v, stored is %v", seen.Shared, n.Shared)
	}
	if view(r, &auth.Caller{ProjectID: "p4"}) != nil {
		t.Error("a project to which nothing was granted pays for looking")
	}
}

func TestAnAccessInUseIsKept(t *testing.T) {
	kind := rbac.Kind{
		Type: "network", Resource: "Network",
		Owner: func(state.Reader, string) (string, bool) { return "p1", true },
	}
	for _, c := range []struct {
		name          string
		grants        []string // targets
		users         []string
		target, gains string
		inUse         bool
	}{
		{"used by the target", []string{"p2"}, []string{"p1", "p2"}, "p2", "", true},
		{"used by the owner", []string{"p2"}, []string{"p1"}, "p2", "", false},
		{"used by another", []string{"p2", "p3"}, []string{"p3"}, "p2", "", false},
		{"the target has it by the policy for all", []string{"p2", "*"}, []string{"p2"}, "p2", "", false},
		{"all, used by one without a policy of its own", []string{"p2", "*"}, []string{"p2", "p3"}, "*", "", true},
		{"all, used by one with a policy of its own", []string{"p2", "*"}, []string{"p2", "p1", ""}, "*", "", false},
		{"given to all instead", []string{"p2"}, []string{"p2"}, "p2", "*", false},
		{"given to the user instead of all", []string{"*"}, []string{"p2"}, "*", "p2", false},
		{"given to another instead", []string{"p2"}, []string{"p2"}, "p2", "p3", true},
		{"the owner's own policy", []string{"p1"}, []string{"p1", "p2"}, "p1", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := st.New(t, st.Options{})
			err := w.Update(func(tx *state.Tx) error {
				for _, target := range c.grants {
					p := policy("n", target)
					p.ID = tx.NewID()
					state.RBACPolicies.Put(tx, p)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			k := kind
			k.Users = func(state.Reader, string, string) iter.Seq[string] { return slices.Values(c.users) }
			err = k.Losing(w.Store.Read(), "n", model.AccessShared, c.target, c.gains)
			if !c.inUse && err != nil {
				t.Errorf("error %v", err)
			}
			if c.inUse {
				st.WantFault(t, err, fault.Conflict, "RbacPolicyInUse")
			}
		})
	}
}
