package model

import "math/big"

// IPAvailability is how many addresses of a network there are and how many are used. Its id, name and project are the
// network's.
type IPAvailability struct {
	Meta
	Total   *big.Int
	Used    int
	Subnets []SubnetAvailability
}

// SubnetAvailability is the part of a subnet.
type SubnetAvailability struct {
	ID        string   `json:"subnet_id"`
	Name      string   `json:"subnet_name"`
	CIDR      string   `json:"cidr"`
	IPVersion int      `json:"ip_version"`
	Total     *big.Int `json:"total_ips"` // a block of IPv6 has more than an int64 counts
	Used      int      `json:"used_ips"`
}

// AvailabilityZone is a zone in which there are agents for networks or for routers. Its name is Meta.Name, and its id
// is made of that and the resource.
type AvailabilityZone struct {
	Meta
	Resource  string // network or router
	Available bool   // an agent there may be given new work
}

// AutoTopology remembers the network and router that were made for a project at its asking. Its id is the project's.
type AutoTopology struct {
	Meta
	NetworkID string `json:"network_id"`
	RouterID  string `json:"router_id"`
}

// DefaultZone is the zone of agents that name none.
const DefaultZone = "nova"
