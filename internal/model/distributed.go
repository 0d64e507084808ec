package model

import (
	"crypto/sha256"
	"maps"
	"net"
	"slices"
)

// The device owners of the ports that only distributed routers have.
const (
	// DeviceOwnerRouterSNAT are the legs of the central part, beside the interfaces.
	DeviceOwnerRouterSNAT = "network:router_centralized_snat"
	// DeviceOwnerAgentGateway are the ways out for the floating IPs of one host.
	DeviceOwnerAgentGateway = "network:floatingip_agent_gateway"
)

// VIFDistributed is that of a port which every host of a distributed router has.
const VIFDistributed VIFType = "distributed"

// RoleDVR is that of a host which routes for its own workloads, by distributed routers, and is given no other router.
const RoleDVR Role = "dvr"

// Routes says whether a host with the role has local parts of distributed routers.
func (r Role) Routes() bool { return r == RoleL3 || r == RoleDVR }

// SNATPort is the leg that the central part of a distributed router has in the network of an interface.
type SNATPort struct {
	InterfaceID string `json:"interface_id"`
	PortID      string `json:"port_id"`
}

// LocalGateway is the leg in the external network that a distributed router has on a host, for the floating IPs of the
// ports there.
type LocalGateway struct {
	Host   string `json:"host"`
	PortID string `json:"port_id"`
}

// LocalGateway returns the id of the router's port for the floating IPs of the host; empty: it has none.
func (r *Router) LocalGateway(host string) string {
	if i := slices.IndexFunc(r.LocalGateways, func(g LocalGateway) bool { return g.Host == host }); i >= 0 && host != "" {
		return r.LocalGateways[i].PortID
	}
	return ""
}

// SNATPort returns the id of the leg that the central part has beside the interface; empty: it has none.
func (r *Router) SNATPort(interfaceID string) string {
	if i := slices.IndexFunc(r.SNATPorts, func(p SNATPort) bool { return p.InterfaceID == interfaceID }); i >= 0 {
		return r.SNATPorts[i].PortID
	}
	return ""
}

// CentralIDs are the ids of the ports that one host at a time has: all legs of a router that is not distributed, those
// of the central part of one that is.
func (r *Router) CentralIDs() []string {
	ids := r.InterfaceIDs
	if r.Distributed {
		ids = nil
		for _, p := range r.SNATPorts {
			ids = append(ids, p.PortID)
		}
	}
	if r.Gateway == nil {
		return ids
	}
	return append(slices.Clone(ids), r.Gateway.PortID)
}

// InterfaceServing is what Serving is for the router's interfaces: those of a distributed router are bound to no host by
// themselves.
func (r *Router) InterfaceServing() (host, group string) {
	if r.Distributed {
		return "", ""
	}
	return r.Serving()
}

// cloneDistributed copies what only distributed routers have.
func (r *Router) cloneDistributed() {
	r.SNATPorts = slices.Clone(r.SNATPorts)
	r.LocalGateways = slices.Clone(r.LocalGateways)
	r.LocalReasons = maps.Clone(r.LocalReasons)
}

// DistributedBinding ties an interface of a distributed router to one of the hosts that have it.
type DistributedBinding struct {
	Meta
	PortID    string `json:"port_id"`
	RouterID  string `json:"router_id"`
	NetworkID string `json:"network_id"`
	Host      string `json:"host"`
	// SegmentID is the segment of the network through which the host reaches it.
	SegmentID string `json:"segment_id,omitempty"`
	// Wired says that the host has said so; WiringReason why it could not.
	Wired        bool   `json:"wired,omitempty"`
	WiringReason string `json:"wiring_reason,omitempty"`
}

// Clone returns a deep copy.
func (b *DistributedBinding) Clone() *DistributedBinding {
	c := *b
	c.Meta = b.Meta.clone()
	return &c
}

// TunnelMAC is the MAC that stands for the interface's outside of the host: one of its own for each binding, where the
// interface itself has the same everywhere.
func (b *DistributedBinding) TunnelMAC() string {
	sum := sha256.Sum256([]byte(b.ID))
	// 0x4a: locally administered, one device.
	return net.HardwareAddr{0x4a, sum[0], sum[1], sum[2], sum[3], sum[4]}.String()
}

// Generation tells this binding of the interface to the host from an earlier one.
func (b *DistributedBinding) Generation() int64 {
	sum := sha256.Sum256([]byte("generation " + b.ID))
	return int64(sum[0])<<40 | int64(sum[1])<<32 | int64(sum[2])<<24 | int64(sum[3])<<16 | int64(sum[4])<<8 | int64(sum[5])
}
