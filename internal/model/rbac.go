package model

// The accesses that an RBAC policy can grant.
const (
	AccessShared   = "access_as_shared"
	AccessExternal = "access_as_external"
)

// Everyone is the target of an RBAC policy that grants access to all projects.
const Everyone = "*"

// RBACPolicy grants another project access to an object that its own project owns. It says that an object is shared;
// there is no other place for that.
type RBACPolicy struct {
	Meta
	ObjectType string `json:"object_type"` // network, qos_policy, security_group, address_scope, subnetpool, address_group
	ObjectID   string `json:"object_id"`
	Action     string `json:"action"` // AccessShared or AccessExternal
	Target     string `json:"target"` // the id of a project, or Everyone
}

// Clone returns a deep copy.
func (p *RBACPolicy) Clone() *RBACPolicy {
	c := *p
	c.Meta = p.Meta.clone()
	return &c
}
