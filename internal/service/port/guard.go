package port

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// The device owners of ports that belong to routers but do not begin with network:router_.
const (
	ownerFloatingIP  = "network:floatingip"
	ownerHAInterface = "network:ha_router_replicated_interface"
)

// checkDevice refuses to name the router of another project as the device of a router's port: that would plug the port
// into it (CVE-2014-0056). The fault is DeviceIDNotOwnedByTenant (409).
func checkDevice(r state.Reader, c *auth.Caller, p *model.Port) error {
	if !routerInterface(p.DeviceOwner) || c.Admin() || p.DeviceID == "" {
		return nil
	}
	router, ok := state.Routers.Get(r, p.DeviceID)
	if ok && router.ProjectID != p.ProjectID {
		return fault.New(fault.Conflict, "DeviceIDNotOwnedByTenant", "The following device_id %s is not owned by your "+
			"tenant or matches another tenants router.", p.DeviceID)
	}
	return nil
}

func routerInterface(owner string) bool {
	return ipam.RouterOwned(owner) || owner == ownerHAInterface || owner == model.DeviceOwnerAgentGateway
}

// inService says whether the port is the interface, gateway or floating IP of something that exists.
func inService(r state.Reader, p *model.Port) bool {
	if p.DeviceOwner == ownerFloatingIP {
		_, ok := state.FloatingIPs.Get(r, p.DeviceID)
		return ok
	}
	if !routerInterface(p.DeviceOwner) {
		return false
	}
	_, ok := state.Routers.Get(r, p.DeviceID)
	return ok
}

// checkDelete refuses to delete what others stand on: the ports of routers and floating IPs, which go with these
// (ServicePortInUse), and the ports of trunks (PortInUseAsTrunkParent, PortInUseAsSubPort); all are 409. The system
// itself deletes the former.
func checkDelete(r state.Reader, c *auth.Caller, p *model.Port) error {
	if t, ok := state.TrunksBySubPort.First(r, p.ID); ok {
		return fault.New(fault.Conflict, "PortInUseAsSubPort",
			"Port %s is currently a subport for trunk %s.", p.ID, t.ID)
	}
	if t, ok := state.TrunksByPort.First(r, p.ID); ok {
		return fault.New(fault.Conflict, "PortInUseAsTrunkParent",
			"Port %s is currently a parent port for trunk %s.", p.ID, t.ID)
	}
	if c != auth.System && inService(r, p) {
		return fault.New(fault.Conflict, "ServicePortInUse",
			"Port %s cannot be deleted directly via the port API: has device owner %s.", p.ID, p.DeviceOwner)
	}
	return nil
}

// checkAddressChange refuses to change the IPv4 addresses of a router's port behind the router's back. The fault is
// BadRequest (400).
func checkAddressChange(r state.Reader, c *auth.Caller, old, p *model.Port) error {
	if c == auth.System || !inService(r, old) {
		return nil
	}
	v4 := func(ips []model.FixedIP) []model.FixedIP {
		return slices.DeleteFunc(slices.Clone(ips), func(f model.FixedIP) bool { return !f.IP.Is4() })
	}
	if slices.Equal(v4(old.FixedIPs), v4(p.FixedIPs)) {
		return nil
	}
	return fault.New(fault.Invalid, "BadRequest", "Bad ports request: IP updates for port %s are not allowed.", p.ID)
}
