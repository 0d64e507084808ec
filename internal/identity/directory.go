package identity

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/fault"
)

// The roles that the default policy rules speak of. Each of the first four implies the next.
const (
	roleAdmin   = "admin"
	roleManager = "manager"
	roleMember  = "member"
	roleReader  = "reader"
	roleService = "service"
)

// hierarchy is the chain of implied roles, strongest first.
var hierarchy = [...]string{roleAdmin, roleManager, roleMember, roleReader}

// maxEntries bounds each kind of thing in the directory, since each change writes all of it.
const maxEntries = 10_000

// domain, project, role, user, group and credential are the entries of the directory. Entries are immutable: a change
// replaces them.
type (
	domain struct {
		ID          string `yaml:"id"`
		Name        string `yaml:"name"`
		Description string `yaml:"description,omitempty"`
		Disabled    bool   `yaml:"disabled,omitempty"`
	}
	project struct {
		ID          string `yaml:"id"`
		Name        string `yaml:"name"`
		DomainID    string `yaml:"domain_id"`
		Description string `yaml:"description,omitempty"`
		Disabled    bool   `yaml:"disabled,omitempty"`
		// Tags are sorted.
		Tags []string `yaml:"tags,omitempty"`
	}
	role struct {
		ID          string `yaml:"id"`
		Name        string `yaml:"name"`
		Description string `yaml:"description,omitempty"`
	}
	user struct {
		ID               string `yaml:"id"`
		Name             string `yaml:"name"`
		DomainID         string `yaml:"domain_id"`
		DefaultProjectID string `yaml:"default_project_id,omitempty"`
		Email            string `yaml:"email,omitempty"`
		Description      string `yaml:"description,omitempty"`
		Disabled         bool   `yaml:"disabled,omitempty"`
		// PasswordHash is a bcrypt hash; with none the user cannot log in.
		PasswordHash string `yaml:"password_hash,omitempty"`
		// TokensSince voids the tokens issued earlier. A new password moves it.
		TokensSince time.Time `yaml:"tokens_since,omitempty"`
		// Revoked are single tokens that were given back before they expired.
		Revoked []revocation `yaml:"revoked,omitempty"`
	}
	// group is a set of users; each of them has the roles that the group has.
	group struct {
		ID          string `yaml:"id"`
		Name        string `yaml:"name"`
		DomainID    string `yaml:"domain_id"`
		Description string `yaml:"description,omitempty"`
		// Members are ids of users, sorted.
		Members []string `yaml:"members,omitempty"`
	}
	// credential is an application credential: a secret by which a program acts for a user in one project, with some of
	// the user's roles there. It outlives a change of the user's password.
	credential struct {
		ID          string `yaml:"id"`
		Name        string `yaml:"name"` // unique for the user
		UserID      string `yaml:"user_id"`
		ProjectID   string `yaml:"project_id"`
		Description string `yaml:"description,omitempty"`
		SecretHash  string `yaml:"secret_hash"`
		// RoleIDs are the roles that the program has. When the user loses one of them, the credential is deleted.
		RoleIDs []string `yaml:"role_ids"`
		// Expires is when it ends; zero: never.
		Expires time.Time `yaml:"expires,omitempty"`
		// Unrestricted says that the program may make and delete application credentials itself.
		Unrestricted bool `yaml:"unrestricted,omitempty"`
	}
	// revocation voids one token.
	revocation struct {
		AuditID string    `yaml:"audit_id"`
		Issued  time.Time `yaml:"issued"`
		Expires time.Time `yaml:"expires"`
	}
)

// scope is what a token or a grant is for. It has a kind and, for projects and domains, an id.
type scope struct {
	Kind scopeKind `yaml:"kind"`
	ID   string    `yaml:"id,omitempty"`
}

type scopeKind string

const (
	unscoped      scopeKind = ""
	projectScope  scopeKind = "project"
	domainScope   scopeKind = "domain"
	systemScope   scopeKind = "system"
	systemScopeID           = "all"
)

// grant gives a user or a group, of which the other is empty, a role in a scope.
type grant struct {
	UserID  string `yaml:"user_id,omitempty"`
	GroupID string `yaml:"group_id,omitempty"`
	RoleID  string `yaml:"role_id"`
	Scope   scope  `yaml:"scope"`
}

// name is a name within its domain. Roles and domains have no domain.
type name struct{ domainID, name string }

// directory is everybody and everything that identity knows. It is immutable once it is published.
type directory struct {
	domains  map[string]*domain
	projects map[string]*project
	users    map[string]*user
	groups   map[string]*group
	roles    map[string]*role
	grants   map[grant]bool
	// credentials are the application credentials.
	credentials map[string]*credential

	// Indexes, made by index.
	domainNames, projectNames, userNames, groupNames, roleNames map[name]string
	// credentialNames has the id of the user where the others have that of the domain.
	credentialNames map[name]string
	// userGrants are the grants that count for a user: the own ones, and those of the user's groups.
	userGrants map[string][]grant
}

// newDirectory returns an empty directory.
func newDirectory() *directory {
	return &directory{
		domains:     map[string]*domain{},
		projects:    map[string]*project{},
		users:       map[string]*user{},
		groups:      map[string]*group{},
		roles:       map[string]*role{},
		grants:      map[grant]bool{},
		credentials: map[string]*credential{},
	}
}

// clone returns a copy that may be changed, and then needs index. Until then its indexes are those of before.
func (d *directory) clone() *directory {
	c := *d
	c.domains, c.projects = maps.Clone(d.domains), maps.Clone(d.projects)
	c.users, c.groups, c.credentials = maps.Clone(d.users), maps.Clone(d.groups), maps.Clone(d.credentials)
	c.roles, c.grants = maps.Clone(d.roles), maps.Clone(d.grants)
	return &c
}

// index makes the indexes. It drops grants, memberships, application credentials and default projects whose other end is
// gone, and fails where two have the same name or a domain does not exist.
func (d *directory) index() error {
	if err := d.indexPlaces(); err != nil {
		return err
	}
	if err := d.indexUsers(); err != nil {
		return err
	}
	if err := d.indexGroups(); err != nil {
		return err
	}
	d.indexGrants()
	return d.indexCredentials()
}

// indexPlaces indexes domains, projects and roles.
func (d *directory) indexPlaces() error {
	d.domainNames, d.projectNames, d.roleNames = map[name]string{}, map[name]string{}, map[name]string{}
	for _, x := range d.domains {
		if err := claim(d.domainNames, "domain", name{"", x.Name}, x.ID); err != nil {
			return err
		}
	}
	for _, x := range d.projects {
		if d.domains[x.DomainID] == nil {
			return missing("domain", x.DomainID)
		}
		if err := claim(d.projectNames, "project", name{x.DomainID, x.Name}, x.ID); err != nil {
			return err
		}
	}
	for _, x := range d.roles {
		// The policy rules compare roles without regard to case.
		if err := claim(d.roleNames, "role", name{"", strings.ToLower(x.Name)}, x.ID); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) indexUsers() error {
	d.userNames = map[name]string{}
	for _, x := range d.users {
		if d.domains[x.DomainID] == nil {
			return missing("domain", x.DomainID)
		}
		if err := claim(d.userNames, "user", name{x.DomainID, x.Name}, x.ID); err != nil {
			return err
		}
		if x.DefaultProjectID != "" && d.projects[x.DefaultProjectID] == nil {
			homeless := *x
			homeless.DefaultProjectID = ""
			d.users[x.ID] = &homeless
		}
	}
	return nil
}

func (d *directory) indexGroups() error {
	d.groupNames = map[name]string{}
	for _, x := range d.groups {
		if d.domains[x.DomainID] == nil {
			return missing("domain", x.DomainID)
		}
		if err := claim(d.groupNames, "group", name{x.DomainID, x.Name}, x.ID); err != nil {
			return err
		}
		gone := func(id string) bool { return d.users[id] == nil }
		if slices.ContainsFunc(x.Members, gone) {
			smaller := *x
			smaller.Members = slices.DeleteFunc(slices.Clone(x.Members), gone)
			d.groups[x.ID] = &smaller
		}
	}
	return nil
}

func (d *directory) indexGrants() {
	d.userGrants = map[string][]grant{}
	for g := range d.grants {
		u, team := d.users[g.UserID], d.groups[g.GroupID]
		if (u == nil) == (team == nil) || d.roles[g.RoleID] == nil || !d.exists(g.Scope) {
			delete(d.grants, g)
			continue
		}
		holders := []string{g.UserID}
		if team != nil {
			holders = team.Members
		}
		for _, id := range holders {
			d.userGrants[id] = append(d.userGrants[id], g)
		}
	}
}

// indexCredentials drops the application credentials that promise more than their users still have, for good: they do
// not come back to life with the role.
func (d *directory) indexCredentials() error {
	d.credentialNames = map[name]string{}
	for _, x := range d.credentials {
		held := d.rolesOf(x.UserID, scope{projectScope, x.ProjectID})
		lost := func(id string) bool { return !slices.ContainsFunc(held, func(r *role) bool { return r.ID == id }) }
		if len(x.RoleIDs) == 0 || slices.ContainsFunc(x.RoleIDs, lost) {
			delete(d.credentials, x.ID)
			continue
		}
		if err := claim(d.credentialNames, "application credential", name{x.UserID, x.Name}, x.ID); err != nil {
			return err
		}
	}
	return nil
}

// claim enters the name into the index unless somebody has it.
func claim(names map[name]string, kind string, n name, id string) error {
	if other, taken := names[n]; taken && other != id {
		return fault.New(fault.Conflict, "Conflict", "There is already a %s with the name %q.", kind, n.name)
	}
	names[n] = id
	return nil
}

func (d *directory) exists(s scope) bool {
	switch s.Kind {
	case projectScope:
		return d.projects[s.ID] != nil
	case domainScope:
		return d.domains[s.ID] != nil
	}
	return s.Kind == systemScope && s.ID == systemScopeID
}

// enabled says whether the scope exists and neither it nor its domain is switched off.
func (d *directory) enabled(s scope) bool {
	switch s.Kind {
	case projectScope:
		p := d.projects[s.ID]
		return p != nil && !p.Disabled && d.enabled(scope{domainScope, p.DomainID})
	case domainScope:
		x := d.domains[s.ID]
		return x != nil && !x.Disabled
	}
	return s.Kind == systemScope && s.ID == systemScopeID
}

// userEnabled says whether the user exists and neither the account nor its domain is switched off.
func (d *directory) userEnabled(id string) bool {
	u := d.users[id]
	return u != nil && !u.Disabled && d.enabled(scope{domainScope, u.DomainID})
}

// rolesOf returns the roles that the user has in the scope, with the implied ones, strongest first.
func (d *directory) rolesOf(userID string, s scope) []*role {
	var ids []string
	for _, g := range d.userGrants[userID] {
		if g.Scope == s {
			ids = append(ids, g.RoleID)
		}
	}
	return d.expand(ids)
}

// expand returns the roles with the ids, and the implied ones, each once, strongest first.
func (d *directory) expand(ids []string) []*role {
	var roles []*role
	strongest := len(hierarchy)
	for _, id := range ids {
		r := d.roles[id]
		if at := slices.Index(hierarchy[:], strings.ToLower(r.Name)); at >= 0 {
			strongest = min(strongest, at)
		} else if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	slices.SortFunc(roles, func(a, b *role) int { return strings.Compare(a.Name, b.Name) })
	var chain []*role
	for _, name := range d.impliedFrom(strongest) {
		chain = append(chain, d.roles[name])
	}
	return append(chain, roles...)
}

// impliedFrom returns the ids of the roles of the hierarchy from the position on, as far as they exist.
func (d *directory) impliedFrom(position int) []string {
	var ids []string
	for _, roleName := range hierarchy[position:] {
		if id, ok := d.roleNames[name{"", roleName}]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// homes returns the projects (or domains) in which the user has a role and could use it.
func (d *directory) homes(userID string, kind scopeKind) []string {
	var ids []string
	for _, g := range d.userGrants[userID] {
		if g.Scope.Kind == kind && d.enabled(g.Scope) {
			ids = append(ids, g.Scope.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
