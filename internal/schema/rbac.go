package schema

import (
	"fmt"

	"github.com/neutrino-net/neutrino/internal/model"
)

// RBACPolicy declares the RBAC policies of the API. What their types and actions may be is known by the rules.
var RBACPolicy = (&Resource[model.RBACPolicy]{
	Name: "rbac_policy", Plural: "rbac_policies", Kind: "RbacPolicy", Path: "/rbac-policies",
	Extension: "rbac-policies", Quota: "rbac_policy",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Attributes: []*Attribute[model.RBACPolicy]{
		attribute("id", shows, id(), func(p *model.RBACPolicy) *string { return &p.ID }, help("The id, a UUID.")),
		attribute("object_type", Post|shows, text(255), func(p *model.RBACPolicy) *string { return &p.ObjectType },
			required, help("What is shared: network, qos_policy, security_group, address_scope, subnetpool, address_group.")),
		attribute("object_id", Post|shows, id(), func(p *model.RBACPolicy) *string { return &p.ObjectID },
			required, help("The id of what is shared.")),
		attribute("action", Post|shows, text(255), func(p *model.RBACPolicy) *string { return &p.Action },
			required, help("The access: access_as_shared, or access_as_external for a network.")),
		attribute("target_tenant", Post|Put|shows, target(), func(p *model.RBACPolicy) *string { return &p.Target },
			required, enforced, help("The project that gets access; *: all.")),
		attribute("project_id", Post|shows, text(64), func(p *model.RBACPolicy) *string { return &p.ProjectID },
			extension("project-id"), help("The project that owns it.")),
		attribute("tenant_id", Post|shows, text(64), func(p *model.RBACPolicy) *string { return &p.ProjectID },
			help("The old name of project_id.")),
	},
}).ready()

// target is a project, or all of them.
func target() codec[string] {
	c := text(255)
	parse := c.parse
	c.parse = func(raw any) (string, error) {
		v, err := parse(raw)
		if err == nil && v == "" {
			err = fmt.Errorf("'' is not a project or '*'")
		}
		return v, err
	}
	return c
}
