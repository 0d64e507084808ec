package servicetest

import (
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressgroup"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
	"github.com/neutrino-net/neutrino/internal/state"
)

// CreateSecurityGroup creates a security group of the body's attributes.
func (w *World) CreateSecurityGroup(c *auth.Caller, b Body) (*model.SecurityGroup, error) {
	return create(w, c, schema.SecurityGroup, secgroup.NewGroups(nil), (*model.SecurityGroup).GetMeta, b)
}

// UpdateSecurityGroup updates a security group.
func (w *World) UpdateSecurityGroup(c *auth.Caller, id string, b Body) (*model.SecurityGroup, error) {
	return update(w, c, schema.SecurityGroup, secgroup.NewGroups(nil), state.SecurityGroups,
		(*model.SecurityGroup).Clone, id, b)
}

// DeleteSecurityGroup deletes a security group.
func (w *World) DeleteSecurityGroup(c *auth.Caller, id string) error {
	return remove(w, c, secgroup.NewGroups(nil), state.SecurityGroups, "SecurityGroup", id)
}

// CreateSecurityGroupRule creates a rule of a security group; direction is ingress unless it is given.
func (w *World) CreateSecurityGroupRule(c *auth.Caller, b Body) (*model.SecurityGroupRule, error) {
	if _, given := b["direction"]; !given {
		b["direction"] = string(model.Ingress)
	}
	return create(w, c, schema.SecurityGroupRule, secgroup.GroupRules{}, (*model.SecurityGroupRule).GetMeta, b)
}

// DeleteSecurityGroupRule deletes a rule of a security group.
func (w *World) DeleteSecurityGroupRule(c *auth.Caller, id string) error {
	return remove(w, c, secgroup.GroupRules{}, state.SecurityGroupRules, "SecurityGroupRule", id)
}

// CreateAddressGroup creates an address group.
func (w *World) CreateAddressGroup(c *auth.Caller, b Body) (*model.AddressGroup, error) {
	return create(w, c, schema.AddressGroup, addressgroup.Rules{}, (*model.AddressGroup).GetMeta, b)
}

// DeleteAddressGroup deletes an address group.
func (w *World) DeleteAddressGroup(c *auth.Caller, id string) error {
	return remove(w, c, addressgroup.Rules{}, state.AddressGroups, "AddressGroup", id)
}

// DefaultGroup returns the project's default security group, which is made if need be.
func (w *World) DefaultGroup(t testing.TB, project string) *model.SecurityGroup {
	t.Helper()
	var g *model.SecurityGroup
	if err := w.Update(func(tx *state.Tx) error { g = secgroup.EnsureDefault(tx, project); return nil }); err != nil {
		t.Fatal(err)
	}
	return g
}
