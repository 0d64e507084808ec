package identity

import (
	"context"
	"net/http"

	"github.com/neutrino-net/neutrino/internal/fault"
)

func (e *Embedded) userRoutes() []route {
	return []route{
		{"GET /v3/users", adminOnly, e.listUsers},
		{"POST /v3/users", adminOnly, e.createUser},
		{"GET /v3/users/{user}", withToken, e.showUser},
		{"PATCH /v3/users/{user}", adminOnly, e.updateUser},
		{"DELETE /v3/users/{user}", adminOnly, e.deleteUser},
		{"POST /v3/users/{user}/password", open, e.changePassword},
		{"GET /v3/users/{user}/projects", withToken, e.listUserProjects},
		{"GET /v3/users/{user}/groups", withToken, e.listUserGroups},
	}
}

// userInput is what a client may say of a user.
type userInput struct {
	Name             optional[string] `json:"name"`
	DomainID         optional[string] `json:"domain_id"`
	DefaultProjectID optional[string] `json:"default_project_id"`
	Email            optional[string] `json:"email"`
	Description      optional[string] `json:"description"`
	Enabled          *bool            `json:"enabled"`
	Password         optional[string] `json:"password"`
}

// Longest texts, in characters, as Keystone has them.
const (
	maxUserName    = 255
	maxProjectName = 64
	maxDomainName  = 64
	maxGroupName   = 64
	maxRoleName    = 255
	maxEmail       = 254
	maxDescription = 1024
)

// apply changes the user as the input says, the password apart.
func (in *userInput) apply(u *user, d *directory) error {
	u.Name = in.Name.or(u.Name)
	u.Email = in.Email.or(u.Email)
	u.Description = in.Description.or(u.Description)
	u.DefaultProjectID = in.DefaultProjectID.or(u.DefaultProjectID)
	if err := checkName(u.Name, maxUserName); err != nil {
		return err
	}
	if err := checkText("email", u.Email, maxEmail); err != nil {
		return err
	}
	if err := checkText("description", u.Description, maxDescription); err != nil {
		return err
	}
	if u.DefaultProjectID != "" && d.projects[u.DefaultProjectID] == nil {
		return missing("project", u.DefaultProjectID)
	}
	disabled := isDisabled(in.Enabled, u.Disabled)
	if disabled && !u.Disabled {
		u.touch() // what was given out does not come back to life when the user is switched on again
	}
	u.Disabled = disabled
	return nil
}

func (e *Embedded) userView(u *user) object {
	v := object{"id": u.ID, "name": u.Name, "domain_id": u.DomainID, "enabled": !u.Disabled,
		"password_expires_at": nil, "options": object{}, "links": e.links("users", u.ID)}
	for key, value := range map[string]string{
		"default_project_id": u.DefaultProjectID, "email": u.Email, "description": u.Description,
	} {
		if value != "" {
			v[key] = value
		}
	}
	return v
}

func (e *Embedded) listUsers(w http.ResponseWriter, r *request) error {
	users := sorted(r.session.directory.users, func(u *user) string { return u.Name })
	users = filter(r, users, map[string]func(*user) string{
		"name":      func(u *user) string { return u.Name },
		"domain_id": func(u *user) string { return u.DomainID },
		"enabled":   func(u *user) string { return truth(!u.Disabled) },
	})
	return replyList(e, w, r, "users", users, e.userView)
}

// wantUser returns the user in the path, for administrators and for the user.
func (r *request) wantUser() (*user, error) {
	id := r.PathValue("user")
	if id != r.session.userID && !r.session.has(roleAdmin) {
		return nil, errForbidden
	}
	u := r.session.directory.users[id]
	if u == nil {
		return nil, missing("user", id)
	}
	return u, nil
}

func (e *Embedded) showUser(w http.ResponseWriter, r *request) error {
	u, err := r.wantUser()
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, object{"user": e.userView(u)})
}

func (e *Embedded) createUser(w http.ResponseWriter, r *request) error {
	var body struct {
		User userInput `json:"user"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	u := &user{ID: newID(), DomainID: body.User.DomainID.or(defaultDomainID)}
	if body.User.Password.value != "" {
		var err error
		if u.PasswordHash, err = e.passwords.hash(r.Context(), body.User.Password.value); err != nil {
			return err
		}
	}
	err := e.update(func(d *directory) error {
		if err := checkRoom("user", len(d.users)); err != nil {
			return err
		}
		d.users[u.ID] = u
		return body.User.apply(u, d)
	})
	if err != nil {
		return err
	}
	e.log.Info("user created", "id", u.ID, "by", r.session.userID)
	return reply(w, http.StatusCreated, object{"user": e.userView(u)})
}

func (e *Embedded) updateUser(w http.ResponseWriter, r *request) error {
	var body struct {
		User userInput `json:"user"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	var hash string
	if body.User.Password.set {
		var err error
		if hash, err = e.passwords.hash(r.Context(), body.User.Password.value); err != nil {
			return err
		}
	}
	u, err := e.changeUser(r.PathValue("user"), func(u *user, d *directory) error {
		if body.User.DomainID.set && body.User.DomainID.value != u.DomainID {
			return fault.Input("domain_id", "a user cannot move to another domain")
		}
		if hash != "" {
			u.PasswordHash = hash
			u.touch()
		}
		return body.User.apply(u, d)
	})
	if err != nil {
		return err
	}
	e.log.Info("user changed", "id", u.ID, "by", r.session.userID)
	return reply(w, http.StatusOK, object{"user": e.userView(u)})
}

// changeUser changes a copy of the user and returns it.
func (e *Embedded) changeUser(id string, change func(*user, *directory) error) (*user, error) {
	var u user
	err := e.update(func(d *directory) error {
		old := d.users[id]
		if old == nil {
			return missing("user", id)
		}
		u = *old
		d.users[id] = &u
		return change(&u, d)
	})
	return &u, err
}

func (e *Embedded) deleteUser(w http.ResponseWriter, r *request) error {
	id := r.PathValue("user")
	err := e.update(func(d *directory) error {
		if d.users[id] == nil {
			return missing("user", id)
		}
		delete(d.users, id)
		return nil
	})
	if err != nil {
		return err
	}
	e.log.Info("user deleted", "id", id, "by", r.session.userID)
	return reply(w, http.StatusNoContent, nil)
}

// changePassword lets users change their own password. The old one is the proof; as in Keystone no token is asked for.
func (e *Embedded) changePassword(w http.ResponseWriter, r *request) error {
	var body struct {
		User struct {
			Password string `json:"password"`
			Original string `json:"original_password"`
		} `json:"user"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	id, err := e.checkPassword(r, reference{ID: r.PathValue("user")}, body.User.Original)
	if err != nil {
		return err
	}
	if err := e.setPassword(r.Context(), id, body.User.Password); err != nil {
		return err
	}
	e.log.Info("password changed", "id", id, "by", id)
	return reply(w, http.StatusNoContent, nil)
}

// setPassword gives the user a new password and voids the tokens of before.
func (e *Embedded) setPassword(ctx context.Context, id, password string) error {
	hash, err := e.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = e.changeUser(id, func(u *user, _ *directory) error {
		u.PasswordHash = hash
		u.touch()
		return nil
	})
	return err
}

func (e *Embedded) listUserProjects(w http.ResponseWriter, r *request) error {
	u, err := r.wantUser()
	if err != nil {
		return err
	}
	return replyList(e, w, r, "projects", r.session.directory.projectsOf(u.ID), e.projectView)
}
