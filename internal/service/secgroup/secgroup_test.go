package secgroup_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

var other = &auth.Caller{ProjectID: "p2", Roles: []string{"member", "reader"}}

// rulesOf says in short what the rules of a group are: "egress IPv4", "ingress IPv6 from itself".
func rulesOf(w *st.World, g *model.SecurityGroup) []string {
	out := []string{}
	for r := range state.SecurityGroupRulesByGroup.List(w.Store.Read(), g.ID) {
		text := string(r.Direction) + " " + string(r.EtherType)
		if r.RemoteGroupID == g.ID {
			text += " from itself"
		}
		if r.Protocol != "" {
			text += " " + r.Protocol
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// givePort makes a port with the groups.
func givePort(t *testing.T, w *st.World, c *auth.Caller, groups ...string) *model.Port {
	t.Helper()
	n := st.Must(w.CreateNetwork(c, st.Body{}))(t)
	p := st.Must(w.CreatePort(c, st.Body{"network_id": n.ID}))(t)
	err := w.Update(func(tx *state.Tx) error {
		p = p.Clone()
		p.SecurityGroupIDs = groups
		state.Ports.Put(tx, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGroupsStartWithTheirRules(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{"name": "web"}))(t)
	if got, want := rulesOf(w, g), []string{"egress IPv4", "egress IPv6"}; !slices.Equal(got, want) {
		t.Errorf("a new group has the rules %q, want %q", got, want)
	}
	if !g.Stateful || g.Default {
		t.Errorf("a new group is %+v", g)
	}
	d := w.DefaultGroup(t, "p1")
	want := []string{"egress IPv4", "egress IPv6", "ingress IPv4 from itself", "ingress IPv6 from itself"}
	if got := rulesOf(w, d); !slices.Equal(got, want) {
		t.Errorf("a default group has the rules %q, want %q", got, want)
	}
	for r := range state.SecurityGroupRules.All(w.Store.Read()) {
		if r.ProjectID != "p1" || r.OfDefault != (r.GroupID == d.ID) {
			t.Errorf("the rule %+v has the wrong owner, or is of the default group by mistake", r)
		}
	}
}

func TestDefaultGroupIsMadeOnceWhoeverComesFirst(t *testing.T) {
	w := st.New(t, st.Options{})
	ids := make([]string, 64)
	var wait sync.WaitGroup
	for i := range ids {
		wait.Go(func() {
			var id string
			_, err := w.Store.Update(context.Background(), func(tx *state.Tx) error {
				id = secgroup.EnsureDefault(tx, "new").ID
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	wait.Wait()
	if n := state.SecurityGroups.Count(w.Store.Read(), "new"); n != 1 {
		t.Errorf("there are %d groups", n)
	}
	if slices.Sort(ids); ids[0] != ids[len(ids)-1] {
		t.Errorf("two clients were told of different groups: %s, %s", ids[0], ids[len(ids)-1])
	}
}

func TestDefaultGroupIsProtected(t *testing.T) {
	w := st.New(t, st.Options{})
	d := w.DefaultGroup(t, "p1")
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{"name": "web"}))(t)
	for _, name := range []string{"default", "Default", "DEFAULT"} {
		_, err := w.CreateSecurityGroup(st.Member, st.Body{"name": name})
		st.WantFault(t, err, fault.Conflict, "SecurityGroupDefaultAlreadyExists")
		_, err = w.UpdateSecurityGroup(st.Member, g.ID, st.Body{"name": name})
		st.WantFault(t, err, fault.Conflict, "SecurityGroupDefaultAlreadyExists")
	}
	_, err := w.UpdateSecurityGroup(st.Member, d.ID, st.Body{"name": "mine"})
	st.WantFault(t, err, fault.Conflict, "SecurityGroupCannotUpdateDefault")
	st.Must(w.UpdateSecurityGroup(st.Member, d.ID, st.Body{"description": "ours"}))(t)
	err = w.DeleteSecurityGroup(st.Member, d.ID)
	st.WantFault(t, err, fault.Conflict, "SecurityGroupCannotRemoveDefault")
	if err := w.DeleteSecurityGroup(st.Admin, d.ID); err != nil {
		t.Fatal(err)
	}
	if again := w.DefaultGroup(t, "p1"); again.ID == d.ID {
		t.Error("the deleted default group is back under its old id")
	}
}

func TestGroupsInUseStay(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	p := givePort(t, w, st.Member, g.ID)
	st.WantFault(t, w.DeleteSecurityGroup(st.Admin, g.ID), fault.Conflict, "SecurityGroupInUse")
	_, err := w.UpdateSecurityGroup(st.Member, g.ID, st.Body{"stateful": false})
	st.WantFault(t, err, fault.Conflict, "SecurityGroupInUse")
	st.Must(w.UpdateSecurityGroup(st.Member, g.ID, st.Body{"stateful": true, "name": "renamed"}))(t)
	if err := w.DeletePort(st.Member, p.ID); err != nil {
		t.Fatal(err)
	}
	if got := st.Must(w.UpdateSecurityGroup(st.Member, g.ID, st.Body{"stateful": false}))(t); got.Stateful {
		t.Error("the group is still stateful")
	}
	if err := w.DeleteSecurityGroup(st.Member, g.ID); err != nil {
		t.Fatal(err)
	}
}

func TestDeletedGroupsTakeTheirRulesAlong(t *testing.T) {
	w := st.New(t, st.Options{})
	gone := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	stays := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	st.Must(w.CreateSecurityGroupRule(st.Member, st.Body{"security_group_id": gone.ID, "remote_group_id": gone.ID}))(t)
	st.Must(w.CreateSecurityGroupRule(st.Member, st.Body{"security_group_id": stays.ID, "remote_group_id": gone.ID}))(t)
	if err := w.DeleteSecurityGroup(st.Member, gone.ID); err != nil {
		t.Fatal(err)
	}
	if got := rulesOf(w, gone); len(got) != 0 {
		t.Errorf("rules of the deleted group are left: %q", got)
	}
	if got, want := rulesOf(w, stays), []string{"egress IPv4", "egress IPv6"}; !slices.Equal(got, want) {
		t.Errorf("the group that referred to the deleted one has %q, want %q", got, want)
	}
}

func TestRevisionOfAGroupGrowsWithItsRules(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	revision := func() int64 {
		now, _ := state.SecurityGroups.Get(w.Store.Read(), g.ID)
		return now.RevisionNumber
	}
	before := revision()
	r := st.Must(w.CreateSecurityGroupRule(st.Member, st.Body{"security_group_id": g.ID}))(t)
	if now := revision(); now != before+1 {
		t.Errorf("with a new rule the revision went from %d to %d", before, now)
	}
	if err := w.DeleteSecurityGroupRule(st.Member, r.ID); err != nil {
		t.Fatal(err)
	}
	if now := revision(); now != before+2 {
		t.Errorf("without the rule the revision went from %d to %d", before+1, now)
	}
}

// limit is a quota of so many objects of every kind.
type limit int

func (l limit) Take(tx *state.Tx, project, _ string, n int) error {
	if state.SecurityGroupRules.Count(tx, project)+n > int(l) {
		return fault.New(fault.OverQuota, "OverQuota", "Quota exceeded for resources: ['security_group_rule'].")
	}
	return nil
}

func TestQuotaOfRulesBoundsNewGroups(t *testing.T) {
	w := st.New(t, st.Options{})
	groups := secgroup.NewGroups(limit(6)) // the default group has four
	make := func() error {
		return w.Update(func(tx *state.Tx) error {
			g := &model.SecurityGroup{Meta: model.Meta{ID: tx.NewID(), ProjectID: "p1"}}
			return groups.Create(tx, st.Member, g, schema.Given{})
		})
	}
	if err := make(); err != nil {
		t.Fatal(err)
	}
	st.WantFault(t, make(), fault.OverQuota, "OverQuota")
	if n := state.SecurityGroups.Count(w.Store.Read(), "p1"); n != 2 {
		t.Errorf("the project has %d groups, want the default one and another", n)
	}
}

func TestOnlyVisibleGroupsCanBeGivenToPorts(t *testing.T) {
	w := st.New(t, st.Options{})
	mine := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	stateless := st.Must(w.CreateSecurityGroup(st.Member, st.Body{"stateful": false}))(t)
	theirs := st.Must(w.CreateSecurityGroup(other, st.Body{}))(t)
	check := func(c *auth.Caller, ids ...string) error { return secgroup.CheckUsable(w.Store.Read(), c, ids) }
	if err := check(st.Member, mine.ID); err != nil {
		t.Error(err)
	}
	if err := check(st.Admin, mine.ID, theirs.ID); err != nil {
		t.Error(err)
	}
	for _, id := range []string{theirs.ID, "no-such-group", ""} {
		err := check(st.Member, mine.ID, id)
		st.WantFault(t, err, fault.NotFound, "SecurityGroupNotFound")
		if want := "SecurityGroup " + id + " could not be found."; err.Error() != want {
			t.Errorf("the error is %q, want %q", err, want)
		}
	}
	st.WantFault(t, check(st.Member, mine.ID, stateless.ID), fault.Conflict, "SecurityGroupConflict")
	if err := check(st.Member); err != nil {
		t.Error(err)
	}
	// What is shared is as good as one's own.
	err := w.Update(func(tx *state.Tx) error {
		state.RBACPolicies.Put(tx, &model.RBACPolicy{
			Meta:       model.Meta{ID: tx.NewID(), ProjectID: "p2"},
			ObjectType: secgroup.ObjectType, ObjectID: theirs.ID, Action: model.AccessShared, Target: "p1",
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := check(st.Member, mine.ID, theirs.ID); err != nil {
		t.Error(err)
	}
}
