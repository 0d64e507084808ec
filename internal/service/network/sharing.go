package network

import (
	"iter"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RBACType is what RBAC policies call a network.
const RBACType = "network"

// deviceOwnerGateway marks the port by which a router has its gateway on an external network.
const deviceOwnerGateway = "network:router_gateway"

// The attributes of a network that say who may use it are kept with it, but follow the RBAC policies: Shared says that
// there is a policy which shares it with all projects, External that there is one for any target which makes it external.

// Sharing is how networks are shared by RBAC policies.
func Sharing() rbac.Kind {
	return rbac.Kind{
		Type: RBACType, Resource: "Network", Actions: []string{model.AccessShared, model.AccessExternal},
		Owner: func(r state.Reader, id string) (string, bool) {
			n, ok := state.Networks.Get(r, id)
			if !ok {
				return "", false
			}
			return n.ProjectID, true
		},
		Users: users,
		Changed: func(tx *state.Tx, id string) {
			n, ok := state.Networks.Get(tx, id)
			if !ok {
				return
			}
			shared := rbac.GrantedTo(tx, RBACType, id, model.AccessShared, model.Everyone)
			external := state.RBACPoliciesByObject.Has(tx, state.RBACObjectKey(RBACType, id, model.AccessExternal))
			if n.Shared == shared && n.External == external {
				return
			}
			n = n.Clone()
			n.Shared, n.External = shared, external
			state.Networks.Put(tx, n)
		},
	}
}

// users are the projects that have ports on the network (for the access as shared), or routers with a gateway on it (for
// the access as external). A port without an owner belongs to a router, whose owner counts.
func users(r state.Reader, id, action string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for p := range state.PortsByNetwork.List(r, id) {
			project := p.ProjectID
			if gateway := p.DeviceOwner == deviceOwnerGateway; gateway != (action == model.AccessExternal) {
				continue
			}
			if !yield(project) {
				return
			}
		}
	}
}

// unshared checks that what is taken away from all projects is not in use.
func unshared(r state.Reader, old, n *model.Network) error {
	if old.Shared && !n.Shared {
		depends := func(project string) bool {
			return project != n.ProjectID && !rbac.GrantedTo(r, RBACType, n.ID, model.AccessShared, project)
		}
		in := fault.New(fault.Conflict, "InvalidSharedSetting",
			"Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", n.Name)
		for sub := range state.SubnetsByNetwork.List(r, n.ID) {
			if depends(sub.ProjectID) {
				return in
			}
		}
		for p := range state.PortsByNetwork.List(r, n.ID) {
			// Ports of the network itself, like those of routers and DHCP servers, do not count.
			if depends(p.ProjectID) && !p.Trusted() {
				return in
			}
		}
	}
	if old.External && !n.External {
		for p := range state.PortsByNetwork.List(r, n.ID) {
			if p.DeviceOwner == deviceOwnerGateway {
				return fault.New(fault.Conflict, "ExternalNetworkInUse", "External network %s cannot be updated to be made "+
					"non-external, since it has existing gateway ports.", n.ID)
			}
		}
	}
	return nil
}

// share makes the RBAC policies say what the attributes of the network say.
func share(tx *state.Tx, n *model.Network) {
	rbac.Share(tx, RBACType, n.ID, model.AccessShared, n.ProjectID, n.Shared)
	switch {
	case !n.External:
		rbac.Revoke(tx, RBACType, n.ID, model.AccessExternal)
	case !state.RBACPoliciesByObject.Has(tx, state.RBACObjectKey(RBACType, n.ID, model.AccessExternal)):
		rbac.Share(tx, RBACType, n.ID, model.AccessExternal, n.ProjectID, true)
	}
}

// external says whether the caller may use the network as an external one.
func external(r state.Reader, c *auth.Caller, n *model.Network) bool {
	return n.External && rbac.Granted(r, RBACType, n.ID, model.AccessExternal, c.ProjectID)
}

// View makes networks look as the caller may see them: shared when they are shared with its project, external unless
// they are external for others only.
func View(r state.Reader, c *auth.Caller) func(*model.Network) *model.Network {
	shared := rbac.View(RBACType, func(n *model.Network) *bool { return &n.Shared })(r, c)
	all := c.Admin() || c.HasRole("service") || c.HasRole("advsvc")
	if shared == nil && all {
		return nil
	}
	return func(n *model.Network) *model.Network {
		if shared != nil {
			n = shared(n)
		}
		if all || !n.External || n.Shared || n.ProjectID == c.ProjectID || external(r, c, n) {
			return n
		}
		seen := *n
		seen.External = false
		return &seen
	}
}
