// Package quota bounds how many objects of each kind a project may have.
//
// A kind is bound when its collection says so (schema.Resource.Quota); the collection then gives the Service a way to
// ask how many a project has (Track), and asks it in the transaction that makes another one (Take). Usage is counted by
// the state as objects come and go, so that it is exact, and asking costs two look-ups. Transactions run one after the
// other: of many clients that want the last free place, one gets it.
//
// A limit is what the operator has set for the project (a model.Quota), else the default of the kind; -1 is no limit.
package quota

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Unlimited is the limit that is none.
const Unlimited = -1

// maxLimit is the largest limit that can be set, as in Neutron.
const maxLimit = 1<<31 - 1

// defaults are Neutron's own. Kinds that are not in it are not limited.
var defaults = map[string]int{
	"network": 100, "subnet": 100, "port": 500,
	"router": 10, "floatingip": 50,
	"security_group": 10, "security_group_rule": 100,
	"rbac_policy":    10,
	"firewall_group": 10, "firewall_policy": 10, "firewall_rule": 100,
}

// Service knows the limits. Track is called while the API is being made, everything else when it is in use.
type Service struct {
	defaults map[string]int
	used     map[string]func(r state.Reader, projectID string) int
}

// New returns a Service with Neutron's defaults, but those in changed.
func New(changed map[string]int) *Service {
	s := &Service{defaults: maps.Clone(defaults), used: map[string]func(state.Reader, string) int{}}
	maps.Copy(s.defaults, changed)
	return s
}

// ParseDefaults reads limits as they stand on a command line: port=1000.
func ParseDefaults(texts []string) (map[string]int, error) {
	limits := make(map[string]int, len(texts))
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		n, err := strconv.Atoi(value)
		if !ok || err != nil || n < Unlimited || n > maxLimit {
			return nil, fmt.Errorf("%q is not a kind and a limit, as in port=1000 (-1: no limit)", text)
		}
		limits[name] = n
	}
	return limits, nil
}

// Track implements rest.Quotas. Several collections may bear the same name; their objects count together.
func (s *Service) Track(name string, used func(r state.Reader, projectID string) int) {
	if before := s.used[name]; before != nil {
		s.used[name] = func(r state.Reader, projectID string) int { return before(r, projectID) + used(r, projectID) }
		return
	}
	s.used[name] = used
}

// Unknown returns the kinds that have a changed default and are not tracked: most likely they are misspelt.
func (s *Service) Unknown() (names []string) {
	for name := range s.defaults {
		if _, standard := defaults[name]; s.used[name] == nil && !standard {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Take implements rest.Quotas: the fault is OverQuota (409). What belongs to no project is not bound.
func (s *Service) Take(tx *state.Tx, projectID, name string, n int) error {
	used := s.used[name]
	if used == nil || projectID == "" {
		return nil
	}
	limit := s.limit(tx, projectID, name)
	if limit < 0 || used(tx, projectID)+n <= limit {
		return nil
	}
	return fault.New(fault.OverQuota, "OverQuota", "Quota exceeded for resources: ['%s'].", name)
}

func (s *Service) limit(r state.Reader, projectID, name string) int {
	if q, ok := state.Quotas.Get(r, projectID); ok {
		if limit, ok := q.Limits[name]; ok {
			return limit
		}
	}
	return s.byDefault(name)
}

func (s *Service) byDefault(name string) int {
	if limit, ok := s.defaults[name]; ok {
		return limit
	}
	return Unlimited
}

// Defaults are the limits of projects for which the operator has set nothing.
func (s *Service) Defaults() map[string]int {
	limits := make(map[string]int, len(s.used))
	for name := range s.used {
		limits[name] = s.byDefault(name)
	}
	return limits
}

// Limits are those of the project.
func (s *Service) Limits(r state.Reader, projectID string) map[string]int {
	limits := s.Defaults()
	if q, ok := state.Quotas.Get(r, projectID); ok {
		for name, limit := range q.Limits {
			if s.used[name] != nil {
				limits[name] = limit
			}
		}
	}
	return limits
}

// Usage is what a project has of a kind, and may have.
type Usage struct {
	Limit    int `json:"limit"`
	Used     int `json:"used"`
	Reserved int `json:"reserved"` // always 0: nothing is reserved ahead of its transaction
}

// Details are limits and usage of the project.
func (s *Service) Details(r state.Reader, projectID string) map[string]Usage {
	details := map[string]Usage{}
	for name, limit := range s.Limits(r, projectID) {
		details[name] = Usage{Limit: limit, Used: s.used[name](r, projectID)}
	}
	return details
}

// Set sets limits of the project. raw has the values as the client gave them. When check is true, a limit below what the
// project has already is refused.
func (s *Service) Set(tx *state.Tx, projectID string, raw map[string]any, check bool) error {
	if err := checkProject(projectID); err != nil {
		return err
	}
	limits, err := s.parse(raw)
	if err != nil {
		return err
	}
	if check {
		for _, name := range slices.Sorted(maps.Keys(limits)) {
			if used := s.used[name](tx, projectID); limits[name] >= 0 && used > limits[name] {
				return fault.New(fault.Invalid, "HTTPBadRequest", "Quota limit %d for %s must be greater than or equal to "+
					"already used %d", limits[name], name, used)
			}
		}
	}
	q := &model.Quota{Meta: model.Meta{ID: projectID, ProjectID: projectID}, Limits: map[string]int{}}
	if old, ok := state.Quotas.Get(tx, projectID); ok {
		q = old.Clone()
	}
	maps.Copy(q.Limits, limits)
	if len(limits) > 0 {
		state.Quotas.Put(tx, q)
	}
	return nil
}

// parse validates limits: numbers, or texts of numbers, from -1.
func (s *Service) parse(raw map[string]any) (map[string]int, error) {
	limits := make(map[string]int, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if s.used[name] == nil {
			return nil, fault.New(fault.Invalid, "HTTPBadRequest", "Unrecognized attribute(s) '%s'", clip(name))
		}
		n, err := strconv.Atoi(fmt.Sprint(raw[name]))
		if err != nil {
			return nil, fault.Input(name, "'%s' is not an integer", clip(fmt.Sprint(raw[name])))
		}
		if n < Unlimited || n > maxLimit {
			return nil, fault.Input(name, "'%d' is not in the range %d to %d", n, Unlimited, maxLimit)
		}
		limits[name] = n
	}
	return limits, nil
}

// Reset gives the project the defaults again. The fault is TenantQuotaNotFound (404) when it has them.
func (s *Service) Reset(tx *state.Tx, projectID string) error {
	if !state.Quotas.Delete(tx, projectID) {
		return fault.New(fault.NotFound, "TenantQuotaNotFound", "Quota for tenant %s could not be found.", clip(projectID))
	}
	return nil
}

// checkProject refuses what cannot be the id of a project.
func checkProject(id string) error {
	valid := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if id == "" || len(id) > 64 || strings.IndexFunc(id, func(r rune) bool { return !valid(r) }) >= 0 {
		return fault.Input("project_id", "'%s' is not the id of a project", clip(id))
	}
	return nil
}

// clip shortens what a client sent before it is repeated in an error.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
