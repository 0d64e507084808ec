package identity

import (
	"net/http"
	"slices"
	"strings"
)

func (e *Embedded) roleRoutes() []route {
	return []route{
		{"GET /v3/roles", withToken, e.listRoles},
		{"POST /v3/roles", adminOnly, e.createRole},
		{"GET /v3/roles/{role}", withToken, e.showRole},
		{"DELETE /v3/roles/{role}", adminOnly, e.deleteRole},
		{"GET /v3/role_assignments", withToken, e.listAssignments},
	}
}

func (e *Embedded) grantRoutes() []route {
	var routes []route
	for _, where := range [...]string{"/v3/projects/{project}", "/v3/domains/{domain}", "/v3/system"} {
		roles := where + "/users/{user}/roles"
		routes = append(routes,
			route{"GET " + roles, adminOnly, e.listGrants},
			route{"GET " + roles + "/{role}", adminOnly, e.checkGrant}, // HEAD too
			route{"PUT " + roles + "/{role}", adminOnly, e.putGrant},
			route{"DELETE " + roles + "/{role}", adminOnly, e.deleteGrant})
	}
	return routes
}

func (e *Embedded) roleView(x *role) object {
	return object{"id": x.ID, "name": x.Name, "domain_id": nil, "description": x.Description, "options": object{},
		"links": e.links("roles", x.ID)}
}

func (e *Embedded) listRoles(w http.ResponseWriter, r *request) error {
	roles := sorted(r.session.directory.roles, func(x *role) string { return x.Name })
	roles = filter(r, roles, map[string]func(*role) string{"name": func(x *role) string { return x.Name }})
	return replyList(e, w, r, "roles", roles, e.roleView)
}

func (e *Embedded) showRole(w http.ResponseWriter, r *request) error {
	x := r.session.directory.roles[r.PathValue("role")]
	if x == nil {
		return missing("role", r.PathValue("role"))
	}
	return reply(w, http.StatusOK, object{"role": e.roleView(x)})
}

func (e *Embedded) createRole(w http.ResponseWriter, r *request) error {
	var body struct {
		Role struct {
			Name        string           `json:"name"`
			Description optional[string] `json:"description"`
		} `json:"role"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	x := &role{ID: newID(), Name: body.Role.Name, Description: body.Role.Description.value}
	if err := checkName(x.Name, maxRoleName); err != nil {
		return err
	}
	if err := checkText("description", x.Description, maxDescription); err != nil {
		return err
	}
	err := e.update(func(d *directory) error {
		d.roles[x.ID] = x
		return checkRoom("role", len(d.roles)-1)
	})
	if err != nil {
		return err
	}
	e.log.Info("role created", "id", x.ID, "by", r.session.userID)
	return reply(w, http.StatusCreated, object{"role": e.roleView(x)})
}

func (e *Embedded) deleteRole(w http.ResponseWriter, r *request) error {
	id := r.PathValue("role")
	err := e.update(func(d *directory) error {
		x := d.roles[id]
		if x == nil {
			return missing("role", id)
		}
		if x.Name == roleService || slices.Contains(hierarchy[:], x.Name) {
			return errForbidden // the default rules of policy speak of it
		}
		delete(d.roles, id)
		return nil
	})
	if err != nil {
		return err
	}
	e.log.Info("role deleted", "id", id, "by", r.session.userID)
	return reply(w, http.StatusNoContent, nil)
}

// scope returns the scope in the path of a grant.
func (r *request) scope() scope {
	if id := r.PathValue("project"); id != "" {
		return scope{projectScope, id}
	}
	if id := r.PathValue("domain"); id != "" {
		return scope{domainScope, id}
	}
	return scope{systemScope, systemScopeID}
}

// wantGrant returns the grant in the path, whose ends exist; the role is checked only where the path has one.
func (r *request) wantGrant(d *directory) (grant, error) {
	g := grant{UserID: r.PathValue("user"), RoleID: r.PathValue("role"), Scope: r.scope()}
	if !d.exists(g.Scope) {
		return g, missing(string(g.Scope.Kind), g.Scope.ID)
	}
	if d.users[g.UserID] == nil {
		return g, missing("user", g.UserID)
	}
	if g.RoleID != "" && d.roles[g.RoleID] == nil {
		return g, missing("role", g.RoleID)
	}
	return g, nil
}

func (e *Embedded) listGrants(w http.ResponseWriter, r *request) error {
	d := r.session.directory
	wanted, err := r.wantGrant(d)
	if err != nil {
		return err
	}
	var roles []*role
	for _, g := range d.userGrants[wanted.UserID] {
		if g.Scope == wanted.Scope {
			roles = append(roles, d.roles[g.RoleID])
		}
	}
	slices.SortFunc(roles, func(a, b *role) int { return strings.Compare(a.Name, b.Name) })
	return replyList(e, w, r, "roles", roles, e.roleView)
}

func (e *Embedded) checkGrant(w http.ResponseWriter, r *request) error {
	g, err := r.wantGrant(r.session.directory)
	if err != nil {
		return err
	}
	if !r.session.directory.grants[g] {
		return missing("role assignment of role", g.RoleID)
	}
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) putGrant(w http.ResponseWriter, r *request) error {
	var g grant
	err := e.update(func(d *directory) (err error) {
		if g, err = r.wantGrant(d); err != nil {
			return err
		}
		d.grants[g] = true
		return checkRoom("role assignment", len(d.grants)-1)
	})
	if err != nil {
		return err
	}
	e.logGrant("role granted", g, r)
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) deleteGrant(w http.ResponseWriter, r *request) error {
	var g grant
	err := e.update(func(d *directory) (err error) {
		if g, err = r.wantGrant(d); err != nil {
			return err
		}
		if !d.grants[g] {
			return missing("role assignment of role", g.RoleID)
		}
		delete(d.grants, g)
		return nil
	})
	if err != nil {
		return err
	}
	e.logGrant("role revoked", g, r)
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) logGrant(what string, g grant, r *request) {
	e.log.Info(what, "user", g.UserID, "role", g.RoleID, "scope", g.Scope.Kind, "in", g.Scope.ID, "by", r.session.userID)
}

// listAssignments lists who has which role where. With "effective" the implied roles are in it. Whoever is not an
// administrator may ask for the own ones.
func (e *Embedded) listAssignments(w http.ResponseWriter, r *request) error {
	query := r.URL.Query()
	if !r.session.has(roleAdmin) && query.Get("user.id") != r.session.userID {
		return errForbidden
	}
	d := r.session.directory
	all := d.assignments(query.Has("effective"))
	all = filter(r, all, map[string]func(grant) string{
		"user.id": func(g grant) string { return g.UserID },
		"role.id": func(g grant) string { return g.RoleID },
		"scope.project.id": func(g grant) string {
			if g.Scope.Kind == projectScope {
				return g.Scope.ID
			}
			return ""
		},
		"scope.domain.id": func(g grant) string {
			if g.Scope.Kind == domainScope {
				return g.Scope.ID
			}
			return ""
		},
		"scope.system": func(g grant) string {
			if g.Scope.Kind == systemScope {
				return query.Get("scope.system") // any value means the system
			}
			return "-" + query.Get("scope.system")
		},
		"group.id": func(grant) string { return "-" + query.Get("group.id") }, // there are no groups
	})
	withNames := query.Has("include_names")
	return replyList(e, w, r, "role_assignments", all, func(g grant) object { return e.assignmentView(d, g, withNames) })
}

// assignments returns all grants in a stable order, with the implied ones if effective.
func (d *directory) assignments(effective bool) []grant {
	set := map[grant]bool{}
	for g := range d.grants {
		set[g] = true
		if effective {
			for _, x := range d.rolesOf(g.UserID, g.Scope) {
				set[grant{g.UserID, x.ID, g.Scope}] = true
			}
		}
	}
	all := make([]grant, 0, len(set))
	for g := range set {
		all = append(all, g)
	}
	slices.SortFunc(all, compareGrants)
	return all
}

func (e *Embedded) assignmentView(d *directory, g grant, withNames bool) object {
	roleRef, userRef := object{"id": g.RoleID}, object{"id": g.UserID}
	place := object{"id": g.Scope.ID}
	where := "/" + string(g.Scope.Kind) + "s/" + g.Scope.ID
	if withNames {
		u := d.users[g.UserID]
		roleRef["name"] = d.roles[g.RoleID].Name
		userRef["name"], userRef["domain"] = u.Name, d.domainView(u.DomainID)
		switch g.Scope.Kind {
		case projectScope:
			p := d.projects[g.Scope.ID]
			place["name"], place["domain"] = p.Name, d.domainView(p.DomainID)
		case domainScope:
			place["name"] = d.domains[g.Scope.ID].Name
		}
	}
	if g.Scope.Kind == systemScope {
		place, where = object{"all": true}, "/system"
	}
	return object{"role": roleRef, "user": userRef, "scope": object{string(g.Scope.Kind): place},
		"links": object{"assignment": e.url + where + "/users/" + g.UserID + "/roles/" + g.RoleID}}
}
