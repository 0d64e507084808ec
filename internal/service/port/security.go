package port

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
	"github.com/neutrino-net/neutrino/internal/state"
)

// The faults of filters that do not fit together.
var (
	errPairsNeedSecurity = fault.New(fault.Conflict, "AddressPairAndPortSecurityRequired",
		"Port Security must be enabled in order to have allowed address pairs on a port.")
	errGroupsNeedSecurity = fault.New(fault.Invalid, "PortSecurityAndIPRequiredForSecurityGroups",
		"Port security must be enabled and port must have an IP address in order to use security groups.")
	errHasGroups = fault.New(fault.Conflict, "PortSecurityPortHasSecurityGroup",
		"Port has security group associated. Cannot disable port security or IP address until security group is removed.")
)

// secure checks the filters of a new port. One that is filtered and asks for no groups gets the default group of its
// project, which is made with the first port.
func secure(tx *state.Tx, c *auth.Caller, p *model.Port, given schema.Given) error {
	if !p.PortSecurityEnabled {
		switch {
		case len(p.AllowedAddressPairs) > 0:
			return errPairsNeedSecurity
		case len(p.SecurityGroupIDs) > 0:
			return errGroupsNeedSecurity
		}
		return nil
	}
	completePairs(p)
	if err := checkPairs(p); err != nil {
		return err
	}
	switch {
	case p.Trusted(): // what is not filtered has no groups
		p.SecurityGroupIDs = nil
	case given.Has("security_groups") && p.SecurityGroupIDs != nil:
		return checkGroups(tx, c, p)
	case p.ProjectID != "":
		p.SecurityGroupIDs = []string{secgroup.EnsureDefault(tx, p.ProjectID).ID}
	}
	return nil
}

// secureAgain checks the filters of a changed port: security can be switched off only together with, or after, what
// depends on it.
func secureAgain(tx *state.Tx, c *auth.Caller, old, p *model.Port, given schema.Given) error {
	if given.Has("allowed_address_pairs") {
		completePairs(p)
		if err := checkPairs(p); err != nil {
			return err
		}
	}
	if !p.PortSecurityEnabled {
		switch {
		case len(p.AllowedAddressPairs) > 0:
			return errPairsNeedSecurity
		case len(p.SecurityGroupIDs) > 0 && given.Has("security_groups"):
			return errGroupsNeedSecurity
		case len(p.SecurityGroupIDs) > 0:
			return errHasGroups
		}
		return nil
	}
	if !given.Has("security_groups") || slices.Equal(old.SecurityGroupIDs, p.SecurityGroupIDs) {
		return nil
	}
	if p.Trusted() {
		p.SecurityGroupIDs = nil
		return nil
	}
	return checkGroups(tx, c, p)
}

// checkGroups says whether the port may have its groups. It is the project of the port that has to see them, unless an
// administrator asks: a service that makes a port for a project is not to lend it the groups of others.
func checkGroups(r state.Reader, c *auth.Caller, p *model.Port) error {
	if !c.Admin() {
		c = &auth.Caller{UserID: c.UserID, ProjectID: p.ProjectID, Roles: []string{"member", "reader"}}
	}
	return secgroup.CheckUsable(r, c, p.SecurityGroupIDs)
}

// completePairs fills in the MAC of pairs that name none: the port's.
func completePairs(p *model.Port) {
	for i := range p.AllowedAddressPairs {
		if p.AllowedAddressPairs[i].MAC == "" {
			p.AllowedAddressPairs[i].MAC = p.MAC
		}
	}
}

// checkPairs refuses pairs that are the same once their MACs are known.
func checkPairs(p *model.Port) error {
	seen := make(map[model.AddressPair]bool, len(p.AllowedAddressPairs))
	for _, pair := range p.AllowedAddressPairs {
		key := model.AddressPair{IP: pair.IP, MAC: pair.MAC}
		if seen[key] {
			return schema.DuplicatePair(pair)
		}
		seen[key] = true
	}
	return nil
}
