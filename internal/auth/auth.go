// Package auth says who calls: the identity that a request was authenticated as.
package auth

import "slices"

// Caller is the authenticated origin of a request. The zero value may do nothing.
type Caller struct {
	UserID      string
	UserName    string
	ProjectID   string
	ProjectName string
	DomainID    string
	// Roles are lower-case role names, with implied roles (admin → manager → member → reader) expanded.
	Roles []string
	// SystemScope is "all" for a token of system scope.
	SystemScope string
}

// HasRole says whether the caller holds the role.
func (c *Caller) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// Admin says whether the caller is a cloud administrator.
func (c *Caller) Admin() bool { return c.HasRole("admin") }

// System is the caller that the server itself acts as, for instance when it makes a DHCP port.
var System = &Caller{UserName: "neutrino", Roles: []string{"admin", "manager", "member", "reader", "service"}}
