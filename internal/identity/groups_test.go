package identity

import (
	"strings"
	"testing"
)

func TestGroupsGiveTheirRolesToTheirMembers(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	user, project, manager := c.id("users", "demo"), c.id("projects", "service"), c.id("roles", "manager")
	group := c.as(admin, 201, "POST", "/v3/groups", `{"group": {"name": "ops", "description": "On call"}}`).text("group", "id")
	grant := "/v3/projects/" + project + "/groups/" + group + "/roles/" + manager
	member := "/v3/groups/" + group + "/users/" + user
	c.as(admin, 404, "HEAD", grant, "")
	c.as(admin, 204, "PUT", grant, "")
	c.as(admin, 204, "HEAD", grant, "")
	c.as(admin, 404, "HEAD", member, "")
	c.as(admin, 204, "PUT", member, "")
	c.as(admin, 204, "PUT", member, "") // once is enough, twice no error
	c.as(admin, 204, "HEAD", member, "")
	c.reopen()

	a := c.do("POST", "/v3/auth/tokens", loginBody("demo", c.password("demo"), projectNamed("service")))
	if a.names("token") != "" || a.status != 201 {
		t.Fatalf("a member cannot enter: %d %v", a.status, a.body)
	}
	token := a.header.Get(subjectTokenHeader)
	caller, err := c.Authenticate(t.Context(), token)
	if err != nil || strings.Join(caller.Roles, " ") != "manager member reader" {
		t.Errorf("a member's roles: %+v, %v", caller, err)
	}
	for path, want := range map[string]string{
		"/v3/groups":                                              "ops",
		"/v3/groups?name=other":                                   "",
		"/v3/users/" + user + "/groups":                           "ops",
		"/v3/groups/" + group + "/users":                          "demo",
		"/v3/projects/" + project + "/groups/" + group + "/roles": "manager",
		"/v3/projects/" + project + "/users/" + user + "/roles":   "",
	} {
		key := path[strings.LastIndex(path, "/")+1:]
		key, _, _ = strings.Cut(key, "?")
		if got := c.as(admin, 200, "GET", path, "").names(key); got != want {
			t.Errorf("GET %s: got %q, want %q", path, got, want)
		}
	}
	list := c.as(admin, 200, "GET", "/v3/role_assignments?include_names&group.id="+group, "")
	if list.text("role_assignments", 0, "group", "name") != "ops" || list.text("role_assignments", 0, "role", "name") != "manager" {
		t.Errorf("the assignments of the group: %v", list.body)
	}
	list = c.as(admin, 200, "GET", "/v3/role_assignments?effective&user.id="+user+"&scope.project.id="+project, "")
	if all, _ := list.get("role_assignments").([]any); len(all) != 3 {
		t.Errorf("the effective assignments of the member: %v", list.body)
	}

	c.as(admin, 204, "DELETE", member, "")
	c.as(token, 401, "GET", "/v3/auth/projects", "")
	c.as(admin, 404, "DELETE", member, "")
	c.as(admin, 204, "PUT", member, "")
	c.as(token, 200, "GET", "/v3/auth/projects", "")
	c.as(admin, 200, "PATCH", "/v3/groups/"+group, `{"group": {"name": "operators"}}`)
	c.as(admin, 204, "DELETE", "/v3/groups/"+group, "")
	c.as(token, 401, "GET", "/v3/auth/projects", "")
	c.as(admin, 404, "PUT", grant, "")
	c.as(c.login("demo"), 403, "GET", "/v3/groups", "")
}

func TestGroupsForgetUsersThatAreGone(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin, user := c.login("admin"), c.id("users", "demo")
	group := c.as(admin, 201, "POST", "/v3/groups", `{"group": {"name": "ops"}}`).text("group", "id")
	c.as(admin, 204, "PUT", "/v3/groups/"+group+"/users/"+user, "")
	c.as(admin, 409, "POST", "/v3/groups", `{"group": {"name": "ops"}}`)
	c.as(admin, 204, "DELETE", "/v3/users/"+user, "")
	if got := c.as(admin, 200, "GET", "/v3/groups/"+group+"/users", "").names("users"); got != "" {
		t.Errorf("the members are %q", got)
	}
	c.reopen()
}

func TestImpliedRolesAreListed(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	member, reader := c.id("roles", "member"), c.id("roles", "reader")
	a := c.as(admin, 200, "GET", "/v3/roles/"+member+"/implies", "")
	if a.text("role_inference", "prior_role", "name") != "member" || a.text("role_inference", "implies", 0, "name") != "reader" {
		t.Errorf("member implies %v", a.body)
	}
	c.as(admin, 204, "HEAD", "/v3/roles/"+member+"/implies/"+reader, "")
	c.as(admin, 404, "HEAD", "/v3/roles/"+reader+"/implies/"+member, "")
	if list, _ := c.as(admin, 200, "GET", "/v3/role_inferences", "").get("role_inferences").([]any); len(list) != 3 {
		t.Errorf("the inferences are %v", list)
	}
	c.as(admin, 403, "PATCH", "/v3/roles/"+reader, `{"role": {"name": "viewer"}}`)
	auditor := c.as(admin, 201, "POST", "/v3/roles", `{"role": {"name": "auditor"}}`).text("role", "id")
	c.as(admin, 200, "PATCH", "/v3/roles/"+auditor, `{"role": {"name": "inspector", "description": "looks"}}`)
	c.as(admin, 409, "PATCH", "/v3/roles/"+auditor, `{"role": {"name": "member"}}`)
}

func TestListsComeInPages(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	var got []string
	for next := "/v3/users?limit=2"; next != ""; {
		a := c.as(admin, 200, "GET", next, "")
		got = append(got, a.names("users"))
		next = strings.TrimPrefix(a.text("links", "next"), strings.TrimSuffix(c.url, "/v3"))
	}
	if strings.Join(got, ", ") != "admin demo, service" {
		t.Errorf("the pages are %q", got)
	}
	c.as(admin, 400, "GET", "/v3/users?limit=x", "")
	c.as(admin, 400, "GET", "/v3/users?limit=-1", "")
	c.as(admin, 400, "GET", "/v3/users?marker=nobody", "")
}
