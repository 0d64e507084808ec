package identity

import (
	"net/http"
	"slices"

	"github.com/neutrino-net/neutrino/internal/fault"
)

func (e *Embedded) groupRoutes() []route {
	return []route{
		{"GET /v3/groups", adminOnly, e.listGroups},
		{"POST /v3/groups", adminOnly, e.createGroup},
		{"GET /v3/groups/{group}", adminOnly, e.showGroup},
		{"PATCH /v3/groups/{group}", adminOnly, e.updateGroup},
		{"DELETE /v3/groups/{group}", adminOnly, e.deleteGroup},
		{"GET /v3/groups/{group}/users", adminOnly, e.listMembers},
		{"GET /v3/groups/{group}/users/{user}", adminOnly, e.checkMember}, // HEAD too
		{"PUT /v3/groups/{group}/users/{user}", adminOnly, e.addMember},
		{"DELETE /v3/groups/{group}/users/{user}", adminOnly, e.removeMember},
	}
}

// groupInput is what a client may say of a group.
type groupInput struct {
	Name        optional[string] `json:"name"`
	DomainID    optional[string] `json:"domain_id"`
	Description optional[string] `json:"description"`
}

func (in *groupInput) apply(x *group) error {
	if in.DomainID.set && x.DomainID != "" && in.DomainID.value != x.DomainID {
		return fault.Input("domain_id", "a group cannot move to another domain")
	}
	x.Name = in.Name.or(x.Name)
	x.Description = in.Description.or(x.Description)
	if err := checkName(x.Name, maxGroupName); err != nil {
		return err
	}
	return checkText("description", x.Description, maxDescription)
}

func (e *Embedded) groupView(x *group) object {
	return object{"id": x.ID, "name": x.Name, "domain_id": x.DomainID, "description": x.Description,
		"links": e.links("groups", x.ID)}
}

func (e *Embedded) listGroups(w http.ResponseWriter, r *request) error {
	groups := sorted(r.session.directory.groups, func(x *group) string { return x.Name })
	groups = filter(r, groups, map[string]func(*group) string{
		"name":      func(x *group) string { return x.Name },
		"domain_id": func(x *group) string { return x.DomainID },
	})
	return replyList(e, w, r, "groups", groups, e.groupView)
}

// listUserGroups lists the groups of a user, for administrators and for the user.
func (e *Embedded) listUserGroups(w http.ResponseWriter, r *request) error {
	u, err := r.wantUser()
	if err != nil {
		return err
	}
	groups := sorted(r.session.directory.groups, func(x *group) string { return x.Name })
	groups = slices.DeleteFunc(groups, func(x *group) bool { return !slices.Contains(x.Members, u.ID) })
	return replyList(e, w, r, "groups", groups, e.groupView)
}

func (e *Embedded) showGroup(w http.ResponseWriter, r *request) error {
	x := r.session.directory.groups[r.PathValue("group")]
	if x == nil {
		return missing("group", r.PathValue("group"))
	}
	return reply(w, http.StatusOK, object{"group": e.groupView(x)})
}

func (e *Embedded) createGroup(w http.ResponseWriter, r *request) error {
	var body struct {
		Group groupInput `json:"group"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	x := &group{ID: newID(), DomainID: body.Group.DomainID.or(defaultDomainID)}
	err := e.update(func(d *directory) error {
		if err := checkRoom("group", len(d.groups)); err != nil {
			return err
		}
		d.groups[x.ID] = x
		return body.Group.apply(x)
	})
	if err != nil {
		return err
	}
	e.log.Info("group created", "id", x.ID, "by", r.session.userID)
	return reply(w, http.StatusCreated, object{"group": e.groupView(x)})
}

// changeGroup changes a copy of the group in the path and returns it.
func (e *Embedded) changeGroup(r *request, change func(*group, *directory) error) (*group, error) {
	id := r.PathValue("group")
	var x group
	err := e.update(func(d *directory) error {
		old := d.groups[id]
		if old == nil {
			return missing("group", id)
		}
		x = *old
		d.groups[id] = &x
		return change(&x, d)
	})
	if err == nil {
		e.log.Info("group changed", "id", id, "by", r.session.userID)
	}
	return &x, err
}

func (e *Embedded) updateGroup(w http.ResponseWriter, r *request) error {
	var body struct {
		Group groupInput `json:"group"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	x, err := e.changeGroup(r, func(x *group, _ *directory) error { return body.Group.apply(x) })
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, object{"group": e.groupView(x)})
}

func (e *Embedded) deleteGroup(w http.ResponseWriter, r *request) error {
	id := r.PathValue("group")
	err := e.update(func(d *directory) error {
		if d.groups[id] == nil {
			return missing("group", id)
		}
		delete(d.groups, id)
		return nil
	})
	if err != nil {
		return err
	}
	e.log.Info("group deleted", "id", id, "by", r.session.userID)
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) listMembers(w http.ResponseWriter, r *request) error {
	d := r.session.directory
	x := d.groups[r.PathValue("group")]
	if x == nil {
		return missing("group", r.PathValue("group"))
	}
	members := make(map[string]*user, len(x.Members))
	for _, id := range x.Members {
		members[id] = d.users[id]
	}
	users := sorted(members, func(u *user) string { return u.Name })
	users = filter(r, users, map[string]func(*user) string{"name": func(u *user) string { return u.Name }})
	return replyList(e, w, r, "users", users, e.userView)
}

func (e *Embedded) checkMember(w http.ResponseWriter, r *request) error {
	x := r.session.directory.groups[r.PathValue("group")]
	if x == nil {
		return missing("group", r.PathValue("group"))
	}
	if id := r.PathValue("user"); !slices.Contains(x.Members, id) {
		return missing("user in the group", id)
	}
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) addMember(w http.ResponseWriter, r *request) error {
	id := r.PathValue("user")
	_, err := e.changeGroup(r, func(x *group, d *directory) error {
		if d.users[id] == nil {
			return missing("user", id)
		}
		at, found := slices.BinarySearch(x.Members, id)
		if !found {
			x.Members = slices.Insert(slices.Clone(x.Members), at, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) removeMember(w http.ResponseWriter, r *request) error {
	id := r.PathValue("user")
	_, err := e.changeGroup(r, func(x *group, _ *directory) error {
		if !slices.Contains(x.Members, id) {
			return missing("user in the group", id)
		}
		x.Members = slices.DeleteFunc(slices.Clone(x.Members), func(member string) bool { return member == id })
		return nil
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusNoContent, nil)
}
