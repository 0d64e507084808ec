package addressgroup_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressgroup"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

type change = func(*state.Tx, *model.AddressGroup, map[string]any) (*model.AddressGroup, error)

// apply changes the stored group and returns its blocks.
func apply(w *st.World, id string, do change, addresses any) ([]string, error) {
	var out []string
	err := w.Update(func(tx *state.Tx) error {
		g, _ := state.AddressGroups.Get(tx, id)
		g, err := do(tx, g, map[string]any{"addresses": addresses})
		if err != nil {
			return err
		}
		for _, a := range g.Addresses {
			out = append(out, a.String())
		}
		return nil
	})
	return out, err
}

func TestAddressesComeAndGo(t *testing.T) {
	w := st.New(t, st.Options{})
	rules := addressgroup.Rules{}
	g := st.Must(w.CreateAddressGroup(st.Member, st.Body{
		"addresses": []any{"10.0.0.7/24", "fd00::/64", "10.0.0.0/24", "10.0.0.0/16"},
	}))(t)
	if got := fmt.Sprint(g.Addresses); got != "[10.0.0.0/16 10.0.0.0/24 fd00::/64]" {
		t.Errorf("the new group has %s", got)
	}
	for _, c := range []struct {
		name string
		do   change
		give any
		want []string
		typ  string // of the fault
		kind fault.Kind
	}{
		{name: "added", do: rules.Add, give: []any{"192.0.2.1/32", "192.0.2.1/32"},
			want: []string{"10.0.0.0/16", "10.0.0.0/24", "192.0.2.1/32", "fd00::/64"}},
		{name: "there already", do: rules.Add, give: []any{"192.0.2.2/32", "10.0.0.9/24"},
			typ: "AddressesAlreadyExist", kind: fault.Invalid},
		{name: "removed in another spelling", do: rules.Remove, give: []any{"FD00:0::1/64", "10.0.0.3/16"},
			want: []string{"10.0.0.0/24", "192.0.2.1/32"}},
		{name: "not there", do: rules.Remove, give: []any{"10.0.0.0/24", "10.0.0.0/25"},
			typ: "AddressesNotFound", kind: fault.NotFound},
		{name: "no list", do: rules.Add, give: "10.0.0.0/24", typ: "HTTPBadRequest", kind: fault.Invalid},
		{name: "nothing given", do: rules.Add, give: nil, typ: "HTTPBadRequest", kind: fault.Invalid},
		{name: "no address", do: rules.Remove, give: []any{"ten"}, typ: "HTTPBadRequest", kind: fault.Invalid},
		{name: "no prefix length", do: rules.Add, give: []any{"10.0.0.1"}, typ: "HTTPBadRequest", kind: fault.Invalid},
		{name: "all removed", do: rules.Remove, give: []any{"10.0.0.0/24", "192.0.2.1/32"}},
	} {
		got, err := apply(w, g.ID, c.do, c.give)
		if c.typ != "" {
			st.WantFault(t, err, c.kind, c.typ)
		} else if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestGroupsAreBounded(t *testing.T) {
	w := st.New(t, st.Options{})
	block := func(i int) any { return fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255) }
	var all []any
	for i := range schema.MaxAddresses {
		all = append(all, block(i))
	}
	g := st.Must(w.CreateAddressGroup(st.Member, st.Body{"addresses": all}))(t)
	_, err := apply(w, g.ID, addressgroup.Rules{}.Add, []any{block(schema.MaxAddresses)})
	st.WantFault(t, err, fault.Invalid, "HTTPBadRequest")
	_, err = w.CreateAddressGroup(st.Member, st.Body{"addresses": append(all, block(schema.MaxAddresses))})
	st.WantFault(t, err, fault.Invalid, "HTTPBadRequest")
}

func TestGroupsInUseStay(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateAddressGroup(st.Member, st.Body{}))(t)
	sg := st.Must(w.CreateSecurityGroup(st.Member, st.Body{}))(t)
	r := st.Must(w.CreateSecurityGroupRule(st.Member, st.Body{
		"security_group_id": sg.ID, "remote_address_group_id": g.ID,
	}))(t)
	st.WantFault(t, w.DeleteAddressGroup(st.Admin, g.ID), fault.Conflict, "AddressGroupInUse")
	if err := w.DeleteSecurityGroupRule(st.Member, r.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteAddressGroup(st.Member, g.ID); err != nil {
		t.Fatal(err)
	}
}

func TestGroupsOfOthersAreMissing(t *testing.T) {
	w := st.New(t, st.Options{})
	g := st.Must(w.CreateAddressGroup(st.Member, st.Body{}))(t)
	other := &auth.Caller{ProjectID: "p2", Roles: []string{"member", "reader"}}
	find := func(c *auth.Caller, id string) error {
		_, err := addressgroup.Find(w.Store.Read(), c, id)
		return err
	}
	if err := find(st.Member, g.ID); err != nil {
		t.Error(err)
	}
	st.WantFault(t, find(other, g.ID), fault.NotFound, "AddressGroupNotFound")
	st.WantFault(t, find(st.Admin, "none"), fault.NotFound, "AddressGroupNotFound")
	err := w.Update(func(tx *state.Tx) error {
		state.RBACPolicies.Put(tx, &model.RBACPolicy{
			Meta:       model.Meta{ID: tx.NewID(), ProjectID: "p1"},
			ObjectType: addressgroup.ObjectType, ObjectID: g.ID, Action: model.AccessShared, Target: model.Everyone,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := find(other, g.ID); err != nil {
		t.Error(err)
	}
	if err := w.DeleteAddressGroup(st.Member, g.ID); err != nil {
		t.Fatal(err)
	}
	if n := state.RBACPolicies.Len(w.Store.Read()); n != 0 {
		t.Error("the policy outlives the group that it shared")
	}
}
