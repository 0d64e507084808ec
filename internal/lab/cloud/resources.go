package cloud

import (
	"context"
	"net/http"
	"net/url"
)

// Agent is one role of a host's agent.
type Agent struct {
	ID     string `json:"id"`
	Type   string `json:"agent_type"`
	Binary string `json:"binary"`
	Host   string `json:"host"`
	Alive  bool   `json:"alive"`
	// HAState is what its host is for the router whose agents are listed: active, standby; empty: nothing is known.
	HAState string `json:"ha_state,omitempty"`
}

// Network is a layer-2 network. The provider attributes are shown to administrators only.
type Network struct {
	ID             string `json:"id,omitempty"`
	Name           string `json:"name"`
	Status         string `json:"status,omitempty"`
	MTU            int    `json:"mtu,omitempty"`
	NetworkType    string `json:"provider:network_type,omitempty"`
	SegmentationID int    `json:"provider:segmentation_id,omitempty"`
	// PhysicalNetwork is where a flat network is; External, that routers may have their gateways there.
	PhysicalNetwork string `json:"provider:physical_network,omitempty"`
	External        bool   `json:"router:external,omitempty"`
}

// Subnet is a block of addresses of a network.
type Subnet struct {
	ID             string   `json:"id,omitempty"`
	NetworkID      string   `json:"network_id"`
	Name           string   `json:"name"`
	IPVersion      int      `json:"ip_version"`
	CIDR           string   `json:"cidr"`
	GatewayIP      string   `json:"gateway_ip,omitempty"`
	DNSNameservers []string `json:"dns_nameservers,omitempty"`
	// EnableDHCP is true where it is not said; AllocationPools are all of it.
	EnableDHCP      *bool            `json:"enable_dhcp,omitempty"`
	AllocationPools []AllocationPool `json:"allocation_pools,omitempty"`
}

// AllocationPool is a part of a subnet from which addresses are given, both ends included.
type AllocationPool struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID  string `json:"subnet_id,omitempty"`
	IPAddress string `json:"ip_address"`
}

// Port is an attachment point of a network.
type Port struct {
	ID          string    `json:"id,omitempty"`
	NetworkID   string    `json:"network_id"`
	ProjectID   string    `json:"project_id,omitempty"`
	Name        string    `json:"name"`
	MAC         string    `json:"mac_address,omitempty"`
	FixedIPs    []FixedIP `json:"fixed_ips,omitempty"`
	Status      string    `json:"status,omitempty"`
	Host        string    `json:"binding:host_id,omitempty"`
	VIFType     string    `json:"binding:vif_type,omitempty"`
	DeviceOwner string    `json:"device_owner,omitempty"`
}

// Address is the port's first address; empty when it has none.
func (p Port) Address() string {
	if len(p.FixedIPs) == 0 {
		return ""
	}
	return p.FixedIPs[0].IPAddress
}

// Agents lists the agents of all hosts.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	var answer struct{ Agents []Agent }
	err := c.do(ctx, http.MethodGet, "/agents", nil, &answer)
	return answer.Agents, err
}

// Networks lists networks.
func (c *Client) Networks(ctx context.Context, filters map[string]string) ([]Network, error) {
	var answer struct{ Networks []Network }
	err := c.do(ctx, http.MethodGet, "/networks"+query(filters), nil, &answer)
	return answer.Networks, err
}

// Ports lists ports.
func (c *Client) Ports(ctx context.Context, filters map[string]string) ([]Port, error) {
	var answer struct{ Ports []Port }
	err := c.do(ctx, http.MethodGet, "/ports"+query(filters), nil, &answer)
	return answer.Ports, err
}

// Port reads one port.
func (c *Client) Port(ctx context.Context, id string) (Port, error) {
	var answer struct{ Port Port }
	err := c.do(ctx, http.MethodGet, "/ports/"+url.PathEscape(id), nil, &answer)
	return answer.Port, err
}

// CreateNetwork makes a network.
func (c *Client) CreateNetwork(ctx context.Context, n Network) (Network, error) {
	var answer struct{ Network Network }
	err := c.do(ctx, http.MethodPost, "/networks", object{"network": n}, &answer)
	return answer.Network, err
}

// CreateSubnet makes a subnet.
func (c *Client) CreateSubnet(ctx context.Context, s Subnet) (Subnet, error) {
	var answer struct{ Subnet Subnet }
	err := c.do(ctx, http.MethodPost, "/subnets", object{"subnet": s}, &answer)
	return answer.Subnet, err
}

// CreatePort makes a port.
func (c *Client) CreatePort(ctx context.Context, p Port) (Port, error) {
	var answer struct{ Port Port }
	err := c.do(ctx, http.MethodPost, "/ports", object{"port": p}, &answer)
	return answer.Port, err
}

// DeletePort removes a port.
func (c *Client) DeletePort(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/ports/"+url.PathEscape(id), nil, nil)
}

// DeleteNetwork removes a network with its subnets.
func (c *Client) DeleteNetwork(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/networks/"+url.PathEscape(id), nil, nil)
}
