package model

import (
	"net/netip"
	"slices"
)

// LogSecurityGroup is the type of resource whose packets can be logged.
const LogSecurityGroup = "security_group"

// The events that are logged; ALL is both.
const (
	LogAccept = "ACCEPT"
	LogDrop   = "DROP"
)

// Log asks for a record of the packets that security groups accept or drop.
type Log struct {
	Meta
	ResourceType string `json:"resource_type"`
	// ResourceID is the security group, and TargetID the port that is logged. Either may be empty: all.
	ResourceID string `json:"resource_id,omitempty"`
	TargetID   string `json:"target_id,omitempty"`
	Event      string `json:"event"` // ACCEPT, DROP or ALL
	Enabled    bool   `json:"enabled"`
}

// Clone returns a deep copy.
func (l *Log) Clone() *Log {
	c := *l
	c.Meta = l.Meta.clone()
	return &c
}

// LoggableResource is a type of resource whose packets can be logged. It is only shown, never stored; its id is the
// type.
type LoggableResource struct{ Meta }

// Flavor is a choice of how a service is provided, for instance a router: users name the flavor, and its service
// profiles say which driver that is.
type Flavor struct {
	Meta
	ServiceType string `json:"service_type"`
	Enabled     bool   `json:"enabled"`
	// ServiceProfileIDs are in order of association.
	ServiceProfileIDs []string `json:"service_profile_ids,omitempty"`
}

// Clone returns a deep copy.
func (f *Flavor) Clone() *Flavor {
	c := *f
	c.Meta = f.Meta.clone()
	c.ServiceProfileIDs = slices.Clone(f.ServiceProfileIDs)
	return &c
}

// ServiceProfile is a driver and what it is told.
type ServiceProfile struct {
	Meta
	Driver   string `json:"driver,omitempty"`
	Metainfo string `json:"metainfo,omitempty"`
	Enabled  bool   `json:"enabled"`
}

// Clone returns a deep copy.
func (s *ServiceProfile) Clone() *ServiceProfile {
	c := *s
	c.Meta = s.Meta.clone()
	return &c
}

// ServiceProvider is a way to provide a service that the program knows. It is only shown, never stored; its id is
// "<service type>:<name>".
type ServiceProvider struct {
	Meta
	ServiceType string
	Default     bool
	// Driver is what a service profile calls it.
	Driver string
}

// MeteringLabel names an amount of traffic that is counted: that of all routers of the project.
type MeteringLabel struct {
	Meta
	// Shared says that the routers of all projects count.
	Shared bool `json:"shared,omitempty"`
}

// Clone returns a deep copy.
func (m *MeteringLabel) Clone() *MeteringLabel {
	c := *m
	c.Meta = m.Meta.clone()
	return &c
}

// MeteringRule says which packets belong to a label. It belongs to the label's project.
type MeteringRule struct {
	Meta
	LabelID   string    `json:"label_id"`
	Direction Direction `json:"direction"`
	// Excluded says that the packets are not counted, though another rule says that they are.
	Excluded bool `json:"excluded,omitempty"`
	// RemoteIP is the address block outside, the old way to say it; it excludes the other two, which are as in the
	// packet. The zero Prefix matches everything.
	RemoteIP      netip.Prefix `json:"remote_ip,omitzero"`
	SourceIP      netip.Prefix `json:"source_ip,omitzero"`
	DestinationIP netip.Prefix `json:"destination_ip,omitzero"`
}

// Clone returns a deep copy.
func (m *MeteringRule) Clone() *MeteringRule {
	c := *m
	c.Meta = m.Meta.clone()
	return &c
}

// DeviceOwnerLocalIP marks the ports that hold the address of a local IP.
const DeviceOwnerLocalIP = "network:local_ip"

// LocalIP is an address that means another port on each host: the one that is associated with it there.
type LocalIP struct {
	Meta
	// LocalPortID is the port that holds the address, NetworkID its network.
	LocalPortID string     `json:"local_port_id"`
	NetworkID   string     `json:"network_id"`
	Address     netip.Addr `json:"address,omitzero"`
	Mode        string     `json:"mode"` // translate or passthrough
}

// Clone returns a deep copy.
func (l *LocalIP) Clone() *LocalIP {
	c := *l
	c.Meta = l.Meta.clone()
	return &c
}

// LocalIPAssociation makes a port answer for a local IP on its host.
type LocalIPAssociation struct {
	Meta
	LocalIPID string     `json:"local_ip_id"`
	PortID    string     `json:"port_id"`
	FixedIP   netip.Addr `json:"fixed_ip,omitzero"`
	// LocalIP is the address of the local IP, and Host the host of the port. Both are filled in views.
	LocalIP netip.Addr `json:"-"`
	Host    string     `json:"-"`
}

// Clone returns a deep copy.
func (l *LocalIPAssociation) Clone() *LocalIPAssociation {
	c := *l
	c.Meta = l.Meta.clone()
	return &c
}
