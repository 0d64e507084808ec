package identity

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
)

func (e *Embedded) roleRoutes() []route {
	return []route{
		{"GET /v3/roles", withToken, e.listRoles},
		{"POST /v3/roles", adminOnly, e.createRole},
		{"GET /v3/roles/{role}", withToken, e.showRole},
		{"PATCH /v3/roles/{role}", adminOnly, e.updateRole},
		{"DELETE /v3/roles/{role}", adminOnly, e.deleteRole},
		{"GET /v3/roles/{role}/implies", adminOnly, e.listImplied},
		{"GET /v3/roles/{role}/implies/{implied}", adminOnly, e.checkImplied}, // HEAD too
		{"GET /v3/role_inferences", adminOnly, e.listInferences},
		{"GET /v3/role_assignments", withToken, e.listAssignments},
	}
}

func (e *Embedded) grantRoutes() []route {
	var routes []route
	for _, where := range [...]string{"/v3/projects/{project}", "/v3/domains/{domain}", "/v3/system"} {
		for _, who := range [...]string{"/users/{user}", "/groups/{group}"} {
			roles := where + who + "/roles"
			routes = append(routes,
				route{"GET " + roles, adminOnly, e.listGrants},
				route{"GET " + roles + "/{role}", adminOnly, e.checkGrant}, // HEAD too
				route{"PUT " + roles + "/{role}", adminOnly, e.putGrant},
				route{"DELETE " + roles + "/{role}", adminOnly, e.deleteGrant})
		}
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

// roleInput is what a client may say of a role.
type roleInput struct {
	Name        optional[string] `json:"name"`
	DomainID    optional[string] `json:"domain_id"`
	Description optional[string] `json:"description"`
}

func (in *roleInput) apply(x *role) error {
	if in.DomainID.value != "" {
		return fault.Input("domain_id", "roles of a domain are not supported")
	}
	if in.Name.or(x.Name) != x.Name && x.builtIn() {
		return errForbidden
	}
	x.Name = in.Name.or(x.Name)
	x.Description = in.Description.or(x.Description)
	if err := checkName(x.Name, maxRoleName); err != nil {
		return err
	}
	return checkText("description", x.Description, maxDescription)
}

// builtIn says whether the default rules of policy speak of the role, which therefore stays as it is.
func (x *role) builtIn() bool {
	return x.Name == roleService || slices.Contains(hierarchy[:], x.Name)
}

func (e *Embedded) createRole(w http.ResponseWriter, r *request) error {
	var body struct {
		Role roleInput `json:"role"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	x := &role{ID: newID()}
	if err := body.Role.apply(x); err != nil {
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

func (e *Embedded) updateRole(w http.ResponseWriter, r *request) error {
	var body struct {
		Role roleInput `json:"role"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	id := r.PathValue("role")
	var x role
	err := e.update(func(d *directory) error {
		old := d.roles[id]
		if old == nil {
			return missing("role", id)
		}
		x = *old
		d.roles[id] = &x
		return body.Role.apply(&x)
	})
	if err != nil {
		return err
	}
	e.log.Info("role changed", "id", id, "by", r.session.userID)
	return reply(w, http.StatusOK, object{"role": e.roleView(&x)})
}

func (e *Embedded) deleteRole(w http.ResponseWriter, r *request) error {
	id := r.PathValue("role")
	err := e.update(func(d *directory) error {
		x := d.roles[id]
		if x == nil {
			return missing("role", id)
		}
		if x.builtIn() {
			return errForbidden
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
	g := grant{UserID: r.PathValue("user"), GroupID: r.PathValue("group"), RoleID: r.PathValue("role"), Scope: r.scope()}
	if !d.exists(g.Scope) {
		return g, missing(string(g.Scope.Kind), g.Scope.ID)
	}
	if g.GroupID != "" && d.groups[g.GroupID] == nil {
		return g, missing("group", g.GroupID)
	}
	if g.GroupID == "" && d.users[g.UserID] == nil {
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
	for g := range d.grants {
		if wanted.RoleID = g.RoleID; g == wanted {
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
	e.log.Info("role granted", g.facts(r)...)
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
	e.log.Info("role revoked", g.facts(r)...)
	return reply(w, http.StatusNoContent, nil)
}

// facts are what the log says of a grant that a request changes.
func (g grant) facts(r *request) []any {
	return []any{
		"user", g.UserID, "group", g.GroupID, "role", g.RoleID, "scope", g.Scope.Kind, "in", g.Scope.ID,
		"by", r.session.userID,
	}
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
		"group.id": func(g grant) string { return g.GroupID },
	})
	withNames := query.Has("include_names")
	return replyList(e, w, r, "role_assignments", all, func(g grant) object { return e.assignmentView(d, g, withNames) })
}

// assignments returns all grants in a stable order. If effective, they are what users can do: with the implied roles,
// and the grants of groups as those of their members.
func (d *directory) assignments(effective bool) []grant {
	if !effective {
		return slices.SortedFunc(maps.Keys(d.grants), compareGrants)
	}
	set := map[grant]bool{}
	for userID, grants := range d.userGrants {
		for _, g := range grants {
			for _, x := range d.rolesOf(userID, g.Scope) {
				set[grant{UserID: userID, RoleID: x.ID, Scope: g.Scope}] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(set), compareGrants)
}

func (e *Embedded) assignmentView(d *directory, g grant, withNames bool) object {
	kind, holder := "user", object{"id": g.UserID}
	if g.GroupID != "" {
		kind, holder = "group", object{"id": g.GroupID}
	}
	roleRef, place := object{"id": g.RoleID}, object{"id": g.Scope.ID}
	where := "/" + string(g.Scope.Kind) + "s/" + g.Scope.ID
	if withNames {
		roleRef["name"] = d.roles[g.RoleID].Name
		if x := d.groups[g.GroupID]; x != nil {
			holder["name"], holder["domain"] = x.Name, d.domainView(x.DomainID)
		} else {
			u := d.users[g.UserID]
			holder["name"], holder["domain"] = u.Name, d.domainView(u.DomainID)
		}
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
	where += "/" + kind + "s/" + g.UserID + g.GroupID + "/roles/" + g.RoleID
	return object{"role": roleRef, kind: holder, "scope": object{string(g.Scope.Kind): place},
		"links": object{"assignment": e.url + where}}
}

// implied returns the role of the path and the one that it implies directly, which is nil if there is none. They are a
// fixed chain: admin, manager, member, reader.
func (r *request) implied(d *directory, id string) (prior, implied *role, err error) {
	if prior = d.roles[id]; prior == nil {
		return nil, nil, missing("role", id)
	}
	if at := slices.Index(hierarchy[:], strings.ToLower(prior.Name)); at >= 0 {
		if below := d.impliedFrom(at + 1); len(below) > 0 {
			implied = d.roles[below[0]]
		}
	}
	return prior, implied, nil
}

func (e *Embedded) inferenceView(prior, implied *role) object {
	implies := []object{}
	if implied != nil {
		implies = append(implies, roleReference(e, implied))
	}
	return object{"prior_role": roleReference(e, prior), "implies": implies}
}

func roleReference(e *Embedded, x *role) object {
	return object{"id": x.ID, "name": x.Name, "domain_id": nil, "links": e.links("roles", x.ID)}
}

func (e *Embedded) listImplied(w http.ResponseWriter, r *request) error {
	prior, implied, err := r.implied(r.session.directory, r.PathValue("role"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, object{"role_inference": e.inferenceView(prior, implied),
		"links": object{"self": e.url + "/roles/" + prior.ID + "/implies"}})
}

func (e *Embedded) checkImplied(w http.ResponseWriter, r *request) error {
	_, implied, err := r.implied(r.session.directory, r.PathValue("role"))
	if err != nil {
		return err
	}
	if implied == nil || implied.ID != r.PathValue("implied") {
		return missing("implied role", r.PathValue("implied"))
	}
	return reply(w, http.StatusNoContent, nil)
}

// listInferences lists which roles imply which.
func (e *Embedded) listInferences(w http.ResponseWriter, r *request) error {
	d := r.session.directory
	inferences := []object{}
	for _, prior := range sorted(d.roles, func(x *role) string { return x.Name }) {
		_, implied, err := r.implied(d, prior.ID)
		if err != nil {
			return err
		}
		if implied != nil {
			inferences = append(inferences, e.inferenceView(prior, implied))
		}
	}
	return reply(w, http.StatusOK, object{"role_inferences": inferences,
		"links": object{"self": e.url + "/role_inferences"}})
}
