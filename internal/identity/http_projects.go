package identity

import (
	"net/http"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
)

func (e *Embedded) projectRoutes() []route {
	return []route{
		{"GET /v3/projects", adminOnly, e.listProjects},
		{"POST /v3/projects", adminOnly, e.createProject},
		{"GET /v3/projects/{project}", withToken, e.showProject},
		{"PATCH /v3/projects/{project}", adminOnly, e.updateProject},
		{"DELETE /v3/projects/{project}", adminOnly, e.deleteProject},
	}
}

func (e *Embedded) domainRoutes() []route {
	return []route{
		{"GET /v3/domains", adminOnly, e.listDomains},
		{"POST /v3/domains", adminOnly, e.createDomain},
		{"GET /v3/domains/{domain}", withToken, e.showDomain},
		{"PATCH /v3/domains/{domain}", adminOnly, e.updateDomain},
		{"DELETE /v3/domains/{domain}", adminOnly, e.deleteDomain},
	}
}

// projectInput is what a client may say of a project or a domain.
type projectInput struct {
	Name        optional[string] `json:"name"`
	DomainID    optional[string] `json:"domain_id"`
	ParentID    optional[string] `json:"parent_id"`
	IsDomain    bool             `json:"is_domain"`
	Description optional[string] `json:"description"`
	Enabled     *bool            `json:"enabled"`
	Tags        []string         `json:"tags"`
}

// The bounds of a project's tags: how many, and how long in characters.
const (
	maxTags = 80
	maxTag  = 255
)

// applyTags replaces the tags where the input has some.
func (in *projectInput) applyTags(p *project) error {
	if in.Tags == nil {
		return nil
	}
	if len(in.Tags) > maxTags {
		return fault.Input("tags", "there may not be more than %d", maxTags)
	}
	for _, tag := range in.Tags {
		if err := checkText("tags", tag, maxTag); err != nil {
			return err
		}
		if tag == "" || strings.ContainsAny(tag, ",/") {
			return fault.Input("tags", "a tag may not be empty nor hold a comma or a slash")
		}
	}
	p.Tags = slices.Compact(slices.Sorted(slices.Values(in.Tags)))
	return nil
}

func (in *projectInput) apply(p *project) error {
	p.Name = in.Name.or(p.Name)
	p.Description = in.Description.or(p.Description)
	p.Disabled = isDisabled(in.Enabled, p.Disabled)
	if err := checkName(p.Name, maxProjectName); err != nil {
		return err
	}
	if in.IsDomain || in.ParentID.value != "" && in.ParentID.value != p.DomainID {
		return fault.Input("parent_id", "projects within projects are not supported")
	}
	if err := in.applyTags(p); err != nil {
		return err
	}
	return checkText("description", p.Description, maxDescription)
}

func (e *Embedded) projectView(p *project) object {
	tags := append([]string{}, p.Tags...)
	return object{"id": p.ID, "name": p.Name, "domain_id": p.DomainID, "parent_id": p.DomainID, "is_domain": false,
		"description": p.Description, "enabled": !p.Disabled, "tags": tags, "options": object{},
		"links": e.links("projects", p.ID)}
}

func (e *Embedded) listProjects(w http.ResponseWriter, r *request) error {
	projects := sorted(r.session.directory.projects, func(p *project) string { return p.Name })
	projects = filter(r, projects, map[string]func(*project) string{
		"name":      func(p *project) string { return p.Name },
		"domain_id": func(p *project) string { return p.DomainID },
		"parent_id": func(p *project) string { return p.DomainID },
		"is_domain": func(*project) string { return truth(false) },
		"enabled":   func(p *project) string { return truth(!p.Disabled) },
	})
	return replyList(e, w, r, "projects", projects, e.projectView)
}

func (e *Embedded) showProject(w http.ResponseWriter, r *request) error {
	id := r.PathValue("project")
	d := r.session.directory
	if !r.session.has(roleAdmin) && !slices.Contains(d.homes(r.session.userID, projectScope), id) {
		return errForbidden
	}
	p := d.projects[id]
	if p == nil {
		return missing("project", id)
	}
	return reply(w, http.StatusOK, object{"project": e.projectView(p)})
}

func (e *Embedded) createProject(w http.ResponseWriter, r *request) error {
	var body struct {
		Project projectInput `json:"project"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	p := &project{ID: newID(), DomainID: body.Project.DomainID.or(defaultDomainID)}
	err := e.update(func(d *directory) error {
		if err := checkRoom("project", len(d.projects)); err != nil {
			return err
		}
		d.projects[p.ID] = p
		return body.Project.apply(p)
	})
	if err != nil {
		return err
	}
	e.log.Info("project created", "id", p.ID, "by", r.session.userID)
	return reply(w, http.StatusCreated, object{"project": e.projectView(p)})
}

func (e *Embedded) updateProject(w http.ResponseWriter, r *request) error {
	var body struct {
		Project projectInput `json:"project"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	id := r.PathValue("project")
	var p project
	err := e.update(func(d *directory) error {
		old := d.projects[id]
		if old == nil {
			return missing("project", id)
		}
		if body.Project.DomainID.set && body.Project.DomainID.value != old.DomainID {
			return fault.Input("domain_id", "a project cannot move to another domain")
		}
		p = *old
		d.projects[id] = &p
		return body.Project.apply(&p)
	})
	if err != nil {
		return err
	}
	e.log.Info("project changed", "id", id, "by", r.session.userID)
	return reply(w, http.StatusOK, object{"project": e.projectView(&p)})
}

func (e *Embedded) deleteProject(w http.ResponseWriter, r *request) error {
	id := r.PathValue("project")
	err := e.update(func(d *directory) error {
		if d.projects[id] == nil {
			return missing("project", id)
		}
		delete(d.projects, id)
		return nil
	})
	if err != nil {
		return err
	}
	e.log.Info("project deleted", "id", id, "by", r.session.userID)
	return reply(w, http.StatusNoContent, nil)
}

func (e *Embedded) domainView(x *domain) object {
	return object{"id": x.ID, "name": x.Name, "description": x.Description, "enabled": !x.Disabled,
		"tags": []string{}, "options": object{}, "links": e.links("domains", x.ID)}
}

func (in *projectInput) applyToDomain(x *domain) error {
	x.Name = in.Name.or(x.Name)
	x.Description = in.Description.or(x.Description)
	x.Disabled = isDisabled(in.Enabled, x.Disabled)
	if err := checkName(x.Name, maxDomainName); err != nil {
		return err
	}
	if x.ID == defaultDomainID && x.Disabled {
		return fault.New(fault.Forbidden, "Forbidden", "The default domain cannot be switched off.")
	}
	return checkText("description", x.Description, maxDescription)
}

func (e *Embedded) listDomains(w http.ResponseWriter, r *request) error {
	domains := sorted(r.session.directory.domains, func(x *domain) string { return x.Name })
	domains = filter(r, domains, map[string]func(*domain) string{
		"name":    func(x *domain) string { return x.Name },
		"enabled": func(x *domain) string { return truth(!x.Disabled) },
	})
	return replyList(e, w, r, "domains", domains, e.domainView)
}

func (e *Embedded) showDomain(w http.ResponseWriter, r *request) error {
	id := r.PathValue("domain")
	if !r.session.has(roleAdmin) && id != r.session.user.DomainID {
		return errForbidden
	}
	x := r.session.directory.domains[id]
	if x == nil {
		return missing("domain", id)
	}
	return reply(w, http.StatusOK, object{"domain": e.domainView(x)})
}

func (e *Embedded) createDomain(w http.ResponseWriter, r *request) error {
	var body struct {
		Domain projectInput `json:"domain"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	x := &domain{ID: newID()}
	err := e.update(func(d *directory) error {
		if err := checkRoom("domain", len(d.domains)); err != nil {
			return err
		}
		d.domains[x.ID] = x
		return body.Domain.applyToDomain(x)
	})
	if err != nil {
		return err
	}
	e.log.Info("domain created", "id", x.ID, "by", r.session.userID)
	return reply(w, http.StatusCreated, object{"domain": e.domainView(x)})
}

func (e *Embedded) updateDomain(w http.ResponseWriter, r *request) error {
	var body struct {
		Domain projectInput `json:"domain"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	id := r.PathValue("domain")
	var x domain
	err := e.update(func(d *directory) error {
		old := d.domains[id]
		if old == nil {
			return missing("domain", id)
		}
		x = *old
		d.domains[id] = &x
		return body.Domain.applyToDomain(&x)
	})
	if err != nil {
		return err
	}
	e.log.Info("domain changed", "id", id, "by", r.session.userID)
	return reply(w, http.StatusOK, object{"domain": e.domainView(&x)})
}

// deleteDomain removes a domain with its users and projects. It has to be switched off before, as a second thought.
func (e *Embedded) deleteDomain(w http.ResponseWriter, r *request) error {
	id := r.PathValue("domain")
	err := e.update(func(d *directory) error {
		x := d.domains[id]
		if x == nil {
			return missing("domain", id)
		}
		if !x.Disabled {
			return fault.New(fault.Forbidden, "Forbidden", "Cannot delete a domain that is enabled, please disable it first.")
		}
		delete(d.domains, id)
		for _, p := range d.projects {
			if p.DomainID == id {
				delete(d.projects, p.ID)
			}
		}
		for _, u := range d.users {
			if u.DomainID == id {
				delete(d.users, u.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	e.log.Info("domain deleted", "id", id, "by", r.session.userID)
	return reply(w, http.StatusNoContent, nil)
}
