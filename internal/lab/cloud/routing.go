package cloud

import (
	"context"
	"net/http"
	"net/url"
)

// Router forwards between networks.
type Router struct {
	ID           string   `json:"id,omitempty"`
	Name         string   `json:"name,omitempty"`
	Status       string   `json:"status,omitempty"`
	StatusReason string   `json:"status_reason,omitempty"`
	ProjectID    string   `json:"project_id,omitempty"`
	HA           bool     `json:"ha,omitempty"`
	Gateway      *Gateway `json:"external_gateway_info,omitempty"`
}

// Gateway is the way of a router to an external network.
type Gateway struct {
	NetworkID string    `json:"network_id"`
	FixedIPs  []FixedIP `json:"external_fixed_ips,omitempty"`
}

// FloatingIP is an address of an external network that stands for one behind a router.
type FloatingIP struct {
	ID           string `json:"id,omitempty"`
	NetworkID    string `json:"floating_network_id,omitempty"`
	Address      string `json:"floating_ip_address,omitempty"`
	PortID       string `json:"port_id,omitempty"`
	Status       string `json:"status,omitempty"`
	StatusReason string `json:"status_reason,omitempty"`
}

// PortForwarding hands a transport port of a floating IP to one of a port.
type PortForwarding struct {
	ID             string `json:"id,omitempty"`
	Protocol       string `json:"protocol"`
	ExternalPort   int    `json:"external_port"`
	InternalPort   int    `json:"internal_port"`
	InternalPortID string `json:"internal_port_id"`
	InternalIP     string `json:"internal_ip_address"`
}

// CreateRouter makes a router.
func (c *Client) CreateRouter(ctx context.Context, r Router) (Router, error) {
	var answer struct{ Router Router }
	err := c.do(ctx, http.MethodPost, "/routers", object{"router": r}, &answer)
	return answer.Router, err
}

// Router reads one router.
func (c *Client) Router(ctx context.Context, id string) (Router, error) {
	var answer struct{ Router Router }
	err := c.do(ctx, http.MethodGet, "/routers/"+url.PathEscape(id), nil, &answer)
	return answer.Router, err
}

// RouterAgents lists the L3 agents that have the router.
func (c *Client) RouterAgents(ctx context.Context, router string) ([]Agent, error) {
	var answer struct{ Agents []Agent }
	err := c.do(ctx, http.MethodGet, "/routers/"+url.PathEscape(router)+"/l3-agents", nil, &answer)
	return answer.Agents, err
}

// AttachRouter makes the router the gateway of a subnet.
func (c *Client) AttachRouter(ctx context.Context, router, subnet string) error {
	path := "/routers/" + url.PathEscape(router) + "/add_router_interface"
	return c.do(ctx, http.MethodPut, path, object{"subnet_id": subnet}, nil)
}

// SetGateway gives the router a gateway to an external network.
func (c *Client) SetGateway(ctx context.Context, router, network string) (Router, error) {
	var answer struct{ Router Router }
	body := object{"router": Router{Gateway: &Gateway{NetworkID: network}}}
	err := c.do(ctx, http.MethodPut, "/routers/"+url.PathEscape(router), body, &answer)
	return answer.Router, err
}

// CreateFloatingIP books an address.
func (c *Client) CreateFloatingIP(ctx context.Context, f FloatingIP) (FloatingIP, error) {
	var answer struct{ FloatingIP FloatingIP }
	err := c.do(ctx, http.MethodPost, "/floatingips", object{"floatingip": f}, &answer)
	return answer.FloatingIP, err
}

// FloatingIP reads one floating IP.
func (c *Client) FloatingIP(ctx context.Context, id string) (FloatingIP, error) {
	var answer struct{ FloatingIP FloatingIP }
	err := c.do(ctx, http.MethodGet, "/floatingips/"+url.PathEscape(id), nil, &answer)
	return answer.FloatingIP, err
}

// Associate makes the floating IP stand for the address of a port.
func (c *Client) Associate(ctx context.Context, floatingIP, port string) error {
	body := object{"floatingip": object{"port_id": port}}
	return c.do(ctx, http.MethodPut, "/floatingips/"+url.PathEscape(floatingIP), body, nil)
}

// CreatePortForwarding makes a port forwarding of a floating IP.
func (c *Client) CreatePortForwarding(ctx context.Context, floatingIP string, f PortForwarding) error {
	path := "/floatingips/" + url.PathEscape(floatingIP) + "/port_forwardings"
	return c.do(ctx, http.MethodPost, path, object{"port_forwarding": f}, nil)
}
