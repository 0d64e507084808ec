// Package flavor holds the rules of flavors, by which users choose how a service is provided, of the service profiles
// that flavors stand for, and the providers that profiles name.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
package flavor

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// routerService is what the API calls the service of routers.
const routerService = "L3_ROUTER_NAT"

// Providers are the ways to provide a service that there are. Drivers have the names that service profiles give them in
// OpenStack.
func Providers() []*model.ServiceProvider {
	const drivers = "neutron.services.l3_router.service_providers."
	var providers []*model.ServiceProvider
	for _, p := range []struct{ name, driver string }{
		{"single_node", "single_node.SingleNodeDriver"}, {"ha", "ha.HaDriver"},
		{"dvr", "dvr.DvrDriver"}, {"dvrha", "dvrha.DvrHaDriver"},
	} {
		providers = append(providers, &model.ServiceProvider{
			Meta:        model.Meta{ID: routerService + ":" + p.name, Name: p.name},
			ServiceType: routerService, Driver: drivers + p.driver, Default: p.name == "single_node",
		})
	}
	return providers
}

// ProviderOf returns the provider to which a service profile of the flavor leads. The faults are those of choosing a
// flavor: FlavorNotFound, FlavorServiceProfileBindingNotFound and ServiceProfileDriverNotFound (404), FlavorDisabled and
// ServiceProfileDisabled (503).
func ProviderOf(r state.Reader, flavorID string) (*model.ServiceProvider, error) {
	f, ok := state.Flavors.Get(r, flavorID)
	switch {
	case !ok:
		return nil, fault.Missing("Flavor", flavorID)
	case !f.Enabled:
		return nil, fault.New(fault.Unavailable, "FlavorDisabled", "Flavor is not enabled.")
	case len(f.ServiceProfileIDs) == 0:
		return nil, Unassociated("", flavorID)
	}
	profile, ok := state.ServiceProfiles.Get(r, f.ServiceProfileIDs[0])
	if !ok {
		return nil, Unassociated(f.ServiceProfileIDs[0], flavorID)
	}
	if !profile.Enabled {
		return nil, fault.New(fault.Unavailable, "ServiceProfileDisabled", "Service Profile is not enabled.")
	}
	return provider(profile.Driver)
}

func provider(driver string) (*model.ServiceProvider, error) {
	for _, p := range Providers() {
		if p.Driver == driver {
			return p, nil
		}
	}
	return nil, fault.New(fault.NotFound, "ServiceProfileDriverNotFound",
		"Service Profile driver %s could not be found.", driver)
}

// Unassociated is the fault (404) of a service profile that the flavor has not.
func Unassociated(profileID, flavorID string) error {
	return fault.New(fault.NotFound, "FlavorServiceProfileBindingNotFound",
		"Service Profile %s is not associated with flavor %s.", profileID, flavorID)
}

// Flavors are the rules of flavors.
type Flavors struct {
	// InUse says whether something is of the flavor, for instance a router; nil: nothing ever is.
	InUse func(r state.Reader, flavorID string) bool
}

// Create stores the flavor. It belongs to no project.
func (Flavors) Create(tx *state.Tx, _ *auth.Caller, f *model.Flavor, _ schema.Given) error {
	f.ProjectID = ""
	if err := profilesExist(tx, f); err != nil {
		return err
	}
	state.Flavors.Put(tx, f)
	return nil
}

// Update stores the flavor.
func (Flavors) Update(tx *state.Tx, _ *auth.Caller, _, f *model.Flavor, _ schema.Given) error {
	if err := profilesExist(tx, f); err != nil {
		return err
	}
	state.Flavors.Put(tx, f)
	return nil
}

// Delete deletes the flavor, unless something is of it: the fault is FlavorInUse (409).
func (s Flavors) Delete(tx *state.Tx, _ *auth.Caller, f *model.Flavor) error {
	if s.InUse != nil && s.InUse(tx, f.ID) {
		return fault.New(fault.Conflict, "FlavorInUse", "Flavor %s is used by some service instance.", f.ID)
	}
	state.Flavors.Delete(tx, f.ID)
	return nil
}

func profilesExist(r state.Reader, f *model.Flavor) error {
	for _, id := range f.ServiceProfileIDs {
		if _, ok := state.ServiceProfiles.Get(r, id); !ok {
			return missingProfile(id)
		}
	}
	return nil
}

func missingProfile(id string) error {
	return fault.New(fault.NotFound, "ServiceProfileNotFound", "Service Profile %s could not be found.", id)
}

// maxProfiles is the most service profiles that a flavor may have.
const maxProfiles = 64

// Associate gives the flavor a service profile: FlavorServiceProfileBindingExists (409) where it has it.
func Associate(tx *state.Tx, f *model.Flavor, profileID string) error {
	if _, ok := state.ServiceProfiles.Get(tx, profileID); !ok {
		return missingProfile(profileID)
	}
	if slices.Contains(f.ServiceProfileIDs, profileID) {
		return fault.New(fault.Conflict, "FlavorServiceProfileBindingExists",
			"Service Profile %s is already associated with flavor %s.", profileID, f.ID)
	}
	if len(f.ServiceProfileIDs) >= maxProfiles {
		return fault.Operation("A flavor has at most %d service profiles", maxProfiles)
	}
	f = f.Clone()
	f.ServiceProfileIDs = append(f.ServiceProfileIDs, profileID)
	state.Flavors.Put(tx, f)
	return nil
}

// Dissociate takes a service profile from the flavor: FlavorServiceProfileBindingNotFound (404) where it has it not.
func Dissociate(tx *state.Tx, f *model.Flavor, profileID string) error {
	i := slices.Index(f.ServiceProfileIDs, profileID)
	if i < 0 {
		return Unassociated(profileID, f.ID)
	}
	f = f.Clone()
	f.ServiceProfileIDs = slices.Delete(f.ServiceProfileIDs, i, i+1)
	state.Flavors.Put(tx, f)
	return nil
}

// Profiles are the rules of service profiles. The zero value is ready.
type Profiles struct{}

// Create stores the profile, which names a driver or has something to tell it. It belongs to no project.
func (Profiles) Create(tx *state.Tx, _ *auth.Caller, s *model.ServiceProfile, _ schema.Given) error {
	s.ProjectID = ""
	if s.Driver == "" && s.Metainfo == "" {
		return fault.New(fault.Invalid, "ServiceProfileEmpty", "Service Profile needs either a driver or metainfo.")
	}
	if err := checkDriver(s); err != nil {
		return err
	}
	state.ServiceProfiles.Put(tx, s)
	return nil
}

// Update stores the profile, unless a flavor has it: the fault is ServiceProfileInUse (409).
func (Profiles) Update(tx *state.Tx, _ *auth.Caller, _, s *model.ServiceProfile, _ schema.Given) error {
	if err := checkDriver(s); err != nil {
		return err
	}
	if err := unused(tx, s); err != nil {
		return err
	}
	state.ServiceProfiles.Put(tx, s)
	return nil
}

// Delete deletes the profile, unless a flavor has it: the fault is ServiceProfileInUse (409).
func (Profiles) Delete(tx *state.Tx, _ *auth.Caller, s *model.ServiceProfile) error {
	if err := unused(tx, s); err != nil {
		return err
	}
	state.ServiceProfiles.Delete(tx, s.ID)
	return nil
}

func checkDriver(s *model.ServiceProfile) error {
	if s.Driver == "" {
		return nil
	}
	_, err := provider(s.Driver)
	return err
}

func unused(r state.Reader, s *model.ServiceProfile) error {
	if state.FlavorsByProfile.Has(r, s.ID) {
		return fault.New(fault.Conflict, "ServiceProfileInUse",
			"Service Profile %s is used by some service instance.", s.ID)
	}
	return nil
}
